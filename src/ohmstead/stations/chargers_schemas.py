"""Chargers and connectors as they come in and go out over HTTP."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import (
    AfterValidator,
    AliasChoices,
    Discriminator,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StringConstraints,
    Tag,
)

from ohmstead.core.http import Schema, UtcTime
from ohmstead.core.text import Text
from ohmstead.stations.models import ConnectorStatus, Registration, StationStatus
from ohmstead.stations.texts import ChargerIdText, Password, unset

CONNECTORS_MAX = 100
"""More than any station has; what is above it is a slip of the pen."""

Name = Annotated[Text, StringConstraints(min_length=1, max_length=200)]
Version = Literal["1.6", "2.0.1", "2.1"]
Current = Literal["AC", "DC"]
SecurityProfile = Annotated[StrictInt, Field(ge=0, le=3, description="OCPP security whitepaper, chapter 3.")]
ConnectorType = Annotated[
    Text, StringConstraints(min_length=1, max_length=20), Field(examples=["Type 2", "CCS", "CHAdeMO"])
]
Phases = Annotated[StrictInt, Field(ge=1, le=3)]
MaxPower = Annotated[
    StrictFloat,
    Field(ge=0.001, le=99_999, allow_inf_nan=False),
    AfterValidator(lambda power: round(power, 3)),
]
"""In kW, kept to the watt."""
Nameplate = Annotated[Text, StringConstraints(min_length=1, max_length=50)]


class ConnectorIn(Schema):
    """One connector, named by its number of OCPP 1.6, from 1; what is left out stays as it is."""

    connector_id: Annotated[StrictInt, Field(ge=1, le=CONNECTORS_MAX)] = Field(
        validation_alias=AliasChoices("connector_id", "number")
    )
    type: ConnectorType | None = None
    current: Current | None = None
    phases: Phases | None = None
    max_power_kw: MaxPower | None = None


def _each_once(connectors: list[ConnectorIn]) -> list[ConnectorIn]:
    numbers = [connector.connector_id for connector in connectors]
    twice = sorted({number for number in numbers if numbers.count(number) > 1})
    if twice:
        raise ValueError(f"connector {twice[0]} is named twice")
    return connectors


def _form(value: Any) -> str:
    return "list" if isinstance(value, list) else "number"


Connectors = Annotated[
    Annotated[StrictInt, Field(ge=1, le=CONNECTORS_MAX), Tag("number")]
    | Annotated[
        list[ConnectorIn],
        Field(min_length=1, max_length=CONNECTORS_MAX),
        AfterValidator(_each_once),
        Tag("list"),
    ],
    Discriminator(_form),
]
"""How many there are, or what is known of each."""


class ChargerIn(Schema):
    """A new charger: only `id` is needed, the identity that the charger will connect with."""

    id: ChargerIdText
    station_id: UUID | None = None
    backoffice_id: UUID | None = Field(
        None, description="The business of a charger without a station; else that of the station."
    )
    name: Name | None = None
    vendor: Nameplate | None = Field(None, description="As far as it is known; its boot tells it anew.")
    model: Nameplate | None = Field(None, description="As `vendor`.")
    serial_number: Nameplate | None = Field(None, description="As `vendor`, if its boot names one.")
    status: StationStatus = StationStatus.ACTIVE
    connectors: Connectors = 1
    registration: Registration = Registration.ACCEPTED
    ocpp_version: Version = "1.6"
    security_profile: SecurityProfile = 0
    password: Password | None = Field(
        None, description="For profiles 1 and 2; when it is left out one is made and answered, once."
    )
    tolerant: StrictBool = Field(False, description="Leave out unknown members of its messages and note it.")
    simulated: StrictBool = Field(False, description="Keep it out of all figures.")
    free_vend: StrictBool = Field(False, description="Charge without a known tag; blocked tags stay blocked.")


class ChargerChange(Schema):
    """What is left out stays; null clears what may be null."""

    station_id: UUID | None = None
    backoffice_id: UUID | None = Field(None, description="Only a SystemAdmin; without a station only.")
    name: Name | None = None
    vendor: Nameplate | None = Field(None, description="Until its next boot tells it anew.")
    model: Nameplate | None = Field(None, description="As `vendor`.")
    serial_number: Nameplate | None = Field(None, description="As `vendor`, if its boot names one.")
    status: StationStatus = unset()
    connectors: Connectors = unset(
        description="A list is merged by number. A number makes sure that 1 to n exist and removes those"
        " above it that were never used."
    )
    registration: Registration = unset()
    ocpp_version: Version = unset()
    security_profile: SecurityProfile = unset()
    password: Password | None = None
    new_password: StrictBool = Field(False, description="Make a new password and answer it, once.")
    tolerant: StrictBool = unset()
    simulated: StrictBool = unset(description="Only while it had no session of the other kind.")
    free_vend: StrictBool = unset(description="Charge without a known tag; blocked tags stay blocked.")
    retired: StrictBool = unset(
        description="A retired charger is refused at its handshake and keeps its history."
    )


class ConnectorOut(Schema):
    """A connector, and what it told last; `status` is null until it has told anything.

    `status_at` is the charger's own time of the last notification, `status_since` the moment at which
    the status became what it is.
    """

    connector_id: int
    type: str | None
    current: str | None
    phases: int | None
    max_power_kw: float | None
    status: ConnectorStatus | None
    error_code: str | None
    info: str | None
    vendor_id: str | None
    vendor_error_code: str | None
    status_since: UtcTime | None
    status_at: UtcTime | None


class StationName(Schema):
    """The station of a charger."""

    id: UUID
    name: str


class ChargerOut(Schema):
    """A charger. `vendor` to `meter_serial_number` are of its last BootNotification, or of an operator.

    `whole` is connector 0: what the charger tells of itself as a whole (OCPP 1.6 4.9). A charger with
    `unregistered_since` came by itself: whoever gives it a station or a business adopts it.
    """

    id: str
    name: str | None
    station: StationName | None
    station_id: UUID | None
    backoffice_id: UUID | None
    status: StationStatus
    connectors: list[ConnectorOut]
    whole: ConnectorOut | None
    vendor: str | None
    model: str | None
    serial_number: str | None
    firmware_version: str | None
    iccid: str | None
    imsi: str | None
    meter_type: str | None
    meter_serial_number: str | None
    firmware_status: str | None
    diagnostics_status: str | None
    registration: Registration
    ocpp_version: str
    security_profile: int
    has_password: bool
    online: bool
    last_seen: UtcTime | None
    last_boot_at: UtcTime | None
    simulated: bool
    tolerant: bool
    free_vend: bool
    unregistered_since: UtcTime | None
    unregistered_from: str | None
    retired_at: UtcTime | None
    created_at: UtcTime
    updated_at: UtcTime


class ChargerWithPassword(ChargerOut):
    """A charger that was just written; `password` is there only when we made it, and never again."""

    password: str | None = None


class Deleted(Schema):
    """How many were deleted."""

    deleted: int


class StatusEventOut(Schema):
    """One StatusNotification: `at` by the charger's clock, `received_at` by ours."""

    id: int
    connector_id: int
    at: UtcTime
    received_at: UtcTime
    status: str
    error_code: str
    info: str | None
    vendor_id: str | None
    vendor_error_code: str | None


class ReportOut(Schema):
    """What a charger reported outside of its sessions, as it was sent."""

    id: int
    received_at: UtcTime
    action: str
    payload: dict[str, Any]

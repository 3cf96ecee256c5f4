"""Charging profiles as they come in and go out over HTTP."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field, StrictInt, StringConstraints

from ohmstead.core.http import Schema, UtcTime
from ohmstead.core.text import Text
from ohmstead.stations.commands_schemas import CallErrorOut, CommandAnswer, ConnectorNumber
from ohmstead.stations.texts import unset

Name = Annotated[Text, StringConstraints(min_length=1, max_length=200)]
WIRE = "The ChargingProfile of OCPP 1.6 7.8, without `chargingProfileId` and `transactionId`."
EXAMPLE = {
    "stackLevel": 0,
    "chargingProfilePurpose": "TxDefaultProfile",
    "chargingProfileKind": "Recurring",
    "recurrencyKind": "Daily",
    "chargingSchedule": {
        "startSchedule": "2026-05-04T22:00:00Z",
        "duration": 28800,
        "chargingRateUnit": "A",
        "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 16.0}],
    },
}
ProfileObject = Annotated[dict[str, Any], Field(description=WIRE, examples=[EXAMPLE])]


class ChargingProfileIn(Schema):
    """A new profile; nothing is sent by it."""

    name: Name
    profile: ProfileObject
    backoffice_id: UUID | None = Field(
        None, description="The business. Needed from a SystemAdmin when there is more than one."
    )


class ChargingProfileChange(Schema):
    """What is left out stays; `profile` is replaced as a whole. Chargers keep what they were told."""

    name: Name = unset()
    profile: ProfileObject = unset()


class ChargingProfileOut(Schema):
    """A profile. `charging_profile_id` is its id at every charger, `chargers` at how many it is."""

    id: UUID
    backoffice_id: UUID
    name: str
    charging_profile_id: int
    profile: dict[str, Any]
    chargers: int
    outdated_chargers: int
    created_at: UtcTime
    updated_at: UtcTime


class Assignment(Schema):
    """A kept profile for a connector; 0 is the whole charger.

    A TxProfile is for the session that runs there; `transaction_id` is its `ocpp_transaction_id`, found when
    left out.
    """

    profile_id: UUID
    connector_id: ConnectorNumber = 0
    transaction_id: StrictInt | None = Field(None, ge=1, le=2**31 - 1)


class InstalledOut(Schema):
    """A profile that the charger has accepted, as it was sent. `outdated`: the kept one has changed since."""

    charging_profile_id: int
    connector_id: int | None
    purpose: str
    stack_level: int
    transaction_id: int | None
    profile: dict[str, Any]
    profile_id: UUID | None
    name: str | None
    outdated: bool
    told_at: UtcTime


class Cleared(CommandAnswer):
    """The charger's answer to ClearChargingProfile, and the ids that we knew of and no longer do."""

    forgotten: list[int]


class LimitOut(Schema):
    """From `start` seconds after `at` on: this limit; null is none."""

    start: int
    limit: float | None


class DifferenceOut(Schema):
    """From `start` seconds on the charger says one limit and the rules another; null is none."""

    start: int
    charger: float | None
    expected: float | None


class CompositeOut(Schema):
    """What the charger says of its limits, and what the profiles that it was told come to.

    `status` is the charger's word, or `CallError` with the `error`, `Timeout`, or `Offline`. `charger` is
    null when it gave no schedule. `differences` are those beyond rounding; null without anything to compare.
    """

    connector_id: int
    at: UtcTime
    duration: int
    unit: Literal["A", "W"]
    status: str
    charger: list[LimitOut] | None
    expected: list[LimitOut]
    differences: list[DifferenceOut] | None
    response: dict[str, Any] | None
    error: CallErrorOut | None

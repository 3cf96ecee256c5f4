"""What comes in and goes out over HTTP: drivers and their vehicles."""

from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, Field, StringConstraints, field_validator

from ohmstead.accounts.models import User, UserStatus
from ohmstead.accounts.schemas import CamelSchema, Password, not_null
from ohmstead.accounts.texts import Email, Name, Phone, Reason
from ohmstead.core.http import UtcTime
from ohmstead.core.text import Text


def _plate(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must consist of printable characters")
    plate = value.upper()
    if len(plate) > len(value):
        raise ValueError("must consist of plain letters, digits and signs")
    return plate


Nic = Annotated[
    Text, StringConstraints(min_length=1, max_length=40), Field(examples=["200212345679", "881234567V"])
]
"""A national identity card number, in any case; its form is a setting."""

Plate = Annotated[
    Text,
    StringConstraints(min_length=1, max_length=20),
    AfterValidator(_plate),
    Field(examples=["WP CAB-1234"]),
]
"""A number plate, kept in capitals."""

EmailHere = Annotated[Text, StringConstraints(min_length=3, max_length=254)]
"""The address of an account that may be there already: none of the rules for a new one is asked of it."""

Model = Annotated[Text, StringConstraints(min_length=1, max_length=100)]
Plug = Annotated[Text, StringConstraints(min_length=1, max_length=40), Field(examples=["CCS2"])]
Kilo = Annotated[float, Field(gt=0, le=9999, allow_inf_nan=False)]


class DriverIn(CamelSchema):
    """A new driver."""

    nic: Nic
    name: Name = Field(examples=["Ravi"])
    email: Email
    phone: Phone
    password: Password = Field(json_schema_extra={"format": "password"})
    plate: Plate | None = Field(None, description="Makes the first vehicle.")


class Registered(CamelSchema):
    """A new driver."""

    owner_id: UUID
    status: UserStatus


class DriverChange(CamelSchema):
    """What to change of a driver; members that are absent stay."""

    name: Name | None = None
    email: EmailHere | None = Field(
        None, description="The address that the driver has: another one by POST /api/auth/email."
    )
    phone: Phone | None = Field(None, description="Null clears it.")
    nic: Nic | None = Field(None, description="For a driver who has none yet; given once, it stays.")

    _keep = field_validator("name", "email", "nic", mode="before")(not_null)


class DriverOut(CamelSchema):
    """A driver."""

    owner_id: UUID
    nic: str | None
    name: str | None
    email: str
    email_verified: bool
    phone: str | None
    status: UserStatus
    created_at: UtcTime


class StatusReason(CamelSchema):
    """Why a driver is deactivated or reactivated."""

    reason: Reason | None = None


class VerifyEmail(CamelSchema):
    """What stands at the end of the mailed link."""

    token: Annotated[str, StringConstraints(min_length=1, max_length=200)]


class Address(CamelSchema):
    """The address that is meant."""

    email: str


class VerificationWish(CamelSchema):
    """Where the link is to be sent again."""

    email: EmailHere


class VehicleIn(CamelSchema):
    """A car of a driver; only its plate is needed."""

    plate: Plate
    model: Model | None = None
    battery_kwh: Kilo | None = None
    connector: Plug | None = None
    max_kw: Kilo | None = Field(None, description="The power that it takes at most.")


class VehicleChange(CamelSchema):
    """What to change of a vehicle; members that are absent stay, null clears what may be empty."""

    plate: Plate | None = None
    model: Model | None = None
    battery_kwh: Kilo | None = None
    connector: Plug | None = None
    max_kw: Kilo | None = None

    _keep = field_validator("plate", mode="before")(not_null)


class VehicleOut(CamelSchema):
    """A car of a driver."""

    id: UUID
    plate: str
    model: str | None
    battery_kwh: float | None
    connector: str | None
    max_kw: float | None
    created_at: UtcTime


def driver_of(user: User, nic: str | None) -> DriverOut:
    """Return a driver as it goes out."""
    return DriverOut(
        owner_id=user.id,
        nic=nic,
        name=user.name,
        email=user.email,
        email_verified=user.email_verified_at is not None,
        phone=user.phone,
        status=UserStatus(user.status),
        created_at=user.created_at,
    )

"""What comes in and goes out over HTTP: operators."""

from typing import Annotated
from uuid import UUID

from pydantic import Field, field_validator

from ohmstead.accounts.models import User, UserStatus
from ohmstead.accounts.schemas import CamelSchema, Password, not_null
from ohmstead.accounts.texts import Email, Name, Phone, Reason
from ohmstead.core.http import UtcTime

StationIds = Annotated[list[UUID], Field(max_length=1000)]


class OperatorIn(CamelSchema):
    """A new operator. Without a password an invitation is mailed."""

    email: Email
    password: Password | None = Field(
        None,
        description="Has to be changed at the first sign-in; no rule of strength holds for it.",
        json_schema_extra={"format": "password"},
    )
    name: Name | None = None
    phone: Phone | None = None
    station_ids: StationIds = Field([], description="The stations where the operator works.")
    backoffice_id: UUID | None = Field(
        None, description="The business; a SystemAdmin has to name it, for others it is their own."
    )


class OperatorChange(CamelSchema):
    """What to change of an operator; members that are absent stay."""

    station_ids: StationIds | None = Field(None, description="All of them, not the difference.")
    name: Name | None = None
    phone: Phone | None = None
    backoffice_id: UUID | None = Field(
        None, description="Another business (SystemAdmin only); the stations of the old one are left."
    )
    reason: Reason | None = Field(None, description="Why; kept in the audit trail.")

    _keep = field_validator("station_ids", "backoffice_id", mode="before")(not_null)


class OperatorReason(CamelSchema):
    """Why an operator is disabled or enabled; kept in the audit trail."""

    reason: Reason | None = None


class OperatorOut(CamelSchema):
    """An operator. `invited` tells that no password has been chosen yet."""

    id: UUID
    email: str
    name: str | None
    phone: str | None
    status: UserStatus
    backoffice_id: UUID
    station_ids: list[UUID]
    invited: bool
    created_at: UtcTime
    last_login_at: UtcTime | None


def operator_of(user: User) -> OperatorOut:
    """Return an operator as it goes out."""
    if user.backoffice_id is None:
        raise ValueError("an operator without a business")
    return OperatorOut(
        id=user.id,
        email=user.email,
        name=user.name,
        phone=user.phone,
        status=UserStatus(user.status),
        backoffice_id=user.backoffice_id,
        station_ids=user.operator_station_ids,
        invited=user.password_hash is None,
        created_at=user.created_at,
        last_login_at=user.last_login_at,
    )

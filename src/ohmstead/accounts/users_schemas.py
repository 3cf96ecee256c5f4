"""What comes in and goes out over HTTP: users."""

from typing import Annotated
from uuid import UUID

from pydantic import Field, field_validator

from ohmstead.accounts.models import Role, UserStatus
from ohmstead.accounts.schemas import not_null
from ohmstead.accounts.texts import Email, Name, Phone, Reason
from ohmstead.core.http import Schema, UtcTime

StationIds = Annotated[list[UUID], Field(max_length=1000)]
STATIONS = "The stations that an Operator works at; all of them, not the difference."


class UserItem(Schema):
    """A user, for those who manage users. `invited`: no password has been chosen yet."""

    id: UUID
    email: str
    name: str | None
    phone: str | None
    nic: str | None = Field(description="The national identity card number of a driver.")
    role: Role
    status: UserStatus
    backoffice_id: UUID | None
    operator_station_ids: list[UUID]
    second_factor: bool
    invited: bool
    created_at: UtcTime
    last_login_at: UtcTime | None


class UserInvite(Schema):
    """Somebody who is to work here: gets a mail with a link to choose a password."""

    email: Email
    role: Role = Field(description="SystemAdmin, Backoffice or Operator, and none above your own.")
    name: Name | None = None
    phone: Phone | None = None
    backoffice_id: UUID | None = Field(
        None, description="The business of a Backoffice or Operator; left out: the caller's own."
    )
    operator_station_ids: StationIds = Field([], description=STATIONS)


class UserChange(Schema):
    """What to change of a user; members that are absent stay, null clears name and phone."""

    name: Name | None = None
    phone: Phone | None = None
    email: Email | None = Field(
        None,
        description="Holds at once, and is not verified; the old address is told, and the user signed out."
        " One's own is changed by `POST /api/auth/email`.",
    )
    role: Role | None = Field(None, description="None above your own.")
    backoffice_id: UUID | None = Field(
        None, description="The business, for a role that has one (SystemAdmin only)."
    )
    status: UserStatus | None = None
    operator_station_ids: StationIds | None = Field(None, description=STATIONS)
    reason: Reason | None = Field(None, description="Why; kept in the audit trail.")

    _keep = field_validator("email", "role", "status", "operator_station_ids", mode="before")(not_null)


class SecondFactorReset(Schema):
    """Why a second factor is taken away; kept in the audit trail."""

    reason: Reason | None = None


class SecondFactorGone(Schema):
    """Whether there was one."""

    removed: bool


class SignInOut(Schema):
    """One device on which a user is signed in."""

    id: UUID
    device: str | None
    address: str | None
    created_at: UtcTime
    used_at: UtcTime
    expires_at: UtcTime

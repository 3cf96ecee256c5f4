"""What comes in and goes out over HTTP: signing in, profiles, users."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import ConfigDict, Field, StringConstraints, field_validator
from pydantic.alias_generators import to_camel

from ohmstead.accounts.models import Role, UserStatus
from ohmstead.core.http import Schema, UtcTime


def not_null(value: Any) -> Any:
    """Refuse an explicit null; a member that is absent never gets here."""
    if value is None:
        raise ValueError("must not be null; leave it out to keep it as it is")
    return value


Password = Annotated[str, StringConstraints(min_length=1, max_length=1024, strip_whitespace=False)]
"""Blanks at the ends of a password belong to it."""


class CamelSchema(Schema):
    """The base of the families whose documents spell members in camelCase."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True)


class SignIn(Schema):
    """E-mail address and password."""

    username: Annotated[str, StringConstraints(min_length=1, max_length=254)] = Field(
        description="The e-mail address, in any case.", examples=["admin@example.com"]
    )
    password: Password = Field(json_schema_extra={"format": "password"})


class SignedIn(CamelSchema):
    """A token, and what it lets its holder see at this moment."""

    access_token: str
    token_type: str = "Bearer"  # noqa: S105 # the name of the scheme (RFC 6750), no secret
    expires_in: int = Field(description="Seconds for which the token is valid.")
    expires_at: UtcTime
    user_id: UUID
    email: str
    role: Role
    backoffice_id: UUID | None
    operator_station_ids: list[UUID]


class Profile(CamelSchema):
    """The caller as its row says now."""

    user_id: UUID
    email: str
    role: Role
    status: UserStatus
    backoffice_id: UUID | None
    backoffice_name: str | None
    time_zone: str | None = Field(description="IANA time zone of the business.")
    operator_station_ids: list[UUID]
    created_at: UtcTime
    last_login_at: UtcTime | None


class UserItem(Schema):
    """A user, for those who manage users."""

    id: UUID
    email: str
    role: Role
    status: UserStatus
    backoffice_id: UUID | None
    operator_station_ids: list[UUID]
    created_at: UtcTime
    last_login_at: UtcTime | None


class UserChange(Schema):
    """What to change of a user; members that are absent stay."""

    status: UserStatus | None = None
    operator_station_ids: Annotated[list[UUID], Field(max_length=1000)] | None = Field(
        None, description="The stations that an Operator works at; all of them, not the difference."
    )

    _keep = field_validator("status", "operator_station_ids", mode="before")(not_null)

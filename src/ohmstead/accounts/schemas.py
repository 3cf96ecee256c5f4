"""What comes in and goes out over HTTP: profiles, and what several schemas share."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import ConfigDict, Field, StringConstraints
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

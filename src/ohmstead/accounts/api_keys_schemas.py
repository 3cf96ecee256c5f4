"""What comes in and goes out over HTTP: API keys."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, Field, StringConstraints, field_validator

from ohmstead.accounts.id_tags_schemas import printable
from ohmstead.accounts.permissions import FOR_MACHINES
from ohmstead.accounts.schemas import not_null
from ohmstead.core.http import Schema, UtcTime
from ohmstead.core.text import Text
from ohmstead.core.times import MomentIn


def _known(name: str) -> str:
    if name not in FOR_MACHINES:
        raise ValueError("is no permission that an API key can have: see docs/permissions.md")
    return name


Name = Annotated[Text, StringConstraints(min_length=1, max_length=100), AfterValidator(printable)]
PermissionName = Annotated[str, AfterValidator(_known), Field(json_schema_extra={"enum": list(FOR_MACHINES)})]
Permissions = Annotated[
    list[PermissionName],
    Field(min_length=1, max_length=100, description="What the machine may do.", examples=[["stations:read"]]),
]
StationIds = Annotated[
    list[UUID],
    Field(max_length=1000, description="It may do so at these stations only; empty: at all of the business."),
]
EXPIRES = "From this moment on it is refused; null = never."


class ApiKeyIn(Schema):
    """A new key; what it may do is not more than an account of its business might."""

    name: Name = Field(description="What it is for.", examples=["Grafana"])
    permissions: Permissions
    station_ids: StationIds = []
    expires_at: MomentIn | None = Field(None, description=EXPIRES)
    backoffice_id: UUID | None = Field(
        None,
        description="The business whose key it is. Left out: the caller's own; for a SystemAdmin that of the"
        " whole installation.",
    )


class ApiKeyChange(Schema):
    """What to change of a key; members that are absent stay."""

    name: Name | None = None
    permissions: Permissions | None = None
    station_ids: StationIds | None = None
    expires_at: MomentIn | None = Field(None, description=EXPIRES)

    _keep = field_validator("name", "permissions", "station_ids", mode="before")(not_null)


class ApiKeyOut(Schema):
    """A key as it may be shown: of itself only how it begins."""

    id: UUID
    name: str
    begins_with: str
    permissions: list[str]
    station_ids: list[UUID]
    backoffice_id: UUID | None
    created_by: UUID | None = Field(description="Who made it: the id of a user.")
    created_at: UtcTime
    expires_at: UtcTime | None
    last_used_at: UtcTime | None = Field(description="To the minute.")
    revoked_at: UtcTime | None


class NewApiKey(ApiKeyOut):
    """A key that was made just now, with the key itself: it is never shown again."""

    key: str = Field(examples=["ohm_" + "0" * 42])


def changes_of(body: ApiKeyChange) -> dict[str, Any]:
    """Return the members that a change names."""
    return body.model_dump(exclude_unset=True)

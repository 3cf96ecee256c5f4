"""What comes in and goes out over HTTP: id tags."""

from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, Field, StrictInt, StringConstraints, field_validator

from ohmstead.accounts.models import TokenStatus
from ohmstead.accounts.schemas import not_null
from ohmstead.core.http import Schema, UtcTime
from ohmstead.core.text import Text
from ohmstead.core.times import MomentIn

ERASED = "ERASED-"
"""So begin the names that stand for cards of people who were erased."""


def printable(text: str) -> str:
    """Refuse control characters and the like: nobody can read or type them."""
    if not text.isprintable():
        raise ValueError("must consist of printable characters")
    return text


def nobody_s(text: str) -> str:
    """Refuse what stands for the tag of somebody who was erased."""
    if text.upper().startswith(ERASED):
        raise ValueError(f"must not begin with {ERASED}, as what stands for people who were erased")
    return text


IdTag = Annotated[
    str, StringConstraints(min_length=1, max_length=20), AfterValidator(printable), AfterValidator(nobody_s)
]
"""OCPP 1.6 7.27: CiString20."""

Owner = Annotated[Text, StringConstraints(max_length=200)]
Limit = Annotated[
    StrictInt, Field(ge=1, le=10_000, description="Sessions at the same time; null = no limit.")
]

EXPIRES = "From this moment on the tag is answered Expired; null = never."
PARENT = "Groups tags; when a tag with this name may not charge, its children may not either."
BUSINESS = "The business at whose chargers the tag works; null = at every charger (SystemAdmin only)."


class IdTagCreate(Schema):
    """A new id tag; only `id_tag` is needed."""

    id_tag: IdTag = Field(examples=["04A2B3C4D5E680"])
    status: TokenStatus = TokenStatus.ACCEPTED
    expires_at: MomentIn | None = Field(None, description=EXPIRES)
    parent_id_tag: IdTag | None = Field(None, description=PARENT)
    owner: Owner | None = None
    max_concurrent_sessions: Limit | None = None
    backoffice_id: UUID | None = Field(None, description=BUSINESS + " Left out: the caller's own.")


class IdTagChange(Schema):
    """What to change of an id tag; members that are absent stay, null clears what may be empty."""

    id_tag: IdTag | None = None
    status: TokenStatus | None = None
    expires_at: MomentIn | None = Field(None, description=EXPIRES)
    parent_id_tag: IdTag | None = Field(None, description=PARENT)
    owner: Owner | None = None
    max_concurrent_sessions: Limit | None = None
    backoffice_id: UUID | None = Field(None, description=BUSINESS)

    _keep = field_validator("id_tag", "status", mode="before")(not_null)


class IdTagItem(Schema):
    """An id tag."""

    id: UUID
    id_tag: str
    status: TokenStatus
    expires_at: UtcTime | None
    parent_id_tag: str | None
    owner: str | None
    max_concurrent_sessions: int | None
    backoffice_id: UUID | None
    created_at: UtcTime
    updated_at: UtcTime

"""Local lists as they come in and go out over HTTP."""

from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, Field, StrictBool, StringConstraints, model_validator

from ohmstead.accounts.id_tags_schemas import printable
from ohmstead.accounts.models import TokenStatus
from ohmstead.core.http import Schema, UtcTime
from ohmstead.core.text import Text
from ohmstead.fleet.local_lists.models import Ending
from ohmstead.fleet.local_lists.state import ListState
from ohmstead.stations.texts import ChargerIdText

NAMED_MAX = 10_000

Tag = Annotated[str, StringConstraints(min_length=1, max_length=20), AfterValidator(printable)]
Prefix = Annotated[Text, StringConstraints(min_length=1, max_length=200)]


class Tags(Schema):
    """Which tags a list holds: `all`, or those that match any of the criteria; of these only `statuses`."""

    all: StrictBool = Field(False, description="Every tag that works at the charger.")
    id_tags: Annotated[list[Tag], Field(max_length=NAMED_MAX)] = Field([], description="These tags.")
    parents: Annotated[list[Tag], Field(max_length=1000)] = Field([], description="Tags with these parents.")
    owner_prefixes: Annotated[list[Prefix], Field(max_length=1000)] = Field(
        [], description="Tags whose owner begins so, in any case."
    )
    statuses: list[TokenStatus] = Field(
        [], description="Only tags of which a charger would be told this; empty: of any status."
    )
    everywhere: StrictBool = Field(
        True, description="Also tags that work at every charger of every business."
    )

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        if self.all == bool(self.id_tags or self.parents or self.owner_prefixes):
            raise ValueError('say which tags by id_tags, parents or owner_prefixes, or all by {"all": true}')
        return self


KEEPS = "Send the lists when they differ, without being asked."


class RuleIn(Schema):
    """A new rule: for one charger, for a station, or (neither given) for all chargers of the business."""

    tags: Tags
    charger_id: ChargerIdText | None = None
    station_id: UUID | None = None
    backoffice_id: UUID | None = Field(
        None, description="The business; left out: that of the charger or station, else the caller's own."
    )
    keep_up_to_date: StrictBool = Field(False, description=KEEPS)

    @model_validator(mode="after")
    def _one_scope(self) -> Self:
        if self.charger_id is not None and self.station_id is not None:
            raise ValueError("give charger_id or station_id, not both")
        return self


class RuleChange(Schema):
    """What to change of a rule; members that are absent stay."""

    tags: Tags | None = None
    keep_up_to_date: StrictBool | None = Field(None, description=KEEPS)


class RuleOut(Schema):
    """A rule."""

    id: UUID
    backoffice_id: UUID
    station_id: UUID | None
    charger_id: str | None
    tags: Tags
    keep_up_to_date: bool
    created_at: UtcTime
    updated_at: UtcTime


class InfoOut(BaseModel):
    """What a list says of a tag (OCPP 1.6 7.26 IdTagInfo)."""

    id_tag: str
    status: str
    expires_at: str | None
    parent_id_tag: str | None


class ListEntry(BaseModel):
    """A tag as it should be on the list, and as the charger acknowledged it.

    `difference`: `Missing` (the charger lacks it), `Changed`, `Superfluous` (it should not have it), or null.
    """

    id_tag: str
    wanted: InfoOut | None
    acknowledged: InfoOut | None
    difference: Literal["Missing", "Changed", "Superfluous"] | None


class WantedOut(BaseModel):
    """The list that the rule makes now; `version` is the one that the next list will have."""

    rule_id: UUID
    keep_up_to_date: bool
    version: int
    entries: int


class AcknowledgedOut(BaseModel):
    """What the charger acknowledged last; `entries` is null where its content is not known."""

    version: int
    entries: int | None
    at: UtcTime


class ReportedOut(BaseModel):
    """The charger's last answer to GetLocalListVersion: 0 an empty list, -1 no list at all.

    `agrees`: whether that is the version that it acknowledged.
    """

    version: int
    at: UtcTime
    agrees: bool


class LastSent(BaseModel):
    """What came of the last SendLocalList."""

    status: Ending
    detail: str
    at: UtcTime | None


class DifferenceOut(BaseModel):
    """How many tags the acknowledged list lacks, has otherwise, and has too much."""

    missing: int
    changed: int
    superfluous: int


class LocalListOut(BaseModel):
    """The list of a charger: a page of its tags, and how it stands to what it should be."""

    charger_id: str
    state: ListState
    wanted: WantedOut | None
    acknowledged: AcknowledgedOut | None
    reported: ReportedOut | None
    last_sent: LastSent | None
    difference: DifferenceOut | None
    refreshed: str | None = Field(description="What came of `refresh=true`; null when it was not asked for.")
    items: list[ListEntry]
    next_cursor: str | None
    total: int


class SendIn(Schema):
    """How to send: `Due` a Differential where that is possible and nothing where nothing is due."""

    update: Literal["Due", "Full"] = "Due"


class StepOut(BaseModel):
    """One SendLocalList, how many entries it had, and the charger's word."""

    update_type: str
    version: int
    entries: int
    status: Ending


class SentOut(BaseModel):
    """What came of sending: the charger's word to the last message, or `InSync` when nothing was due."""

    status: str
    detail: str
    state: ListState
    sent: list[StepOut]


class ChargerListOut(BaseModel):
    """How the list of a charger stands, in short."""

    charger_id: str
    state: ListState
    rule_id: UUID | None
    wanted_entries: int | None
    acknowledged_version: int | None
    acknowledged_at: UtcTime | None


def info_of(entry: dict[str, Any] | None) -> InfoOut | None:
    """Return an entry as it goes out."""
    if entry is None:
        return None
    info = entry["idTagInfo"]
    return InfoOut(
        id_tag=entry["idTag"],
        status=info["status"],
        expires_at=info.get("expiryDate"),
        parent_id_tag=info.get("parentIdTag"),
    )

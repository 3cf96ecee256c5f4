"""Campaigns as they come in and go out over HTTP."""

from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import Field, StrictInt, StringConstraints, model_validator

from ohmstead.core.http import Schema, UtcTime
from ohmstead.core.text import Text
from ohmstead.core.times import MomentIn
from ohmstead.fleet.campaigns.state import CampaignState, ItemState
from ohmstead.stations.texts import ChargerIdText

CHARGERS_MAX = 20_000
"""So many chargers may be named one by one."""

Name = Annotated[Text, StringConstraints(min_length=1, max_length=200)]
Word = Annotated[Text, StringConstraints(min_length=1, max_length=50)]


class Selection(Schema):
    """Which chargers: those of the caller that match all that is given. Never
    retired ones, and none that came by itself and is not adopted yet."""

    charger_ids: Annotated[list[ChargerIdText], Field(min_length=1, max_length=CHARGERS_MAX)] | None = None
    station_ids: Annotated[list[UUID], Field(min_length=1, max_length=1000)] | None = None
    backoffice_id: UUID | None = Field(None, description="Only chargers of this business.")
    vendor: Word | None = Field(None, description="As the charger said at its boot, in any case.")
    model: Word | None = Field(None, description="As the charger said at its boot, in any case.")
    firmware_version: Word | None = Field(None, description="As the charger said at its boot, exactly.")
    online: bool | None = Field(None, description="As it is at this moment.")
    simulated: bool | None = None
    q: Annotated[Text, StringConstraints(min_length=1, max_length=200)] | None = Field(
        None, description="Searches id, name, serial number, vendor and model, as the list of chargers does."
    )
    all: bool = Field(False, description="Must be true to choose every charger of the caller.")

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        criteria = self.model_fields_set - {"all"}
        if any(getattr(self, name) is not None for name in criteria) == self.all:
            raise ValueError(
                'say which chargers by at least one criterion, or all of them by {"all": true}, but not both'
            )
        return self


class CampaignIn(Schema):
    """New work on many chargers; it begins at once."""

    kind: Annotated[Text, StringConstraints(min_length=1, max_length=40)] = Field(
        examples=["Configuration"], description="What is done at each charger."
    )
    parameters: dict[str, Any] = Field(default_factory=dict, description="What the kind is given.")
    chargers: Selection
    name: Name | None = Field(None, description="For people; else the kind.")
    at_once: Annotated[StrictInt, Field(ge=1, le=1000)] = Field(
        10, description="How many chargers are worked on at the same time: the size of a wave."
    )
    tries: Annotated[StrictInt, Field(ge=1, le=20)] = Field(
        3, description="How often a charger is asked that gives no answer, or an error that may pass."
    )
    retry_seconds: Annotated[StrictInt, Field(ge=0, le=3600)] = Field(
        60, description="Until the second try; doubled for each further one."
    )
    stop_at_error_percent: Annotated[StrictInt, Field(ge=1, le=100)] | None = Field(
        20, description="Stop when so many percent of the chargers that are through failed; null: never."
    )
    stop_after_items: Annotated[StrictInt, Field(ge=1, le=CHARGERS_MAX)] = Field(
        10, description="But not before so many chargers are through."
    )
    ends_at: MomentIn | None = Field(
        None, description="Chargers that have not begun by then are skipped; null: wait for ever."
    )


class CampaignOut(Schema):
    """A campaign. `counts` are of its items by their state, `chargers` how many items there are.

    `selection` is null for an Operator, who sees the items of its stations and counts only these.
    """

    id: UUID
    name: str
    kind: str
    parameters: dict[str, Any]
    selection: dict[str, Any] | None
    backoffice_id: UUID | None
    state: CampaignState
    state_at: UtcTime
    reason: str | None
    chargers: int
    counts: dict[ItemState, int]
    at_once: int
    tries: int
    retry_seconds: int
    stop_at_error_percent: int | None
    stop_after_items: int
    ends_at: UtcTime | None
    created_by: UUID | None
    created_at: UtcTime
    finished_at: UtcTime | None


class Chosen(Schema):
    """What a campaign would work on: how many chargers, how many are connected, and the first ones."""

    chargers: int
    online: int
    charger_ids: list[str] = Field(description="In their order; the first 1,000.")


class ItemOut(Schema):
    """The work on one charger. `evidence` is what the charger answered at the last try.

    `due_at` is when its turn comes at the earliest, `wait_until` until when it may tell the end.
    """

    charger_id: str
    state: ItemState
    detail: str | None
    tries: int
    due_at: UtcTime
    begun_at: UtcTime | None
    wait_until: UtcTime | None
    ended_at: UtcTime | None
    evidence: dict[str, Any] | None

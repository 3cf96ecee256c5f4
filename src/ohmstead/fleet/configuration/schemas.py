"""Configuration and templates as they come in and go out over HTTP."""

from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from ohmstead.core.http import Schema, UtcTime
from ohmstead.core.paging import Page
from ohmstead.core.text import Text, without_nul
from ohmstead.fleet.configuration.keys import VALUE_MAX, KeyState, TemplateState, fold
from ohmstead.fleet.configuration.models import Ending
from ohmstead.link.links import Answer
from ohmstead.ocpp.masking import is_secret_name
from ohmstead.stations.commands_schemas import CallErrorOut
from ohmstead.stations.credentials import is_authorization_key
from ohmstead.stations.texts import unset

AT_ONCE = 100
"""So many keys at most in one request or template."""

Key = Annotated[Text, StringConstraints(min_length=1, max_length=50)]
Value = Annotated[
    str, StringConstraints(strip_whitespace=False, max_length=VALUE_MAX), AfterValidator(without_nul)
]
Name = Annotated[Text, StringConstraints(min_length=1, max_length=200)]


def _once_each(keys: dict[str, str]) -> dict[str, str]:
    seen: dict[str, str] = {}
    for key in keys:
        if fold(key) in seen:
            raise ValueError(f"{seen[fold(key)]} and {key} are one key: keys have no case")
        seen[fold(key)] = key
    return keys


def _no_secrets(keys: dict[str, str]) -> dict[str, str]:
    for key in keys:
        if is_authorization_key(key):
            raise ValueError(f"{key} is each charger's own: POST /api/admin/chargers/<id>/rotate-password")
        if is_secret_name(key):
            raise ValueError(
                f"{key} is a secret by its name and would be kept and shown here: send it to each charger by"
                " PUT /api/admin/chargers/<id>/configuration"
            )
    return keys


Keys = Annotated[
    dict[Key, Value],
    Field(min_length=1, max_length=AT_ONCE, examples=[{"HeartbeatInterval": "300"}]),
    AfterValidator(_once_each),
]
PlainKeys = Annotated[Keys, AfterValidator(_no_secrets)]
StationIds = Annotated[list[UUID], Field(max_length=5000)]

STATIONS = "The stations whose chargers it is for, over the template of the business. Each has one template:"
STATIONS += " one that had another is given this one."
BUSINESS = "Whether it is for all chargers of the business; it takes the place of the one that was."


class KeysIn(Schema):
    """Keys to change, in the order in which they are to be sent."""

    keys: Keys


class Answered(Schema):
    """A charger's word, or `CallError` with the `error`, or `Timeout` when nothing came in time."""

    status: str
    error: CallErrorOut = Field(default_factory=lambda: CallErrorOut(code="", description=""))

    @classmethod
    def of(cls, status: str, answer: Answer | None, **more: Any) -> Self:
        """Put an outcome into its form; without an error that is unset, to be left out."""
        if answer is not None and answer.error_code is not None:
            more["error"] = CallErrorOut(code=answer.error_code, description=answer.error_description)
        return cls(status=status, **more)


class KeyChanged(Answered):
    """What came of one key: the charger's word (`Accepted`, `Rejected`, `RebootRequired`, `NotSupported`), or
    `CallError` with the `error`, `Timeout`, `Offline` (it left), `NotSent` (after one of these two).
    """


class KeysChanged(Schema):
    """What came of each key, in the order in which they were sent."""

    keys: dict[str, KeyChanged]


class LastChange(Schema):
    """The last ChangeConfiguration of a key, and what came of it; the value of a secret is null."""

    value: str | None
    status: str
    at: UtcTime


class KeyOut(Schema):
    """A key of a charger: its last known value, and the one that its template wants.

    `read_by` is the command that told the value, at `read_at`. `supported` is false when the charger does
    not know the key. `state` is null without a wanted value.
    """

    key: str
    value: str | None
    readonly: bool | None
    supported: bool
    read_at: UtcTime | None
    read_by: str | None
    wanted: str | None
    differs: bool
    state: KeyState | None
    tries: int
    last_change: LastChange | None


class TemplateName(Schema):
    """A template by its name."""

    id: UUID
    name: str


class Standing(Schema):
    """How a charger stands to its templates (the business's first, the station's over it).

    `due_at`: since when it is its turn, null when nothing is to be done before its next boot. `ending`,
    `detail` and `ended_at` tell how its last turn ended.
    """

    templates: list[TemplateName]
    state: TemplateState
    due_at: UtcTime | None
    ending: Ending | None
    detail: str | None
    ended_at: UtcTime | None


class Refreshed(Answered):
    """What came of asking the charger now: `Accepted`, `CallError` with the `error`, or `Timeout`."""


class ConfigurationOut(Page[KeyOut]):
    """The keys of a charger, by name. `template` is null where none is for it."""

    charger_id: str
    template: Standing | None
    refreshed: Refreshed | None


class ChangeOut(Schema):
    """A key that became another: accepted by ChangeConfiguration, or seen by GetConfiguration.

    Of a `RebootRequired` the value is what it is after a restart. Values of secrets are null.
    """

    id: int
    at: UtcTime
    key: str
    from_value: str | None
    to_value: str | None
    command: str
    status: str | None


class Rotated(Answered):
    """The charger's answer to a new password. `password` says which one lets it in: the `New` one, the `Old`
    one, or `Both` until it has connected.
    """

    password: Literal["New", "Old", "Both"]


class TemplateIn(Schema):
    """A new template: a name and keys. Without stations and `business` it is for nobody yet."""

    name: Name
    keys: PlainKeys
    backoffice_id: UUID | None = Field(
        None, description="The business. Needed from a SystemAdmin when there is more than one."
    )
    station_ids: StationIds = Field([], description=STATIONS)
    business: bool = Field(False, description=BUSINESS)


class TemplateChange(Schema):
    """What is left out stays. `keys` and `station_ids` are replaced as a whole."""

    name: Name = unset()
    keys: PlainKeys = unset()
    station_ids: StationIds = unset(description=STATIONS)
    business: bool = unset(description=BUSINESS)


class TemplateOut(Schema):
    """A template. `chargers` counts those that it is for and that are not retired."""

    id: UUID
    backoffice_id: UUID
    name: str
    keys: dict[str, str]
    station_ids: list[UUID]
    business: bool
    chargers: int
    created_at: UtcTime
    updated_at: UtcTime


class TemplateCharger(Schema):
    """A charger that a template is for, and how it stands to all of its templates.

    `keys` are the states of those keys that are not as they should be.
    """

    charger_id: str
    station_id: UUID | None
    online: bool
    state: TemplateState
    keys: dict[str, KeyState]
    due_at: UtcTime | None
    ending: Ending | None
    detail: str | None
    ended_at: UtcTime | None


class ConfigurationWork(Schema):
    """What a campaign of the kind `Configuration` is given: keys and values, or a template."""

    keys: PlainKeys | None = Field(None, description="Sent to each charger, in no certain order.")
    template_id: UUID | None = Field(
        None, description="Its keys, as they are when a charger's turn comes, in their order."
    )

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.keys is None) == (self.template_id is None):
            raise ValueError('give either "keys" or "template_id"')
        return self

"""What keys and their values say: pure functions of what a charger told and what it should have."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol, TypeGuard

import orjson

KEY_MAX = 100
"""OCPP 1.6 allows 50 characters; some vendors' keys are longer, and are kept all the same."""
VALUE_MAX = 500
"""What may be sent (OCPP 1.6 6.7 CiString500); what a charger tells may be longer."""
KEYS_MAX = 1000
"""So many keys of a charger are kept; real ones have up to some hundred."""
TRIES = 3
"""How often a template sends a value that the charger does not have afterwards."""
FORGIVEN_AFTER = timedelta(days=1)
"""A charger that accepted a value and has lost it a day later is given it anew."""

MAX_KEYS = "getconfigurationmaxkeys"
HEARTBEAT = "heartbeatinterval"

_NUMBER = re.compile(r"[+-]?[0-9]{1,18}(?:\.[0-9]{1,18})?")


class KeyState(StrEnum):
    """How a key of a charger stands to the value that it should have."""

    SAME = "Same"
    DIFFERS = "Differs"
    NOT_READ = "NotRead"
    REBOOT_REQUIRED = "RebootRequired"
    REFUSED = "Refused"
    READ_ONLY = "ReadOnly"
    NOT_SUPPORTED = "NotSupported"
    GAVE_UP = "GaveUp"


LOST = frozenset({KeyState.REFUSED, KeyState.READ_ONLY, KeyState.NOT_SUPPORTED, KeyState.GAVE_UP})
"""These do not become right by waiting."""


class TemplateState(StrEnum):
    """How a charger stands to its template.

    `InSync`: it has every value. `RebootRequired`: it has them after a restart. `Differs`: not all; they are
    sent after its next accepted boot. `Failed`: it cannot or will not take some of them.
    """

    IN_SYNC = "InSync"
    REBOOT_REQUIRED = "RebootRequired"
    DIFFERS = "Differs"
    FAILED = "Failed"


class KnownKey(Protocol):
    """What the state of a key is told by: see `models.ConfigurationKey`."""

    @property
    def value(self) -> str | None:
        """The last known value."""

    @property
    def readonly(self) -> bool | None:
        """Whether the charger says that it cannot be changed."""

    @property
    def supported(self) -> bool:
        """Whether the charger knows the key."""

    @property
    def read_at(self) -> datetime | None:
        """When the value was so."""

    @property
    def asked_value(self) -> str | None:
        """The value of the last ChangeConfiguration."""

    @property
    def asked_status(self) -> str | None:
        """What came of it."""

    @property
    def asked_at(self) -> datetime | None:
        """When that was."""

    @property
    def tries(self) -> int:
        """How often a template sent `tried_value`."""

    @property
    def tried_value(self) -> str | None:
        """What a template sent last."""


def fold(key: str) -> str:
    """Return the key as it is compared: keys have no case (OCPP 1.6 7.1 CiString50)."""
    return key.casefold()


def same(one: str | None, other: str | None) -> bool:
    """Tell whether two values are the same to a charger.

    Values have no case (CiString500); blanks around them and around the commas of a list do not count, and
    300 is 0300 and 300.0. The order of a list does.
    """
    if one is None or other is None:
        return one is other
    return _plain(one) == _plain(other)


def _plain(value: str) -> list[str]:
    return [_as_number(part.strip().casefold()) for part in value.split(",")]


def _as_number(text: str) -> str:
    if not _NUMBER.fullmatch(text):
        return text
    sign = "-" if text.startswith("-") else ""
    whole, _, fraction = text.lstrip("+-").partition(".")
    whole, fraction = whole.lstrip("0") or "0", fraction.rstrip("0")
    number = f"{whole}.{fraction}" if fraction else whole
    return number if number == "0" else sign + number


# --- what a charger answered


@dataclass(frozen=True, slots=True)
class Read:
    """One key of an answer to GetConfiguration."""

    key: str
    value: str | None
    readonly: bool


@dataclass(frozen=True, slots=True)
class Reading:
    """What an answer to GetConfiguration says, by folded keys: those that the charger has, and has not."""

    known: dict[str, Read] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)

    @property
    def mentioned(self) -> set[str]:
        """The keys that it says anything of."""
        return self.known.keys() | self.unknown.keys()


def read_answer(response: Mapping[str, Any]) -> Reading:
    """Read the answer to a GetConfiguration, which may break its schema: what cannot be read is left out.

    A key that comes twice counts as it came last; one that is both known and unknown is known.
    """
    reading = Reading()
    for key in _list(response.get("unknownKey")):
        if is_key(key):
            reading.unknown[fold(key)] = key
    for item in _list(response.get("configurationKey")):
        key = item.get("key") if isinstance(item, dict) else None
        if not is_key(key):
            continue
        value = _value(item.get("value"))
        reading.known[fold(key)] = Read(key, value, item.get("readonly") is True)
        reading.unknown.pop(fold(key), None)
    return reading


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def is_key(value: object) -> TypeGuard[str]:
    """Tell whether this is a key that can be kept."""
    if not isinstance(value, str) or not value or "\0" in value:
        return False
    return len(value) <= KEY_MAX and len(fold(value)) <= KEY_MAX


def _value(value: Any) -> str | None:
    """Return a value as text: some chargers write numbers and truth values as such."""
    if value is None or isinstance(value, str):
        return storable(value)
    return orjson.dumps(value).decode().replace("\\u0000", "")


def storable(value: str | None) -> str | None:
    """Return a value without NUL characters, which the database cannot hold."""
    return value.replace("\0", "") if value else value


# --- what is to be done


def tries_of(known: KnownKey | None, wanted: str, now: datetime) -> int:
    """Return how often a value was sent without the charger having it now."""
    if known is None or known.tried_value is None or not same(known.tried_value, wanted):
        return 0
    accepted = known.asked_status == "Accepted" and known.asked_at is not None
    if accepted and known.asked_at is not None and known.asked_at <= now - FORGIVEN_AFTER:
        return 0
    return known.tries


def state_of(known: KnownKey | None, wanted: str, *, booted_at: datetime | None, now: datetime) -> KeyState:
    """Return how a key stands to the value that it should have; `booted_at`: the charger's last boot."""
    if known is None:
        return KeyState.NOT_READ
    if not known.supported:
        return KeyState.NOT_SUPPORTED
    if known.read_at is not None and same(known.value, wanted):
        return KeyState.SAME
    if known.readonly:
        return KeyState.READ_ONLY
    asked = known.asked_status if same(known.asked_value, wanted) else None
    if asked == "RebootRequired" and not _booted_since(known.asked_at, booted_at):
        return KeyState.REBOOT_REQUIRED
    if tries_of(known, wanted, now) >= TRIES:
        return KeyState.GAVE_UP
    if asked in {"Rejected", "NotSupported"}:
        return KeyState.REFUSED
    return KeyState.NOT_READ if known.read_at is None else KeyState.DIFFERS


def _booted_since(moment: datetime | None, booted_at: datetime | None) -> bool:
    return moment is not None and booted_at is not None and booted_at > moment


def is_sent(state: KeyState, tries: int) -> bool:
    """Tell whether a template sends a key in this state, after the charger was asked for it."""
    return tries < TRIES and state in {KeyState.DIFFERS, KeyState.REFUSED}


def overall(states: Collection[KeyState]) -> TemplateState:
    """Return how a charger stands to its template, by the states of the template's keys."""
    if all(state is KeyState.SAME for state in states):
        return TemplateState.IN_SYNC
    if any(state in LOST for state in states):
        return TemplateState.FAILED
    if all(state in {KeyState.SAME, KeyState.REBOOT_REQUIRED} for state in states):
        return TemplateState.REBOOT_REQUIRED
    return TemplateState.DIFFERS


def merged(*templates: Collection[tuple[str, str]]) -> dict[str, tuple[str, str]]:
    """Lay templates over each other, key by key: of later ones the value counts. Returns (key, value) by the
    folded key.
    """
    wanted: dict[str, tuple[str, str]] = {}
    for pairs in templates:
        for key, value in pairs:
            wanted[fold(key)] = (key, value)
    return wanted


def chunks(names: list[str], size: int | None) -> list[list[str]]:
    """Split names into lists of at most `size`; None does not bound."""
    if size is None or size < 1:
        return [names] if names else []
    return [names[start : start + size] for start in range(0, len(names), size)]


def max_keys(value: str | None) -> int | None:
    """Read GetConfigurationMaxKeys (OCPP 1.6 9.1.8); None when it is no number from 1 on."""
    text = (value or "").strip()
    return int(text) if text.isascii() and text.isdigit() and 0 < len(text) < 9 and int(text) > 0 else None


def heartbeat_seconds(value: str | None) -> int | None:
    """Read a HeartbeatInterval as BootNotification.conf can carry it; None when it is no usable number."""
    seconds = max_keys(value)
    return seconds if seconds is not None and seconds <= 86_400 else None

"""Entries of local lists: pure functions of tags and of what went over the wire.

An entry is `{"idTag", "idTagInfo": {"status", "expiryDate"?, "parentIdTag"?}}` (OCPP 1.6 7.4). Tags have no
case (7.27 CiString20): lists are compared by the folded tag.
"""

import hashlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from ohmstead.accounts.authorization import TokenFacts, decide
from ohmstead.accounts.models import TokenStatus
from ohmstead.ocpp.timestamps import format_timestamp, parse_timestamp

Entry = dict[str, Any]
Entries = dict[str, Entry]
"""By the folded tag."""
MAX_VERSION = 2**31 - 1


@dataclass(frozen=True, slots=True)
class KnownTag:
    """An id tag, and whether it is the business's own or one that works everywhere."""

    id_tag: str
    status: TokenStatus
    expires_at: datetime | None = None
    parent_id_tag: str | None = None
    owner: str | None = None
    own: bool = True


@dataclass(frozen=True, slots=True)
class Which:
    """Which tags a list holds: all, or those that match one of the criteria; of these only some statuses.

    `statuses` are what a charger would be told; empty is every status. Texts are compared without case.
    """

    all: bool = False
    everywhere: bool = True
    statuses: frozenset[str] = frozenset()
    parents: frozenset[str] = frozenset()
    owner_prefixes: tuple[str, ...] = ()
    id_tags: frozenset[str] = frozenset()

    def matches(self, tag: KnownTag, status: str) -> bool:
        """Tell whether a tag is on the list."""
        if not (tag.own or self.everywhere) or (self.statuses and status not in self.statuses):
            return False
        if self.all or fold(tag.id_tag) in self.id_tags:
            return True
        if tag.parent_id_tag is not None and fold(tag.parent_id_tag) in self.parents:
            return True
        owner = fold(tag.owner or "")
        return bool(owner) and owner.startswith(self.owner_prefixes)


def fold(text: str) -> str:
    """Return a text as it is compared."""
    return text.lower()


def wanted_entries(tags: Iterable[KnownTag], which: Which, now: datetime) -> Entries:
    """Return the list of a charger: what it would be told of each tag that the rule names.

    The business's own tag comes before one of the same text that works everywhere, as when a charger asks.
    """
    known: dict[str, KnownTag] = {}
    for tag in sorted(tags, key=lambda one: one.own):
        known[fold(tag.id_tag)] = tag
    everywhere = {fold(tag.id_tag): tag for tag in tags if not tag.own}
    entries: Entries = {}
    for folded, tag in sorted(known.items()):
        # The parent of a tag that works everywhere is one that works everywhere too.
        among = known if tag.own else everywhere
        parent = among.get(fold(tag.parent_id_tag)) if tag.parent_id_tag is not None else None
        status = decide(_facts(tag), None if parent is None else _facts(parent), now)
        if which.matches(tag, status):
            entries[folded] = entry_of(tag, status)
    return entries


def entry_of(tag: KnownTag, status: str) -> Entry:
    """Return the entry of a tag as it goes over the wire."""
    info: dict[str, Any] = {"status": str(status)}
    if tag.expires_at is not None:
        info["expiryDate"] = format_timestamp(tag.expires_at)
    if tag.parent_id_tag is not None:
        info["parentIdTag"] = tag.parent_id_tag
    return {"idTag": tag.id_tag, "idTagInfo": info}


def _facts(tag: KnownTag) -> TokenFacts:
    return TokenFacts(tag.status, tag.expires_at)


def by_tag(listed: Iterable[Mapping[str, Any]]) -> Entries:
    """Return entries by their folded tags, times in one form; of equal tags the last one counts.

    Those without `idTagInfo` are left out: a Full list cannot have them (OCPP 1.6 7.4).
    """
    return {fold(one["idTag"]): _plain(one) for one in listed if one.get("idTagInfo") is not None}


def _plain(entry: Mapping[str, Any]) -> Entry:
    info = {name: value.replace("\0", "?") for name, value in entry["idTagInfo"].items()}
    if "expiryDate" in info:
        with suppress(ValueError):  # kept as it was sent
            info["expiryDate"] = format_timestamp(parse_timestamp(info["expiryDate"]))
    return {"idTag": entry["idTag"].replace("\0", "?"), "idTagInfo": info}


def updated(entries: Entries, changes: Iterable[Mapping[str, Any]]) -> Entries:
    """Return a list after a Differential: an entry without `idTagInfo` is taken out (OCPP 1.6 7.4)."""
    result = dict(entries)
    for one in changes:
        if one.get("idTagInfo") is None:
            result.pop(fold(one["idTag"]), None)
        else:
            result[fold(one["idTag"])] = _plain(one)
    return result


def digest(entries: Entries) -> str:
    """Return what two lists have in common only if they are the same."""
    listed = [entries[folded] for folded in sorted(entries)]
    return hashlib.sha256(orjson.dumps(listed, option=orjson.OPT_SORT_KEYS)).hexdigest()


@dataclass(frozen=True, slots=True)
class Difference:
    """How a list differs from the wanted one: folded tags that it lacks, has otherwise, has too much."""

    missing: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    superfluous: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.missing or self.changed or self.superfluous)


def difference(wanted: Entries, has: Entries) -> Difference:
    """Hold a list against the wanted one."""
    return Difference(
        missing=[tag for tag in wanted if tag not in has],
        changed=[tag for tag, entry in wanted.items() if tag in has and has[tag] != entry],
        superfluous=[tag for tag in has if tag not in wanted],
    )


@dataclass(frozen=True, slots=True)
class Update:
    """One SendLocalList: `kind` is its updateType."""

    kind: str
    entries: list[Entry]

    def payload(self, version: int) -> dict[str, Any]:
        """Return the payload of the CALL."""
        return {"listVersion": version, "updateType": self.kind, "localAuthorizationList": self.entries}


def full_updates(wanted: Entries, at_most: int | None) -> list[Update]:
    """Return what replaces a list: a Full, and as Differentials what does not go into one message."""
    chunks = _chunks(list(wanted.values()), at_most) or [[]]
    return [Update("Full", chunks[0]), *(Update("Differential", chunk) for chunk in chunks[1:])]


def due_updates(wanted: Entries, has: Entries, at_most: int | None) -> list[Update]:
    """Return what makes the wanted list of one that is known: nothing, or Differentials, removals first.

    Where only the case of a tag changed, or nearly all, the whole list is sent: a charger that looks at case
    would end with both.
    """
    differs = difference(wanted, has)
    if not differs:
        return []
    recased = any(wanted[tag]["idTag"] != has[tag]["idTag"] for tag in differs.changed)
    number = len(differs.missing) + len(differs.changed) + len(differs.superfluous)
    if recased or number > len(wanted):
        return full_updates(wanted, at_most)
    removals: list[Entry] = [{"idTag": has[tag]["idTag"]} for tag in differs.superfluous]
    changes = [wanted[tag] for tag in (*differs.changed, *differs.missing)]
    return [Update("Differential", chunk) for chunk in _chunks([*removals, *changes], at_most)]


def _chunks(listed: list[Entry], at_most: int | None) -> list[list[Entry]]:
    size = at_most if at_most is not None and at_most > 0 else max(len(listed), 1)
    return [listed[start : start + size] for start in range(0, len(listed), size)]


def next_version(highest: int, *, full: bool) -> int:
    """Return the version of the next list: above all before it, and above 0 (OCPP 1.6 5.10, 5.15).

    After the last number of 32 bits a Full begins at 1 again: it replaces whatever is there.
    """
    if highest < MAX_VERSION:
        return max(highest, 0) + 1
    if not full:
        raise ValueError("only a Full list may begin at 1 again")
    return 1

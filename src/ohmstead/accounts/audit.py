"""Writing the audit trail: every change of state, in the transaction that makes it.

An entry says who (see `acting`), what was done to which entity, from what to what, why, and by which
request. Values that tell of a person are encrypted with the key of that person. No lock is taken and
nothing is hashed here: sealing is a job's work (`audit_seals`).
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import inspect
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.audit_models import AuditEntry
from ohmstead.accounts.person_keys import PersonKeys
from ohmstead.core.acting import Acting, acting
from ohmstead.core.clock import Clock, SystemClock
from ohmstead.core.db import Base
from ohmstead.core.http import utc_z

SECRETS = frozenset({"password", "password_hash", "secret", "token", "code", "wrapped"})
"""Members that are never written, whatever somebody hands in: only that they changed."""
TAGS = frozenset({"id_tag", "parent_id_tag", "id_tags", "idTag", "parentIdTag", "parents", "owner_prefixes"})
"""An id tag is somebody's: only `personal` may name it."""
PLACES = frozenset({"backoffice_id", "station_id", "station_ids", "operator_station_ids"})
"""Members that say where something belongs: of something that moves they are not for the other business."""
REASON = "reason"
"""The member of what is encrypted that holds the reason, where an entry is about a person."""
UNTOLD = frozenset({"created_at", "updated_at", "boot_awaited"})
"""Columns that an entry says better by its own time, or by its name."""


async def record(
    session: AsyncSession,
    action: str,
    *,
    entity: str,
    entity_id: object,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    reason: str | None = None,
    person_id: UUID | None = None,
    personal: dict[str, Any] | None = None,
    backoffice_id: UUID | None = None,
    station_id: UUID | None = None,
    by: Acting | None = None,
) -> None:
    """Write an entry. `action` names what was done (`station.updated`), `entity` what it was done to.

    Of `before` and `after` only the members that differ are kept. What tells of a person goes into
    `personal`, with whose it is in `person_id`; so does the reason, which may tell of it too.
    `backoffice_id` and `station_id` say who may read it. What moves from one business to another has an entry
    at each of them, with its own side only. `by` is who did it, where it is not whoever is at work.
    """
    if _moves(before, after):
        left = {name: value for name, value in (before or {}).items() if name in PLACES}
        await _write(
            session, action, entity=entity, entity_id=entity_id, before=left, reason=reason,
            person_id=person_id, backoffice_id=left["backoffice_id"],
            station_id=left.get("station_id", station_id), by=by,
        )  # fmt: skip
        before = {name: value for name, value in (before or {}).items() if name not in PLACES}
    await _write(
        session, action, entity=entity, entity_id=entity_id, before=before, after=after, reason=reason,
        person_id=person_id, personal=personal, backoffice_id=backoffice_id, station_id=station_id, by=by,
    )  # fmt: skip


def _moves(before: dict[str, Any] | None, after: dict[str, Any] | None) -> bool:
    was, is_now = ((side or {}).get("backoffice_id") for side in (before, after))
    return was is not None and is_now is not None and was != is_now


async def _write(
    session: AsyncSession,
    action: str,
    *,
    entity: str,
    entity_id: object,
    before: dict[str, Any] | None,
    after: dict[str, Any] | None = None,
    reason: str | None,
    person_id: UUID | None,
    personal: dict[str, Any] | None = None,
    backoffice_id: UUID | None,
    station_id: UUID | None,
    by: Acting | None,
) -> None:
    if reason and person_id is not None:
        personal, reason = {**(personal or {}), REASON: reason[:500]}, None
    here = acting()
    who = here if by is None else replace(by, request_id=by.request_id or here.request_id)
    clock: Clock = session.info.get("clock") or SystemClock()
    old, new = differing(before, after)
    entry = AuditEntry(
        at=clock.now(),
        action=action,
        entity=entity,
        entity_id=str(entity_id)[:64],
        actor_kind=who.kind,
        actor_id=who.id,
        actor_role=who.role,
        operator_station_ids=sorted(who.station_ids),
        backoffice_id=backoffice_id,
        station_id=station_id,
        before=old,
        after=new,
        reason=reason[:500] if reason else None,
        request_id=who.request_id,
    )
    told = {name: value for name, value in (("email", who.email), ("address", who.address)) if value}
    whose = _whose(who, person_id, backoffice_id)
    keys: PersonKeys | None = session.info.get("person_keys")
    if keys is None and (told or personal):
        raise LookupError("this unit of work has no keys of persons: see `Database.session_info`")
    if keys is not None and told and whose is not None:
        entry.actor_person_id = whose
        entry.actor_personal = await keys.encrypt(session, whose, told)
    if keys is not None and personal and person_id is not None:
        entry.personal = await keys.encrypt(session, person_id, plain(personal, TAGS))
    entry.person_id = person_id
    session.add(entry)


def _whose(who: Acting, person_id: UUID | None, backoffice_id: UUID | None) -> UUID | None:
    """Return with whose key the trail keeps from where something was done.

    The actor's; an API key has one of its own; of somebody who has not signed in that of the person, else of
    the business, that it was done to.
    """
    if who.person_id is not None:
        return who.person_id
    if who.kind == "api_key" and who.id is not None:
        return UUID(who.id)
    return person_id or backoffice_id


def state(row: Base) -> dict[str, Any]:
    """Return the columns of a row as they are now, to be given to `record_row` after it has changed."""
    return {
        column.key: getattr(row, column.key)
        for column in inspect(type(row)).column_attrs
        if column.key not in UNTOLD
    }


async def record_row(
    session: AsyncSession,
    action: str,
    row: Base,
    before: Mapping[str, Any] | None = None,
    *,
    gone: bool = False,
    also: Mapping[str, Any] | None = None,
    reason: str | None = None,
    person_id: UUID | None = None,
    at: Any = None,
    by: Acting | None = None,
) -> None:
    """Write an entry about a row: made, changed (`before` is its `state` from then) or deleted (`gone`).

    Its columns say what it was and is, whose it is, and what tells of a person. One that is as it was is not
    written down, unless there is something to say beside its columns (`also`). The entity is the first part
    of the action. `at` says whose it is and at which station where the row itself does not: its charger.
    """
    now = state(row)
    if before is None:
        now = {name: value for name, value in now.items() if value is not None}
    elif not also and all(before.get(name) == value for name, value in now.items()):
        return
    was, is_now = (now, None) if gone else (before, {**now, **(also or {})})
    private = {
        column.key
        for column in inspect(type(row)).columns
        if column.info.get("personal") and column.key in now
    }
    told = {
        "before": _told(private, was, is_now),
        "after": _told(private, is_now, was),
    }
    entity = action.partition(".")[0]
    place = row if at is None else at
    await record(
        session,
        action,
        entity=entity,
        entity_id=now["id"],
        before=_without(was, private),
        after=_without(is_now, private),
        reason=reason,
        person_id=person_id,
        personal={when: side for when, side in told.items() if side} or None,
        backoffice_id=getattr(place, "backoffice_id", None),
        station_id=now["id"] if entity == "station" else getattr(place, "station_id", None),
        by=by,
    )


def _told(
    private: set[str], here: Mapping[str, Any] | None, there: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return what tells of a person on one side, and not on the other."""
    if here is None:
        return {}
    return {
        name: here[name]
        for name in private
        if here.get(name) is not None and (there is None or there.get(name) != here[name])
    }


def _without(values: Mapping[str, Any] | None, names: set[str]) -> dict[str, Any] | None:
    return None if values is None else {name: value for name, value in values.items() if name not in names}


def differing(
    before: dict[str, Any] | None, after: dict[str, Any] | None
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Return what differs between two states, as JSON; a state that is missing stays so."""
    if before is None or after is None:
        return None if before is None else plain(before), None if after is None else plain(after)
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return (
        plain({name: before[name] for name in names if name in before}),
        plain({name: after[name] for name in names if name in after}),
    )


def plain(values: dict[str, Any], shown: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Return values as JSON can hold them; of a secret, and of an id tag, only that it is there.

    Members whose names are in `shown` are not hidden.
    """
    hidden = (SECRETS | TAGS) - shown
    return {
        name: "***" if name in hidden and value is not None else _plain(value, shown)
        for name, value in values.items()
    }


def _plain(value: Any, shown: frozenset[str]) -> Any:
    if isinstance(value, dict):
        return plain(value, shown)
    if isinstance(value, list | tuple | set | frozenset):
        items = [_plain(one, shown) for one in value]
        return sorted(items, key=str) if isinstance(value, set | frozenset) else items
    if isinstance(value, datetime):
        return utc_z(value)
    if isinstance(value, Decimal):
        return float(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    return str(value).replace("\0", "")  # which a charger may say, and the database cannot keep

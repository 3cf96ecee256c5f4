"""Writing the audit trail: every change of state, in the transaction that makes it.

An entry says who (see `acting`), what was done to which entity, from what to what, why, and by which
request. Values that tell of a person are encrypted with the key of that person. No lock is taken and
nothing is hashed here: sealing is a job's work (`audit_seals`).
"""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.audit_models import AuditEntry
from ohmstead.accounts.person_keys import PersonKeys
from ohmstead.core.acting import acting
from ohmstead.core.clock import Clock
from ohmstead.core.http import utc_z

SECRETS = frozenset({"password", "password_hash", "secret", "token", "code", "wrapped"})
"""Members that are never written, whatever somebody hands in: only that they changed."""


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
) -> None:
    """Write an entry. `action` names what was done (`station.updated`), `entity` what it was done to.

    Of `before` and `after` only the members that differ are kept. What tells of a person goes into
    `personal`, with whose it is in `person_id`. `backoffice_id` and `station_id` say who may read it.
    """
    who = acting()
    keys: PersonKeys = session.info["person_keys"]
    clock: Clock = session.info["clock"]
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
    if told and who.person_id is not None:
        entry.actor_person_id = who.person_id
        entry.actor_personal = await keys.encrypt(session, who.person_id, told)
    if personal and person_id is not None:
        entry.personal = await keys.encrypt(session, person_id, plain(personal))
    entry.person_id = person_id
    session.add(entry)


def differing(
    before: dict[str, Any] | None, after: dict[str, Any] | None
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Return what differs between two states, as JSON; a state that is missing stays so."""
    old = None if before is None else plain(before)
    new = None if after is None else plain(after)
    if old is None or new is None:
        return old, new
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return (
        {name: old[name] for name in names if name in old},
        {name: new[name] for name in names if name in new},
    )


def plain(values: dict[str, Any]) -> dict[str, Any]:
    """Return values as JSON can hold them; of a secret only that it is there."""
    return {
        name: "***" if name in SECRETS and value is not None else _plain(value)
        for name, value in values.items()
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return plain(value)
    if isinstance(value, list | tuple | set | frozenset):
        items = [_plain(one) for one in value]
        return sorted(items, key=str) if isinstance(value, set | frozenset) else items
    if isinstance(value, datetime):
        return utc_z(value)
    if isinstance(value, Decimal):
        return float(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    return str(value)

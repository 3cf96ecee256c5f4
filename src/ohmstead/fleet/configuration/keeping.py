"""Keeping what chargers tell of their configuration: the last known keys, and how they changed."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.fleet.configuration.keys import (
    KEYS_MAX,
    MAX_KEYS,
    Reading,
    fold,
    is_key,
    max_keys,
    same,
    storable,
)
from ohmstead.fleet.configuration.models import ConfigurationChange, ConfigurationKey, ConfigurationTurn
from ohmstead.ocpp.masking import is_secret_name
from ohmstead.stations.models import Charger

GET = "GetConfiguration"
CHANGE = "ChangeConfiguration"

Rows = dict[str, ConfigurationKey]
"""Keys of one charger, by their folded names."""


async def lock(session: AsyncSession, charger_id: str) -> ConfigurationTurn | None:
    """Let one after the other write the keys of a charger. None when there is no such charger any more."""
    there = select(Charger.id).where(Charger.id == charger_id)
    await session.execute(
        insert(ConfigurationTurn).from_select(["charger_id"], there).on_conflict_do_nothing()
    )
    query = select(ConfigurationTurn).where(ConfigurationTurn.charger_id == charger_id).with_for_update()
    return (await session.execute(query.execution_options(populate_existing=True))).scalar_one_or_none()


async def rows_of(session: AsyncSession, charger_id: str, names: Iterable[str] | None = None) -> Rows:
    """Return the keys of a charger, or those of some names in whatever case."""
    query = select(ConfigurationKey).where(ConfigurationKey.charger_id == charger_id)
    if names is not None:
        query = query.where(ConfigurationKey.folded.in_([fold(name) for name in names]))
    rows = await session.execute(query.execution_options(populate_existing=True))
    return {row.folded: row for row in rows.scalars()}


async def keep_reading(
    session: AsyncSession, charger_id: str, asked: list[str], reading: Reading, now: datetime
) -> None:
    """Keep what an answer to GetConfiguration says; `asked` are the keys that it was asked for (none: all).

    A key that it was asked for alone and says nothing of is one that it does not know. What is newer than
    this answer stays. Values of secret keys are not kept.
    """
    if await lock(session, charger_id) is None:
        return
    unknown = dict(reading.unknown)
    if len(asked) == 1 and is_key(asked[0]) and fold(asked[0]) not in reading.mentioned:
        unknown[fold(asked[0])] = asked[0]
    rows = await rows_of(session, charger_id, [*reading.known, *unknown])
    room = KEYS_MAX - await _number(session, charger_id)
    for folded, read in reading.known.items():
        row = rows.get(folded)
        if row is None:
            if room <= 0:
                continue
            room -= 1
            row = rows[folded] = _added(session, charger_id, folded, read.key)
        if _is_newer(row, now):
            continue
        value = None if is_secret_name(read.key) else read.value
        if row.read_at is not None and row.value != value:
            session.add(_change(row, value, GET, now))
        row.key, row.value, row.readonly, row.supported = read.key, value, read.readonly, True
        row.read_at, row.read_by = now, GET
        if row.tried_value is not None and same(row.tried_value, value):
            row.tries = 0
    for folded, key in unknown.items():
        row = rows.get(folded)
        if row is None:
            if room <= 0:
                continue
            room -= 1
            row = _added(session, charger_id, folded, key)
        if not _is_newer(row, now):
            _unsupported(session, row, GET, now)
    await session.flush()


async def keep_change(
    session: AsyncSession, charger_id: str, key: str, value: str, *, status: str, now: datetime
) -> None:
    """Keep what came of a ChangeConfiguration: `status` is the charger's word, or `CallError`, `Timeout`,
    `Offline`. The value of a secret key is not kept.
    """
    if not is_key(key) or await lock(session, charger_id) is None:
        return
    folded = fold(key)
    secret = is_secret_name(key)
    value = storable(value) or ""
    row = (await rows_of(session, charger_id, [key])).get(folded)
    if row is None:
        # A key of which nothing came is not made known by it: it may be a slip of the pen.
        if status not in {"Accepted", "RebootRequired", "Rejected", "NotSupported"}:
            return
        if await _number(session, charger_id) >= KEYS_MAX:
            return
        row = _added(session, charger_id, folded, key)
    if row.asked_at is not None and row.asked_at > now:
        return
    kept = None if secret else value
    row.asked_value, row.asked_status, row.asked_at = kept, status, now
    if status in {"Accepted", "RebootRequired"}:
        if secret or row.value != value:
            session.add(_change(row, kept, CHANGE, now, status))
        row.supported = True
    if status == "Accepted":
        row.value, row.read_at, row.read_by = kept, now, CHANGE
        if row.readonly:  # it told otherwise before: its deed counts
            row.readonly = False
    elif status == "NotSupported" and row.read_by != GET:  # what it told of itself stays
        _unsupported(session, row, CHANGE, now)
    await session.flush()


async def keep_try(session: AsyncSession, charger_id: str, key: str, value: str, tries: int) -> None:
    """Count that a template is about to send a value, before it does: a charger may restart by it.

    `tries` is the number with this one.
    """
    row = (await rows_of(session, charger_id, [key])).get(fold(key))
    if row is not None:
        row.tries, row.tried_value = tries, value
        await session.flush()


async def known_max_keys(session: AsyncSession, charger_id: str) -> int | None:
    """Return how many keys the charger may be asked for at once, when it has told."""
    row = (await rows_of(session, charger_id, [MAX_KEYS])).get(MAX_KEYS)
    return max_keys(row.value) if row is not None else None


def _added(session: AsyncSession, charger_id: str, folded: str, key: str) -> ConfigurationKey:
    row = ConfigurationKey(charger_id=charger_id, folded=folded, key=key, supported=True, tries=0)
    session.add(row)
    return row


async def _number(session: AsyncSession, charger_id: str) -> int:
    query = select(func.count()).where(ConfigurationKey.charger_id == charger_id)
    return int((await session.execute(query)).scalar_one())


def _is_newer(row: ConfigurationKey, now: datetime) -> bool:
    return row.read_at is not None and row.read_at > now


def _unsupported(session: AsyncSession, row: ConfigurationKey, command: str, now: datetime) -> None:
    if row.value is not None:
        session.add(_change(row, None, command, now))
    row.value, row.readonly, row.supported = None, None, False
    row.read_at, row.read_by = now, command


def _change(
    row: ConfigurationKey, value: str | None, command: str, now: datetime, status: str | None = None
) -> ConfigurationChange:
    """Return that a key, as it is in its row, becomes another value."""
    return ConfigurationChange(
        charger_id=row.charger_id,
        at=now,
        key=row.key,
        from_value=row.value,
        to_value=value,
        command=command,
        status=status,
    )

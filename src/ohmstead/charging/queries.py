"""Reads of sessions and meter values."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Select, func, or_, select, tuple_
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.principal import Principal
from ohmstead.charging.energy import EnergyMeter, Sample
from ohmstead.charging.models import MeterValue, Session, SessionStatus
from ohmstead.core.errors import Invalid, NotFound
from ohmstead.core.http import Page, Paging, count, encode_cursor

INT64 = 2**63
MARGIN = timedelta(days=1)
"""How far a charger's clock may be off before its samples are not looked for (see `charging.energy`)."""

Row = TypeVar("Row")
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class SortKey:
    """A column that a list is ordered by, and how its value is read back from a cursor."""

    column: Any
    parse: Callable[[Any], Any]


async def keyset_page(
    session: AsyncSession,
    query: Select[Row],
    paging: Paging,
    keys: Sequence[SortKey],
    item: Callable[[Row], Item],
    *,
    oldest_first: bool = False,
) -> Page[Item]:
    """Read one page of rows in the order of `keys` (unique together), newest first if not said otherwise.

    Raises `Invalid` for the cursor of another list.
    """
    columns = [key.column for key in keys]
    ordered = query
    if paging.after is not None:
        last = _cursor_values(paging.after, keys)
        row, first, bound = tuple_(*columns), columns[0], last[0]
        # The row comparison alone does not tell the planner which days of a partitioned table to leave out.
        if oldest_first:
            ordered = ordered.where(first >= bound, row > tuple_(*last))
        else:
            ordered = ordered.where(first <= bound, row < tuple_(*last))
    ordered = ordered.order_by(*(column if oldest_first else column.desc() for column in columns))
    rows = list((await session.scalars(ordered.limit(paging.limit + 1))).all())
    more = len(rows) > paging.limit
    rows = rows[: paging.limit]
    return Page(
        items=[item(row) for row in rows],
        next_cursor=encode_cursor(*(getattr(rows[-1], column.key) for column in columns)) if more else None,
        total=await count(session, query),
    )


def _cursor_values(after: Sequence[Any], keys: Sequence[SortKey]) -> list[Any]:
    try:
        return [key.parse(value) for key, value in zip(keys, after, strict=True)]
    except (TypeError, ValueError, AttributeError):
        raise Invalid(
            "The cursor is not one of this list. Leave it out to begin at the first page.",
            fields={"cursor": "not a cursor of this list"},
        ) from None


def cursor_time(key: Any) -> datetime:
    """Read a time of a cursor, aware UTC."""
    moment = datetime.fromisoformat(key)
    if moment.tzinfo is None:
        raise ValueError(key)
    return moment.astimezone(UTC)


def cursor_int64(key: Any) -> int:
    """Read a bigint of a cursor."""
    if not isinstance(key, int) or not -INT64 <= key < INT64:
        raise ValueError(key)
    return key


NEWEST_SESSION = (SortKey(Session.occurred_at, cursor_time), SortKey(Session.id, UUID))
SAMPLED = (SortKey(MeterValue.sampled_at, cursor_time), SortKey(MeterValue.digest, cursor_int64))


@dataclass(frozen=True, slots=True)
class TransactionFilter:
    """What a list of transactions is narrowed to; None does not narrow."""

    charger: str | None = None
    station: UUID | None = None
    connector: int | None = None
    id_tag: str | None = None
    status: SessionStatus | None = None
    unmatched: bool | None = None
    since: datetime | None = None
    until: datetime | None = None
    q: str | None = None


def transactions(principal: Principal, wanted: TransactionFilter) -> Select[Session]:
    """Select the sessions of the caller's scope that fit. `since` is included, `until` is not."""
    query = principal.within(select(Session), Session.backoffice_id, Session.station_id)
    if wanted.charger is not None:
        query = query.where(Session.charger_id == wanted.charger)
    if wanted.station is not None:
        query = query.where(Session.station_id == wanted.station)
    if wanted.connector is not None:
        query = query.where(Session.connector_id == wanted.connector)
    if wanted.id_tag is not None:
        query = query.where(func.lower(Session.id_tag) == wanted.id_tag.lower())
    if wanted.status is not None:
        query = query.where(Session.status == wanted.status)
    if wanted.unmatched is not None:
        query = query.where(Session.unmatched == wanted.unmatched)
    if wanted.since is not None:
        query = query.where(Session.occurred_at >= wanted.since)
    if wanted.until is not None:
        query = query.where(Session.occurred_at < wanted.until)
    if wanted.q is not None:
        found = [
            Session.id_tag.icontains(wanted.q, autoescape=True),
            Session.charger_id.icontains(wanted.q, autoescape=True),
        ]
        number = _transaction_number(wanted.q)
        if number is not None:
            found.append(Session.ocpp_transaction_id == number)
        query = query.where(or_(*found))
    return query


async def transaction(session: AsyncSession, principal: Principal, key: str) -> Session:
    """Return the session with this id, or with this `ocpp_transaction_id` (never an unmatched one).

    Raises `NotFound` also for what lies outside of the caller's scope. The row is read anew.
    """
    query = principal.within(select(Session), Session.backoffice_id, Session.station_id)
    number = _transaction_number(key)
    if number is not None:
        query = query.where(Session.ocpp_transaction_id == number, ~Session.unmatched)
    else:
        query = query.where(Session.id == _uuid(key))
    found = (await session.scalars(query.execution_options(populate_existing=True))).one_or_none()
    if found is None:
        raise _unknown(key)
    return found


async def active_sessions(
    session: AsyncSession, principal: Principal, *, charger_id: str | None, limit: int
) -> list[Session]:
    """Return the open sessions of the caller's scope, newest first, at most `limit`."""
    wanted = TransactionFilter(charger=charger_id, status=SessionStatus.ACTIVE, unmatched=False)
    query = transactions(principal, wanted).order_by(Session.occurred_at.desc(), Session.id.desc())
    return list((await session.scalars(query.limit(limit))).all())


def meter_values(row: Session, now: datetime) -> Select[MeterValue] | None:
    """Select the meter values of a session, or None when there can be none (an unmatched stop).

    The time is bounded on both sides, so that only the days of the session are read: from its start
    to its end by the charger's clock and by ours, a day of margin around. A charger that believes in
    1970 has a long range, and still one index probe a day.
    """
    if row.unmatched or row.connector_id is None or row.ocpp_transaction_id is None:
        return None
    begun = min(moment for moment in (row.started_at, row.received_at) if moment is not None)
    ended = max(
        moment
        for moment in (
            row.received_at,
            row.stopped_at,
            row.closed_at,
            row.last_sample_at,
            now if row.status == SessionStatus.ACTIVE else None,
        )
        if moment is not None
    )
    return select(MeterValue).where(
        MeterValue.charger_id == row.charger_id,
        MeterValue.connector_id == row.connector_id,
        MeterValue.transaction_id == row.ocpp_transaction_id,
        MeterValue.sampled_at >= _shift(begun, -MARGIN),
        MeterValue.sampled_at <= _shift(ended, MARGIN),
    )


@dataclass(frozen=True, slots=True)
class Bucket:
    """The last known values of one piece of a session's time."""

    at: datetime
    register_wh: Decimal | None
    energy_wh: Decimal | None
    power_w: float | None
    soc_percent: float | None


@dataclass(frozen=True, slots=True)
class Thinned:
    """A session's meter values, thinned out."""

    points: list[Bucket]
    bucket: timedelta
    samples: int


async def plot(session: AsyncSession, row: Session, query: Select[MeterValue], points: int) -> Thinned:
    """Thin a session's meter values out to at most `points`, in the database.

    The time from the first to the last sample is cut into equal buckets; a point has the last register,
    power and state of charge that its bucket tells, and the energy since the start by the rule of
    `charging.energy`, so a meter that began again at 0 does not make the curve fall.
    """
    bounds = query.with_only_columns(
        func.min(MeterValue.sampled_at), func.max(MeterValue.sampled_at), func.count()
    )
    first, last, samples = (await session.execute(bounds)).one()
    if samples == 0:
        return Thinned([], timedelta(), 0)
    # A microsecond more than the even share: so the last sample falls into the last bucket, not behind it.
    bucket = (last - first) // points + timedelta(microseconds=1)
    newest_first = MeterValue.sampled_at.desc(), MeterValue.digest.desc()

    def latest(column: Any) -> Any:
        return func.array_agg(aggregate_order_by(column, *newest_first)).filter(column.is_not(None))[1]

    binned = func.date_bin(bucket, MeterValue.sampled_at, first)
    buckets = (
        query.with_only_columns(
            func.max(MeterValue.sampled_at),
            latest(MeterValue.register_wh),
            latest(MeterValue.power_w),
            latest(MeterValue.soc_percent),
        )
        .group_by(binned)
        .order_by(binned)
    )
    meter = EnergyMeter(kept=None)
    started_at = row.started_at if row.started_at is not None else first
    meter.start(None if row.meter_start is None else Decimal(row.meter_start), started_at)
    thinned = []
    for at, register, power, soc in await session.execute(buckets):
        if register is not None:
            meter.add(Sample(at, register))
        energy = None if register is None else meter.energy.wh
        thinned.append(Bucket(at, register, energy, power, soc))
    return Thinned(thinned, bucket, samples)


def refuse_nul(q: str | None) -> str | None:
    """Return the free text of a search; PostgreSQL knows no NUL character, so it finds nothing."""
    if q is not None and "\x00" in q:
        raise Invalid("`q` must not hold the NUL character.", fields={"q": "holds the NUL character"})
    return q


def _transaction_number(text: str) -> int | None:
    if not (text.isascii() and text.isdigit() and len(text) <= 19):
        return None
    number = int(text)
    return number if number < INT64 else None


def _uuid(key: str) -> UUID:
    try:
        return UUID(key)
    except ValueError:
        raise _unknown(key) from None


def _unknown(key: str) -> NotFound:
    return NotFound(
        f"There is no transaction {key[:40]}.",
        detail="Give the id of a transaction, or its ocpp_transaction_id.",
    )


def _shift(moment: datetime, by: timedelta) -> datetime:
    try:
        return moment + by
    except OverflowError:  # a charger may believe in the year 1 or 9999
        return moment

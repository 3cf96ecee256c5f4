"""Reads of sessions and meter values."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, or_, select
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.models import Token
from ohmstead.accounts.principal import Principal
from ohmstead.charging.energy import EnergyMeter, Sample
from ohmstead.charging.figures import figures_written
from ohmstead.charging.models import MeterValue, Session, SessionStatus
from ohmstead.core.errors import NotFound
from ohmstead.core.paging import Order, Paging, Slice, containing, number_key, time_key, uuid_key

INT64 = 2**63
MARGIN = timedelta(days=1)
"""How far a charger's clock may be off before its samples are not looked for (see `charging.energy`)."""

SESSIONS = Order(
    keys={"occurred_at": time_key(Session.occurred_at)}, tie=uuid_key(Session.id), default="-occurred_at"
)
SAMPLES = Order(
    keys={"sampled_at": time_key(MeterValue.sampled_at)},
    tie=number_key(MeterValue.digest),
    default="sampled_at",
)


@dataclass(frozen=True, slots=True)
class TransactionFilter:
    """What a list of transactions is narrowed to; None does not narrow."""

    charger: str | None = None
    station: UUID | None = None
    connector: int | None = None
    id_tag: str | None = None
    status: SessionStatus | None = None
    unmatched: bool | None = None
    simulated: bool | None = None
    since: datetime | None = None
    until: datetime | None = None
    q: str | None = None


def transactions(principal: Principal, wanted: TransactionFilter) -> Select[Session]:
    """Select the sessions of the caller's scope that fit. `since` is included, `until` is not."""
    return _fitting(principal.within(select(Session), Session.backoffice_id, Session.station_id), wanted)


async def sessions_of_driver(
    session: AsyncSession, principal: Principal, driver_id: UUID, paging: Paging
) -> Slice[Session]:
    """Return a page of what a driver has charged with its cards, newest first.

    The driver sees all of it, others what is in their scope. Whether the caller sees the driver at all has
    been asked before.
    """
    await figures_written(session)
    cards = select(Token.id).where(Token.driver_id == driver_id)
    query = select(Session).where(Session.token_id.in_(cards))
    if principal.user_id != driver_id:
        query = principal.within(query, Session.backoffice_id, Session.station_id)
    return await SESSIONS.slice(session, _fitting(query, TransactionFilter(q=paging.q)), paging)


def _fitting(query: Select[Session], wanted: TransactionFilter) -> Select[Session]:
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
    if wanted.simulated is not None:
        query = query.where(Session.simulated == wanted.simulated)
    if wanted.since is not None:
        query = query.where(Session.occurred_at >= wanted.since)
    if wanted.until is not None:
        query = query.where(Session.occurred_at < wanted.until)
    found = containing(wanted.q, Session.id_tag, Session.charger_id)
    number = _transaction_number(wanted.q or "")
    return query.where(found if number is None else or_(found, Session.ocpp_transaction_id == number))


async def transaction(session: AsyncSession, principal: Principal, key: str) -> Session:
    """Return the session with this id, or with this `ocpp_transaction_id` (never an unmatched one).

    Raises `NotFound` also for what lies outside of the caller's scope. The row is read anew.
    """
    await figures_written(session)
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
    await figures_written(session)
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

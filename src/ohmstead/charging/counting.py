"""Meter values and what they add up to: counted anew from all that is stored, where one sum does not follow
from the last.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import func, literal, select, true
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.charging import events
from ohmstead.charging.anomalies import measured
from ohmstead.charging.clocks import BELIEVABLE_FUTURE, latest_time
from ohmstead.charging.ending import take_energy
from ohmstead.charging.energy import EnergyMeter
from ohmstead.charging.measuring import connector_power_w, live_meter, measure
from ohmstead.charging.metering import METER_VALUE, Metered, OpenSession, sampled_at
from ohmstead.charging.models import ClosedBy, MeterValue, Session, SessionStatus
from ohmstead.charging.starting import one_at_a_time
from ohmstead.core.db import publish, raw_connection
from ohmstead.core.facts import write_facts
from ohmstead.core.jobs import emit
from ohmstead.stations.models import Charger


@dataclass(frozen=True, slots=True)
class Added:
    """The session that values were counted for; `opened` is what to count on from while it is open."""

    session: Session
    opened: OpenSession | None


async def add_meter_values(
    session: AsyncSession,
    charger_id: str,
    values: list[Metered],
    transaction_id: int | None,
    now: datetime,
) -> Added | None:
    """Write values that do not simply go on: late, odd, or of a session that has ended.

    The energy of their session is worked out anew from all that is stored. Returns that session.
    """
    await one_at_a_time(session, charger_id)
    await write_facts(await raw_connection(session), METER_VALUE, [value.row for value in values])
    if transaction_id is None:
        return None
    row = await session.scalar(
        select(Session).where(
            Session.ocpp_transaction_id == transaction_id,
            Session.charger_id == charger_id,
            Session.unmatched.is_(False),
        )
    )
    if row is None:
        return None
    # One that names the transaction of another connector counts for neither.
    values = sorted(
        (value for value in values if value.row["connector_id"] == row.connector_id), key=sampled_at
    )
    if not values:
        return None
    before = row.energy_wh
    opened = None
    if row.status == SessionStatus.ACTIVE:
        opened = await _count_anew(session, row, values, now)
        _take_figures(row, opened)
    else:
        times = [value.sampled_at for value in values]
        latest = latest_time(row.started_at or row.received_at, row.received_at, now)
        believed = [at for at in times if at <= latest]
        if row.stopped_at is not None and row.closed_by != ClosedBy.CHARGER:
            # When it ended was our guess: a later value of it knows better.
            row.stopped_at = max([row.stopped_at, *believed])
        row.last_sample_at = max(filter(None, [row.last_sample_at, *believed]), default=None)
        take_energy(row, await measure(session, row, times))
    await session.flush()
    publish(session, events.session_event("session.updated", row))
    if row.status == SessionStatus.COMPLETED and row.energy_wh != before:
        await emit(session, events.SESSION_CORRECTED, session_id=str(row.id))
    return Added(row, opened)


async def measure_again(
    session: AsyncSession, charger_id: str, transaction_id: int, last_sample_at: datetime
) -> None:
    """Measure a session once more that we closed while values of it came in."""
    await one_at_a_time(session, charger_id)
    row = await session.scalar(
        select(Session).where(
            Session.ocpp_transaction_id == transaction_id,
            Session.status == SessionStatus.COMPLETED,
            Session.unmatched.is_(False),
        )
    )
    if row is None or row.stopped_at is None:
        return
    before = row.energy_wh
    if row.closed_by != ClosedBy.CHARGER:
        row.stopped_at = max(row.stopped_at, last_sample_at)
    row.last_sample_at = max(row.last_sample_at or last_sample_at, last_sample_at)
    take_energy(row, await measure(session, row))
    if row.energy_wh != before:
        await session.flush()
        publish(session, events.session_event("session.updated", row))
        await emit(session, events.SESSION_CORRECTED, session_id=str(row.id))


async def mend_figures(session: AsyncSession, now: datetime) -> int:
    """Work out anew what open sessions come to whose stored values are newer than their figures.

    Those lag by a second while many values come in (`charging.figures`), and a server that was killed
    left them so. Sessions of chargers that are online are left to the server which counts them. Returns
    how many there were.
    """
    # The latest time of `charging.clocks`: one stray value from years ahead is none that is missing.
    by_charger = Session.started_at + (literal(now) - Session.received_at)
    newest = (
        select(MeterValue.sampled_at, MeterValue.power_w, MeterValue.soc_percent)
        .where(
            MeterValue.charger_id == Session.charger_id,
            MeterValue.connector_id == Session.connector_id,
            MeterValue.transaction_id == Session.ocpp_transaction_id,
            MeterValue.sampled_at > Session.last_sample_at,
            MeterValue.sampled_at <= func.greatest(literal(now), by_charger) + BELIEVABLE_FUTURE,
        )
        .order_by(MeterValue.sampled_at.desc())
        .limit(1)
        .lateral()
    )
    found = await session.execute(
        select(Session, newest.c.sampled_at, newest.c.power_w, newest.c.soc_percent)
        .join(newest, true())
        .join(Charger, Charger.id == Session.charger_id)
        .where(
            Session.status == SessionStatus.ACTIVE, Session.unmatched.is_(False), Charger.online.is_(False)
        )
        .order_by(Session.charger_id)
    )
    mended = found.all()
    for row, at, power_w, soc_percent in mended:
        take_energy(row, await measure(session, row))
        row.last_sample_at = at
        row.power_w = row.power_w if power_w is None else power_w
        row.soc_percent = row.soc_percent if soc_percent is None else soc_percent
    return len(mended)


async def _count_anew(
    session: AsyncSession, row: Session, values: list[Metered], now: datetime
) -> OpenSession:
    """Count all that is stored of an open session, and return what goes on from there.

    That is the session without a meter of its own, if these values go on from what its row says: what is
    odd was then not in them but in what the gateway knew.
    """
    power = await connector_power_w(session, row.charger_id, row.connector_id)
    meter = await live_meter(session, row, power, [value.sampled_at for value in values])
    energy = meter.energy
    plain = short_form(row, power)
    if plain.count(values, now) and not energy.anomalies and plain.energy_wh == energy.wh:
        return plain
    metered = short_form(row, power, meter)
    metered.take_newest(values, now)
    metered.take_energy(energy)
    return metered


def _take_figures(row: Session, opened: OpenSession) -> None:
    row.energy_wh, row.register_wh = opened.energy_wh, opened.register_wh
    row.last_sample_at, row.anomalies = opened.last_sample_at, opened.anomalies
    row.power_w, row.soc_percent = opened.power_w, opened.soc_percent


def short_form(row: Session, power: int, meter: EnergyMeter | None = None) -> OpenSession:
    """Return what the gateway keeps of an open session to count on from it.

    Without the `meter` that has counted its samples, one with anomalies in them cannot be counted on.
    """
    if row.ocpp_transaction_id is None or row.started_at is None:
        raise ValueError("an open session has a transaction id and a start")
    return OpenSession(
        id=row.id,
        transaction_id=row.ocpp_transaction_id,
        connector_id=row.connector_id or 0,
        started_at=row.started_at,
        received_at=row.received_at,
        energy_wh=row.energy_wh or Decimal(0),
        register_wh=row.register_wh,
        last_sample_at=row.last_sample_at or row.started_at,
        max_power_w=power,
        power_w=row.power_w,
        soc_percent=row.soc_percent,
        anomalies=row.anomalies,
        meter=meter,
        trusted=meter is not None or not measured(row.anomalies),
    )

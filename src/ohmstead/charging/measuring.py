"""What a session comes to by all the samples that are stored of it.

Only the days of the session are read: its partitions, and not those of two years. Samples of before are
those of a wrong clock by the rule of `charging.energy`; that there were such is known from when they
came. A long session is thousands of samples and a fifth of a second of work: that is done in a thread of
its own, one session after the other, while the event loop goes on.
"""

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.charging.anomalies import stray_times
from ohmstead.charging.clocks import believable, shift
from ohmstead.charging.energy import DAY, Energy, EnergyMeter, Sample, session_energy
from ohmstead.charging.metering import max_power_w as in_watts
from ohmstead.charging.models import Session
from ohmstead.core.db import raw_connection
from ohmstead.stations.models import Connector

AT_ONCE = 200
"""Samples that are counted, or rows that are read, without a pause: five milliseconds of work."""

SAMPLES = """
SELECT sampled_at, register_wh FROM charging_meter_value
 WHERE charger_id = %(charger_id)s AND connector_id = %(connector_id)s
   AND transaction_id = %(transaction_id)s AND sampled_at >= %(since)s AND register_wh IS NOT NULL
"""
SAMPLES_UNTIL = SAMPLES + " AND sampled_at <= %(until)s"

Result = TypeVar("Result")

_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="measuring")


async def measure(session: AsyncSession, row: Session, told: Iterable[datetime] = ()) -> Energy:
    """Work out the energy of a session from all the values that are stored of it.

    `told` are the times of the values that have just come: those that are too far off to be read are noted.
    """
    samples = await _samples(session, row, told)
    power = await connector_power_w(session, row.charger_id, row.connector_id)

    def work() -> Energy:
        return session_energy(
            meter_start=None if row.meter_start is None else Decimal(row.meter_start),
            started_at=_begin(row),
            samples=samples,
            meter_stop=None if row.meter_stop is None else Decimal(row.meter_stop),
            stopped_at=row.stopped_at,
            max_power_w=power,
        )

    return await _aside(work, len(samples))


async def live_meter(
    session: AsyncSession, row: Session, max_power_w: int, told: Iterable[datetime] = ()
) -> EnergyMeter:
    """Return a meter that has counted all that is stored of an open session, and can go on; see `measure`."""
    samples = await _samples(session, row, told)
    meter = EnergyMeter(max_power_w)

    def work() -> EnergyMeter:
        meter.start(None if row.meter_start is None else Decimal(row.meter_start), _begin(row))
        for sample in sorted(samples, key=lambda one: one.at):
            meter.add(sample)
        return meter

    return await _aside(work, len(samples))


async def connector_power_w(session: AsyncSession, charger_id: str, connector_id: int | None) -> int:
    """Return the most power that a connector can give, in W; energy beyond it is an error of the meter."""
    power = select(Connector.max_power_kw).where(
        Connector.charger_id == charger_id, Connector.connector_id == connector_id
    )
    return in_watts(await session.scalar(power))


async def _samples(session: AsyncSession, row: Session, told: Iterable[datetime]) -> list[Sample]:
    """Read the registers that are stored of a session, and add one for each time that is known to be off.

    The driver makes Python values of thousands of rows: that is done in pieces.
    """
    statement, bounds = stored_samples(row)
    cursor = await (await raw_connection(session)).execute(statement.encode(), bounds)
    samples: list[Sample] = []
    while rows := await cursor.fetchmany(AT_ONCE):
        samples += [Sample(at, register) for at, register in rows]
        if len(rows) == AT_ONCE:
            await asyncio.sleep(0)
    strays = [*told, *stray_times(row.anomalies)]
    until = bounds.get("until")
    off = [at for at in strays if at < bounds["since"] or (until is not None and at > until)]
    return [*samples, *(Sample(at, Decimal(0)) for at in off)]


def stored_samples(row: Session) -> tuple[str, dict[str, Any]]:
    """Return the query for the samples of a session, and its parameters.

    They are read from a day before the start on. The end is open, since few days lie ahead of most
    sessions, but for a charger that has no clock: it would be asked for every day since 1970.
    """
    begin, stopped = _begin(row), row.stopped_at
    values: dict[str, Any] = {
        "charger_id": row.charger_id,
        "connector_id": row.connector_id,
        "transaction_id": row.ocpp_transaction_id,
        "since": shift(begin, -DAY),
    }
    if stopped is None or stopped < begin or believable(stopped, row.received_at):
        return SAMPLES, values
    return SAMPLES_UNTIL, {**values, "until": shift(stopped, DAY)}


def _begin(row: Session) -> datetime:
    if row.started_at is None:
        raise ValueError("only an unmatched record has no start, and it has no energy")
    return row.started_at


async def _aside(work: Callable[[], Result], samples: int) -> Result:
    """Do a piece of work at once if it is short, else in the thread."""
    if samples <= AT_ONCE:
        return work()
    return await asyncio.get_running_loop().run_in_executor(_thread, work)

"""How a session ends: its energy is measured from all that is stored, and the fact is published."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.charging import events
from ohmstead.charging.clocks import last_sign
from ohmstead.charging.energy import Energy, Sample, session_energy
from ohmstead.charging.metering import max_power_w
from ohmstead.charging.models import ClosedBy, MeterValue, Session, SessionStatus
from ohmstead.core.db import publish
from ohmstead.core.jobs import emit
from ohmstead.stations.models import Connector


async def close(
    session: AsyncSession, row: Session, *, reason: str, by: ClosedBy, at: datetime | None, now: datetime
) -> None:
    """End a session whose stop did not come, at `at` or at the last sign of it."""
    row.stopped_at = at or last_sign(row, now)
    row.stop_reason = reason
    note = {"kind": "closed_without_stop", "at": None, "detail": f"no StopTransaction came: {reason}"}
    await end(session, row, by=by, now=now, notes=[note])
    await emit(session, events.SESSION_ENDED, session_id=str(row.id))
    if by is ClosedBy.RULE:
        await emit(session, events.SESSION_CLOSED_BY_RULE, session_id=str(row.id))


async def end(
    session: AsyncSession, row: Session, *, by: ClosedBy, now: datetime, notes: list[dict[str, Any]]
) -> None:
    """End a session with the energy that was measured; `notes` say how it was closed."""
    row.status = SessionStatus.COMPLETED
    row.closed_by = by
    row.closed_at = now
    row.power_w = 0.0
    take_energy(row, await measure(session, row), notes)
    await session.flush()
    publish(session, events.session_event("session.ended", row))


async def measure(session: AsyncSession, row: Session) -> Energy:
    """Work out the energy of a session from all the values that are stored of it."""
    if row.started_at is None:
        raise ValueError("only an unmatched record has no start, and it has no energy")
    samples = await session.execute(
        select(MeterValue.sampled_at, MeterValue.register_wh).where(
            MeterValue.charger_id == row.charger_id,
            MeterValue.transaction_id == row.ocpp_transaction_id,
            MeterValue.connector_id == row.connector_id,
            MeterValue.register_wh.is_not(None),
        )
    )
    return session_energy(
        meter_start=None if row.meter_start is None else Decimal(row.meter_start),
        started_at=row.started_at,
        samples=[Sample(at, register) for at, register in samples if register is not None],
        meter_stop=None if row.meter_stop is None else Decimal(row.meter_stop),
        stopped_at=row.stopped_at,
        max_power_w=await connector_power_w(session, row.charger_id, row.connector_id),
    )


async def connector_power_w(session: AsyncSession, charger_id: str, connector_id: int | None) -> int:
    """Return the most power that a connector can give, in W; energy beyond it is an error of the meter."""
    power = select(Connector.max_power_kw).where(
        Connector.charger_id == charger_id, Connector.connector_id == connector_id
    )
    return max_power_w(await session.scalar(power))


def take_energy(row: Session, energy: Energy, notes: list[dict[str, Any]] | None = None) -> None:
    """Put the measured energy and what was odd into the row; notes on how it was closed stay."""
    kept = [note for note in row.anomalies if str(note["kind"]).startswith("closed_")]
    row.energy_wh = energy.wh
    row.register_wh = energy.register_wh
    row.anomalies = [
        *kept,
        *(notes or []),
        *(
            {"kind": one.kind, "at": one.at.isoformat() if one.at else None, "detail": one.detail}
            for one in energy.anomalies
        ),
    ]

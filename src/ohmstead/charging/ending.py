"""How a session ends: its energy is measured from all that is stored, and the fact is published."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.audit import record
from ohmstead.charging import events
from ohmstead.charging.anomalies import Note, as_notes, lasting
from ohmstead.charging.energy import Energy
from ohmstead.charging.measuring import measure
from ohmstead.charging.models import ClosedBy, Session, SessionStatus
from ohmstead.core.acting import charger_acting
from ohmstead.core.db import publish
from ohmstead.core.jobs import emit

CLOSED = ("status", "closed_by", "stopped_at", "energy_wh")
"""What the audit trail says of a session that was not ended by its charger's word."""


async def close(
    session: AsyncSession, row: Session, *, reason: str, by: ClosedBy, at: datetime | None, now: datetime
) -> None:
    """End a session whose stop did not come, at `at` or with its last value."""
    before = {name: getattr(row, name) for name in CLOSED}
    row.stopped_at = at or row.last_sample_at or now
    row.stop_reason = reason
    note = {"kind": "closed_without_stop", "at": None, "detail": f"no StopTransaction came: {reason}"}
    await end(session, row, by=by, now=now, notes=[note])
    await record(
        session,
        "session.closed",
        entity="session",
        entity_id=row.id,
        before=before,
        after={name: getattr(row, name) for name in CLOSED},
        reason=reason,
        backoffice_id=row.backoffice_id,
        station_id=row.station_id,
        by=charger_acting(row.charger_id),
    )
    await emit(session, events.SESSION_ENDED, session_id=str(row.id))
    if by is ClosedBy.RULE:
        await emit(session, events.SESSION_CLOSED_BY_RULE, session_id=str(row.id))


async def end(
    session: AsyncSession,
    row: Session,
    *,
    by: ClosedBy,
    now: datetime,
    notes: list[Note],
    told: Iterable[datetime] = (),
) -> None:
    """End a session with the energy that was measured; `notes` say how it was closed.

    `told` are the times of the values that came with its stop.
    """
    row.status = SessionStatus.COMPLETED
    row.closed_by = by
    row.closed_at = now
    row.power_w = 0.0
    row.anomalies = [*row.anomalies, *notes]
    take_energy(row, await measure(session, row, told))
    await session.flush()
    publish(session, events.session_event("session.ended", row))


def take_energy(row: Session, energy: Energy) -> None:
    """Put the measured energy and what was odd into the row; notes on its start and its end stay."""
    row.energy_wh = energy.wh
    row.register_wh = energy.register_wh
    row.anomalies = [*lasting(row.anomalies), *as_notes(energy.anomalies)]

"""The rows of jobs: found and locked, noted upon, ended."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import exists, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.core.text import storable
from ohmstead.fleet.campaigns.service import item_ended
from ohmstead.fleet.diagnostics.models import (
    DETAIL_MAX,
    KIND,
    STATUS_MAX,
    DiagnosticsEvent,
    DiagnosticsJob,
    DiagnosticsState,
)


async def locked(session: AsyncSession, job_id: UUID) -> DiagnosticsJob | None:
    """Return a job locked and as it is now; None when it has been removed."""
    query = (
        select(DiagnosticsJob)
        .where(DiagnosticsJob.id == job_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return (await session.execute(query)).scalar_one_or_none()


async def end(
    session: AsyncSession,
    row: DiagnosticsJob,
    state: DiagnosticsState,
    detail: str,
    now: datetime,
    *,
    tell: bool = True,
) -> None:
    """End a job, and tell the campaign that waits for it.

    Not with `tell=False`, where the work of the campaign is just going on and tells by its own outcome; and
    not of a job that was followed by another one, which a campaign may be waiting for by now.
    """
    row.state, row.updated_at, row.ended_at = state, now, now
    row.detail = storable(detail, DETAIL_MAX)
    await session.flush()
    if not (tell and row.by_campaign) or await _is_followed(session, row):
        return
    ok = state is DiagnosticsState.DONE
    told = detail or ("The file is here." if row.location is None else "The file is where it was sent to.")
    evidence = {"diagnostics_id": str(row.id), "status": row.status, "size": row.size}
    await item_ended(session, row.charger_id, KIND, ok=ok, detail=told, now=now, evidence=evidence)


async def _is_followed(session: AsyncSession, row: DiagnosticsJob) -> bool:
    later = exists().where(
        DiagnosticsJob.charger_id == row.charger_id,
        DiagnosticsJob.by_campaign,
        DiagnosticsJob.created_at > row.created_at,
    )
    return bool((await session.execute(select(later))).scalar_one())


async def note(session: AsyncSession, job_id: UUID, status: str, now: datetime, detail: str = "") -> None:
    """Write an event; the same one again right after it is counted."""
    status, detail = storable(status, STATUS_MAX), storable(detail, DETAIL_MAX)
    last = (
        select(DiagnosticsEvent.id)
        .where(DiagnosticsEvent.job_id == job_id)
        .order_by(DiagnosticsEvent.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    again = (
        update(DiagnosticsEvent)
        .where(
            DiagnosticsEvent.id == last,
            DiagnosticsEvent.status == status,
            DiagnosticsEvent.detail == detail,
        )
        .values(times=DiagnosticsEvent.times + 1, last_at=now)
        .returning(DiagnosticsEvent.id)
    )
    if (await session.execute(again)).scalar_one_or_none() is None:
        session.add(DiagnosticsEvent(job_id=job_id, at=now, last_at=now, status=status, detail=detail))
        await session.flush()

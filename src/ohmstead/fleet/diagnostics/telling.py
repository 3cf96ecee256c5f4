"""What chargers tell of files they were asked for, and what they do not.

The words are those of DiagnosticsStatusNotification (OCPP 1.6 7.24) and LogStatusNotification (security
whitepaper 6.17). They have no time of their own and come again after a reconnect, in any order; a file that
has come is the end, whatever is said.
"""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.core.text import storable
from ohmstead.fleet.diagnostics.models import STATUS_MAX, DiagnosticsJob, DiagnosticsState
from ohmstead.fleet.diagnostics.rows import end, note

LATE: Final = timedelta(hours=6)
"""So long after its end a word without a request id is still taken for the last job of a charger."""
COMING: Final = timedelta(minutes=5)
"""So long after the charger has said `Uploaded` the file may still be on its way to us."""
IDLE: Final = "Idle"
UPLOADED: Final = "Uploaded"
TRIED_AGAIN: Final = frozenset({"UploadFailed", "UploadFailure"})
FAILURES: Final = {
    "UploadFailed": "The charger could not upload the file.",
    "UploadFailure": "The charger could not upload the file.",
    "PermissionDenied": "The place for the file did not let the charger in.",
    "BadMessage": "The charger says that the request was faulty.",
    "NotSupportedOperation": "The charger cannot upload to such an address.",
}
NOTHING_CAME: Final = (
    "The charger says that it has uploaded the file, but nothing came. Look whether it reaches our address"
    " (OHMSTEAD_PUBLIC_URL), or give it one outside."
)


async def told(
    session: AsyncSession, charger_id: str, status: str, request_id: int | None, now: datetime, *, log: bool
) -> None:
    """Take a word of a charger about a file: by its request id, else for the job that it must mean.

    A word about no job of ours changes nothing: it is in the reports of the charger.
    """
    status = storable(status, STATUS_MAX)
    row = await _meant(session, charger_id, request_id, now, log=log)
    if row is None:
        return
    if status == IDLE:
        if row.ended_at is None:
            await note(session, row.id, status, now)
        return
    await note(session, row.id, status, now)
    if row.state == DiagnosticsState.DONE:
        return
    failed = status in FAILURES
    row.failures += failed
    patience = timedelta(seconds=row.patience_seconds)
    if failed:
        again = status in TRIED_AGAIN and row.retries is not None and row.failures <= row.retries
        if row.ended_at is not None:
            return
        row.status = status
        if not again:
            await end(session, row, DiagnosticsState.FAILED, FAILURES[status], now)
            return
        row.detail = f"{FAILURES[status]} It was told to try again."
    elif status == UPLOADED:
        row.status = status
        if row.location is not None:
            await end(session, row, DiagnosticsState.DONE, "", now)
            return
        row.detail, patience = NOTHING_CAME, COMING
    else:
        row.status, row.detail = status, ""
    row.state, row.ended_at, row.updated_at = DiagnosticsState.UPLOADING, None, now
    row.deadline_at = now + patience
    await session.flush()


async def overdue(session: AsyncSession, now: datetime) -> bool:
    """End one job of which nothing was heard for too long; returns whether there was one."""
    query = (
        select(DiagnosticsJob)
        .where(DiagnosticsJob.ended_at.is_(None), DiagnosticsJob.deadline_at <= now)
        .order_by(DiagnosticsJob.deadline_at)
        .limit(1)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    row = (await session.execute(query)).scalar_one_or_none()
    if row is None:
        return False
    state = DiagnosticsState.EXPIRED
    why = f"The file has not come within {round(row.patience_seconds / 3600)} hours."
    if row.state == DiagnosticsState.REQUESTED:
        state = DiagnosticsState.FAILED
        why = "The server ended before the charger had answered: whether it brings the file is not known."
    elif row.status == UPLOADED:
        state, why = DiagnosticsState.FAILED, NOTHING_CAME
    elif row.status in FAILURES:
        state, why = DiagnosticsState.FAILED, FAILURES[row.status]
    await note(session, row.id, DiagnosticsState.EXPIRED, now, why)
    await end(session, row, state, why, now)
    return True


async def _meant(
    session: AsyncSession, charger_id: str, request_id: int | None, now: datetime, *, log: bool
) -> DiagnosticsJob | None:
    """Return the job that a word is about, locked."""
    query = select(DiagnosticsJob).where(DiagnosticsJob.charger_id == charger_id)
    if request_id is not None:
        query = query.where(DiagnosticsJob.request_id == request_id)
    else:
        query = query.where(
            DiagnosticsJob.request_id.is_not(None) if log else DiagnosticsJob.request_id.is_(None),
            or_(DiagnosticsJob.ended_at.is_(None), DiagnosticsJob.ended_at > now - LATE),
        )
    query = (
        query.order_by(DiagnosticsJob.ended_at.is_not(None), DiagnosticsJob.created_at.desc())
        .limit(1)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return (await session.execute(query)).scalar_one_or_none()

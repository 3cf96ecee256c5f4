"""Files of chargers: asked for, answered. What chargers tell later is in `telling`, what they bring in
`receiving`.

Whoever changes a job locks its row.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.audit import record_row
from ohmstead.core.clock import Clock
from ohmstead.core.config import Settings
from ohmstead.core.db import Database
from ohmstead.core.errors import DomainError
from ohmstead.core.file_links import upload_url
from ohmstead.core.http import utc_z
from ohmstead.core.text import storable
from ohmstead.fleet.diagnostics.errors import no_job
from ohmstead.fleet.diagnostics.models import STATUS_MAX, DiagnosticsJob, DiagnosticsKind, DiagnosticsState
from ohmstead.fleet.diagnostics.rows import end, locked, note
from ohmstead.fleet.diagnostics.schemas import DiagnosticsIn
from ohmstead.fleet.locations import shown_location
from ohmstead.link.links import Answer, ChargerUnreachable
from ohmstead.stations.models import Charger
from ohmstead.stations.outcomes import Commands

UNANSWERED = timedelta(minutes=15)
"""So long after it was begun a job without an answer is one whose process has died."""
TAKEN = frozenset({"Accepted", "AcceptedCanceled"})
NOTHING_THERE = "The charger says that it has nothing from this time."


@dataclass(frozen=True, slots=True)
class Begun:
    """A job that was written, and the command that asks the charger for the file."""

    job_id: UUID
    charger_id: str
    action: str
    payload: dict[str, Any]


async def begin(
    session: AsyncSession,
    settings: Settings,
    charger: Charger,
    wanted: DiagnosticsIn,
    now: datetime,
    *,
    kind: DiagnosticsKind,
    by_campaign: bool = False,
) -> Begun:
    """Write a job before the charger is asked for its file."""
    hours = wanted.give_up_hours or settings.file_link_hours
    row = DiagnosticsJob(
        id=uuid4(),
        charger_id=charger.id,
        kind=kind,
        request_id=None if kind is DiagnosticsKind.DIAGNOSTICS else secrets.randbelow(2**31 - 1) + 1,
        location=None if wanted.location is None else shown_location(wanted.location),
        since=wanted.since,
        until=wanted.until,
        retries=wanted.retries,
        retry_interval=wanted.retry_interval,
        patience_seconds=hours * 3600,
        by_campaign=by_campaign,
        state=DiagnosticsState.REQUESTED,
        created_at=now,
        updated_at=now,
        deadline_at=now + UNANSWERED,
    )
    session.add(row)
    await session.flush()
    await note(session, row.id, "Requested", now)
    await record_row(session, "diagnostics.requested", row, at=charger)
    link_hours = max(hours, settings.file_link_hours)
    location = wanted.location or upload_url(settings, row.id, now + timedelta(hours=link_hours))
    action, payload = _command(row, location)
    return Begun(row.id, row.charger_id, action, payload)


def _command(row: DiagnosticsJob, location: str) -> tuple[str, dict[str, Any]]:
    tries = _given(retries=row.retries, retryInterval=row.retry_interval)
    since, until = (None if moment is None else utc_z(moment) for moment in (row.since, row.until))
    if row.request_id is None:
        span = _given(startTime=since, stopTime=until)
        return "GetDiagnostics", {"location": location, **span, **tries}
    log = {"remoteLocation": location, **_given(oldestTimestamp=since, latestTimestamp=until)}
    return "GetLog", {"logType": str(row.kind), "requestId": row.request_id, "log": log, **tries}


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


async def answered(session: AsyncSession, begun: Begun, answer: Answer, now: datetime) -> DiagnosticsJob:
    """Write what the charger answered. It may have told or brought more before that: then this stays."""
    row = await locked(session, begun.job_id)
    if row is None:
        raise no_job(begun.job_id)
    said = storable(answer.status, STATUS_MAX)
    detail = answer.error_description if answer.error_code is not None else ""
    await note(session, row.id, said, now, detail)
    response = answer.response or {}
    named = response.get("fileName", response.get("filename"))
    if isinstance(named, str) and named.strip():
        row.file_name = named.strip().replace("\0", "")[:255]
    taken = answer.response is not None and said in TAKEN
    if taken and (row.request_id is None or said == "AcceptedCanceled"):
        await _cancel_others(session, row, now)
    if row.state != DiagnosticsState.REQUESTED:
        await session.flush()
        return row
    row.status = said
    if taken and (row.request_id is not None or row.file_name is not None):
        row.state, row.updated_at = DiagnosticsState.ACCEPTED, now
        row.deadline_at = now + timedelta(seconds=row.patience_seconds)
        await session.flush()
        return row
    why = {
        "Timeout": "The charger did not answer in time; it may bring the file all the same.",
        "CallError": f"The charger answered with the error {answer.error_code}. {detail}".strip(),
    }
    told = NOTHING_THERE if taken else why.get(said, f"The charger answered {said}.")
    await end(session, row, DiagnosticsState.FAILED, told, now, tell=False)
    return row


async def _cancel_others(session: AsyncSession, row: DiagnosticsJob, now: datetime) -> None:
    """End the open jobs that a charger gives up for this one. What they bring all the same is taken."""
    is_log = row.request_id is not None
    query = (
        select(DiagnosticsJob)
        .where(
            DiagnosticsJob.charger_id == row.charger_id,
            DiagnosticsJob.ended_at.is_(None),
            DiagnosticsJob.id != row.id,
            DiagnosticsJob.created_at <= row.created_at,
            DiagnosticsJob.request_id.is_not(None) if is_log else DiagnosticsJob.request_id.is_(None),
        )
        .order_by(DiagnosticsJob.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    for other in (await session.scalars(query)).all():
        await note(session, other.id, DiagnosticsState.CANCELLED, now)
        await end(session, other, DiagnosticsState.CANCELLED, "Another file was asked for.", now)


async def not_asked(session: AsyncSession, job_id: UUID, error: DomainError, now: datetime) -> None:
    """Write that the charger could not be asked, or left before it answered.

    Where nothing was sent by a fault of ours, nothing is kept for a campaign: it begins anew, perhaps often.
    """
    row = await locked(session, job_id)
    if row is None or row.state != DiagnosticsState.REQUESTED:
        return
    if row.by_campaign and isinstance(error, ChargerUnreachable):
        await session.delete(row)
        await session.flush()
        return
    await note(session, row.id, "Offline", now, error.message)
    await end(session, row, DiagnosticsState.FAILED, error.message, now, tell=False)


async def ask(
    database: Database, commands: Commands, clock: Clock, begun: Begun
) -> tuple[DiagnosticsJob, Answer]:
    """Ask the charger for a file; returns the job as it stands then, and the answer.

    Raises what `Commands.send` raises, after it was written. Hold no transaction.
    """
    try:
        answer = await commands.send(begun.charger_id, begun.action, begun.payload, recorded=False)
    except DomainError as error:
        async with database.session() as session:
            await not_asked(session, begun.job_id, error, clock.now())
        raise
    async with database.session() as session:
        return await answered(session, begun, answer, clock.now()), answer

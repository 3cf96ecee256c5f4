"""Reads of jobs."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.principal import Principal
from ohmstead.core.paging import Order, Page, Paging, containing, number_key, time_key, uuid_key
from ohmstead.fleet.diagnostics.errors import no_job
from ohmstead.fleet.diagnostics.models import (
    DiagnosticsEvent,
    DiagnosticsJob,
    DiagnosticsKind,
    DiagnosticsState,
)
from ohmstead.fleet.diagnostics.schemas import DiagnosticsEventOut, DiagnosticsOut
from ohmstead.stations.chargers_queries import told_to
from ohmstead.stations.models import Charger

ORDER = Order(
    keys={"created_at": time_key(DiagnosticsJob.created_at)},
    tie=uuid_key(DiagnosticsJob.id),
    default="-created_at",
)
EVENT_ORDER = Order(
    keys={"id": number_key(DiagnosticsEvent.id)}, tie=number_key(DiagnosticsEvent.id), default="-id"
)


async def get_job(session: AsyncSession, principal: Principal, job_id: UUID) -> DiagnosticsJob:
    """Return a job of a charger of the caller. Raises `NotFound`."""
    query = (
        select(DiagnosticsJob)
        .join(Charger, Charger.id == DiagnosticsJob.charger_id)
        .where(DiagnosticsJob.id == job_id, told_to(principal, DiagnosticsJob.created_at))
    )
    scoped = principal.within(query, Charger.backoffice_id, Charger.station_id)
    row = (await session.execute(scoped)).scalar_one_or_none()
    if row is None:
        raise no_job(job_id)
    return row


async def list_jobs(
    session: AsyncSession,
    principal: Principal,
    paging: Paging,
    *,
    charger_id: str | None = None,
    kind: DiagnosticsKind | None = None,
    state: DiagnosticsState | None = None,
    sort: str | None = None,
) -> Page[DiagnosticsOut]:
    """Return a page of jobs of the caller's chargers, newest first; `q` searches charger and file name."""
    query = select(DiagnosticsJob).join(Charger, Charger.id == DiagnosticsJob.charger_id)
    query = principal.within(query, Charger.backoffice_id, Charger.station_id)
    query = query.where(told_to(principal, DiagnosticsJob.created_at))
    for column, wanted in (
        (DiagnosticsJob.charger_id, charger_id),
        (DiagnosticsJob.kind, kind),
        (DiagnosticsJob.state, state),
    ):
        if wanted is not None:
            query = query.where(column == wanted)
    query = query.where(containing(paging.q, DiagnosticsJob.charger_id, DiagnosticsJob.file_name))
    found = await ORDER.slice(session, query, paging, sort)
    return found.page(DiagnosticsOut.model_validate(row) for row in found.rows)


async def history(session: AsyncSession, job_id: UUID, paging: Paging) -> Page[DiagnosticsEventOut]:
    """Return a page of what happened in a job, the last first."""
    query = select(DiagnosticsEvent).where(DiagnosticsEvent.job_id == job_id)
    found = await EVENT_ORDER.slice(session, query, paging)
    return found.page(DiagnosticsEventOut.model_validate(row) for row in found.rows)

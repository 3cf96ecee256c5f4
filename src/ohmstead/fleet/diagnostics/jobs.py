"""What is done about diagnostics by the clock: what nobody speaks of ends, old files and jobs go."""

from datetime import timedelta

from procrastinate import Blueprint, JobContext
from sqlalchemy import delete, exists, update

from ohmstead.core.db import Database
from ohmstead.core.files import StoredFile
from ohmstead.fleet.diagnostics import telling
from ohmstead.fleet.diagnostics.models import KIND, DiagnosticsJob

NAMESPACE = "diagnostics"

blueprint = Blueprint()


@blueprint.periodic(cron="*/2 * * * *")
@blueprint.task(name="expire_diagnostics", pass_context=True, queueing_lock="expire_diagnostics")
async def expire_diagnostics(context: JobContext, timestamp: int) -> None:
    """End the jobs of which nothing was heard for too long, each in a transaction of its own."""
    means = context.additional_context
    database: Database = means["database"]
    more = True
    while more:
        async with database.session() as session:
            more = await telling.overdue(session, means["clock"].now())


@blueprint.periodic(cron="53 * * * *")
@blueprint.task(name="trim_diagnostics", pass_context=True, queueing_lock="trim_diagnostics")
async def trim_diagnostics(context: JobContext, timestamp: int) -> None:
    """Let old files go, forget jobs that ended long ago, and let go what belongs to no job any more.

    A job goes with its charger too; its file is found here.
    """
    means = context.additional_context
    database: Database = means["database"]
    settings, now = means["settings"], means["clock"].now()
    async with database.session() as session:
        old = now - timedelta(days=settings.charger_file_days)
        await session.execute(
            update(DiagnosticsJob)
            .where(DiagnosticsJob.file_id.is_not(None), DiagnosticsJob.received_at < old)
            .values(file_id=None)
        )
        forgotten = now - timedelta(days=settings.history_days)
        await session.execute(delete(DiagnosticsJob).where(DiagnosticsJob.ended_at < forgotten))
        needed = exists().where(DiagnosticsJob.file_id == StoredFile.id)
        await session.execute(
            update(StoredFile)
            .where(StoredFile.kind == KIND, StoredFile.dropped_at.is_(None), ~needed)
            .values(dropped_at=now)
        )

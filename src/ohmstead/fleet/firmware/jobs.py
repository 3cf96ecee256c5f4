"""What is done about firmware by the clock: updates that nobody speaks of end, old ones are forgotten."""

from datetime import timedelta

from procrastinate import Blueprint, JobContext
from sqlalchemy import delete

from ohmstead.core.db import Database
from ohmstead.fleet.firmware import telling
from ohmstead.fleet.firmware.models import FirmwareUpdate

NAMESPACE = "firmware"

blueprint = Blueprint()


@blueprint.periodic(cron="*/5 * * * *")
@blueprint.task(name="expire_updates", pass_context=True, queueing_lock="expire_updates")
async def expire_updates(context: JobContext, timestamp: int) -> None:
    """End the updates of which nothing was heard for too long, each in a transaction of its own."""
    means = context.additional_context
    database: Database = means["database"]
    more = True
    while more:
        async with database.session() as session:
            more = await telling.overdue(session, means["clock"].now())


@blueprint.periodic(cron="51 * * * *")
@blueprint.task(name="trim_updates", pass_context=True, queueing_lock="trim_updates")
async def trim_updates(context: JobContext, timestamp: int) -> None:
    """Forget updates that ended long ago, with their history."""
    means = context.additional_context
    database: Database = means["database"]
    oldest = means["clock"].now() - timedelta(days=means["settings"].history_days)
    async with database.session() as session:
        await session.execute(delete(FirmwareUpdate).where(FirmwareUpdate.ended_at < oldest))

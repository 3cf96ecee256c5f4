"""What the stations do by the clock: their history is kept as long as the settings say."""

from datetime import timedelta

from procrastinate import Blueprint, JobContext
from sqlalchemy import delete

from ohmstead.core.db import Database
from ohmstead.stations.models import ChargerReport, Observation, StatusEvent

NAMESPACE = "stations"

blueprint = Blueprint()


@blueprint.periodic(cron="47 * * * *")
@blueprint.task(name="trim_history", pass_context=True, queueing_lock="trim_history")
async def trim_history(context: JobContext, timestamp: int) -> None:
    """Drop status events, reports and observations that are too old, by the day on which they arrived."""
    means = context.additional_context
    database: Database = means["database"]
    oldest = means["clock"].now() - timedelta(days=means["settings"].history_days)
    async with database.session() as session:
        await session.execute(delete(StatusEvent).where(StatusEvent.received_at < oldest))
        await session.execute(delete(ChargerReport).where(ChargerReport.received_at < oldest))
        await session.execute(delete(Observation).where(Observation.last_at < oldest))

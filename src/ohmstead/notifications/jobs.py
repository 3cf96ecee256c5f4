"""What the notifications do by the clock: alerts that are over are kept as long as the settings say."""

from datetime import timedelta

from procrastinate import Blueprint, JobContext
from sqlalchemy import delete

from ohmstead.core.db import Database
from ohmstead.notifications.models import Alert

NAMESPACE = "alerts"

blueprint = Blueprint()


@blueprint.periodic(cron="57 * * * *")
@blueprint.task(name="trim_alerts", pass_context=True, queueing_lock="trim_alerts")
async def trim_alerts(context: JobContext, timestamp: int) -> None:
    """Drop alerts that were cleared too long ago; open ones stay."""
    means = context.additional_context
    database: Database = means["database"]
    oldest = means["clock"].now() - timedelta(days=means["settings"].history_days)
    async with database.session() as session:
        await session.execute(delete(Alert).where(Alert.cleared_at < oldest))

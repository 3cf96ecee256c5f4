"""What charging does by the clock."""

from datetime import timedelta

from procrastinate import Blueprint, JobContext

from ohmstead.charging import service
from ohmstead.core.db import Database
from ohmstead.core.partitions import Partitioned, maintain

NAMESPACE = "charging"

blueprint = Blueprint()


@blueprint.periodic(cron="* * * * *")
@blueprint.task(name="close_stale_sessions", pass_context=True, queueing_lock="close_stale_sessions")
async def close_stale_sessions(context: JobContext, timestamp: int) -> None:
    """Close, once a minute, the sessions whose car has left and whose stop was lost."""
    means = context.additional_context
    database: Database = means["database"]
    after = timedelta(minutes=means["settings"].stale_session_minutes)
    async with database.session() as session:
        await service.close_stale(session, means["clock"].now(), after)


@blueprint.periodic(cron="7 * * * *")
@blueprint.task(name="meter_value_days", pass_context=True, queueing_lock="meter_value_days")
async def meter_value_days(context: JobContext, timestamp: int) -> None:
    """Make the days of the meter values ahead, and drop those that are too old."""
    means = context.additional_context
    database: Database = means["database"]
    async with database.session() as session:
        await maintain(session, meter_values(means["settings"].meter_value_days), means["clock"].now().date())


def meter_values(keep_days: int) -> Partitioned:
    """Return how the table of meter values is partitioned."""
    return Partitioned("charging_meter_value", "sampled_at", "received_at", keep_days)

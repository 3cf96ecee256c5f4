"""What the gateway does by the clock: its logs are kept as long as the settings say."""

from datetime import timedelta

from procrastinate import Blueprint, JobContext
from sqlalchemy import delete

from ohmstead.core.db import Database
from ohmstead.core.partitions import Partitioned, maintain
from ohmstead.gateway.models import Connection
from ohmstead.gateway.presence import trim_refusals

NAMESPACE = "gateway"

blueprint = Blueprint()


@blueprint.periodic(cron="17 * * * *")
@blueprint.task(name="message_log_days", pass_context=True, queueing_lock="message_log_days")
async def message_log_days(context: JobContext, timestamp: int) -> None:
    """Make the days of the message log ahead, and drop those that are too old."""
    means = context.additional_context
    database: Database = means["database"]
    async with database.session() as session:
        await maintain(session, messages(means["settings"].message_log_days), means["clock"].now().date())


@blueprint.periodic(cron="27 * * * *")
@blueprint.task(name="trim_connections", pass_context=True, queueing_lock="trim_connections")
async def trim_connections(context: JobContext, timestamp: int) -> None:
    """Drop what is too old of the connections, and what is too much of the refused handshakes."""
    means = context.additional_context
    settings = means["settings"]
    database: Database = means["database"]
    oldest = means["clock"].now() - timedelta(days=settings.connection_log_days)
    async with database.session() as session:
        await session.execute(delete(Connection).where(Connection.closed_at < oldest))
        await trim_refusals(session, settings.refusal_log_rows)


def messages(keep_days: int) -> Partitioned:
    """Return how the message log is partitioned."""
    return Partitioned("gateway_message", "received_at", "received_at", keep_days)

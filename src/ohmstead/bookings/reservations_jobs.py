"""What reservations do by the clock: those that are over are marked."""

from procrastinate import Blueprint, JobContext

from ohmstead.bookings import reservations
from ohmstead.core.db import Database

NAMESPACE = "reservations"

blueprint = Blueprint()


@blueprint.periodic(cron="* * * * *")
@blueprint.task(name="expire_reservations", pass_context=True, queueing_lock="expire_reservations")
async def expire_reservations(context: JobContext, timestamp: int) -> None:
    """Mark the reservations whose time is over, and those whose asker was killed before the answer."""
    means = context.additional_context
    database: Database = means["database"]
    async with database.session() as session:
        await reservations.expire(session, means["clock"].now())

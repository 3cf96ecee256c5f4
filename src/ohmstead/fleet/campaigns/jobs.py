"""What wakes the campaigns: a job for each cause, and the clock."""

from datetime import timedelta

from procrastinate import Blueprint, JobContext

from ohmstead.core.db import Database
from ohmstead.core.jobs import RETRY
from ohmstead.fleet.campaigns.dispatcher import Dispatcher
from ohmstead.fleet.campaigns.mending import forget_old, mend_all

NAMESPACE = "campaigns"

blueprint = Blueprint()


@blueprint.task(name="work", pass_context=True, retry=RETRY)
async def work(context: JobContext) -> None:
    """Have the dispatcher of this process look at what may begin."""
    dispatcher: Dispatcher = context.additional_context["campaigns"]
    dispatcher.wake()


@blueprint.periodic(cron="* * * * *")
@blueprint.task(name="mend", pass_context=True, queueing_lock="mend_campaigns")
async def mend(context: JobContext, timestamp: int) -> None:
    """Put right, once a minute, what nobody would tell: see `mending.mend`."""
    means = context.additional_context
    database: Database = means["database"]
    dispatcher: Dispatcher = means["campaigns"]
    await mend_all(database, dispatcher.kinds, means["clock"].now())
    dispatcher.wake()


@blueprint.periodic(cron="27 * * * *")
@blueprint.task(name="forget_old", pass_context=True, queueing_lock="forget_old_campaigns")
async def forget_old_campaigns(context: JobContext, timestamp: int) -> None:
    """Drop campaigns that were over too long ago."""
    means = context.additional_context
    database: Database = means["database"]
    async with database.session() as session:
        await forget_old(session, means["clock"].now() - timedelta(days=means["settings"].history_days))

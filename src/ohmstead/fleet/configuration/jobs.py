"""What the configuration does by itself: templates after boots, and history kept as long as it should be."""

from datetime import timedelta

from procrastinate import Blueprint, JobContext
from sqlalchemy import delete

from ohmstead.core.db import Database
from ohmstead.core.jobs import RETRY
from ohmstead.fleet.configuration import applying
from ohmstead.fleet.configuration.models import ConfigurationChange

NAMESPACE = "configuration"

blueprint = Blueprint()


@blueprint.task(name="apply_templates", pass_context=True, retry=RETRY)
async def apply_templates(context: JobContext) -> None:
    """Hold templates against the chargers whose turn is due."""
    means = context.additional_context
    await applying.run_due(means["commands"], means["settings"])


@blueprint.periodic(cron="* * * * *")
@blueprint.task(name="apply_templates_again", pass_context=True, queueing_lock="apply_templates_again")
async def apply_templates_again(context: JobContext, timestamp: int) -> None:
    """Take the turns that were left over: the charger was away, did not answer, or a process was killed."""
    means = context.additional_context
    await applying.run_due(means["commands"], means["settings"])


@blueprint.periodic(cron="49 * * * *")
@blueprint.task(
    name="trim_configuration_changes", pass_context=True, queueing_lock="trim_configuration_changes"
)
async def trim_configuration_changes(context: JobContext, timestamp: int) -> None:
    """Drop changes of configuration that are too old."""
    means = context.additional_context
    database: Database = means["database"]
    oldest = means["clock"].now() - timedelta(days=means["settings"].history_days)
    async with database.session() as session:
        await session.execute(delete(ConfigurationChange).where(ConfigurationChange.at < oldest))

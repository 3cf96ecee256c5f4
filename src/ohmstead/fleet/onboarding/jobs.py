"""Forgetting chargers that nobody registered and nobody adopted."""

from collections.abc import Sequence

from procrastinate import Blueprint, JobContext

from ohmstead.core.db import Database
from ohmstead.fleet.onboarding.unknown import forget_unadopted
from ohmstead.stations.disconnecting import disconnect

NAMESPACE = "onboarding"

blueprint = Blueprint()


@blueprint.periodic(cron="23 * * * *")
@blueprint.task(name="forget_unadopted", pass_context=True, queueing_lock="forget_unadopted")
async def forget_unadopted_chargers(context: JobContext, timestamp: int) -> None:
    """Forget, once an hour, those of more than a day ago; who is still there may come again."""
    means = context.additional_context
    database: Database = means["database"]
    gone: Sequence[str] | None = None
    while gone is None or gone:
        async with database.session() as session:
            gone = await forget_unadopted(session, means["clock"].now())
        await disconnect(means["commands"].links, gone, "nobody has adopted this charger")

"""Chargers that nobody registered: those that were adopted boot, those that nobody adopted are forgotten."""

from collections.abc import Sequence

from procrastinate import Blueprint, JobContext

from ohmstead.core.db import Database
from ohmstead.fleet.onboarding.unknown import forget_unadopted
from ohmstead.stations.adoption import ask_to_boot
from ohmstead.stations.disconnecting import let_go

NAMESPACE = "onboarding"

blueprint = Blueprint()


@blueprint.task(name="ask_to_boot", pass_context=True)
async def ask_adopted_to_boot(context: JobContext, charger_id: str) -> None:
    """Ask a charger for its boot that has connected since its adoption and did not boot by itself."""
    await ask_to_boot(context.additional_context["commands"], charger_id)


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
        await let_go(means["commands"].links, database, gone, "nobody has adopted this charger")

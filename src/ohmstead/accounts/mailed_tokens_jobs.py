"""Links that were mailed, and are forgotten."""

from datetime import timedelta

from procrastinate import Blueprint, JobContext
from sqlalchemy import delete

from ohmstead.accounts.mailed_tokens_models import MailedToken
from ohmstead.core.db import Database

NAMESPACE = "mailed_tokens"
KEPT = timedelta(days=31)
"""After its end a link is still told from one that was never sent."""

blueprint = Blueprint()


@blueprint.periodic(cron="53 * * * *")
@blueprint.task(name="trim", pass_context=True, queueing_lock="trim_mailed_tokens")
async def trim_mailed_tokens(context: JobContext, timestamp: int) -> None:
    """Forget links that ended a month ago."""
    means = context.additional_context
    database: Database = means["database"]
    async with database.session() as session:
        over = means["clock"].now() - KEPT
        await session.execute(delete(MailedToken).where(MailedToken.expires_at < over))

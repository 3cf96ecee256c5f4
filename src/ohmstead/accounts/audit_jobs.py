"""Sealing the audit trail by the clock."""

from procrastinate import Blueprint, JobContext

from ohmstead.accounts.audit_seals import BATCH, seal_next
from ohmstead.core.db import Database

NAMESPACE = "audit"
BATCHES = 100
"""In one turn at most: the next one comes within a minute."""

blueprint = Blueprint()


@blueprint.periodic(cron="* * * * *")
@blueprint.task(name="seal", pass_context=True, queueing_lock="seal_audit")
async def seal_audit(context: JobContext, timestamp: int) -> None:
    """Seal what has been written since the last seal, batch by batch."""
    means = context.additional_context
    database: Database = means["database"]
    for _ in range(BATCHES):
        async with database.session() as session:
            if await seal_next(session, means["clock"].now()) < BATCH:
                return

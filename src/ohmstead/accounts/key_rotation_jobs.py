"""What a new secret key leaves to do."""

import structlog
from procrastinate import Blueprint, JobContext

from ohmstead.accounts.key_rotation import seal_anew

NAMESPACE = "key_rotation"

logger = structlog.stdlib.get_logger(__name__)

blueprint = Blueprint()


@blueprint.periodic(cron="17 * * * *")
@blueprint.task(name="seal_anew", pass_context=True, queueing_lock="seal_anew")
async def seal_what_the_old_key_opens(context: JobContext, timestamp: int) -> None:
    """Encrypt anew what the previous secret key still opens, while there is one."""
    means = context.additional_context
    settings = means["settings"]
    if settings.secret_key_previous is not None:
        done = await seal_anew(means["database"], settings)
        logger.info("secret_key.sealed_anew", rows=done)

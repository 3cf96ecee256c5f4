"""What signing in leaves to do later: links to a new password, sessions and guesses that are over."""

from uuid import UUID

from procrastinate import Blueprint, JobContext
from sqlalchemy import delete

from ohmstead.accounts import businesses_requests, lockout, password_change
from ohmstead.accounts.sign_in_models import SignInSession
from ohmstead.core.db import Database
from ohmstead.core.jobs import RETRY

NAMESPACE = "accounts"

blueprint = Blueprint()


@blueprint.task(name="send_reset_link", pass_context=True, retry=RETRY)
async def send_reset_link(context: JobContext, user_id: str | None, backoffice_id: str | None) -> None:
    """Mail a link to a new password, or how it stands with a business; for nobody there is nothing to do."""
    means = context.additional_context
    database: Database = means["database"]
    if user_id is not None:
        async with database.session() as session:
            await password_change.send_link(session, means["settings"], UUID(user_id), means["clock"].now())
    if backoffice_id is not None:
        async with database.session() as session:
            row = await businesses_requests.find(session, UUID(backoffice_id))
            await businesses_requests.tell_contact(session, means["settings"], row)


@blueprint.periodic(cron="29 * * * *")
@blueprint.task(name="trim_sessions", pass_context=True, queueing_lock="trim_sessions")
async def trim_sessions(context: JobContext, timestamp: int) -> None:
    """Remove sessions that are over."""
    means = context.additional_context
    database: Database = means["database"]
    async with database.session() as session:
        await session.execute(delete(SignInSession).where(SignInSession.expires_at < means["clock"].now()))


@blueprint.periodic(cron="*/5 * * * *")
@blueprint.task(name="trim_sign_in_attempts", pass_context=True, queueing_lock="trim_sign_in_attempts")
async def trim_sign_in_attempts(context: JobContext, timestamp: int) -> None:
    """Remove what was counted of guesses and tells nothing any more."""
    means = context.additional_context
    database: Database = means["database"]
    async with database.session() as session:
        await lockout.trim(session, means["clock"].now())

"""Mail going out, and mail that is forgotten."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from procrastinate import Blueprint, JobContext
from sqlalchemy import delete

from ohmstead.core.clock import Clock
from ohmstead.core.config import Settings
from ohmstead.core.db import Database
from ohmstead.core.jobs import RETRY
from ohmstead.core.logging import Open
from ohmstead.mail.models import Mail, MailStatus
from ohmstead.mail.smtp import MailRefused, MailServerAway, deliver

NAMESPACE = "mail"
TRIES = RETRY.max_attempts or 1
"""The waits between them are 3, 9, 27, ... seconds: the last of them is two days."""

logger = structlog.stdlib.get_logger(__name__)

blueprint = Blueprint()


@blueprint.task(name="deliver", pass_context=True, retry=RETRY)
async def deliver_mail(context: JobContext, mail_id: str) -> None:
    """Hand a mail to the mail server; without one it is kept, for the administrator to read.

    Tried `TRIES` times, over about three days, while the server is away; the same Message-ID each time. Then,
    or when the server will not take it, it has failed, and its row says why. Nothing is held in the database
    meanwhile.
    """
    means = context.additional_context
    settings: Settings = means["settings"]
    database: Database = means["database"]
    clock: Clock = means["clock"]
    async with database.session() as session:
        mail = await session.get(Mail, UUID(mail_id))
        if mail is None or mail.status != MailStatus.QUEUED:
            return
        session.expunge(mail)
    if settings.smtp_url is None:
        await _set(database, mail.id, status=MailStatus.KEPT)
        logger.info("mail.kept", template=mail.template, mail_id=mail_id)
        if settings.mail_log:
            text = Open(mail.text or "")
            logger.info("mail.text", to=mail.recipient, subject=mail.subject, text=text)
        return
    last = context.job is not None and context.job.attempts + 1 >= TRIES
    try:
        await deliver(settings, mail)
    except MailRefused as error:
        await _set(database, mail.id, status=MailStatus.FAILED, tries=mail.tries + 1, error=str(error))
        logger.warning("mail.refused", template=mail.template, mail_id=mail_id)
    except MailServerAway as error:
        status = MailStatus.FAILED if last else MailStatus.QUEUED
        await _set(database, mail.id, status=status, tries=mail.tries + 1, error=str(error))
        if not last:
            raise
        logger.warning("mail.given_up", template=mail.template, mail_id=mail_id)
    else:
        await _set(
            database,
            mail.id,
            status=MailStatus.SENT,
            tries=mail.tries + 1,
            error=None,
            sent_at=clock.now(),
            text=None,
            html=None,
        )


@blueprint.periodic(cron="47 * * * *")
@blueprint.task(name="trim", pass_context=True, queueing_lock="trim_mail")
async def trim_mail(context: JobContext, timestamp: int) -> None:
    """Forget mails of more than a month ago: they hold addresses, and perhaps links."""
    means = context.additional_context
    database: Database = means["database"]
    async with database.session() as session:
        await session.execute(delete(Mail).where(Mail.created_at < means["clock"].now() - timedelta(days=31)))


async def _set(database: Database, mail_id: UUID, **fields: Any) -> None:
    async with database.session() as session:
        mail = await session.get(Mail, mail_id)
        if mail is not None:
            for name, value in fields.items():
                setattr(mail, name, value)

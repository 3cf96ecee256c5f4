"""Sending mail: a row and a job in the caller's transaction, so it goes out when its cause is true."""

from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.core.config import Settings
from ohmstead.core.jobs import defer
from ohmstead.mail.letters import write
from ohmstead.mail.models import Mail

FOOTER = "You get this mail because of your account. It was sent by a machine: please do not answer it."
DELIVER = "mail:deliver"


async def send_mail(
    session: AsyncSession, settings: Settings, *, to: str, template: str, **values: Any
) -> UUID:
    """Write a mail to one address by a template of `letters/`, and queue it. Returns its id.

    Links in `values` are built from `settings.public_url` only. Nothing leaves before the commit.
    """
    letter = write(template, sender=settings.mail_name, footer=FOOTER, **values)
    mail = Mail(recipient=to, template=template, subject=letter.subject, text=letter.text, html=letter.html)
    session.add(mail)
    await session.flush()
    await defer(session, DELIVER, mail_id=str(mail.id))
    return mail.id

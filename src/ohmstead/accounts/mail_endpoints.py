"""`/api/admin/mail`: what went out, and without a mail server what should have."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query
from sqlalchemy import select

from ohmstead.accounts.access import Caller
from ohmstead.core.errors import NotFound
from ohmstead.core.http import Schema, UnitOfWork, UtcTime
from ohmstead.core.paging import Order, Page, Paging, containing, time_key, uuid_key
from ohmstead.mail.models import Mail, MailStatus

router = APIRouter(prefix="/api/admin/mail", tags=["Mail"])

ORDER = Order(keys={"created_at": time_key(Mail.created_at)}, tie=uuid_key(Mail.id), default="-created_at")


class MailOut(Schema):
    """A mail: to whom, about what, and where it is."""

    id: UUID
    recipient: str
    template: str
    subject: str
    status: MailStatus
    tries: int
    error: str | None
    created_at: UtcTime
    sent_at: UtcTime | None


class MailDetail(MailOut):
    """A mail with its text, which is null once a mail server has taken it."""

    text: str | None


@router.get("")
async def list_mail(
    session: UnitOfWork,
    _: Caller,
    paging: Annotated[Paging, Depends()],
    status: Annotated[MailStatus | None, Query(description="Only those with this status.")] = None,
) -> Page[MailOut]:
    """List the mails of the last month, newest first. `q` searches recipient and subject."""
    query = select(Mail).where(containing(paging.q, Mail.recipient, Mail.subject))
    if status is not None:
        query = query.where(Mail.status == status)
    found = await ORDER.slice(session, query, paging)
    return found.page(MailOut.model_validate(row) for row in found.rows)


@router.get("/{mail_id}")
async def get_mail(
    session: UnitOfWork, _: Caller, mail_id: Annotated[UUID, Path(description="The id of a mail.")]
) -> MailDetail:
    """Return one mail. Its text is there while it waits, or is kept because no mail server is set."""
    mail = await session.get(Mail, mail_id)
    if mail is None:
        raise NotFound("There is no such mail. Mails are kept for a month.")
    return MailDetail.model_validate(mail)

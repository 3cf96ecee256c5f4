"""Mail on its way out."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID, uuid4

from sqlalchemy import Index, String, Text, func, text
from sqlalchemy.orm import Mapped, mapped_column

from ohmstead.core.db import Base


class MailStatus(StrEnum):
    """Where a mail is: waiting, handed to the mail server, given up, or kept because there is no server."""

    QUEUED = "Queued"
    SENT = "Sent"
    FAILED = "Failed"
    KEPT = "Kept"


class Mail(Base):
    """One mail to one person.

    `text` is emptied once a mail server has taken it: it may hold a link that lets somebody in.
    """

    __tablename__ = "mail_mail"
    __table_args__ = (Index("ix_mail_mail_created", text("created_at DESC"), text("id DESC")),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    recipient: Mapped[str] = mapped_column(String(254), index=True)
    template: Mapped[str] = mapped_column(String(40))
    subject: Mapped[str] = mapped_column(String(300))
    text: Mapped[str | None] = mapped_column(Text)
    html: Mapped[str | None] = mapped_column(Text)
    status: Mapped[str] = mapped_column(String(10), default=MailStatus.QUEUED)
    tries: Mapped[int] = mapped_column(default=0, server_default="0")
    error: Mapped[str | None] = mapped_column(String(300))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    sent_at: Mapped[datetime | None]

"""Exports and erasures of personal data: asked for, at work, done."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID, uuid4

from sqlalchemy import ARRAY, ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from ohmstead.core.db import Base


class RequestKind(StrEnum):
    """What is asked for."""

    EXPORT = "Export"
    ERASURE = "Erasure"


class RequestState(StrEnum):
    """How far it is. An export whose archive has gone is Expired."""

    QUEUED = "Queued"
    RUNNING = "Running"
    DONE = "Done"
    FAILED = "Failed"
    EXPIRED = "Expired"


class PersonalDataRequest(Base):
    """An export or an erasure of what is kept about one user. `parts` are the names of those that are done.

    The archive of an export is `file_id`, until `expires_at`; `link_id` is the link to it.
    """

    __tablename__ = "accounts_personal_data"
    __table_args__ = (
        Index("ix_accounts_personal_data_created", text("created_at DESC"), text("id DESC")),
        Index(
            "uq_accounts_personal_data_open",
            "user_id",
            "kind",
            unique=True,
            postgresql_where=text("ended_at IS NULL"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("accounts_user.id"), index=True)
    kind: Mapped[str] = mapped_column(String(10))
    state: Mapped[str] = mapped_column(String(10), default=RequestState.QUEUED)
    parts: Mapped[list[str]] = mapped_column(ARRAY(String(40)), default=list, server_default=text("'{}'"))
    detail: Mapped[str | None] = mapped_column(String(300))
    asked_by: Mapped[UUID | None]
    created_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    file_id: Mapped[UUID | None] = mapped_column(ForeignKey("core_file.id", ondelete="SET NULL"))
    link_id: Mapped[UUID | None]
    expires_at: Mapped[datetime | None]

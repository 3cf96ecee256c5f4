"""Links that were mailed to somebody and let in who has them, once."""

from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import ForeignKey, Index, String, func
from sqlalchemy.orm import Mapped, mapped_column

from ohmstead.core.db import Base


class MailedToken(Base):
    """A token that is good for one purpose, one use, and until a moment; of itself only a hash is kept.

    `email` is the address that it was sent to, `session_id` the session in which it was asked for, where that
    matters.
    """

    __tablename__ = "accounts_mailed_token"
    __table_args__ = (Index("ix_accounts_mailed_token_user", "user_id", "purpose"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("accounts_user.id", ondelete="CASCADE"))
    purpose: Mapped[str] = mapped_column(String(20))
    email: Mapped[str] = mapped_column(String(254))
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    session_id: Mapped[UUID | None]

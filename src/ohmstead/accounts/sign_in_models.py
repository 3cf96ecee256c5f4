"""What signing in leaves behind: sessions and second factors."""

from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, ForeignKey, String, func
from sqlalchemy.orm import Mapped, mapped_column

from ohmstead.core.db import Base


class SignInSession(Base):
    """One device on which somebody is signed in, until `expires_at` or until the row is deleted.

    Its access tokens name it, so they end with it. `generation` counts the refresh tokens that were given
    out, the newest being the valid one; 0 means that none was asked for. `seed` is what they are made with,
    together with the server's secret: neither the database nor the secret alone is enough to make one.
    """

    __tablename__ = "accounts_sign_in_session"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("accounts_user.id", ondelete="CASCADE"), index=True)
    seed: Mapped[bytes]
    generation: Mapped[int]
    device: Mapped[str | None] = mapped_column(String(200))
    address: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime]
    used_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)


class SecondFactor(Base):
    """The authenticator app of a user (RFC 6238); it counts from `confirmed_at` on.

    `secret` is encrypted with a key that is derived from the server's secret. `last_step` is the time step of
    the last code that was taken: no code is taken twice. `failures` in a row lock it until `locked_until`.
    """

    __tablename__ = "accounts_second_factor"

    user_id: Mapped[UUID] = mapped_column(
        ForeignKey("accounts_user.id", ondelete="CASCADE"), primary_key=True
    )
    secret: Mapped[bytes]
    confirmed_at: Mapped[datetime | None]
    last_step: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    failures: Mapped[int] = mapped_column(default=0, server_default="0")
    locked_until: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class RecoveryCode(Base):
    """A code for the day on which the authenticator app is lost; its row goes when it is used."""

    __tablename__ = "accounts_recovery_code"

    user_id: Mapped[UUID] = mapped_column(
        ForeignKey("accounts_user.id", ondelete="CASCADE"), primary_key=True
    )
    code_hash: Mapped[str] = mapped_column(String(64), primary_key=True)

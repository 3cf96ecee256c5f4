"""Signing in elsewhere: the providers that are trusted, and who is who there."""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ForeignKey, Index, LargeBinary, String, func, text
from sqlalchemy.orm import Mapped, mapped_column

from ohmstead.accounts.models import PERSONAL
from ohmstead.core.db import Base


class IdentityProvider(Base):
    """An OpenID provider that people may sign in at (OpenID Connect Core 1.0).

    `secret` is that of our client there, encrypted with a key that is derived from the server's secret.
    `role_rules` are read in their order (`oidc_roles`); the staff that they make belongs to `backoffice_id`.
    """

    __tablename__ = "accounts_identity_provider"
    __table_args__ = (Index("uq_accounts_identity_provider_name", text("lower(name)"), unique=True),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    name: Mapped[str] = mapped_column(String(80))
    issuer: Mapped[str] = mapped_column(String(500))
    client_id: Mapped[str] = mapped_column(String(255))
    secret: Mapped[bytes | None] = mapped_column(LargeBinary)
    scopes: Mapped[str] = mapped_column(String(300))
    role_rules: Mapped[list[Any]] = mapped_column(default=list, server_default=text("'[]'"))
    allow_system_admin: Mapped[bool]
    backoffice_id: Mapped[UUID | None] = mapped_column(ForeignKey("accounts_backoffice.id"), index=True)
    make_users: Mapped[bool]
    require_verified_email: Mapped[bool]
    enabled: Mapped[bool]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())


class Identity(Base):
    """Who a user is elsewhere: `subject` is the user's name for good at that issuer, an address is not.

    `provider_id` is None for the issuer of third-party tokens, which is a setting. The issuer is kept too, so
    that another one behind the same provider is not believed about the subjects of the first. A user that was
    `made` by an identity has its role from that provider's claims at each sign-in.
    """

    __tablename__ = "accounts_identity"
    __table_args__ = (
        Index(
            "uq_accounts_identity_subject",
            "provider_id",
            "issuer",
            "subject",
            unique=True,
            postgresql_nulls_not_distinct=True,
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    provider_id: Mapped[UUID | None] = mapped_column(
        ForeignKey("accounts_identity_provider.id", ondelete="CASCADE")
    )
    issuer: Mapped[str] = mapped_column(String(500))
    subject: Mapped[str] = mapped_column(String(255), info=PERSONAL)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("accounts_user.id", ondelete="CASCADE"), index=True)
    email: Mapped[str | None] = mapped_column(String(254), info=PERSONAL)
    made: Mapped[bool]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_login_at: Mapped[datetime | None]


class IdentityHandover(Base):
    """What a provider has confirmed and a client has yet to fetch, once, by a code and its own secret.

    `challenge` is the SHA-256 of that secret (as RFC 7636 4.2 makes it). With `user_id` it signs that user
    in; without, it links the identity to whoever fetches it.
    """

    __tablename__ = "accounts_identity_handover"

    code_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    challenge: Mapped[str] = mapped_column(String(43))
    expires_at: Mapped[datetime] = mapped_column(index=True)
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("accounts_user.id", ondelete="CASCADE"))
    provider_id: Mapped[UUID] = mapped_column(ForeignKey("accounts_identity_provider.id", ondelete="CASCADE"))
    issuer: Mapped[str] = mapped_column(String(500))
    subject: Mapped[str] = mapped_column(String(255))
    email: Mapped[str | None] = mapped_column(String(254))


class UsedSignIn(Base):
    """A sign-in at a provider that has come back, kept until its cookie expires: none comes back twice."""

    __tablename__ = "accounts_used_sign_in"

    state_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    expires_at: Mapped[datetime] = mapped_column(index=True)

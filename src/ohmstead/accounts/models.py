"""Businesses, users and tokens (id tags)."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID, uuid4

from sqlalchemy import ARRAY, ForeignKey, Index, String, func, text
from sqlalchemy.dialects.postgresql import UUID as PG_UUID
from sqlalchemy.orm import Mapped, mapped_column

from ohmstead.core.db import Base


class Role(StrEnum):
    """The four roles; what each may do is decided where its endpoint is."""

    SYSTEM_ADMIN = "SystemAdmin"
    BACKOFFICE = "Backoffice"
    OPERATOR = "Operator"
    EV_OWNER = "EvOwner"


class BackofficeStatus(StrEnum):
    """The life of a business: asked for, at work, refused."""

    PENDING_APPROVAL = "PendingApproval"
    ACTIVE = "Active"
    REJECTED = "Rejected"


class UserStatus(StrEnum):
    """Whether a user may act."""

    ACTIVE = "Active"
    DEACTIVATED = "Deactivated"


class TokenStatus(StrEnum):
    """What an operator says of a token (OCPP 1.6 7.2 AuthorizationStatus without ConcurrentTx)."""

    ACCEPTED = "Accepted"
    BLOCKED = "Blocked"
    EXPIRED = "Expired"
    INVALID = "Invalid"


class Backoffice(Base):
    """A business: the tenant that owns stations, chargers and tokens. A name is taken once, in any case."""

    __tablename__ = "accounts_backoffice"
    __table_args__ = (Index("uq_accounts_backoffice_name", text("lower(name)"), unique=True),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    name: Mapped[str] = mapped_column(String(200))
    time_zone: Mapped[str] = mapped_column(String(64), default="UTC")
    status: Mapped[str] = mapped_column(String(20), default=BackofficeStatus.ACTIVE)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class User(Base):
    """Somebody who signs in by e-mail. Rights are read from this row on every request."""

    __tablename__ = "accounts_user"
    __table_args__ = (Index("uq_accounts_user_email", text("lower(email)"), unique=True),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    email: Mapped[str] = mapped_column(String(254))
    password_hash: Mapped[str | None] = mapped_column(String(255))
    role: Mapped[str] = mapped_column(String(20))
    status: Mapped[str] = mapped_column(String(20), default=UserStatus.ACTIVE)
    backoffice_id: Mapped[UUID | None] = mapped_column(ForeignKey("accounts_backoffice.id"), index=True)
    operator_station_ids: Mapped[list[UUID]] = mapped_column(
        ARRAY(PG_UUID(as_uuid=True)), default=list, server_default=text("'{}'")
    )
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_login_at: Mapped[datetime | None]


class Token(Base):
    """An id tag: what a driver shows to a charger. Matched without regard to case (OCPP 1.6 7.27 CiString20).

    Belongs to a business, or to none: then it works at every charger. `parent_id_tag` groups tokens
    (OCPP 1.6 3.2), `max_concurrent_sessions` None means no limit.
    """

    __tablename__ = "accounts_token"
    __table_args__ = (
        Index(
            "uq_accounts_token_id_tag",
            text("lower(id_tag)"),
            "backoffice_id",
            unique=True,
            postgresql_nulls_not_distinct=True,
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    backoffice_id: Mapped[UUID | None] = mapped_column(ForeignKey("accounts_backoffice.id"), index=True)
    id_tag: Mapped[str] = mapped_column(String(20))
    status: Mapped[str] = mapped_column(String(20), default=TokenStatus.ACCEPTED)
    expires_at: Mapped[datetime | None]
    parent_id_tag: Mapped[str | None] = mapped_column(String(20))
    owner: Mapped[str | None] = mapped_column(String(200))
    max_concurrent_sessions: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())

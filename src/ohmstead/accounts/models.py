"""Businesses, users and tokens (id tags)."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ARRAY, ForeignKey, Index, String, func, text
from sqlalchemy.dialects.postgresql import UUID as PG_UUID
from sqlalchemy.orm import Mapped, mapped_column

from ohmstead.core.db import Base

PERSONAL = {"personal": True}
"""The `info` of a column that tells of a person: the audit trail encrypts it with the key of that person."""


class Role(StrEnum):
    """The four roles; what each may do is said by the table of permissions."""

    SYSTEM_ADMIN = "SystemAdmin"
    BACKOFFICE = "Backoffice"
    OPERATOR = "Operator"
    EV_OWNER = "EvOwner"


BUSINESS_ROLES = frozenset({Role.BACKOFFICE, Role.OPERATOR})
"""These act for a business, and only while it is at work."""


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
    """A business: the tenant that owns stations, chargers and tokens.

    Of those at work a name is taken once, in any case; who asks for an account keeps no name from others.
    `contact_*` and `billing` are what it told when it asked; `decided_at`: when it was approved or rejected.
    """

    __tablename__ = "accounts_backoffice"
    __table_args__ = (
        Index(
            "uq_accounts_backoffice_name",
            text("lower(name)"),
            unique=True,
            postgresql_where=text("status = 'Active'"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    name: Mapped[str] = mapped_column(String(200))
    time_zone: Mapped[str] = mapped_column(String(64), default="UTC")
    status: Mapped[str] = mapped_column(String(20), default=BackofficeStatus.ACTIVE)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    contact_name: Mapped[str | None] = mapped_column(String(200), info={"personal": True})
    contact_email: Mapped[str | None] = mapped_column(String(254), info={"personal": True})
    contact_phone: Mapped[str | None] = mapped_column(String(40), info={"personal": True})
    billing: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default=text("'{}'"))
    decided_at: Mapped[datetime | None]
    rejection_reason: Mapped[str | None] = mapped_column(String(500))


class User(Base):
    """Somebody who signs in by e-mail. Rights are read from this row on every request.

    A password that somebody else chose (`must_change_password`) opens nothing but the change of it.
    """

    __tablename__ = "accounts_user"
    __table_args__ = (Index("uq_accounts_user_email", text("lower(email)"), unique=True),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    email: Mapped[str] = mapped_column(String(254), info=PERSONAL)
    password_hash: Mapped[str | None] = mapped_column(String(255))
    role: Mapped[str] = mapped_column(String(20))
    status: Mapped[str] = mapped_column(String(20), default=UserStatus.ACTIVE)
    backoffice_id: Mapped[UUID | None] = mapped_column(ForeignKey("accounts_backoffice.id"), index=True)
    operator_station_ids: Mapped[list[UUID]] = mapped_column(
        ARRAY(PG_UUID(as_uuid=True)), default=list, server_default=text("'{}'")
    )
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_login_at: Mapped[datetime | None]
    name: Mapped[str | None] = mapped_column(String(200), info={"personal": True})
    phone: Mapped[str | None] = mapped_column(String(40), info={"personal": True})
    must_change_password: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    email_verified_at: Mapped[datetime | None]

    @property
    def shut_out(self) -> bool:
        """Whether it may not sign in: whoever is deactivated, but for drivers, who may see what was."""
        return self.status != UserStatus.ACTIVE and self.role != Role.EV_OWNER


class Token(Base):
    """An id tag: what a driver shows to a charger. Matched without regard to case (OCPP 1.6 7.27 CiString20).

    Belongs to a business, or to none: then it works at every charger. `parent_id_tag` groups tokens
    (OCPP 1.6 3.2), `max_concurrent_sessions` None means no limit. A card of a driver (`driver_id`) belongs to
    no business: what the driver and those who approve it say is in `card_status`, what staff holds against it
    in `stopped_as`, and `status` follows from both; `approver_id` is the business asked to approve it.
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
    id_tag: Mapped[str] = mapped_column(String(20), info=PERSONAL)
    status: Mapped[str] = mapped_column(String(20), default=TokenStatus.ACCEPTED)
    expires_at: Mapped[datetime | None]
    parent_id_tag: Mapped[str | None] = mapped_column(String(20), info=PERSONAL)
    owner: Mapped[str | None] = mapped_column(String(200), info=PERSONAL)
    max_concurrent_sessions: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())
    driver_id: Mapped[UUID | None] = mapped_column(ForeignKey("accounts_user.id"), index=True)
    card_status: Mapped[str | None] = mapped_column(String(10))
    label: Mapped[str | None] = mapped_column(String(80), info={"personal": True})
    stopped_as: Mapped[str | None] = mapped_column(String(20))
    approver_id: Mapped[UUID | None] = mapped_column(ForeignKey("accounts_backoffice.id"), index=True)

"""The audit trail: what was changed, sealed in batches, and the keys of the persons in it."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, LargeBinary, String, func, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.dialects.postgresql import UUID as PG_UUID
from sqlalchemy.orm import Mapped, mapped_column

from ohmstead.core.db import Base


class AuditEntry(Base):
    """One change of state. Never changed and never removed: a trigger refuses both.

    `actor_personal` and `personal` are encrypted with the key of `actor_person_id` and `person_id`; when a
    person is erased the key goes, and the entry stays. `seal_id` is set once, when a seal covers the entry.
    """

    __tablename__ = "accounts_audit_entry"
    __table_args__ = (
        Index("ix_accounts_audit_entry_at", text("at DESC"), text("id DESC")),
        Index("ix_accounts_audit_entry_entity", "entity", "entity_id", "id"),
        Index("ix_accounts_audit_entry_actor", "actor_id", "id"),
        Index("ix_accounts_audit_entry_backoffice", "backoffice_id", "id"),
        Index("ix_accounts_audit_entry_unsealed", "id", postgresql_where=text("seal_id IS NULL")),
        Index("ix_accounts_audit_entry_seal", "seal_id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    at: Mapped[datetime]
    action: Mapped[str] = mapped_column(String(60))
    entity: Mapped[str] = mapped_column(String(40))
    entity_id: Mapped[str] = mapped_column(String(64))
    actor_kind: Mapped[str] = mapped_column(String(12))
    actor_id: Mapped[str | None] = mapped_column(String(64))
    actor_role: Mapped[str | None] = mapped_column(String(20))
    actor_person_id: Mapped[UUID | None]
    actor_personal: Mapped[bytes | None] = mapped_column(LargeBinary)
    operator_station_ids: Mapped[list[UUID]] = mapped_column(
        ARRAY(PG_UUID(as_uuid=True)), default=list, server_default=text("'{}'")
    )
    backoffice_id: Mapped[UUID | None]
    station_id: Mapped[UUID | None]
    before: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    after: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    reason: Mapped[str | None] = mapped_column(String(500))
    person_id: Mapped[UUID | None] = mapped_column(index=True)
    personal: Mapped[bytes | None] = mapped_column(LargeBinary)
    request_id: Mapped[str | None] = mapped_column(String(64))
    seal_id: Mapped[int | None] = mapped_column(ForeignKey("accounts_audit_seal.id"))


class AuditSeal(Base):
    """A batch of entries under one digest, which covers the digest of the seal before it too."""

    __tablename__ = "accounts_audit_seal"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    sealed_at: Mapped[datetime]
    entries: Mapped[int]
    previous: Mapped[bytes] = mapped_column(LargeBinary)
    digest: Mapped[bytes] = mapped_column(LargeBinary)


class PersonKey(Base):
    """The key of what the audit trail holds of one person, itself encrypted with the server's secret.

    Erasing a person empties `wrapped`: what was encrypted with it can never be read again, and nothing is
    encrypted for that person any more.
    """

    __tablename__ = "accounts_person_key"

    person_id: Mapped[UUID] = mapped_column(primary_key=True)
    wrapped: Mapped[bytes | None] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

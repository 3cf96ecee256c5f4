"""Keys of machines."""

from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import ARRAY, ForeignKey, Index, String, func, text
from sqlalchemy.dialects.postgresql import UUID as PG_UUID
from sqlalchemy.orm import Mapped, mapped_column

from ohmstead.core.db import Base


class ApiKey(Base):
    """What a machine signs in with. Of the key itself only its keyed hash is kept, and its first letters.

    It belongs to a business, or to none: then it is the installation's. With `station_ids` it acts at these
    stations only. `permissions` are names of the table of permissions. A revoked one stays, to be shown.
    """

    __tablename__ = "accounts_api_key"
    __table_args__ = (
        Index("uq_accounts_api_key_hash", "key_hash", unique=True),
        Index("ix_accounts_api_key_created", text("created_at DESC"), text("id DESC")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    backoffice_id: Mapped[UUID | None] = mapped_column(ForeignKey("accounts_backoffice.id"), index=True)
    name: Mapped[str] = mapped_column(String(100))
    begins_with: Mapped[str] = mapped_column(String(12))
    key_hash: Mapped[str] = mapped_column(String(64))
    permissions: Mapped[list[str]] = mapped_column(ARRAY(String(60)))
    station_ids: Mapped[list[UUID]] = mapped_column(
        ARRAY(PG_UUID(as_uuid=True)), default=list, server_default=text("'{}'")
    )
    created_by: Mapped[UUID | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]

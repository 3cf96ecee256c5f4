"""Reservations: connectors that chargers keep for an id tag (OCPP 1.6 5.13 ReserveNow)."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from ohmstead.core.db import Base


class ReservationStatus(StrEnum):
    """Where a reservation stands.

    `Pending`: the charger is being asked. `Accepted`: it holds it. `Rejected`, `Occupied`, `Faulted`,
    `Unavailable`: its own word, it holds none. `Failed`: it gave no usable answer. `Cancelled`, `Used` and
    `Expired`: it held it, and how that ended.
    """

    PENDING = "Pending"
    ACCEPTED = "Accepted"
    REJECTED = "Rejected"
    OCCUPIED = "Occupied"
    FAULTED = "Faulted"
    UNAVAILABLE = "Unavailable"
    CANCELLED = "Cancelled"
    USED = "Used"
    EXPIRED = "Expired"
    FAILED = "Failed"


class Reservation(Base):
    """One ReserveNow, and what became of it. Written before the charger is asked.

    `reservation_id` is the number on the wire; the same one again replaces (OCPP 1.6 5.13): the older row
    ends then, and is kept. `uncertain`: the charger may hold it though it did not say so. `session_id` is the
    session that used it. `notes` (`kind`, `at`, `detail`, ...) tells what was odd.
    """

    __tablename__ = "bookings_reservation"
    __table_args__ = (
        Index("ix_bookings_reservation_charger", "charger_id", text("created_at DESC"), text("id DESC")),
        Index("ix_bookings_reservation_created", text("created_at DESC"), text("id DESC")),
        Index("ix_bookings_reservation_number", "charger_id", "reservation_id"),
        Index(
            "ix_bookings_reservation_open",
            "charger_id",
            "connector_id",
            postgresql_where=text("status IN ('Pending', 'Accepted')"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    charger_id: Mapped[str] = mapped_column(
        ForeignKey("stations_charger.id", ondelete="CASCADE", onupdate="CASCADE")
    )
    reservation_id: Mapped[int] = mapped_column(BigInteger)
    connector_id: Mapped[int] = mapped_column(BigInteger)
    id_tag: Mapped[str] = mapped_column(String(20))
    parent_id_tag: Mapped[str | None] = mapped_column(String(20))
    expires_at: Mapped[datetime]
    status: Mapped[str] = mapped_column(String(20))
    detail: Mapped[str] = mapped_column(Text, default="", server_default="")
    uncertain: Mapped[bool] = mapped_column(default=False, server_default="false")
    created_at: Mapped[datetime]
    answered_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    session_id: Mapped[UUID | None]
    notes: Mapped[list[Any]] = mapped_column(JSONB, default=list, server_default=text("'[]'"))

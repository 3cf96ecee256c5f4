"""What the OCPP edge keeps: frames, connections, refused handshakes."""

from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, Integer, Sequence, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from ohmstead.core.db import Base

MESSAGE_ID = Sequence("gateway_message_id_seq", metadata=Base.metadata)


class Message(Base):
    """One CALL and its answer, secrets masked: both frames of an exchange in one row.

    `direction` is `in` for a CALL of the charger, `out` for one of ours. `error_code` is the code of
    a CALLERROR, or `Timeout`/`Disconnected` for a CALL of ours that got no answer. Partitioned by
    the day of arrival; kept for `OHMSTEAD_MESSAGE_LOG_DAYS`.
    """

    __tablename__ = "gateway_message"
    __table_args__ = (
        Index("ix_gateway_message_charger", "charger_id", "received_at", "id"),
        Index("ix_gateway_message_time", "received_at", "id"),
        Index(
            "ix_gateway_message_error",
            "received_at",
            "id",
            postgresql_where=text("error_code IS NOT NULL"),
        ),
        Index(
            "ix_gateway_message_fault",
            "charger_id",
            "received_at",
            postgresql_where=text("error_code IS NOT NULL"),
        ),
        {"postgresql_partition_by": "RANGE (received_at)"},
    )
    __mapper_args__ = {"primary_key": ["received_at", "id"]}

    id: Mapped[int] = mapped_column(BigInteger, MESSAGE_ID, server_default=MESSAGE_ID.next_value())
    received_at: Mapped[datetime]
    charger_id: Mapped[str] = mapped_column(String(48))
    connection_id: Mapped[UUID | None]
    direction: Mapped[str] = mapped_column(String(3))
    message_id: Mapped[str | None] = mapped_column(String(36))
    action: Mapped[str | None] = mapped_column(String(64))
    request: Mapped[str] = mapped_column(Text)
    response: Mapped[str | None] = mapped_column(Text)
    error_code: Mapped[str | None] = mapped_column(String(40))
    note: Mapped[str | None] = mapped_column(String(500))
    duration_ms: Mapped[float | None]


class Connection(Base):
    """One socket of a charger: from, to, why it ended, and the process that holds it."""

    __tablename__ = "gateway_connection"
    __table_args__ = (
        Index("ix_gateway_connection_charger", "charger_id", "opened_at"),
        Index("ix_gateway_connection_open", "charger_id", postgresql_where=text("closed_at IS NULL")),
        Index("ix_gateway_connection_process", "process_id", postgresql_where=text("closed_at IS NULL")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    charger_id: Mapped[str] = mapped_column(
        ForeignKey("stations_charger.id", ondelete="CASCADE", onupdate="CASCADE")
    )
    opened_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]
    address: Mapped[str | None] = mapped_column(String(64))
    subprotocol: Mapped[str | None] = mapped_column(String(20))
    security_profile: Mapped[int] = mapped_column(Integer, default=0)
    close_code: Mapped[int | None] = mapped_column(Integer)
    close_reason: Mapped[str | None] = mapped_column(String(200))
    process_id: Mapped[UUID | None]


class Refusal(Base):
    """A handshake that was refused: when, from where, as whom, why. Masked, and capped in number."""

    __tablename__ = "gateway_refusal"
    __table_args__ = (
        Index("ix_gateway_refusal_at", "at"),
        Index("ix_gateway_refusal_charger", "charger_id", "at"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    at: Mapped[datetime]
    charger_id: Mapped[str] = mapped_column(String(64))
    backoffice_id: Mapped[UUID | None]
    station_id: Mapped[UUID | None]
    address: Mapped[str | None] = mapped_column(String(64))
    status: Mapped[int] = mapped_column(Integer)
    reason: Mapped[str] = mapped_column(String(60))
    detail: Mapped[str | None] = mapped_column(String(300))

"""Alerts: what an operator should look at."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ForeignKey, Index, String, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from ohmstead.core.db import Base


class Severity(StrEnum):
    """The levels of the driver's document."""

    INFO = "INFO"
    WARN = "WARN"
    CRITICAL = "CRITICAL"


class AlertKind(StrEnum):
    """What alerts are raised for."""

    CHARGER_OFFLINE = "ChargerOffline"
    CONNECTOR_FAULTED = "ConnectorFaulted"
    STOP_UNMATCHED = "StopUnmatched"
    SESSION_CLOSED_BY_RULE = "SessionClosedByRule"
    SECURITY_EVENT = "SecurityEvent"
    WRONG_SUBPROTOCOL = "WrongSubprotocol"
    BAD_AUTH = "BadAuth"
    BAD_HANDSHAKE = "BadHandshake"
    CLOCK_DRIFT = "ClockDrift"
    REPEATED_IDS = "RepeatedIds"
    MISSING_STOPS = "MissingStops"
    REGISTER_JUMPS = "RegisterJumps"
    SCHEMA_FAULTS = "SchemaFaults"
    SILENT_CONNECTORS = "SilentConnectors"
    FLAPPING = "Flapping"
    CAMPAIGN_STOPPED = "CampaignStopped"


class Alert(Base):
    """One thing to look at, open until it is cleared. `subject` names what it is about, so that the
    same trouble is one open alert however often it is told.
    """

    __tablename__ = "notifications_alert"
    __table_args__ = (
        Index(
            "uq_notifications_alert_open",
            "kind",
            "subject",
            unique=True,
            postgresql_where=text("cleared_at IS NULL"),
        ),
        Index("ix_notifications_alert_raised", "raised_at", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    kind: Mapped[str] = mapped_column(String(40))
    subject: Mapped[str] = mapped_column(String(120))
    severity: Mapped[str] = mapped_column(String(10))
    title: Mapped[str] = mapped_column(String(200))
    message: Mapped[str] = mapped_column(String(1000))
    backoffice_id: Mapped[UUID | None] = mapped_column(ForeignKey("accounts_backoffice.id"), index=True)
    station_id: Mapped[UUID | None] = mapped_column(ForeignKey("stations_station.id", ondelete="CASCADE"))
    charger_id: Mapped[str | None] = mapped_column(
        ForeignKey("stations_charger.id", ondelete="CASCADE", onupdate="CASCADE")
    )
    raised_at: Mapped[datetime]
    cleared_at: Mapped[datetime | None]
    data: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict, server_default=text("'{}'"))

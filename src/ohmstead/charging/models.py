"""Sessions and meter values."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, Double, ForeignKey, Index, Integer, Numeric, String, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from ohmstead.core.db import Base


class SessionStatus(StrEnum):
    """Where a session stands."""

    ACTIVE = "Active"
    COMPLETED = "Completed"


class ClosedBy(StrEnum):
    """Who ended a session: the charger's StopTransaction, an operator, or a rule of ours."""

    CHARGER = "charger"
    OPERATOR = "operator"
    RULE = "rule"


class Session(Base):
    """One charge. The admin API calls the same row a transaction.

    `ocpp_transaction_id` is ours (random, positive int32) and unique, but for unmatched rows: those
    keep a StopTransaction that belongs to no session of its charger, with the id it named.
    `started_at`/`stopped_at` are the charger's own times; `occurred_at` orders lists (start, else
    stop, else arrival). Registers in Wh;
    `register_wh` is the newest trusted one. `anomalies` tells what was odd and how it was taken.
    """

    __tablename__ = "charging_session"
    __table_args__ = (
        Index(
            "uq_charging_session_transaction",
            "ocpp_transaction_id",
            unique=True,
            postgresql_where=text("NOT unmatched"),
        ),
        Index(
            "uq_charging_session_open_start",
            "charger_id",
            "connector_id",
            "started_at",
            "meter_start",
            text("lower(id_tag)"),
            unique=True,
            postgresql_where=text("status = 'Active' AND NOT unmatched"),
        ),
        Index(
            "uq_charging_session_unmatched",
            "charger_id",
            "fingerprint",
            unique=True,
            postgresql_where=text("unmatched"),
        ),
        Index(
            "ix_charging_session_active",
            "charger_id",
            "connector_id",
            postgresql_where=text("status = 'Active' AND NOT unmatched"),
        ),
        Index("ix_charging_session_charger", "charger_id", text("occurred_at DESC"), text("id DESC")),
        Index("ix_charging_session_station", "station_id", text("occurred_at DESC"), text("id DESC")),
        Index("ix_charging_session_backoffice", "backoffice_id", text("occurred_at DESC"), text("id DESC")),
        Index("ix_charging_session_occurred", text("occurred_at DESC"), text("id DESC")),
        Index("ix_charging_session_token", "token_id"),
        Index("ix_charging_session_ruled", "closed_at", postgresql_where=text("closed_by = 'rule'")),
        Index("ix_charging_session_age", "received_at", postgresql_using="brin"),
        {"postgresql_with": {"fillfactor": "80"}},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    ocpp_transaction_id: Mapped[int | None] = mapped_column(BigInteger)
    charger_id: Mapped[str] = mapped_column(ForeignKey("stations_charger.id", onupdate="CASCADE"))
    station_id: Mapped[UUID | None] = mapped_column(ForeignKey("stations_station.id"))
    backoffice_id: Mapped[UUID | None] = mapped_column(ForeignKey("accounts_backoffice.id"))
    connector_id: Mapped[int | None] = mapped_column(Integer)
    id_tag: Mapped[str | None] = mapped_column(String(20))
    id_tag_status: Mapped[str | None] = mapped_column(String(20))
    stop_id_tag: Mapped[str | None] = mapped_column(String(20))
    token_id: Mapped[UUID | None] = mapped_column(ForeignKey("accounts_token.id", ondelete="SET NULL"))
    reservation_id: Mapped[int | None] = mapped_column(Integer)
    status: Mapped[str] = mapped_column(String(20), default=SessionStatus.ACTIVE)
    unmatched: Mapped[bool] = mapped_column(default=False, server_default="false")
    simulated: Mapped[bool] = mapped_column(default=False, server_default="false")
    occurred_at: Mapped[datetime]
    received_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    stopped_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]
    closed_by: Mapped[str | None] = mapped_column(String(20))
    meter_start: Mapped[int | None] = mapped_column(BigInteger)
    meter_stop: Mapped[int | None] = mapped_column(BigInteger)
    energy_wh: Mapped[Decimal | None] = mapped_column(Numeric(16, 3))
    stop_reason: Mapped[str | None] = mapped_column(String(40))
    stop_accepted_at: Mapped[datetime | None]
    last_sample_at: Mapped[datetime | None]
    register_wh: Mapped[Decimal | None] = mapped_column(Numeric(16, 3))
    power_w: Mapped[float | None] = mapped_column(Double)
    soc_percent: Mapped[float | None] = mapped_column(Double)
    anomalies: Mapped[list[Any]] = mapped_column(JSONB, default=list, server_default=text("'[]'"))
    fingerprint: Mapped[str | None] = mapped_column(String(64))
    raw: Mapped[dict[str, Any] | None] = mapped_column(JSONB)


class MeterValue(Base):
    """One MeterValue of OCPP 1.6 7.31: a moment, and what was sampled then, as it was sent.

    Partitioned by the sampled day. The digest is over the sampled values: a retried frame lands on
    itself. The register (Wh) and the gauges are derived once, for sums and plots.
    """

    __tablename__ = "charging_meter_value"
    __table_args__ = (
        Index(
            "uq_charging_meter_value",
            "charger_id",
            "connector_id",
            "transaction_id",
            "sampled_at",
            "digest",
            unique=True,
            postgresql_nulls_not_distinct=True,
        ),
        {"postgresql_partition_by": "RANGE (sampled_at)"},
    )
    __mapper_args__ = {
        "primary_key": ["charger_id", "connector_id", "transaction_id", "sampled_at", "digest"]
    }

    charger_id: Mapped[str] = mapped_column(String(48))
    connector_id: Mapped[int]
    transaction_id: Mapped[int | None] = mapped_column(Integer)
    sampled_at: Mapped[datetime]
    digest: Mapped[int] = mapped_column(BigInteger)
    received_at: Mapped[datetime]
    register_wh: Mapped[Decimal | None] = mapped_column(Numeric(16, 3))
    power_w: Mapped[float | None] = mapped_column(Double)
    soc_percent: Mapped[float | None] = mapped_column(Double)
    sampled_values: Mapped[list[Any]] = mapped_column(JSONB)

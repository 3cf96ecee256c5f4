"""Stations, chargers and connectors."""

from datetime import date, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Numeric,
    String,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from ohmstead.core.db import Base


class StationStatus(StrEnum):
    """Whether a place takes cars."""

    ACTIVE = "Active"
    INACTIVE = "Inactive"
    MAINTENANCE = "Maintenance"


class Registration(StrEnum):
    """What a charger is told in the answer to its BootNotification (OCPP 1.6 7.33)."""

    ACCEPTED = "Accepted"
    PENDING = "Pending"
    REJECTED = "Rejected"


class ConnectorStatus(StrEnum):
    """OCPP 1.6 7.7 ChargePointStatus; None in the database means that the charger has not told yet."""

    AVAILABLE = "Available"
    PREPARING = "Preparing"
    CHARGING = "Charging"
    SUSPENDED_EVSE = "SuspendedEVSE"
    SUSPENDED_EV = "SuspendedEV"
    FINISHING = "Finishing"
    RESERVED = "Reserved"
    UNAVAILABLE = "Unavailable"
    FAULTED = "Faulted"


class Station(Base):
    """A place with an address, a time zone and opening hours. Only its name is needed.

    `photo_url` is an address outside, or of the stored photo that is named by `photo_id`.
    """

    __tablename__ = "stations_station"
    __table_args__ = (
        UniqueConstraint("id", "backoffice_id"),
        CheckConstraint("latitude BETWEEN -90 AND 90", name="latitude"),
        CheckConstraint("longitude BETWEEN -180 AND 180", name="longitude"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    backoffice_id: Mapped[UUID] = mapped_column(ForeignKey("accounts_backoffice.id"), index=True)
    name: Mapped[str] = mapped_column(String(200))
    address: Mapped[str | None] = mapped_column(String(300))
    city: Mapped[str | None] = mapped_column(String(120))
    country: Mapped[str | None] = mapped_column(String(2))
    latitude: Mapped[float | None]
    longitude: Mapped[float | None]
    time_zone: Mapped[str] = mapped_column(String(64), default="UTC", server_default="UTC")
    amenities: Mapped[list[Any]] = mapped_column(JSONB, default=list, server_default=text("'[]'"))
    photo_url: Mapped[str | None] = mapped_column(String(2000))
    photo_id: Mapped[UUID | None] = mapped_column(ForeignKey("core_file.id", ondelete="SET NULL"), index=True)
    opening_hours: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    support_phone: Mapped[str | None] = mapped_column(String(40))
    status: Mapped[str] = mapped_column(String(20), default=StationStatus.ACTIVE)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())


class Charger(Base):
    """One OCPP station; its id is its OCPP identity, unique in the whole system.

    Belongs to a business, and to a station of that same business (the database keeps it so).
    `online` and `last_seen` are written by the gateway: `presence_at` says when that was so, and
    `presence_since` when the socket that says it became the charger's own; `simulated` chargers are kept
    out of figures; a retired charger is refused by the gateway and keeps its history. What it said before
    `owned_since` was said to somebody else, who had its id or the charger itself: its business is not shown
    that. `unregistered_since` is set while nobody has adopted one that came by itself, from
    `unregistered_from`; `boot_awaited` from then until it has booted, or was asked to. A `free_vend` charger
    charges without a known tag.
    """

    __tablename__ = "stations_charger"
    __table_args__ = (
        ForeignKeyConstraint(
            ["station_id", "backoffice_id"],
            ["stations_station.id", "stations_station.backoffice_id"],
            onupdate="CASCADE",
            name="fk_stations_charger_station",
        ),
        Index("ix_stations_charger_station", "station_id"),
        Index(
            "ix_stations_charger_unregistered",
            "unregistered_from",
            postgresql_where=text("unregistered_since IS NOT NULL"),
        ),
        CheckConstraint("security_profile BETWEEN 0 AND 3", name="security_profile"),
    )

    id: Mapped[str] = mapped_column(String(48), primary_key=True)
    backoffice_id: Mapped[UUID | None] = mapped_column(ForeignKey("accounts_backoffice.id"), index=True)
    station_id: Mapped[UUID | None]
    name: Mapped[str | None] = mapped_column(String(200))
    status: Mapped[str] = mapped_column(String(20), default=StationStatus.ACTIVE, server_default="Active")
    registration: Mapped[str] = mapped_column(String(20), default=Registration.ACCEPTED)
    ocpp_version: Mapped[str] = mapped_column(String(10), default="1.6", server_default="1.6")
    security_profile: Mapped[int] = mapped_column(default=0, server_default="0")
    password_hash: Mapped[str | None] = mapped_column(String(64))
    tolerant: Mapped[bool] = mapped_column(default=False, server_default="false")
    simulated: Mapped[bool] = mapped_column(default=False, server_default="false")
    vendor: Mapped[str | None] = mapped_column(String(50))
    model: Mapped[str | None] = mapped_column(String(50))
    serial_number: Mapped[str | None] = mapped_column(String(50))
    firmware_version: Mapped[str | None] = mapped_column(String(50))
    iccid: Mapped[str | None] = mapped_column(String(20))
    imsi: Mapped[str | None] = mapped_column(String(20))
    meter_type: Mapped[str | None] = mapped_column(String(25))
    meter_serial_number: Mapped[str | None] = mapped_column(String(25))
    online: Mapped[bool] = mapped_column(default=False, server_default="false")
    last_seen: Mapped[datetime | None]
    presence_at: Mapped[datetime | None]
    presence_since: Mapped[datetime | None]
    last_boot_at: Mapped[datetime | None]
    firmware_status: Mapped[str | None] = mapped_column(String(40))
    diagnostics_status: Mapped[str | None] = mapped_column(String(40))
    free_vend: Mapped[bool] = mapped_column(default=False, server_default="false")
    unregistered_since: Mapped[datetime | None]
    unregistered_from: Mapped[str | None] = mapped_column(String(64))
    boot_awaited: Mapped[bool] = mapped_column(default=False, server_default="false")
    retired_at: Mapped[datetime | None]
    owned_since: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())


class NextPassword(Base):
    """A password that was sent to a charger and may be its own by now: accepted beside the one that it has.

    See `stations.credentials`; `state` says what the charger made of it, `at` when it was sent.
    """

    __tablename__ = "stations_next_password"

    charger_id: Mapped[str] = mapped_column(
        ForeignKey("stations_charger.id", ondelete="CASCADE", onupdate="CASCADE"), primary_key=True
    )
    password_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    state: Mapped[str] = mapped_column(String(20))
    at: Mapped[datetime]


class Connector(Base):
    """What a car plugs into. Connector 0 is the charger as a whole (OCPP 1.6 4.9).

    `status_at` is the charger's own time of its last notification, `status_since` the moment (by
    our clock, or the charger's where it can be believed) at which the status became what it is.
    """

    __tablename__ = "stations_connector"
    __table_args__ = (
        CheckConstraint("connector_id >= 0", name="connector_id"),
        {"postgresql_with": {"fillfactor": "70"}},
    )

    charger_id: Mapped[str] = mapped_column(
        ForeignKey("stations_charger.id", ondelete="CASCADE", onupdate="CASCADE"), primary_key=True
    )
    connector_id: Mapped[int] = mapped_column(primary_key=True)
    type: Mapped[str | None] = mapped_column(String(20))
    current: Mapped[str | None] = mapped_column(String(2))
    phases: Mapped[int | None]
    max_power_kw: Mapped[float | None] = mapped_column(Numeric(8, 3, asdecimal=False))
    status: Mapped[str | None] = mapped_column(String(20))
    error_code: Mapped[str | None] = mapped_column(String(40))
    info: Mapped[str | None] = mapped_column(String(50))
    vendor_id: Mapped[str | None] = mapped_column(String(255))
    vendor_error_code: Mapped[str | None] = mapped_column(String(50))
    status_since: Mapped[datetime | None]
    status_at: Mapped[datetime | None]
    status_received_at: Mapped[datetime | None]


class StatusEvent(Base):
    """Every StatusNotification as it was told, also the late ones: the history of a connector.

    A repeated notification is one row. No foreign key: it is written on the hot path.
    """

    __tablename__ = "stations_status_event"
    __table_args__ = (
        UniqueConstraint(
            "charger_id",
            "connector_id",
            "at",
            "status",
            "error_code",
            name="uq_stations_status_event",
        ),
        Index("ix_stations_status_event_at", "charger_id", "at", "id"),
        Index("ix_stations_status_event_age", "received_at", postgresql_using="brin"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    charger_id: Mapped[str] = mapped_column(String(48))
    connector_id: Mapped[int]
    at: Mapped[datetime]
    received_at: Mapped[datetime]
    status: Mapped[str] = mapped_column(String(20))
    error_code: Mapped[str] = mapped_column(String(40))
    info: Mapped[str | None] = mapped_column(String(50))
    vendor_id: Mapped[str | None] = mapped_column(String(255))
    vendor_error_code: Mapped[str | None] = mapped_column(String(50))


class ChargerReport(Base):
    """What a charger reported outside of its sessions: diagnostics, firmware and log states, security
    events, certificate requests, vendor data. One row per report, as it was sent.
    """

    __tablename__ = "stations_report"
    __table_args__ = (
        Index("ix_stations_report_charger", "charger_id", "id"),
        Index("ix_stations_report_age", "received_at", postgresql_using="brin"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    charger_id: Mapped[str] = mapped_column(
        ForeignKey("stations_charger.id", ondelete="CASCADE", onupdate="CASCADE")
    )
    received_at: Mapped[datetime]
    action: Mapped[str] = mapped_column(String(64))
    payload: Mapped[dict[str, Any]] = mapped_column(JSONB)


class Observation(Base):
    """What a charger was seen to do that is kept nowhere else: one row for each kind and day.

    See `stations.observations`; `examples` are the newest five, each with `id`, `at` and `detail`.
    """

    __tablename__ = "stations_observation"
    __table_args__ = (Index("ix_stations_observation_last", "last_at"),)

    charger_id: Mapped[str] = mapped_column(
        ForeignKey("stations_charger.id", ondelete="CASCADE", onupdate="CASCADE"), primary_key=True
    )
    kind: Mapped[str] = mapped_column(String(40), primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    count: Mapped[int] = mapped_column(BigInteger)
    first_at: Mapped[datetime]
    last_at: Mapped[datetime]
    examples: Mapped[list[Any]] = mapped_column(JSONB)

"""Firmware images, updates of chargers by them, and what chargers told of these."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from ohmstead.core.db import Base

KIND = "Firmware"
"""The name of this kind of work for campaigns, and of what keeps the files of images."""
STATUS_MAX = 40
DETAIL_MAX = 500


class UpdateState(StrEnum):
    """Where an update stands; what the charger said last is its `status`."""

    REQUESTED = "Requested"
    ACCEPTED = "Accepted"
    RUNNING = "Running"
    INSTALLED = "Installed"
    FAILED = "Failed"
    REPLACED = "Replaced"
    EXPIRED = "Expired"


OPEN = (UpdateState.REQUESTED, UpdateState.ACCEPTED, UpdateState.RUNNING)
"""States in which more is awaited; a charger has at most one such update."""


class FirmwareImage(Base):
    """A file with firmware for the chargers of a vendor, and of one model where it is named.

    It belongs to a business, or to none: then every business may use it.
    """

    __tablename__ = "fleet_firmware"
    __table_args__ = (
        Index(
            "uq_fleet_firmware",
            "backoffice_id",
            text("lower(vendor)"),
            text("lower(model)"),
            text("lower(version)"),
            unique=True,
            postgresql_nulls_not_distinct=True,
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    backoffice_id: Mapped[UUID | None] = mapped_column(ForeignKey("accounts_backoffice.id"))
    vendor: Mapped[str] = mapped_column(String(50))
    model: Mapped[str | None] = mapped_column(String(50))
    version: Mapped[str] = mapped_column(String(50))
    name: Mapped[str] = mapped_column(String(100))
    file_id: Mapped[UUID] = mapped_column(ForeignKey("core_file.id"))
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]


class FirmwareUpdate(Base):
    """A charger was told to install firmware: of ours, or from an address outside.

    `version` is what the charger should report afterwards, where that is known. `confirmed` says whether
    it did: None while it has not been seen. `link_id` is the link to our image, `location` an address
    outside, without its password.
    `ended_at` is None while the update is open; one of which nothing is heard for `patience_seconds`, so that
    `deadline_at` has come, expires.
    """

    __tablename__ = "fleet_firmware_update"
    __table_args__ = (
        UniqueConstraint("charger_id", "request_id", name="uq_fleet_firmware_update_request"),
        Index(
            "uq_fleet_firmware_update_open",
            "charger_id",
            unique=True,
            postgresql_where=text("ended_at IS NULL"),
        ),
        Index("ix_fleet_firmware_update_charger", "charger_id", "created_at", "id"),
        Index("ix_fleet_firmware_update_time", "created_at", "id"),
        Index("ix_fleet_firmware_update_image", "firmware_id"),
        Index("ix_fleet_firmware_update_link", "link_id"),
        Index("ix_fleet_firmware_update_deadline", "deadline_at", postgresql_where=text("ended_at IS NULL")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    charger_id: Mapped[str] = mapped_column(
        ForeignKey("stations_charger.id", ondelete="CASCADE", onupdate="CASCADE")
    )
    request_id: Mapped[int]
    firmware_id: Mapped[UUID | None] = mapped_column(ForeignKey("fleet_firmware.id", ondelete="SET NULL"))
    link_id: Mapped[UUID | None] = mapped_column(ForeignKey("core_file_link.id", ondelete="SET NULL"))
    location: Mapped[str | None] = mapped_column(String(512))
    version: Mapped[str | None] = mapped_column(String(50))
    signed: Mapped[bool]
    retrieve_at: Mapped[datetime]
    install_at: Mapped[datetime | None]
    retries: Mapped[int | None]
    retry_interval: Mapped[int | None]
    patience_seconds: Mapped[int]
    by_campaign: Mapped[bool]
    state: Mapped[str] = mapped_column(String(20), default=UpdateState.REQUESTED)
    status: Mapped[str | None] = mapped_column(String(STATUS_MAX))
    detail: Mapped[str] = mapped_column(String(DETAIL_MAX), default="", server_default="")
    failures: Mapped[int] = mapped_column(default=0, server_default="0")
    version_before: Mapped[str | None] = mapped_column(String(50))
    version_after: Mapped[str | None] = mapped_column(String(50))
    confirmed: Mapped[bool | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    deadline_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class FirmwareEvent(Base):
    """What happened in an update: a word of the charger, or one of ours (`Requested`, `Confirmed`, ...).

    The same word again right after it is counted in `times`, with the time of the last one in `last_at`.
    """

    __tablename__ = "fleet_firmware_event"
    __table_args__ = (Index("ix_fleet_firmware_event_update", "update_id", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    update_id: Mapped[UUID] = mapped_column(ForeignKey("fleet_firmware_update.id", ondelete="CASCADE"))
    at: Mapped[datetime]
    last_at: Mapped[datetime]
    status: Mapped[str] = mapped_column(String(STATUS_MAX))
    detail: Mapped[str] = mapped_column(String(DETAIL_MAX), default="", server_default="")
    times: Mapped[int] = mapped_column(default=1, server_default="1")

"""Diagnostics and logs that chargers were asked for, and what became of each."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from ohmstead.core.db import Base

KIND = "Diagnostics"
"""The name of this kind of work for campaigns, and of what keeps the files of chargers."""
STATUS_MAX = 40
DETAIL_MAX = 500


class DiagnosticsKind(StrEnum):
    """What was asked for: by GetDiagnostics, or one of the two logs of GetLog."""

    DIAGNOSTICS = "Diagnostics"
    DIAGNOSTICS_LOG = "DiagnosticsLog"
    SECURITY_LOG = "SecurityLog"


class DiagnosticsState(StrEnum):
    """Where a job stands; what the charger said last is its `status`."""

    REQUESTED = "Requested"
    ACCEPTED = "Accepted"
    UPLOADING = "Uploading"
    DONE = "Done"
    FAILED = "Failed"
    CANCELLED = "Cancelled"
    EXPIRED = "Expired"


OPEN = (DiagnosticsState.REQUESTED, DiagnosticsState.ACCEPTED, DiagnosticsState.UPLOADING)
"""States in which more is awaited."""


class DiagnosticsJob(Base):
    """A charger was asked for a file.

    `request_id` is there for logs. `location` is an address outside, without its password; None: the file
    comes to us. `file_name` is what the charger calls it in its answer, `file_id` the file once it is here;
    that goes after some time and leaves `size` and `sha256`. `attempts` counts uploads that were begun.
    """

    __tablename__ = "fleet_diagnostics"
    __table_args__ = (
        UniqueConstraint("charger_id", "request_id", name="uq_fleet_diagnostics_request"),
        Index("ix_fleet_diagnostics_charger", "charger_id", "created_at", "id"),
        Index("ix_fleet_diagnostics_time", "created_at", "id"),
        Index("ix_fleet_diagnostics_file", "file_id"),
        Index("ix_fleet_diagnostics_deadline", "deadline_at", postgresql_where=text("ended_at IS NULL")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    charger_id: Mapped[str] = mapped_column(
        ForeignKey("stations_charger.id", ondelete="CASCADE", onupdate="CASCADE")
    )
    kind: Mapped[str] = mapped_column(String(20))
    request_id: Mapped[int | None]
    location: Mapped[str | None] = mapped_column(String(512))
    since: Mapped[datetime | None]
    until: Mapped[datetime | None]
    retries: Mapped[int | None]
    retry_interval: Mapped[int | None]
    patience_seconds: Mapped[int]
    by_campaign: Mapped[bool]
    state: Mapped[str] = mapped_column(String(20), default=DiagnosticsState.REQUESTED)
    status: Mapped[str | None] = mapped_column(String(STATUS_MAX))
    detail: Mapped[str] = mapped_column(String(DETAIL_MAX), default="", server_default="")
    failures: Mapped[int] = mapped_column(default=0, server_default="0")
    attempts: Mapped[int] = mapped_column(default=0, server_default="0")
    file_name: Mapped[str | None] = mapped_column(String(255))
    file_id: Mapped[UUID | None] = mapped_column(ForeignKey("core_file.id", ondelete="SET NULL"))
    size: Mapped[int | None] = mapped_column(BigInteger)
    sha256: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    deadline_at: Mapped[datetime]
    received_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]

    @property
    def received(self) -> bool:
        """Whether the file is here to be fetched."""
        return self.file_id is not None


class DiagnosticsEvent(Base):
    """What happened in a job: a word of the charger, or one of ours (`Requested`, `Received`, ...).

    The same word again right after it is counted in `times`, with the time of the last one in `last_at`.
    """

    __tablename__ = "fleet_diagnostics_event"
    __table_args__ = (Index("ix_fleet_diagnostics_event_job", "job_id", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    job_id: Mapped[UUID] = mapped_column(ForeignKey("fleet_diagnostics.id", ondelete="CASCADE"))
    at: Mapped[datetime]
    last_at: Mapped[datetime]
    status: Mapped[str] = mapped_column(String(STATUS_MAX))
    detail: Mapped[str] = mapped_column(String(DETAIL_MAX), default="", server_default="")
    times: Mapped[int] = mapped_column(default=1, server_default="1")

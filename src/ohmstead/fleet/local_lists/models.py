"""Local authorization lists: which tags chargers should know, and what they have acknowledged."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, String, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from ohmstead.core.db import Base


class Ending(StrEnum):
    """What came of the last SendLocalList: the charger's own word (OCPP 1.6 7.46), or why there is none."""

    ACCEPTED = "Accepted"
    FAILED = "Failed"
    NOT_SUPPORTED = "NotSupported"
    VERSION_MISMATCH = "VersionMismatch"
    CALL_ERROR = "CallError"
    TIMEOUT = "Timeout"
    OFFLINE = "Offline"
    TOO_LONG = "TooLong"


class LocalListRule(Base):
    """Which tags the lists of some chargers hold: of a business, of one of its stations, of one charger.

    The closest one counts alone: the charger's before the station's before the business's. `tags` says which
    (see `schemas.Tags`). With `keep_up_to_date` lists are sent without being asked for when they differ.
    """

    __tablename__ = "fleet_local_list_rule"
    __table_args__ = (
        Index(
            "uq_fleet_local_list_rule_scope",
            "backoffice_id",
            "station_id",
            "charger_id",
            unique=True,
            postgresql_nulls_not_distinct=True,
        ),
        CheckConstraint("station_id IS NULL OR charger_id IS NULL", name="one_scope"),
        Index("ix_fleet_local_list_rule_station_id", "station_id"),
        Index("ix_fleet_local_list_rule_charger_id", "charger_id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    backoffice_id: Mapped[UUID] = mapped_column(ForeignKey("accounts_backoffice.id"))
    station_id: Mapped[UUID | None] = mapped_column(ForeignKey("stations_station.id", ondelete="CASCADE"))
    charger_id: Mapped[str | None] = mapped_column(
        ForeignKey("stations_charger.id", ondelete="CASCADE", onupdate="CASCADE")
    )
    tags: Mapped[dict[str, Any]] = mapped_column(JSONB)
    keep_up_to_date: Mapped[bool] = mapped_column(default=False, server_default="false")
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class LocalList(Base):
    """What is known of the list in one charger. Entries as they go over the wire, by tag.

    `version` and `entries` are what the charger last acknowledged; `entries` is None where its content is not
    known (it took a Differential on top of what nobody here sent). `reported_version` is its answer to
    GetLocalListVersion: 0 an empty list, -1 none at all (OCPP 1.6 5.10). `highest_version` is the highest one
    that anybody sent. `open_version` and `open_entries` were sent without an answer: it may have them.
    `ending` is what came of the last SendLocalList, `tried` the digest of the list that it was about.
    Who sends holds the row until `claimed_until`.
    """

    __tablename__ = "fleet_local_list"

    charger_id: Mapped[str] = mapped_column(
        ForeignKey("stations_charger.id", ondelete="CASCADE", onupdate="CASCADE"), primary_key=True
    )
    version: Mapped[int | None] = mapped_column(BigInteger)
    entries: Mapped[list[Any] | None] = mapped_column(JSONB(none_as_null=True))
    digest: Mapped[str | None] = mapped_column(String(64))
    acknowledged_at: Mapped[datetime | None]
    reported_version: Mapped[int | None] = mapped_column(BigInteger)
    reported_at: Mapped[datetime | None]
    highest_version: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    open_version: Mapped[int | None] = mapped_column(BigInteger)
    open_entries: Mapped[list[Any] | None] = mapped_column(JSONB(none_as_null=True))
    ending: Mapped[str | None] = mapped_column(String(20))
    detail: Mapped[str] = mapped_column(Text, default="", server_default="")
    ended_at: Mapped[datetime | None]
    tried: Mapped[str | None] = mapped_column(String(64))
    claimed_until: Mapped[datetime | None]

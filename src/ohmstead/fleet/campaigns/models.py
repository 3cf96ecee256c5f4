"""Campaigns, and their items: one for each charger that was chosen."""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    String,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from ohmstead.core.db import Base
from ohmstead.fleet.campaigns.state import CampaignState, ItemState


class Campaign(Base):
    """The same work on many chargers.

    It belongs to a business, or to none: then only a SystemAdmin sees it. `selection` is how its chargers
    were chosen, kept to be shown: the chargers themselves are its items, and do not change any more.
    `created_by` is a user, or whatever else may ask; it may be gone by now.
    `judged_from`: items that failed before this are not counted for the error rate (it was resumed).
    """

    __tablename__ = "fleet_campaign"
    __table_args__ = (
        CheckConstraint("at_once > 0", name="at_once"),
        Index("ix_fleet_campaign_created", text("created_at DESC"), text("id DESC")),
        Index("ix_fleet_campaign_running", "id", postgresql_where=text("state = 'Running'")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    backoffice_id: Mapped[UUID | None] = mapped_column(ForeignKey("accounts_backoffice.id"), index=True)
    name: Mapped[str] = mapped_column(String(200))
    kind: Mapped[str] = mapped_column(String(40))
    parameters: Mapped[dict[str, Any]] = mapped_column(JSONB)
    selection: Mapped[dict[str, Any]] = mapped_column(JSONB)
    state: Mapped[str] = mapped_column(String(20), default=CampaignState.RUNNING)
    reason: Mapped[str | None] = mapped_column(Text)
    at_once: Mapped[int]
    tries: Mapped[int]
    retry_seconds: Mapped[int]
    stop_at_error_percent: Mapped[int | None]
    stop_after_items: Mapped[int]
    ends_at: Mapped[datetime | None]
    judged_from: Mapped[datetime]
    created_by: Mapped[UUID | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    state_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class CampaignItem(Base):
    """The work of a campaign at one charger.

    While it is worked on it carries a lease (a fresh one each time) that the worker renews: whoever holds
    an older one cannot write its result any more. `told` is the end that a charger told before its own
    acceptance was written. `tries` counts how often the work was begun.
    """

    __tablename__ = "fleet_campaign_item"
    __table_args__ = (
        UniqueConstraint("campaign_id", "charger_id"),
        # A charger is worked on by one campaign of a kind at a time, whoever claims it.
        Index(
            "uq_fleet_campaign_item_at_work",
            "charger_id",
            "kind",
            unique=True,
            postgresql_where=text("state IN ('Running', 'Waiting')"),
        ),
        Index("ix_fleet_campaign_item_state", "campaign_id", "state"),
        Index("ix_fleet_campaign_item_queue", "campaign_id", "id", postgresql_where=text("state = 'Queued'")),
        Index(
            "ix_fleet_campaign_item_open",
            "charger_id",
            postgresql_where=text("state IN ('Queued', 'Away')"),
        ),
        Index("ix_fleet_campaign_item_charger", "charger_id"),
        {"postgresql_with": {"fillfactor": "80"}},
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    campaign_id: Mapped[UUID] = mapped_column(ForeignKey("fleet_campaign.id", ondelete="CASCADE"))
    charger_id: Mapped[str] = mapped_column(
        ForeignKey("stations_charger.id", ondelete="CASCADE", onupdate="CASCADE")
    )
    kind: Mapped[str] = mapped_column(String(40))
    state: Mapped[str] = mapped_column(String(20), default=ItemState.QUEUED)
    tries: Mapped[int] = mapped_column(default=0, server_default="0")
    due_at: Mapped[datetime]
    lease: Mapped[UUID | None]
    lease_until: Mapped[datetime | None]
    wait_until: Mapped[datetime | None]
    begun_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    detail: Mapped[str | None] = mapped_column(Text)
    evidence: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    told: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))

"""What is put right by the clock: work whose process died, ends that never came, chargers that are gone."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.core.db import Database
from ohmstead.fleet.campaigns.models import Campaign, CampaignItem
from ohmstead.fleet.campaigns.progress import end, judge, keep, look_again, settle
from ohmstead.fleet.campaigns.state import UNBEGUN, ItemState
from ohmstead.fleet.campaigns.turns import GIVEN_AWAY, RETIRED, interrupted
from ohmstead.fleet.campaigns.work import Kind
from ohmstead.stations.models import Charger, Registration


async def mend_all(database: Database, kinds: Mapping[str, Kind], now: datetime) -> None:
    """Mend every campaign that is not over, each in a short transaction of its own."""
    async with database.session() as session:
        query = select(Campaign.id).where(Campaign.finished_at.is_(None)).order_by(Campaign.id)
        campaign_ids = list(await session.scalars(query))
    for campaign_id in campaign_ids:
        async with database.session() as session:
            await mend(session, campaign_id, kinds, now)


async def mend(session: AsyncSession, campaign_id: UUID, kinds: Mapping[str, Kind], now: datetime) -> None:
    """Mend one campaign.

    - Work whose lease has run out: its process is dead. It is begun anew where the kind allows it.
    - A charger that accepted and has not told the end in time has failed.
    - What has not begun is skipped when the charger was retired or given away, and when the campaign's time
      is over.
    - A charger that is there after all is taken as such: its arrival may have crossed our note that it is
      away.
    - A campaign whose last chargers were deleted is finished.
    """
    held = (
        select(Campaign)
        .where(Campaign.id == campaign_id, Campaign.finished_at.is_(None))
        .with_for_update(key_share=True)
    )
    campaign = (await session.scalars(held)).one_or_none()
    if campaign is None:
        return
    dead = await _at_work(session, campaign, CampaignItem.lease_until < now)
    for item in dead:
        kind = kinds.get(item.kind)
        settle(campaign, item, interrupted(kind), now, wait_limit=timedelta())
    for item in await _at_work(session, campaign, CampaignItem.wait_until < now):
        keep(item, "The charger accepted, but never told the end.", item.evidence or {})
        end(item, ItemState.FAILED, now)
    await session.flush()
    await look_again(session, dead)
    await _skip(session, campaign, now)
    await _return(session, campaign, now)
    await judge(session, campaign, now)
    await session.flush()


async def _at_work(
    session: AsyncSession, campaign: Campaign, overdue: ColumnElement[bool]
) -> list[CampaignItem]:
    query = (
        select(CampaignItem)
        .where(CampaignItem.campaign_id == campaign.id, overdue)
        .where(CampaignItem.state.in_((ItemState.RUNNING, ItemState.WAITING)))
        .order_by(CampaignItem.id)
        .with_for_update(key_share=True)
    )
    return list(await session.scalars(query))


async def _skip(session: AsyncSession, campaign: Campaign, now: datetime) -> None:
    """Skip what has not begun and is not to begin any more."""
    unbegun = update(CampaignItem).where(
        CampaignItem.campaign_id == campaign.id, CampaignItem.state.in_(UNBEGUN)
    )
    skipped = {"state": ItemState.SKIPPED, "ended_at": now}
    if campaign.ends_at is not None and campaign.ends_at <= now:
        late = "The time of the campaign was over before the charger was through."
        await session.execute(unbegun.values(**skipped, detail=late))
        return
    charger = unbegun.where(Charger.id == CampaignItem.charger_id)
    retired = charger.where(Charger.retired_at.is_not(None))
    await session.execute(retired.values(**skipped, detail=RETIRED))
    if campaign.backoffice_id is not None:
        elsewhere = charger.where(
            or_(Charger.backoffice_id.is_(None), Charger.backoffice_id != campaign.backoffice_id)
        )
        await session.execute(elsewhere.values(**skipped, detail=GIVEN_AWAY))


async def _return(session: AsyncSession, campaign: Campaign, now: datetime) -> None:
    there = (
        Charger.id == CampaignItem.charger_id,
        Charger.online.is_(True),
        Charger.registration == Registration.ACCEPTED,
    )
    await session.execute(
        update(CampaignItem)
        .where(CampaignItem.campaign_id == campaign.id, CampaignItem.state == ItemState.AWAY, *there)
        .values(state=ItemState.QUEUED, due_at=now)
    )


async def forget_old(session: AsyncSession, before: datetime) -> None:
    """Delete the campaigns that were over before a time, with their items."""
    await session.execute(delete(Campaign).where(Campaign.finished_at < before))

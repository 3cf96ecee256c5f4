"""One turn: write how work came out, judge the campaigns, and claim what may begin next.

All in one short transaction. Everybody locks campaigns before their items, and campaigns in the order of
their ids: so two processes never overrun a limit, and nobody waits in a circle.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, Select, bindparam, exists, func, or_, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import UUID as PG_UUID
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from ohmstead.fleet.campaigns.models import Campaign, CampaignItem
from ohmstead.fleet.campaigns.progress import end, judge, keep, look_again, move, settle
from ohmstead.fleet.campaigns.state import AT_WORK, CampaignState, ItemState
from ohmstead.fleet.campaigns.work import Kind, Outcome, failed
from ohmstead.stations.models import Charger, Registration

LEASE = timedelta(seconds=60)
"""A process that has not renewed the lease of an item for so long is taken as dead."""
LOOKED_AT = 100
LOOKS = 20

RETIRED = "The charger was retired."
GIVEN_AWAY = "The charger belongs to another business now."

BUSY = aliased(CampaignItem)


@dataclass(frozen=True, slots=True)
class Claimed:
    """An item that this process has the lease of, and what to do."""

    item_id: int
    lease: UUID
    charger_id: str
    kind: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Ended:
    """What came of a claimed item. `connected`: whether its charger is connected to this process now."""

    claimed: Claimed
    outcome: Outcome
    connected: bool = False


@dataclass(frozen=True, slots=True)
class Turn:
    """What a turn gave: the work to begin; `more` when there is more to look at than one turn may."""

    claimed: list[Claimed]
    more: bool = False


def interrupted(kind: Kind | None) -> Outcome:
    """Return what becomes of work whose process died, or stopped, in the midst of it."""
    if kind is not None and kind.repeatable:
        return failed("The server ended in the midst of this.", again=True)
    return failed(
        "The server ended in the midst of this, and whether the charger took it is not known."
        " Look at the charger, then make a new campaign for it."
    )


async def take_turn(
    session: AsyncSession,
    ended: Sequence[Ended],
    *,
    kinds: Mapping[str, Kind],
    now: datetime,
    at_most: int,
) -> Turn:
    """Write what has ended, and claim what may begin, of all campaigns, `at_most` so many items.

    A result is left out when its item was given to somebody else meanwhile. No campaign has to wait for
    another one to be through: what may be claimed is shared between them.
    """
    campaigns = await _hold(session, ended, now, claiming=at_most > 0)
    for campaign in await _write(session, ended, {one.id: one for one in campaigns}, kinds, now):
        await judge(session, campaign, now)
    claimed: list[Claimed] = []
    more = False
    running = [campaign for campaign in campaigns if campaign.state == CampaignState.RUNNING]
    random.shuffle(running)
    for number, campaign in enumerate(running):
        share = math.ceil((at_most - len(claimed)) / (len(running) - number))
        begun, set_aside, rest = await _claim(session, campaign, now, share)
        claimed += begun
        more = more or rest
        if set_aside:
            await judge(session, campaign, now)
    await session.flush()
    return Turn(claimed, more)


async def _hold(
    session: AsyncSession, ended: Sequence[Ended], now: datetime, *, claiming: bool
) -> list[Campaign]:
    """Lock the campaigns of what has ended, and those of which something may begin."""
    wanted: list[ColumnElement[bool]] = []
    if ended:
        of_items = select(CampaignItem.campaign_id).where(
            CampaignItem.id.in_([one.claimed.item_id for one in ended])
        )
        wanted.append(Campaign.id.in_(of_items))
    if claiming:
        due = exists().where(
            CampaignItem.campaign_id == Campaign.id,
            CampaignItem.state == ItemState.QUEUED,
            CampaignItem.due_at <= now,
        )
        wanted.append((Campaign.state == CampaignState.RUNNING) & due)
    if not wanted:
        return []
    query = (
        select(Campaign)
        .where(or_(*wanted))
        .order_by(Campaign.id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    return list((await session.scalars(query)).all())


async def _write(
    session: AsyncSession,
    ended: Sequence[Ended],
    campaigns: Mapping[UUID, Campaign],
    kinds: Mapping[str, Kind],
    now: datetime,
) -> list[Campaign]:
    """Write what has ended; returns the campaigns that it belongs to."""
    if not ended:
        return []
    query = (
        select(CampaignItem)
        .where(CampaignItem.id.in_([one.claimed.item_id for one in ended]))
        .order_by(CampaignItem.id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    items = {item.id: item for item in await session.scalars(query)}
    touched: dict[UUID, Campaign] = {}
    for one in ended:
        item = items.get(one.claimed.item_id)
        if item is None or item.lease != one.claimed.lease:
            continue
        kind = kinds.get(item.kind)
        limit = kind.wait_limit if kind is not None else timedelta()
        campaign = campaigns[item.campaign_id]
        settle(campaign, item, one.outcome, now, wait_limit=limit, connected=one.connected)
        touched[campaign.id] = campaign
    await session.flush()
    await look_again(session, items.values())
    return list(touched.values())


async def _claim(
    session: AsyncSession, campaign: Campaign, now: datetime, at_most: int
) -> tuple[list[Claimed], bool, bool]:
    """Claim as many items as the campaign may still work on at once, and `at_most` so many.

    Chargers that are not there are set aside on the way. Returns what was claimed, whether something was
    set aside, and whether there may be more to claim than this turn may.
    """
    at_work = select(func.count()).where(
        CampaignItem.campaign_id == campaign.id, CampaignItem.state.in_(AT_WORK)
    )
    room = campaign.at_once - int((await session.execute(at_work)).scalar_one())
    free = min(room, at_most)
    claimed: list[Claimed] = []
    set_aside = False
    if free <= 0:
        return claimed, set_aside, room > 0
    for _ in range(LOOKS):
        limit = max(free, LOOKED_AT) if set_aside else free
        rows = (await session.execute(_candidates(campaign, now, limit))).all()
        for item, charger in rows:
            why = not_to_be_done(campaign, charger)
            if why is not None:
                keep(item, why, {})
                end(item, ItemState.SKIPPED, now)
                set_aside = True
            elif not is_there(charger):
                move(item, ItemState.AWAY)
                set_aside = True
            elif free > 0:
                claimed.append(_begin(campaign, item, now))
                free -= 1
        await session.flush()
        if free <= 0:
            return claimed, set_aside, len(claimed) < room
        if len(rows) < limit:
            return claimed, set_aside, False
    return claimed, set_aside, True


def _candidates(campaign: Campaign, now: datetime, limit: int) -> Select[CampaignItem, Charger]:
    busy = exists().where(
        BUSY.charger_id == CampaignItem.charger_id,
        BUSY.kind == CampaignItem.kind,
        BUSY.state.in_(AT_WORK),
    )
    return (
        select(CampaignItem, Charger)
        .join(Charger, Charger.id == CampaignItem.charger_id)
        .where(
            CampaignItem.campaign_id == campaign.id,
            CampaignItem.state == ItemState.QUEUED,
            CampaignItem.due_at <= now,
            ~busy,
        )
        .order_by(CampaignItem.id)
        .limit(limit)
        .with_for_update(of=CampaignItem, skip_locked=True, key_share=True)
        .execution_options(populate_existing=True)
    )


def not_to_be_done(campaign: Campaign, charger: Charger) -> str | None:
    """Tell why a charger that was chosen is not to be worked on any more, or None."""
    if charger.retired_at is not None:
        return RETIRED
    if campaign.backoffice_id is not None and charger.backoffice_id != campaign.backoffice_id:
        return GIVEN_AWAY
    return None


def is_there(charger: Charger) -> bool:
    """Tell whether a charger can be asked something: before it is accepted it need not answer (1.6 4.2)."""
    return charger.online and charger.registration == Registration.ACCEPTED


def _begin(campaign: Campaign, item: CampaignItem, now: datetime) -> Claimed:
    move(item, ItemState.RUNNING)
    item.lease = uuid4()
    item.lease_until = now + LEASE
    item.begun_at = now
    item.tries += 1
    return Claimed(item.id, item.lease, item.charger_id, item.kind, campaign.parameters)


async def renew(session: AsyncSession, held: Sequence[Claimed], now: datetime) -> set[UUID]:
    """Keep the leases of items that are being worked on; returns those that are still ours."""
    leases = bindparam("leases", [one.lease for one in held], ARRAY(PG_UUID(as_uuid=True)))
    statement = (
        update(CampaignItem)
        .where(CampaignItem.id.in_([one.item_id for one in held]), CampaignItem.lease == func.any(leases))
        .values(lease_until=now + LEASE)
        .returning(CampaignItem.lease)
    )
    return {lease for lease in await session.scalars(statement) if lease is not None}

"""How one item goes on, and what that means for its campaign.

Whoever calls these has locked the campaign first, and then the item.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.audit import record_row, state
from ohmstead.core.acting import Acting
from ohmstead.core.jobs import defer, emit
from ohmstead.fleet.campaigns.models import Campaign, CampaignItem
from ohmstead.fleet.campaigns.state import (
    ENDED,
    OPEN,
    CampaignState,
    Event,
    ItemState,
    after_event,
    is_over_the_rate,
    require_move,
    retry_delay,
)
from ohmstead.fleet.campaigns.work import Outcome, OutcomeState

CAMPAIGN_STOPPED = "CampaignStopped"
"""The fact that a campaign stopped because too many failed, or that it is stopped no more."""
WORK = "campaigns:work"
"""The job that has a process look at what may begin."""
LEAVES_AT_MOST = 20
"""A charger that left so often before the work was done fails: perhaps the work is why it leaves."""
UNREACHED_AGAIN = timedelta(seconds=10)
"""After so long a charger is asked again that another process holds, which could not be asked."""
EVIDENCE_BYTES = 8_192
BY_RULE = Acting(kind="system", id="campaigns")
"""Who ends a campaign that is over, or stops one that fails too often."""
DETAIL_MAX = 1_000


def settle(
    campaign: Campaign,
    item: CampaignItem,
    outcome: Outcome,
    now: datetime,
    *,
    wait_limit: timedelta,
    connected: bool = False,
) -> None:
    """Write what came of work that was begun.

    What would be begun again is not when the campaign was cancelled meanwhile. `connected`: whether the
    charger is there although the outcome says that it left; then it is asked again a little later.
    """
    keep(item, outcome.detail, outcome.evidence)
    later = now + retry_delay(item.tries, campaign.retry_seconds)
    if outcome.state is OutcomeState.DONE:
        end(item, ItemState.DONE, now)
    elif outcome.state is OutcomeState.WAITING:
        _wait(item, now, now + wait_limit)
    elif outcome.state is OutcomeState.UNREACHED:
        item.tries -= 1
        _put_back(campaign, item, now, ItemState.QUEUED, now + UNREACHED_AGAIN)
    elif outcome.state is OutcomeState.AWAY and item.tries < LEAVES_AT_MOST:
        _put_back(campaign, item, now, ItemState.QUEUED if connected else ItemState.AWAY, later)
    elif outcome.state is OutcomeState.FAILED and outcome.again and item.tries < campaign.tries:
        _put_back(campaign, item, now, ItemState.QUEUED, later)
    else:
        end(item, ItemState.FAILED, now)


def _wait(item: CampaignItem, now: datetime, until: datetime) -> None:
    told = item.told
    if told is not None:  # the charger was quicker than our note that it had accepted
        keep(item, told["detail"], {**(item.evidence or {}), **told["evidence"]})
        end(item, ItemState.DONE if told["ok"] else ItemState.FAILED, now)
        return
    move(item, ItemState.WAITING)
    item.wait_until = until


def _put_back(
    campaign: Campaign, item: CampaignItem, now: datetime, state: ItemState, due_at: datetime
) -> None:
    if campaign.state == CampaignState.CANCELLED:
        end(item, ItemState.CANCELLED, now)
        return
    move(item, state)
    item.due_at = due_at


def move(item: CampaignItem, state: ItemState) -> None:
    """Give an item another state; nobody has its lease any more."""
    require_move(ItemState(item.state), state)
    item.state = state
    item.lease = item.lease_until = item.wait_until = item.told = None


def end(item: CampaignItem, state: ItemState, now: datetime) -> None:
    """Bring an item to an end of its life."""
    move(item, state)
    item.ended_at = now


def keep(item: CampaignItem, detail: str, evidence: dict[str, Any]) -> None:
    """Keep what was said of an item, in a form that the database can hold."""
    item.detail = detail.replace("\0", "")[:DETAIL_MAX] or None
    item.evidence = storable(evidence) or None


def storable(evidence: dict[str, Any]) -> dict[str, Any]:
    """Return evidence without NUL characters, or a note when it is too large."""
    text = orjson.dumps(evidence, default=str, option=orjson.OPT_NON_STR_KEYS)
    if len(text) > EVIDENCE_BYTES:
        return {"left_out": f"{len(text)} bytes are too many to be kept here: see the message log"}
    clean: dict[str, Any] = _without_nul(orjson.loads(text))
    return clean


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "")
    if isinstance(value, list):
        return [_without_nul(one) for one in value]
    if isinstance(value, dict):
        return {name.replace("\0", ""): _without_nul(one) for name, one in value.items()}
    return value


async def look_again(session: AsyncSession, items: Iterable[CampaignItem]) -> None:
    """Have a process look when the turn of these has come, of those that were put back into the queue."""
    for due_at in sorted({item.due_at for item in items if item.state == ItemState.QUEUED}):
        await defer(session, WORK, run_at=due_at)


async def judge(session: AsyncSession, campaign: Campaign, now: datetime) -> None:
    """Finish a campaign of which nothing is open, and stop one in which too many items fail."""
    await session.flush()
    recently = CampaignItem.ended_at >= campaign.judged_from
    query = select(
        func.count().filter(CampaignItem.state.in_(OPEN)),
        func.count().filter(CampaignItem.state.in_((ItemState.DONE, ItemState.FAILED)), recently),
        func.count().filter(CampaignItem.state == ItemState.FAILED, recently),
    ).where(CampaignItem.campaign_id == campaign.id)
    left, ended, failed = (await session.execute(query)).one()
    before = state(campaign)
    if not left:
        if campaign.state not in ENDED:
            await change(session, campaign, Event.FINISH, now)
            await record_row(session, "campaign.finished", campaign, before, by=BY_RULE)
        campaign.finished_at = campaign.finished_at or now
    elif campaign.state == CampaignState.RUNNING and is_over_the_rate(
        ended, failed, percent=campaign.stop_at_error_percent, at_least=campaign.stop_after_items
    ):
        await change(session, campaign, Event.STOP, now)
        campaign.reason = (
            f"{failed} of {ended} chargers failed, and it was to stop at"
            f" {campaign.stop_at_error_percent} percent. Look at why, then resume or cancel it."
        )
        await record_row(session, "campaign.stopped", campaign, before, reason=campaign.reason, by=BY_RULE)


async def change(session: AsyncSession, campaign: Campaign, event: Event, now: datetime) -> None:
    """Let something happen to a campaign as a whole. Raises `Conflict` where its state does not allow it."""
    before = CampaignState(campaign.state)
    campaign.state = after_event(before, event)
    if campaign.state != before:
        campaign.state_at = now
        campaign.reason = None
        if CampaignState.STOPPED in (before, campaign.state):
            await emit(session, CAMPAIGN_STOPPED, campaign_id=str(campaign.id))

"""Writes of campaigns: made, paused, resumed, cancelled; woken by an arrival; ended by a charger's word.

Everybody who changes an item of a campaign that may be at work locks the campaign first.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from pydantic import ValidationError
from sqlalchemy import func, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.audit import record_row, state
from ohmstead.accounts.models import Role
from ohmstead.accounts.principal import Principal
from ohmstead.core.errors import Invalid
from ohmstead.core.jobs import defer
from ohmstead.fleet.campaigns.errors import unknown_kind, wrong_parameters
from ohmstead.fleet.campaigns.models import Campaign, CampaignItem
from ohmstead.fleet.campaigns.progress import WORK, change, end, judge, keep, storable
from ohmstead.fleet.campaigns.queries import chosen, get_campaign, in_service
from ohmstead.fleet.campaigns.schemas import CampaignIn, Chosen, Selection
from ohmstead.fleet.campaigns.state import AT_WORK, UNBEGUN, CampaignState, Event, ItemState
from ohmstead.fleet.campaigns.work import Kind
from ohmstead.stations.models import Charger

PATIENCE = timedelta(seconds=5)
"""A charger that has connected is left alone for so long: it has to tell its boot and its states first."""
CHANGED = {Event.PAUSE: "paused", Event.RESUME: "resumed", Event.CANCEL: "cancelled"}
SHOWN = 1000
NAMED_SHOWN = 100


async def create_campaign(
    session: AsyncSession, principal: Principal, now: datetime, wanted: CampaignIn, kinds: Mapping[str, Kind]
) -> Campaign:
    """Make a campaign of the chargers that match at this moment, and let it begin.

    It belongs to the caller's business; that of a SystemAdmin to the business by which the chargers were
    chosen, or to none. Raises `Invalid` for an unknown kind, wrong parameters, and no charger.
    """
    parameters = await _parameters(session, principal, wanted, kinds)
    await _require_known(session, principal, wanted.chargers)
    _require_future(wanted, now)
    if not await session.scalar(select(chosen(principal, wanted.chargers).exists())):
        raise Invalid("No charger of yours is chosen by this.", fields={"chargers": "chooses none"})
    owner = principal.backoffice_id
    if principal.role is Role.SYSTEM_ADMIN:
        owner = wanted.chargers.backoffice_id
    campaign = Campaign(
        id=uuid4(),
        backoffice_id=owner,
        kind=wanted.kind,
        name=wanted.name or wanted.kind,
        parameters=parameters,
        selection=_kept(wanted.chargers),
        state=CampaignState.RUNNING,
        state_at=now,
        judged_from=now,
        created_by=principal.user_id,
        created_at=now,
        **wanted.model_dump(
            include={
                "at_once",
                "tries",
                "retry_seconds",
                "stop_at_error_percent",
                "stop_after_items",
                "ends_at",
            }
        ),
    )
    session.add(campaign)
    await session.flush()
    rows = chosen(principal, wanted.chargers).with_only_columns(
        literal(campaign.id), Charger.id, literal(campaign.kind), literal(ItemState.QUEUED), literal(now)
    )
    names = ["campaign_id", "charger_id", "kind", "state", "due_at"]
    await session.execute(insert(CampaignItem).from_select(names, rows.order_by(Charger.id)))
    await record_row(session, "campaign.created", campaign)
    await defer(session, WORK)
    return campaign


def _kept(selection: Selection) -> dict[str, Any]:
    """Return how the chargers were chosen, to be shown; of thousands that were named the first are enough."""
    kept = selection.model_dump(mode="json", exclude_defaults=True)
    named = kept.get("charger_ids", [])
    if len(named) > NAMED_SHOWN:
        kept |= {"charger_ids": named[:NAMED_SHOWN], "charger_ids_in_all": len(named)}
    return kept


async def choose(
    session: AsyncSession, principal: Principal, now: datetime, wanted: CampaignIn, kinds: Mapping[str, Kind]
) -> Chosen:
    """Tell which chargers a campaign would work on, and refuse what `create_campaign` would refuse."""
    await _parameters(session, principal, wanted, kinds)
    await _require_known(session, principal, wanted.chargers)
    _require_future(wanted, now)
    query = chosen(principal, wanted.chargers)
    counted = query.with_only_columns(func.count(), func.count().filter(Charger.online))
    number, online = (await session.execute(counted)).one()
    first = query.with_only_columns(Charger.id).order_by(Charger.id).limit(SHOWN)
    ids = list((await session.scalars(first)).all())
    return Chosen(chargers=number, online=online, charger_ids=ids)


async def _parameters(
    session: AsyncSession, principal: Principal, wanted: CampaignIn, kinds: Mapping[str, Kind]
) -> dict[str, Any]:
    kind = kinds.get(wanted.kind)
    if kind is None:
        raise unknown_kind(wanted.kind, sorted(kinds))
    try:
        checked = kind.parameters.model_validate(wanted.parameters)
    except ValidationError as error:
        raise wrong_parameters(kind.name, error) from error
    if kind.check is not None:
        await kind.check(session, principal, checked)
    return checked.model_dump(mode="json", exclude_unset=True)


async def _require_known(session: AsyncSession, principal: Principal, selection: Selection) -> None:
    """Raise `Invalid` for ids of chargers that are not there, retired, or not the caller's."""
    if selection.charger_ids is None:
        return
    asked = set(selection.charger_ids)
    query = in_service(principal).with_only_columns(Charger.id).where(Charger.id.in_(asked))
    unknown = sorted(asked - set(await session.scalars(query)))
    if unknown:
        some = ", ".join(unknown[:10]) + (" and others" if len(unknown) > 10 else "")
        raise Invalid(
            f"There are no such chargers in service: {some}. Correct or leave out their ids.",
            fields={"chargers.charger_ids": f"unknown or retired: {some}"},
        )


def _require_future(wanted: CampaignIn, now: datetime) -> None:
    if wanted.ends_at is not None and wanted.ends_at <= now:
        raise Invalid("`ends_at` is over already.", fields={"ends_at": "must lie in the future"})


async def change_campaign(
    session: AsyncSession, principal: Principal, campaign_id: UUID, event: Event, now: datetime
) -> Campaign:
    """Pause, resume or cancel a campaign. Raises `NotFound`, and `Conflict` where its state forbids it.

    What was begun comes to its end in any case. After a resume the error rate is counted anew.
    """
    campaign = await get_campaign(session, principal, campaign_id, lock=True)
    before = state(campaign)
    resumed = event is Event.RESUME and campaign.state != CampaignState.RUNNING
    await change(session, campaign, event, now)
    if resumed:
        campaign.judged_from = now
        await defer(session, WORK)
    if event is Event.CANCEL:
        await session.execute(
            update(CampaignItem)
            .where(CampaignItem.campaign_id == campaign.id, CampaignItem.state.in_(UNBEGUN))
            .values(state=ItemState.CANCELLED, ended_at=now)
        )
        await judge(session, campaign, now)
    await session.flush()
    await record_row(session, f"campaign.{CHANGED[event]}", campaign, before)
    return campaign


async def wake(session: AsyncSession, charger_id: str, now: datetime) -> int:
    """Let the work begin that waits for a charger, a moment after it has connected.

    Returns how many items were waiting. Those that are queued are locked too: a turn that is just setting
    them aside is waited for, so that its note does not come after ours.
    """
    query = (
        select(CampaignItem)
        .where(CampaignItem.charger_id == charger_id, CampaignItem.state.in_(UNBEGUN))
        .order_by(CampaignItem.id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    items = (await session.scalars(query)).all()
    for item in items:
        item.state, item.due_at = ItemState.QUEUED, now + PATIENCE
    await session.flush()
    if items:
        await defer(session, WORK, run_at=now + PATIENCE)
    return len(items)


async def item_ended(
    session: AsyncSession,
    charger_id: str,
    kind: str,
    *,
    ok: bool,
    detail: str,
    now: datetime,
    evidence: dict[str, Any] | None = None,
) -> bool:
    """Write the end of what a charger had accepted, when it tells it; returns whether anything waited for it.

    Called in the transaction of the charger's message. A charger may tell the end before its acceptance is
    written: then it is kept until that is. The caller makes sure that the message is about this work and
    not about an older one.
    """
    at_work = (
        CampaignItem.charger_id == charger_id,
        CampaignItem.kind == kind,
        CampaignItem.state.in_(AT_WORK),
    )
    campaign_id = await session.scalar(select(CampaignItem.campaign_id).where(*at_work))
    if campaign_id is None:
        return False
    held = (
        select(Campaign)
        .where(Campaign.id == campaign_id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    campaign = (await session.scalars(held)).one()
    query = (
        select(CampaignItem)
        .where(*at_work, CampaignItem.campaign_id == campaign_id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    item = (await session.scalars(query)).one_or_none()
    if item is None:
        return False
    if item.state == ItemState.RUNNING:
        item.told = {"ok": ok, "detail": detail.replace("\0", ""), "evidence": storable(evidence or {})}
        await session.flush()
        return True
    keep(item, detail, {**(item.evidence or {}), **(evidence or {})})
    end(item, ItemState.DONE if ok else ItemState.FAILED, now)
    await judge(session, campaign, now)
    await session.flush()
    await defer(session, WORK)
    return True

"""Reads of campaigns, and which chargers a selection means."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any, TypeVarTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.models import Role
from ohmstead.accounts.principal import Principal
from ohmstead.core.paging import Order, Page, Paging, containing, text_key, time_key, uuid_key
from ohmstead.fleet.campaigns.errors import no_campaign
from ohmstead.fleet.campaigns.models import Campaign, CampaignItem
from ohmstead.fleet.campaigns.schemas import CampaignOut, ItemOut, Selection
from ohmstead.fleet.campaigns.state import CampaignState, ItemState
from ohmstead.fleet.campaigns.work import Kind
from ohmstead.stations.models import Charger

ORDER = Order(
    keys={"created_at": time_key(Campaign.created_at)}, tie=uuid_key(Campaign.id), default="-created_at"
)
ITEM_ORDER = Order(
    keys={"charger_id": text_key(CampaignItem.charger_id)},
    tie=text_key(CampaignItem.charger_id),
    default="charger_id",
)

Row = TypeVarTuple("Row")

_PLAIN = CampaignOut.model_fields.keys() - {"parameters", "selection", "chargers", "counts"}


def in_service(principal: Principal) -> Select[Charger]:
    """Return the query of the chargers of the caller that campaigns may work on at all.

    Retired ones are left out, and those that came by themselves and belong to nobody yet.
    """
    query = principal.within(select(Charger), Charger.backoffice_id, Charger.station_id)
    return query.where(Charger.retired_at.is_(None), Charger.unregistered_since.is_(None))


def chosen(principal: Principal, selection: Selection) -> Select[Charger]:
    """Return the query of the chargers of the caller that a selection means."""
    query = in_service(principal)
    for column, wanted in (
        (Charger.backoffice_id, selection.backoffice_id),
        (func.lower(Charger.vendor), _lower(selection.vendor)),
        (func.lower(Charger.model), _lower(selection.model)),
        (Charger.firmware_version, selection.firmware_version),
        (Charger.online, selection.online),
        (Charger.simulated, selection.simulated),
    ):
        if wanted is not None:
            query = query.where(column == wanted)
    for one_of, values in ((Charger.id, selection.charger_ids), (Charger.station_id, selection.station_ids)):
        if values is not None:
            query = query.where(one_of.in_(values))
    searched = (Charger.id, Charger.name, Charger.serial_number, Charger.vendor, Charger.model)
    return query.where(containing(selection.q, *searched))


def _lower(text: str | None) -> str | None:
    return None if text is None else text.lower()


def visible(principal: Principal) -> ColumnElement[bool]:
    """Return the condition of campaigns that the caller may see.

    A SystemAdmin sees all, a Backoffice those of its business, an Operator those of its business that work
    on a charger of its stations.
    """
    if principal.role is not Role.OPERATOR:
        return principal.owns(Campaign.backoffice_id, None)
    of_stations = visible_items(principal, select(CampaignItem.id)).where(
        CampaignItem.campaign_id == Campaign.id
    )
    return (Campaign.backoffice_id == principal.backoffice_id) & of_stations.exists()


def visible_items(principal: Principal, query: Select[*Row]) -> Select[*Row]:
    """Narrow a query of items to those that the caller may see within a campaign that it may see."""
    if principal.role is not Role.OPERATOR:
        return query
    joined = query.join(Charger, Charger.id == CampaignItem.charger_id)
    return principal.within(joined, Charger.backoffice_id, Charger.station_id)


async def get_campaign(
    session: AsyncSession, principal: Principal, campaign_id: UUID, *, lock: bool = False
) -> Campaign:
    """Return a campaign of the caller's scope. Raises `NotFound`. `lock` as everybody who changes it must."""
    query = select(Campaign).where(Campaign.id == campaign_id, visible(principal))
    if lock:
        query = query.with_for_update(key_share=True).execution_options(populate_existing=True)
    campaign = (await session.execute(query)).scalar_one_or_none()
    if campaign is None:
        raise no_campaign(campaign_id)
    return campaign


async def list_campaigns(
    session: AsyncSession,
    principal: Principal,
    paging: Paging,
    kinds: Mapping[str, Kind],
    *,
    state: CampaignState | None = None,
    kind: str | None = None,
    sort: str | None = None,
) -> Page[CampaignOut]:
    """Return a page of the caller's campaigns, the newest first; `q` searches the name."""
    query = select(Campaign).where(visible(principal), containing(paging.q, Campaign.name))
    if state is not None:
        query = query.where(Campaign.state == state)
    if kind is not None:
        query = query.where(Campaign.kind == kind)
    found = await ORDER.slice(session, query, paging, sort)
    return found.page(await show(session, principal, found.rows, kinds))


async def show(
    session: AsyncSession, principal: Principal, campaigns: Collection[Campaign], kinds: Mapping[str, Kind]
) -> list[CampaignOut]:
    """Return campaigns as they go out, with the counts of their items in one query."""
    counts: dict[UUID, dict[ItemState, int]] = defaultdict(dict)
    query = select(CampaignItem.campaign_id, CampaignItem.state, func.count()).where(
        CampaignItem.campaign_id.in_([campaign.id for campaign in campaigns])
    )
    grouped = visible_items(principal, query).group_by(CampaignItem.campaign_id, CampaignItem.state)
    for campaign_id, state, number in await session.execute(grouped):
        counts[campaign_id][ItemState(state)] = number
    return [
        CampaignOut.model_validate(
            {
                **{name: getattr(campaign, name) for name in _PLAIN},
                "parameters": _shown(campaign, kinds),
                "selection": None if principal.role is Role.OPERATOR else campaign.selection,
                "chargers": sum(counts[campaign.id].values()),
                "counts": {state: counts[campaign.id].get(state, 0) for state in ItemState},
            }
        )
        for campaign in campaigns
    ]


def _shown(campaign: Campaign, kinds: Mapping[str, Kind]) -> dict[str, Any]:
    """Return the parameters without secrets; nothing of a kind that nobody knows any more."""
    kind = kinds.get(campaign.kind)
    return dict(kind.shown(campaign.parameters)) if kind is not None else {}


async def list_items(
    session: AsyncSession,
    principal: Principal,
    campaign_id: UUID,
    paging: Paging,
    *,
    state: ItemState | None = None,
) -> Page[ItemOut]:
    """Return a page of the items of a campaign by charger; `q` searches the charger's id and the detail."""
    await get_campaign(session, principal, campaign_id)
    query = select(CampaignItem).where(
        CampaignItem.campaign_id == campaign_id,
        containing(paging.q, CampaignItem.charger_id, CampaignItem.detail),
    )
    if state is not None:
        query = query.where(CampaignItem.state == state)
    found = await ITEM_ORDER.slice(session, visible_items(principal, query), paging)
    return found.page(ItemOut.model_validate(item) for item in found.rows)

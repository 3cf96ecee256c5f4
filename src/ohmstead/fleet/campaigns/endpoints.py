"""`/api/admin/campaigns`."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from ohmstead.accounts.access import Caller
from ohmstead.accounts.limits import Subject, limited_caller
from ohmstead.accounts.principal import Principal
from ohmstead.core.http import Now, UnitOfWork
from ohmstead.core.openapi import refuses
from ohmstead.core.paging import Page, Paging
from ohmstead.core.text import Text
from ohmstead.fleet.campaigns import queries, service
from ohmstead.fleet.campaigns.models import Campaign
from ohmstead.fleet.campaigns.schemas import CampaignIn, CampaignOut, Chosen, ItemOut
from ohmstead.fleet.campaigns.state import CampaignState, Event, ItemState

router = APIRouter(prefix="/api/admin/campaigns", tags=["Campaigns"])

CampaignId = Annotated[UUID, Path(description="The id of a campaign.")]
FORBIDS = refuses(409, "Its state does not allow this.")


@router.post("", status_code=201, dependencies=[limited_caller(Subject.COMMAND)])
async def create_campaign(
    *,
    request: Request,
    response: Response,
    session: UnitOfWork,
    principal: Caller,
    now: Now,
    body: CampaignIn,
    dry_run: Annotated[
        bool, Query(description="Only tell which chargers it would be (200), and begin nothing.")
    ] = False,
) -> CampaignOut | Chosen:
    """Begin the same work on many chargers, those of the caller that match at this moment.

    At most `at_once` chargers are worked on at the same time. A charger that is away is done when it
    returns. With `dry_run=true` the same is refused, and else only the chargers are told.
    """
    kinds = request.app.state.kinds
    if dry_run:
        response.status_code = 200
        return await service.choose(session, principal, now, body, kinds)
    campaign = await service.create_campaign(session, principal, now, body, kinds)
    return await _shown(request, session, principal, campaign)


@router.get("")
async def list_campaigns(
    *,
    request: Request,
    session: UnitOfWork,
    principal: Caller,
    paging: Annotated[Paging, Depends()],
    state: Annotated[CampaignState | None, Query(description="Only those in this state.")] = None,
    kind: Annotated[Text | None, Query(max_length=40, description="Only this kind of work.")] = None,
    sort: Annotated[str | None, Query(description="`created_at`; `-` before it: falling.")] = None,
) -> Page[CampaignOut]:
    """List the campaigns of the caller, newest first; `q` searches the name.

    An Operator sees those that work on chargers of its stations, and counts only these.
    """
    return await queries.list_campaigns(
        session, principal, paging, request.app.state.kinds, state=state, kind=kind, sort=sort
    )


@router.get("/{campaign_id}")
async def get_campaign(
    request: Request, session: UnitOfWork, principal: Caller, campaign_id: CampaignId
) -> CampaignOut:
    """Show one campaign with the counts of its chargers by state."""
    campaign = await queries.get_campaign(session, principal, campaign_id)
    return await _shown(request, session, principal, campaign)


@router.get("/{campaign_id}/items")
async def list_campaign_items(
    *,
    session: UnitOfWork,
    principal: Caller,
    paging: Annotated[Paging, Depends()],
    campaign_id: CampaignId,
    state: Annotated[ItemState | None, Query(description="Only those in this state.")] = None,
) -> Page[ItemOut]:
    """List how each charger is doing, by its id; `q` searches the charger's id and what was said of it."""
    return await queries.list_items(session, principal, campaign_id, paging, state=state)


@router.post("/{campaign_id}/pause", responses=FORBIDS)
async def pause_campaign(
    request: Request, session: UnitOfWork, principal: Caller, now: Now, campaign_id: CampaignId
) -> CampaignOut:
    """Begin no further charger; those that are being worked on come to their end."""
    campaign = await service.change_campaign(session, principal, campaign_id, Event.PAUSE, now)
    return await _shown(request, session, principal, campaign)


@router.post("/{campaign_id}/resume", responses=FORBIDS, dependencies=[limited_caller(Subject.COMMAND)])
async def resume_campaign(
    request: Request, session: UnitOfWork, principal: Caller, now: Now, campaign_id: CampaignId
) -> CampaignOut:
    """Go on with a campaign that was paused, or stopped by its error rate, which is counted anew."""
    campaign = await service.change_campaign(session, principal, campaign_id, Event.RESUME, now)
    return await _shown(request, session, principal, campaign)


@router.post("/{campaign_id}/cancel", responses=FORBIDS)
async def cancel_campaign(
    request: Request, session: UnitOfWork, principal: Caller, now: Now, campaign_id: CampaignId
) -> CampaignOut:
    """End a campaign for good; chargers that are being worked on come to their end."""
    campaign = await service.change_campaign(session, principal, campaign_id, Event.CANCEL, now)
    return await _shown(request, session, principal, campaign)


async def _shown(
    request: Request, session: UnitOfWork, principal: Principal, campaign: Campaign
) -> CampaignOut:
    return (await queries.show(session, principal, [campaign], request.app.state.kinds))[0]

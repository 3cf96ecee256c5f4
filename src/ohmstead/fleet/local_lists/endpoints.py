"""`/api/admin/chargers/{id}/local-list`, the rules of local lists, and how all of them stand.

No unit of work is open while a charger is awaited.
"""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request

from ohmstead.accounts.access import Caller
from ohmstead.accounts.limits import Subject, limited_caller
from ohmstead.core.db import Database
from ohmstead.core.http import Now, UnitOfWork
from ohmstead.core.openapi import refuses
from ohmstead.core.paging import Page, Paging
from ohmstead.core.text import Text
from ohmstead.fleet.local_lists import keeping, queries, service
from ohmstead.fleet.local_lists.schemas import (
    ChargerListOut,
    LocalListOut,
    RuleChange,
    RuleIn,
    RuleOut,
    SendIn,
    SentOut,
    StepOut,
)
from ohmstead.fleet.local_lists.sending import send_list
from ohmstead.fleet.local_lists.state import state_of
from ohmstead.fleet.local_lists.wanted import wanted_of
from ohmstead.stations.attending import attended
from ohmstead.stations.chargers_queries import get_charger, seen_since
from ohmstead.stations.commands_endpoints import Timeout
from ohmstead.stations.outcomes import Commands
from ohmstead.stations.parameters import ChargerId

router = APIRouter(prefix="/api/admin", tags=["Local lists"])

ASKS = {
    **refuses(409, "The charger is not connected, has no rule, or is being sent a list."),
    **refuses(429, "The charger is busy with earlier commands: this one was not sent."),
}
TAKEN = refuses(409, "The charger, the station or the business has a rule.")
RuleId = Annotated[UUID, Path(description="The id of a rule.")]


@router.get(
    "/chargers/{charger_id}/local-list",
    responses=ASKS,
    dependencies=[limited_caller(Subject.COMMAND, only_if="refresh")],
)
async def get_local_list(
    *,
    request: Request,
    principal: Caller,
    now: Now,
    charger_id: ChargerId,
    paging: Annotated[Paging, Depends()],
    refresh: Annotated[bool, Query(description="Ask the charger first, by GetLocalListVersion.")] = False,
    differs: Annotated[bool | None, Query(description="Only tags that differ, or only the others.")] = None,
    wait_seconds: Timeout = None,
) -> LocalListOut:
    """Show the local list that a charger should have beside what it acknowledged last, tag by tag.

    `q` searches the tags.
    """
    database: Database = request.app.state.database
    commands: Commands = request.app.state.commands
    async with database.session() as session:
        await get_charger(session, principal, charger_id)
    refreshed = None
    if refresh:
        async with attended(request):
            answer = await commands.send(charger_id, keeping.ASK, {}, wait_seconds=wait_seconds)
        refreshed = "Accepted" if keeping.version_in(answer) is not None else "CallError"
        if answer.response is None:
            refreshed = answer.status
        now = commands.clock.now()
    async with database.session() as session:
        charger = await get_charger(session, principal, charger_id)
        return await queries.show_list(
            session,
            charger,
            paging,
            now,
            differs=differs,
            refreshed=refreshed,
            since=seen_since(principal, charger),
        )


@router.post(
    "/chargers/{charger_id}/local-list", responses=ASKS, dependencies=[limited_caller(Subject.COMMAND)]
)
async def send_local_list(
    *,
    request: Request,
    principal: Caller,
    charger_id: ChargerId,
    body: SendIn | None = None,
    wait_seconds: Timeout = None,
) -> SentOut:
    """Send the charger what its list lacks (SendLocalList), and answer with what it said.

    A Differential when it has the list that it acknowledged, else the whole list.
    """
    database: Database = request.app.state.database
    commands: Commands = request.app.state.commands
    async with database.session() as session:
        await get_charger(session, principal, charger_id)
    async with attended(request):
        sent = await send_list(
            commands,
            charger_id,
            patience=wait_seconds or request.app.state.settings.ocpp_call_timeout,
            full=body is not None and body.update == "Full",
            wait_seconds=wait_seconds,
        )
    async with database.session() as session:
        charger = await get_charger(session, principal, charger_id)
        wanted = await wanted_of(session, charger, commands.clock.now())
        row = await keeping.row_of(session, charger_id)
        state = state_of(row, None if wanted is None else wanted.digest)
    steps = [
        StepOut(update_type=one.update_type, version=one.version, entries=one.entries, status=one.status)
        for one in sent.steps
    ]
    return SentOut(status=sent.ending or "InSync", detail=sent.detail, state=state, sent=steps)


@router.get("/local-lists")
async def list_local_lists(
    session: UnitOfWork, principal: Caller, now: Now, paging: Annotated[Paging, Depends()]
) -> Page[ChargerListOut]:
    """List how the local lists of the caller's chargers stand to their rules, by charger id."""
    return await queries.list_states(session, principal, paging, now)


@router.get("/local-list-rules")
async def list_local_list_rules(
    *,
    session: UnitOfWork,
    principal: Caller,
    paging: Annotated[Paging, Depends()],
    backoffice_id: Annotated[UUID | None, Query(description="Only of this business.")] = None,
    station: Annotated[UUID | None, Query(description="Only that of this station.")] = None,
    charger: Annotated[Text | None, Query(max_length=48, description="Only that of this charger.")] = None,
) -> Page[RuleOut]:
    """List the rules of the caller's business, the oldest first."""
    return await queries.list_rules(
        session, principal, paging, backoffice_id=backoffice_id, station_id=station, charger_id=charger
    )


@router.post("/local-list-rules", status_code=201, responses=TAKEN)
async def create_local_list_rule(session: UnitOfWork, principal: Caller, now: Now, body: RuleIn) -> RuleOut:
    """Say which tags the lists of a charger, of a station's or of all chargers hold; the closest counts."""
    return RuleOut.model_validate(await service.create_rule(session, principal, now, body))


@router.get("/local-list-rules/{rule_id}")
async def get_local_list_rule(session: UnitOfWork, principal: Caller, rule_id: RuleId) -> RuleOut:
    """Show one rule."""
    return RuleOut.model_validate(await queries.get_rule(session, principal, rule_id))


@router.put("/local-list-rules/{rule_id}")
async def change_local_list_rule(
    session: UnitOfWork, principal: Caller, now: Now, rule_id: RuleId, body: RuleChange
) -> RuleOut:
    """Change what the body names and keep the rest. Lists are outdated by it until they are sent."""
    return RuleOut.model_validate(await service.change_rule(session, principal, now, rule_id, body))


@router.delete("/local-list-rules/{rule_id}", status_code=204)
async def delete_local_list_rule(session: UnitOfWork, principal: Caller, rule_id: RuleId) -> None:
    """Delete a rule. Chargers keep the lists that they have."""
    await service.delete_rule(session, principal, rule_id)

"""`/api/admin/chargers`, but for the commands."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, BackgroundTasks, Depends, Query, Request

from ohmstead.accounts.access import Caller
from ohmstead.accounts.limits import Subject, limited_caller
from ohmstead.core.http import Now, UnitOfWork
from ohmstead.core.openapi import refuses
from ohmstead.core.paging import Page, Paging
from ohmstead.core.text import Text
from ohmstead.stations import chargers_queries as queries
from ohmstead.stations import chargers_service as service
from ohmstead.stations.adoption import boot_again
from ohmstead.stations.chargers_schemas import (
    ChargerChange,
    ChargerIn,
    ChargerOut,
    ChargerWithPassword,
    Deleted,
    ReportOut,
    StatusEventOut,
)
from ohmstead.stations.disconnecting import disconnect, let_go
from ohmstead.stations.models import ConnectorStatus, Registration
from ohmstead.stations.parameters import ChargerId

router = APIRouter(prefix="/api/admin/chargers", tags=["Chargers"])


@router.get("")
async def list_chargers(
    *,
    request: Request,
    session: UnitOfWork,
    principal: Caller,
    paging: Annotated[Paging, Depends()],
    station: Annotated[UUID | None, Query(description="The id of a station.")] = None,
    backoffice_id: Annotated[UUID | None, Query(description="Only chargers of this business.")] = None,
    online: Annotated[bool | None, Query(description="Only connected ones, or only the others.")] = None,
    registration: Annotated[
        Registration | None, Query(description="Only those whose boot is answered so.")
    ] = None,
    status: Annotated[ConnectorStatus | None, Query(description="That any of its connectors has.")] = None,
    simulated: Annotated[bool | None, Query(description="Only simulated ones, or only real ones.")] = None,
    retired: Annotated[bool, Query(description="Show the retired ones instead of the others.")] = False,
    sort: Annotated[str | None, Query(description="`id` or `last_seen`; `-` before it: falling.")] = None,
) -> Page[ChargerOut]:
    """List the chargers of the caller, by id; `q` searches id, name, serial number, vendor and model."""
    return await queries.list_chargers(
        session,
        principal,
        request.app.state.links,
        paging,
        station=station,
        backoffice_id=backoffice_id,
        online=online,
        registration=registration,
        status=status,
        simulated=simulated,
        retired=retired,
        sort=sort,
    )


@router.post(
    "",
    status_code=201,
    response_model_exclude_unset=True,
    responses={
        **refuses(404, "There is no such business, or no such station of yours."),
        **refuses(409, "There is a charger with this identity."),
    },
)
async def create_charger(
    *, request: Request, session: UnitOfWork, principal: Caller, now: Now, body: ChargerIn
) -> ChargerWithPassword:
    """Create a charger; only `id` is needed.

    Security profiles 1 and 2 need a password: when none is given one is made, and answered here and
    never again.
    """
    key = request.app.state.settings.signing_key
    written = await service.create_charger(session, principal, now, body, key=key)
    return await _answer(request, session, written)


@router.delete("")
async def delete_simulated_chargers(
    *,
    request: Request,
    tasks: BackgroundTasks,
    session: UnitOfWork,
    principal: Caller,
    simulated: Annotated[Literal["true"], Query(description="Must be `true`.")],
) -> Deleted:
    """Delete all simulated chargers of the caller with their sessions, meter values and messages."""
    charger_ids = await service.delete_simulated(session, principal)
    state = request.app.state
    tasks.add_task(let_go, state.links, state.database, charger_ids, "the charger was deleted")
    return Deleted(deleted=len(charger_ids))


@router.get("/{charger_id}")
async def get_charger(
    request: Request, session: UnitOfWork, principal: Caller, charger_id: ChargerId
) -> ChargerOut:
    """Show one charger with its connectors."""
    charger = await queries.get_charger(session, principal, charger_id)
    return await queries.show_charger(session, charger, request.app.state.links)


@router.put(
    "/{charger_id}",
    response_model_exclude_unset=True,
    dependencies=[limited_caller(Subject.COMMAND)],
    responses=refuses(
        409, "A connector with a history cannot be removed, nor `simulated` changed with sessions."
    ),
)
async def change_charger(
    *,
    request: Request,
    tasks: BackgroundTasks,
    session: UnitOfWork,
    principal: Caller,
    now: Now,
    charger_id: ChargerId,
    body: ChargerChange,
) -> ChargerWithPassword:
    """Change what the body names and keep the rest; null clears what may be null.

    After a change of what a connection was admitted by (credentials, profile, registration, station,
    retirement) the charger's socket is closed, and it connects as what it is now.

    A charger that came by itself (`unregistered_since`) is adopted by giving it a station or a business, or
    by its registration: it is accepted unless that says otherwise, and asked to boot; where it must connect
    anew for it, after that.
    """
    key = request.app.state.settings.signing_key
    written = await service.change_charger(session, principal, now, charger_id, body, key=key)
    if written.reconnect:
        reason = "the charger is retired" if written.charger.retired_at else "the charger's settings changed"
        tasks.add_task(disconnect, request.app.state.links, [charger_id], reason)
    elif written.adopted:
        tasks.add_task(boot_again, request.app.state.commands, charger_id)
    return await _answer(request, session, written)


async def _answer(request: Request, session: UnitOfWork, written: service.Written) -> ChargerWithPassword:
    shown = await queries.show_charger(session, written.charger, request.app.state.links)
    answer = ChargerWithPassword.model_validate(shown.model_dump())
    if written.password is not None:
        answer.password = written.password
    return answer


@router.delete(
    "/{charger_id}", status_code=204, responses=refuses(409, "The charger had sessions: retire it.")
)
async def delete_charger(
    *,
    request: Request,
    session: UnitOfWork,
    principal: Caller,
    charger_id: ChargerId,
    simulated: Annotated[
        Literal["true"] | None,
        Query(description="Must be `true`: the charger is a simulated one, delete its sessions too."),
    ] = None,
) -> None:
    """Delete a charger that never had a session; one with a history is refused (409): retire it."""
    await service.delete_charger(session, principal, charger_id, simulated=simulated is not None)
    await session.commit()
    state = request.app.state
    await let_go(state.links, state.database, [charger_id], "the charger was deleted")


@router.get("/{charger_id}/status-history")
async def list_status_history(
    *,
    session: UnitOfWork,
    principal: Caller,
    paging: Annotated[Paging, Depends()],
    charger_id: ChargerId,
    connector_id: Annotated[
        int | None, Query(ge=0, le=2**31 - 1, description="Only of this connector; 0 is the whole charger.")
    ] = None,
) -> Page[StatusEventOut]:
    """List every StatusNotification of a charger, the newest by its own clock first."""
    return await queries.status_history(session, principal, charger_id, paging, connector_id=connector_id)


@router.get("/{charger_id}/reports")
async def list_reports(
    *,
    session: UnitOfWork,
    principal: Caller,
    paging: Annotated[Paging, Depends()],
    charger_id: ChargerId,
    action: Annotated[
        Text | None,
        Query(max_length=64, description="Only this action, such as `SecurityEventNotification`."),
    ] = None,
) -> Page[ReportOut]:
    """List what a charger reported outside of its sessions, the last to arrive first."""
    return await queries.reports(session, principal, charger_id, paging, action=action)

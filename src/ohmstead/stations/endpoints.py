"""`/api/admin/stations`."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, BackgroundTasks, Depends, Query, Request
from pydantic import StringConstraints

from ohmstead.accounts.access import require
from ohmstead.accounts.models import Role
from ohmstead.accounts.principal import Principal
from ohmstead.core.http import Now, Page, Paging, UnitOfWork
from ohmstead.stations import queries, service
from ohmstead.stations.disconnecting import disconnect
from ohmstead.stations.models import StationStatus
from ohmstead.stations.parameters import checked_paging
from ohmstead.stations.schemas import StationChange, StationIn, StationOut
from ohmstead.stations.texts import Text

router = APIRouter(prefix="/api/admin/stations", tags=["Stations"])

Reader = Annotated[Principal, Depends(require(Role.SYSTEM_ADMIN, Role.BACKOFFICE, Role.OPERATOR))]
Writer = Annotated[Principal, Depends(require(Role.SYSTEM_ADMIN, Role.BACKOFFICE))]


@router.get("")
async def list_stations(
    *,
    session: UnitOfWork,
    principal: Reader,
    paging: Annotated[Paging, Depends(checked_paging)],
    status: StationStatus | None = None,
    city: Annotated[Text, StringConstraints(max_length=120)] | None = None,
    backoffice_id: UUID | None = None,
    sort: Annotated[str | None, Query(description="`name` or `created_at`; `-` before it: falling.")] = None,
) -> Page[StationOut]:
    """List the stations of the caller, by name; `q` searches name, address and city."""
    return await queries.list_stations(
        session, principal, paging, status=status, city=city, backoffice_id=backoffice_id, sort=sort
    )


@router.post("", status_code=201)
async def create_station(session: UnitOfWork, principal: Writer, now: Now, body: StationIn) -> StationOut:
    """Create a station; only `name` is needed. A SystemAdmin names the business where there are several."""
    station = await service.create_station(session, principal, now, body)
    return await queries.show_station(session, station)


@router.get("/{station_id}")
async def get_station(session: UnitOfWork, principal: Reader, station_id: UUID) -> StationOut:
    """Show one station."""
    return await queries.show_station(session, await queries.get_station(session, principal, station_id))


@router.put("/{station_id}")
async def change_station(
    *,
    request: Request,
    tasks: BackgroundTasks,
    session: UnitOfWork,
    principal: Writer,
    now: Now,
    station_id: UUID,
    body: StationChange,
) -> StationOut:
    """Change what the body names and keep the rest; null clears what may be null."""
    station, moved = await service.change_station(session, principal, now, station_id, body)
    tasks.add_task(disconnect, request.app.state.links, moved, "its station belongs to another business now")
    return await queries.show_station(session, station)


@router.delete("/{station_id}", status_code=204)
async def delete_station(session: UnitOfWork, principal: Writer, station_id: UUID) -> None:
    """Delete a station without chargers and sessions; with any, it is refused (409): deactivate it."""
    await service.delete_station(session, principal, station_id)

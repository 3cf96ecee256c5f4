"""`/api/admin/stations`."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, BackgroundTasks, Depends, Path, Query, Request

from ohmstead.accounts.access import Caller
from ohmstead.accounts.users_endpoints import RightsChanged
from ohmstead.core.http import Now, UnitOfWork
from ohmstead.core.openapi import refuses
from ohmstead.core.paging import Page, Paging
from ohmstead.core.text import Text
from ohmstead.stations import queries, service
from ohmstead.stations.disconnecting import disconnect
from ohmstead.stations.models import StationStatus
from ohmstead.stations.schemas import StationChange, StationIn, StationOut

router = APIRouter(prefix="/api/admin/stations", tags=["Stations"])

StationId = Annotated[UUID, Path(description="The id of a station.")]


@router.get("")
async def list_stations(
    *,
    session: UnitOfWork,
    principal: Caller,
    paging: Annotated[Paging, Depends()],
    status: Annotated[StationStatus | None, Query(description="Only stations with this status.")] = None,
    city: Annotated[Text | None, Query(max_length=120, description="Only of this city, in any case.")] = None,
    backoffice_id: Annotated[UUID | None, Query(description="Only stations of this business.")] = None,
    sort: Annotated[str | None, Query(description="`name` or `created_at`; `-` before it: falling.")] = None,
) -> Page[StationOut]:
    """List the stations of the caller, by name; `q` searches name, address and city."""
    return await queries.list_stations(
        session, principal, paging, status=status, city=city, backoffice_id=backoffice_id, sort=sort
    )


@router.post("", status_code=201, responses=refuses(404, "There is no such business."))
async def create_station(session: UnitOfWork, principal: Caller, now: Now, body: StationIn) -> StationOut:
    """Create a station; only `name` is needed. A SystemAdmin names the business where there are several."""
    station = await service.create_station(session, principal, now, body)
    return await queries.show_station(session, station)


@router.get("/{station_id}")
async def get_station(session: UnitOfWork, principal: Caller, station_id: StationId) -> StationOut:
    """Show one station."""
    return await queries.show_station(session, await queries.get_station(session, principal, station_id))


@router.put("/{station_id}")
async def change_station(
    *,
    request: Request,
    tasks: BackgroundTasks,
    session: UnitOfWork,
    principal: Caller,
    now: Now,
    station_id: StationId,
    body: StationChange,
) -> StationOut:
    """Change what the body names and keep the rest; null clears what may be null."""
    station, moved = await service.change_station(session, principal, now, station_id, body)
    tasks.add_task(disconnect, request.app.state.links, moved, "its station belongs to another business now")
    return await queries.show_station(session, station)


@router.delete(
    "/{station_id}", status_code=204, responses=refuses(409, "The station has chargers or sessions.")
)
async def delete_station(
    *, changed: RightsChanged, session: UnitOfWork, principal: Caller, now: Now, station_id: StationId
) -> None:
    """Delete a station without chargers and sessions; with any, it is refused (409): deactivate it.

    Operators who worked there have one station less, and their live connections end.
    """
    changed.update(await service.delete_station(session, principal, station_id, now))

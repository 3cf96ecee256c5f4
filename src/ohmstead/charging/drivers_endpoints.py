"""`/api/evowner/{nic}/sessions`: what a driver has charged."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from ohmstead.accounts.access import Caller
from ohmstead.accounts.drivers_endpoints import OwnerName
from ohmstead.accounts.drivers_queries import find_driver
from ohmstead.charging import queries
from ohmstead.charging.drivers_schemas import DriverSession, driver_session_of
from ohmstead.core.http import UnitOfWork
from ohmstead.core.paging import Paging
from ohmstead.stations.queries import names_of_stations

router = APIRouter(prefix="/api/evowner/{nic}/sessions", tags=["Drivers"])


@router.get("", response_model=list[DriverSession])
async def list_sessions_of_driver(
    response: Response,
    session: UnitOfWork,
    principal: Caller,
    paging: Annotated[Paging, Depends()],
    nic: OwnerName,
) -> list[DriverSession]:
    """List what a driver has charged with its cards, newest first; a Backoffice sees that of its chargers.

    `q` searches id tags and charger ids. The header `X-Next-Cursor` is the `cursor` of the next page; it is
    absent at the end.
    """
    driver, _ = await find_driver(session, principal, nic)
    found = await queries.sessions_of_driver(session, principal, driver.id, paging)
    names = await names_of_stations(session, {row.station_id for row in found.rows if row.station_id})
    return found.array(
        response,
        (driver_session_of(row, names[row.station_id] if row.station_id else None) for row in found.rows),
    )

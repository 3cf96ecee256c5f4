"""The page that the code on a sticker leads to: which connector this is, and whether one can charge here."""

import re
from typing import Annotated
from urllib.parse import unquote

from fastapi import APIRouter, Path, Request
from fastapi.responses import Response
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.html_pages import PageRoute, page
from ohmstead.core.errors import NotFound
from ohmstead.stations.models import Charger, Connector, ConnectorStatus, Station, StationStatus
from ohmstead.stations.texts import charger_id_fault

router = APIRouter(include_in_schema=False, route_class=PageRoute)

NUMBER = re.compile(r"[1-9][0-9]{0,3}", re.ASCII)
FREE = "It is free."
SAYS = {
    ConnectorStatus.AVAILABLE: FREE,
    ConnectorStatus.PREPARING: "A car is plugged in, and charging can begin.",
    ConnectorStatus.CHARGING: "A car is charging here.",
    ConnectorStatus.SUSPENDED_EVSE: "A car is plugged in, and the charger has paused.",
    ConnectorStatus.SUSPENDED_EV: "A car is plugged in, and takes nothing at the moment.",
    ConnectorStatus.FINISHING: "A car has finished here, and is still plugged in.",
    ConnectorStatus.RESERVED: "It is reserved for somebody.",
    ConnectorStatus.UNAVAILABLE: "It is out of service.",
    ConnectorStatus.FAULTED: "It is out of order.",
}
USABLE = frozenset({ConnectorStatus.AVAILABLE, ConnectorStatus.PREPARING, ConnectorStatus.FINISHING})
AWAY = "We have no connection to this charger at the moment. Known cards may work all the same."
CLOSED = "This station is closed."


@router.api_route("/c/{charger_id}/{connector}", methods=["GET", "HEAD"])
async def show_connector(
    request: Request, charger_id: Annotated[str, Path()], connector: Annotated[str, Path()]
) -> Response:
    """Tell who has scanned a sticker which connector it is, how it is, how to begin and whom to call."""
    async with request.app.state.database.session() as session:
        charger, plug, station = await _found(session, unquote(charger_id), connector)
    if station is not None and station.status != StationStatus.ACTIVE:
        says, usable = CLOSED, False
    elif not charger.online:
        says, usable = AWAY, True
    else:
        status = ConnectorStatus(plug.status) if plug.status else ConnectorStatus.AVAILABLE
        says, usable = SAYS[status], status in USABLE
    return page(
        request,
        "connector",
        charger=charger,
        connector=plug,
        station=station,
        says=says,
        usable=usable,
        good=says == FREE,
    )


async def _found(
    session: AsyncSession, charger_id: str, connector: str
) -> tuple[Charger, Connector, Station | None]:
    """Return what a sticker is on. Raises `NotFound` for a sticker of nothing that is in service."""
    found = None
    if NUMBER.fullmatch(connector) and charger_id_fault(charger_id) is None:
        query = (
            select(Charger, Connector, Station)
            .join(Connector, Connector.charger_id == Charger.id)
            .outerjoin(Station, Station.id == Charger.station_id)
            .where(
                Charger.id == charger_id,
                Charger.retired_at.is_(None),
                Charger.unregistered_since.is_(None),
                Connector.connector_id == int(connector),
            )
        )
        found = (await session.execute(query)).one_or_none()
    if found is None:
        raise NotFound("No charging point in service has this sticker. Look for another one nearby.")
    charger, plug, station = found
    return charger, plug, station

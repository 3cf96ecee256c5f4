"""Reads of stations."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.principal import Principal
from ohmstead.core.errors import NotFound
from ohmstead.core.paging import Order, Page, Paging, containing, text_key, time_key, uuid_key
from ohmstead.stations.models import Charger, Station, StationStatus
from ohmstead.stations.schemas import StationOut

ORDER = Order(
    keys={"name": text_key(func.lower(Station.name)), "created_at": time_key(Station.created_at)},
    tie=uuid_key(Station.id),
    default="name",
)


async def get_station(
    session: AsyncSession, principal: Principal, station_id: UUID, *, lock: bool = False
) -> Station:
    """Return a station of the caller's scope. Raises `NotFound`.

    `lock` keeps others from changing the row until the unit of work ends; sessions may still begin.
    """
    query = select(Station).where(Station.id == station_id)
    query = principal.within(query, Station.backoffice_id, Station.id)
    if lock:
        query = query.with_for_update(key_share=True)
    station = (await session.execute(query)).scalar_one_or_none()
    if station is None:
        raise NotFound(f"There is no station {station_id}.", code="StationNotFound")
    return station


async def list_stations(
    session: AsyncSession,
    principal: Principal,
    paging: Paging,
    *,
    status: StationStatus | None = None,
    city: str | None = None,
    backoffice_id: UUID | None = None,
    sort: str | None = None,
) -> Page[StationOut]:
    """Return a page of the caller's stations; `q` searches name, address and city, `city` ignores case."""
    query = principal.within(select(Station), Station.backoffice_id, Station.id)
    if status is not None:
        query = query.where(Station.status == status)
    if city is not None:
        query = query.where(func.lower(Station.city) == city.lower())
    if backoffice_id is not None:
        query = query.where(Station.backoffice_id == backoffice_id)
    query = query.where(containing(paging.q, Station.name, Station.address, Station.city))
    found = await ORDER.slice(session, query, paging, sort)
    counts = await count_chargers(session, [station.id for station in found.rows])
    return found.page(station_out(station, *counts.get(station.id, (0, 0))) for station in found.rows)


async def show_station(session: AsyncSession, station: Station) -> StationOut:
    """Return a station as it goes out, with its chargers counted."""
    counts = await count_chargers(session, [station.id])
    return station_out(station, *counts.get(station.id, (0, 0)))


async def count_chargers(session: AsyncSession, station_ids: Collection[UUID]) -> dict[UUID, tuple[int, int]]:
    """Count the chargers of stations that are not retired: (all, online) by station."""
    query = (
        select(Charger.station_id, func.count(), func.count().filter(Charger.online))
        .where(Charger.station_id.in_(station_ids), Charger.retired_at.is_(None))
        .group_by(Charger.station_id)
    )
    rows = await session.execute(query)
    return {station_id: (total, online) for station_id, total, online in rows if station_id is not None}


def station_out(station: Station, chargers: int, online_chargers: int) -> StationOut:
    """Put a row and its counts together."""
    return StationOut.model_validate(
        {
            **{name: getattr(station, name) for name in _COLUMNS},
            "chargers": chargers,
            "online_chargers": online_chargers,
        }
    )


_COLUMNS = StationOut.model_fields.keys() - {"chargers", "online_chargers"}

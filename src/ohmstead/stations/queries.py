"""Reads of stations."""

from collections.abc import Collection
from typing import NamedTuple
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


async def names_of_stations(session: AsyncSession, station_ids: Collection[UUID]) -> dict[UUID, str]:
    """Return what stations are called, by their ids; who asks has the right to know."""
    found = await session.execute(select(Station.id, Station.name).where(Station.id.in_(station_ids)))
    return {row.id: row.name for row in found}


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
    return found.page(station_out(station, counts.get(station.id, NONE)) for station in found.rows)


async def show_station(session: AsyncSession, station: Station) -> StationOut:
    """Return a station as it goes out, with its chargers counted."""
    counts = await count_chargers(session, [station.id])
    return station_out(station, counts.get(station.id, NONE))


class Counts(NamedTuple):
    """The chargers of a station that are not retired; those that only simulate stand apart."""

    chargers: int
    online_chargers: int
    simulated_chargers: int
    online_simulated_chargers: int


NONE = Counts(0, 0, 0, 0)


async def count_chargers(session: AsyncSession, station_ids: Collection[UUID]) -> dict[UUID, Counts]:
    """Count the chargers of stations, by station; one that has none is left out."""
    real, simulated = ~Charger.simulated, Charger.simulated
    query = (
        select(
            Charger.station_id,
            *(func.count().filter(one) for one in (real, real & Charger.online)),
            *(func.count().filter(one) for one in (simulated, simulated & Charger.online)),
        )
        .where(Charger.station_id.in_(station_ids), Charger.retired_at.is_(None))
        .group_by(Charger.station_id)
    )
    rows = await session.execute(query)
    return {station_id: Counts(*counts) for station_id, *counts in rows if station_id is not None}


def station_out(station: Station, counts: Counts) -> StationOut:
    """Put a row and its counts together."""
    columns = {name: getattr(station, name) for name in _COLUMNS}
    return StationOut.model_validate({**columns, **counts._asdict()})


_COLUMNS = StationOut.model_fields.keys() - set(Counts._fields)

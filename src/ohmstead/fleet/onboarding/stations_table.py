"""Stations as a table."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Row, Select, func, literal, select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.models import Backoffice, BackofficeStatus
from ohmstead.accounts.principal import Principal
from ohmstead.fleet.onboarding import cells as kinds
from ohmstead.fleet.onboarding.cells import Column
from ohmstead.fleet.onboarding.faults import Faults
from ohmstead.fleet.onboarding.sheets import Line
from ohmstead.fleet.onboarding.tables import (
    Business,
    Means,
    Outcome,
    Plan,
    Table,
    Thing,
    business_of,
    plain,
    tell_not_at_work,
)
from ohmstead.stations import service
from ohmstead.stations.models import Station
from ohmstead.stations.schemas import StationChange, StationIn

COLUMNS = {
    "id": Column(kinds.identifier),
    "name": Column(kinds.text),
    "address": Column(kinds.text),
    "city": Column(kinds.text),
    "country": Column(kinds.text),
    "latitude": Column(kinds.number),
    "longitude": Column(kinds.number),
    "time_zone": Column(kinds.text),
    "amenities": Column(kinds.several, " | ".join),
    "photo_url": Column(kinds.text),
    "opening_hours": Column(kinds.json_object, lambda value: orjson.dumps(value).decode()),
    "support_phone": Column(kinds.text),
    "status": Column(kinds.text),
    "backoffice_id": Column(kinds.identifier),
}

Found = Row[UUID, UUID, float | None, float | None]
"""Of a station that there is: its id, its business, and where it is."""


async def _plan(means: Means, line: Line) -> Plan:
    """A station is known by its id, or by its name, within the business where one is named.

    While it is not known which one is meant, the line is looked at as if nothing were known of it.
    """
    cells = dict(line.cells)
    faults = Faults(line)
    business = await business_of(means, line, faults)
    asked, name = cells.pop("id", None), cells.get("name")
    by = "name" if asked is None and not faults.of("id") else "id"
    found: Sequence[Found] = []
    if asked is not None:
        found = await station_of_id(means, asked)
        if not found:
            faults.tell("id", f"there is no station {asked}: leave the id out for a new one")
    elif by == "name" and name is not None and business.known:
        found = await stations_named(means, name, business)
        if len(found) > 1:
            faults.tell("name", many(name))
    row = found[0] if len(found) == 1 else None
    if row is None or row.backoffice_id != business.id:
        tell_not_at_work(business, faults)
    _tell_half_a_point(cells, row, faults)
    new = by == "name" and not found
    wanted: StationIn | StationChange | None
    wanted = faults.wanted(StationIn, cells) if new else faults.wanted(StationChange, cells)
    about: Thing | None = None
    names: Thing | None = None
    if row is not None:
        about = ("station", str(row.id))
        if asked is not None and name is not None:
            names = await _named_anew(means, name, business.id or row.backoffice_id)
    elif new and name is not None and business.known:
        about = await _named_anew(means, name, business.id)
    write = None if wanted is None else partial(_write, means, row, wanted)
    return Plan(faults, by, about, write, names)


def _tell_half_a_point(cells: Mapping[str, Any], row: Found | None, faults: Faults) -> None:
    there = [
        name in cells or faults.of(name) or getattr(row, name, None) is not None
        for name in ("latitude", "longitude")
    ]
    if there[0] != there[1]:
        missing, given = ("longitude", "latitude") if there[0] else ("latitude", "longitude")
        faults.tell(missing, f"is needed too, since there is a {given}: give both, or none")


async def _named_anew(means: Means, name: str, business_id: UUID | None) -> Thing:
    """Return a station by the name that it is to have, and the business that it is to belong to.

    Where none is named, that is the oldest one at work, or the one that is yet to be made.
    """
    active = select(Backoffice.id).where(Backoffice.status == BackofficeStatus.ACTIVE)
    oldest = active.order_by(Backoffice.created_at, Backoffice.id).limit(1).scalar_subquery()
    query = select(func.lower(name), literal(business_id) if business_id is not None else oldest)
    lowered, owner = (await means.session.execute(query)).one()
    return "named", lowered, str(owner)


async def _write(
    means: Means, row: Found | None, wanted: StationIn | StationChange, outcome: Outcome
) -> None:
    if isinstance(wanted, StationIn):
        await service.create_station(means.session, means.principal, means.now, wanted)
        outcome.created += 1
    elif row is not None:
        _, moved = await service.change_station(means.session, means.principal, means.now, row.id, wanted)
        means.reconnect += moved
        outcome.changed += 1


def _of_caller(means: Means) -> Select[UUID, UUID, float | None, float | None]:
    query = select(Station.id, Station.backoffice_id, Station.latitude, Station.longitude)
    return means.principal.within(query, Station.backoffice_id, Station.id)


async def station_of_id(means: Means, told: str) -> Sequence[Found]:
    """Return the caller's station of an id, if there is one."""
    return (await means.session.execute(_of_caller(means).where(Station.id == UUID(told)))).all()


async def stations_named(means: Means, name: str, business: Business) -> Sequence[Found]:
    """Return the caller's stations of a name, in any case, in a business if one is given: two at most."""
    query = _of_caller(means).where(func.lower(Station.name) == func.lower(name)).limit(2)
    if business.id is not None:
        query = query.where(Station.backoffice_id == business.id)
    return (await means.session.execute(query)).all()


def many(name: str) -> str:
    """Say that a name does not tell which station is meant."""
    return f"there are several stations called {name!r}: name it by its id"


async def _rows(
    session: AsyncSession, principal: Principal, after: str | None
) -> Sequence[Mapping[str, Any]]:
    query = principal.within(select(Station), Station.backoffice_id, Station.id).order_by(Station.id)
    if after is not None:
        query = query.where(Station.id > UUID(after))
    rows = (await session.scalars(query.limit(500))).all()
    return [{name: plain(getattr(row, name)) for name in COLUMNS} for row in rows]


STATIONS = Table("stations", "name", COLUMNS, _plan, _rows)

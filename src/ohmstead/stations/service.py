"""Writes of stations."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, func, null, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm.attributes import flag_modified

from ohmstead.accounts.audit import record_row, state
from ohmstead.accounts.businesses import first_business
from ohmstead.accounts.models import Backoffice, BackofficeStatus, Role
from ohmstead.accounts.operators import leave_station
from ohmstead.accounts.principal import Principal
from ohmstead.core.errors import Conflict, Forbidden, Invalid, NotFound
from ohmstead.core.files import drop
from ohmstead.stations import history
from ohmstead.stations.models import Charger, Station
from ohmstead.stations.queries import get_station
from ohmstead.stations.schemas import StationChange, StationIn


async def owner_of_new(session: AsyncSession, principal: Principal, asked: UUID | None) -> UUID | None:
    """Return the business that a new station or charger belongs to; None when it cannot be told.

    A Backoffice creates for itself only. A SystemAdmin names the business, which must exist; where there
    is exactly one, that is taken. Raises `Forbidden` and `NotFound`.
    """
    if principal.role is not Role.SYSTEM_ADMIN:
        if asked not in {None, principal.backoffice_id}:
            raise Forbidden("You may create stations and chargers for your own business only.")
        return principal.backoffice_id
    if asked is not None:
        await require_backoffice(session, asked)
        return asked
    at_work = select(Backoffice.id).where(Backoffice.status == BackofficeStatus.ACTIVE).limit(2)
    businesses = (await session.execute(at_work)).scalars().all()
    return businesses[0] if len(businesses) == 1 else None


async def require_backoffice(session: AsyncSession, backoffice_id: UUID) -> None:
    """Raise `NotFound` when there is no such business at work."""
    business = await session.get(Backoffice, backoffice_id)
    if business is None or business.status != BackofficeStatus.ACTIVE:
        raise NotFound(f"There is no business {backoffice_id}.", code="BackofficeNotFound")


async def create_station(
    session: AsyncSession, principal: Principal, now: datetime, wanted: StationIn
) -> Station:
    """Create a station; one for which no business is named belongs to the oldest.

    Raises `Invalid` when half a point is given.
    """
    backoffice_id = await owner_of_new(session, principal, wanted.backoffice_id)
    if backoffice_id is None:
        backoffice_id = await first_business(session, now)
    values = wanted.model_dump(exclude={"backoffice_id"})
    if values["opening_hours"] is None:
        del values["opening_hours"]  # given as None it would be the JSON null
    station = Station(**values, backoffice_id=backoffice_id, created_at=now, updated_at=now)
    _require_whole_point(station)
    session.add(station)
    await session.flush()
    await record_row(session, "station.created", station)
    return station


async def change_station(
    session: AsyncSession, principal: Principal, now: datetime, station_id: UUID, change: StationChange
) -> tuple[Station, list[str]]:
    """Merge a change into a station: what was not given stays.

    Another business (SystemAdmin only) takes the chargers along (the foreign key cascades), and the operators
    of the old one leave it. Returns the station and the ids of chargers whose business changed: their sockets
    must be closed, since they hold the old one.
    """
    station = await get_station(session, principal, station_id, lock=True)
    before = state(station)
    values = change.model_dump(include=change.model_fields_set)
    moved: list[str] = []
    owner = values.pop("backoffice_id", station.backoffice_id)
    if owner != station.backoffice_id:
        if principal.role is not Role.SYSTEM_ADMIN:
            raise Forbidden("Only a SystemAdmin may give a station to another business.")
        await require_backoffice(session, owner)
        station.backoffice_id = owner
        chargers = await session.execute(
            update(Charger)
            .where(Charger.station_id == station_id)
            .values(owned_since=now)
            .returning(Charger.id)
            .execution_options(synchronize_session=False)
        )
        moved = list(chargers.scalars())
    if values.get("photo_url", station.photo_url) != station.photo_url:
        await let_photo_go(session, station, now)
    for name, value in values.items():
        setattr(station, name, null() if value is None and name == "opening_hours" else value)
    _require_whole_point(station)
    touch(station, now)
    await session.flush()
    if owner != before["backoffice_id"]:
        await leave_station(session, station_id)
    await session.refresh(station, ["opening_hours"])
    await record_row(session, "station.updated", station, before)
    return station, moved


async def let_photo_go(session: AsyncSession, station: Station, now: datetime) -> None:
    """Drop the stored photo of a station, if it has one; its bytes are removed soon after the commit."""
    if station.photo_id is not None:
        await drop(session, station.photo_id, now)
        station.photo_id = None


def _require_whole_point(station: Station) -> None:
    if (station.latitude is None) != (station.longitude is None):
        missing = "latitude" if station.latitude is None else "longitude"
        raise Invalid(
            "A point has a latitude and a longitude: give both, or null for both.",
            fields={missing: "is needed too"},
        )


async def delete_station(
    session: AsyncSession, principal: Principal, station_id: UUID, now: datetime
) -> list[UUID]:
    """Delete a station that has neither chargers nor sessions. Raises `Conflict` with what it has.

    Operators who worked there do no more; returns which, since their rights are others now.
    """
    station = await get_station(session, principal, station_id, lock=True)
    of_station: ColumnElement[bool] = Charger.station_id == station_id
    chargers = int((await session.execute(select(func.count(Charger.id)).where(of_station))).scalar_one())
    sessions = await history.sessions_of_station(session, station_id)
    if chargers or sessions:
        raise station_in_use(station.name, chargers, sessions)
    await record_row(session, "station.deleted", station, gone=True)
    await let_photo_go(session, station, now)
    try:
        await session.delete(station)
        await session.flush()
    except IntegrityError as error:  # a charger or session came between the count and the delete
        raise station_in_use(station.name, 1, 0) from error
    return await leave_station(session, station_id)


def station_in_use(name: str, chargers: int, sessions: int) -> Conflict:
    """Return the refusal to delete a station, with what stands in the way."""
    return Conflict(
        f"Station {name} has {counted(chargers, 'charger')} and {counted(sessions, 'session')}"
        " and cannot be deleted: its history would be lost."
        ' Deactivate it instead: PUT {"status": "Inactive"}, and retire or move its chargers.',
        code="StationInUse",
    )


def counted(number: int, noun: str) -> str:
    """Write a number with its noun: `1 charger`, `no chargers`, `2 chargers`."""
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


def touch(row: Station | Charger, now: datetime) -> None:
    """Set when a row was changed last.

    Flagged, since a second change at the same moment would leave the column to the database's own
    clock, and the attribute unloaded.
    """
    row.updated_at = now
    flag_modified(row, "updated_at")

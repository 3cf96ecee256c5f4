"""Stations, chargers and id tags as tables: their columns, bringing lines in, and taking rows out."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
from pydantic import BaseModel, ValidationError
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts import id_tags, id_tags_queries
from ohmstead.accounts.id_tags_schemas import IdTagChange, IdTagCreate
from ohmstead.accounts.models import Backoffice, Role, Token
from ohmstead.accounts.principal import Principal
from ohmstead.core.errors import Conflict, DomainError, Invalid, NotFound
from ohmstead.fleet.onboarding import sheets
from ohmstead.fleet.onboarding.faults import Faults, Faulty, told
from ohmstead.fleet.onboarding.sheets import Column, Fault, Line
from ohmstead.stations import chargers_service, service
from ohmstead.stations.chargers_queries import connectors_of
from ohmstead.stations.chargers_schemas import ChargerChange, ChargerIn
from ohmstead.stations.models import Charger, Station
from ohmstead.stations.schemas import StationChange, StationIn


@dataclass(slots=True)
class Means:
    """Who brings lines in, when, and what writing them needs.

    `reconnect` and `adopted` are the chargers that must connect anew, and boot again, once it is written.
    """

    session: AsyncSession
    principal: Principal
    now: datetime
    signing_key: str
    reconnect: list[str] = field(default_factory=list)
    adopted: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Outcome:
    """What a file came to."""

    lines: int = 0
    created: int = 0
    changed: int = 0
    passwords: dict[str, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)


Identity = tuple[str, ...] | None
"""What a line is about: first the column that tells it. None where it tells nothing."""

Bring = Callable[[Means, dict[str, Any], Outcome], Awaitable[None]]
Rows = Callable[[AsyncSession, Principal, str | None], Awaitable[Sequence[Mapping[str, Any]]]]


@dataclass(frozen=True, slots=True)
class Table:
    """One kind of thing as a table.

    `key` is the column that a heading must have; lines with equal `identity` are about the same thing.
    `rows` gives a piece of the table, from after a row's id on, in the order of ids.
    """

    name: str
    key: str
    columns: Mapping[str, Column]
    identity: Callable[[Principal, Mapping[str, Any]], Identity]
    bring: Bring
    rows: Rows


def _uuid(value: str) -> str:
    try:
        return str(UUID(value))
    except ValueError:
        raise ValueError(f"{value[:40]!r} is no id (a UUID)") from None


def _business(principal: Principal, cells: Mapping[str, Any]) -> UUID | None:
    """Return the business that a line is about: the caller's own, or the one that a SystemAdmin names."""
    if principal.role is not Role.SYSTEM_ADMIN:
        return principal.backoffice_id
    told = cells.get("backoffice_id")
    return None if told is None else UUID(told)


async def bring_lines(table: Table, means: Means, lines: Sequence[Line], outcome: Outcome) -> None:
    """Write lines one after the other, and note what is wrong with each that cannot be written.

    The caller undoes all of it when there is a fault, or when it is only a rehearsal.
    """
    seen: dict[tuple[str, ...], int] = {}
    for line in lines:
        identity = table.identity(means.principal, line.cells)
        if identity is not None:
            first = seen.setdefault(identity, line.number)
            if first != line.number:
                outcome.faults.append(Fault(line.number, identity[0], f"is in line {first} too"))
                continue
        outcome.lines += 1
        try:
            async with means.session.begin_nested():
                await table.bring(means, line.cells, outcome)
                await means.session.flush()
        except (ValidationError, DomainError) as error:
            outcome.faults += told(line.number, error)
        except Faulty as faulty:
            outcome.faults += [fault for error in faulty.errors for fault in told(line.number, error)]


def _model(kind: type[BaseModel], cells: dict[str, Any]) -> Any:
    return kind.model_validate(cells)


async def _check_business(means: Means, cells: Mapping[str, Any]) -> None:
    """Refuse a business that is not there, or not the caller's."""
    told = cells.get("backoffice_id")
    if told is None:
        return
    if means.principal.role is not Role.SYSTEM_ADMIN:
        if UUID(told) != means.principal.backoffice_id:
            raise Invalid("That is not your business.", fields={"backoffice_id": "is not your business"})
    elif await means.session.get(Backoffice, UUID(told)) is None:
        what = f"there is no business {told}"
        raise Invalid(f"{what}.", fields={"backoffice_id": what})


# --- stations

STATION_COLUMNS = {
    "id": Column(_uuid),
    "name": Column(sheets.text),
    "address": Column(sheets.text),
    "city": Column(sheets.text),
    "country": Column(sheets.text),
    "latitude": Column(sheets.number),
    "longitude": Column(sheets.number),
    "time_zone": Column(sheets.text),
    "amenities": Column(sheets.several, " | ".join),
    "photo_url": Column(sheets.text),
    "opening_hours": Column(sheets.json_object, lambda value: orjson.dumps(value).decode()),
    "support_phone": Column(sheets.text),
    "status": Column(sheets.text),
    "backoffice_id": Column(_uuid),
}


def _station_identity(principal: Principal, cells: Mapping[str, Any]) -> Identity:
    if "id" in cells:
        return "id", cells["id"]
    if "name" in cells:
        return "name", cells["name"].lower(), str(_business(principal, cells))
    return None


async def _bring_station(means: Means, cells: dict[str, Any], outcome: Outcome) -> None:
    """A station is known by its id, or by its name, within the business where one is named."""
    cells = dict(cells)
    asked = cells.pop("id", None)
    faults = Faults()
    found: UUID | None = None
    kind: type[BaseModel] = StationIn if asked is None else StationChange
    with faults:
        if asked is None:
            kind = StationChange  # if there are several
            business = _business(means.principal, cells)
            found = await _station_named(means, cells.get("name"), "name", business)
            kind = StationIn if found is None else StationChange
        else:
            found = await _station_of_id(means, asked, "id")
    if found is not None and means.principal.role is not Role.SYSTEM_ADMIN:
        cells.pop("backoffice_id", None)
    with faults:
        await _check_business(means, cells)
    with faults:
        wanted = _model(kind, cells)
    faults.end()
    if found is None:
        await service.create_station(means.session, means.principal, means.now, wanted)
        outcome.created += 1
        return
    _, moved = await service.change_station(means.session, means.principal, means.now, found, wanted)
    means.reconnect += moved
    outcome.changed += 1


async def _station_of_id(means: Means, told: str, column: str) -> UUID:
    """Return the id of the caller's station, that `column` tells."""
    query = means.principal.within(select(Station.id), Station.backoffice_id, Station.id)
    found = await means.session.scalar(query.where(Station.id == UUID(told)))
    if found is None:
        raise NotFound(f"There is no station {told}.", fields={column: f"there is no station {told}"})
    return found


async def _station_named(
    means: Means, name: str | None, column: str, business: UUID | None = None
) -> UUID | None:
    """Return the caller's station of a name, that `column` tells; in a business if one is given."""
    query = select(Station.id).where(func.lower(Station.name) == (name or "").lower()).limit(2)
    if business is not None:
        query = query.where(Station.backoffice_id == business)
    query = means.principal.within(query, Station.backoffice_id, Station.id)
    found = list(await means.session.scalars(query))
    if len(found) > 1:
        what = f"there are several stations called {name!r}: name it by its id"
        raise Conflict(f"{what}.", fields={column: what})
    return found[0] if found else None


async def _station_rows(
    session: AsyncSession, principal: Principal, after: str | None
) -> Sequence[Mapping[str, Any]]:
    query = principal.within(select(Station), Station.backoffice_id, Station.id).order_by(Station.id)
    if after is not None:
        query = query.where(Station.id > UUID(after))
    rows = (await session.scalars(query.limit(500))).all()
    return [{name: _plain(getattr(row, name)) for name in STATION_COLUMNS} for row in rows]


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):  # to the microsecond: it comes in again as it was
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return str(value) if isinstance(value, UUID) else value


# --- chargers

CHARGER_COLUMNS = {
    "id": Column(sheets.text),
    "name": Column(sheets.text),
    "station": Column(sheets.text),
    "vendor": Column(sheets.text),
    "model": Column(sheets.text),
    "serial_number": Column(sheets.text),
    "status": Column(sheets.text),
    "connectors": Column(sheets.connectors),
    "registration": Column(sheets.text),
    "ocpp_version": Column(sheets.text),
    "security_profile": Column(sheets.whole),
    "password": Column(sheets.text),
    "tolerant": Column(sheets.truth, lambda value: str(value).lower()),
    "free_vend": Column(sheets.truth, lambda value: str(value).lower()),
    "backoffice_id": Column(_uuid),
}


def _charger_identity(principal: Principal, cells: Mapping[str, Any]) -> Identity:
    return ("id", cells["id"]) if "id" in cells else None


async def _bring_charger(means: Means, cells: dict[str, Any], outcome: Outcome) -> None:
    """A charger is known by its identity; its station by name or id. Passwords are taken and never given.

    One that came by itself is adopted as by a PUT; that it is Pending, as an export says, decides nothing.
    """
    cells = dict(cells)
    station = cells.pop("station", None)
    faults = Faults()
    with faults:
        if station is not None:
            cells["station_id"] = await _station(means, station)
    query = select(Charger.id, Charger.registration, Charger.unregistered_since)
    query = means.principal.within(query, Charger.backoffice_id, Charger.station_id)
    known = (await means.session.execute(query.where(Charger.id == cells.get("id")))).one_or_none()
    if known is None:
        with faults:
            await _check_business(means, cells)
        with faults:
            wanted = _model(ChargerIn, cells)
        taken = await chargers_service.id_taken(means.session, means.principal, cells.get("id", ""))
        with faults:
            if taken is not None:
                raise taken
        faults.end()
        written = await chargers_service.create_charger(
            means.session, means.principal, means.now, wanted, key=means.signing_key
        )
        outcome.created += 1
    else:
        cells.pop("id")
        if station is not None or means.principal.role is not Role.SYSTEM_ADMIN:
            cells.pop("backoffice_id", None)
        if known.unregistered_since is not None and cells.get("registration") == known.registration:
            cells.pop("registration")
        with faults:
            await _check_business(means, cells)
        with faults:
            change = _model(ChargerChange, cells)
        faults.end()
        written = await chargers_service.change_charger(
            means.session, means.principal, means.now, known.id, change, key=means.signing_key
        )
        outcome.changed += 1
        if written.reconnect:
            means.reconnect.append(known.id)
        elif written.adopted:
            means.adopted.append(known.id)
    if written.password is not None:
        outcome.passwords[written.charger.id] = written.password


async def _station(means: Means, told: str) -> UUID:
    try:
        UUID(told)
    except ValueError:
        found = await _station_named(means, told, "station")
    else:
        return await _station_of_id(means, told, "station")
    if found is None:
        raise NotFound(f"There is no station {told!r}.", fields={"station": f"there is no station {told!r}"})
    return found


async def _charger_rows(
    session: AsyncSession, principal: Principal, after: str | None
) -> Sequence[Mapping[str, Any]]:
    query = principal.within(select(Charger), Charger.backoffice_id, Charger.station_id)
    query = query.where(Charger.retired_at.is_(None), Charger.simulated.is_(False)).order_by(Charger.id)
    if after is not None:
        query = query.where(Charger.id > after)
    rows = (await session.scalars(query.limit(500))).all()
    plugs: dict[str, list[Any]] = {row.id: [] for row in rows}
    for one in await connectors_of(session, list(plugs)):
        if one.connector_id:
            plugs[one.charger_id].append(one)
    own = set(CHARGER_COLUMNS) - {"station", "connectors", "password"}
    return [
        {name: _plain(getattr(row, name)) for name in own}
        | {
            "station": _plain(row.station_id),
            "connectors": sheets.written_connectors(plugs[row.id]) or None,
        }
        for row in rows
    ]


# --- id tags

ID_TAG_COLUMNS = {
    "id_tag": Column(sheets.text),
    "status": Column(sheets.text),
    "expires_at": Column(sheets.text),
    "parent_id_tag": Column(sheets.text),
    "owner": Column(sheets.text),
    "max_concurrent_sessions": Column(sheets.whole),
    "backoffice_id": Column(_uuid),
}


def _id_tag_identity(principal: Principal, cells: Mapping[str, Any]) -> Identity:
    if "id_tag" in cells:
        return "id_tag", cells["id_tag"].lower(), str(_business(principal, cells))
    return None


async def _bring_id_tag(means: Means, cells: dict[str, Any], outcome: Outcome) -> None:
    """An id tag is known by its text in any case, within its business."""
    faults = Faults()
    with faults:
        await _check_business(means, cells)
    with faults:
        wanted: IdTagCreate = _model(IdTagCreate, cells)
    faults.end()
    known = await means.session.scalar(
        select(Token.id).where(
            func.lower(Token.id_tag) == wanted.id_tag.lower(),
            Token.backoffice_id.is_not_distinct_from(_business(means.principal, cells)),
            id_tags_queries.visible_to(means.principal),
        )
    )
    if known is None:
        await id_tags.create_id_tag(means.session, means.principal, now=means.now, **wanted.model_dump())
        outcome.created += 1
        return
    change: IdTagChange = _model(IdTagChange, cells)
    changes = change.model_dump(include=change.model_fields_set - {"id_tag", "backoffice_id"})
    await id_tags.change_id_tag(means.session, means.principal, str(known), changes=changes, now=means.now)
    outcome.changed += 1


async def _id_tag_rows(
    session: AsyncSession, principal: Principal, after: str | None
) -> Sequence[Mapping[str, Any]]:
    query = select(Token).where(id_tags_queries.visible_to(principal)).order_by(Token.id)
    if after is not None:
        query = query.where(Token.id > UUID(after))
    rows = (await session.scalars(query.limit(500))).all()
    return [
        {"id": str(row.id), **{name: _plain(getattr(row, name)) for name in ID_TAG_COLUMNS}} for row in rows
    ]


STATIONS = Table("stations", "name", STATION_COLUMNS, _station_identity, _bring_station, _station_rows)
CHARGERS = Table("chargers", "id", CHARGER_COLUMNS, _charger_identity, _bring_charger, _charger_rows)
ID_TAGS = Table("id-tags", "id_tag", ID_TAG_COLUMNS, _id_tag_identity, _bring_id_tag, _id_tag_rows)

"""Chargers as a table."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import Row, exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.models import Role
from ohmstead.accounts.principal import Principal
from ohmstead.fleet.onboarding import cells as kinds
from ohmstead.fleet.onboarding.cells import Column
from ohmstead.fleet.onboarding.faults import Faults
from ohmstead.fleet.onboarding.sheets import Line
from ohmstead.fleet.onboarding.stations_table import Found as FoundStation
from ohmstead.fleet.onboarding.stations_table import many, station_of_id, stations_named
from ohmstead.fleet.onboarding.tables import (
    Business,
    Means,
    Outcome,
    Plan,
    Table,
    business_of,
    plain,
    tell_not_at_work,
)
from ohmstead.stations import chargers_service, history
from ohmstead.stations.chargers_queries import connectors_of
from ohmstead.stations.chargers_schemas import CONNECTORS_MAX, ChargerChange, ChargerIn
from ohmstead.stations.models import Charger, Connector

COLUMNS = {
    "id": Column(kinds.text),
    "name": Column(kinds.text),
    "station": Column(kinds.text),
    "vendor": Column(kinds.text),
    "model": Column(kinds.text),
    "serial_number": Column(kinds.text),
    "status": Column(kinds.text),
    "connectors": Column(kinds.connectors),
    "registration": Column(kinds.text),
    "ocpp_version": Column(kinds.text),
    "security_profile": Column(kinds.whole),
    "password": Column(kinds.text),
    "tolerant": Column(kinds.truth, lambda value: str(value).lower()),
    "free_vend": Column(kinds.truth, lambda value: str(value).lower()),
    "backoffice_id": Column(kinds.identifier),
}

Found = Row[str, str, datetime | None, UUID | None, UUID | None]
"""Of a charger that there is: its id, registration, whether it came by itself, station and business."""


async def _plan(means: Means, line: Line) -> Plan:
    """A charger is known by its identity; its station by name or id. Passwords are taken and never given.

    One that came by itself is adopted as by a PUT; that it is Pending, as an export says, decides nothing.
    """
    cells = dict(line.cells)
    faults = Faults(line)
    business = await business_of(means, line, faults)
    told, charger_id = cells.pop("station", None), cells.get("id")
    station = None if told is None else await _station(means, told, faults)
    if station is not None:
        cells["station_id"] = station.id
    row = await _charger(means, charger_id, faults)
    home = station.backoffice_id if station is not None else None
    if told is None and row is not None and row.station_id is not None:
        home = row.backoffice_id
    _tell_other_business(means, business, home, row, faults)
    if home is not None or means.principal.role is not Role.SYSTEM_ADMIN:
        cells.pop("backoffice_id", None)  # it says what is so in any case
    wanted: ChargerIn | ChargerChange | None
    if row is None:
        wanted = faults.wanted(ChargerIn, cells)
    else:
        del cells["id"]
        if row.unregistered_since is not None and cells.get("registration") == row.registration:
            del cells["registration"]
        await _tell_connectors_in_use(means, row, cells.get("connectors"), faults)
        wanted = faults.wanted(ChargerChange, cells)
    about = None if charger_id is None else ("charger", charger_id)
    write = None if wanted is None else partial(_write, means, row, wanted)
    return Plan(faults, "id", about, write)


async def _station(means: Means, told: str, faults: Faults) -> FoundStation | None:
    """Return the station that a line names, by its id or its name; tell when that is not one station."""
    try:
        found = await station_of_id(means, kinds.identifier(told))
    except ValueError:
        found = await stations_named(means, told, Business(None))
    if not found:
        faults.tell("station", f"there is no station {told!r}: import it first, or leave it out")
    elif len(found) > 1:
        faults.tell("station", many(told))
    return found[0] if len(found) == 1 else None


async def _charger(means: Means, charger_id: str | None, faults: Faults) -> Found | None:
    """Return the caller's charger of an id; tell when somebody else has it."""
    if charger_id is None:
        return None
    query = select(
        Charger.id,
        Charger.registration,
        Charger.unregistered_since,
        Charger.station_id,
        Charger.backoffice_id,
    ).where(Charger.id == charger_id)
    query = means.principal.within(query, Charger.backoffice_id, Charger.station_id)
    row = (await means.session.execute(query)).one_or_none()
    if row is None:
        taken = await chargers_service.id_taken(means.session, means.principal, charger_id)
        if taken is not None:
            faults.tell("id", taken.message)
    return row


def _tell_other_business(
    means: Means, business: Business, home: UUID | None, row: Found | None, faults: Faults
) -> None:
    """Tell a business that the charger cannot belong to; `home` is that of its station, where it has one."""
    if means.principal.role is not Role.SYSTEM_ADMIN or business.id is None:
        return
    if home is not None:
        if business.id != home:
            faults.tell("backoffice_id", "is not the business of the station: leave it out")
    elif row is None or business.id != row.backoffice_id:
        tell_not_at_work(business, faults)


async def _tell_connectors_in_use(means: Means, row: Found, wanted: Any, faults: Faults) -> None:
    """Tell a number of connectors that would take away some whose sessions need their place."""
    if not isinstance(wanted, int) or not 1 <= wanted <= CONNECTORS_MAX:
        return
    above = exists().where(Connector.charger_id == row.id, Connector.connector_id > wanted)
    if await means.session.scalar(select(above)) and await history.sessions_of_charger(
        means.session, row.id, above_connector=wanted
    ):
        what = f"connectors above {wanted} had sessions and cannot be taken away"
        faults.tell("connectors", f"{what}: give a larger number")


async def _write(
    means: Means, row: Found | None, wanted: ChargerIn | ChargerChange, outcome: Outcome
) -> None:
    who = means.session, means.principal, means.now
    if isinstance(wanted, ChargerIn):
        written = await chargers_service.create_charger(*who, wanted, key=means.signing_key)
        outcome.created += 1
    elif row is not None:
        written = await chargers_service.change_charger(*who, row.id, wanted, key=means.signing_key)
        outcome.changed += 1
        if written.reconnect:
            means.reconnect.append(row.id)
        elif written.adopted:
            means.adopted.append(row.id)
    if written.password is not None:
        outcome.passwords[written.charger.id] = written.password


async def _rows(
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
    own = set(COLUMNS) - {"station", "connectors", "password"}
    return [
        {name: plain(getattr(row, name)) for name in own}
        | {
            "station": plain(row.station_id),
            "connectors": kinds.written_connectors(plugs[row.id]) or None,
        }
        for row in rows
    ]


CHARGERS = Table("chargers", "id", COLUMNS, _plan, _rows)

"""Reads of chargers."""

from collections import defaultdict
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, func, literal, or_, select, true
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.models import Role
from ohmstead.accounts.principal import Principal
from ohmstead.core.db import UtcDateTime
from ohmstead.core.errors import NotFound
from ohmstead.core.paging import Order, Page, Paging, containing, number_key, text_key, time_key
from ohmstead.link.links import Links
from ohmstead.stations.chargers_schemas import (
    ChargerOut,
    ConnectorOut,
    ReportOut,
    StationName,
    StatusEventOut,
)
from ohmstead.stations.models import (
    Charger,
    ChargerReport,
    Connector,
    ConnectorStatus,
    Registration,
    Station,
    StatusEvent,
)

NEVER = literal(datetime(1970, 1, 1, tzinfo=UTC), UtcDateTime())
"""Where a charger that was never seen stands in an order by `last_seen`."""

ORDER = Order(
    keys={
        "id": text_key(Charger.id),
        "last_seen": time_key(func.coalesce(Charger.last_seen, NEVER, type_=UtcDateTime())),
    },
    tie=text_key(Charger.id),
    default="id",
)
HISTORY_ORDER = Order(keys={"at": time_key(StatusEvent.at)}, tie=number_key(StatusEvent.id), default="-at")
REPORT_ORDER = Order(
    keys={"id": number_key(ChargerReport.id)}, tie=number_key(ChargerReport.id), default="-id"
)


async def get_charger(
    session: AsyncSession, principal: Principal, charger_id: str, *, lock: bool = False
) -> Charger:
    """Return a charger of the caller's scope. Raises `NotFound`.

    `lock` keeps others from changing the row until the unit of work ends; sessions may still begin.
    """
    query = principal.within(
        select(Charger).where(Charger.id == charger_id), Charger.backoffice_id, Charger.station_id
    )
    if lock:
        query = query.with_for_update(key_share=True)
    charger = (await session.execute(query)).scalar_one_or_none()
    if charger is None:
        raise NotFound(f"There is no charger {charger_id}.", code="ChargerNotFound")
    return charger


def told_to(principal: Principal, moment: Any) -> ColumnElement[bool]:
    """Return the condition that what a charger said at `moment` was said to the business that has it now.

    For queries that are joined to `Charger`. A SystemAdmin sees also what it said before.
    """
    if principal.role is Role.SYSTEM_ADMIN:
        return true()
    return or_(Charger.owned_since.is_(None), moment >= Charger.owned_since)


def seen_since(principal: Principal, charger: Charger) -> datetime | None:
    """Return the moment from which on the caller sees what a charger said; None is from the beginning."""
    return None if principal.role is Role.SYSTEM_ADMIN else charger.owned_since


async def list_chargers(
    session: AsyncSession,
    principal: Principal,
    links: Links,
    paging: Paging,
    *,
    station: UUID | None = None,
    backoffice_id: UUID | None = None,
    online: bool | None = None,
    registration: Registration | None = None,
    status: ConnectorStatus | None = None,
    simulated: bool | None = None,
    retired: bool = False,
    sort: str | None = None,
) -> Page[ChargerOut]:
    """Return a page of the caller's chargers; `q` searches id, name, serial number, vendor and model.

    `status` keeps chargers of which at least one connector has it (connector 0 too). `retired` shows
    the retired ones instead of the others.
    """
    query = principal.within(select(Charger), Charger.backoffice_id, Charger.station_id)
    if retired:
        query = query.where(Charger.retired_at.is_not(None))
    else:
        query = query.where(Charger.retired_at.is_(None))
    for column, wanted in (
        (Charger.station_id, station),
        (Charger.backoffice_id, backoffice_id),
        (Charger.online, online),
        (Charger.registration, registration),
        (Charger.simulated, simulated),
    ):
        if wanted is not None:
            query = query.where(column == wanted)
    if status is not None:
        having = select(Connector.charger_id).where(Connector.charger_id == Charger.id)
        query = query.where(having.where(Connector.status == status).exists())
    searched = (Charger.id, Charger.name, Charger.serial_number, Charger.vendor, Charger.model)
    found = await ORDER.slice(session, query.where(containing(paging.q, *searched)), paging, sort)
    return found.page(await show_chargers(session, found.rows, links))


async def show_charger(session: AsyncSession, charger: Charger, links: Links) -> ChargerOut:
    """Return one charger as it goes out."""
    return (await show_chargers(session, [charger], links))[0]


async def show_chargers(
    session: AsyncSession, chargers: Collection[Charger], links: Links
) -> list[ChargerOut]:
    """Return chargers as they go out, with connectors and stations in one query each.

    `last_seen` of a connected charger is the fresher of the database's and the socket's.
    """
    connectors: dict[str, list[ConnectorOut]] = defaultdict(list)
    for connector in await connectors_of(session, [charger.id for charger in chargers]):
        connectors[connector.charger_id].append(ConnectorOut.model_validate(connector))
    station_ids = {charger.station_id for charger in chargers if charger.station_id is not None}
    stations = await session.execute(select(Station.id, Station.name).where(Station.id.in_(station_ids)))
    names = {row.id: StationName(id=row.id, name=row.name) for row in stations}
    return [
        ChargerOut.model_validate(
            {
                **{column: getattr(charger, column) for column in _COLUMNS},
                "station": names.get(charger.station_id) if charger.station_id else None,
                "connectors": [one for one in connectors[charger.id] if one.connector_id > 0],
                "whole": next((one for one in connectors[charger.id] if one.connector_id == 0), None),
                "has_password": charger.password_hash is not None,
                "last_seen": last_seen(charger, links),
            }
        )
        for charger in chargers
    ]


_COLUMNS = ChargerOut.model_fields.keys() - {"station", "connectors", "whole", "has_password", "last_seen"}


def last_seen(charger: Charger, links: Links) -> datetime | None:
    """Return the later of what the database and the socket know; None for one that was never seen."""
    link = links.get(charger.id)
    if link is None or charger.last_seen is None:
        return charger.last_seen if link is None else link.last_seen
    return max(charger.last_seen, link.last_seen)


async def connectors_of(session: AsyncSession, charger_ids: Collection[str]) -> list[Connector]:
    """Return the connectors of chargers in the order of their numbers."""
    query = (
        select(Connector)
        .where(Connector.charger_id.in_(charger_ids))
        .order_by(Connector.charger_id, Connector.connector_id)
        .execution_options(populate_existing=True)
    )
    return list((await session.execute(query)).scalars())


async def status_history(
    session: AsyncSession,
    principal: Principal,
    charger_id: str,
    paging: Paging,
    *,
    connector_id: int | None = None,
) -> Page[StatusEventOut]:
    """Return a page of the notifications of a charger, the newest by its own clock first."""
    charger = await get_charger(session, principal, charger_id)
    query = select(StatusEvent).where(StatusEvent.charger_id == charger_id)
    since = seen_since(principal, charger)
    if since is not None:
        query = query.where(StatusEvent.received_at >= since)
    if connector_id is not None:
        query = query.where(StatusEvent.connector_id == connector_id)
    found = await HISTORY_ORDER.slice(session, query, paging)
    return found.page(StatusEventOut.model_validate(row) for row in found.rows)


async def reports(
    session: AsyncSession,
    principal: Principal,
    charger_id: str,
    paging: Paging,
    *,
    action: str | None = None,
) -> Page[ReportOut]:
    """Return a page of the reports of a charger, the last to arrive first."""
    charger = await get_charger(session, principal, charger_id)
    query = select(ChargerReport).where(ChargerReport.charger_id == charger_id)
    since = seen_since(principal, charger)
    if since is not None:
        query = query.where(ChargerReport.received_at >= since)
    if action is not None:
        query = query.where(ChargerReport.action == action)
    found = await REPORT_ORDER.slice(session, query, paging)
    return found.page(ReportOut.model_validate(row) for row in found.rows)

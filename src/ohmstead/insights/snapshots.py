"""What a live listener is told first: how things stand now, read after it has begun to listen."""

from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.principal import Principal
from ohmstead.charging.events import session_data
from ohmstead.charging.queries import active_sessions
from ohmstead.core.live import Topic
from ohmstead.stations.models import Charger, Connector

Items = list[dict[str, Any]]
Snapshot = Callable[[AsyncSession, Principal, str | None, int], Awaitable[Items]]
"""Reads at most so many items of the caller's scope, of one charger if its id is given."""


async def chargers(session: AsyncSession, principal: Principal, charger_id: str | None, limit: int) -> Items:
    """Read the chargers that are not retired."""
    columns = (
        Charger.id,
        Charger.name,
        Charger.station_id,
        Charger.online,
        Charger.last_seen,
        Charger.registration,
        Charger.status,
        Charger.simulated,
    )
    query = principal.within(select(*columns), Charger.backoffice_id, Charger.station_id)
    query = query.where(Charger.retired_at.is_(None)).order_by(Charger.id).limit(limit)
    if charger_id is not None:
        query = query.where(Charger.id == charger_id)
    return [dict(row) for row in (await session.execute(query)).mappings()]


async def connectors(
    session: AsyncSession, principal: Principal, charger_id: str | None, limit: int
) -> Items:
    """Read the connectors of chargers that are not retired; `since` is when the status became what it is."""
    columns = (
        Connector.charger_id,
        Connector.connector_id,
        Connector.status,
        Connector.error_code,
        Connector.info,
        Connector.status_since.label("since"),
    )
    query = select(*columns).join(Charger, Charger.id == Connector.charger_id)
    query = principal.within(query, Charger.backoffice_id, Charger.station_id)
    query = query.where(Charger.retired_at.is_(None))
    query = query.order_by(Connector.charger_id, Connector.connector_id).limit(limit)
    if charger_id is not None:
        query = query.where(Connector.charger_id == charger_id)
    return [dict(row) for row in (await session.execute(query)).mappings()]


async def sessions(session: AsyncSession, principal: Principal, charger_id: str | None, limit: int) -> Items:
    """Read the open sessions as their events show them, newest first."""
    rows = await active_sessions(session, principal, charger_id=charger_id, limit=limit)
    return [session_data(row) for row in rows]


SNAPSHOTS: dict[Topic, Snapshot] = {
    Topic.CHARGERS: chargers,
    Topic.CONNECTORS: connectors,
    Topic.SESSIONS: sessions,
}
"""The application adds the topics of the domains that this one does not know (alerts)."""

"""What other domains keep about stations and chargers, by the names of their tables.

Stations lie below charging and the gateway and may not import them; but a charger with sessions must not be
deleted, and a simulated one goes together with all that it left behind. Only the columns named here
are known, and a test holds them against the real schema.
"""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import Boolean, String, Uuid, column, delete, exists, func, select, table
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.core.db import UtcDateTime
from ohmstead.stations.models import Charger

SESSIONS = table(
    "charging_session",
    column("charger_id", String),
    column("station_id", Uuid),
    column("connector_id"),
    column("simulated", Boolean),
)
METER_VALUES, MESSAGES, STATUS_EVENTS = (
    table(name, column("charger_id", String), column("received_at", UtcDateTime()))
    for name in ("charging_meter_value", "gateway_message", "stations_status_event")
)
KEPT_BY_ID = (METER_VALUES, MESSAGES, STATUS_EVENTS)
"""Tables that name a charger without a foreign key: the database does not clear them by itself."""


async def sessions_of_charger(
    session: AsyncSession, charger_id: str, *, above_connector: int = 0, simulated: bool | None = None
) -> int:
    """Count the sessions of a charger: all, those of connectors above a number, simulated or real ones."""
    query = select(func.count()).select_from(SESSIONS).where(SESSIONS.c.charger_id == charger_id)
    if above_connector:
        query = query.where(SESSIONS.c.connector_id > above_connector)
    if simulated is not None:
        query = query.where(SESSIONS.c.simulated == simulated)
    return int((await session.execute(query)).scalar_one())


async def with_real_sessions(session: AsyncSession, charger_ids: Collection[str]) -> set[str]:
    """Return those of these chargers that have a session which was not simulated."""
    query = select(SESSIONS.c.charger_id).where(SESSIONS.c.charger_id.in_(charger_ids))
    return set((await session.execute(query.where(~SESSIONS.c.simulated).distinct())).scalars())


async def sessions_of_station(session: AsyncSession, station_id: UUID) -> int:
    """Count the sessions that were charged at a station, whichever chargers it has now."""
    query = select(func.count()).select_from(SESSIONS).where(SESSIONS.c.station_id == station_id)
    return int((await session.execute(query)).scalar_one())


async def forget_simulated_sessions(session: AsyncSession, charger_ids: Collection[str]) -> None:
    """Delete the simulated sessions of chargers. A real one stays, whatever was counted before."""
    mine = SESSIONS.c.charger_id.in_(charger_ids)
    await session.execute(delete(SESSIONS).where(mine, SESSIONS.c.simulated))


async def forget_traces(session: AsyncSession, charger_ids: Collection[str]) -> None:
    """Delete the meter values, logged messages and status events of chargers that are deleted.

    The id of a deleted charger is free again, also for another business: it must not find there what
    the charger of the first one said. What a charger says that has the id again by now stays.
    """
    for kept in KEPT_BY_ID:
        said_since = exists().where(
            Charger.id == kept.c.charger_id,
            kept.c.received_at >= func.coalesce(Charger.owned_since, Charger.created_at),
        )
        await session.execute(delete(kept).where(kept.c.charger_id.in_(charger_ids), ~said_since))

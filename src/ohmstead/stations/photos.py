"""Photos of stations: sent by their operators, shown to everybody."""

from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.audit import record_row, state
from ohmstead.accounts.principal import Principal
from ohmstead.core.config import Settings
from ohmstead.core.files import StoredFile, keep
from ohmstead.stations.models import Station
from ohmstead.stations.queries import get_station
from ohmstead.stations.service import let_photo_go, touch

KIND: Final = "Photo"
"""The name of what keeps the files of photos."""


def photo_url(settings: Settings, photo_id: UUID) -> str:
    """Return the address of a photo of ours; another photo has another one, so it may be cached for ever."""
    return f"{settings.public_url}/photos/{photo_id}.jpg"


async def set_photo(
    session: AsyncSession,
    principal: Principal,
    settings: Settings,
    now: datetime,
    *,
    station_id: UUID,
    file_id: UUID | None,
) -> Station:
    """Give a station a photo that has been stored, or none, in place of the one it had.

    Raises `NotFound` for a station that is not the caller's.
    """
    station = await get_station(session, principal, station_id, lock=True)
    before = state(station)
    await let_photo_go(session, station, now)
    station.photo_url = None
    if file_id is not None:
        await keep(session, file_id, KIND, f"{station_id}.jpg", now)
        station.photo_id, station.photo_url = file_id, photo_url(settings, file_id)
    touch(station, now)
    await session.flush()
    await record_row(session, "station.updated", station, before)
    return station


async def find_photo(session: AsyncSession, photo_id: UUID) -> StoredFile | None:
    """Return a photo that some station shows now."""
    query = (
        select(StoredFile)
        .join(Station, Station.photo_id == StoredFile.id)
        .where(StoredFile.id == photo_id, StoredFile.dropped_at.is_(None))
    )
    return (await session.execute(query)).scalar_one_or_none()

"""Whose stations are. They belong to a domain above this one: all that is asked here is their business."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import column, select, table
from sqlalchemy.ext.asyncio import AsyncSession

_stations = table("stations_station", column("id"), column("backoffice_id"))


async def strange_stations(
    session: AsyncSession, backoffice_id: UUID | None, station_ids: Collection[UUID]
) -> list[UUID]:
    """Return those of the ids that are of no station of a business, in order."""
    if not station_ids:
        return []
    own = select(_stations.c.id).where(
        _stations.c.backoffice_id == backoffice_id, _stations.c.id.in_(station_ids)
    )
    return sorted(set(station_ids) - set((await session.execute(own)).scalars()))

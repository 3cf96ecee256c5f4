"""Whose stations are. They belong to a domain above this one: all that is asked here is their business."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import column, select, table
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.core.errors import Invalid

_stations = table("stations_station", column("id"), column("backoffice_id"))


async def require_own_stations(
    session: AsyncSession, backoffice_id: UUID | None, station_ids: Collection[UUID], *, field: str, rule: str
) -> None:
    """Raise `Invalid` unless all of these stations are of this business; they are until the commit then.

    `rule` is what is told, and `field` the member that came with the ids. A station that somebody is about to
    delete or to move is waited for by nobody, and counts as gone.
    """
    if not station_ids:
        return
    own = select(_stations.c.id).where(
        _stations.c.backoffice_id == backoffice_id, _stations.c.id.in_(station_ids)
    )
    own = own.with_for_update(key_share=True, read=True, skip_locked=True)
    strange = sorted(set(station_ids) - set((await session.execute(own)).scalars()))
    if strange:
        names = ", ".join(map(str, strange[:5]))
        raise Invalid(rule, fields={field: f"are no stations of this business: {names}"})

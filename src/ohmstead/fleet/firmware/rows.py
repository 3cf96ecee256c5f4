"""The rows of updates: found and locked, noted upon, ended."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import exists, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts import audit
from ohmstead.core.acting import charger_acting
from ohmstead.core.file_links import end_link
from ohmstead.core.text import storable
from ohmstead.fleet.campaigns.service import item_ended
from ohmstead.fleet.firmware.models import (
    DETAIL_MAX,
    KIND,
    STATUS_MAX,
    FirmwareEvent,
    FirmwareUpdate,
    UpdateState,
)
from ohmstead.stations.models import Charger

LINK_ENDS = (UpdateState.INSTALLED, UpdateState.REPLACED)
"""With these the link of an update has served its use. One that failed, or of which nothing was heard, may
go on by a word of its charger, and the charger downloads once more for that.
"""


async def open_update(session: AsyncSession, charger_id: str) -> FirmwareUpdate | None:
    """Return the update of a charger that is not over, locked."""
    query = (
        select(FirmwareUpdate)
        .where(FirmwareUpdate.charger_id == charger_id, FirmwareUpdate.ended_at.is_(None))
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return (await session.execute(query)).scalar_one_or_none()


async def locked(session: AsyncSession, update_id: UUID) -> FirmwareUpdate:
    """Return an update that is there, locked and as it is now."""
    query = (
        select(FirmwareUpdate)
        .where(FirmwareUpdate.id == update_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return (await session.execute(query)).scalar_one()


async def end(
    session: AsyncSession,
    row: FirmwareUpdate,
    state: UpdateState,
    detail: str,
    now: datetime,
    *,
    tell: bool = True,
) -> None:
    """End an update, and tell the campaign that waits for it.

    Not with `tell=False`, where the work of the campaign is just going on and tells by its own outcome; and
    not of an update that was followed by another one, which a campaign may be waiting for by now.
    """
    before = audit.state(row)
    row.state, row.updated_at, row.ended_at = state, now, now
    row.detail = storable(detail, DETAIL_MAX)
    await session.flush()
    charger = await session.get(Charger, row.charger_id)
    by = charger_acting(row.charger_id)
    await audit.record_row(session, "firmware_update.ended", row, before, at=charger, by=by)
    if row.link_id is not None and state in LINK_ENDS:
        await end_link(session, row.link_id, now)
    if not (tell and row.by_campaign) or await _is_followed(session, row):
        return
    ok = state is UpdateState.INSTALLED
    told = detail or (f"Installed {row.version}." if row.version else "Installed.")
    evidence = {"update_id": str(row.id), "status": row.status}
    await item_ended(session, row.charger_id, KIND, ok=ok, detail=told, now=now, evidence=evidence)


async def _is_followed(session: AsyncSession, row: FirmwareUpdate) -> bool:
    later = exists().where(
        FirmwareUpdate.charger_id == row.charger_id,
        FirmwareUpdate.by_campaign,
        FirmwareUpdate.created_at > row.created_at,
    )
    return bool((await session.execute(select(later))).scalar_one())


async def note(session: AsyncSession, update_id: UUID, status: str, now: datetime, detail: str = "") -> None:
    """Write an event; the same one again right after it is counted."""
    status, detail = storable(status, STATUS_MAX), storable(detail, DETAIL_MAX)
    last = (
        select(FirmwareEvent.id)
        .where(FirmwareEvent.update_id == update_id)
        .order_by(FirmwareEvent.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    again = (
        update(FirmwareEvent)
        .where(FirmwareEvent.id == last, FirmwareEvent.status == status, FirmwareEvent.detail == detail)
        .values(times=FirmwareEvent.times + 1, last_at=now)
        .returning(FirmwareEvent.id)
    )
    if (await session.execute(again)).scalar_one_or_none() is None:
        session.add(FirmwareEvent(update_id=update_id, at=now, last_at=now, status=status, detail=detail))
        await session.flush()

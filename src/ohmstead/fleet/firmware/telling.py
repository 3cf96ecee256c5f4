"""What chargers tell of updates, and what they do not: their words, their boots, their silence.

Whoever changes an update locks its row. A campaign that waits for the end is told of it in the same
transaction.
"""

from datetime import datetime, timedelta

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.core.text import storable
from ohmstead.fleet.firmware.models import OPEN, STATUS_MAX, FirmwareUpdate, UpdateState
from ohmstead.fleet.firmware.progress import (
    DOWNLOAD_FAILED,
    FAILURES,
    IDLE,
    confirmed_by_boot,
    same_version,
    state_after,
)
from ohmstead.fleet.firmware.rows import end, locked, note, open_update
from ohmstead.stations.models import Charger

LATE = timedelta(hours=6)
"""So long after its end a word without a request id is still taken for the last update of a charger."""
BOOTS = timedelta(days=60)
"""A boot longer after an update has nothing to do with it."""


async def told(
    session: AsyncSession,
    charger_id: str,
    status: str,
    request_id: int | None,
    now: datetime,
    *,
    signed: bool,
) -> None:
    """Take a word of a charger about an update: by its request id, else for the one that it must mean.

    A word about no update of ours changes nothing: it is in the reports of the charger.
    """
    status = storable(status, STATUS_MAX)
    row = await _meant(session, charger_id, request_id, now, signed=signed)
    if row is None:
        return
    if status == IDLE:
        if row.ended_at is None:
            await note(session, row.id, status, now)
        return
    await note(session, row.id, status, now)
    if status == DOWNLOAD_FAILED:
        row.failures += 1
    tries_left = row.retries is not None and row.failures <= row.retries
    may_open = row.ended_at is None or await open_update(session, charger_id) is None
    after = state_after(
        UpdateState(row.state),
        status,
        confirmed=row.confirmed is True,
        tries_left=tries_left,
        may_open=may_open,
    )
    if after in OPEN:
        row.state, row.status, row.ended_at, row.updated_at = after, status, None, now
        row.detail = f"{FAILURES[status]} It was told to try again." if status in FAILURES else ""
        row.deadline_at = now + timedelta(seconds=row.patience_seconds)
        await session.flush()
    elif after != row.state:
        row.status = status
        if after is UpdateState.INSTALLED:
            await _confirm_installed(session, row)
        await end(session, row, after, FAILURES.get(status, ""), now)


async def _confirm_installed(session: AsyncSession, row: FirmwareUpdate) -> None:
    """Look whether the charger has booted with the new version already, as it must before it says so."""
    query = select(Charger.firmware_version, Charger.last_boot_at).where(Charger.id == row.charger_id)
    version, booted_at = (await session.execute(query)).one()
    if booted_at is not None and booted_at >= row.created_at and same_version(version, row.version):
        row.confirmed, row.version_after = True, version


async def booted(session: AsyncSession, charger_id: str, now: datetime) -> None:
    """Look at an accepted boot: does the charger run what it was told to install?

    Called in the transaction of the boot, after its version was written.
    """
    query = (
        select(FirmwareUpdate.id, FirmwareUpdate.confirmed, FirmwareUpdate.state)
        .where(FirmwareUpdate.charger_id == charger_id, FirmwareUpdate.created_at > now - BOOTS)
        .order_by(FirmwareUpdate.created_at.desc(), FirmwareUpdate.id.desc())
        .limit(1)
    )
    newest = (await session.execute(query)).one_or_none()
    if newest is None or newest.confirmed or newest.state not in {*OPEN, UpdateState.INSTALLED}:
        return
    row = await locked(session, newest.id)
    version = await session.scalar(select(Charger.firmware_version).where(Charger.id == charger_id))
    said = confirmed_by_boot(
        state=UpdateState(row.state),
        status=row.status,
        expected=row.version,
        before=row.version_before,
        booted=version,
    )
    if said is None or said == row.confirmed:
        return
    row.confirmed, row.version_after, row.updated_at = said, version, now
    if said:
        row.detail = ""
        await note(session, row.id, "Confirmed", now, f"It has booted with {version}.")
        if row.ended_at is None:
            await end(session, row, UpdateState.INSTALLED, "", now)
    else:
        row.detail = f"The charger says that it is installed, but it has booted with {version}."
        await note(session, row.id, "NotConfirmed", now, row.detail)
    await session.flush()


async def overdue(session: AsyncSession, now: datetime) -> bool:
    """End one update of which nothing was heard for too long; returns whether there was one."""
    query = (
        select(FirmwareUpdate)
        .where(FirmwareUpdate.ended_at.is_(None), FirmwareUpdate.deadline_at <= now)
        .order_by(FirmwareUpdate.deadline_at)
        .limit(1)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    row = (await session.execute(query)).scalar_one_or_none()
    if row is None:
        return False
    state = UpdateState.EXPIRED
    why = f"Nothing was heard of it for {round(row.patience_seconds / 3600)} hours."
    if row.state == UpdateState.REQUESTED:
        state = UpdateState.FAILED
        why = "The server ended before the charger had answered: whether it took it is not known."
    elif row.status in FAILURES:
        state, why = UpdateState.FAILED, FAILURES[row.status]
    await note(session, row.id, UpdateState.EXPIRED, now, why)
    await end(session, row, state, why, now)
    return True


async def _meant(
    session: AsyncSession, charger_id: str, request_id: int | None, now: datetime, *, signed: bool
) -> FirmwareUpdate | None:
    """Return the update that a word is about, locked."""
    query = select(FirmwareUpdate).where(FirmwareUpdate.charger_id == charger_id)
    if request_id is not None:
        query = query.where(FirmwareUpdate.request_id == request_id)
    else:
        # A charger that was asked for a signed update may still speak of it in the old way, not vice versa.
        query = query.where(
            or_(FirmwareUpdate.ended_at.is_(None), FirmwareUpdate.ended_at > now - LATE),
            *([FirmwareUpdate.signed] if signed else []),
        )
    query = (
        query.order_by(FirmwareUpdate.ended_at.is_not(None), FirmwareUpdate.created_at.desc())
        .limit(1)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return (await session.execute(query)).scalar_one_or_none()

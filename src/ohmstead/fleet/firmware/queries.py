"""Reads of updates."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.principal import Principal
from ohmstead.core.paging import Order, Page, Paging, containing, number_key, time_key, uuid_key
from ohmstead.fleet.firmware.errors import no_update
from ohmstead.fleet.firmware.models import FirmwareEvent, FirmwareUpdate, UpdateState
from ohmstead.fleet.firmware.schemas import UpdateEventOut, UpdateOut
from ohmstead.stations.chargers_queries import told_to
from ohmstead.stations.models import Charger

ORDER = Order(
    keys={"created_at": time_key(FirmwareUpdate.created_at)},
    tie=uuid_key(FirmwareUpdate.id),
    default="-created_at",
)
EVENT_ORDER = Order(
    keys={"id": number_key(FirmwareEvent.id)}, tie=number_key(FirmwareEvent.id), default="-id"
)


async def get_update(session: AsyncSession, principal: Principal, update_id: UUID) -> FirmwareUpdate:
    """Return an update of a charger of the caller. Raises `NotFound`."""
    query = (
        select(FirmwareUpdate)
        .join(Charger, Charger.id == FirmwareUpdate.charger_id)
        .where(FirmwareUpdate.id == update_id, told_to(principal, FirmwareUpdate.created_at))
    )
    scoped = principal.within(query, Charger.backoffice_id, Charger.station_id)
    row = (await session.execute(scoped)).scalar_one_or_none()
    if row is None:
        raise no_update(update_id)
    return row


async def list_updates(
    session: AsyncSession,
    principal: Principal,
    paging: Paging,
    *,
    charger_id: str | None = None,
    firmware_id: UUID | None = None,
    state: UpdateState | None = None,
    is_open: bool | None = None,
    sort: str | None = None,
) -> Page[UpdateOut]:
    """Return a page of updates of the caller's chargers, newest first; `q` searches charger and version."""
    query = select(FirmwareUpdate).join(Charger, Charger.id == FirmwareUpdate.charger_id)
    query = principal.within(query, Charger.backoffice_id, Charger.station_id)
    query = query.where(told_to(principal, FirmwareUpdate.created_at))
    for column, wanted in (
        (FirmwareUpdate.charger_id, charger_id),
        (FirmwareUpdate.firmware_id, firmware_id),
        (FirmwareUpdate.state, state),
    ):
        if wanted is not None:
            query = query.where(column == wanted)
    if is_open is not None:
        still = FirmwareUpdate.ended_at.is_(None)
        query = query.where(still if is_open else ~still)
    query = query.where(containing(paging.q, FirmwareUpdate.charger_id, FirmwareUpdate.version))
    found = await ORDER.slice(session, query, paging, sort)
    return found.page(UpdateOut.model_validate(row) for row in found.rows)


async def history(session: AsyncSession, update_id: UUID, paging: Paging) -> Page[UpdateEventOut]:
    """Return a page of what happened in an update, the last first."""
    query = select(FirmwareEvent).where(FirmwareEvent.update_id == update_id)
    found = await EVENT_ORDER.slice(session, query, paging)
    return found.page(UpdateEventOut.model_validate(row) for row in found.rows)

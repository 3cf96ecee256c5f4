"""`/api/admin/chargers/{id}/firmware-updates` and `/api/admin/firmware-updates`."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request

from ohmstead.accounts.access import Caller
from ohmstead.accounts.limits import Subject, limited_caller
from ohmstead.core.db import Database
from ohmstead.core.http import Now, UnitOfWork
from ohmstead.core.openapi import refuses
from ohmstead.core.paging import Page, Paging
from ohmstead.core.text import Text
from ohmstead.fleet.firmware import images, queries, service
from ohmstead.fleet.firmware.models import UpdateState
from ohmstead.fleet.firmware.schemas import UpdateEventOut, UpdateIn, UpdateOut
from ohmstead.stations.attending import attended
from ohmstead.stations.chargers_queries import get_charger
from ohmstead.stations.parameters import ChargerId

router = APIRouter(prefix="/api/admin", tags=["Firmware"])

UpdateId = Annotated[UUID, Path(description="The id of a firmware update.")]
State = Annotated[UpdateState | None, Query(description="Only those in this state.")]
Open = Annotated[
    bool | None, Query(alias="open", description="Only those that are not over, or only others.")
]
Sort = Annotated[str | None, Query(description="`created_at`; `-` before it: falling.")]


@router.post(
    "/chargers/{charger_id}/firmware-updates",
    status_code=201,
    responses=refuses(409, "The charger is not connected, or has an open update."),
    dependencies=[limited_caller(Subject.COMMAND)],
)
async def update_firmware(
    request: Request, principal: Caller, now: Now, charger_id: ChargerId, body: UpdateIn
) -> UpdateOut:
    """Have a charger install firmware (UpdateFirmware, or SignedUpdateFirmware with `signing`).

    Answers with the update as it stands when the charger has answered: one that the charger refused is
    `Failed`. How it goes on is told by the charger: see the history.
    """
    state = request.app.state
    database: Database = state.database
    async with database.session() as session:
        charger = await get_charger(session, principal, charger_id, lock=True)
        if body.firmware_id is not None:
            await images.get_image(session, principal, body.firmware_id)
        begun = await service.begin(session, state.settings, charger, body, now, replace=body.replace)
    async with attended(request):
        row, _ = await service.ask(database, state.commands, state.clock, begun)
    return UpdateOut.model_validate(row)


@router.get("/chargers/{charger_id}/firmware-updates")
async def list_updates_of_charger(
    *,
    session: UnitOfWork,
    principal: Caller,
    paging: Annotated[Paging, Depends()],
    charger_id: ChargerId,
    state: State = None,
    is_open: Open = None,
    sort: Sort = None,
) -> Page[UpdateOut]:
    """List the firmware updates of a charger, the newest first; `q` searches the version."""
    await get_charger(session, principal, charger_id)
    return await queries.list_updates(
        session, principal, paging, charger_id=charger_id, state=state, is_open=is_open, sort=sort
    )


@router.get("/firmware-updates")
async def list_firmware_updates(
    *,
    session: UnitOfWork,
    principal: Caller,
    paging: Annotated[Paging, Depends()],
    charger: Annotated[Text | None, Query(max_length=48, description="Only of this charger.")] = None,
    firmware_id: Annotated[UUID | None, Query(description="Only by this image.")] = None,
    state: State = None,
    is_open: Open = None,
    sort: Sort = None,
) -> Page[UpdateOut]:
    """List firmware updates, the newest first; `q` searches charger and version."""
    return await queries.list_updates(
        session,
        principal,
        paging,
        charger_id=charger,
        firmware_id=firmware_id,
        state=state,
        is_open=is_open,
        sort=sort,
    )


@router.get("/firmware-updates/{update_id}")
async def get_firmware_update(session: UnitOfWork, principal: Caller, update_id: UpdateId) -> UpdateOut:
    """Show one firmware update."""
    return UpdateOut.model_validate(await queries.get_update(session, principal, update_id))


@router.get("/firmware-updates/{update_id}/history")
async def list_update_history(
    session: UnitOfWork, principal: Caller, paging: Annotated[Paging, Depends()], update_id: UpdateId
) -> Page[UpdateEventOut]:
    """List what happened in a firmware update, the last first: the charger's words and ours."""
    await queries.get_update(session, principal, update_id)
    return await queries.history(session, update_id, paging)

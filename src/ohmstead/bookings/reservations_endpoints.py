"""`/api/admin/reservations`, and reserving a connector of a charger."""

from datetime import UTC
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request

from ohmstead.accounts.access import Caller
from ohmstead.accounts.limits import Subject, limited_caller
from ohmstead.bookings import reservations
from ohmstead.bookings import reservations_queries as queries
from ohmstead.bookings.reservations_models import ReservationStatus
from ohmstead.bookings.reservations_outcomes import CANCEL, RESERVE
from ohmstead.bookings.reservations_schemas import ReservationOut, Reserved, ReserveIn
from ohmstead.core.db import Database
from ohmstead.core.errors import Invalid
from ohmstead.core.http import Now, UnitOfWork
from ohmstead.core.openapi import refuses
from ohmstead.core.paging import Page, Paging
from ohmstead.core.text import Text
from ohmstead.ocpp.timestamps import format_timestamp
from ohmstead.stations.attending import attended
from ohmstead.stations.commands_endpoints import Commanded, Timeout
from ohmstead.stations.commands_schemas import CommandAnswer
from ohmstead.stations.outcomes import Commands

router = APIRouter(prefix="/api/admin", tags=["Reservations"])

ASKS = {
    **refuses(409, "The charger is not connected, or left."),
    **refuses(429, "The charger is busy with earlier commands: this one was not sent."),
}
Key = Annotated[UUID, Path(description="The `id` of a reservation, not the number on the wire.")]


@router.get("/reservations")
async def list_reservations(
    *,
    session: UnitOfWork,
    principal: Caller,
    now: Now,
    paging: Annotated[Paging, Depends()],
    charger: Annotated[Text | None, Query(max_length=48, description="Only of this charger.")] = None,
    connector: Annotated[
        int | None, Query(ge=0, le=2**31 - 1, description="Only of this connector; 0 is any.")
    ] = None,
    id_tag: Annotated[Text | None, Query(max_length=20, description="Only for this tag.")] = None,
    status: Annotated[ReservationStatus | None, Query(description="Only with this status.")] = None,
    sort: Annotated[
        str | None, Query(max_length=40, description="`created_at`, `expires_at`; `-` before it: falling.")
    ] = None,
) -> Page[ReservationOut]:
    """List what chargers were asked to reserve, and what became of it, the newest first."""
    return await queries.list_reservations(
        session,
        principal,
        paging,
        now,
        charger_id=charger,
        connector_id=connector,
        id_tag=id_tag,
        status=status,
        sort=sort,
    )


@router.get("/reservations/{key}")
async def get_reservation(session: UnitOfWork, principal: Caller, now: Now, key: Key) -> ReservationOut:
    """Show one reservation."""
    return queries.show(await queries.get_reservation(session, principal, key), now)


@router.post(
    "/reservations/{key}/cancel",
    responses=ASKS,
    response_model_exclude_unset=True,
    dependencies=[limited_caller(Subject.COMMAND)],
)
async def cancel_reservation(
    request: Request, principal: Caller, key: Key, wait_seconds: Timeout = None
) -> Reserved:
    """Ask the charger to give a reservation up (CancelReservation), and answer with what it says."""
    database: Database = request.app.state.database
    async with database.session() as session:
        row = await queries.get_reservation(session, principal, key)
    commands: Commands = request.app.state.commands
    payload = {"reservationId": row.reservation_id}
    async with attended(request):
        answer = await commands.send(row.charger_id, CANCEL, payload, wait_seconds=wait_seconds)
    async with database.session() as session:
        row = await queries.get_reservation(session, principal, key)
    given = CommandAnswer.of(answer).model_dump(exclude_unset=True)
    shown = queries.show(row, commands.clock.now())
    return Reserved(**given, reservation_id=row.reservation_id, reservation=shown)


@router.post(
    "/chargers/{charger_id}/reserve",
    responses=ASKS,
    response_model_exclude_unset=True,
    dependencies=[limited_caller(Subject.BOOKING)],
)
async def reserve_connector(
    request: Request, charger_id: Commanded, now: Now, body: ReserveIn, wait_seconds: Timeout = None
) -> Reserved:
    """Ask the charger to keep a connector for an id tag (ReserveNow), and answer with what it says."""
    if body.expires_at <= now:
        raise Invalid("`expires_at` is over already.", fields={"expires_at": "must lie in the future"})
    database: Database = request.app.state.database
    commands: Commands = request.app.state.commands
    number = body.reservation_id
    if number is None:
        async with database.session() as session:
            number = await reservations.new_number(session, charger_id)
    payload: dict[str, Any] = {
        "connectorId": body.connector_id,
        "expiryDate": format_timestamp(body.expires_at.astimezone(UTC)),
        "idTag": body.id_tag,
        "reservationId": number,
    }
    if body.parent_id_tag is not None:
        payload["parentIdTag"] = body.parent_id_tag
    async with attended(request):
        answer = await commands.send(charger_id, RESERVE, payload, wait_seconds=wait_seconds)
    async with database.session() as session:
        row = await queries.newest(session, charger_id, number)
    shown = None if row is None else queries.show(row, commands.clock.now())
    given = CommandAnswer.of(answer).model_dump(exclude_unset=True)
    return Reserved(**given, reservation_id=number, reservation=shown)

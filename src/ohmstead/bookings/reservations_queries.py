"""Reads of reservations."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, literal, select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.principal import Principal
from ohmstead.bookings.reservations_models import Reservation, ReservationStatus
from ohmstead.bookings.reservations_schemas import ReservationOut
from ohmstead.core.errors import NotFound
from ohmstead.core.paging import Order, Page, Paging, containing, time_key, uuid_key
from ohmstead.stations.chargers_queries import told_to
from ohmstead.stations.models import Charger

ORDER = Order(
    keys={"created_at": time_key(Reservation.created_at), "expires_at": time_key(Reservation.expires_at)},
    tie=uuid_key(Reservation.id),
    default="-created_at",
)


async def list_reservations(
    session: AsyncSession,
    principal: Principal,
    paging: Paging,
    now: datetime,
    *,
    charger_id: str | None = None,
    connector_id: int | None = None,
    id_tag: str | None = None,
    status: ReservationStatus | None = None,
    sort: str | None = None,
) -> Page[ReservationOut]:
    """Return a page of the reservations at the caller's chargers; `q` searches charger and tags."""
    query = principal.within(
        select(Reservation).join(Charger, Charger.id == Reservation.charger_id),
        Charger.backoffice_id,
        Charger.station_id,
    ).where(
        told_to(principal, Reservation.created_at),
        containing(paging.q, Reservation.charger_id, Reservation.id_tag, Reservation.parent_id_tag),
    )
    if charger_id is not None:
        query = query.where(Reservation.charger_id == charger_id)
    if connector_id is not None:
        query = query.where(Reservation.connector_id == connector_id)
    if id_tag is not None:
        query = query.where(func.lower(Reservation.id_tag) == id_tag.lower())
    if status is not None:
        query = query.where(_has_status(status, now))
    found = await ORDER.slice(session, query, paging, sort)
    return found.page(show(row, now) for row in found.rows)


async def get_reservation(session: AsyncSession, principal: Principal, key: UUID) -> Reservation:
    """Return a reservation at a charger of the caller. Raises `NotFound`."""
    query = principal.within(
        select(Reservation)
        .join(Charger, Charger.id == Reservation.charger_id)
        .where(Reservation.id == key, told_to(principal, Reservation.created_at)),
        Charger.backoffice_id,
        Charger.station_id,
    )
    row = (await session.execute(query)).scalar_one_or_none()
    if row is None:
        raise NotFound("There is no such reservation.", code="ReservationNotFound")
    return row


async def newest(session: AsyncSession, charger_id: str, reservation_id: int) -> Reservation | None:
    """Return the newest reservation of a charger with this number."""
    query = (
        select(Reservation)
        .where(Reservation.charger_id == charger_id, Reservation.reservation_id == reservation_id)
        .order_by(Reservation.created_at.desc(), Reservation.id.desc())
        .limit(1)
    )
    return (await session.scalars(query)).one_or_none()


def show(row: Reservation, now: datetime) -> ReservationOut:
    """Return a reservation as it goes out: what is over is Expired, marked or not."""
    shown = ReservationOut.model_validate(row)
    if row.status == ReservationStatus.ACCEPTED and row.expires_at <= now:
        shown.status, shown.ended_at = ReservationStatus.EXPIRED, row.expires_at
    return shown


def _has_status(status: ReservationStatus, now: datetime) -> ColumnElement[bool]:
    over = and_(Reservation.status == ReservationStatus.ACCEPTED, Reservation.expires_at <= literal(now))
    if status is ReservationStatus.EXPIRED:
        return (Reservation.status == status) | over
    return (Reservation.status == status) & ~over

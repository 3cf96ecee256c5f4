"""What becomes of reservations: asked, answered, used, cancelled, replaced, expired.

The charger decides (OCPP 1.6 5.13): we keep what it was asked and what it said. The rules:
- A row is there before the charger is asked. Without a usable answer it is `Failed`, and where the charger
  may hold the reservation all the same it says so (`uncertain`).
- An accepted one with the same id replaces the older ones of its charger.
- It is used by the first start that names it; and by a start of its tag, or of a tag with its parent, on its
  connector (for connector 0 on any), since that ends it at the charger.
- A start of another tag on a reserved connector is taken, since the charger let it, and noted on both sides.
"""

import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.bookings.reservations_models import Reservation, ReservationStatus
from ohmstead.core.errors import Conflict, Unavailable
from ohmstead.stations.models import Connector, ConnectorStatus

MAX_RESERVATION_ID = 2**31 - 1
UNANSWERED_AFTER = timedelta(minutes=10)
"""Nobody waits so long for an answer: whoever asked was killed."""
RESERVED_FOR_OTHER = "reserved_for_other"
NOTES_MAX = 20
FREE = frozenset(
    {
        ConnectorStatus.AVAILABLE,
        ConnectorStatus.PREPARING,
        ConnectorStatus.RESERVED,
        ConnectorStatus.FINISHING,
    }
)
HELD = (ReservationStatus.PENDING, ReservationStatus.ACCEPTED)

Note = dict[str, Any]


async def new_number(session: AsyncSession, charger_id: str) -> int:
    """Return a reservation id that the charger never had: a random positive int32."""
    for _ in range(20):
        number = secrets.randbelow(MAX_RESERVATION_ID) + 1
        query = select(Reservation.id).where(
            Reservation.charger_id == charger_id, Reservation.reservation_id == number
        )
        if await session.scalar(query.limit(1)) is None:
            return number
    raise Unavailable("No free reservation id was found. Try again.")


async def asked(
    session: AsyncSession,
    charger_id: str,
    *,
    reservation_id: int,
    connector_id: int,
    id_tag: str,
    parent_id_tag: str | None,
    expires_at: datetime,
    now: datetime,
) -> Reservation:
    """Write a reservation that the charger is about to be asked for. The charger's row must be locked.

    Raises `Conflict` while it is asked for another one with the same number: which of them it took last, and
    so holds, could not be told.
    """
    asking = select(Reservation.id).where(
        Reservation.charger_id == charger_id,
        Reservation.reservation_id == reservation_id,
        Reservation.status.in_((ReservationStatus.PENDING, ReservationStatus.USED)),
        Reservation.answered_at.is_(None),
        Reservation.created_at > now - UNANSWERED_AFTER,
    )
    if await session.scalar(asking.limit(1)) is not None:
        raise Conflict(
            f"Charger {charger_id} is being asked for a reservation with the number {reservation_id}. This"
            " one was not sent: try again when that command has ended, or take another number.",
            code="ReservationPending",
        )
    row = Reservation(
        id=uuid4(),
        charger_id=charger_id,
        reservation_id=reservation_id,
        connector_id=connector_id,
        id_tag=id_tag,
        parent_id_tag=parent_id_tag,
        expires_at=expires_at,
        status=ReservationStatus.PENDING,
        detail="",
        uncertain=False,
        created_at=now,
        notes=[],
    )
    session.add(row)
    await session.flush()
    return row


async def answered(
    session: AsyncSession,
    row: Reservation,
    status: ReservationStatus,
    *,
    detail: str = "",
    uncertain: bool = False,
    now: datetime,
) -> None:
    """Write what came of asking. One that a start has used meanwhile stays used.

    An accepted one ends the older ones with its id (OCPP 1.6 5.13): they were replaced.
    """
    if row.status == ReservationStatus.PENDING:
        row.status, row.detail, row.uncertain = status, detail, uncertain
        if status is not ReservationStatus.ACCEPTED:
            row.ended_at = now
    row.answered_at = now
    await session.flush()
    if status is ReservationStatus.ACCEPTED:
        await session.execute(
            update(Reservation)
            .where(
                Reservation.charger_id == row.charger_id,
                Reservation.reservation_id == row.reservation_id,
                Reservation.id != row.id,
                Reservation.created_at <= row.created_at,
                _may_be_held(),
                Reservation.expires_at > now,
            )
            .values(
                status=ReservationStatus.CANCELLED,
                uncertain=False,
                ended_at=now,
                detail="Replaced by a newer reservation with the same id.",
            )
        )


async def pending(
    session: AsyncSession,
    charger_id: str,
    *,
    reservation_id: int,
    connector_id: int,
    id_tag: str,
    expires_at: datetime,
) -> Reservation | None:
    """Return the oldest row that waits for the answer to this very ReserveNow, locked.

    Also one that a start has used already: the charger may use it before its answer is written.
    """
    query = (
        select(Reservation)
        .where(
            Reservation.charger_id == charger_id,
            Reservation.reservation_id == reservation_id,
            Reservation.connector_id == connector_id,
            Reservation.id_tag == id_tag,
            Reservation.expires_at == expires_at,
            Reservation.answered_at.is_(None),
        )
        .order_by(Reservation.created_at, Reservation.id)
        .limit(1)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return (await session.scalars(query)).one_or_none()


async def cancelled(session: AsyncSession, charger_id: str, reservation_id: int, now: datetime) -> None:
    """End what the charger held by this id: it has accepted a CancelReservation."""
    for row in await _numbered(session, charger_id, reservation_id):
        if _holds(row) and row.expires_at > now:
            row.status, row.ended_at, row.uncertain = ReservationStatus.CANCELLED, now, False
    await session.flush()


async def not_held(session: AsyncSession, charger_id: str, reservation_id: int, now: datetime) -> None:
    """Note that the charger knows no reservation by this id: it has rejected a CancelReservation (5.1)."""
    for row in await _numbered(session, charger_id, reservation_id):
        if row.status == ReservationStatus.FAILED and row.uncertain:
            row.uncertain = False
            row.detail = "The charger does not hold it: it knows no such reservation."
        elif row.status == ReservationStatus.ACCEPTED and row.expires_at > now:
            _note(row, "not_held", now, "asked to cancel it, the charger said that it holds no such one")
    await session.flush()


async def started(
    session: AsyncSession,
    charger_id: str,
    *,
    connector_id: int,
    id_tag: str,
    parent_id_tag: str | None,
    reservation_id: int | None,
    session_id: UUID,
    started_at: datetime,
    now: datetime,
) -> list[Note]:
    """Take note of a start: which reservation it used, and whose connector it took.

    `parent_id_tag` is the parent of the tag that starts. Returns the notes for the session.
    """
    notes: list[Note] = []
    named = None
    if reservation_id is not None:
        named = await _named(session, charger_id, reservation_id)
        if named is not None:
            _use(named, session_id, now)
            if not entitled(named, id_tag, parent_id_tag):
                notes.append(_for_other(named, id_tag, session_id, started_at))
            await session.flush()  # what is read next must not undo it
    here = await _held_at(session, charger_id, connector_id, started_at, now)
    own = [row for row in here if entitled(row, id_tag, parent_id_tag)]
    if named is None and own:
        _use(min(own, key=lambda row: (row.connector_id == 0, row.created_at)), session_id, now)
    for row in here:
        if row in own:
            continue
        if row.connector_id == 0 and await _one_is_left(session, charger_id, connector_id):
            continue
        notes.append(_for_other(row, id_tag, session_id, started_at))
    await session.flush()
    return notes


async def expire(session: AsyncSession, now: datetime) -> int:
    """Mark those past their time, and those whose asker was killed; returns how many."""
    over = (
        update(Reservation)
        .where(Reservation.status == ReservationStatus.ACCEPTED, Reservation.expires_at <= now)
        .values(status=ReservationStatus.EXPIRED, ended_at=Reservation.expires_at)
        .returning(Reservation.id)
    )
    orphaned = (
        update(Reservation)
        .where(
            Reservation.status == ReservationStatus.PENDING, Reservation.created_at <= now - UNANSWERED_AFTER
        )
        .values(
            status=ReservationStatus.FAILED,
            uncertain=True,
            ended_at=now,
            answered_at=now,
            detail="The server ended before the charger answered: the charger may hold it all the same.",
        )
        .returning(Reservation.id)
    )
    ended = [*(await session.scalars(over)), *(await session.scalars(orphaned))]
    return len(ended)


def entitled(row: Reservation, id_tag: str, parent_id_tag: str | None) -> bool:
    """Tell whether a reservation is for a tag, or for one of the same parent (OCPP 1.6 5.13)."""
    if row.id_tag.lower() == id_tag.lower():
        return True
    parent = row.parent_id_tag
    return bool(parent) and parent_id_tag is not None and str(parent).lower() == parent_id_tag.lower()


def _may_be_held() -> Any:
    return or_(
        Reservation.status.in_(HELD),
        (Reservation.status == ReservationStatus.FAILED) & Reservation.uncertain,
    )


def _holds(row: Reservation) -> bool:
    return row.status in HELD or (row.status == ReservationStatus.FAILED and row.uncertain)


async def _numbered(session: AsyncSession, charger_id: str, reservation_id: int) -> Sequence[Reservation]:
    """Return the rows of an id, the newest first, locked."""
    query = (
        select(Reservation)
        .where(Reservation.charger_id == charger_id, Reservation.reservation_id == reservation_id)
        .order_by(Reservation.created_at.desc(), Reservation.id.desc())
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return (await session.scalars(query)).all()


async def _named(session: AsyncSession, charger_id: str, reservation_id: int) -> Reservation | None:
    """Return the reservation that a start names: the newest that the charger can have held.

    A start may come late, from the time before the reservation's end.
    """
    for row in await _numbered(session, charger_id, reservation_id):
        if _holds(row) or row.status == ReservationStatus.EXPIRED:
            return row
    return None


async def _held_at(
    session: AsyncSession, charger_id: str, connector_id: int, started_at: datetime, now: datetime
) -> Sequence[Reservation]:
    """Return the reservations of a connector and of connector 0 that a start meets, locked.

    Those that are held now, whatever the charger's clock shows; and for a start that comes late, those that
    were held at its time.
    """
    query = (
        select(Reservation)
        .where(
            Reservation.charger_id == charger_id,
            Reservation.connector_id.in_({connector_id, 0}),
            or_(
                (Reservation.status == ReservationStatus.ACCEPTED) & (Reservation.expires_at > now),
                Reservation.status.in_((ReservationStatus.ACCEPTED, ReservationStatus.EXPIRED))
                & (Reservation.created_at <= started_at)
                & (Reservation.expires_at > started_at),
            ),
        )
        .order_by(Reservation.created_at, Reservation.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return (await session.scalars(query)).all()


async def _one_is_left(session: AsyncSession, charger_id: str, connector_id: int) -> bool:
    """Tell whether another connector than this one is free still: that keeps a reservation of connector 0."""
    query = select(func.count()).where(
        Connector.charger_id == charger_id,
        Connector.connector_id.not_in({0, connector_id}),
        or_(Connector.status.is_(None), Connector.status.in_(FREE)),
    )
    return int((await session.execute(query)).scalar_one()) > 0


def _use(row: Reservation, session_id: UUID, now: datetime) -> None:
    row.status, row.session_id, row.uncertain = ReservationStatus.USED, session_id, False
    row.ended_at = now
    row.detail = ""


_OTHER = re.compile(
    r"(the charger let )(.*)( start where connector -?\d+ was reserved for )(.*?)( \(reservation -?\d+\))?",
    re.DOTALL,
)


def other_renamed(detail: str, told: Mapping[str, str]) -> str:
    """Return the `detail` of a note of `RESERVED_FOR_OTHER` in which tags (in small letters) are replaced."""
    found = _OTHER.fullmatch(detail)
    if found is None:
        return detail
    starts, started, where, held, reservation = found.groups(default="")
    return "".join(
        (starts, told.get(started.lower(), started), where, told.get(held.lower(), held), reservation)
    )


def _for_other(row: Reservation, id_tag: str, session_id: UUID, at: datetime) -> Note:
    detail = (
        f"the charger let {id_tag} start where connector {row.connector_id} was reserved for {row.id_tag}"
    )
    _note(row, RESERVED_FOR_OTHER, at, detail, session_id=str(session_id), id_tag=id_tag)
    return {
        "kind": RESERVED_FOR_OTHER,
        "at": at.isoformat(),
        "detail": f"{detail} (reservation {row.reservation_id})",
    }


def _note(row: Reservation, kind: str, at: datetime, detail: str, **more: Any) -> None:
    note = {"kind": kind, "at": at.isoformat(), "detail": detail, **more}
    row.notes = [*row.notes, note][-NOTES_MAX:]

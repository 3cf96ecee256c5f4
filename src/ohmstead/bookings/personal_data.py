"""What reservations say of the person for whom a connector was kept, or who took that of another."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import and_, or_, select

from ohmstead.accounts.personal_data import (
    Contribution,
    Found,
    Person,
    Rows,
    Sheet,
    change_each,
    columns_of,
    each,
)
from ohmstead.accounts.personal_data_tags import is_a_tag, names_a_tag, without_tags
from ohmstead.bookings.reservations import RESERVED_FOR_OTHER, other_renamed
from ohmstead.bookings.reservations_models import Reservation
from ohmstead.core.clock import Clock
from ohmstead.core.db import Database
from ohmstead.stations.models import Charger

FOUND = select(Reservation, Charger.backoffice_id).join(Charger, Charger.id == Reservation.charger_id)


async def _sheets(database: Database, person: Person, _: Clock) -> AsyncIterator[Sheet]:
    yield Sheet("reservations", _reservations(database, person))


async def _reservations(database: Database, person: Person) -> Rows:
    query = FOUND.where(is_a_tag(Reservation.id_tag, person.tags))
    async for row, business in each(database, query, [Reservation.id]):
        if row.id_tag.lower() in person.pseudonyms(business, row.created_at):
            yield columns_of(row, "notes")


async def _erase(database: Database, person: Person, _: Clock) -> None:
    def change(found: Found) -> None:
        row: Reservation
        row, business = found
        told = person.pseudonyms(business, row.created_at)
        row.id_tag = told.get(row.id_tag.lower(), row.id_tag)
        if row.parent_id_tag is not None:
            row.parent_id_tag = told.get(row.parent_id_tag.lower(), row.parent_id_tag)
        row.notes = [_note_without(one, person, business) for one in row.notes]

    query = FOUND.where(
        or_(
            is_a_tag(Reservation.id_tag, person.tags),
            is_a_tag(Reservation.parent_id_tag, person.tags),
            and_(
                Reservation.notes.contains([{"kind": RESERVED_FOR_OTHER}]),
                names_a_tag(Reservation.notes, person.tags),
            ),
        )
    )
    await change_each(database, query, [Reservation.id], change)


def _note_without(note: dict[str, Any], person: Person, backoffice_id: UUID | None) -> dict[str, Any]:
    if note.get("kind") != RESERVED_FOR_OTHER:
        return note
    told = person.pseudonyms(backoffice_id, datetime.fromisoformat(note["at"]))
    return {**without_tags(note, told), "detail": other_renamed(note["detail"], told)}


BOOKINGS = Contribution("bookings", _sheets, _erase)

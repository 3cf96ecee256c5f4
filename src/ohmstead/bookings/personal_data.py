"""What reservations say of the person for whom a connector was kept."""

from collections.abc import AsyncIterator

from sqlalchemy import func, select

from ohmstead.accounts.personal_data import Contribution, Person, Sheet, columns_of, erasing, listed
from ohmstead.bookings.reservations_models import Reservation
from ohmstead.core.clock import Clock
from ohmstead.core.db import Database


async def _sheets(database: Database, person: Person, _: Clock) -> AsyncIterator[Sheet]:
    tags = [tag.lower() for tag in person.tags.values()]
    async with database.session() as session:
        query = select(Reservation).where(func.lower(Reservation.id_tag).in_(tags))
        rows = (await session.scalars(query.order_by(Reservation.created_at))).all()
    yield Sheet("reservations", listed([columns_of(row, "notes") for row in rows]))


BOOKINGS = Contribution(
    "bookings",
    _sheets,
    erasing(Reservation.id_tag, Reservation.parent_id_tag, Reservation.detail, Reservation.notes),
)

"""What a reservation and the session that took its connector say of each other, without the person."""

from datetime import timedelta
from uuid import uuid4

from sqlalchemy import select
from tests.conftest import NOW
from tests.world import World

from ohmstead.bookings.reservations import other_renamed, started
from ohmstead.bookings.reservations_models import Reservation, ReservationStatus
from ohmstead.core.db import Database


async def test_a_note_of_a_taken_connector_loses_one_tag_and_keeps_the_other(
    world: World, db: Database
) -> None:
    charger = await world.charger()
    await world.add(
        Reservation(
            charger_id=charger.id, reservation_id=7, connector_id=1, id_tag="Holder", created_at=NOW,
            expires_at=NOW + timedelta(hours=1), status=ReservationStatus.ACCEPTED,
        )
    )  # fmt: skip
    async with db.session() as session:
        [of_session] = await started(
            session, charger.id, connector_id=1, id_tag="1", parent_id_tag=None, reservation_id=None,
            session_id=uuid4(), started_at=NOW, now=NOW,
        )  # fmt: skip
        [of_reservation] = (await session.scalars(select(Reservation.notes))).one()
    for note, end in ((of_session, " (reservation 7)"), (of_reservation, "")):
        told = other_renamed(note["detail"], {"1": "ERASED-1"})
        assert told == f"the charger let ERASED-1 start where connector 1 was reserved for Holder{end}"
        told = other_renamed(note["detail"], {"holder": "ERASED-2"})
        assert told == f"the charger let 1 start where connector 1 was reserved for ERASED-2{end}"

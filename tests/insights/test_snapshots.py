"""What the snapshots leave out; what they tell is tested over the socket, in test_live."""

from datetime import UTC, datetime
from uuid import uuid4

from tests.world import World

from ohmstead.accounts.models import Role
from ohmstead.accounts.principal import Principal
from ohmstead.charging.models import SessionStatus
from ohmstead.core.db import Database
from ohmstead.insights import snapshots

EVERYTHING = Principal(uuid4(), "admin@example.com", Role.SYSTEM_ADMIN)


async def test_retired_chargers_and_their_connectors_are_left_out(db: Database, world: World) -> None:
    at_work = await world.charger(connectors=1)
    await world.charger(connectors=1, retired_at=datetime(2026, 1, 1, tzinfo=UTC))
    async with db.session() as session:
        chargers = await snapshots.chargers(session, EVERYTHING, None, 10)
        connectors = await snapshots.connectors(session, EVERYTHING, None, 10)
    assert [one["id"] for one in chargers] == [at_work.id]
    assert [one["charger_id"] for one in connectors] == [at_work.id]


async def test_sessions_that_have_ended_are_left_out(db: Database, world: World) -> None:
    charger = await world.charger()
    running = await world.session(charger)
    await world.session(charger, status=SessionStatus.COMPLETED)
    async with db.session() as session:
        sessions = await snapshots.sessions(session, EVERYTHING, None, 10)
    assert [one["id"] for one in sessions] == [str(running.id)]


async def test_no_more_than_asked_for(db: Database, world: World) -> None:
    place = await world.station()
    for _ in range(3):
        await world.charger(place)
    async with db.session() as session:
        assert len(await snapshots.chargers(session, EVERYTHING, None, 2)) == 2

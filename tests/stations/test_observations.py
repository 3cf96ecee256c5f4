"""What chargers were seen to do: counted, added up by day, bounded, and dropped with the history."""

import pytest
from fastapi import FastAPI
from sqlalchemy import select
from tests.conftest import FrozenClock
from tests.insights.trouble import HOUR, SECOND, Trouble, run, write
from tests.world import World

from ohmstead.core.db import Database, raw_connection
from ohmstead.core.facts import write_facts
from ohmstead.stations.jobs import NAMESPACE as STATIONS
from ohmstead.stations.models import Charger, Observation
from ohmstead.stations.observations import OBSERVATION, REPEATED_ID, WRONG_SUBPROTOCOL, Observed


@pytest.fixture
def trouble(world: World, clock: FrozenClock) -> Trouble:
    return Trouble(world, clock)


@pytest.fixture
async def charger(world: World) -> Charger:
    return await world.charger()


class TestObservations:
    async def rows(self, db: Database) -> list[Observation]:
        async with db.session() as session:
            return list(await session.scalars(select(Observation).order_by(Observation.day)))

    async def test_counts_are_added_and_the_newest_five_examples_stay(
        self, db: Database, charger: Charger, clock: FrozenClock
    ) -> None:
        seen = Observed()
        for number in range(4):
            seen.note(charger.id, REPEATED_ID, clock.now() + number * SECOND, f"m{number}", "Heartbeat")
        await write(db, seen)
        for number in range(4, 7):
            seen.note(charger.id, REPEATED_ID, clock.now() + number * SECOND, f"m{number}", "Heartbeat")
        await write(db, seen)
        (row,) = await self.rows(db)
        assert (row.count, row.first_at, row.last_at) == (7, clock.now(), clock.now() + 6 * SECOND)
        assert [one["id"] for one in row.examples] == ["m6", "m5", "m4", "m3", "m2"]
        assert seen.take() == []

    async def test_each_day_is_a_row_and_a_charger_that_is_gone_is_left_out(
        self, db: Database, charger: Charger, clock: FrozenClock
    ) -> None:
        seen = Observed()
        seen.note(charger.id, REPEATED_ID, clock.now(), "1", "Heartbeat")
        seen.note(charger.id, REPEATED_ID, clock.now() + 24 * HOUR, "1", "Heartbeat")
        seen.note("GONE", REPEATED_ID, clock.now(), "1", "Heartbeat")
        await write(db, seen)
        assert [row.count for row in await self.rows(db)] == [1, 1]

    async def test_two_groups_that_became_one_statement_are_added(
        self, db: Database, charger: Charger, clock: FrozenClock
    ) -> None:
        rows = []
        for number in range(2):
            seen = Observed()
            seen.note(charger.id, WRONG_SUBPROTOCOL, clock.now() + number * SECOND, f"c{number}", "ocpp2.0")
            rows += seen.take()
        async with db.session() as session:
            await write_facts(await raw_connection(session), OBSERVATION, rows)
        (row,) = await self.rows(db)
        assert row.count == 2

    async def test_ids_that_no_text_column_takes_are_kept_without_what_it_refuses(
        self, db: Database, charger: Charger, clock: FrozenClock
    ) -> None:
        seen = Observed()
        seen.note(charger.id, REPEATED_ID, clock.now(), "a\0b\ud800" + "x" * 500, "\0")
        await write(db, seen)
        (row,) = await self.rows(db)
        assert row.examples[0]["id"] == ("ab?" + "x" * 500)[:36]

    async def test_they_are_dropped_with_the_history(
        self, app: FastAPI, db: Database, charger: Charger, trouble: Trouble, clock: FrozenClock
    ) -> None:
        await trouble.RepeatedIds(charger)
        settings = app.state.settings
        await run(app, f"{STATIONS}:trim_history", db, clock, settings=settings)
        assert len(await self.rows(db)) == 1
        clock.advance((settings.history_days + 1) * 86_400)
        await run(app, f"{STATIONS}:trim_history", db, clock, settings=settings)
        assert await self.rows(db) == []

    def test_what_waits_to_be_written_is_bounded(
        self, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("ohmstead.stations.observations.AT_ONCE", 3)
        seen = Observed()
        for number in range(9):
            seen.note(f"CP-{number % 5}", REPEATED_ID, clock.now(), "1", "Heartbeat")
        assert [(one["charger_id"], one["count"]) for one in seen.take()] == [
            ("CP-0", 2),
            ("CP-1", 2),
            ("CP-2", 2),
        ]

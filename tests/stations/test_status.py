"""The status of connectors: what comes late does not win, and everything is history."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from tests.conftest import NOW
from tests.world import World

from ohmstead.core.db import Database, raw_connection
from ohmstead.core.facts import Row, write_facts
from ohmstead.stations.models import Charger, Connector, StatusEvent
from ohmstead.stations.status import STATUS, Told, is_late


@pytest.fixture
async def charger(world: World) -> Charger:
    return await world.charger()


def told(
    charger: Charger, status: str, at: datetime | None, received_at: datetime = NOW, **fields: Any
) -> Row:
    return {
        "charger_id": charger.id,
        "connector_id": 1,
        "status": status,
        "error_code": "NoError",
        "info": None,
        "vendor_id": None,
        "vendor_error_code": None,
        "at": at,
        "received_at": received_at,
        **fields,
    }


async def tell(db: Database, *rows: Row) -> None:
    async with db.session() as session:
        await write_facts(await raw_connection(session), STATUS, list(rows))


async def connector(db: Database, charger: Charger, number: int = 1) -> Connector:
    async with db.session() as session:
        row = await session.get(Connector, (charger.id, number))
    assert row is not None
    return row


async def history(db: Database, charger: Charger) -> list[str]:
    async with db.session() as session:
        query = select(StatusEvent.status).where(StatusEvent.charger_id == charger.id)
        return list((await session.scalars(query.order_by(StatusEvent.at))).all())


class TestConnector:
    async def test_it_takes_what_it_is_told(self, db: Database, charger: Charger) -> None:
        at = NOW - timedelta(minutes=1)
        fields: dict[str, Any] = {
            "error_code": "GroundFailure",
            "info": "i",
            "vendor_id": "v",
            "vendor_error_code": "E7",
        }
        await tell(db, told(charger, "Faulted", at, **fields))
        row = await connector(db, charger)
        assert (row.status, row.status_at, row.status_received_at, row.status_since) == (
            "Faulted",
            at,
            NOW,
            at,
        )
        assert (row.error_code, row.info, row.vendor_id, row.vendor_error_code) == (
            "GroundFailure",
            "i",
            "v",
            "E7",
        )

    async def test_a_connector_that_nobody_declared_begins_to_exist(
        self, db: Database, charger: Charger
    ) -> None:
        await tell(
            db,
            told(charger, "Available", None, connector_id=0),
            told(charger, "Charging", None, connector_id=9),
        )
        assert (await connector(db, charger, 0)).status == "Available"
        assert (await connector(db, charger, 9)).status == "Charging"

    async def test_what_it_was_declared_to_be_stays(self, db: Database, world: World) -> None:
        charger = await world.charger(connectors=0)
        await world.add(Connector(charger_id=charger.id, connector_id=1, type="CCS", max_power_kw=150.0))
        await tell(db, told(charger, "Available", None))
        row = await connector(db, charger)
        assert (row.type, row.max_power_kw, row.status) == ("CCS", 150.0, "Available")

    async def test_it_is_so_since_it_became_so(self, db: Database, charger: Charger) -> None:
        for minute in range(3):
            at = NOW + timedelta(minutes=minute)
            await tell(db, told(charger, "Charging", at, at, info=f"{minute}"))
        row = await connector(db, charger)
        assert (row.status_since, row.status_at, row.info) == (NOW, NOW + timedelta(minutes=2), "2")

    @pytest.mark.parametrize(
        ("at", "since"),
        [
            (None, NOW),
            (NOW - timedelta(hours=3), NOW - timedelta(hours=3)),
            (NOW - timedelta(days=8), NOW),
            (NOW + timedelta(minutes=4), NOW + timedelta(minutes=4)),
            (NOW + timedelta(hours=1), NOW),
            (datetime(1970, 1, 1, tzinfo=UTC), NOW),
            (datetime(9999, 12, 31, tzinfo=UTC), NOW),
        ],
    )
    async def test_since_is_the_chargers_time_where_it_can_be_believed(
        self, db: Database, charger: Charger, at: datetime | None, since: datetime
    ) -> None:
        await tell(db, told(charger, "Charging", at))
        row = await connector(db, charger)
        assert (row.status_at, row.status_since) == (at, since)

    async def test_a_late_notification_is_history_only(self, db: Database, charger: Charger) -> None:
        await tell(db, told(charger, "Available", NOW))
        await tell(db, told(charger, "Charging", NOW - timedelta(hours=2), NOW + timedelta(seconds=1)))
        assert (await connector(db, charger)).status == "Available"
        assert await history(db, charger) == ["Charging", "Available"]

    @pytest.mark.parametrize("ahead", [timedelta(seconds=2), timedelta(minutes=4, seconds=50)])
    async def test_a_clock_that_was_ahead_at_boot_does_not_hide_what_comes_after_it_was_set(
        self, db: Database, charger: Charger, ahead: timedelta
    ) -> None:
        await tell(db, told(charger, "Available", NOW + ahead))
        for second, status in ((1, "Preparing"), (2, "Charging")):
            at = NOW + timedelta(seconds=second)
            # Its clock shows whole seconds only: it may seem a little earlier than the answer that set it.
            await tell(db, told(charger, status, at - timedelta(seconds=1), at))
            assert (await connector(db, charger)).status == status

    async def test_what_was_queued_before_the_clock_was_ahead_is_still_late(
        self, db: Database, charger: Charger
    ) -> None:
        await tell(db, told(charger, "Available", NOW + timedelta(minutes=2)))
        queued = told(charger, "Charging", NOW - timedelta(minutes=30), NOW + timedelta(seconds=5))
        await tell(db, queued)
        assert (await connector(db, charger)).status == "Available"
        # Once our clock is past what is known, nothing is doubtful any more.
        late = told(charger, "Charging", NOW + timedelta(minutes=1), NOW + timedelta(minutes=3))
        await tell(db, late)
        assert (await connector(db, charger)).status == "Available"

    async def test_two_connectors_in_one_group_do_not_mix(self, db: Database, charger: Charger) -> None:
        await tell(
            db,
            told(charger, "Charging", NOW, connector_id=1),
            told(charger, "Available", NOW, connector_id=2),
            told(charger, "Finishing", NOW + timedelta(seconds=1), connector_id=1),
        )
        assert (await connector(db, charger, 1)).status == "Finishing"
        assert (await connector(db, charger, 2)).status == "Available"
        assert len(await history(db, charger)) == 3


class TestHistory:
    async def test_a_repeated_notification_is_one_event(self, db: Database, charger: Charger) -> None:
        for second in range(3):
            await tell(db, told(charger, "Charging", NOW, NOW + timedelta(seconds=second)))
        assert await history(db, charger) == ["Charging"]

    async def test_without_a_time_each_arrival_is_an_event(self, db: Database, charger: Charger) -> None:
        for second in range(3):
            await tell(db, told(charger, "Charging", None, NOW + timedelta(seconds=second)))
        assert await history(db, charger) == ["Charging"] * 3


moments = st.none() | st.sampled_from(
    [
        NOW + timedelta(**{unit: sign * number})
        for unit in ("seconds", "minutes", "hours", "days")
        for number in (0, 1, 4, 6, 9, 11, 1000, 1824, 1826, 2000)
        for sign in (-1, 1)
    ]
    + [datetime(1, 1, 1, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)]
)


@pytest.mark.also_long(10)
@settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(known=moments, at=moments)
async def test_what_counts_as_late_is_the_same_in_memory_and_in_the_database(
    db: Database, world: World, known: datetime | None, at: datetime | None
) -> None:
    charger = await world.charger(connectors=1)
    await tell(db, told(charger, "Available", known))
    await tell(db, told(charger, "Charging", at, NOW + timedelta(seconds=1)))
    before, after = Told("Available", "NoError", known, NOW), Told("Charging", "NoError", at, None)
    late = is_late(before, after, NOW + timedelta(seconds=1))
    assert (await connector(db, charger)).status == ("Available" if late else "Charging")

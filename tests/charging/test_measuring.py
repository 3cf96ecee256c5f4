"""What is read of a session to measure it, and that nobody waits for it."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from tests.charging.teller import Teller, minutes, wh
from tests.conftest import NOW

from ohmstead.charging.anomalies import stray_times
from ohmstead.charging.measuring import measure, stored_samples
from ohmstead.charging.models import Session
from ohmstead.core.db import Database, raw_connection

MANY = """
INSERT INTO charging_meter_value
       (charger_id, connector_id, transaction_id, sampled_at, digest, received_at, register_wh,
        sampled_values)
SELECT %(charger)s, 1, %(transaction)s, %(begin)s::timestamptz + number * interval '10 seconds', number,
       now(), number * 20, '[]'
  FROM generate_series(1, %(samples)s) AS number
"""


async def make_days(db: Database, *days: str) -> None:
    async with db.session() as session:
        for day in days:
            first = datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC)
            bounds = f"FROM ('{first:%Y-%m-%d}') TO ('{first + timedelta(days=1):%Y-%m-%d}')"
            table = f"charging_meter_value_p_{day} PARTITION OF charging_meter_value"
            await session.execute(text(f"CREATE TABLE IF NOT EXISTS {table} FOR VALUES {bounds}"))


async def plan(db: Database, row: Session) -> str:
    statement, bounds = stored_samples(row)
    async with db.session() as session:
        cursor = await (await raw_connection(session)).execute(f"EXPLAIN {statement}".encode(), bounds)
        return "\n".join(line for (line,) in await cursor.fetchall())


class TestWhatIsRead:
    async def test_only_the_days_of_the_session(self, db: Database, tell: Teller) -> None:
        await make_days(db, "20260501", "20260503", "20260504")
        started = await tell.start()
        read = await plan(db, started.session)
        assert "p_20260501" not in read
        assert "p_20260503" in read
        assert "p_20260504" in read

    async def test_of_a_charger_without_a_clock_only_what_can_be_its_own(
        self, db: Database, tell: Teller
    ) -> None:
        await make_days(db, "20260501", "20260503", "20260504")
        begin = datetime(1970, 1, 1, 0, 1, tzinfo=UTC)
        started = await tell.start(at=begin)
        await tell.values(started.session.ocpp_transaction_id, (begin + minutes(10), 500))
        row = await tell.stop(started.session.ocpp_transaction_id, at=begin + minutes(30), meter=800)
        assert (wh(row), row.anomalies) == (800, [])
        read = await plan(db, row)
        assert "p_default" in read
        assert "p_2026" not in read

    @pytest.mark.parametrize("year", [1, 1970])
    async def test_a_value_of_a_wrong_clock_is_noted_for_good_though_it_is_not_read_again(
        self, tell: Teller, year: int
    ) -> None:
        stray = datetime(year, 1, 1, tzinfo=UTC)
        started = await tell.start()
        number = started.session.ocpp_transaction_id
        await tell.values(number, (stray, 500))
        row = await tell.values(number, (NOW + minutes(5), 900))
        assert row is not None
        assert (wh(row), stray_times(row.anomalies)) == (900, [stray])
        row = await tell.stop(number, meter=1000)
        assert (wh(row), stray_times(row.anomalies)) == (1000, [stray])

    async def test_a_value_of_a_wrong_clock_that_comes_with_the_stop_is_noted(self, tell: Teller) -> None:
        started = await tell.start()
        data = [{"timestamp": "1970-01-01T00:00:00Z", "sampledValue": [{"value": "5"}]}]
        row = await tell.stop(started.session.ocpp_transaction_id, data=data)
        assert [one["kind"] for one in row.anomalies] == ["clock_out_of_range"]


async def test_the_event_loop_goes_on_while_a_long_session_is_measured(db: Database, tell: Teller) -> None:
    row = (await tell.start()).session
    values = {
        "charger": row.charger_id,
        "transaction": row.ocpp_transaction_id,
        "begin": NOW,
        "samples": 6000,
    }
    async with db.session() as session:
        await (await raw_connection(session)).execute(MANY.encode(), values)
    async with db.session() as session:
        measuring = asyncio.create_task(measure(session, row))
        turns = 0
        while not measuring.done():
            await asyncio.sleep(0.001)
            turns += 1
    assert (await measuring).wh == 120_000
    # It takes a tenth of a second at least: in one piece the loop would have had a turn or two.
    assert turns > 8

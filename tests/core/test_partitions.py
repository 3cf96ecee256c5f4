"""Partitions by day: made ahead, dropped in time, and never at the cost of a row."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import text

from ohmstead.charging.jobs import meter_values
from ohmstead.core.db import Database
from ohmstead.core.partitions import Partitioned, maintain
from ohmstead.gateway.jobs import messages

TODAY = date(2026, 5, 4)
TABLE = Partitioned("thing", "happened_at", "received_at", 30)
SCHEMA = """
DROP TABLE IF EXISTS thing;
CREATE TABLE thing (id int, happened_at timestamptz NOT NULL, received_at timestamptz NOT NULL,
                    word text NOT NULL DEFAULT 'hello')
       PARTITION BY RANGE (happened_at);
CREATE UNIQUE INDEX uq_thing ON thing (id, happened_at);
CREATE TABLE thing_p_default PARTITION OF thing DEFAULT;
"""
Row = tuple[int, datetime, datetime]


@pytest.fixture(scope="module")
def url(database_factory: Any) -> str:
    return str(database_factory("partitions"))


@pytest.fixture(scope="module")
def connection(url: str) -> Iterator["psycopg.Connection[Any]"]:
    with psycopg.connect(url, autocommit=True, options="-c timezone=UTC") as connection:
        yield connection


@pytest.fixture
async def database(url: str, connection: "psycopg.Connection[Any]") -> Any:
    connection.execute(SCHEMA)
    database = Database(url)
    yield database
    await database.close()


def insert(connection: "psycopg.Connection[Any]", rows: list[Row]) -> None:
    with connection.cursor() as cursor:
        cursor.executemany("INSERT INTO thing (id, happened_at, received_at) VALUES (%s, %s, %s)", rows)


def held(connection: "psycopg.Connection[Any]") -> list[tuple[int, str]]:
    return connection.execute("SELECT id, tableoid::regclass::text FROM thing ORDER BY id").fetchall()


def partitions(connection: "psycopg.Connection[Any]") -> set[str]:
    found = connection.execute(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'thing'::regclass"
    )
    return {name for (name,) in found}


def at(day: date, hour: int = 12) -> datetime:
    return datetime(day.year, day.month, day.day, hour, tzinfo=UTC)


async def keep(database: Database, today: date, table: Partitioned = TABLE) -> None:
    async with database.session() as session:
        await maintain(session, table, today)


async def test_yesterday_and_three_days_ahead_are_made(database: Database, connection: Any) -> None:
    await keep(database, TODAY)
    days = [TODAY + timedelta(days=offset) for offset in range(-1, 4)]
    assert partitions(connection) == {"thing_p_default", *(TABLE.partition(day) for day in days)}


async def test_doing_it_twice_changes_nothing(database: Database, connection: Any) -> None:
    await keep(database, TODAY)
    insert(connection, [(1, at(TODAY), at(TODAY))])
    before = held(connection), partitions(connection)
    await keep(database, TODAY)
    assert (held(connection), partitions(connection)) == before


async def test_rows_of_the_default_partition_move_to_their_day(database: Database, connection: Any) -> None:
    midnight = at(TODAY, 0)
    rows = [
        (1, midnight - timedelta(microseconds=1), midnight),
        (2, midnight, midnight),
        (3, midnight + timedelta(days=1) - timedelta(microseconds=1), midnight),
        (4, at(date(1970, 1, 1)), midnight),
        (5, at(date(2106, 2, 7)), midnight),
    ]
    insert(connection, rows)
    await keep(database, TODAY)
    assert held(connection) == [
        (1, "thing_p_20260503"),
        (2, "thing_p_20260504"),
        (3, "thing_p_20260504"),
        (4, "thing_p_default"),
        (5, "thing_p_default"),
    ]
    moved = connection.execute("SELECT id, happened_at, received_at, word FROM thing ORDER BY id").fetchall()
    assert moved == [(*row, "hello") for row in rows]


async def test_a_new_day_keeps_defaults_and_uniqueness(database: Database, connection: Any) -> None:
    await keep(database, TODAY)
    insert(connection, [(1, at(TODAY), at(TODAY))])
    assert connection.execute("SELECT word FROM thing").fetchall() == [("hello",)]
    with pytest.raises(psycopg.errors.UniqueViolation):
        insert(connection, [(1, at(TODAY), at(TODAY))])


async def test_days_over_their_time_are_dropped_and_rows_of_the_default_partition_go_by_arrival(
    database: Database, connection: Any
) -> None:
    await keep(database, TODAY)
    insert(
        connection,
        [
            (1, at(TODAY), at(TODAY)),
            (2, at(date(1970, 1, 1)), at(TODAY)),
            (3, at(date(1970, 1, 1)), at(TODAY + timedelta(days=1))),
        ],
    )
    last_day = TODAY + timedelta(days=TABLE.keep_days)
    await keep(database, last_day)
    assert [number for number, _ in held(connection)] == [1, 2, 3], "the last day on which they are kept"
    await keep(database, last_day + timedelta(days=1))
    assert [number for number, _ in held(connection)] == [3]
    assert "thing_p_20260504" not in partitions(connection)


async def test_a_server_that_slept_for_weeks_makes_its_days_again(
    database: Database, connection: Any
) -> None:
    await keep(database, TODAY)
    later = TODAY + timedelta(days=20)
    insert(connection, [(1, at(later), at(later)), (2, at(later - timedelta(days=10)), at(later))])
    assert held(connection) == [(1, "thing_p_default"), (2, "thing_p_default")]
    await keep(database, later)
    assert held(connection) == [(1, TABLE.partition(later)), (2, "thing_p_default")]


DAYS = st.integers(-40, 10).map(lambda offset: TODAY + timedelta(days=offset))
MOMENTS = st.one_of(
    st.builds(lambda day, second: at(day, 0) + timedelta(seconds=second), DAYS, st.integers(0, 86_399)),
    st.sampled_from([at(date(1970, 1, 1)), at(date(2106, 2, 7)), at(TODAY, 0)]),
)
STEPS = st.lists(st.tuples(st.integers(0, 9), st.lists(MOMENTS, max_size=8)), min_size=1, max_size=5)


@pytest.mark.parametrize(
    "examples", [25, pytest.param(500, marks=[pytest.mark.prove, pytest.mark.timeout(600)])]
)
def test_whatever_comes_on_whatever_day_nothing_is_lost_and_nothing_is_there_twice(
    url: str, connection: "psycopg.Connection[Any]", examples: int
) -> None:
    """Days go by in leaps, rows come with any time: the table holds what came, less what is over its time."""

    @hypothesis_settings(max_examples=examples)
    @given(steps=STEPS)
    def check(steps: list[tuple[int, list[datetime]]]) -> None:
        connection.execute(SCHEMA)
        today = TODAY
        expected: list[Row] = []
        for leap, moments in steps:
            today += timedelta(days=leap)
            rows = [(len(expected) + index, moment, at(today)) for index, moment in enumerate(moments)]
            insert(connection, rows)
            expected += rows
            maintain_now(url, today)
            found = connection.execute(
                "SELECT id, happened_at, received_at, tableoid::regclass::text FROM thing"
            )
            by_id = Counter[int]()
            for number, happened, received, place in found.fetchall():
                by_id[number] += 1
                assert (number, happened, received) == expected[number]
                assert place in {"thing_p_default", TABLE.partition(happened.date())}
            assert set(by_id.values()) <= {1}
            oldest = today - timedelta(days=TABLE.keep_days)
            for number, happened, received in expected:
                if happened.date() >= oldest and received.date() >= oldest:
                    assert by_id[number] == 1, f"row {number} of {happened} is lost"

    check()


def maintain_now(url: str, today: date) -> None:
    """Maintain in a loop of its own: hypothesis calls from outside of one."""

    async def work() -> None:
        database = Database(url)
        await keep(database, today)
        await database.close()

    asyncio.run(work())


@pytest.mark.parametrize("table", [meter_values(730), messages(30)])
async def test_the_tables_of_the_schema_can_be_maintained(url: str, table: Partitioned) -> None:
    database = Database(url)
    await keep(database, TODAY, table)
    await keep(database, TODAY + timedelta(days=table.keep_days + 10), table)
    async with database.session() as session:
        found = await session.scalars(
            text(
                "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = CAST(:name AS regclass)"
            ),
            {"name": table.table},
        )
        days = sorted(found.all())
    assert table.partition(TODAY) not in days
    assert len(days) == 6
    await database.close()


async def test_a_row_that_arrives_while_its_day_is_made_is_there_once(
    database: Database, connection: Any
) -> None:
    """Maintenance holds its lock until it commits; a writer waits, and its row lands in the new day."""
    insert(connection, [(1, at(TODAY), at(TODAY))])
    async with database.session() as session:
        await maintain(session, TABLE, TODAY)
        with (
            psycopg.connect(connection.info.dsn, autocommit=True, options="-c lock_timeout=200") as other,
            pytest.raises(psycopg.errors.LockNotAvailable),
        ):
            insert(other, [(2, at(TODAY), at(TODAY))])
    insert(connection, [(2, at(TODAY), at(TODAY))])
    assert held(connection) == [(1, "thing_p_20260504"), (2, "thing_p_20260504")]


async def test_two_servers_that_maintain_at_once_do_not_disturb_each_other(
    database: Database, connection: Any
) -> None:
    insert(connection, [(1, at(TODAY), at(TODAY))])
    await asyncio.gather(*(keep(database, TODAY) for _ in range(4)))
    assert held(connection) == [(1, "thing_p_20260504")]

"""Group commit on a real database: what one bad fact, a deadlock and an absence do to the others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from tests.chargers import RawCharger, charger, until
from tests.gateway.admin import AdminApi
from tests.running import RunningServer
from tests.world import World

from ohmstead.charging.metering import METER_VALUE, read_meter_values
from ohmstead.core.facts import Row
from ohmstead.core.postgres import EmbeddedPostgres
from ohmstead.gateway.log import MESSAGE, message_row
from ohmstead.gateway.writer import BadRow, DatabaseAway, Entry, Fact, Writer
from ohmstead.stations.models import Charger
from ohmstead.stations.status import STATUS

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


AT = "2026-05-04T12:00:00Z"


def metered_payload(value: str) -> list[dict[str, Any]]:
    return [{"timestamp": AT, "sampledValue": [{"value": value}]}]


def metered(charger_id: str, value: str, connector_id: int = 1) -> list[Fact]:
    values = read_meter_values(
        metered_payload(value),
        charger_id=charger_id,
        connector_id=connector_id,
        transaction_id=None,
        received_at=NOW,
    )
    return [(METER_VALUE, one.row) for one in values]


def told(charger_id: str, status: str, at: str | None = None, connector_id: int = 1, **fields: Any) -> Fact:
    row: Row = {
        "charger_id": charger_id,
        "connector_id": connector_id,
        "status": status,
        "error_code": "NoError",
        "info": None,
        "vendor_id": None,
        "vendor_error_code": None,
        "at": at,
        "received_at": NOW.isoformat(),
        **fields,
    }
    return STATUS, row


def logged(charger_id: str, text: str, action: str | None = None) -> Fact:
    row = message_row(
        received_at=NOW,
        charger_id=charger_id,
        connection_id=str(uuid4()),
        direction="in",
        message_id="1",
        action=action,
        request=text,
        response=None,
        error_code=None,
        note=None,
        duration_ms=None,
    )
    return MESSAGE, row


class Results:
    """What became of entries, in the order of the answers."""

    def __init__(self) -> None:
        self.given: list[tuple[str, Exception | None]] = []

    def entry(self, name: str, *facts: Fact) -> Entry:
        return Entry(list(facts), lambda error: self.given.append((name, error)))

    @property
    def kinds(self) -> dict[str, str]:
        return {name: type(error).__name__ for name, error in self.given}


@asynccontextmanager
async def writing(url: str, *entries: Entry) -> AsyncIterator[Writer]:
    """A writer whose first group is these entries."""
    writer = Writer(url)
    for entry in entries:
        writer.submit(entry)
    writer.start()
    try:
        yield writer
    finally:
        await writer.stop()


async def rows(url: str, query: str, *values: Any) -> list[Any]:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        return await (await connection.execute(query.encode(), values)).fetchall()


@pytest.fixture
def url(server: RunningServer) -> str:
    return server.settings.postgres_url


class TestGroups:
    async def test_bad_facts_are_refused_alone_and_the_rest_is_written_in_order(
        self, url: str, server_world: World
    ) -> None:
        row = await server_world.charger()
        results = Results()
        entries = [
            results.entry("first", *metered(row.id, "1"), told(row.id, "Preparing")),
            results.entry("nul", *metered(row.id, "2\0")),
            results.entry("second", *metered(row.id, "3")),
            results.entry("integer", *metered(row.id, "4", connector_id=2**31)),
            results.entry("unknown", told("nobody at all", "Available")),
            results.entry("half", *metered(row.id, "5"), told(row.id, "Charging", info="\0")),
            results.entry("last", *metered(row.id, "6"), told(row.id, "Charging")),
        ]
        async with writing(url, *entries) as writer:
            await writer.drain()
        assert [name for name, _ in results.given] == [
            "first",
            "nul",
            "second",
            "integer",
            "unknown",
            "half",
            "last",
        ]
        assert {name for name, error in results.given if error is None} == {"first", "second", "last"}
        assert all(isinstance(error, BadRow | None) for _, error in results.given)
        query = "SELECT register_wh::int FROM charging_meter_value WHERE charger_id = %s ORDER BY 1"
        assert await rows(url, query, row.id) == [(1,), (3,), (6,)]
        query = "SELECT status FROM stations_connector WHERE charger_id = %s AND connector_id = 1"
        assert await rows(url, query, row.id) == [("Charging",)]

    async def test_the_last_status_of_a_group_counts_and_all_are_history(
        self, url: str, server_world: World
    ) -> None:
        row = await server_world.charger()
        results = Results()
        told_in_turn = ("Preparing", "Charging", "Finishing")
        entries = [
            results.entry(status, told(row.id, status, f"2026-05-04T12:0{number}:00Z"))
            for number, status in enumerate(told_in_turn)
        ]
        async with writing(url, *entries) as writer:
            await writer.drain()
        query = "SELECT status FROM stations_connector WHERE charger_id = %s AND connector_id = 1"
        assert await rows(url, query, row.id) == [("Finishing",)]
        query = "SELECT status FROM stations_status_event WHERE charger_id = %s ORDER BY at"
        assert await rows(url, query, row.id) == [(status,) for status in told_in_turn]

    async def test_nobody_is_answered_before_the_commit(self, url: str, server_world: World) -> None:
        row = await server_world.charger()
        async with writing(url) as writer:
            for number in range(20):
                await writer.write(*metered(row.id, str(number)))
                query = "SELECT count(*) FROM charging_meter_value WHERE charger_id = %s"
                assert await rows(url, query, row.id) == [(number + 1,)]

    async def test_many_writers_at_once_share_groups_and_lose_nothing(
        self, url: str, server_world: World
    ) -> None:
        chargers = [await server_world.charger() for _ in range(4)]
        async with writing(url) as writer:

            async def one(row: Charger) -> None:
                for number in range(150):
                    await writer.write(
                        *metered(row.id, str(number)), told(row.id, "Charging"), logged(row.id, "x")
                    )

            await asyncio.gather(*(one(row) for row in chargers))
            assert writer.depth == 0
        query = "SELECT count(*) FROM charging_meter_value WHERE charger_id = ANY(%s)"
        assert await rows(url, query, [row.id for row in chargers]) == [(600,)]
        query = "SELECT count(*) FROM gateway_message WHERE charger_id = ANY(%s)"
        assert await rows(url, query, [row.id for row in chargers]) == [(600,)]

    async def test_one_that_fails_over_its_own_answer_does_not_stop_the_others(
        self, url: str, server_world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        row = await server_world.charger()
        results = Results()

        def stumble(_: Exception | None) -> None:
            raise ValueError("of the test")

        broken = Entry(metered(row.id, "1"), stumble)
        async with writing(url, broken, results.entry("next", *metered(row.id, "2"))) as writer:
            await writer.drain()
            for number in range(3, 7):
                await asyncio.wait_for(writer.write(*metered(row.id, str(number))), 60)
        assert results.kinds == {"next": "NoneType"}
        assert "of the test" in caplog.text

    async def test_the_log_takes_any_text(self, url: str) -> None:
        identity = f"log-{uuid4().hex[:8]}"
        texts = ["\0", "\\u0000", "a\tb\nc\rd\\e\\\\f\\N", '"quoted"', "\\.", "é€😀", "x" * 100_000, ""]
        results = Results()
        entries = [results.entry(str(n), logged(identity, text)) for n, text in enumerate(texts)]
        async with writing(url, *entries) as writer:
            await writer.drain()
        assert [error for _, error in results.given] == [None] * len(texts)
        stored = await rows(
            url, "SELECT request FROM gateway_message WHERE charger_id = %s ORDER BY id", identity
        )
        assert [one for (one,) in stored] == ["\\u0000", *texts[1:]]


class TestAnswers:
    @pytest.mark.parametrize(
        ("table", "action", "payload"),
        [
            ("gateway_message", "Heartbeat", {}),
            ("gateway_message", "Authorize", {"idTag": "T"}),
            ("stations_status_event", "StatusNotification", {"errorCode": "NoError", "status": "Available"}),
            ("charging_meter_value", "MeterValues", {"meterValue": metered_payload("1")}),
            ("charging_session", "StartTransaction", {"idTag": "T", "meterStart": 0, "timestamp": AT}),
            (
                "charging_session",
                "StopTransaction",
                {"transactionId": 7, "meterStop": 0, "timestamp": AT},
            ),
            ("stations_report", "DataTransfer", {"vendorId": "v"}),
        ],
    )
    async def test_no_answer_leaves_before_its_facts_are_committed(
        self, url: str, raw: RawCharger, table: str, action: str, payload: dict[str, Any]
    ) -> None:
        if action in {"StatusNotification", "MeterValues", "StartTransaction"}:
            payload = {"connectorId": 1, **payload}
        async with await psycopg.AsyncConnection.connect(url) as other:
            await other.execute(f"LOCK TABLE {table} IN EXCLUSIVE MODE".encode())
            answer = asyncio.create_task(raw.call(action, payload))
            await until(lambda: waits_for_a_lock(url))
            # Its write stands at the lock, so nothing of it is committed.
            assert not answer.done()
            assert raw.texts == []
            await other.rollback()
        assert (await asyncio.wait_for(answer, 60))[0] == 3


class TestDeadlocks:
    async def test_the_writer_tries_again_when_it_is_the_victim(self, url: str, server_world: World) -> None:
        first, second = sorted(
            [await server_world.charger(), await server_world.charger()], key=lambda row: row.id
        )
        update = b"UPDATE stations_connector SET info = 'other' WHERE charger_id = %s AND connector_id = 1"
        async with (
            await psycopg.AsyncConnection.connect(url) as other,
            writing(url) as writer,
        ):
            await other.execute(b"SET deadlock_timeout = '60s'")
            await other.execute(update, [second.id])
            # It locks the first connector, and waits for the second.
            write = asyncio.create_task(writer.write(told(first.id, "Charging"), told(second.id, "Charging")))
            await until(lambda: waits_for_a_lock(url))
            # That this comes through before the commit shows that the writer was rolled back.
            await asyncio.wait_for(other.execute(update, [first.id]), 60)
            assert not write.done()
            await other.commit()
            await asyncio.wait_for(write, 60)
            assert writer.away_since is None
        query = "SELECT status FROM stations_connector WHERE charger_id = ANY(%s) AND connector_id = 1"
        assert await rows(url, query, [first.id, second.id]) == [("Charging",), ("Charging",)]

    async def test_a_message_with_a_transaction_of_its_own_is_tried_again_too(
        self, url: str, row: Charger, raw: RawCharger, tag: str, api: AdminApi
    ) -> None:
        old = (await raw.start(tag))["transactionId"]
        lock = b"SELECT pg_advisory_xact_lock(hashtextextended('charging:' || %s, 0))"
        async with await psycopg.AsyncConnection.connect(url) as other:
            await other.execute(b"SET deadlock_timeout = '60s'")
            await other.execute(
                b"SELECT 1 FROM charging_session WHERE ocpp_transaction_id = %s FOR UPDATE", [old]
            )
            # The start holds the charger's lock, and waits for the session that it replaces.
            start = asyncio.create_task(raw.start(tag, at="2026-05-04T12:30:00Z"))
            await until(lambda: waits_for_a_lock(url))
            await asyncio.wait_for(other.execute(lock, [row.id]), 60)
            assert not start.done()
            await other.commit()
            new = (await asyncio.wait_for(start, 60))["transactionId"]
        sessions = await api.transactions(row.id)
        assert [(one["ocpp_transaction_id"], one["status"]) for one in sessions] == [
            (old, "Completed"),
            (new, "Active"),
        ]


async def waits_for_a_lock(url: str) -> bool:
    """Whether anybody in this database waits for a lock."""
    query = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    return bool(await rows(url, query))


class TestDatabaseAway:
    async def test_entries_fail_at_once_and_the_writer_comes_back_by_itself(
        self, database_factory: Any, postgres: EmbeddedPostgres
    ) -> None:
        url = str(database_factory("writer"))
        name = url.rpartition("/")[2].partition("?")[0]
        admin = postgres.url("postgres")
        async with writing(url) as writer:
            await writer.write(logged("before", "x"))
            await rows_of_none(admin, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            await rows(
                admin, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", name
            )
            results = Results()
            for number in range(3):
                writer.submit(results.entry(str(number), logged("away", "x")))
            await asyncio.wait_for(writer.drain(), 60)
            assert set(results.kinds.values()) == {"DatabaseAway"}
            assert writer.away_since is not None
            with pytest.raises(DatabaseAway):
                await asyncio.wait_for(writer.write(logged("away", "x")), 60)
            await rows_of_none(admin, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")

            async def is_back() -> bool:
                return writer.away_since is None

            # Nobody writes anything: it looks by itself.
            await until(is_back)
            await writer.write(logged("after", "x"))
        assert await rows(url, "SELECT DISTINCT charger_id FROM gateway_message ORDER BY 1") == [
            ("after",),
            ("before",),
        ]


async def rows_of_none(url: str, statement: str) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(statement.encode())


async def test_sockets_that_open_and_close_at_once_leave_nobody_online_and_no_row_open(
    server: RunningServer, server_world: World, url: str
) -> None:
    station = await server_world.station()
    chargers = [await server_world.charger(station, connectors=1) for _ in range(40)]
    identities = [row.id for row in chargers]

    async def come_and_go(identity: str) -> None:
        for _ in range(3):
            raw = await RawCharger.connect(server.ws, identity)
            await raw.vanish()
        async with charger(server.ws, identity) as raw:
            await raw.result("Heartbeat")

    await asyncio.gather(*(come_and_go(identity) for identity in identities))

    async def settled() -> bool:
        [counts] = await rows(
            url,
            "SELECT (SELECT count(*) FROM gateway_connection WHERE charger_id = ANY(%s)),"
            " (SELECT count(*) FROM gateway_connection WHERE charger_id = ANY(%s) AND closed_at IS NULL),"
            " (SELECT count(*) FROM stations_charger WHERE id = ANY(%s) AND online)",
            identities,
            identities,
            identities,
        )
        return bool(counts == (160, 0, 0))

    await until(settled)

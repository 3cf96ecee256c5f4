"""What was answered is committed: seen by another connection at the first byte, and after a `kill -9`."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.types import Message, Receive, Scope, Send
from tests.chargers import charger
from tests.faults.failpoint import MARKER
from tests.faults.processes import Failing, serve
from tests.faults.proof import rows
from tests.running import RunningServer, free_port
from tests.world import World

from ohmstead.core.clock import SystemClock
from ohmstead.core.config import Settings
from ohmstead.core.db import Database

SECRET = "a secret of the tests that is long enough"


class AtFirstByte:
    """The application, with a question to the database at the moment at which an answer begins to leave."""

    def __init__(self, app: Any, url: str) -> None:
        self.app = app
        self.url = url
        self.query = ("", "")
        self.seen: list[tuple[Any, ...]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.seen = await rows(self.url, *self.query)
            await send(message)

        await self.app(scope, receive, watched)


class TestHttp:
    @pytest.fixture
    def watched(self, server: RunningServer) -> AtFirstByte:
        return AtFirstByte(server.app, server.settings.postgres_url)

    async def ask(
        self,
        watched: AtFirstByte,
        query: tuple[str, str],
        method: str,
        path: str,
        status: int,
        **request: Any,
    ) -> list[tuple[Any, ...]]:
        """Send a request; returns what another connection saw when its answer began."""
        watched.query, watched.seen = query, []
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app=watched), base_url="http://test"
        ) as client:
            answer = await client.request(method, path, **request)
        assert answer.status_code == status, answer.text
        return watched.seen

    async def test_every_kind_of_write_is_seen_by_others_before_the_first_byte_of_its_answer(
        self, watched: AtFirstByte, server_world: World
    ) -> None:
        headers = (await server_world.admin()).headers
        business = await server_world.backoffice()
        name = f"First byte {uuid4().hex[:6]}"
        query = ("SELECT city FROM stations_station WHERE name = %s", name)
        wanted = {"name": name, "backoffice_id": str(business.id), "city": "Oslo"}
        url = "/api/admin/stations"
        assert await self.ask(watched, query, "POST", url, 201, json=wanted, headers=headers) == [("Oslo",)]
        ((station,),) = await rows(
            watched.url,
            "SELECT id FROM stations_station WHERE name = %s",
            name,
        )
        one = f"{url}/{station}"
        assert await self.ask(watched, query, "PUT", one, 200, json={"city": "Bergen"}, headers=headers) == [
            ("Bergen",)
        ]
        assert await self.ask(watched, query, "DELETE", one, 204, headers=headers) == []

    async def test_a_commit_that_fails_is_no_success(
        self, watched: AtFirstByte, server_world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        headers = (await server_world.admin()).headers
        business = await server_world.backoffice()

        async def fail(_: AsyncSession) -> None:
            raise ConnectionResetError("the database went in this moment")

        monkeypatch.setattr(AsyncSession, "commit", fail)
        name = f"Never {uuid4().hex[:6]}"
        query = ("SELECT 1 FROM stations_station WHERE name = %s", name)
        wanted = {"name": name, "backoffice_id": str(business.id)}
        assert (
            await self.ask(watched, query, "POST", "/api/admin/stations", 503, json=wanted, headers=headers)
            == []
        )


class TestOcpp:
    async def test_when_a_result_arrives_others_see_the_row(
        self, server: RunningServer, server_world: World
    ) -> None:
        known = await server_world.charger()
        await server_world.token(id_tag=(tag := uuid4().hex[:12]))

        async def see(query: str) -> list[tuple[Any, ...]]:
            return await rows(server.settings.postgres_url, query, known.id)

        async with charger(server.ws, known.id) as raw:
            await raw.boot(firmwareVersion="7")
            assert await see("SELECT firmware_version FROM stations_charger WHERE id = %s") == [("7",)]
            await raw.status("Preparing", timestamp="2026-05-04T11:59:00Z")
            assert await see(
                "SELECT status FROM stations_connector WHERE charger_id = %s AND connector_id = 1"
            ) == [("Preparing",)]
            await raw.status("Faulted", timestamp="2026-05-04T11:59:10Z")
            assert len(await see("SELECT 1 FROM stations_status_event WHERE charger_id = %s")) == 2
            transaction = (await raw.start(tag))["transactionId"]
            assert await see("SELECT ocpp_transaction_id FROM charging_session WHERE charger_id = %s") == [
                (transaction,)
            ]
            values = "SELECT count(*), max(register_wh)::int FROM charging_meter_value WHERE charger_id = %s"
            assert (await raw.meter("2026-05-04T12:10:00Z", "500", transaction=transaction))[0] == 3
            assert await see(values) == [(1, 500)]
            assert (await raw.meter("2026-05-04T12:05:00Z", "200", transaction=transaction))[
                0
            ] == 3  # comes late
            assert await see(values) == [(2, 500)]
            await raw.stop(transaction)
            assert await see("SELECT status, meter_stop FROM charging_session WHERE charger_id = %s") == [
                ("Completed", 1000)
            ]
            for action, payload in REPORTS.items():
                await raw.result(action, payload)
                reported = await see(
                    "SELECT action FROM stations_report WHERE charger_id = %s ORDER BY id DESC"
                )
                assert reported[0] == (action,)

    @pytest.mark.parametrize(
        ("table", "action", "payload"),
        [
            (
                "stations_status_event",
                "StatusNotification",
                {"connectorId": 1, "errorCode": "NoError", "status": "Preparing"},
            ),
            (
                "charging_meter_value",
                "MeterValues",
                {
                    "connectorId": 1,
                    "meterValue": [{"timestamp": "2026-05-04T12:00:00Z", "sampledValue": [{"value": "1"}]}],
                },
            ),
            (
                "charging_session",
                "StartTransaction",
                {"connectorId": 1, "idTag": "HELD", "meterStart": 0, "timestamp": "2026-05-04T12:00:00Z"},
            ),
            ("stations_report", "FirmwareStatusNotification", {"status": "Installed"}),
            ("gateway_message", "Heartbeat", {}),
        ],
    )
    async def test_no_result_comes_while_the_write_is_held_up(
        self, server: RunningServer, server_world: World, table: str, action: str, payload: dict[str, Any]
    ) -> None:
        known = await server_world.charger()
        async with charger(server.ws, known.id) as raw:
            await raw.boot()
            async with await psycopg.AsyncConnection.connect(server.settings.postgres_url) as other:
                await other.execute(f"LOCK TABLE {table} IN EXCLUSIVE MODE".encode())
                answer = asyncio.create_task(raw.call(action, payload))
                done, _ = await asyncio.wait({answer}, timeout=0.4)
                assert not done, "it was answered before it was written"
                await other.rollback()
                assert (await asyncio.wait_for(answer, 60))[0] == 3

    async def test_every_answered_message_is_in_the_log_with_its_answer(
        self, server: RunningServer, server_world: World
    ) -> None:
        known = await server_world.charger()
        async with charger(server.ws, known.id) as raw:
            for number in range(20):
                await raw.call("Heartbeat", message_id=f"beat-{number}")
                logged = await rows(
                    server.settings.postgres_url,
                    "SELECT message_id FROM gateway_message WHERE response IS NOT NULL"
                    " AND charger_id = %s ORDER BY id DESC LIMIT 1",
                    known.id,
                )
                assert logged == [(f"beat-{number}",)]


REPORTS: dict[str, dict[str, Any]] = {
    "DiagnosticsStatusNotification": {"status": "Uploaded"},
    "FirmwareStatusNotification": {"status": "Installed"},
    "LogStatusNotification": {"status": "Uploaded", "requestId": 1},
    "SecurityEventNotification": {"type": "StartupOfTheDevice", "timestamp": "2026-05-04T12:00:00Z"},
    "SignCertificate": {"csr": "-----BEGIN CERTIFICATE REQUEST-----"},
    "SignedFirmwareStatusNotification": {"status": "Installed", "requestId": 1},
}


class TestKilled:
    """The process dies (-9) at the worst moment; another one takes its place."""

    @pytest.fixture
    async def killable(self, database_factory: Any) -> "Killable":
        url = str(database_factory("killable"))
        database = Database(url)
        settings = Settings.load(environment="test", database_url=url, secret_key=SECRET)
        world = World(database, settings, SystemClock())
        headers = (await world.admin()).headers
        business = await world.backoffice()
        known = await world.charger(await world.station(business))
        await world.token(id_tag=MARKER)
        await database.close()
        return Killable(url, headers, {"name": MARKER, "backoffice_id": str(business.id)}, known.id)

    @pytest.mark.parametrize(("failpoint", "kept"), [("before-commit", 0), ("http-answer", 1)])
    async def test_a_write_without_an_answer_is_there_if_and_only_if_it_had_committed(
        self, killable: "Killable", failpoint: str, kept: int
    ) -> None:
        async def create(port: int) -> None:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as http:
                with pytest.raises(httpx.TransportError):
                    await http.post("/api/admin/stations", json=killable.station, headers=killable.headers)

        await killable.until_it_dies(failpoint, create)
        found = await rows(killable.url, "SELECT count(*) FROM stations_station WHERE name = %s", MARKER)
        assert found == [(kept,)]

    async def test_a_start_whose_answer_was_lost_is_the_same_session_at_the_next_server(
        self, killable: "Killable"
    ) -> None:
        async def start(port: int) -> None:
            async with charger(f"ws://127.0.0.1:{port}", killable.charger) as raw:
                with pytest.raises(ConnectionError):
                    await raw.start(MARKER)

        await killable.until_it_dies("ocpp-answer", start)
        query = "SELECT ocpp_transaction_id FROM charging_session"
        before = await rows(killable.url, query)
        assert len(before) == 1, "it had committed"
        port = free_port()
        with serve(port, DATABASE_URL=killable.url) as server:
            await asyncio.to_thread(server.await_health, port)
            async with charger(f"ws://127.0.0.1:{port}", killable.charger) as raw:
                assert (await raw.start(MARKER))["transactionId"] == before[0][0]
            assert await rows(killable.url, query) == before
            assert server.stop(signal.SIGTERM) == 0, server.text()

    async def test_every_201_that_was_received_before_a_kill_is_in_the_database(
        self, killable: "Killable"
    ) -> None:
        port = free_port()
        received: list[str] = []
        enough = asyncio.Event()

        async def write(worker: int) -> None:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as http:
                number = 0
                while True:
                    number += 1
                    tag = f"K{worker}-{number}"
                    answer = await http.post(
                        "/api/admin/id-tags", json={"id_tag": tag}, headers=killable.headers
                    )
                    assert answer.status_code == 201, answer.text
                    received.append(tag)
                    if len(received) >= 60:
                        enough.set()

        with serve(port, DATABASE_URL=killable.url) as server:
            await asyncio.to_thread(server.await_health, port)
            writers = [asyncio.create_task(write(worker)) for worker in range(6)]
            await asyncio.wait_for(enough.wait(), 60)
            server.process.send_signal(signal.SIGKILL)
            ends = await asyncio.gather(*writers, return_exceptions=True)
        assert all(isinstance(end, httpx.TransportError) for end in ends), ends
        found = {tag for (tag,) in await rows(killable.url, "SELECT id_tag FROM accounts_token")}
        assert set(received) <= found


class Killable:
    """A database, who may write to it, and servers on it that die."""

    def __init__(self, url: str, headers: dict[str, str], station: dict[str, str], charger_id: str) -> None:
        self.url = url
        self.headers = headers
        self.station = station
        self.charger = charger_id

    async def until_it_dies(self, failpoint: str, act: Callable[[int], Awaitable[None]]) -> None:
        """Start a server with a failpoint, act, and see it killed."""
        port = free_port()
        with Failing(failpoint, port, DATABASE_URL=self.url) as server:
            await asyncio.to_thread(server.await_health, port)
            await act(port)
            assert await asyncio.to_thread(server.process.wait, 20) == -signal.SIGKILL

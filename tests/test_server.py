"""How the server begins, what it listens on, and how it ends."""

import asyncio
import contextlib
import socket
import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from annotated_types import Ge, Le
from procrastinate.exceptions import AlreadyEnqueued
from sqlalchemy import text
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from ohmstead.accounts.lockout import FAILURES_AT_MOST
from ohmstead.app import create_app
from ohmstead.core.config import Settings
from ohmstead.core.errors import StartupError
from ohmstead.server import Server
from tests.chargers import charger
from tests.cli.certificates import pair
from tests.running import RunningServer, free_port
from tests.world import World


async def jobs_in(server: RunningServer, *states: str) -> int:
    """How many jobs are in these states."""
    query = text("SELECT count(*) FROM procrastinate_jobs WHERE status::text = ANY(:states)")
    async with server.database.session() as session:
        return int((await session.execute(query, {"states": list(states)})).scalar_one())


class TestServer:
    async def test_chargers_and_people_share_the_port(
        self, server: RunningServer, server_world: World
    ) -> None:
        known = await server_world.charger()
        async with charger(server.ws, known.id) as raw, httpx.AsyncClient(base_url=server.http) as http:
            assert (await raw.boot())["status"] == "Accepted"
            assert (await http.get("/health")).status_code == 200
            browser = await http.get(f"/ocpp/{known.id}")
            assert (browser.status_code, browser.headers["upgrade"]) == (426, "websocket")

    async def test_a_second_port_is_for_chargers_only(self, make_server: Any) -> None:
        async with make_server(ocpp_port=free_port()) as server:
            world = World(server.database, server.settings, server.app.state.clock)
            known = await world.charger()
            second = server.settings.ocpp_port
            async with charger(f"ws://127.0.0.1:{second}", known.id) as raw:
                assert (await raw.boot())["status"] == "Accepted"
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{second}") as http:
                answer = await http.get("/health")
                assert (answer.status_code, answer.json()["error"]) == (404, "NotFound")
            with pytest.raises(InvalidStatus):
                await connect(f"ws://127.0.0.1:{second}/api/live")

    async def test_it_refuses_a_taken_port_and_closes_what_it_had_opened(self, settings: Settings) -> None:
        free = free_port()
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            ports = {"port": free, "ocpp_port": taken.getsockname()[1]}
            changed = settings.model_copy(update=ports)
            with pytest.raises(StartupError, match=f"port {ports['ocpp_port']}: address already in use"):
                await Server(create_app(changed), changed, host="127.0.0.1").run()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", free))

    async def test_it_refuses_a_database_that_is_away_or_behind(self, settings: Settings) -> None:
        changed = settings.model_copy(
            update={"port": free_port(), "database_url": "postgresql://me@127.0.0.1:1/x"}
        )
        with pytest.raises(StartupError, match="cannot be reached"):
            await Server(create_app(changed), changed, host="127.0.0.1").run()

    @pytest.mark.parametrize(
        ("cert", "key"), [("nowhere.pem", "a.key"), ("a.pem", "garbage"), ("a.pem", "b.key")]
    )
    async def test_it_refuses_a_certificate_that_cannot_be_used_before_it_listens(
        self, settings: Settings, tmp_path: Path, cert: str, key: str
    ) -> None:
        pair(tmp_path, "a")
        pair(tmp_path, "b")
        (tmp_path / "garbage").write_text("garbage")
        port = free_port()
        files = {"tls_cert": tmp_path / cert, "tls_key": tmp_path / key}
        changed = settings.model_copy(update={"port": port, **files})
        ready: list[bool] = []
        server = Server(create_app(changed), changed, host="127.0.0.1", on_ready=lambda: ready.append(True))
        async with asyncio.timeout(60):
            with pytest.raises(StartupError, match=r"OHMSTEAD_TLS|certificate"):
                await server.run()
        assert not ready, "it did not call itself ready"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))

    async def test_with_a_certificate_it_speaks_https(self, make_server: Any, tmp_path: Path) -> None:
        certificate, key = pair(tmp_path, "a")
        trust = ssl.create_default_context(cafile=str(certificate))
        trust.check_hostname = False
        async with (
            make_server(tls_cert=certificate, tls_key=key) as server,
            httpx.AsyncClient(verify=trust) as http,
        ):
            assert (await http.get(f"https://127.0.0.1:{server.port}/health")).status_code == 200

    @pytest.mark.parametrize("part", ["startup", "main_loop"])
    async def test_a_listener_that_breaks_ends_the_server_with_its_reason(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch, part: str
    ) -> None:
        async def break_down(*_: object, **__: object) -> None:
            raise RuntimeError("the wheels came off")

        monkeypatch.setattr(uvicorn.Server, part, break_down)
        changed = settings.model_copy(update={"port": free_port()})
        left: list[bool] = []

        async def before_stop() -> None:
            left.append(True)

        server = Server(create_app(changed), changed, host="127.0.0.1", before_stop=before_stop)
        async with asyncio.timeout(60):
            with pytest.raises(StartupError, match="the wheels came off"):
                await server.run()
        assert left, "what belongs to it is stopped too"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", changed.port))

    @pytest.mark.parametrize("bound", [Ge, Le])
    async def test_it_starts_with_every_number_at_its_least_and_at_its_most(
        self, make_server: Any, bound: type
    ) -> None:
        numbers = {
            name: getattr(marks[0], bound.__name__.lower())
            for name, field in Settings.model_fields.items()
            if not name.endswith("port")
            and (marks := [mark for mark in field.metadata if isinstance(mark, bound)])
        }
        assert {"message_log_days", "shutdown_grace_seconds", "db_pool_size"} <= set(numbers)
        async with make_server(**numbers) as server, httpx.AsyncClient(base_url=server.http) as http:
            assert (await http.get("/health/ready")).status_code == 200
            for task in server.app.state.jobs.app.tasks.values():
                if task.queueing_lock is not None:  # what comes by the clock, and may have come just now
                    with contextlib.suppress(AlreadyEnqueued):
                        await task.defer_async(timestamp=0)
            async with asyncio.timeout(60):
                open_jobs = 1
                while open_jobs:
                    await asyncio.sleep(0.05)
                    open_jobs = await jobs_in(server, "todo", "doing")
            assert await jobs_in(server, "failed") == 0
            assert await jobs_in(server, "succeeded") >= 5

    @pytest.mark.parametrize("trusted", [True, False])
    async def test_only_a_trusted_proxy_is_believed_who_signs_in(
        self, make_server: Any, trusted: bool
    ) -> None:
        login = {"username": "nobody@example.com", "password": "a wrong password"}
        proxies = "127.0.0.0/8" if trusted else "192.0.2.0/24"
        async with (
            make_server(trusted_proxies=proxies) as server,
            httpx.AsyncClient(base_url=server.http) as http,
        ):

            async def attempt(address: str) -> int:
                headers = {"X-Forwarded-For": address}
                return (await http.post("/api/auth/login", json=login, headers=headers)).status_code

            assert {await attempt("198.51.100.1") for _ in range(FAILURES_AT_MOST)} == {401}
            assert await attempt("198.51.100.1") == 429
            assert await attempt("198.51.100.2") == (401 if trusted else 429)

    async def test_the_first_administrator_is_made_from_the_settings_and_can_sign_in(
        self, make_server: Any
    ) -> None:
        login = {"username": "First@Example.com", "password": "a-long-enough-password"}
        async with (
            make_server(admin_email="first@example.com", admin_password="a-long-enough-password") as server,
            httpx.AsyncClient(base_url=server.http) as http,
        ):
            answer = await http.post("/api/auth/login", json=login)
            assert (answer.status_code, answer.json()["role"]) == (200, "SystemAdmin")

    async def test_a_stop_answers_what_has_begun_and_takes_nothing_new(self, make_server: Any) -> None:
        async with make_server() as server:
            world = World(server.database, server.settings, server.app.state.clock)
            known = await world.charger()
            async with charger(server.ws, known.id) as raw:
                await raw.boot()
                beats = [
                    asyncio.create_task(raw.call("Heartbeat", message_id=f"b{number}"))
                    for number in range(20)
                ]
                await asyncio.sleep(0)
                server.server.stop()
                code, reason = await raw.closed()
                answers = await asyncio.gather(*beats, return_exceptions=True)
            assert (code, reason) == (1001, "the server stops")
            assert all(
                isinstance(one, ConnectionError) or (isinstance(one, list) and one[0] == 3) for one in answers
            )

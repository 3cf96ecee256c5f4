"""Whose record it is: the charger of a request's path, and the charger whose message is served."""

import asyncio
import io
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
import structlog
from tests.chargers import RawCharger, until
from tests.gateway.admin import AdminApi
from tests.gateway.knocking import knock
from tests.running import RunningServer
from tests.world import World
from websockets.asyncio.client import connect

from ohmstead.accounts.models import Role
from ohmstead.gateway.connection import ChargerConnection
from ohmstead.gateway.route import Route
from ohmstead.gateway.v16 import routes
from ohmstead.stations.models import Charger

MakeServer = Callable[..., AbstractAsyncContextManager[RunningServer]]
Records = Callable[[], list[dict[str, Any]]]
inside = structlog.stdlib.get_logger("ohmstead.test.inside")


@pytest.fixture
def records(server: RunningServer) -> Iterator[Records]:
    """What the server writes into its log, as JSON, while the test runs."""
    root = logging.getLogger()
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    formatter = structlog.stdlib.ProcessorFormatter(
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer(),
        ],
        foreign_pre_chain=structlog.get_config()["processors"][:-1],
    )
    handler.setFormatter(formatter)
    level = root.level
    root.setLevel(logging.INFO)
    root.addHandler(handler)
    yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    root.removeHandler(handler)
    root.setLevel(level)


def of(records: Records, **wanted: Any) -> list[dict[str, Any]]:
    """The records that have these members."""
    return [one for one in records() if all(one.get(name) == value for name, value in wanted.items())]


class TestRequests:
    @pytest.mark.parametrize("identity", [None, "house/7", "DE*OHM:E+1"])
    @pytest.mark.parametrize("path", ["", "/status-history", "/reports"])
    async def test_a_request_of_a_chargers_route_names_it_beside_its_template(
        self, server_world: World, api: AdminApi, records: Records, identity: str | None, path: str
    ) -> None:
        row = await server_world.charger(id=f"{identity}-{path.strip('/')}-log" if identity else None)
        quoted = "".join(f"%{byte:02X}" for byte in row.id.encode())
        answer = await api.client.get(f"/api/admin/chargers/{quoted}{path}")
        assert answer.status_code == 200
        [record] = of(records, event="http.request", request_id=answer.headers["X-Request-ID"])
        assert record["charger_id"] == row.id
        assert record["route"] == f"/api/admin/chargers/{{charger_id}}{path}"

    async def test_what_is_logged_while_it_is_served_names_it_too(
        self, raw: RawCharger, row: Charger, api: AdminApi, records: Records, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        original = ChargerConnection.call

        async def logging_call(link: ChargerConnection, *args: Any, **options: Any) -> Any:
            inside.info("asked")
            return await original(link, *args, **options)

        monkeypatch.setattr(ChargerConnection, "call", logging_call)
        asked = asyncio.create_task(api.command(row.id, "ClearCache"))
        call = await raw.next_call()
        await raw.answer(call, {"status": "Accepted"})
        answer = await asked
        written = of(records, request_id=answer.headers["X-Request-ID"])
        assert {one["event"] for one in written} == {"asked", "http.request"}
        assert {one["charger_id"] for one in written} == {row.id}

    async def test_another_request_names_none(self, api: AdminApi, records: Records) -> None:
        for path in ("/api/admin/chargers", "/api/admin/transactions", "/nowhere"):
            answer = await api.client.get(path)
            [record] = of(records, event="http.request", request_id=answer.headers["X-Request-ID"])
            assert "charger_id" not in record
            assert record["route"] in {path, "unknown"}


class TestMessages:
    @pytest.mark.parametrize(
        ("action", "payload"),
        [
            ("Authorize", {"idTag": "T"}),
            ("StopTransaction", {"transactionId": 1, "meterStop": "broken"}),
        ],
    )
    async def test_what_a_message_does_is_logged_with_its_charger(
        self,
        *,
        server: RunningServer,
        server_world: World,
        records: Records,
        monkeypatch: pytest.MonkeyPatch,
        action: str,
        payload: Any,
    ) -> None:
        name = f"{action}.served"

        async def handler(context: Any, body: Any) -> Any:
            inside.warning(name)
            logging.getLogger("some.library").warning("%s too", name)
            return {"idTagInfo": {"status": "Accepted"}} if action == "Authorize" else {}

        route = Route(handler)
        monkeypatch.setitem(routes.ROUTES, action, route)
        monkeypatch.setattr(routes, "refused_stop", handler)
        rows = [await server_world.charger() for _ in range(3)]
        chargers = [await RawCharger.connect(server.ws, row.id) for row in rows]
        await asyncio.gather(*(raw.call(action, payload) for raw in chargers))
        for event in (name, f"{name} too"):
            assert {one.get("charger_id") for one in of(records, event=event)} == {row.id for row in rows}
        for raw in chargers:
            await raw.close()

    async def test_a_handshake_that_fails_names_who_knocked(
        self, server: RunningServer, row: Charger, records: Records, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def fails(_: str) -> None:
            raise RuntimeError("a fault of ours")

        monkeypatch.setattr(server.app.state.gateway.door, "lookup", fails)
        assert (await knock(server.port, f"/ocpp/{row.id}")).status == 500
        [record] = of(records, event="gateway.handshake_failed")
        assert record["charger_id"] == row.id


async def test_the_live_topic_of_the_log_tells_what_is_logged_masked(make_server: MakeServer) -> None:
    # A server of its own: of several in one process the log goes to the watchers of the newest.
    async with make_server() as server:
        user = await World(server.database, server.settings, server.app.state.clock).admin()
        async with connect(f"{server.ws}/api/live", proxy=None) as socket:
            await socket.send(json.dumps({"token": user.token, "topics": ["log"]}))
            assert json.loads(await socket.recv())["type"] == "welcome"

            async def told(event: str) -> dict[str, Any]:
                async with asyncio.timeout(60):
                    while True:
                        message = json.loads(await socket.recv())
                        if message["type"] == "event" and message["data"]["event"].startswith(event):
                            return dict(message)

            inside.warning("files.away", url="ftp://u:hunter2@h/x", password="hunter2", charger_id="CP-1")
            message = await told("files.away")
            assert message["kind"] == "log.record"
            assert (message["data"]["charger_id"], message["data"]["level"]) == ("CP-1", "warning")
            logging.getLogger("some.library").warning("cannot reach %s", "postgresql://u:hunter2@db/x")
            also = await told("cannot reach")
            assert "hunter2" not in f"{message}{also}"
            assert "u:***@" in also["data"]["event"]


async def test_nobody_but_a_system_admin_hears_the_log(server: RunningServer, server_world: World) -> None:
    user = await server_world.user(Role.OPERATOR)
    async with connect(f"{server.ws}/api/live", proxy=None) as socket:
        await socket.send(json.dumps({"token": user.token, "topics": ["log"]}))

        async def closed() -> bool:
            return socket.close_code is not None

        await until(closed)

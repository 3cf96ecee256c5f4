"""The application as a whole: its pages, its contract, and how its server begins and ends."""

import asyncio
import re
import socket
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from ohmstead.accounts.models import Role
from ohmstead.app import Server, create_app
from ohmstead.core.config import Settings
from ohmstead.core.errors import StartupError
from tests.chargers import charger
from tests.running import RunningServer, free_port
from tests.world import World


class Links(HTMLParser):
    """Collects what a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.inline = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in {"script", "img"} and given.get("src"):
            self.loaded.append(str(given["src"]))
        elif tag == "link":
            self.loaded.append(str(given["href"]))
        elif tag in {"script", "style"}:
            self.inline += 1
        self.inline += sum(name.startswith("on") or name == "style" for name in given)


class TestDocs:
    async def test_the_page_loads_only_files_of_this_server_which_its_policy_allows(
        self, client: httpx.AsyncClient
    ) -> None:
        page = await client.get("/docs")
        assert page.status_code == 200
        policy = dict(
            part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";")
        )
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == "'self'"
        assert "http" not in page.headers["content-security-policy"]
        links = Links()
        links.feed(page.text)
        assert links.inline == 0, "the policy forbids scripts within the page"
        assert {re.sub(r".*\.", "", path) for path in links.loaded} == {"svg", "css", "js"}
        for path in links.loaded:
            assert path.startswith("/docs/")
            file = await client.get(path)
            assert (file.status_code, file.headers["x-content-type-options"]) == (200, "nosniff")
            kind = {"svg": "image/svg+xml", "css": "text/css", "js": "text/javascript"}[
                path.rpartition(".")[2]
            ]
            assert file.headers["content-type"].startswith(kind)
        assert "/openapi.json" in (await client.get("/docs/start.js")).text

    async def test_swagger_leads_there(self, client: httpx.AsyncClient) -> None:
        answer = await client.get("/swagger")
        assert (answer.status_code, answer.headers["location"]) == (307, "/docs")

    async def test_the_contract_names_every_endpoint_with_a_word_on_what_it_does(
        self, client: httpx.AsyncClient
    ) -> None:
        contract = (await client.get("/openapi.json")).json()
        assert contract["info"]["title"] == "Ohmstead"
        for path, methods in contract["paths"].items():
            for method, operation in methods.items():
                assert operation.get("description") or operation.get("summary"), f"{method} {path}"
        assert "/api/admin/transactions" in contract["paths"]
        assert not any(path.startswith(("/docs", "/ocpp")) for path in contract["paths"])


class TestAuthorization:
    def admin_routes(self, app: FastAPI) -> list[tuple[str, str]]:
        contract = app.openapi()
        return [
            (method.upper(), re.sub(r"\{[^}]*\}", "00000000-0000-0000-0000-000000000000", path))
            for path, methods in contract["paths"].items()
            for method in methods
            if path.startswith("/api/admin")
        ]

    async def test_no_admin_endpoint_answers_somebody_unknown(
        self, app: FastAPI, client: httpx.AsyncClient
    ) -> None:
        routes = self.admin_routes(app)
        assert len(routes) > 20
        for method, path in routes:
            answer = await client.request(method, path, json={})
            assert (answer.status_code, answer.json()["error"]) == (401, "Unauthorized"), f"{method} {path}"

    async def test_none_answers_a_driver(self, app: FastAPI, client: httpx.AsyncClient, world: World) -> None:
        headers = (await world.user(Role.EV_OWNER)).headers
        for method, path in self.admin_routes(app):
            answer = await client.request(method, path, json={}, headers=headers)
            assert answer.status_code in {403, 422}, f"{method} {path}: {answer.text}"


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

    def test_two_applications_in_one_process_do_not_share_anything(self, settings: Settings) -> None:
        one, two = create_app(settings), create_app(settings)
        for name in ("live", "links", "database", "jobs"):
            assert getattr(one.state, name) is not getattr(two.state, name)

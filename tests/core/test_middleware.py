"""What surrounds every request: its id, its log line, its figures, the headers of its answer, its path."""

import re
from typing import Any

import httpx
import pytest
import structlog
from fastapi import FastAPI, Request
from structlog.testing import LogCapture
from tests.conftest import FrozenClock
from tests.world import World

from ohmstead.app import MAX_BODY, create_app
from ohmstead.core import metrics
from ohmstead.core.config import Settings
from ohmstead.core.middleware import HEADERS


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> LogCapture:
    """The records of the application's log."""
    capture = LogCapture()
    monkeypatch.setattr(
        "structlog._config._CONFIG.default_processors", [structlog.contextvars.merge_contextvars, capture]
    )
    return capture


class TestHeaders:
    @pytest.mark.parametrize("path", ["/health", "/nowhere", "/api/admin/stations", "/docs", "/openapi.json"])
    async def test_every_answer_has_the_headers_of_safety(self, client: httpx.AsyncClient, path: str) -> None:
        answer = await client.get(path)
        for name, value in HEADERS.items():
            if (path, name) != ("/docs", "Content-Security-Policy"):
                assert answer.headers[name] == value
        assert "server" not in answer.headers

    async def test_every_answer_has_an_id_of_its_own(self, client: httpx.AsyncClient) -> None:
        ids = {(await client.get("/health")).headers["x-request-id"] for _ in range(5)}
        assert len(ids) == 5
        assert all(re.fullmatch("[0-9a-f]{16}", one) for one in ids)

    async def test_an_id_that_a_proxy_gave_is_kept(self, client: httpx.AsyncClient) -> None:
        answer = await client.get("/health", headers={"X-Request-ID": "abc-123_x.y"})
        assert answer.headers["x-request-id"] == "abc-123_x.y"

    @pytest.mark.parametrize("given", ["short", "x" * 65, "with blank", 'quote"here', "new\tline99"])
    async def test_one_that_could_spoil_the_log_is_replaced(
        self, client: httpx.AsyncClient, given: str
    ) -> None:
        answer = await client.get("/health", headers={"X-Request-ID": given})
        assert answer.headers["x-request-id"] != given


class TestLog:
    async def test_a_request_is_one_line_with_the_template_of_its_route(
        self, client: httpx.AsyncClient, world: World, log: LogCapture
    ) -> None:
        charger = await world.charger()
        headers = (await world.admin()).headers | {"X-Request-ID": "request-1234"}
        await client.get(f"/api/admin/chargers/{charger.id}?password=hidden", headers=headers)
        (line,) = [entry for entry in log.entries if entry["event"] == "http.request"]
        assert line["route"] == "/api/admin/chargers/{charger_id}"
        assert (line["method"], line["status"], line["request_id"]) == ("GET", 200, "request-1234")
        assert line["duration_ms"] >= 0
        assert charger.id not in str(log.entries)
        assert "hidden" not in str(log.entries)

    async def test_a_path_that_is_nobody_s_is_no_label(
        self, client: httpx.AsyncClient, log: LogCapture
    ) -> None:
        for number in range(3):
            await client.get(f"/wp-admin/{number}")
        lines = [entry for entry in log.entries if entry["event"] == "http.request"]
        assert {line["route"] for line in lines} == {"unknown"}
        routes = {
            sample.labels.get("route")
            for metric in metrics.HTTP_SECONDS.collect()
            for sample in metric.samples
        }
        assert "unknown" in routes
        assert not any(route and "wp-admin" in route for route in routes)

    async def test_what_load_balancers_ask_all_the_time_is_quiet(
        self, client: httpx.AsyncClient, log: LogCapture
    ) -> None:
        await client.get("/health")
        assert [entry["log_level"] for entry in log.entries if entry["event"] == "http.request"] == ["debug"]

    async def test_a_failure_of_ours_is_a_warning(
        self, settings: Settings, clock: FrozenClock, log: LogCapture
    ) -> None:
        app = create_app(settings, clock=clock)

        @app.get("/crash")
        async def crash() -> None:
            raise RuntimeError

        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            assert (await client.get("/crash")).status_code == 500
        (line,) = [entry for entry in log.entries if entry["event"] == "http.request"]
        assert (line["log_level"], line["status"], line["route"]) == ("warning", 500, "/crash")

    async def test_what_one_request_bound_is_not_in_the_next(
        self, client: httpx.AsyncClient, log: LogCapture
    ) -> None:
        await client.get("/health", headers={"X-Request-ID": "first-request"})
        await client.get("/health", headers={"X-Request-ID": "second-request"})
        ids = [entry["request_id"] for entry in log.entries if entry["event"] == "http.request"]
        assert ids == ["first-request", "second-request"]


class TestPaths:
    @pytest.mark.parametrize(
        "path", ["/api/auth/login", "/api/Auth/login", "/api/AUTH/login", "/API/Auth/login"]
    )
    async def test_the_resource_names_of_the_booking_family_count_in_any_case(
        self, client: httpx.AsyncClient, path: str
    ) -> None:
        answer = await client.post(path, json={"username": "nobody@example.com", "password": "wrong"})
        assert (answer.status_code, answer.json()["error"]) == (401, "WrongCredentials")

    @pytest.mark.parametrize("path", ["/api/authx/login", "/API/admin/stations", "/Health"])
    async def test_others_do_not(self, client: httpx.AsyncClient, path: str) -> None:
        assert (await client.get(path)).status_code == 404

    @pytest.mark.parametrize(
        ("name", "identity"),
        [("A%2FB", "A/B"), ("A%2fB", "A/B"), ("%41-1", "A-1"), ("a.b_c-1", "a.b_c-1")],
    )
    async def test_an_identity_may_hold_what_urls_escape(
        self, client: httpx.AsyncClient, world: World, name: str, identity: str
    ) -> None:
        await world.charger(id=identity)
        headers = (await world.admin()).headers
        answer = await client.get(f"/api/admin/chargers/{name}", headers=headers)
        assert answer.status_code == 200, answer.text
        assert answer.json()["id"] == identity

    @pytest.mark.parametrize(
        ("path", "status"),
        [
            ("/api/admin/stations/", 200),
            ("/api/admin/stations/?limit=1", 200),
            ("/api/auth/me/", 200),
            ("/API/Auth/Me/", 404),
            ("/API/Auth/me/", 200),
            ("/health/", 200),
            ("/docs/", 200),
            ("/api/admin/stations//", 404),
            ("/nowhere/", 404),
            ("/sign-in/", 200),
            ("/", 200),
        ],
    )
    async def test_a_slash_at_the_end_means_nothing_and_nobody_is_sent_where_the_host_header_says(
        self, client: httpx.AsyncClient, world: World, path: str, status: int
    ) -> None:
        headers = (await world.admin()).headers | {"Host": "evil.example"}
        answer = await client.get(path, headers=headers)
        assert answer.status_code == status, answer.text
        assert "location" not in answer.headers
        assert "evil" not in answer.text

    async def test_a_write_needs_no_second_try_over_a_slash(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        headers = (await world.admin()).headers
        made = await client.post("/api/admin/stations/", json={"name": "Harbour"}, headers=headers)
        assert made.status_code == 201
        path = f"/api/admin/stations/{made.json()['id']}/"
        assert (await client.put(path, json={"city": "Porto"}, headers=headers)).json()["city"] == "Porto"
        assert (await client.delete(path, headers=headers)).status_code == 204

    @pytest.mark.parametrize("name", ["A%252FB", "A%25", "%2FA", "A%2F", "%252F"])
    async def test_what_only_looks_like_a_slash_is_none(
        self, client: httpx.AsyncClient, world: World, name: str
    ) -> None:
        for identity in ("A/B", "A"):
            await world.charger(id=identity)
        headers = (await world.admin()).headers
        answer = await client.get(f"/api/admin/chargers/{name}", headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (404, "ChargerNotFound")


class TestBody:
    async def send(self, app: FastAPI, chunks: list[bytes], **headers: str) -> httpx.Response:
        async def body() -> Any:
            for chunk in chunks:
                yield chunk

        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.post(
                "/api/auth/login", content=body(), headers={"content-type": "application/json", **headers}
            )

    async def test_one_that_is_too_long_is_413_in_the_one_shape(self, client: httpx.AsyncClient) -> None:
        answer = await client.post("/api/auth/login", json={"username": "x" * MAX_BODY, "password": "x"})
        assert (answer.status_code, answer.json()["error"]) == (413, "PayloadTooLarge")
        assert answer.headers["x-request-id"]

    async def test_one_that_does_not_say_how_long_it_is_is_counted(self, app: FastAPI) -> None:
        answer = await self.send(app, [b"x" * 65_536] * (MAX_BODY // 65_536 + 1))
        assert (answer.status_code, answer.json()["error"]) == (413, "PayloadTooLarge")

    async def test_one_that_is_just_short_enough_is_read(self, app: FastAPI) -> None:
        assert (await self.send(app, [b"x" * MAX_BODY])).status_code in {400, 422}


async def test_who_leaves_while_it_sends_its_request_is_no_crash(settings: Settings, log: LogCapture) -> None:
    app = create_app(settings)

    @app.post("/raw")
    async def raw(request: Request) -> None:
        await request.body()

    messages = [
        {"type": "http.request", "body": b'{"username": ', "more_body": True},
        {"type": "http.disconnect"},
    ]
    answers: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        answers.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/raw",
        "raw_path": b"/raw",
        "query_string": b"",
        "headers": [],
        "client": ("127.0.0.1", 1),
    }
    await app(scope, receive, send)
    assert answers[0]["status"] == 400
    events = [entry["event"] for entry in log.entries]
    assert "http.client_left" in events
    assert "http.crashed" not in events


async def test_a_crash_is_in_the_log_under_the_id_that_the_caller_is_told(
    settings: Settings, log: LogCapture
) -> None:
    app = create_app(settings)

    @app.get("/crash")
    async def crash() -> None:
        raise RuntimeError("what went wrong")

    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await client.get("/crash")
    assert (answer.status_code, answer.json()["error"]) == (500, "InternalError")
    assert "what went wrong" not in answer.text
    (record,) = [entry for entry in log.entries if entry["event"] == "http.crashed"]
    assert record["request_id"] == answer.headers["x-request-id"]
    assert record["exc_info"]
    for name, value in HEADERS.items():
        assert answer.headers[name] == value

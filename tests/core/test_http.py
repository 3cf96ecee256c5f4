"""What every endpoint shares, shown by an application that does nothing else."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Annotated, Any
from uuid import uuid4

import httpx
import pytest
from fastapi import Depends, FastAPI, HTTPException, Query
from pydantic import Field, StringConstraints, field_validator
from sqlalchemy import select, text
from tests.conftest import FrozenClock
from tests.world import World

from ohmstead.accounts.models import Backoffice
from ohmstead.app import create_app
from ohmstead.core import errors
from ohmstead.core.config import Settings
from ohmstead.core.db import Database
from ohmstead.core.errors import DomainError, Kind
from ohmstead.core.http import STATUS_OF, Now, Schema, UnitOfWork, UtcTime, install_error_handlers, utc_z
from ohmstead.core.middleware import OutsideAnswers, RequestScope
from ohmstead.core.paging import COUNTED, Paging, count, decode_cursor, encode_cursor
from ohmstead.core.text import Text

RAISED: dict[str, tuple[Exception, int, str]] = {
    "rule": (DomainError("Not so."), 400, "BusinessRuleViolation"),
    "invalid": (errors.Invalid("Wrong.", fields={"name": "is too long"}), 422, "ValidationError"),
    "unauthenticated": (errors.Unauthenticated("Who?"), 401, "Unauthorized"),
    "forbidden": (errors.Forbidden("No."), 403, "Forbidden"),
    "not-found": (errors.NotFound("Nowhere."), 404, "NotFound"),
    "conflict": (errors.Conflict("There.", code="Exists", detail="since May"), 409, "Exists"),
    "too-many": (DomainError("Slowly.", kind=Kind.TOO_MANY, code="TooMany"), 429, "TooMany"),
    "unavailable": (errors.Unavailable("Later."), 503, "Unavailable"),
    "http": (HTTPException(405, "Not this way.", headers={"Allow": "GET"}), 405, "MethodNotAllowed"),
    "crash": (RuntimeError("the password is hunter2"), 500, "InternalError"),
}


class Thing(Schema):
    name: Annotated[Text, StringConstraints(min_length=1, max_length=40)]
    size: int = Field(ge=1)
    free: dict[str, Any] = {}
    parts: "list[Thing]" = []

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name == "nobody":
            raise ValueError("must be somebody")
        return name


class Shown(Schema):
    at: UtcTime


@pytest.fixture
def probe(app: FastAPI, clock: FrozenClock) -> FastAPI:
    """An application with the means of the real one and endpoints of its own."""
    probe = FastAPI()
    probe.state.database = app.state.database
    probe.state.clock = clock
    install_error_handlers(probe)
    probe.add_middleware(OutsideAnswers)
    probe.add_middleware(RequestScope)

    @probe.get("/raise/{name}")
    async def fail(name: str) -> None:
        raise RAISED[name][0]

    @probe.post("/things")
    async def things(body: Thing, number: Annotated[int, Query()] = 1) -> Thing:
        return body

    @probe.post("/api/sessions/things")
    @probe.post("/charging-points/things")
    @probe.post("/api/admin/things")
    async def things_of_families(body: Thing) -> Thing:
        return body

    @probe.get("/pages")
    async def pages(paging: Annotated[Paging, Depends()]) -> dict[str, Any]:
        return {"limit": paging.limit, "after": paging.after, "q": paging.q}

    @probe.post("/businesses/{name}")
    async def businesses(session: UnitOfWork, name: str, fail: bool = False) -> dict[str, str]:
        session.add(Backoffice(id=uuid4(), name=name))
        await session.flush()
        if fail:
            raise errors.Conflict("After the write.")
        return {"name": name}

    @probe.get("/now")
    async def now(now: Now) -> Shown:
        return Shown(at=now)

    return probe


@pytest.fixture
async def http(probe: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=probe, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        yield http


class TestErrorShape:
    @pytest.mark.parametrize("name", RAISED)
    async def test_every_failure_has_the_one_shape(self, http: httpx.AsyncClient, name: str) -> None:
        _, status, code = RAISED[name]
        answer = await http.get(f"/raise/{name}")
        body = answer.json()
        assert (answer.status_code, body["error"]) == (status, code)
        assert set(body) - {"fields"} == {"error", "message", "detail"}
        assert body["message"]
        assert body["detail"]
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-request-id"]

    def test_every_kind_of_the_domains_has_its_status(self) -> None:
        assert set(STATUS_OF) == set(Kind)

    async def test_a_crash_tells_nothing_of_what_it_was(self, http: httpx.AsyncClient) -> None:
        answer = await http.get("/raise/crash")
        assert "hunter2" not in answer.text
        assert "Traceback" not in answer.text

    async def test_detail_and_fields_are_handed_on(self, http: httpx.AsyncClient) -> None:
        assert (await http.get("/raise/conflict")).json()["detail"] == "since May"
        assert (await http.get("/raise/invalid")).json()["fields"] == {"name": "is too long"}

    @pytest.mark.parametrize("name", ["unavailable", "too-many"])
    async def test_who_should_come_back_is_told_when(self, http: httpx.AsyncClient, name: str) -> None:
        assert int((await http.get(f"/raise/{name}")).headers["retry-after"]) > 0

    async def test_who_is_not_known_is_told_how_to_show_it(self, http: httpx.AsyncClient) -> None:
        assert (await http.get("/raise/unauthenticated")).headers["www-authenticate"] == "Bearer"

    @pytest.mark.parametrize(
        ("request_body", "query", "fields"),
        [
            ({"size": 1}, "", {"name"}),
            ({"name": "x", "size": 0}, "", {"size"}),
            ({"name": "x", "size": 1, "colour": "red"}, "", {"colour"}),
            ({"name": "x", "size": 1}, "?number=many", {"number"}),
            ([], "", {"body"}),
            ("x", "", {"body"}),
            ({"name": "x", "size": 1, "body": 2, "path": 3}, "", {"body", "path"}),
            ({"name": "x", "size": True}, "", {"size"}),
            ({"name": "x", "size": 10**30}, "", {"size"}),
            ({"name": "x", "size": 1, "free": {"a": [0, 10**30]}}, "", {"free.a.1"}),
            ({"name": "x", "size": 1, "parts": [{"name": "y", "size": False}]}, "", {"parts.0.size"}),
        ],
    )
    async def test_input_that_is_not_valid_names_each_fault(
        self, http: httpx.AsyncClient, request_body: Any, query: str, fields: set[str]
    ) -> None:
        answer = await http.post(f"/things{query}", json=request_body)
        assert (answer.status_code, answer.json()["error"]) == (422, "ValidationError")
        assert set(answer.json()["fields"]) == fields

    @pytest.mark.parametrize(
        ("path", "status"),
        [("/api/admin/things", 422), ("/api/sessions/things", 400), ("/charging-points/things", 400)],
    )
    @pytest.mark.parametrize(
        ("content", "kind", "fault"),
        [
            (b'{"name": }', "application/json", "is not valid JSON: Expecting value at character 10"),
            (b"{", "application/json", "is not valid JSON: "),
            (b'{"name": "\xff"}', "application/json", "is not UTF-8"),
            (b'{"free": ' + b"[" * 200_000, "application/json", "is nested too deeply"),
            (b'{"size": ' + b"9" * 5000 + b"}", "application/json", "cannot be read as JSON"),
            (b'{"name": "x", "size": 1}', "text/plain", "'Content-Type: application/json'"),
            (b'{"name": "x", "size": 1}', None, "'Content-Type: application/json'"),
            (b"name=x&size=1", "application/x-www-form-urlencoded", "'Content-Type: application/json'"),
            (b"", "application/json", "Field required"),
        ],
        ids=lambda value: ascii(value)[:30],
    )
    async def test_a_body_that_is_no_json_is_refused_in_one_way_that_says_what_to_do(
        self,
        *,
        http: httpx.AsyncClient,
        path: str,
        status: int,
        content: bytes,
        kind: str | None,
        fault: str,
    ) -> None:
        headers = {} if kind is None else {"content-type": kind}
        answer = await http.post(path, content=content, headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (status, "ValidationError")
        assert list(answer.json()["fields"]) == ["body"]
        assert fault in answer.json()["fields"]["body"]
        assert fault in answer.json()["message"]

    @pytest.mark.parametrize(
        "content",
        [
            b'{"name": "\\ud800", "size": 1}',
            b'{"name": "x", "size": 1, "free": {"a": "\\udfff"}}',
            b'{"name": "x", "size": 1, "free": {"\\ud800": 1}}',
            b'{"\\ud800": 1}',
            b'{"name": "x", "size": 1, "free": {"a": ' + b"[" * 300 + b"]" * 300 + b"}}",
        ],
        ids=lambda value: ascii(value)[:50],
    )
    async def test_what_no_database_and_no_charger_could_take_is_refused_at_the_door(
        self, http: httpx.AsyncClient, content: bytes
    ) -> None:
        headers = {"content-type": "application/json; charset=utf-8"}
        answer = await http.post("/things", content=content, headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (422, "ValidationError")
        assert answer.json()["fields"]

    @pytest.mark.parametrize(
        ("name", "fault"),
        [
            ("", "must have at least 1 character"),
            ("x" * 41, "must have at most 40 characters"),
            ("nobody", "must be somebody"),
            ("a\x00", "must not contain the NUL character"),
        ],
    )
    async def test_a_fault_of_a_text_reads_as_a_sentence(
        self, http: httpx.AsyncClient, name: str, fault: str
    ) -> None:
        answer = await http.post("/things", json={"name": name, "size": 1})
        assert answer.json()["fields"] == {"name": fault}
        assert answer.json()["message"] == f"The request is not valid. name: {fault}"

    async def test_what_is_not_there_has_the_shape_too(self, client: httpx.AsyncClient) -> None:
        for method, path, status in (
            ("GET", "/nowhere", 404),
            ("DELETE", "/health", 405),
            ("GET", "/ocpp/X", 426),
        ):
            answer = await client.request(method, path)
            assert answer.status_code == status
            assert set(answer.json()) == {"error", "message", "detail"}


class TestUnitOfWork:
    async def stored(self, db: Database) -> set[str]:
        async with db.session() as session:
            return set((await session.scalars(select(Backoffice.name))).all())

    async def test_a_request_that_ends_well_is_committed(self, http: httpx.AsyncClient, db: Database) -> None:
        assert (await http.post("/businesses/kept")).status_code == 200
        assert "kept" in await self.stored(db)

    async def test_a_request_that_is_refused_leaves_nothing(
        self, http: httpx.AsyncClient, db: Database
    ) -> None:
        assert (await http.post("/businesses/gone?fail=true")).status_code == 409
        assert "gone" not in await self.stored(db)

    async def test_a_value_that_the_database_refuses_leaves_nothing_and_is_no_traceback(
        self, http: httpx.AsyncClient, db: Database
    ) -> None:
        answer = await http.post("/businesses/" + "x" * 300)
        assert (answer.status_code, answer.json()["error"]) == (500, "InternalError")
        assert (await http.post("/businesses/after")).status_code == 200

    async def test_while_the_database_is_away_it_is_503_with_when_to_try_again(
        self, settings: Settings
    ) -> None:
        away = create_app(settings.model_copy(update={"database_url": "postgresql://me@127.0.0.1:1/x"}))
        transport = httpx.ASGITransport(app=away, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            answer = await http.post("/api/auth/login", json={"username": "a@example.com", "password": "x"})
            assert (answer.status_code, answer.json()["error"]) == (503, "Unavailable")
            assert answer.headers["retry-after"]
            assert (await http.get("/health")).status_code == 200
        await away.state.database.close()


class TestPaging:
    async def test_a_cursor_comes_back_as_it_went(self, http: httpx.AsyncClient) -> None:
        cursor = encode_cursor("2026-05-04T12:00:00Z", 7, None, "ü/+")
        answer = await http.get("/pages", params={"cursor": cursor, "limit": 3, "q": "  x "})
        assert answer.json() == {"limit": 3, "after": ["2026-05-04T12:00:00Z", 7, None, "ü/+"], "q": "x"}

    @pytest.mark.parametrize("cursor", ["x", "!!!", "eyJhIjoxfQ", "bnVsbA", "AAAA", "é", "=", "%00"])
    async def test_a_made_up_one_is_refused(self, http: httpx.AsyncClient, cursor: str) -> None:
        answer = await http.get("/pages", params={"cursor": cursor})
        assert (answer.status_code, answer.json()["error"]) == (422, "ValidationError"), answer.text
        assert "cursor" in answer.json()["fields"]

    @pytest.mark.parametrize(
        "path",
        [
            "stations",
            "chargers",
            "transactions",
            "id-tags",
            "ocpp/messages",
            "ocpp/refusals",
            "alerts",
            "users",
        ],
    )
    @pytest.mark.parametrize(
        "keys", [(), (1,), ("x", "y", "z"), (None, None), ({}, []), ("0001-01-01", "\u0000")]
    )
    async def test_no_list_fails_over_the_keys_of_another(
        self, client: httpx.AsyncClient, world: World, path: str, keys: tuple[Any, ...]
    ) -> None:
        headers = (await world.admin()).headers
        answer = await client.get(
            f"/api/admin/{path}", params={"cursor": encode_cursor(*keys)}, headers=headers
        )
        assert answer.status_code == 422, answer.text

    @pytest.mark.parametrize("query", ["limit=0", "limit=501", "limit=x", "q=" + "x" * 201])
    async def test_limits_are_kept(self, http: httpx.AsyncClient, query: str) -> None:
        assert (await http.get(f"/pages?{query}")).status_code == 422

    def test_a_cursor_that_is_no_list_is_invalid(self) -> None:
        with pytest.raises(errors.Invalid):
            decode_cursor("MTIz")

    async def test_rows_are_counted_up_to_ten_thousand(self, db: Database) -> None:
        async with db.session() as session:
            await session.execute(
                text(
                    "INSERT INTO accounts_backoffice (id, name, time_zone, status)"
                    " SELECT gen_random_uuid(), 'n' || n, 'UTC', 'Active' FROM generate_series(1, 10050) n"
                )
            )
            assert await count(session, select(Backoffice)) == COUNTED
            assert await count(session, select(Backoffice).where(Backoffice.name.in_(["n1", "n2"]))) == 2


class TestTimes:
    @pytest.mark.parametrize(
        ("moment", "written"),
        [
            (datetime(2026, 5, 4, 12, 0, tzinfo=UTC), "2026-05-04T12:00:00Z"),
            (datetime(2026, 5, 4, 12, 0, 0, 250_000, tzinfo=UTC), "2026-05-04T12:00:00.250Z"),
        ],
    )
    def test_they_go_out_with_z(self, moment: datetime, written: str) -> None:
        assert utc_z(moment) == written

    def test_a_time_of_another_zone_goes_out_as_utc(self) -> None:
        assert (
            utc_z(datetime(2026, 5, 4, 14, 0, tzinfo=timezone(timedelta(hours=2)))) == "2026-05-04T12:00:00Z"
        )

    async def test_the_clock_of_the_application_tells_the_time(self, http: httpx.AsyncClient) -> None:
        assert (await http.get("/now")).json() == {"at": "2026-05-04T12:00:00Z"}


async def test_a_hundred_requests_at_once_have_units_of_work_of_their_own(http: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(http.get("/raise/not-found") for _ in range(100)))
    assert len({answer.headers["x-request-id"] for answer in answers}) == 100

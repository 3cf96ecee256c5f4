"""What a family of paths has in common: how invalid input is refused, and when to come back."""

from collections.abc import AsyncIterator
from typing import Annotated

import httpx
import pytest
from fastapi import FastAPI, Query

from ohmstead.core.errors import Conflict, DomainError, Invalid, Kind, Unavailable
from ohmstead.core.families import in_one_case, in_one_form, status_of_invalid
from ohmstead.core.http import install_error_handlers

OF_DOCUMENTS = [
    "/api/auth/login",
    "/api/backoffice/apply",
    "/api/station",
    "/api/operator/sessions",
    "/api/evowner/me",
    "/api/booking/1",
    "/api/bookings",
    "/api/sessions/checkin",
    "/charging-points",
    "/charging-points/CP-1/start",
    "/drivers/7/requests",
]
OTHERS = ["/api/admin/stations", "/api/stations", "/api/authors", "/driversx", "/health", "/x/api/auth"]

RAISED = {
    "invalid": Invalid("Wrong.", fields={"name": "is too long"}),
    "unavailable": Unavailable("Later."),
    "known": Unavailable("In a minute.", retry_after=60),
    "at-once": DomainError("Now.", kind=Kind.TOO_MANY, retry_after=0),
    "conflict": Conflict("There."),
    "busy": Conflict("Still running.", retry_after=2),
}


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """An application that refuses everywhere in the same way."""
    app = FastAPI()
    install_error_handlers(app)

    @app.get("/raise/{name}")
    async def fail(name: str) -> None:
        raise RAISED[name]

    @app.get("/{path:path}")
    async def anything(path: str, number: Annotated[int, Query()]) -> None:
        raise RAISED["invalid"]

    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        yield http


class TestInvalidInput:
    @pytest.mark.parametrize(
        ("path", "status"), [*((path, 400) for path in OF_DOCUMENTS), *((path, 422) for path in OTHERS)]
    )
    async def test_it_is_refused_with_the_status_of_the_family(
        self, http: httpx.AsyncClient, path: str, status: int
    ) -> None:
        unread = await http.get(path, params={"number": "many"})
        refused = await http.get(path, params={"number": 1})
        for answer, field in ((unread, "number"), (refused, "name")):
            assert (answer.status_code, answer.json()["error"]) == (status, "ValidationError")
            assert set(answer.json()) == {"error", "message", "detail", "fields"}
            assert set(answer.json()["fields"]) == {field}

    def test_the_case_of_a_resource_of_the_booking_family_does_not_matter(self) -> None:
        assert status_of_invalid("/api/Station") == 400
        assert in_one_case("/api/Station/AB") == "/api/station/AB"
        assert in_one_case("/Charging-Points/AB") == "/Charging-Points/AB"


class TestPaths:
    @pytest.mark.parametrize(
        ("path", "form"),
        [
            ("/api/Station/AB/", "/api/station/AB"),
            ("/api/admin/stations/", "/api/admin/stations"),
            ("/charging-points/", "/charging-points"),
            ("/drivers/7/requests/", "/drivers/7/requests"),
            ("/api/", "/api"),
            ("/api/admin/x//", "/api/admin/x/"),
            ("/ocpp/CP/", "/ocpp/CP/"),
            ("/portal/", "/portal/"),
            ("/", "/"),
        ],
    )
    def test_a_path_of_the_api_has_one_form(self, path: str, form: str) -> None:
        assert in_one_form(path) == form


class TestRetryAfter:
    @pytest.mark.parametrize(
        ("name", "seconds"),
        [("unavailable", "5"), ("known", "60"), ("at-once", "0"), ("busy", "2"), ("conflict", None)],
    )
    async def test_it_is_what_the_error_says(
        self, http: httpx.AsyncClient, name: str, seconds: str | None
    ) -> None:
        assert (await http.get(f"/raise/{name}")).headers.get("retry-after") == seconds

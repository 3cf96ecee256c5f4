"""Pages of other sites: those that are listed, and no others."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from ohmstead.app import MAX_BODY, create_app
from ohmstead.core.config import Settings, SettingsError

LISTED, OTHER = "https://portal.example.com", "https://evil.example.com"
PREFLIGHT = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "authorization"}


def asking(app: FastAPI) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://test")


@pytest.fixture
async def portal(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server that lists two origins, has a fault and a low limit."""
    listed = {"cors_origins": (LISTED, "http://localhost:5173"), "rate_limit_sign_in": 1}
    app = create_app(settings.model_copy(update=listed))

    @app.get("/crash")
    async def crash() -> None:
        raise RuntimeError("what went wrong")

    async with asking(app) as client:
        yield client
    await app.state.database.close()


@pytest.mark.parametrize("origin", [LISTED, "http://localhost:5173"])
async def test_a_listed_origin_may_ask_and_read(portal: httpx.AsyncClient, origin: str) -> None:
    answer = await portal.get("/health", headers={"Origin": origin})
    assert answer.headers["access-control-allow-origin"] == origin
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert "X-Request-ID" in answer.headers["access-control-expose-headers"]
    assert "Origin" in answer.headers["vary"]
    before = await portal.options("/api/admin/stations", headers={"Origin": origin} | PREFLIGHT)
    assert before.status_code == 200
    assert before.headers["access-control-allow-origin"] == origin
    assert "PUT" in before.headers["access-control-allow-methods"]


@pytest.mark.parametrize(
    "origin",
    [OTHER, "null", "http://portal.example.com", f"{LISTED}.evil.example", "https://portal.example.com:444"],
)
async def test_any_other_may_not(portal: httpx.AsyncClient, origin: str) -> None:
    answer = await portal.get("/health", headers={"Origin": origin})
    assert "access-control-allow-origin" not in answer.headers
    before = await portal.options("/api/admin/stations", headers={"Origin": origin} | PREFLIGHT)
    assert before.status_code == 400
    assert "access-control-allow-origin" not in before.headers


async def refused(portal: httpx.AsyncClient, status: int, origin: str) -> httpx.Response:
    """Be refused in one of the ways there are."""
    headers = {"Origin": origin}
    match status:
        case 401:
            return await portal.get("/api/admin/stations", headers=headers)
        case 404:
            return await portal.get("/nowhere", headers=headers)
        case 413:
            return await portal.post("/api/auth/login", content=b"x" * (MAX_BODY + 1), headers=headers)
        case 429:
            for _ in range(2):
                answer = await portal.post("/api/auth/refresh", headers=headers)
            return answer
        case _:
            return await portal.get("/crash", headers=headers)


@pytest.mark.parametrize("status", [401, 404, 413, 429, 500])
async def test_a_refusal_can_be_read_as_well(portal: httpx.AsyncClient, status: int) -> None:
    """Else a page is told no more than that the network failed."""
    answer = await refused(portal, status, LISTED)
    assert answer.status_code == status
    assert answer.headers["access-control-allow-origin"] == LISTED
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert "Origin" in answer.headers["vary"]
    told = answer.headers["access-control-expose-headers"]
    assert ("X-Request-ID" in told, "Retry-After" in told) == (True, True)
    assert answer.headers["x-request-id"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.json()["error"]


@pytest.mark.parametrize("status", [401, 404, 413, 429, 500])
async def test_a_refusal_is_not_to_be_read_by_any_other(portal: httpx.AsyncClient, status: int) -> None:
    answer = await refused(portal, status, OTHER)
    assert answer.status_code == status
    assert "access-control-allow-origin" not in answer.headers


async def test_a_body_that_turns_out_too_long_is_a_refusal_that_can_be_read(
    portal: httpx.AsyncClient,
) -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(MAX_BODY // 65_536 + 1):
            yield b"x" * 65_536

    headers = {"Origin": LISTED, "Content-Type": "application/json"}
    answer = await portal.post("/api/auth/login", content=body(), headers=headers)
    assert answer.status_code == 413
    assert answer.headers["access-control-allow-origin"] == LISTED


async def test_what_is_asked_beforehand_has_an_id_and_the_headers_of_safety_too(
    portal: httpx.AsyncClient,
) -> None:
    answer = await portal.options("/api/admin/stations", headers={"Origin": LISTED} | PREFLIGHT)
    assert answer.headers["x-request-id"]
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_without_the_setting_nobody_may(client: httpx.AsyncClient) -> None:
    for origin in (LISTED, OTHER):
        answer = await client.get("/health", headers={"Origin": origin})
        assert not [name for name in answer.headers if name.startswith("access-control-")]


@pytest.mark.parametrize(
    "text", ["*", "portal.example.com", "https://portal.example.com/", "https://*.example.com"]
)
def test_what_is_no_origin_is_told_at_the_start(text: str) -> None:
    with pytest.raises(SettingsError, match=r"OHMSTEAD_CORS_ORIGINS: .* is no origin"):
        Settings.load(environment="test", cors_origins=text)


def test_origins_are_written_between_commas() -> None:
    settings = Settings.load(environment="test", cors_origins="https://A.example.com, http://localhost:5173,")
    assert settings.cors_origins == ("https://a.example.com", "http://localhost:5173")


@pytest.mark.parametrize(
    ("url", "sent"), [("https://charge.example.com", True), ("http://localhost:8000", False)]
)
async def test_browsers_are_kept_to_https_where_people_come_by_it(
    settings: Settings, url: str, sent: bool
) -> None:
    app = create_app(settings.model_copy(update={"public_url": url}))
    async with asking(app) as client:
        answer = await client.get("/health")
    assert ("strict-transport-security" in answer.headers) is sent
    await app.state.database.close()

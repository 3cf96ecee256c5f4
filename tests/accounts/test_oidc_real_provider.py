"""Signing in at a certified OpenID provider (npm `oidc-provider`), over real sockets."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from tests.accounts.rounds import ADMIN, CHALLENGE, VERIFIER, query_of
from tests.conftest import SECRET
from tests.nodejs import installed, node
from tests.running import RunningServer, start_server
from tests.world import World

from ohmstead.core.config import Settings

FOLDER = Path(__file__).parent / "oidc_provider"
START_SECONDS = 90.0


@pytest.fixture(scope="module")
async def issuer() -> AsyncIterator[str]:
    """The real provider; its packages are installed once for all workers."""
    await asyncio.to_thread(installed, FOLDER)
    async with node(FOLDER / "provider.mjs") as provider:
        yield (await provider.until("listening", START_SECONDS))["issuer"]


@pytest.fixture(scope="module")
async def installation(
    database_factory: Any, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RunningServer]:
    settings = Settings.load(
        environment="test",
        database_url=database_factory("oidc"),
        secret_key=SECRET,
        data_dir=tmp_path_factory.mktemp("oidc"),
        outbound_allow="127.0.0.0/8",
        log_level="WARNING",
    )
    async with start_server(settings) as running:
        yield running


class Person:
    """Somebody with a browser, at our server and at the provider's."""

    def __init__(self, server: RunningServer, account: str) -> None:
        self.home = f"http://localhost:{server.port}"
        self.provider_id = ""
        self.here = httpx.AsyncClient(base_url=server.http)
        self.there = httpx.AsyncClient(headers={"x-account": account})

    async def close(self) -> None:
        await self.here.aclose()
        await self.there.aclose()

    async def started(self, **query: str) -> str:
        """Begin; returns where the provider sends back to when it is done."""
        start = await self.here.get(f"/api/auth/oidc/{self.provider_id}/start", params=query)
        assert start.status_code == 303, start.text
        url = start.headers["location"]
        while True:
            answer = await self.there.get(url)
            assert answer.is_redirect, answer.text
            url = str(httpx.URL(url).join(answer.headers["location"]))
            if "/callback?" in url:
                return url

    async def goes(self, **query: str) -> httpx.Response:
        """Go round once; returns the answer that sends the browser to where it wanted to go."""
        return await self.back(await self.started(**query))

    async def back(self, url: str) -> httpx.Response:
        parts = urlsplit(url)
        return await self.here.get(f"{parts.path}?{parts.query}")

    async def me(self) -> dict[str, Any]:
        refreshed = await self.here.post("/api/auth/refresh")
        assert refreshed.status_code == 200, refreshed.text
        headers = {"Authorization": f"Bearer {refreshed.json()['accessToken']}"}
        return dict((await self.here.get("/api/auth/me", headers=headers)).json())


@pytest.fixture
async def people(installation: RunningServer, issuer: str) -> AsyncIterator[Any]:
    """Make people who may sign in at a provider: each test has one of its own there."""
    world = World(installation.database, installation.settings, installation.app.state.clock)
    admin = await world.admin()
    made: list[Person] = []

    async def make(account: str, client: dict[str, Any] | None = None, **members: Any) -> Person:
        person = Person(installation, account)
        made.append(person)
        if "provider_id" in members:
            person.provider_id = members["provider_id"]
            return person
        body = {"name": f"{account} {admin.id}", "issuer": issuer, "client_id": "to-come", **members}
        provider = (await person.here.post(ADMIN, json=body, headers=admin.headers)).json()
        person.provider_id = provider["id"]
        wanted = {"redirect_uris": [provider["redirect_uri"]], **(client or {})}
        registered = await person.there.post(f"{issuer}/reg", json=wanted)
        assert registered.status_code == 201, registered.text
        known = {"client_id": registered.json()["client_id"]}
        if "client_secret" in registered.json():
            known["client_secret"] = registered.json()["client_secret"]
        changed = await person.here.put(f"{ADMIN}/{provider['id']}", json=known, headers=admin.headers)
        assert changed.status_code == 200, changed.text
        return person

    yield make
    for person in made:
        await person.close()


@pytest.mark.timeout(600)
class TestRealProvider:
    async def test_a_driver_signs_in_and_is_the_same_the_next_time(
        self, people: Any, installation: RunningServer
    ) -> None:
        maya = await people("maya")
        answer = await maya.goes(return_to="/stations")
        assert answer.headers["location"] == f"{installation.settings.public_url}/stations"
        first = await maya.me()
        assert (first["email"], first["role"]) == ("maya@people.example", "EvOwner")
        await maya.goes()
        assert (await maya.me())["userId"] == first["userId"]

    @pytest.mark.parametrize(
        ("account", "client"),
        [
            ("boss", {"token_endpoint_auth_method": "client_secret_post"}),
            ("chief", {"token_endpoint_auth_method": "none", "id_token_signed_response_alg": "ES256"}),
        ],
    )
    async def test_staff_comes_by_its_roles_whatever_the_client_is_like(
        self, people: Any, installation: RunningServer, account: str, client: dict[str, str]
    ) -> None:
        world = World(installation.database, installation.settings, installation.app.state.clock)
        business = await world.backoffice()
        rule = {"claim": "realm_access.roles", "value": "charging-bosses", "role": "Backoffice"}
        boss = await people(
            account,
            client,
            scopes="openid email roles",
            role_rules=[rule],
            backoffice_id=str(business.id),
        )
        assert query_of(await boss.goes()) == {}
        me = await boss.me()
        assert (me["role"], me["backofficeId"]) == ("Backoffice", str(business.id))

    async def test_an_address_that_is_not_verified_there_lets_nobody_in(self, people: Any) -> None:
        eve = await people("eve")
        assert query_of(await eve.goes()) == {"error": "EmailNotVerified"}

    async def test_whoever_does_not_agree_is_not_let_in(self, people: Any) -> None:
        maya = await people("maya")
        maya.there.headers["x-deny"] = "yes"
        assert query_of(await maya.goes()) == {"error": "AccessDenied"}

    async def test_a_return_counts_once_even_of_two_at_once(self, people: Any) -> None:
        maya = await people("maya")
        url = await maya.started(challenge=CHALLENGE)
        cookies = dict(maya.here.cookies)
        answers = await asyncio.gather(maya.back(url), maya.back(url))
        assert sorted(answer.status_code for answer in answers) == [303, 400]
        (code,) = (query_of(answer)["code"] for answer in answers if answer.status_code == 303)
        maya.here.cookies.update(cookies)
        assert (await maya.back(url)).status_code == 400
        body = {"code": code, "verifier": VERIFIER}
        tokens = await asyncio.gather(*(maya.here.post("/api/auth/oidc/token", json=body) for _ in range(3)))
        assert sorted(answer.status_code for answer in tokens) == [200, 401, 401]

    async def test_of_many_first_visits_at_once_one_makes_the_account(self, people: Any) -> None:
        first = await people("crowd")
        crowd = [first, *[await people("crowd", provider_id=first.provider_id) for _ in range(4)]]
        await asyncio.gather(*(one.goes() for one in crowd))
        assert len({(await one.me())["userId"] for one in crowd}) == 1

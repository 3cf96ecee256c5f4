"""A charger with keys, and who may ask for them."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from tests.conftest import SECRET, FrozenClock
from tests.fleet.configuration.links import KeyedLink
from tests.world import SignedIn, World

from ohmstead.app import create_app
from ohmstead.core.config import Settings
from ohmstead.fleet.configuration import applying
from ohmstead.stations.models import Charger

KEYS = {"HeartbeatInterval": "300", "MeterValueSampleInterval": "60", "GetConfigurationMaxKeys": "20"}
Attach = Callable[..., KeyedLink]


@pytest.fixture(autouse=True)
def undisturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a runner not look for others while a charger is at work: a rolled back test has one connection."""
    monkeypatch.setattr(applying, "LOOK_EVERY", 60.0)


@pytest.fixture
async def charger(world: World) -> Charger:
    return await world.charger()


@pytest.fixture
async def admin(world: World) -> SignedIn:
    return await world.admin()


@pytest.fixture
def attach(app: FastAPI) -> Attach:
    """Connect a charger: `attach(charger, {"HeartbeatInterval": "300"}, readonly={...})`."""

    def connect(charger: Charger, keys: dict[str, str] | None = None, **behaviour: Any) -> KeyedLink:
        link = KeyedLink(KEYS if keys is None else keys, **behaviour)
        app.state.links.attach(charger.id, link)
        return link

    return connect


class Api:
    """The admin API as one user; `ok` fails the test for what is no success."""

    def __init__(self, client: httpx.AsyncClient, user: SignedIn) -> None:
        self.client = client
        self.user = user

    async def send(self, method: str, path: str, body: Any = None, **params: Any) -> httpx.Response:
        return await self.client.request(
            method, f"/api/admin{path}", json=body, params=params, headers=self.user.headers
        )

    async def ok(self, method: str, path: str, body: Any = None, **params: Any) -> Any:
        answer = await self.send(method, path, body, **params)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    async def keys(self, charger: Charger, **params: Any) -> dict[str, dict[str, Any]]:
        """The keys of a charger by their names."""
        shown = await self.ok("GET", f"/chargers/{charger.id}/configuration", **params)
        return {item["key"]: item for item in shown["items"]}

    async def change(self, charger: Charger, keys: dict[str, str], **params: Any) -> dict[str, Any]:
        """Change keys; returns what came of each."""
        answer = await self.ok("PUT", f"/chargers/{charger.id}/configuration", {"keys": keys}, **params)
        changed: dict[str, Any] = answer["keys"]
        return changed

    async def history(self, charger: Charger, **params: Any) -> list[dict[str, Any]]:
        """How the configuration of a charger changed, oldest first."""
        page = await self.ok("GET", f"/chargers/{charger.id}/configuration/history", **params)
        items: list[dict[str, Any]] = page["items"]
        return items[::-1]


@pytest.fixture
def api(client: httpx.AsyncClient, admin: SignedIn) -> Api:
    return Api(client, admin)


@pytest.fixture
def as_user(client: httpx.AsyncClient) -> Callable[[SignedIn], Api]:
    return lambda user: Api(client, user)


@pytest.fixture
async def own_app(
    database_factory: Any, tmp_path_factory: pytest.TempPathFactory, clock: FrozenClock
) -> AsyncIterator[FastAPI]:
    """An application whose transactions are real: several at once."""
    settings = Settings.load(
        environment="test",
        database_url=database_factory("configuration"),
        secret_key=SECRET,
        data_dir=tmp_path_factory.mktemp("configuration"),
    )
    app = create_app(settings, clock=clock)
    yield app
    await app.state.database.close()

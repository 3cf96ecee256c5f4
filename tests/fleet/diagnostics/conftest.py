from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import orjson
import pytest
from fastapi import FastAPI
from tests.stations.links import FakeLink
from tests.world import SignedIn, World

from ohmstead.accounts.models import Role
from ohmstead.link.links import Answer
from ohmstead.stations.models import Charger

PUBLIC = "http://localhost:8000"
NAMED = Answer(response={"fileName": "diag.zip"})

Ask = Callable[..., Awaitable[tuple[dict[str, Any], str]]]
Connect = Callable[..., FakeLink]


@pytest.fixture
async def charger(world: World) -> Charger:
    return await world.charger(online=True)


@pytest.fixture
async def admin(world: World) -> SignedIn:
    return await world.user(Role.SYSTEM_ADMIN)


@pytest.fixture
def connect(app: FastAPI, charger: Charger) -> Connect:
    """Connect the charger: it answers so."""

    def made(*answers: Answer | Exception) -> FakeLink:
        link = FakeLink(*(answers or (NAMED,)))
        app.state.links.attach(charger.id, link)
        return link

    return made


@pytest.fixture
def ask(client: httpx.AsyncClient, admin: SignedIn, charger: Charger, connect: Connect) -> Ask:
    """Ask the charger for diagnostics, or for a log; returns the job and the path that it was given."""

    async def asked(answer: Answer = NAMED, **body: Any) -> tuple[dict[str, Any], str]:
        link = connect(answer)
        what = "logs" if "log_type" in body else "diagnostics"
        path = f"/api/admin/chargers/{charger.id}/{what}"
        made = await client.post(path, json=body, headers=admin.headers)
        assert made.status_code == 201, made.text
        payload = orjson.loads(link.calls[0][1])
        location = payload.get("location") or payload["log"]["remoteLocation"]
        return made.json(), location.removeprefix(PUBLIC)

    return asked

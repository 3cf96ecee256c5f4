from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from tests.stations.links import FakeLink
from tests.world import SignedIn, World

from ohmstead.accounts.models import Backoffice, Role
from ohmstead.link.links import Answer
from ohmstead.stations.models import Charger

CONTENT = b"OHMSTEAD-FIRMWARE 2.0.0\n" + b"firmware" * 4096

AddImage = Callable[..., Awaitable[dict[str, Any]]]
Connect = Callable[..., FakeLink]


@pytest.fixture
async def charger(world: World) -> Charger:
    """A charger of Acme that runs 1.0.0."""
    return await world.charger(vendor="Acme", model="Fast 50", firmware_version="1.0.0", online=True)


@pytest.fixture
async def manager(world: World, charger: Charger) -> SignedIn:
    """A Backoffice of the charger's business."""
    return await world.user(Role.BACKOFFICE, await business_of(world, charger))


async def business_of(world: World, charger: Charger) -> Backoffice | None:
    async with world.database.session() as session:
        return await session.get(Backoffice, charger.backoffice_id)


@pytest.fixture
def add_image(client: httpx.AsyncClient, manager: SignedIn) -> AddImage:
    """Add an image as the manager, unless another is named."""

    async def add(content: bytes = CONTENT, by: SignedIn | None = None, **said: Any) -> dict[str, Any]:
        said = {"vendor": "Acme", "version": "2.0.0", **said}
        answer = await client.post(
            "/api/admin/firmware", params=said, content=content, headers=(by or manager).headers
        )
        assert answer.status_code == 201, answer.text
        body: dict[str, Any] = answer.json()
        return body

    return add


@pytest.fixture
def connect(app: FastAPI, charger: Charger) -> Connect:
    """Connect the charger: it answers so."""

    def made(*answers: Answer | Exception, to: Charger | None = None) -> FakeLink:
        link = FakeLink(*(answers or (Answer(response={}),)))
        app.state.links.attach((to or charger).id, link)
        return link

    return made

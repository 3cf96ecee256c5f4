"""A real server for the live socket, and a client that speaks to it."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
import uvicorn
from fastapi import FastAPI
from tests.conftest import SECRET
from tests.world import SignedIn, World
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from ohmstead.accounts.models import Backoffice, Role
from ohmstead.app import create_app
from ohmstead.core.config import Settings
from ohmstead.core.live import Event, LiveBus, Topic
from ohmstead.insights.snapshots import SNAPSHOTS
from ohmstead.notifications.queries import open_alerts
from ohmstead.stations.models import Charger, Station


@dataclass
class LiveServer:
    """Where it listens, and what it is made of."""

    app: FastAPI
    port: int

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/api/live"

    @property
    def bus(self) -> LiveBus:
        bus: LiveBus = self.app.state.live
        return bus


@pytest.fixture(scope="session")
async def live_server(
    database_factory: Any, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[LiveServer]:
    """One for all tests of this folder: make businesses of your own in it."""
    settings = Settings.load(
        environment="test",
        database_url=database_factory("live"),
        secret_key=SECRET,
        data_dir=tmp_path_factory.mktemp("live"),
    )
    app = create_app(settings)
    app.state.live_snapshots = {**SNAPSHOTS, Topic.ALERTS: open_alerts}
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, ws="websockets-sansio", lifespan="off", log_config=None)
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve(sockets=[listening]))
        await until(lambda: server.started)
        yield LiveServer(app, listening.getsockname()[1])
        server.should_exit = True
        await task
    await app.state.database.close()


@pytest.fixture
def live_world(live_server: LiveServer) -> World:
    state = live_server.app.state
    return World(state.database, state.settings, state.clock)


class Listener:
    """A client of the live socket."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def say(self, **message: Any) -> None:
        await self.socket.send(orjson.dumps(message).decode())

    async def hear(self) -> dict[str, Any]:
        async with asyncio.timeout(60):
            message: dict[str, Any] = orjson.loads(await self.socket.recv())
        return message

    async def hear_type(self, kind: str) -> dict[str, Any]:
        """Return the next message of this type; what comes before it is passed over."""
        while (message := await self.hear())["type"] != kind:
            pass
        return message

    async def hello(self, user: SignedIn, *topics: str, **more: Any) -> dict[str, Any]:
        """Sign on; returns the welcome."""
        await self.say(token=user.token, topics=list(topics), **more)
        return await self.hear_type("welcome")

    async def closed(self) -> tuple[int, str]:
        """Wait until the server closes; returns its code and reason."""
        async with asyncio.timeout(60):
            with suppress(ConnectionClosed):
                async for _ in self.socket:
                    pass
            await self.socket.wait_closed()
        assert self.socket.close_code is not None
        return self.socket.close_code, self.socket.close_reason or ""


@asynccontextmanager
async def listening(server: LiveServer, **options: Any) -> AsyncIterator[Listener]:
    async with connect(server.url, proxy=None, close_timeout=1, **options) as socket:
        yield Listener(socket)


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Wait for a condition that nothing announces."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - nobody would set an event
            await asyncio.sleep(0.005)


def event(
    charger: Charger, kind: str = "charger.online", topic: Topic = Topic.CHARGERS, **data: Any
) -> Event:
    return Event(topic, kind, {"id": charger.id, **data}, charger.backoffice_id, charger.station_id)


@pytest.fixture
async def business(live_world: World) -> Backoffice:
    return await live_world.backoffice()


@pytest.fixture
async def place(live_world: World, business: Backoffice) -> Station:
    return await live_world.station(business)


@pytest.fixture
async def charger(live_world: World, place: Station) -> Charger:
    return await live_world.charger(place, connectors=1, name="By the door")


@pytest.fixture
async def owner(live_world: World, business: Backoffice) -> SignedIn:
    return await live_world.user(Role.BACKOFFICE, business)

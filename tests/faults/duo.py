"""Two real servers on one database and one Redis, behind one address."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
from tests.chargers import until
from tests.cli.running import SECRET, Running
from tests.faults.fleet import Ledger
from tests.faults.processes import Altered
from tests.faults.proof import rows
from tests.faults.redis_server import RedisServer
from tests.gateway.admin import AdminApi, admin_client
from tests.insights.conftest import Listener
from tests.running import free_port
from tests.world import World
from websockets.asyncio.client import connect

from ohmstead.core.clock import SystemClock
from ohmstead.core.config import Settings
from ohmstead.core.db import Database

PING = 3.0


@dataclass
class Node:
    """One server process; it keeps its ports over its lives. See `tests.faults.hasty`."""

    environment: dict[str, str]
    port: int = field(default_factory=free_port)
    ocpp_port: int = field(default_factory=free_port)
    running: Running | None = None

    def start(self) -> None:
        settings = {"OHMSTEAD_OCPP_PORT": str(self.ocpp_port), **self.environment}
        self.running = Altered(self.port, "tests.faults.hasty", **settings)

    async def ready(self) -> None:
        assert self.running is not None
        await asyncio.to_thread(self.running.await_health, self.port)

        async def said() -> bool:
            async with httpx.AsyncClient(base_url=self.http, timeout=20) as http:
                return (await http.get("/health/ready")).status_code == 200

        await until(said)

    def kill(self) -> str:
        """`kill -9`; returns what it had said."""
        assert self.running is not None
        self.running.process.kill()
        self.running.process.wait()
        said = self.running.text()
        self.running.__exit__()
        self.running = None
        return said

    @property
    def lives(self) -> bool:
        return self.running is not None and self.running.process.poll() is None

    @property
    def pid(self) -> int:
        assert self.running is not None
        return self.running.process.pid

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @property
    def ocpp(self) -> str:
        """The listener for chargers alone."""
        return f"ws://127.0.0.1:{self.ocpp_port}"


class Duo:
    """The servers A and B, what they share, and rows for both."""

    def __init__(self, url: str, redis: RedisServer) -> None:
        self.url = url
        self.redis = redis
        self.environment = {
            "DATABASE_URL": url,
            "REDIS_URL": redis.url,
            "OHMSTEAD_OCPP_PING_INTERVAL": str(PING),
            "OHMSTEAD_METRICS_TOKEN": "metrics-token",
        }
        self.ledger = Ledger()
        self.a = Node(self.environment)
        self.b = Node(self.environment)
        self.database = Database(url)
        settings = Settings.load(environment="test", database_url=url, secret_key=SECRET)
        self.world = World(self.database, settings, SystemClock())

    @property
    def nodes(self) -> tuple[Node, Node]:
        return self.a, self.b

    @contextmanager
    def running(self) -> Iterator["Duo"]:
        try:
            yield self
        finally:
            for node in self.nodes:
                if node.running is not None:
                    node.kill()
            self.redis.kill()

    async def start(self) -> None:
        """Start what does not run."""
        for node in self.nodes:
            if not node.lives:
                node.start()
        for node in self.nodes:
            await node.ready()

    async def process_of(self, node: Node) -> str:
        """The id under which a server serves."""
        [(found,)] = await rows(self.url, "SELECT id::text FROM core_process WHERE pid = %s", node.pid)
        return str(found)

    async def online(self, *charger_ids: str) -> set[str]:
        query = "SELECT id FROM stations_charger WHERE online AND id = ANY(%s)"
        return {row[0] for row in await rows(self.url, query, list(charger_ids))}

    @asynccontextmanager
    async def api(self, node: Node) -> AsyncIterator[AdminApi]:
        admin = await self.world.admin()
        async with admin_client(node.http, admin.headers) as client:
            yield AdminApi(client)

    @asynccontextmanager
    async def listener(self, node: Node, *topics: str) -> AsyncIterator[Listener]:
        admin = await self.world.admin()
        async with connect(f"{node.ws}/api/live", proxy=None, close_timeout=1, max_size=None) as socket:
            listener = Listener(socket)
            await listener.hello(admin, *topics)
            yield listener

    async def is_ready(self, node: Node, status: str) -> None:
        """Wait until a server says so of itself; it never says that it cannot work."""

        async def said() -> bool:
            async with httpx.AsyncClient(base_url=node.http, timeout=20) as http:
                answer = await http.get("/health/ready")
            body: dict[str, Any] = answer.json()
            assert answer.status_code == 200, body
            assert body["checks"]["redis"]["ok"] is (body["status"] == "ready"), body
            return bool(body["status"] == status)

        await until(said)


@asynccontextmanager
async def one_address(*ports: int) -> AsyncIterator[str]:
    """A balancer for chargers: each new connection goes to the next server that takes it."""
    turn = 0
    passing: set[asyncio.Task[Any]] = set()

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal turn
        turn += 1
        for number in range(len(ports)):
            with suppress(OSError):
                there = await asyncio.open_connection("127.0.0.1", ports[(turn + number) % len(ports)])
                ways = [
                    asyncio.ensure_future(_pass_on(reader, there[1])),
                    asyncio.ensure_future(_pass_on(there[0], writer)),
                ]
                passing.update(ways)
                # What ends on one side ends on the other, as abruptly.
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                for way in ways:
                    way.cancel()
                passing.difference_update(ways)
                there[1].transport.abort()
                break
        writer.transport.abort()

    server = await asyncio.start_server(serve_one, "127.0.0.1", 0)
    try:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for way in passing:
            way.cancel()
        await asyncio.gather(*passing, return_exceptions=True)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()

"""A charger that sends and does not read: its answers do not pile up here, and nobody else notices."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from tests.chargers import charger, until
from tests.gateway.admin import AdminApi, admin_client
from tests.running import RunningServer
from tests.world import World
from websockets.frames import Frame, Opcode

from ohmstead.stations.models import Charger

MakeServer = Callable[..., AbstractAsyncContextManager[RunningServer]]
MOST = 262_144
"""In bytes: what may wait in this process for one charger to read it."""
LONG_ACTION = "Unknown" * 40
HANDSHAKE = (
    "GET /ocpp/{} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Sec-WebSocket-Protocol: ocpp1.6\r\n\r\n"
)


class DeafCharger:
    """Sends as much as the socket takes, and reads only when it is told to."""

    def __init__(self, sock: socket.socket, protocol: Any) -> None:
        self.sock = sock
        self.protocol = protocol
        self.loop = asyncio.get_running_loop()
        self.sent = 0
        self.begun = b""

    async def send_until_blocked(self, make: Callable[[int], bytes], seconds: float = 0.5) -> None:
        """Send frames until the server has stopped writing, and nothing has been taken for some time."""
        async with asyncio.timeout(60):
            while True:
                if not self.begun:
                    self.begun = make(self.sent)
                    self.sent += 1
                try:
                    async with asyncio.timeout(seconds):
                        await self._send_one()
                except TimeoutError:
                    if not self.protocol.writable.is_set():
                        return

    async def _send_one(self) -> None:
        while self.begun:
            try:
                self.begun = self.begun[self.sock.send(self.begun) :]
            except BlockingIOError:
                await self._writable()

    async def _writable(self) -> None:
        ready = asyncio.Event()
        self.loop.add_writer(self.sock, ready.set)
        try:
            await ready.wait()
        finally:
            self.loop.remove_writer(self.sock)

    async def read_answers(self, count: int) -> list[str]:
        """Read until so many answers have come; returns their message ids."""
        data = b""
        ids: list[str] = []
        while len(ids) < count:
            data += await asyncio.wait_for(self.loop.sock_recv(self.sock, 65_536), 60)
            while len(data) > 4:
                length, head = data[1], 2
                if length == 126:
                    length, head = int.from_bytes(data[2:4], "big"), 4
                if len(data) < head + length:
                    break
                if data[0] & 0x0F == Opcode.TEXT:
                    ids.append(json.loads(data[head : head + length])[1])
                data = data[head + length :]
        return ids


@asynccontextmanager
async def deaf_charger(server: RunningServer, identity: str) -> AsyncIterator[DeafCharger]:
    """Connect a charger over buffers of the kernel that are as small as may be."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    try:
        await loop.sock_connect(sock, ("127.0.0.1", server.port))
        await loop.sock_sendall(sock, HANDSHAKE.format(identity).encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += await asyncio.wait_for(loop.sock_recv(sock, 1), 60)
        assert b" 101 " in answer
        protocol = server.app.state.links.get(identity).protocol
        protocol.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        yield DeafCharger(sock, protocol)
    finally:
        sock.close()


def text(payload: Any) -> bytes:
    return Frame(Opcode.TEXT, json.dumps(payload).encode()).serialize(mask=True)


def unknown(number: int) -> bytes:
    """A CALL whose answer is about as long as it is itself."""
    return text([2, f"m{number}", LONG_ACTION, {}])


def ping(_: int) -> bytes:
    return Frame(Opcode.PING, b"p" * 125).serialize(mask=True)


def waiting_bytes(server: RunningServer, row: Charger) -> int:
    """How many bytes of this process wait for a charger to read them."""
    return int(server.app.state.links.get(row.id).protocol.transport.get_write_buffer_size())


async def test_its_answers_are_bounded_and_all_come_when_it_reads(
    server: RunningServer, server_world: World, api: AdminApi
) -> None:
    row, neighbour = await server_world.charger(), await server_world.charger()
    async with deaf_charger(server, row.id) as deaf, charger(server.ws, neighbour.id) as other:
        connection = server.app.state.links.get(row.id)
        await deaf.send_until_blocked(unknown)
        assert deaf.sent > 100

        async def held() -> bool:
            return bool(connection._held and not connection._busy)

        await until(held)
        assert 0 < waiting_bytes(server, row) < MOST
        assert len(connection._inbox) < 5000
        # It is not served further, and does not take anybody's time.
        logged = await api.client.get("/api/admin/ocpp/messages", params={"charger": row.id, "limit": 1})
        await other.result("Heartbeat")
        again = await api.client.get("/api/admin/ocpp/messages", params={"charger": row.id, "limit": 1})
        assert logged.json()["items"] == again.json()["items"]
        whole = deaf.sent - 1  # the last one is under way
        assert await deaf.read_answers(whole) == [f"m{number}" for number in range(whole)]


async def test_the_pongs_that_it_asks_for_are_bounded_too(server: RunningServer, server_world: World) -> None:
    row = await server_world.charger()
    async with deaf_charger(server, row.id) as deaf:
        await deaf.send_until_blocked(ping)
        assert deaf.sent > 100
        assert 0 < waiting_bytes(server, row) < MOST


async def test_it_is_offline_within_two_intervals_and_the_log_says_why(make_server: MakeServer) -> None:
    async with make_server(ocpp_ping_interval=1.0) as server:
        world = World(server.database, server.settings, server.app.state.clock)
        row, user = await world.charger(), await world.admin()
        async with (
            admin_client(server.http, user.headers) as client,
            deaf_charger(server, row.id) as deaf,
        ):
            await deaf.send_until_blocked(unknown)
            api = AdminApi(client)

            async def ended() -> list[dict[str, Any]]:
                return [one for one in await api.connections(row.id) if one["closed_at"]]

            [connection] = await until(ended)
            # We notice or the kernel does, whose clock runs as long: who is first is a matter of chance.
            assert connection["close_reason"] in {
                "it does not read what it is sent",
                "lost: [Errno 110] Connection timed out",
            }
            assert (await api.charger(row.id))["online"] is False


async def test_what_it_had_sent_is_served_when_its_socket_ends(
    server: RunningServer, server_world: World, tag: str, api: AdminApi
) -> None:
    row = await server_world.charger()
    starts = 0

    def mostly_unknown(number: int) -> bytes:
        nonlocal starts
        if number % 20 != 19:
            return unknown(number)
        starts += 1
        start = {
            "connectorId": 1,
            "idTag": tag,
            "meterStart": starts,
            "timestamp": f"2026-05-04T12:{starts // 60 % 60:02}:{starts % 60:02}Z",
        }
        return text([2, f"s{number}", "StartTransaction", start])

    async with deaf_charger(server, row.id) as deaf:
        await deaf.send_until_blocked(mostly_unknown)
        connection = server.app.state.links.get(row.id)
        held = [one[1].payload["meterStart"] for one in connection._inbox if "StartTransaction" in one[0]]

    async def served() -> bool:
        return bool(connection.idle and not connection._inbox)

    await until(served)
    begun = {one["meter_start"] for one in await api.transactions(row.id)}
    assert held
    assert set(held) <= begun


async def test_it_does_not_hold_up_the_stop_of_the_server(make_server: MakeServer) -> None:
    async with make_server(shutdown_grace_seconds=1.0) as server:
        world = World(server.database, server.settings, server.app.state.clock)
        row = await world.charger()
        async with deaf_charger(server, row.id) as deaf:
            await deaf.send_until_blocked(unknown)
            server.server.stop()

            async def stopped() -> bool:
                return len(server.app.state.gateway) == 0

            await until(stopped)


async def test_a_close_of_ours_that_it_does_not_read_ends_its_socket_all_the_same(
    server: RunningServer, server_world: World, api: AdminApi
) -> None:
    row = await server_world.charger()
    async with deaf_charger(server, row.id) as deaf:
        await deaf.send_until_blocked(unknown)
        assert (await api.client.put(f"/api/admin/chargers/{row.id}", json={"retired": True})).is_success

        async def gone() -> bool:
            return server.app.state.links.get(row.id) is None

        await until(gone)
        [connection] = await api.connections(row.id)
        assert connection["close_reason"] == "the charger is retired"

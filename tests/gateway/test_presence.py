"""Who is online: pings, dead sockets, take-overs, restarts, and the stop of the server."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from socket import IPPROTO_TCP, TCP_USER_TIMEOUT
from typing import Any

import pytest
from tests.chargers import RawCharger, charger, until
from tests.gateway.admin import AdminApi, admin_client
from tests.running import RunningServer
from tests.world import World
from websockets.asyncio.client import connect
from websockets.frames import Frame, Opcode

from ohmstead.gateway.models import Connection
from ohmstead.stations.models import Charger

MakeServer = Callable[..., AbstractAsyncContextManager[RunningServer]]
PING = 0.3


class TcpPeer:
    """A charger on bare TCP, which answers pings only while it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.pongs = True
        self.pinged = 0
        self.gone = asyncio.Event()
        self.got_ping = asyncio.Event()
        self.task = asyncio.create_task(self._read())

    def send(self, opcode: Opcode, data: bytes) -> None:
        self.writer.write(Frame(opcode, data).serialize(mask=True))

    def call(self, message_id: str, action: str = "Heartbeat") -> None:
        self.send(Opcode.TEXT, json.dumps([2, message_id, action, {}]).encode())

    async def _read(self) -> None:
        try:
            while True:
                first, length = await self.reader.readexactly(2)
                if length == 126:
                    length = int.from_bytes(await self.reader.readexactly(2), "big")
                data = await self.reader.readexactly(length)
                if first & 0x0F == Opcode.PING:
                    self.pinged += 1
                    self.got_ping.set()
                    if self.pongs:
                        self.send(Opcode.PONG, data)
        except (EOFError, ConnectionError):
            self.gone.set()


@asynccontextmanager
async def tcp_peer(port: int, identity: str) -> AsyncIterator[TcpPeer]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"GET /ocpp/{identity} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Protocol: ocpp1.6\r\n\r\n".encode()
    )
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    peer = TcpPeer(reader, writer)
    try:
        yield peer
    finally:
        peer.task.cancel()
        writer.close()


@asynccontextmanager
async def api_of(server: RunningServer) -> AsyncIterator[tuple[World, AdminApi]]:
    world = World(server.database, server.settings, server.app.state.clock)
    user = await world.admin()
    async with admin_client(server.http, user.headers) as client:
        yield world, AdminApi(client)


def online(api: AdminApi, row: Charger, wanted: bool) -> Any:
    async def said() -> bool:
        return bool((await api.charger(row.id))["online"] is wanted)

    return until(said)


class TestPings:
    async def test_a_charger_that_stops_answering_is_offline_within_two_intervals(
        self, make_server: MakeServer
    ) -> None:
        async with make_server(ocpp_ping_interval=PING) as server, api_of(server) as (world, api):
            row = await world.charger()
            async with tcp_peer(server.port, row.id) as peer:
                await asyncio.wait_for(peer.got_ping.wait(), 60)
                await online(api, row, True)
                peer.got_ping.clear()
                await asyncio.wait_for(peer.got_ping.wait(), 60)
                peer.pongs = False
                answered = peer.pinged
                await asyncio.wait_for(peer.gone.wait(), 60)
                # One interval to the ping that it does not answer, one more to the end.
                assert peer.pinged == answered + 1
                await online(api, row, False)
            [connection] = await api.connections(row.id)
            assert (connection["close_code"], connection["close_reason"]) == (1011, "no answer to a ping")

    async def test_one_that_never_pongs_but_sends_stays(self, make_server: MakeServer) -> None:
        async with make_server(ocpp_ping_interval=PING) as server, api_of(server) as (world, api):
            row = await world.charger()
            async with tcp_peer(server.port, row.id) as peer:
                peer.pongs = False
                while peer.pinged < 5:
                    peer.call(f"m{peer.pinged}")
                    peer.got_ping.clear()
                    await asyncio.wait_for(peer.got_ping.wait(), 60)
                assert not peer.gone.is_set()
                await online(api, row, True)

    async def test_one_that_never_pongs_and_is_silent_goes_by_its_heartbeat(
        self, make_server: MakeServer
    ) -> None:
        settings = {"ocpp_ping_interval": PING, "ocpp_heartbeat_interval": 1}
        async with make_server(**settings) as server, api_of(server) as (world, api):
            row = await world.charger()
            async with tcp_peer(server.port, row.id) as peer:
                peer.pongs = False
                began = time.monotonic()
                await asyncio.wait_for(peer.gone.wait(), 60)
                assert 1.9 <= time.monotonic() - began < 5.0
                await online(api, row, False)
            [connection] = await api.connections(row.id)
            assert connection["close_reason"] == "neither pongs nor messages"

    async def test_one_that_pongs_and_is_silent_stays(self, make_server: MakeServer) -> None:
        settings = {"ocpp_ping_interval": 0.1, "ocpp_heartbeat_interval": 1}
        async with make_server(**settings) as server, api_of(server) as (world, api):
            row = await world.charger()
            async with tcp_peer(server.port, row.id) as peer:
                while peer.pinged < 25:  # longer than two heartbeats
                    peer.got_ping.clear()
                    await asyncio.wait_for(peer.got_ping.wait(), 60)
                assert not peer.gone.is_set()
                await online(api, row, True)


class TestHalfOpen:
    @pytest.mark.parametrize(("interval", "milliseconds"), [(30.0, 60_000), (0.5, 1_000)])
    async def test_the_kernel_is_told_to_end_a_socket_whose_data_nobody_acknowledges(
        self, make_server: MakeServer, interval: float, milliseconds: int
    ) -> None:
        async with make_server(ocpp_ping_interval=interval) as server:
            world = World(server.database, server.settings, server.app.state.clock)
            row = await world.charger()
            async with charger(server.ws, row.id) as raw:
                await raw.result("Heartbeat")
                transport = server.app.state.links.get(row.id).protocol.transport
                handle = transport.get_extra_info("socket")
                assert handle.getsockopt(IPPROTO_TCP, TCP_USER_TIMEOUT) == milliseconds


class TestConnections:
    async def test_a_connection_is_one_row_from_to_and_why(
        self, server: RunningServer, row: Charger, api: AdminApi
    ) -> None:
        async with charger(server.ws, row.id) as raw:
            await raw.result("Heartbeat")
            [open_now] = await api.connections(row.id)
            assert (open_now["closed_at"], open_now["close_code"]) == (None, None)
            assert (open_now["address"], open_now["subprotocol"]) == ("127.0.0.1", "ocpp1.6")
            await raw.socket.close(3001, "going home")
        await online(api, row, False)
        [ended] = await api.connections(row.id)
        assert ended["id"] == open_now["id"]
        assert (ended["close_code"], ended["close_reason"]) == (3001, "closed by the charger going home")
        assert ended["closed_at"] is not None
        assert (await api.charger(row.id))["last_seen"] is not None

    async def test_last_seen_follows_the_frames(
        self, server: RunningServer, row: Charger, api: AdminApi
    ) -> None:
        async with charger(server.ws, row.id) as raw:
            await raw.boot()
            first = (await api.charger(row.id))["last_seen"]
            await raw.result("Heartbeat")
        await online(api, row, False)
        assert (await api.charger(row.id))["last_seen"] > first


class TestLiveEvents:
    async def test_watchers_are_told_of_coming_and_going_once(
        self, server: RunningServer, server_world: World, row: Charger
    ) -> None:
        user = await server_world.admin()
        async with connect(f"{server.ws}/api/live", proxy=None) as socket:
            hello = {"token": user.token, "topics": ["chargers"], "charger": row.id}
            await socket.send(json.dumps(hello))

            async def hear(kind: str) -> dict[str, Any]:
                async with asyncio.timeout(60):
                    while (message := json.loads(await socket.recv()))["type"] != kind:
                        pass
                return dict(message)

            await hear("snapshot")
            first = await RawCharger.connect(server.ws, row.id)
            event = await hear("event")
            assert (event["kind"], event["data"]["id"], event["data"]["online"]) == (
                "charger.online",
                row.id,
                True,
            )
            # A take-over is no news.
            async with charger(server.ws, row.id) as second:
                await second.result("Heartbeat")
                await first.closed()
            event = await hear("event")
            assert (event["kind"], event["data"]["online"]) == ("charger.offline", False)
            await first.close()


class TestRestart:
    async def test_a_start_ends_the_connections_of_a_server_that_was_killed(
        self, make_server: MakeServer, database_factory: Any
    ) -> None:
        url = database_factory("restarted")
        async with make_server(database_url=url) as server, api_of(server) as (world, _):
            now = server.app.state.clock.now()
            dead = await world.charger(online=True, last_seen=now)
            await world.add(Connection(charger_id=dead.id, opened_at=now - timedelta(hours=1)))
            calm = await world.charger()
        async with make_server(database_url=url) as server, api_of(server) as (_, api):
            assert (await api.charger(dead.id))["online"] is False
            assert (await api.charger(calm.id))["online"] is False
            [connection] = await api.connections(dead.id)
            assert connection["close_code"] == 1006
            assert "the server ended" in connection["close_reason"]
            async with charger(server.ws, dead.id) as raw:
                await raw.result("Heartbeat")
                await online(api, dead, True)


class TestStop:
    async def test_what_has_arrived_is_answered_and_every_socket_closes_with_1001(
        self, make_server: MakeServer, database_factory: Any
    ) -> None:
        url = database_factory("stopped")
        async with make_server(database_url=url) as server:
            world = World(server.database, server.settings, server.app.state.clock)
            rows = [await world.charger() for _ in range(5)]
            tag = await world.token()
            chargers = [await RawCharger.connect(server.ws, row.id) for row in rows]
            answers = []
            for raw in chargers:
                await raw.boot()
                for number in range(6):
                    payload = {
                        "connectorId": 1,
                        "idTag": tag.id_tag,
                        "meterStart": number,
                        "timestamp": f"2026-05-04T12:0{number}:00Z",
                    }
                    answers.append(raw.expect(f"s{number}"))
                    await raw.send(json.dumps([2, f"s{number}", "StartTransaction", payload]))
            last_link = server.app.state.links.get(rows[-1].id)
            await until_busy(last_link)
            server.server.stop()
            closed = await asyncio.gather(*(raw.closed() for raw in chargers))
            assert closed == [(1001, "the server stops")] * 5
            for raw in chargers:
                await raw.close()
            given = [answer.result()[2]["transactionId"] for answer in answers if answer.exception() is None]
        async with make_server(database_url=url) as server, api_of(server) as (_, api):
            stored: list[int] = []
            for row in rows:
                stored += [one["ocpp_transaction_id"] for one in await api.transactions(row.id)]
                assert (await api.connections(row.id))[-1]["close_code"] == 1001
                assert (await api.charger(row.id))["online"] is False
        # What was answered is stored, and what was stored was answered.
        assert sorted(given) == sorted(stored)
        assert given

    async def test_a_charger_that_does_not_answer_the_close_does_not_hold_up_the_stop(
        self, make_server: MakeServer
    ) -> None:
        async with make_server(shutdown_grace_seconds=1.0) as server:
            world = World(server.database, server.settings, server.app.state.clock)
            row = await world.charger()
            async with tcp_peer(server.port, row.id) as peer:
                peer.task.cancel()
                began = time.monotonic()
                server.server.stop()
                await until(lambda: stopped(server), 15)
                assert time.monotonic() - began < 8

    async def test_nobody_is_let_in_while_the_server_stops(self, make_server: MakeServer) -> None:
        async with make_server() as server:
            world = World(server.database, server.settings, server.app.state.clock)
            row = await world.charger()
            server.app.state.gateway.draining = True
            with pytest.raises(Exception, match="503"):
                await RawCharger.connect(server.ws, row.id)
            server.app.state.gateway.draining = False
            async with charger(server.ws, row.id) as raw:
                await raw.result("Heartbeat")


async def stopped(server: RunningServer) -> bool:
    return len(server.app.state.gateway) == 0


async def until_busy(link: Any) -> None:
    """Wait until a connection has begun with what it was sent."""

    async def busy() -> bool:
        return not link.idle

    await until(busy)

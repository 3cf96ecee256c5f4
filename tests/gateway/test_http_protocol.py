"""What comes right behind a handshake is served, and who never ends one is sent away."""

import asyncio
import json
import time
from ssl import SSLContext
from typing import Any

import pytest
from tests.gateway.admin import AdminApi
from tests.gateway.knocking import self_signed
from tests.running import RunningServer
from tests.world import World
from websockets.frames import Close, Frame, Opcode

from ohmstead import listeners
from ohmstead.gateway import http_protocol
from ohmstead.stations.models import Charger

HEAD = (
    "GET /ocpp/{} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{}\r\n"
)


def head(identity: str, *lines: str) -> bytes:
    return HEAD.format(identity, "".join(f"{line}\r\n" for line in lines)).encode()


def call(message_id: str, action: str = "Heartbeat", payload: Any = None) -> bytes:
    data = json.dumps([2, message_id, action, payload or {}]).encode()
    return Frame(Opcode.TEXT, data).serialize(mask=True)


async def answers(reader: asyncio.StreamReader, count: int) -> list[Any]:
    """Read so many text frames behind the answer to the handshake."""
    assert b" 101 " in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
    found: list[Any] = []
    while len(found) < count:
        first, length = await asyncio.wait_for(reader.readexactly(2), 60)
        if length == 126:
            length = int.from_bytes(await reader.readexactly(2), "big")
        data = await reader.readexactly(length)
        if first & 0x0F == Opcode.TEXT:
            found.append(json.loads(data))
    return found


class TestBehindTheHandshake:
    @pytest.mark.parametrize("cut", [0, 1, 3, 20])
    @pytest.mark.parametrize("count", [1, 3, 200])
    async def test_frames_in_the_same_packet_are_served_in_their_order(
        self, server: RunningServer, row: Charger, api: AdminApi, cut: int, count: int
    ) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        sent = head(row.id) + b"".join(call(f"m{number}") for number in range(count))
        # The last frame may be cut off by the end of the packet.
        writer.write(sent[: len(sent) - cut])
        if cut:
            await asyncio.sleep(0.02)
            writer.write(sent[len(sent) - cut :])
        found = await answers(reader, count)
        assert [answer[:2] for answer in found] == [[3, f"m{number}"] for number in range(count)]
        assert len(await api.messages(row.id)) == count
        # And whatever comes later.
        writer.write(call("later"))
        writer.close()

    async def test_in_whatever_pieces_the_handshake_arrives(
        self, server: RunningServer, server_world: World
    ) -> None:
        sent = head("{}") + call("m0") + call("m1")
        for size in (1, 7, 50, 120):
            row = await server_world.charger()
            data = sent.replace(b"{}", row.id.encode(), 1)
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            for start in range(0, len(data), size):
                writer.write(data[start : start + size])
                await writer.drain()
                await asyncio.sleep(0)
            found = await answers(reader, 2)
            assert [answer[1] for answer in found] == ["m0", "m1"]
            writer.close()

    async def test_frames_before_the_answer_in_a_packet_of_their_own_are_served(
        self, server: RunningServer, row: Charger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # The look-up takes its time.
        door = server.app.state.gateway.door
        begun, go_on, lookup = asyncio.Event(), asyncio.Event(), door.lookup

        async def slow(identity: str) -> Any:
            begun.set()
            await go_on.wait()
            return await lookup(identity)

        monkeypatch.setattr(door, "lookup", slow)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(head(row.id))
        await asyncio.wait_for(begun.wait(), 60)
        writer.write(call("early", "DataTransfer", {"vendorId": "v" * 250}) * 500 + call("last"))
        await asyncio.sleep(0.05)
        go_on.set()
        assert (await answers(reader, 501))[-1][1] == "last"
        writer.close()

    async def test_behind_one_that_is_refused_they_are_not(
        self, server: RunningServer, server_world: World, api: AdminApi
    ) -> None:
        row = await server_world.charger(security_profile=1)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(head(row.id) + call("m0"))
        assert (await asyncio.wait_for(reader.read(), 60)).startswith(b"HTTP/1.1 401 ")
        writer.close()
        assert await api.messages(row.id) == []

    async def test_behind_one_whose_subprotocol_is_unknown_they_are_not(
        self, server: RunningServer, row: Charger, api: AdminApi
    ) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(head(row.id, "Sec-WebSocket-Protocol: ocpp2.0.1") + call("m0"))
        data = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
        assert b" 101 " in data
        first, length = await reader.readexactly(2)
        assert first & 0x0F == Opcode.CLOSE
        assert Close.parse(await reader.readexactly(length)).code == 1002
        writer.close()
        assert await api.messages(row.id) == []

    async def test_over_tls_too(self, make_server: Any, tmp_path: Any) -> None:
        cert, key, trusting = self_signed(tmp_path)
        async with make_server(tls_cert=cert, tls_key=key) as server:
            world = World(server.database, server.settings, server.app.state.clock)
            row = await world.charger()
            reader, writer = await secure(server, trusting)
            writer.write(head(row.id) + call("m0") + call("m1"))
            assert [answer[1] for answer in await answers(reader, 2)] == ["m0", "m1"]
            writer.close()


async def secure(
    server: RunningServer, trusting: SSLContext
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", server.port, ssl=trusting, server_hostname="localhost")


BEGUN = {
    "nothing": b"",
    "half a line": b"GET /ocp",
    "half a handshake": head("CP-1")[:-30],
    "a handshake without its last line": head("CP-1")[:-2],
    "half a plain request": b"GET /health HTTP/1.1\r\nHost: x\r\n",
    "half a request behind a whole one": (
        b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /health HTTP/1.1\r\nHost: x\r\n"
    ),
}


class TestIdle:
    async def test_a_connection_outlives_the_pause_that_proxies_and_libraries_make(
        self, server: RunningServer
    ) -> None:
        """They keep one for 5 to 60 s: who closes earlier loses the request that is just being sent on it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for pause in (0, 6):
            await asyncio.sleep(pause)
            writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
            assert head.startswith(b"HTTP/1.1 200 "), head
            await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
        writer.close()
        assert listeners.KEEP_ALIVE_SECONDS > 60


class TestUnfinished:
    def test_a_client_has_ten_seconds(self) -> None:
        assert http_protocol.REQUEST_SECONDS == 10.0

    @pytest.mark.parametrize("name", BEGUN)
    async def test_what_is_begun_and_never_ended_is_dropped(
        self, server: RunningServer, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        monkeypatch.setattr(http_protocol, "REQUEST_SECONDS", 0.3)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        began = time.monotonic()
        writer.write(BEGUN[name])
        data = await asyncio.wait_for(reader.read(), 60)
        assert 0.25 < time.monotonic() - began < 9
        assert data.count(b"HTTP/1.1 200") == (1 if "whole" in name else 0)
        writer.close()

    async def test_bytes_that_trickle_in_do_not_lengthen_it(
        self, server: RunningServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(http_protocol, "REQUEST_SECONDS", 0.3)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        closed = asyncio.create_task(reader.read())
        writer.write(b"GET /ocpp/CP-1 HTTP/1.1\r\n")
        async with asyncio.timeout(60):
            while not closed.done():
                writer.write(b"X-A: b\r\n")
                await asyncio.sleep(0.05)
        writer.close()

    async def test_who_is_let_in_stays(
        self, server: RunningServer, row: Charger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(http_protocol, "REQUEST_SECONDS", 0.1)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(head(row.id))
        await answers(reader, 0)
        await asyncio.sleep(0.4)
        writer.write(call("m0"))
        assert (await asyncio.wait_for(reader.readexactly(2), 60))[0] == 0x81
        writer.close()

    async def test_an_answer_that_takes_longer_is_not_cut_off(
        self, server: RunningServer, row: Charger, api: AdminApi, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(http_protocol, "REQUEST_SECONDS", 0.2)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(head(row.id))
        await answers(reader, 0)
        # The charger never answers, which is told after a second; half a request waits behind that.
        asked, asking = await asyncio.open_connection("127.0.0.1", server.port)
        path = f"/api/admin/chargers/{row.id}/commands/ClearCache?timeout=1"
        authorization = api.client.headers["Authorization"]
        asking.write(
            f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\nContent-Length: 2\r\n"
            "\r\n{}GET /health HTTP/1.1\r\nHost: x\r\n".encode()
        )
        data = await asyncio.wait_for(asked.read(), 60)
        assert data.startswith(b"HTTP/1.1 200 ")
        assert b'"Timeout"' in data
        for one in (writer, asking):
            one.close()

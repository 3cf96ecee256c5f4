"""Calls to addresses that people typed in never reach the inside of our own network."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_address, ip_network
from typing import Any

import httpx
import pytest

from ohmstead.core.outbound import MAX_BYTES, Forbidden, TooLarge, outbound_client, reachable

HERE = [ip_network("127.0.0.0/8")]


@asynccontextmanager
async def web_server(answer: bytes) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Serve one answer to every request; gives the port and the requests that came."""
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        with suppress(ConnectionError):  # the caller may have heard enough
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], heard


def body(content: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(content) + content


def resolving(monkeypatch: pytest.MonkeyPatch, *rounds: list[str]) -> None:
    """Let every name have these addresses, another list each time it is asked for."""
    remaining = list(rounds)

    async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        addresses = remaining.pop(0) if len(remaining) > 1 else remaining[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in addresses]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo, raising=False)


class TestWhatMayBeCalled:
    @pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
    def test_public_addresses_may(self, address: str) -> None:
        assert reachable(ip_address(address))

    @pytest.mark.parametrize(
        "address",
        [
            *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
            *("0.0.0.1", "192.0.0.8"),
            *("198.18.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1", "::1", "::", "fe80::1"),
            *("fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1"),
            *("2002:7f00:1::", "64:ff9b::a00:1", "2001:db8::1", "fd00:ec2::254"),
            *("64:ff9b:1::a00:1", "64:ff9b:1::7f00:1", "64:ff9b:1:7f00:0:100::", "64:ff9b:1::808:808"),
        ],
    )  # fmt: skip
    def test_private_special_and_disguised_ones_may_not(self, address: str) -> None:
        assert not reachable(ip_address(address))

    def test_a_network_that_was_allowed_may(self) -> None:
        assert reachable(ip_address("10.1.2.3"), [ip_network("10.1.0.0/16")])
        assert reachable(ip_address("::ffff:10.1.2.3"), [ip_network("10.1.0.0/16")])
        assert not reachable(ip_address("10.2.2.3"), [ip_network("10.1.0.0/16")])

    def test_a_translating_prefix_of_the_own_network_may_when_it_was_allowed(self) -> None:
        assert reachable(ip_address("64:ff9b:1::808:808"), [ip_network("64:ff9b:1::/96")])


class TestCalling:
    async def test_a_server_in_an_allowed_network_is_called_by_its_name(self) -> None:
        async with web_server(body(b"hello")) as (port, heard), outbound_client(HERE) as client:
            answer = await client.get(f"http://localhost:{port}/path?x=1", headers={"X-Mark": "1"})
        assert (answer.status_code, answer.content) == (200, b"hello")
        assert heard[0].startswith(b"GET /path?x=1 HTTP/1.1\r\n")
        assert f"host: localhost:{port}".encode() in heard[0].lower()

    @pytest.mark.parametrize(
        "spelling",
        ["127.0.0.1", "localhost", "2130706433", "0x7f000001", "127.1", "[::1]", "[::ffff:127.0.0.1]"],
    )
    async def test_however_the_inside_is_spelt_nothing_is_sent_there(self, spelling: str) -> None:
        async with web_server(body(b"secret")) as (port, heard), outbound_client() as client:
            with pytest.raises(httpx.RequestError):
                await client.get(f"http://{spelling}:{port}/")
        assert heard == []

    async def test_one_private_address_among_public_ones_spoils_a_name(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        resolving(monkeypatch, ["8.8.8.8", "10.0.0.1"])
        async with outbound_client() as client:
            with pytest.raises(Forbidden, match="private network"):
                await client.get("http://two-faced.example/")

    async def test_a_name_that_turns_inwards_after_the_look_changes_nothing(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with web_server(body(b"first")) as (port, heard), outbound_client(HERE) as client:
            resolving(monkeypatch, ["127.0.0.1"], ["10.0.0.1"])
            assert (await client.get(f"http://rebound.example:{port}/")).content == b"first"
        assert b"host: rebound.example" in heard[0].lower()

    async def test_a_redirect_is_given_back_and_not_followed(self) -> None:
        moved = b"HTTP/1.1 302 Found\r\nLocation: http://10.0.0.1/\r\nContent-Length: 0\r\n\r\n"
        async with web_server(moved) as (port, _), outbound_client(HERE) as client:
            answer = await client.get(f"http://127.0.0.1:{port}/")
        assert (answer.status_code, answer.headers["location"]) == (302, "http://10.0.0.1/")

    async def test_an_answer_that_does_not_end_is_cut(self) -> None:
        async with web_server(body(b"x" * (MAX_BYTES + 1))) as (port, _), outbound_client(HERE) as client:
            with pytest.raises(TooLarge):
                await client.get(f"http://127.0.0.1:{port}/")

    async def test_a_port_that_no_web_server_has_is_not_knocked_at(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        resolving(monkeypatch, ["8.8.8.8"])
        async with outbound_client() as client:
            with pytest.raises(Forbidden, match="port 25"):
                await client.get("http://mail.example:25/")

    async def test_proxies_of_the_environment_are_not_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        async with web_server(body(b"direct")) as (port, _), outbound_client(HERE) as client:
            assert (await client.get(f"http://127.0.0.1:{port}/")).content == b"direct"

    async def test_where_it_matters_only_an_allowed_network_is_called_without_tls(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with web_server(body(b"inside")) as (port, _), outbound_client(HERE, tls=True) as client:
            assert (await client.get(f"http://127.0.0.1:{port}/")).content == b"inside"
            resolving(monkeypatch, ["8.8.8.8"])
            with pytest.raises(Forbidden, match="https"):
                await client.get("http://id.example/")

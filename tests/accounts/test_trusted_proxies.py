"""Signing in behind a proxy: whose address counts when somebody guesses."""

from typing import Any

import httpx
import pytest
from tests.running import RunningServer
from uvicorn.protocols.http import httptools_impl
from uvicorn.protocols.utils import get_remote_addr

WRONG = {"username": "victim@example.com", "password": "a wrong password"}


async def sign_in(http: httpx.AsyncClient, forwarded: str | None) -> int:
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    return (await http.post("/api/auth/login", json=WRONG, headers=headers)).status_code


def client(server: RunningServer, local: str = "127.0.0.1") -> httpx.AsyncClient:
    transport = httpx.AsyncHTTPTransport(local_address=local)
    return httpx.AsyncClient(base_url=server.http, trust_env=False, transport=transport)


@pytest.fixture
def both_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses as a socket for IPv6 and IPv4 together (`OHMSTEAD_HOST=::`) tells them."""

    def told(transport: Any) -> tuple[str, int] | None:
        peer = get_remote_addr(transport)
        return None if peer is None else (f"::ffff:{peer[0]}", peer[1])

    monkeypatch.setattr(httptools_impl, "get_remote_addr", told)


async def test_behind_a_trusted_proxy_each_client_has_attempts_of_its_own(make_server: Any) -> None:
    async with make_server(trusted_proxies="127.0.0.0/8,10.0.0.0/8") as server, client(server) as http:
        for _ in range(10):
            assert await sign_in(http, "198.51.100.7") == 401
        assert await sign_in(http, "198.51.100.7") == 429
        # Somebody else, and the same one: what it writes before the proxy's own entry is not believed.
        assert await sign_in(http, "198.51.100.8") == 401
        assert await sign_in(http, "203.0.113.9, 198.51.100.7") == 429
        # A request that the proxy made itself has the proxy's address.
        assert await sign_in(http, None) == 401


async def test_without_one_nobody_chooses_an_address_of_its_own(make_server: Any) -> None:
    async with make_server() as server, client(server) as http:
        answers = [await sign_in(http, f"198.51.100.{number}") for number in range(11)]
        assert answers == [401] * 10 + [429]
        assert await sign_in(http, None) == 429


@pytest.mark.usefixtures("both_kinds")
async def test_at_a_socket_for_both_kinds_nobody_of_ipv4_locks_another_one_out(make_server: Any) -> None:
    async with make_server(rate_limit_sign_in=11) as server:
        async with client(server, "127.0.0.2") as guesser:
            assert [await sign_in(guesser, None) for _ in range(11)] == [401] * 10 + [429]
        async with client(server) as http:
            assert [await sign_in(http, None) for _ in range(2)] == [401] * 2


@pytest.mark.usefixtures("both_kinds")
async def test_a_proxy_is_trusted_and_an_address_exempt_however_it_is_written(make_server: Any) -> None:
    networks = {"trusted_proxies": "127.0.0.0/8", "rate_limit_exempt": "203.0.113.0/24"}
    async with make_server(rate_limit_sign_in=1, **networks) as server, client(server) as http:
        for address in ("198.51.100.7", "198.51.100.8", "198.51.100.9:4711", "[2001:db8::1]:4711"):
            assert await sign_in(http, address) == 401, address
        for address in ("::ffff:198.51.100.7", "198.51.100.8:4711", "198.51.100.9", "2001:db8::2"):
            assert await sign_in(http, address) == 429, address
        for address in ("203.0.113.7", "::ffff:203.0.113.7", "0:0:0:0:0:FFFF:203.0.113.7"):
            assert await sign_in(http, address) == 401, address

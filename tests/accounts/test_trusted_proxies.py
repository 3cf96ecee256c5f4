"""Signing in behind a proxy: whose address counts when somebody guesses."""

from typing import Any

import httpx
from tests.running import RunningServer

WRONG = {"username": "victim@example.com", "password": "a wrong password"}


async def sign_in(http: httpx.AsyncClient, forwarded: str | None) -> int:
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    return (await http.post("/api/auth/login", json=WRONG, headers=headers)).status_code


def client(server: RunningServer) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=server.http, trust_env=False)


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

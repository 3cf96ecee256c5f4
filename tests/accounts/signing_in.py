"""Signing in over HTTP, for the tests of what hangs on it."""

from typing import Any

import httpx
from tests.world import SignedIn, World

from ohmstead.accounts.models import Role
from ohmstead.accounts.passwords import hash_password

PASSWORD = "brass-kettle-9"


async def person(world: World, role: Role = Role.EV_OWNER, **fields: Any) -> SignedIn:
    """Make a user with the password of these tests."""
    return await world.user(role, password_hash=await hash_password(PASSWORD), **fields)


async def login(
    client: httpx.AsyncClient, who: SignedIn | str, password: str = PASSWORD, **more: Any
) -> httpx.Response:
    name = who if isinstance(who, str) else who.email
    body = {"username": name, "password": password, **more}
    return await client.post("/api/auth/login", json=body)


def bearer(answer: httpx.Response | str) -> dict[str, str]:
    """Return the headers of who got an access token by an answer."""
    token = answer if isinstance(answer, str) else answer.json()["accessToken"]
    return {"Authorization": f"Bearer {token}"}


async def status_of_me(client: httpx.AsyncClient, answer: httpx.Response) -> int:
    return (await client.get("/api/auth/me", headers=bearer(answer))).status_code

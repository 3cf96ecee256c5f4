"""Every route of the admin API asks who is there, and for a role: new routes are in here by themselves."""

from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest

from ohmstead.accounts.models import Role
from tests.calls import document
from tests.world import World


def admin_routes() -> Iterator[tuple[str, str]]:
    """Every method and path of the OpenAPI document below /api/admin, with made-up ids."""
    for path, methods in document()["paths"].items():
        if path.startswith("/api/admin"):
            for method in methods:
                yield method.upper(), path


def concrete(path: str) -> str:
    """Fill the parameters of a path."""
    for name, value in (("{charger_id}", "CP-X"), ("{action}", "Reset"), ("{id_tag}", "TAG")):
        path = path.replace(name, value)
    while "{" in path:
        path = path[: path.index("{")] + str(uuid4()) + path[path.index("}") + 1 :]
    return path


ROUTES = list(admin_routes())


def test_there_are_routes_to_look_at() -> None:
    assert len(ROUTES) > 25


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_nobody_gets_in_without_signing_in(client: httpx.AsyncClient, method: str, path: str) -> None:
    answer = await client.request(method, concrete(path), json={})
    assert answer.status_code == 401, answer.text
    assert set(answer.json()) >= {"error", "message", "detail"}


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_a_driver_has_no_business_here(
    client: httpx.AsyncClient, world: World, method: str, path: str
) -> None:
    driver = await world.user(Role.EV_OWNER)
    answer = await client.request(method, concrete(path), json={}, headers=driver.headers)
    assert answer.status_code == 403, answer.text

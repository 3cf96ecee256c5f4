"""The one table of permissions: every route is in it, and it is what the server asks."""

from pathlib import Path

import httpx
import pytest
from tests.world import World

from ohmstead.accounts.models import Role
from ohmstead.accounts.permissions import (
    PERMISSION_OF,
    PERMISSIONS,
    as_markdown,
    check_routes,
    permission_for,
)
from ohmstead.app import create_app
from ohmstead.core.config import Settings
from ohmstead.core.errors import StartupError
from ohmstead.routers import routes

PAGE = Path(__file__).parents[2] / "docs" / "permissions.md"


class TestTheTable:
    def test_it_names_every_route_and_no_other(self) -> None:
        check_routes(routes())

    def test_a_route_that_nobody_thought_about_keeps_the_server_from_starting(self) -> None:
        with pytest.raises(StartupError, match="POST /api/admin/secrets has no permission"):
            check_routes([*routes(), "POST /api/admin/secrets"])

    def test_the_app_itself_asks_the_table_when_it_is_made(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delitem(PERMISSION_OF, "GET /api/admin/stations")
        with pytest.raises(StartupError, match="GET /api/admin/stations has no permission"):
            create_app(settings)

    def test_an_entry_that_opens_nothing_is_found_too(self) -> None:
        fewer = [route for route in routes() if route != "GET /api/admin/stations"]
        with pytest.raises(StartupError, match="stations:read and does not exist"):
            check_routes(fewer)

    def test_no_route_has_two_permissions(self) -> None:
        routes = [route for permission in PERMISSIONS.values() for route in permission.routes]
        assert len(routes) == len(set(routes)) == len(PERMISSION_OF)

    def test_a_system_admin_stands_above_everybody(self) -> None:
        for name, permission in PERMISSIONS.items():
            assert permission.anonymous or Role.SYSTEM_ADMIN in permission.roles, name

    def test_nothing_of_the_admin_api_is_open_to_drivers_or_to_anybody(self) -> None:
        for route, name in PERMISSION_OF.items():
            if "/api/admin" in route:
                assert PERMISSIONS[name].roles, route
                assert Role.EV_OWNER not in PERMISSIONS[name].roles, route

    @pytest.mark.parametrize(
        ("route", "roles"),
        [
            ("POST /api/admin/stations", {Role.SYSTEM_ADMIN, Role.BACKOFFICE}),
            ("GET /api/admin/stations", {Role.SYSTEM_ADMIN, Role.BACKOFFICE, Role.OPERATOR}),
            ("POST /api/admin/backoffices", {Role.SYSTEM_ADMIN}),
            ("GET /api/auth/me", set(Role)),
        ],
    )
    def test_the_matrix_is_that_of_the_trade(self, route: str, roles: set[Role]) -> None:
        assert permission_for(*route.split(" ")).roles == roles

    def test_the_page_is_made_from_it(self) -> None:
        assert PAGE.read_text() == as_markdown(), (
            "run: python -m ohmstead.accounts.permissions > docs/permissions.md"
        )


class TestAsking:
    @pytest.mark.parametrize("role", [Role.BACKOFFICE, Role.OPERATOR, Role.EV_OWNER])
    async def test_every_route_is_refused_to_every_role_that_the_table_leaves_out(
        self, client: httpx.AsyncClient, world: World, role: Role
    ) -> None:
        user = await world.user(role)
        asked = 0
        for route, name in PERMISSION_OF.items():
            method, _, path = route.partition(" ")
            permission = PERMISSIONS[name]
            if permission.anonymous or role in permission.roles or method == "WEBSOCKET":
                continue
            while "{" in path:
                path = path[: path.index("{")] + "x" + path[path.index("}") + 1 :]
            answer = await client.request(method, path, headers=user.headers)
            assert answer.status_code == 403, (route, answer.text)
            assert answer.json()["error"] == "Forbidden"
            asked += 1
        assert asked >= 3

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
import structlog
from fastapi import FastAPI, Request
from sqlalchemy.ext.asyncio import AsyncSession
from tests.accounts.conftest import OpenSessions
from tests.conftest import FrozenClock
from tests.world import World

from ohmstead.accounts.access import Caller, authenticate
from ohmstead.accounts.models import Role
from ohmstead.accounts.permissions import PERMISSION_OF
from ohmstead.accounts.principal import Principal
from ohmstead.core.config import Settings
from ohmstead.core.errors import Unauthenticated

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def permissions(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    """The routes that these tests add to the application are for everybody who has signed in."""
    for route in ("GET /who", "GET /slow"):
        monkeypatch.setitem(PERMISSION_OF, route, "self")


class TestCaller:
    async def test_the_request_and_its_log_know_who_asks(
        self, app: FastAPI, client: httpx.AsyncClient, world: World
    ) -> None:
        seen: dict[str, Any] = {}

        @app.get("/who")
        async def who(request: Request, principal: Caller) -> None:
            seen.update(structlog.contextvars.get_contextvars(), request=request.state.user_id)
            seen["principal"] = principal.user_id

        user = await world.user(Role.EV_OWNER)
        assert (await client.get("/who", headers=user.headers)).status_code == 200
        assert (seen["user_id"], seen["request"], seen["principal"]) == (str(user.id), user.id, user.id)

    async def test_no_transaction_is_open_while_the_endpoint_waits_for_something(
        self, app: FastAPI, client: httpx.AsyncClient, world: World, open_sessions: OpenSessions
    ) -> None:
        seen: list[int] = []

        @app.get("/slow")
        async def slow(_: Caller) -> None:
            seen.append(open_sessions.now)

        user = await world.user(Role.EV_OWNER)
        before = open_sessions.ever
        assert (await client.get("/slow", headers=user.headers)).status_code == 200
        assert seen == [0]
        assert open_sessions.ever == before + 1

    async def test_a_wrong_role_is_told_which_one_is_needed(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        user = await world.user(Role.EV_OWNER)
        body = (await client.get("/api/admin/users", headers=user.headers)).json()
        assert body["error"] == "Forbidden"
        assert body["message"] == "This needs the role Backoffice or SystemAdmin; yours is EvOwner."

    async def test_the_scheme_is_written_in_any_case(self, client: httpx.AsyncClient, world: World) -> None:
        user = await world.user(Role.EV_OWNER)
        header = {"Authorization": f"bEARER {user.token}"}
        assert (await client.get("/api/auth/me", headers=header)).status_code == 200


class TestAuthenticate:
    async def test_the_principal_has_the_scope_of_the_row(
        self, session: AsyncSession, settings: Settings, world: World
    ) -> None:
        business = await world.backoffice()
        station = await world.station(business)
        user = await world.user(Role.OPERATOR, business, (station,))
        principal = await authenticate(session, settings, user.token, NOW)
        assert principal == Principal(
            user.id, user.email, Role.OPERATOR, business.id, frozenset({station.id})
        )

    async def test_only_an_operator_is_narrowed_to_stations(
        self, session: AsyncSession, settings: Settings, world: World
    ) -> None:
        business = await world.backoffice()
        station = await world.station(business)
        user = await world.user(Role.BACKOFFICE, business, (station,))
        assert (await authenticate(session, settings, user.token, NOW)).station_ids == frozenset()

    async def test_a_token_of_another_installation_is_refused(
        self, session: AsyncSession, world: World
    ) -> None:
        user = await world.admin()
        other = Settings.load(environment="test", secret_key="another secret " * 4)
        with pytest.raises(Unauthenticated):
            await authenticate(session, other, user.token, NOW)

    async def test_a_token_that_is_over_is_refused(
        self, session: AsyncSession, settings: Settings, world: World, clock: FrozenClock
    ) -> None:
        user = await world.admin()
        end = clock.now() + timedelta(minutes=settings.jwt_minutes)
        principal = await authenticate(session, settings, user.token, end - timedelta(seconds=1))
        assert isinstance(principal.user_id, UUID)
        with pytest.raises(Unauthenticated):
            await authenticate(session, settings, user.token, end)

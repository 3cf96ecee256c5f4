"""Sessions over HTTP: refresh tokens that are good once, signing out here, there and everywhere."""

import asyncio
import base64
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI
from procrastinate import JobContext
from sqlalchemy import select, text
from tests.accounts.people import trail
from tests.accounts.signing_in import bearer, login, person, status_of_me
from tests.chargers import until
from tests.conftest import FrozenClock
from tests.running import RunningServer
from tests.world import World

from ohmstead.accounts.models import User, UserStatus
from ohmstead.accounts.refresh_tokens import refresh
from ohmstead.accounts.sign_in_jobs import trim_sessions
from ohmstead.accounts.sign_in_models import SignInSession
from ohmstead.core.config import Settings
from ohmstead.core.db import Database
from ohmstead.core.errors import Unauthenticated
from ohmstead.core.live import LiveBus, Scope, Topic


async def refreshed(client: httpx.AsyncClient, token: object) -> httpx.Response:
    return await client.post("/api/auth/refresh", json={"refreshToken": token})


async def waiting_for_rows(server: RunningServer) -> int:
    """How many wait for a row that another one holds."""
    async with server.database.session() as session:
        query = (
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event IN ('transactionid', 'tuple')"
        )
        return int((await session.execute(text(query))).scalar_one())


class TestRefreshing:
    async def test_an_app_gets_new_tokens_again_and_again(
        self, client: httpx.AsyncClient, world: World, clock: FrozenClock
    ) -> None:
        answer = await login(client, await person(world), refreshToken="body")
        assert "set-cookie" not in answer.headers
        seen = {answer.json()["refreshToken"]}
        for _ in range(3):
            clock.advance(7200)
            assert await status_of_me(client, answer) == 401
            answer = await refreshed(client, answer.json()["refreshToken"])
            assert answer.status_code == 200
            assert await status_of_me(client, answer) == 200
            seen.add(answer.json()["refreshToken"])
        assert len(seen) == 4

    async def test_a_browser_has_it_in_a_cookie_that_no_script_and_no_other_site_can_use(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        answer = await login(client, await person(world), refreshToken="cookie")
        cookie = answer.headers["set-cookie"]
        assert answer.json()["refreshToken"] is None
        for part in (
            "ohmstead_refresh=ohr_",
            "HttpOnly",
            "Path=/api;",
            "SameSite=strict",
            "Max-Age=1209600",
        ):
            assert part in cookie
        again = await client.post("/api/auth/refresh")
        assert again.status_code == 200
        assert again.json()["refreshToken"] is None
        assert again.headers["set-cookie"].split(";")[0] != cookie.split(";")[0]

    @pytest.mark.parametrize(
        ("headers", "browser"),
        [
            ({}, False),
            ({"Origin": "http://test"}, True),
            ({"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}, True),
            ({"Sec-Fetch-Mode": "cors", "User-Agent": "node"}, False),  # what programs in Node.js send
        ],
    )
    async def test_without_asking_a_browser_has_a_cookie_and_everything_else_the_body(
        self, client: httpx.AsyncClient, world: World, headers: dict[str, str], browser: bool
    ) -> None:
        client.headers.update(headers)
        answer = await login(client, await person(world))
        assert ("set-cookie" in answer.headers) is browser
        assert (answer.json()["refreshToken"] is None) is browser

    async def test_who_wants_none_has_none_and_the_session_ends_with_its_access_token(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        answer = await login(client, await person(world), refreshToken="none")
        assert "set-cookie" not in answer.headers
        assert answer.json()["refreshToken"] is None
        [session] = (await client.get("/api/auth/sessions", headers=bearer(answer))).json()
        assert session["expiresAt"] == answer.json()["expiresAt"]

    async def test_a_token_that_is_used_again_ends_its_session(
        self, app: FastAPI, client: httpx.AsyncClient, world: World, clock: FrozenClock, db: Database
    ) -> None:
        who = await person(world)
        first = (await login(client, who, refreshToken="body")).json()["refreshToken"]
        other = await login(client, who, refreshToken="body")
        second = await refreshed(client, first)
        live: LiveBus = app.state.live
        listening = live.subscribe(who.id, [Topic.SESSIONS], Scope())
        clock.advance(0.001)
        stolen = await refreshed(client, first)
        assert (stolen.status_code, stolen.json()["error"]) == (401, "RefreshTokenReused")
        assert (await refreshed(client, second.json()["refreshToken"])).json()["error"] == "SignedOut"
        assert listening.closed == "scope"
        assert await status_of_me(client, second) == 401
        assert await status_of_me(client, other) == 200
        assert "user.refresh_token_reused" in await trail(db, who.id)

    async def test_two_tabs_at_once_get_the_same_successor(
        self, server: RunningServer, server_world: World
    ) -> None:
        async with httpx.AsyncClient(base_url=server.http) as client:
            signed_in = (await login(client, await person(server_world), refreshToken="body")).json()
            row = select(SignInSession).where(SignInSession.id == UUID(signed_in["sessionId"]))
            async with server.database.session() as session:
                await session.execute(row.with_for_update())
                tabs = [asyncio.create_task(refreshed(client, signed_in["refreshToken"])) for _ in range(2)]

                async def both_wait() -> bool:
                    return await waiting_for_rows(server) == 2

                await until(both_wait)
            one, other = await asyncio.gather(*tabs)
            assert one.json()["refreshToken"] == other.json()["refreshToken"]
            assert one.json()["refreshToken"] != signed_in["refreshToken"]
            assert [await status_of_me(client, tab) for tab in (one, other)] == [200, 200]

    async def test_a_tab_that_the_limits_hold_up_came_when_it_came(
        self,
        app: FastAPI,
        client: httpx.AsyncClient,
        world: World,
        clock: FrozenClock,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        token = (await login(client, await person(world), refreshToken="body")).json()["refreshToken"]
        held, first_is_done = asyncio.Event(), asyncio.Event()
        real = app.state.rate_limits.take

        async def slowly(*allowances: Any) -> None:
            if not held.is_set():
                held.set()
                await first_is_done.wait()
            await real(*allowances)

        monkeypatch.setattr(app.state.rate_limits, "take", slowly)
        late = asyncio.create_task(refreshed(client, token))
        await held.wait()
        one = await refreshed(client, token)
        clock.advance(1)
        first_is_done.set()
        assert (await late).json().get("refreshToken") == one.json()["refreshToken"]

    async def test_one_from_two_uses_ago_is_a_copy_however_quick(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        first = (await login(client, await person(world), refreshToken="body")).json()["refreshToken"]
        second = (await refreshed(client, first)).json()["refreshToken"]
        await refreshed(client, second)
        assert (await refreshed(client, first)).json()["error"] == "RefreshTokenReused"

    async def test_a_session_that_nobody_uses_ends_and_no_session_lasts_for_ever(
        self, client: httpx.AsyncClient, world: World, clock: FrozenClock
    ) -> None:
        token = (await login(client, await person(world), refreshToken="body")).json()["refreshToken"]
        for _ in range(6):
            clock.advance(14 * 86_400 - 1)
            token = (await refreshed(client, token)).json()["refreshToken"]
        idle = (await login(client, await person(world), refreshToken="body")).json()["refreshToken"]
        clock.advance(14 * 86_400)
        assert (await refreshed(client, idle)).json()["error"] == "SignedOut"
        assert (await refreshed(client, token)).json()["error"] == "SignedOut"

    @pytest.mark.parametrize(
        "token", ["x", "ohr_", "ohr_" + "A" * 70, "ohr_" + "_" * 70, "é" * 74, "0" * 200]
    )
    async def test_what_is_no_token_is_refused(self, client: httpx.AsyncClient, token: str) -> None:
        assert (await refreshed(client, token)).json()["error"] == "SignedOut"

    async def test_a_number_that_was_not_given_out_yet_cannot_be_made_up(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        answer = await login(client, await person(world), refreshToken="body")
        raw = bytearray(base64.urlsafe_b64decode(answer.json()["refreshToken"][4:] + "=="))
        for number in (0, 2, 2**32 - 1):
            raw[16:20] = number.to_bytes(4, "big")
            forged = "ohr_" + base64.urlsafe_b64encode(raw).decode().rstrip("=")
            assert (await refreshed(client, forged)).json()["error"] == "SignedOut"
        assert (await refreshed(client, answer.json()["refreshToken"])).status_code == 200

    async def test_nobody_is_asked_to_send_nothing(self, client: httpx.AsyncClient) -> None:
        assert (await client.post("/api/auth/refresh")).status_code == 401
        assert (await client.post("/api/auth/refresh", json={"refreshToken": 7})).status_code == 400

    async def test_who_may_not_act_any_more_gets_nothing(
        self, client: httpx.AsyncClient, world: World, db: Database
    ) -> None:
        who = await world.admin()
        admin = await person(world, who.role)
        token = (await login(client, admin, refreshToken="body")).json()["refreshToken"]
        async with db.session() as session:
            row = await session.get_one(User, admin.id)
            row.status = UserStatus.DEACTIVATED
        assert (await refreshed(client, token)).json()["error"] == "AccountDeactivated"

    async def test_nothing_that_could_be_used_is_stored(
        self, client: httpx.AsyncClient, world: World, db: Database
    ) -> None:
        token = (await login(client, await person(world), refreshToken="body")).json()["refreshToken"]
        mac = base64.urlsafe_b64decode(token[4:] + "==")[20:]
        async with db.session() as session:
            row = (await session.execute(select(SignInSession))).scalar_one()
        assert mac != row.seed
        assert token not in str(vars(row))

    async def test_a_token_of_the_key_before_is_good_and_its_successor_is_of_the_present_key(
        self, client: httpx.AsyncClient, world: World, db: Database, settings: Settings, clock: FrozenClock
    ) -> None:
        token = (await login(client, await person(world), refreshToken="body")).json()["refreshToken"]
        old = settings.signing_key
        turned = Settings.load(environment="test", secret_key="n" * 40, secret_key_previous=old)
        opened = await refresh(db, turned, token, address=None, now=clock.now(), clock=clock)
        assert opened.refresh_token is not None
        only_new = Settings.load(environment="test", secret_key="n" * 40)
        await refresh(db, only_new, opened.refresh_token, address=None, now=clock.now(), clock=clock)
        clock.advance(1)
        with pytest.raises(Unauthenticated):
            await refresh(db, only_new, token, address=None, now=clock.now(), clock=clock)


class TestTrimming:
    async def test_sessions_that_are_over_are_removed_and_no_others(
        self, client: httpx.AsyncClient, world: World, db: Database, clock: FrozenClock
    ) -> None:
        who = await person(world)
        over, stays = [await login(client, who, refreshToken=by) for by in ("none", "body")]
        clock.advance(7201)
        context = SimpleNamespace(additional_context={"database": db, "clock": clock})
        await trim_sessions(cast(JobContext, context), 0)
        async with db.session() as session:
            left = set(await session.scalars(select(SignInSession.id)))
        assert left == {UUID(stays.json()["sessionId"])}
        assert over.status_code == 200


class TestSigningOut:
    async def test_the_access_token_ends_at_once_and_the_cookie_goes(
        self, client: httpx.AsyncClient, world: World, db: Database
    ) -> None:
        who = await person(world)
        answer = await login(client, who, refreshToken="cookie")
        gone = await client.post("/api/auth/sign-out", headers=bearer(answer))
        assert gone.status_code == 204
        assert 'ohmstead_refresh="";' in gone.headers["set-cookie"]
        assert (await client.get("/api/auth/me", headers=bearer(answer))).json()["error"] == "SignedOut"
        assert (await trail(db, who.id))[-2:] == ["user.signed_in", "user.signed_out"]

    async def test_a_refresh_token_alone_is_enough_and_nothing_at_all_is_no_fault(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        answer = await login(client, await person(world), refreshToken="body")
        body = {"refreshToken": answer.json()["refreshToken"]}
        assert (await client.post("/api/auth/sign-out", json=body)).status_code == 204
        assert await status_of_me(client, answer) == 401
        for again in (body, {"refreshToken": "nonsense"}, {}):
            assert (await client.post("/api/auth/sign-out", json=again)).status_code == 204
        odd = await client.post("/api/auth/sign-out", headers={"Authorization": "Bearer x.y.z"})
        assert odd.status_code == 204

    async def test_everywhere_ends_all_of_one_and_none_of_another(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        who, other = await person(world), await login(client, await person(world))
        mine = [await login(client, who, refreshToken="body") for _ in range(3)]
        done = await client.post("/api/auth/sign-out-everywhere", headers=bearer(mine[0]))
        assert done.status_code == 204
        assert [await status_of_me(client, one) for one in mine] == [401] * 3
        assert await status_of_me(client, other) == 200

    async def test_live_connections_end_too(
        self, app: FastAPI, client: httpx.AsyncClient, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        who = await person(world)
        dropped: list[Any] = []
        monkeypatch.setattr(app.state.live, "drop_user", dropped.append)
        await client.post("/api/auth/sign-out", headers=bearer(await login(client, who)))
        await client.post("/api/auth/sign-out-everywhere", headers=bearer(await login(client, who)))
        assert dropped == [who.id, who.id]


class TestSessions:
    async def test_they_say_which_device_from_where_and_which_is_this_one(
        self, app: FastAPI, client: httpx.AsyncClient, world: World, clock: FrozenClock
    ) -> None:
        who = await person(world)
        await login(client, await person(world))
        elsewhere = httpx.ASGITransport(app=app, client=("198.51.100.7", 1234))
        phone = {"User-Agent": "Phone\x07 1.0" + "x" * 300}
        async with httpx.AsyncClient(transport=elsewhere, base_url="http://test", headers=phone) as other:
            await login(other, who)
        clock.advance(60)
        here = await login(client, who)
        sessions = (await client.get("/api/auth/sessions", headers=bearer(here))).json()
        assert [(one["address"], one["current"]) for one in sessions] == [
            ("127.0.0.1", True),
            ("198.51.100.7", False),
        ]
        assert sessions[1]["device"].startswith("Phone 1.0")
        assert len(sessions[1]["device"]) == 200
        assert sessions[0]["usedAt"] == "2026-05-04T12:01:00Z"

    async def test_one_can_be_ended_and_only_by_its_owner(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        who, thief = await person(world), await login(client, await person(world))
        lost, here = await login(client, who), await login(client, who)
        path = f"/api/auth/sessions/{lost.json()['sessionId']}"
        assert (await client.delete(path)).status_code == 401
        assert (await client.delete(path, headers=bearer(thief))).status_code == 404
        assert await status_of_me(client, lost) == 200
        assert (await client.delete(path, headers=bearer(here))).status_code == 204
        assert (await status_of_me(client, lost), await status_of_me(client, here)) == (401, 200)
        assert (await client.delete(path, headers=bearer(here))).status_code == 404

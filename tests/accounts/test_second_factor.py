"""The second factor over HTTP: setting it up, signing in with it, losing it."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pyotp
import pytest
from fastapi import FastAPI
from sqlalchemy import select
from tests.accounts.people import mails, trail
from tests.accounts.signing_in import PASSWORD, bearer, login, person, status_of_me
from tests.conftest import FrozenClock
from tests.running import RunningServer
from tests.world import SignedIn, World

from ohmstead.accounts import second_factor
from ohmstead.accounts.models import Role, User
from ohmstead.accounts.sign_in_models import RecoveryCode, SecondFactor
from ohmstead.core.db import Database

BASE = "/api/auth/second-factor"


async def enrol(client: httpx.AsyncClient, clock: FrozenClock, who: SignedIn) -> tuple[pyotp.TOTP, list[str]]:
    """Set a second factor up; returns the authenticator app and the recovery codes."""
    made = await client.post(BASE, json={"password": PASSWORD}, headers=who.headers)
    assert made.status_code == 200, made.text
    totp = pyotp.TOTP(made.json()["secret"])
    code = totp.at(clock.now())
    confirmed = await client.post(f"{BASE}/confirm", json={"code": code}, headers=who.headers)
    assert confirmed.status_code == 200, confirmed.text
    clock.advance(60)
    return totp, confirmed.json()["recoveryCodes"]


async def challenge(client: httpx.AsyncClient, who: SignedIn, **more: Any) -> str:
    asked = await login(client, who, **more)
    assert (asked.status_code, asked.json()["error"]) == (401, "SecondFactorRequired")
    assert "accessToken" not in asked.text
    return str(asked.json()["detail"])


async def second(client: httpx.AsyncClient, challenge: str, code: str) -> httpx.Response:
    return await client.post("/api/auth/login/second-factor", json={"challenge": challenge, "code": code})


def code_at(totp: pyotp.TOTP, clock: FrozenClock, seconds: int) -> str:
    return totp.at(clock.now() + timedelta(seconds=seconds))


class TestSettingItUp:
    async def test_the_app_gets_a_secret_an_address_and_two_pictures(
        self, client: httpx.AsyncClient, world: World, db: Database
    ) -> None:
        who = await person(world, email="maya@volt.example")
        refused = await client.post(BASE, json={"password": "wrong"}, headers=who.headers)
        assert (refused.status_code, list(refused.json()["fields"])) == (400, ["password"])
        made = (await client.post(BASE, json={"password": PASSWORD}, headers=who.headers)).json()
        assert made["uri"].startswith("otpauth://totp/Ohmstead:maya%40volt.example?secret=" + made["secret"])
        assert made["qrSvg"].startswith("<svg")
        assert made["qrPng"].startswith("data:image/png;base64,")
        async with db.session() as session:
            row = await session.get_one(SecondFactor, who.id)
        assert made["secret"].encode() not in row.secret
        assert (await login(client, who)).status_code == 200  # it counts when it has been confirmed

    async def test_it_counts_from_the_first_code_on_and_is_shown_so(
        self, client: httpx.AsyncClient, world: World, clock: FrozenClock, db: Database
    ) -> None:
        who = await person(world)
        early = await client.post(f"{BASE}/confirm", json={"code": "123456"}, headers=who.headers)
        assert (early.status_code, early.json()["error"]) == (409, "NothingToConfirm")
        _, codes = await enrol(client, clock, who)
        assert len(set(codes)) == 10
        state = (await client.get(BASE, headers=who.headers)).json()
        assert state == {"enabled": True, "required": False, "recoveryCodesLeft": 10}
        again = await client.post(BASE, json={"password": PASSWORD}, headers=who.headers)
        assert (again.status_code, again.json()["error"]) == (409, "SecondFactorExists")
        async with db.session() as session:
            kept = set(await session.scalars(select(RecoveryCode.code_hash)))
        assert not kept & {code.replace("-", "") for code in codes}
        assert "user.second_factor_enabled" in await trail(db, who.id)

    async def test_disabling_takes_the_password_and_a_code(
        self, client: httpx.AsyncClient, world: World, clock: FrozenClock
    ) -> None:
        who = await person(world)
        totp, _ = await enrol(client, clock, who)
        code = totp.at(clock.now())
        for body in (
            {"code": code},
            {"password": "wrong", "code": code},
            {"password": PASSWORD, "code": "000000"},
        ):
            assert (await client.post(f"{BASE}/disable", json=body, headers=who.headers)).status_code == 400
        body = {"password": PASSWORD, "code": code}
        assert (await client.post(f"{BASE}/disable", json=body, headers=who.headers)).status_code == 204
        assert (await login(client, who)).status_code == 200
        assert (await client.post(f"{BASE}/disable", json=body, headers=who.headers)).status_code == 409

    async def test_new_recovery_codes_make_the_old_ones_void(
        self, client: httpx.AsyncClient, world: World, clock: FrozenClock
    ) -> None:
        who = await person(world)
        totp, old = await enrol(client, clock, who)
        body = {"code": totp.at(clock.now())}
        new = (await client.post(f"{BASE}/recovery-codes", json=body, headers=who.headers)).json()
        assert (await second(client, await challenge(client, who), old[0])).status_code == 401
        assert (
            await second(client, await challenge(client, who), new["recoveryCodes"][0])
        ).status_code == 200

    async def test_of_several_who_begin_at_once_the_last_secret_counts(
        self, server: RunningServer, server_world: World
    ) -> None:
        for _ in range(3):
            who = await server_world.user(Role.EV_OWNER)  # no password, whose check they would wait for
            async with httpx.AsyncClient(base_url=server.http, trust_env=False, timeout=60) as http:
                begun = await asyncio.gather(
                    *(http.post(BASE, json={}, headers=who.headers) for _ in range(8))
                )
                assert {one.status_code for one in begun} == {200}
                now = server_world.clock.now()
                codes = {pyotp.TOTP(one.json()["secret"]).at(now) for one in begun}
                taken = [
                    await http.post(f"{BASE}/confirm", json={"code": code}, headers=who.headers)
                    for code in codes
                ]
            assert [one.is_success for one in taken].count(True) <= 1

    async def test_of_two_who_make_new_ones_at_once_only_one_set_is_good(
        self, server: RunningServer, server_world: World
    ) -> None:
        world = server_world
        who = await person(world, email=f"{uuid4().hex[:8]}@volt.example")
        async with httpx.AsyncClient(base_url=server.http, trust_env=False, timeout=60) as http:
            made = await http.post(BASE, json={"password": PASSWORD}, headers=who.headers)
            code = pyotp.TOTP(made.json()["secret"]).at(world.clock.now())
            answer = await http.post(f"{BASE}/confirm", json={"code": code}, headers=who.headers)
            for _ in range(5):
                codes = answer.json()["recoveryCodes"]
                answers = await asyncio.gather(
                    *(
                        http.post(f"{BASE}/recovery-codes", json={"code": one}, headers=who.headers)
                        for one in codes[:4]
                    )
                )
                [answer] = [one for one in answers if one.is_success]
                state = (await http.get(BASE, headers=who.headers)).json()
                assert state["recoveryCodesLeft"] == 10

    @pytest.mark.parametrize("route", ["", "/confirm", "/disable", "/recovery-codes"])
    async def test_it_needs_somebody_who_is_signed_in(self, client: httpx.AsyncClient, route: str) -> None:
        assert (await client.post(BASE + route, json={"code": "123456"})).status_code == 401


class TestSigningIn:
    async def test_the_password_is_answered_with_a_challenge_and_the_code_lets_in(
        self, client: httpx.AsyncClient, world: World, clock: FrozenClock
    ) -> None:
        who = await person(world)
        totp, _ = await enrol(client, clock, who)
        asked = await challenge(client, who, refreshToken="body")
        done = await second(client, asked, totp.at(clock.now()))
        assert done.status_code == 200
        assert done.json()["refreshToken"].startswith("ohr_")
        assert await status_of_me(client, done) == 200
        assert (await client.get("/api/auth/me", headers=bearer(asked))).status_code == 401

    async def test_a_code_is_good_once_and_one_step_around(
        self, client: httpx.AsyncClient, world: World, clock: FrozenClock
    ) -> None:
        who = await person(world)
        totp, _ = await enrol(client, clock, who)
        asked = await challenge(client, who)
        before, after = code_at(totp, clock, -30), code_at(totp, clock, 30)
        assert (await second(client, asked, before)).status_code == 200
        replayed = await second(client, asked, before)
        assert (replayed.status_code, replayed.json()["error"]) == (401, "WrongCode")
        assert (await second(client, asked, after)).status_code == 200
        assert (await second(client, asked, totp.at(clock.now()))).status_code == 401  # older than the last
        assert (await second(client, asked, code_at(totp, clock, 60))).status_code == 401

    async def test_a_recovery_code_is_good_once_as_people_type_it(
        self, client: httpx.AsyncClient, world: World, clock: FrozenClock
    ) -> None:
        who = await person(world)
        _, codes = await enrol(client, clock, who)
        asked = await challenge(client, who)
        assert (await second(client, asked, f" {codes[0].upper()} ".replace("-", " "))).status_code == 200
        assert (await second(client, asked, codes[0])).status_code == 401
        assert (await client.get(BASE, headers=who.headers)).json()["recoveryCodesLeft"] == 9

    async def test_guessing_locks_the_app_for_longer_each_time_and_recovery_codes_still_work(
        self, client: httpx.AsyncClient, world: World, clock: FrozenClock, db: Database
    ) -> None:
        who = await person(world)
        totp, codes = await enrol(client, clock, who)
        asked = await challenge(client, who)
        wrong = "000000" if totp.at(clock.now()) != "000000" else "000001"
        for _ in range(5):
            assert (await second(client, asked, wrong)).status_code == 401
        locked = await second(client, asked, totp.at(clock.now()))
        assert (locked.status_code, locked.headers["retry-after"]) == (429, "900")
        assert (await second(client, asked, codes[0])).status_code == 200
        assert len(await mails(db, who.email, "second_factor_locked")) == 1
        clock.advance(900)
        asked = await challenge(client, who)
        await second(client, asked, "abcdef")
        assert (await second(client, asked, totp.at(clock.now()))).headers["retry-after"] == "1800"
        clock.advance(1800)
        assert (await second(client, await challenge(client, who), totp.at(clock.now()))).status_code == 200

    async def test_a_challenge_ends_after_five_minutes_and_with_the_password_and_is_no_other_token(
        self, client: httpx.AsyncClient, world: World, clock: FrozenClock, db: Database
    ) -> None:
        who = await person(world)
        totp, codes = await enrol(client, clock, who)
        old = await challenge(client, who)
        for forged in ("x", who.token, old[:-5] + "AAAAA"):
            assert (await second(client, forged, codes[1])).json()["error"] == "ChallengeOver"
        clock.advance(300)
        assert (await second(client, old, totp.at(clock.now()))).json()["error"] == "ChallengeOver"
        fresh = await challenge(client, who)
        async with db.session() as session:
            (await session.get_one(User, who.id)).password_hash = "another"
        assert (await second(client, fresh, codes[0])).json()["error"] == "ChallengeOver"

    async def test_an_administrator_can_take_it_away(
        self, client: httpx.AsyncClient, world: World, clock: FrozenClock, db: Database
    ) -> None:
        who = await person(world)
        await enrol(client, clock, who)
        async with db.session() as session:
            user = await session.get_one(User, who.id)
            assert await second_factor.reset_second_factor(session, user, reason="lost phone")
            assert not await second_factor.reset_second_factor(session, user)
        assert (await login(client, who)).status_code == 200


class TestRolesThatNeedOne:
    async def test_who_has_none_can_only_set_one_up(
        self, app: FastAPI, client: httpx.AsyncClient, world: World, clock: FrozenClock
    ) -> None:
        needed = {"second_factor_roles": (Role.SYSTEM_ADMIN,)}
        app.state.settings = app.state.settings.model_copy(update=needed)
        admin = await person(world, Role.SYSTEM_ADMIN)
        answer = await login(client, admin)
        assert answer.json()["secondFactorMissing"] is True
        refused = await client.get("/api/admin/users", headers=admin.headers)
        assert (refused.status_code, refused.json()["error"]) == (403, "SecondFactorMissing")
        await enrol(client, clock, admin)
        assert (await client.get("/api/admin/users", headers=admin.headers)).status_code == 200
        other = await login(client, await person(world, Role.EV_OWNER))
        assert other.json()["secondFactorMissing"] is False

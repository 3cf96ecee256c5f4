"""Another password: with the present one, or by a mailed link."""

from typing import Any

import httpx
import pytest
from sqlalchemy import select, text
from tests.accounts.people import link, mails, trail
from tests.accounts.signing_in import PASSWORD, bearer, login, person, status_of_me
from tests.conftest import FrozenClock
from tests.world import SignedIn, World

from ohmstead.accounts.drivers_models import Driver
from ohmstead.accounts.models import Role, User, UserStatus
from ohmstead.accounts.password_change import send_link
from ohmstead.core.config import Settings
from ohmstead.core.db import Database

NEW = "copper lantern 77"
NIC = "200212345679"


async def change(
    client: httpx.AsyncClient, headers: dict[str, str], current: Any = PASSWORD, new: Any = NEW
) -> httpx.Response:
    return await client.put("/api/auth/password", json={"current": current, "new": new}, headers=headers)


class TestChanging:
    async def test_the_others_are_signed_out_and_a_mail_tells_of_it(
        self, client: httpx.AsyncClient, world: World, db: Database
    ) -> None:
        who = await person(world)
        here, other = await login(client, who), await login(client, who, refreshToken="body")
        assert (await change(client, bearer(here))).status_code == 204
        assert (await status_of_me(client, here), await status_of_me(client, other)) == (200, 401)
        assert (await login(client, who)).status_code == 401
        assert (await login(client, who, NEW)).status_code == 200
        assert len(await mails(db, who.email, "password_changed")) == 1
        assert "user.password_changed" in await trail(db, who.id)

    async def test_the_present_password_is_asked_for_and_guesses_are_counted(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        who = await person(world)
        for _ in range(10):
            wrong = await change(client, who.headers, "guess")
            assert (wrong.status_code, wrong.json()["error"]) == (400, "WrongPassword")
            assert list(wrong.json()["fields"]) == ["current"]
        assert (await change(client, who.headers)).status_code == 429
        assert (await login(client, who)).status_code == 429

    @pytest.mark.parametrize(
        "weak", ["1234567", "12345678", "password1", "aaaaaaaaaaaa", "qwertyuiop", PASSWORD]
    )
    async def test_a_weak_one_and_the_old_one_are_refused_with_what_is_wrong(
        self, client: httpx.AsyncClient, world: World, weak: str
    ) -> None:
        who = await person(world)
        refused = await change(client, who.headers, new=weak)
        assert refused.status_code == 400
        assert list(refused.json()["fields"]) == ["new"]
        assert (await login(client, who)).status_code == 200

    async def test_ones_own_address_is_no_password(self, client: httpx.AsyncClient, world: World) -> None:
        who = await person(world, email="wilhelmina.ottersby@volt.example")
        for weak in ("wilhelmina.ottersby@volt.example", "ottersbywilhelmina"):
            assert (await change(client, who.headers, new=weak)).json()["error"] == "WeakPassword"

    async def test_a_driver_s_own_nic_is_no_password(self, client: httpx.AsyncClient, world: World) -> None:
        who = await person(world)
        await world.add(Driver(user_id=who.id, nic=NIC))
        assert (await change(client, who.headers, new=NIC)).json()["error"] == "WeakPassword"
        assert (await login(client, who)).status_code == 200

    async def test_who_signs_in_elsewhere_cannot_set_one_without_proof_and_is_told_the_way(
        self, client: httpx.AsyncClient, world: World, db: Database
    ) -> None:
        who = await world.user(Role.EV_OWNER)
        for current in ("anything", NEW):
            answer = await change(client, who.headers, current)
            assert (answer.status_code, answer.json()["error"]) == (409, "NoPassword")
            assert "POST /api/auth/password-reset" in answer.json()["message"]
        assert (await login(client, who, NEW)).status_code == 401
        assert await mails(db, who.email) == []

    async def test_a_very_long_one_is_taken_and_looked_at_in_bounded_time(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        who = await person(world)
        long = "correct horse battery staple " * 35
        assert (await change(client, who.headers, new=long)).status_code == 204
        assert (await login(client, who, long)).status_code == 200

    async def test_who_has_to_change_it_can_do_nothing_else_until_then(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        who = await person(world, Role.SYSTEM_ADMIN, must_change_password=True)
        answer = await login(client, who)
        assert answer.json()["mustChangePassword"] is True
        refused = await client.get("/api/admin/users", headers=bearer(answer))
        assert (refused.status_code, refused.json()["error"]) == (403, "MustChangePassword")
        assert (await client.get("/api/auth/me", headers=bearer(answer))).status_code == 200
        await change(client, bearer(answer))
        assert (await client.get("/api/admin/users", headers=bearer(answer))).status_code == 200

    async def test_it_needs_somebody_who_is_signed_in(self, client: httpx.AsyncClient) -> None:
        assert (await change(client, {})).status_code == 401


async def mailed(db: Database, settings: Settings, clock: FrozenClock, who: SignedIn) -> str:
    async with db.session() as session:
        await send_link(session, settings, who.id, clock.now())
    return await link(db, who.email, "/reset-password/")


async def reset(client: httpx.AsyncClient, token: str, password: Any = NEW) -> httpx.Response:
    return await client.post(f"/api/auth/password-reset/{token}", json={"password": password})


class TestForgotten:
    async def test_asking_is_one_answer_and_one_job_whether_there_is_an_account_or_not(
        self, client: httpx.AsyncClient, world: World, db: Database
    ) -> None:
        who = await person(world, email="known@volt.example")
        names = (" KNOWN@volt.example", "nobody@volt.example", "no address", "nul\x00@volt.example")
        answers = [await client.post("/api/auth/password-reset", json={"email": name}) for name in names]
        assert {(one.status_code, one.text) for one in answers} == {(202, '{"status":"Accepted"}')}
        async with db.session() as session:
            query = text(
                "SELECT args->>'user_id' FROM procrastinate_jobs WHERE task_name = :name ORDER BY id"
            )
            found = await session.execute(query, {"name": "accounts:send_reset_link"})
        assert list(found.scalars()) == [str(who.id), None, None, None]

    async def test_the_link_works_once_and_signs_everybody_out(
        self, client: httpx.AsyncClient, world: World, db: Database, settings: Settings, clock: FrozenClock
    ) -> None:
        who = await person(world)
        before = await login(client, who)
        token = await mailed(db, settings, clock, who)
        assert (await reset(client, token, "12345678")).json()["error"] == "WeakPassword"
        assert (await reset(client, token)).status_code == 204
        assert await status_of_me(client, before) == 401
        assert (await login(client, who, NEW)).status_code == 200
        again = await reset(client, token, "another fine lantern")
        assert (again.status_code, again.json()["error"]) == (410, "LinkOver")
        async with db.session() as session:
            verified = await session.scalar(select(User.email_verified_at).where(User.id == who.id))
        assert verified == clock.now()
        assert {"user.password_reset_asked", "user.password_changed"} <= set(await trail(db, who.id))

    async def test_it_ends_after_an_hour_and_when_a_newer_one_is_sent_and_takes_no_nic(
        self, client: httpx.AsyncClient, world: World, db: Database, settings: Settings, clock: FrozenClock
    ) -> None:
        who = await person(world)
        await world.add(Driver(user_id=who.id, nic=NIC))
        first = await mailed(db, settings, clock, who)
        clock.advance(1)
        second = await mailed(db, settings, clock, who)
        assert (await reset(client, second, NIC)).status_code == 400
        replaced = await reset(client, first)
        assert (replaced.status_code, replaced.json()["error"]) == (410, "LinkOver")
        assert "newest mail" in replaced.json()["message"]
        clock.advance(3600)
        assert (await reset(client, second)).status_code == 410

    @pytest.mark.parametrize("token", ["x", "x" * 43, "%00", "é", "..%2f..", "x" * 100])
    async def test_what_is_no_link_is_unknown(self, client: httpx.AsyncClient, token: str) -> None:
        assert (await reset(client, token)).status_code in {400, 404}

    async def test_a_deactivated_member_of_staff_is_sent_nothing(
        self, world: World, db: Database, settings: Settings, clock: FrozenClock
    ) -> None:
        who = await person(world, Role.OPERATOR, status=UserStatus.DEACTIVATED)
        async with db.session() as session:
            await send_link(session, settings, who.id, clock.now())
        assert await mails(db, who.email) == []

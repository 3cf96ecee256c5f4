"""Invitations: a mailed link by which somebody chooses the password of an account."""

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import select, update
from tests.accounts.people import PASSWORD, link, trail
from tests.conftest import SECRET, FrozenClock
from tests.running import RunningServer
from tests.world import SignedIn, World

from ohmstead.accounts.drivers_models import Driver
from ohmstead.accounts.invites import invite
from ohmstead.accounts.mailed_tokens import LinkOver, Purpose, make, use
from ohmstead.accounts.mailed_tokens_models import MailedToken
from ohmstead.accounts.models import Role, User
from ohmstead.accounts.passwords import hash_password
from ohmstead.core.config import Settings
from ohmstead.core.db import Database
from ohmstead.core.errors import Conflict

PATH = "/api/auth/invite"


async def invited(world: World, role: Role = Role.OPERATOR, **fields: Any) -> tuple[SignedIn, str]:
    """Make a user without a password, invite it, and return it with the token of its link."""
    made = await world.user(role, name="Maya", **fields)
    async with world.database.session() as session:
        user = await session.get(User, made.id)
        assert user is not None
        await invite(session, world.settings, user, world.clock.now())
    return made, await link(world.database, made.email, "/invite/")


async def signs_in(client: httpx.AsyncClient, email: str, password: str = PASSWORD) -> int:
    answer = await client.post("/api/auth/login", json={"username": email, "password": password})
    return answer.status_code


class TestInvite:
    async def test_a_link_says_who_and_as_what_and_no_more(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        made, token = await invited(world)
        for _ in range(2):  # to look does not use it up
            answer = await client.get(f"{PATH}/{token}")
            assert answer.json() == {"email": made.email, "name": "Maya", "role": "Operator"}

    async def test_the_chosen_password_opens_the_account_and_the_address_is_verified(
        self, client: httpx.AsyncClient, world: World, db: Database
    ) -> None:
        made, token = await invited(world)
        assert await signs_in(client, made.email) == 401
        answer = await client.post(f"{PATH}/{token}", json={"password": PASSWORD})
        assert (answer.status_code, answer.content) == (204, b"")
        assert await signs_in(client, made.email) == 200
        async with db.session() as session:
            user = await session.get(User, made.id)
        assert user is not None
        assert (user.email_verified_at, user.must_change_password) == (world.clock.now(), False)
        assert "user.invite_accepted" in await trail(db, made.id)

    async def test_a_link_works_once(self, client: httpx.AsyncClient, world: World) -> None:
        made, token = await invited(world)
        await client.post(f"{PATH}/{token}", json={"password": PASSWORD})
        again = await client.post(f"{PATH}/{token}", json={"password": "another horse, 7 more bridges"})
        assert (again.status_code, again.json()["error"]) == (410, "LinkOver")
        assert (await client.get(f"{PATH}/{token}")).status_code == 410
        assert await signs_in(client, made.email) == 200

    async def test_of_several_at_once_one_chooses(self, server: RunningServer, server_world: World) -> None:
        made, token = await invited(server_world, email=f"{uuid4().hex[:8]}@volt.example")
        chosen = [f"{PASSWORD} {number}" for number in range(4)]
        async with httpx.AsyncClient(base_url=server.http, trust_env=False, timeout=30) as http:
            answers = await asyncio.gather(
                *(http.post(f"{PATH}/{token}", json={"password": password}) for password in chosen)
            )
            statuses = [answer.status_code for answer in answers]
            assert sorted(statuses) == [204, 410, 410, 410]
            assert await signs_in(http, made.email, chosen[statuses.index(204)]) == 200

    async def test_it_is_good_for_a_week(
        self, client: httpx.AsyncClient, world: World, clock: FrozenClock
    ) -> None:
        _, token = await invited(world)
        clock.advance(7 * 86400 - 1)
        assert (await client.get(f"{PATH}/{token}")).status_code == 200
        clock.advance(1)
        answer = await client.post(f"{PATH}/{token}", json={"password": PASSWORD})
        assert (answer.status_code, answer.json()["error"]) == (410, "LinkOver")

    @pytest.mark.parametrize(
        "token", ["x", "../login", "%00", "a" * 43, "a" * 200, "\u0430" * 43, "' OR 1=1 --"]
    )
    async def test_a_link_that_nobody_was_sent_is_not_found(
        self, client: httpx.AsyncClient, world: World, token: str
    ) -> None:
        await invited(world)
        for answer in (
            await client.get(f"{PATH}/{token}"),
            await client.post(f"{PATH}/{token}", json={"password": PASSWORD}),
        ):
            assert answer.status_code in {400, 404, 405}, answer.text

    async def test_a_link_of_another_purpose_is_not_found(
        self, client: httpx.AsyncClient, world: World, db: Database, settings: Settings
    ) -> None:
        made, _ = await invited(world)
        async with db.session() as session:
            user = await session.get(User, made.id)
            assert user is not None
            other = await make(session, settings, user, Purpose.VERIFY_EMAIL, world.clock.now())
        answer = await client.post(f"{PATH}/{other.token}", json={"password": PASSWORD})
        assert (answer.status_code, answer.json()["error"]) == (404, "LinkUnknown")

    @pytest.mark.parametrize("password", ["short", "password", "Maya1234", "", 12345678, None, "x" * 1025])
    async def test_a_weak_password_uses_nothing_up(
        self, client: httpx.AsyncClient, world: World, password: Any
    ) -> None:
        made, token = await invited(world)
        answer = await client.post(f"{PATH}/{token}", json={"password": password})
        assert answer.status_code == 400
        assert list(answer.json()["fields"]) == ["password"]
        assert (await client.post(f"{PATH}/{token}", json={"password": PASSWORD})).status_code == 204
        assert await signs_in(client, made.email) == 200

    async def test_the_own_nic_is_no_password(self, client: httpx.AsyncClient, world: World) -> None:
        made, token = await invited(world, Role.EV_OWNER)
        await world.add(Driver(user_id=made.id, nic="200212345679"))
        answer = await client.post(f"{PATH}/{token}", json={"password": "200212345679"})
        assert (answer.status_code, list(answer.json()["fields"])) == (400, ["password"])

    @pytest.mark.parametrize(
        "change", [{"status": "Deactivated"}, {"email": "new@volt.example"}, {"password_hash": "x"}]
    )
    async def test_it_is_void_when_the_account_has_changed(
        self, client: httpx.AsyncClient, world: World, db: Database, change: dict[str, str]
    ) -> None:
        made, token = await invited(world)
        async with db.session() as session:
            await session.execute(update(User).where(User.id == made.id).values(**change))
        assert (await client.get(f"{PATH}/{token}")).status_code == 410
        answer = await client.post(f"{PATH}/{token}", json={"password": PASSWORD})
        assert answer.status_code == 410

    async def test_what_is_kept_of_a_link_does_not_open_anything(
        self, client: httpx.AsyncClient, world: World, db: Database
    ) -> None:
        _, token = await invited(world)
        async with db.session() as session:
            [row] = (await session.execute(select(MailedToken))).scalars()
        assert token not in row.token_hash
        assert (await client.get(f"{PATH}/{row.token_hash}")).status_code == 404

    async def test_links_outlive_a_change_of_the_secret(self, world: World, db: Database) -> None:
        made, token = await invited(world)
        changed = world.settings.model_dump() | {"secret_key": "b" * 40, "secret_key_previous": SECRET}
        async with db.session() as session:
            user = await use(session, Settings.load(**changed), Purpose.INVITE, token, world.clock.now())
        assert user.id == made.id

    async def test_who_has_a_password_is_not_invited(self, world: World, db: Database) -> None:
        made = await world.user(Role.OPERATOR, password_hash=await hash_password(PASSWORD))
        async with db.session() as session:
            user = await session.get(User, made.id)
            assert user is not None
            with pytest.raises(Conflict, match="has a password already"):
                await invite(session, world.settings, user, world.clock.now())

    async def test_a_token_that_was_taken_meanwhile_is_over(self, world: World, db: Database) -> None:
        _, token = await invited(world)
        async with db.session() as session:
            await use(session, world.settings, Purpose.INVITE, token, world.clock.now())
        async with db.session() as session:
            with pytest.raises(LinkOver):
                await use(session, world.settings, Purpose.INVITE, token, world.clock.now())

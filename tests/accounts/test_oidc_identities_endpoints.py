"""Linking and unlinking identities: only by who holds both ends."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI
from joserfc.jwk import OctKey
from pydantic import SecretStr
from sqlalchemy import select
from tests.accounts.issuers import Issuer, seconds, signed
from tests.accounts.people import mails
from tests.accounts.rounds import VERIFIER, Rounds
from tests.accounts.signing_in import PASSWORD, bearer, login, person
from tests.conftest import FrozenClock
from tests.running import RunningServer
from tests.world import SignedIn, World

from ohmstead.accounts import oidc_identities
from ohmstead.accounts.audit_models import AuditEntry
from ohmstead.accounts.models import Role
from ohmstead.accounts.oidc_identities import Confirmed, Source
from ohmstead.accounts.sign_in import load
from ohmstead.core.db import Database

URL = "/api/auth/identities"


async def link(client: httpx.AsyncClient, user: SignedIn, code: str, **body: Any) -> httpx.Response:
    return await client.post(URL, json={"code": code, "verifier": VERIFIER, **body}, headers=user.headers)


async def identities(client: httpx.AsyncClient, user: SignedIn) -> list[dict[str, Any]]:
    return list((await client.get(URL, headers=user.headers)).json())


class TestLinking:
    async def test_anonymous(self, client: httpx.AsyncClient) -> None:
        for method, url in (("GET", URL), ("POST", URL), ("DELETE", f"{URL}/{uuid4()}")):
            assert (await client.request(method, url, json={})).status_code == 401

    async def test_the_password_is_asked_for_where_there_is_one_and_the_owner_is_told(
        self, rounds: Rounds, world: World, db: Database
    ) -> None:
        who = await person(world)
        code = await rounds.code(link=True)
        for wrong in ({}, {"password": "another one"}):
            refused = await link(rounds.client, who, code, **wrong)
            assert (refused.status_code, refused.json()["error"]) == (400, "WrongPassword")
        assert await identities(rounds.client, who) == []
        assert (await link(rounds.client, who, code, password=PASSWORD)).status_code == 200
        assert [one["subject"] for one in await identities(rounds.client, who)] == ["maya-1"]
        [told] = await mails(db, who.email)
        assert told.template == "identity_linked"
        assert "Acme" in (told.text or "")
        again = await link(rounds.client, who, await rounds.code(link=True), password=PASSWORD)
        assert again.status_code == 200
        assert len(await mails(db, who.email)) == 1

    async def test_several_at_once_are_one(self, server: RunningServer, server_world: World) -> None:
        who = await server_world.user(Role.EV_OWNER)
        source = Source(provider_id=None, issuer="https://id.example", name="Acme", make_users=False)
        confirmed = Confirmed(source, uuid4().hex, None, False, {})

        async def one() -> UUID:
            async with server.database.session() as session:
                user, _, _ = await load(session, who.id)
                return (await oidc_identities.link(session, server.settings, confirmed, user)).id

        assert len(set(await asyncio.gather(*(one() for _ in range(6))))) == 1

    @pytest.mark.parametrize("role", list(Role))
    async def test_every_role_links_its_own_account_and_signs_in_by_it(
        self, rounds: Rounds, world: World, role: Role, db: Database
    ) -> None:
        user = await world.user(role)
        linked = await link(rounds.client, user, await rounds.code(link=True))
        assert linked.status_code == 200, linked.text
        assert (await identities(rounds.client, user)) == [linked.json()]
        assert linked.json() == {
            "id": linked.json()["id"],
            "providerId": rounds.provider_id,
            "providerName": "Acme",
            "issuer": rounds.issuer.address,
            "subject": "maya-1",
            "email": "maya@people.example",
            "createdAt": "2026-05-04T12:00:00Z",
            "lastLoginAt": None,
        }
        await rounds.go(email="whoever@people.example", email_verified=False)
        me = await rounds.me()
        assert (me["userId"], me["role"]) == (str(user.id), role)
        assert (await identities(rounds.client, user))[0]["lastLoginAt"] == "2026-05-04T12:00:00Z"
        async with db.session() as session:
            entry = (
                await session.scalars(select(AuditEntry).where(AuditEntry.action == "identity.linked"))
            ).one()
        assert (entry.person_id, entry.actor_id) == (user.id, str(user.id))
        assert "maya" not in str((entry.before, entry.after))

    async def test_what_is_linked_to_somebody_else_stays_there(self, rounds: Rounds, world: World) -> None:
        first, second = await world.user(Role.EV_OWNER), await world.user(Role.SYSTEM_ADMIN)
        assert (await link(rounds.client, first, await rounds.code(link=True))).status_code == 200
        taken = await link(rounds.client, second, await rounds.code(link=True))
        assert (taken.status_code, taken.json()["error"]) == (409, "IdentityTaken")
        assert await identities(rounds.client, second) == []

    async def test_twice_is_once(self, rounds: Rounds, world: World) -> None:
        user = await world.user(Role.EV_OWNER)
        for _ in range(2):
            assert (await link(rounds.client, user, await rounds.code(link=True))).status_code == 200
        assert len(await identities(rounds.client, user)) == 1

    async def test_a_code_is_good_once_in_time_with_its_secret_and_for_linking_only(
        self, rounds: Rounds, world: World, clock: FrozenClock
    ) -> None:
        user = await world.user(Role.EV_OWNER)
        code = await rounds.code(link=True)
        assert (await link(rounds.client, user, code, verifier="w" * 43)).status_code == 401
        assert (await link(rounds.client, user, code)).status_code == 200
        assert (await link(rounds.client, user, code)).status_code == 401
        late = await rounds.code(link=True)
        clock.advance(121)
        assert (await link(rounds.client, user, late)).status_code == 401
        assert (await link(rounds.client, user, await rounds.code())).status_code == 401

    async def test_a_round_to_link_makes_nobody_and_signs_nobody_in(
        self, rounds: Rounds, db: Database
    ) -> None:
        await rounds.code(link=True)
        assert (await rounds.client.post("/api/auth/refresh")).status_code == 401
        async with db.session() as session:
            actions = set(await session.scalars(select(AuditEntry.action)))
        assert "user.created" not in actions

    async def test_garbage_is_refused(self, client: httpx.AsyncClient, world: World) -> None:
        user = await world.user(Role.EV_OWNER)
        bodies: list[Any] = [
            *([], {}, {"code": "x"}, {"verifier": VERIFIER}, {"token": ""}, {"token": "x", "code": "y"}),
            *({"code": "x", "verifier": "short"}, {"code": None, "verifier": None}, {"token": "a.b.c"}),
        ]
        for body in bodies:
            assert (await client.post(URL, json=body, headers=user.headers)).status_code == 400, body


class TestLinkingByAToken:
    async def test_staff_links_its_third_party_account_and_acts_by_its_tokens_from_then_on(
        self, app: FastAPI, client: httpx.AsyncClient, world: World, clock: FrozenClock, issuer: Issuer
    ) -> None:
        secret = "the JWT secret of a Supabase project"
        app.state.settings = app.state.settings.model_copy(update={"supabase_jwt_secret": SecretStr(secret)})
        now = seconds(clock.now())
        claims = {"iss": issuer.address, "aud": "authenticated", "sub": "s", "iat": now, "exp": now + 60}
        token = signed(claims, OctKey.import_key(secret), "HS256")
        theirs = {"Authorization": f"Bearer {token}"}
        boss = await world.user(Role.BACKOFFICE)
        assert (await client.get("/api/admin/stations", headers=theirs)).status_code == 401
        linked = await client.post(URL, json={"token": token}, headers=boss.headers)
        assert linked.status_code == 200, linked.text
        assert (linked.json()["providerId"], linked.json()["providerName"]) == (None, None)
        assert (await client.get("/api/admin/stations", headers=theirs)).status_code == 200
        bad = await client.post(URL, json={"token": token[:-4] + "AAAA"}, headers=boss.headers)
        assert bad.status_code == 401


class TestUnlinking:
    async def test_it_opens_nothing_any_more(self, rounds: Rounds, world: World, db: Database) -> None:
        user = await person(world, Role.SYSTEM_ADMIN, email="maya@people.example")
        code = await rounds.code(link=True)
        linked = (await link(rounds.client, user, code, password=PASSWORD)).json()
        url = f"{URL}/{linked['id']}"
        assert (await rounds.client.delete(url, headers=user.headers)).status_code == 204
        assert (await rounds.client.delete(url, headers=user.headers)).status_code == 404
        assert "error=AccountExists" in (await rounds.go()).headers["location"]
        async with db.session() as session:
            actions = list(await session.scalars(select(AuditEntry.action).order_by(AuditEntry.id)))
        assert "identity.unlinked" in actions

    async def test_whoever_came_in_by_it_is_out(self, rounds: Rounds, world: World) -> None:
        who = await person(world)
        here = await login(rounds.client, who, refreshToken="none")
        code = await rounds.code(link=True)
        linked = await link(rounds.client, who, code, password=PASSWORD)
        await rounds.go()
        there = await rounds.access_token()
        url = f"{URL}/{linked.json()['id']}"
        assert (await rounds.client.delete(url, headers=bearer(here))).status_code == 204
        assert (await rounds.client.get("/api/auth/me", headers=bearer(there))).status_code == 401
        assert (await rounds.client.get("/api/auth/me", headers=bearer(here))).status_code == 200

    async def test_the_only_way_in_is_kept(self, rounds: Rounds, world: World) -> None:
        user = await world.user(Role.EV_OWNER)
        first = (await link(rounds.client, user, await rounds.code(link=True))).json()
        second = (await link(rounds.client, user, await rounds.code(link=True, sub="maya-2"))).json()
        one = await rounds.client.delete(f"{URL}/{first['id']}", headers=user.headers)
        last = await rounds.client.delete(f"{URL}/{second['id']}", headers=user.headers)
        assert (one.status_code, last.status_code) == (204, 409)
        assert last.json()["error"] == "OnlyWayIn"

    async def test_those_of_others_are_not_there(self, rounds: Rounds, world: World) -> None:
        user, other = await world.user(Role.EV_OWNER), await world.admin()
        linked = (await link(rounds.client, user, await rounds.code(link=True))).json()
        answer = await rounds.client.delete(f"{URL}/{linked['id']}", headers=other.headers)
        assert answer.status_code == 404
        assert len(await identities(rounds.client, user)) == 1

"""Signing in by way of a provider: who gets in as whom, and with which role."""

from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import pyotp
import pytest
from fastapi import FastAPI
from sqlalchemy import select
from tests.accounts.conftest import OpenSessions
from tests.accounts.issuers import Claims, Issuer
from tests.accounts.rounds import (
    ADMIN,
    HOME,
    Rounds,
    actions,
    error_of,
    error_of_none,
    user_of,
)
from tests.conftest import FrozenClock
from tests.world import SignedIn, World

from ohmstead.accounts import second_factor
from ohmstead.accounts.models import Role, User, UserStatus
from ohmstead.core.config import Settings
from ohmstead.core.db import Database


class TestWhoComesIn:
    async def test_somebody_new_becomes_a_driver_and_is_signed_in(
        self, rounds: Rounds, issuer: Issuer, db: Database
    ) -> None:
        answer = await rounds.go({"return_to": "/stations?near=me"}, name="Maya")
        assert answer.headers["location"] == f"{HOME}/stations?near=me"
        cookies = [one.lower() for one in answer.headers.get_list("set-cookie")]
        (refresh,) = (one for one in cookies if one.startswith("ohmstead_refresh="))
        assert "httponly" in refresh
        assert "samesite=strict" in refresh
        me = await rounds.me()
        assert (me["email"], me["role"]) == ("maya@people.example", "EvOwner")
        user = await user_of(db, "maya@people.example")
        assert user is not None
        assert user.name == "Maya"
        assert user.password_hash is None
        assert user.email_verified_at is not None
        assert (await actions(db))[-3:] == ["user.created", "identity.linked", "user.signed_in"]
        (form,) = issuer.forms
        assert form["grant_type"] == "authorization_code"
        assert form["redirect_uri"] == f"{HOME}{rounds.path}/callback"
        assert "client_secret" not in form
        assert issuer.headers[issuer.asked.index("/token")]["authorization"].startswith("Basic ")

    @pytest.mark.parametrize(
        ("told", "kept"),
        [
            (" Ma\u202eya\n\x00 K. ", "Maya K."),
            ("x" * 300, "x" * 200),
            ("\u200b", None),
            (["Maya"], None),
        ],
    )
    async def test_of_its_name_there_is_kept_what_can_be_printed(
        self, rounds: Rounds, db: Database, told: Any, kept: str | None
    ) -> None:
        assert error_of_none(await rounds.go(name=told))
        user = await user_of(db, "maya@people.example")
        assert user is not None
        assert user.name == kept

    async def test_nobody_new_comes_with_an_address_that_looks_like_another(
        self, rounds: Rounds, db: Database
    ) -> None:
        assert error_of(await rounds.go(email="m\u0430ya@people.example")) == "EmailRefused"
        async with db.session() as session:
            assert await session.scalar(select(User.id).where(User.role == Role.EV_OWNER)) is None

    async def test_no_unit_of_work_is_open_while_the_provider_is_awaited(
        self, rounds: Rounds, issuer: Issuer, open_sessions: OpenSessions
    ) -> None:
        open_at: list[int] = []
        answered = issuer.answer

        def watched(path: str, form: str) -> Claims:
            open_at.append(open_sessions.now)
            return answered(path, form)

        issuer.answer = watched  # type: ignore[method-assign] # to look at each call
        issuer.userinfo = {"sub": "maya-1", "email": "maya@people.example", "email_verified": True}
        assert error_of_none(await rounds.go(email=None))
        assert open_at == [0, 0, 0, 0]
        assert issuer.asked[-3:] == ["/token", "/keys", "/userinfo"]  # the first is the configuration

    async def test_the_second_time_it_is_the_same_account_whatever_its_address_is_then(
        self, rounds: Rounds
    ) -> None:
        await rounds.go()
        first = (await rounds.me())["userId"]
        await rounds.go(email="maya@elsewhere.example")
        assert (await rounds.me())["userId"] == first

    async def test_a_driver_with_the_same_proved_address_is_linked(
        self, rounds: Rounds, world: World, clock: FrozenClock
    ) -> None:
        driver = await world.user(Role.EV_OWNER, email="maya@people.example", email_verified_at=clock.now())
        await rounds.go(email="MAYA@People.example")
        assert (await rounds.me())["userId"] == str(driver.id)

    async def test_an_account_that_never_proved_its_address_is_not_taken_over_nor_shared(
        self, rounds: Rounds, world: World
    ) -> None:
        await world.user(Role.EV_OWNER, email="maya@people.example")
        assert error_of(await rounds.go()) == "AccountExists"

    async def test_an_address_never_gives_the_rights_of_staff(
        self, rounds: Rounds, world: World, clock: FrozenClock
    ) -> None:
        for role in (Role.SYSTEM_ADMIN, Role.BACKOFFICE, Role.OPERATOR):
            staff = await world.user(role, email_verified_at=clock.now())
            assert error_of(await rounds.go(email=staff.email, sub=role)) == "AccountExists"

    async def test_an_address_that_is_not_confirmed_tells_not_even_that_it_is_known(
        self, rounds: Rounds, world: World, clock: FrozenClock
    ) -> None:
        known = await world.user(Role.EV_OWNER, email_verified_at=clock.now())
        for verified in (False, None, "true", 1):
            for email in (known.email, "new@people.example"):
                answer = await rounds.go(email=email, email_verified=verified, sub=f"s {email}")
                assert error_of(answer) == "EmailNotVerified", (email, verified)
        for none in ("no address", 7, "x" * 250 + "@people.example"):
            assert error_of(await rounds.go(email=none)) == "EmailNotVerified"

    async def test_a_provider_need_not_say_that_it_has_confirmed_but_may_not_say_the_contrary(
        self, rounds: Rounds, admin: SignedIn
    ) -> None:
        await rounds.client.put(
            f"{ADMIN}/{rounds.provider_id}", json={"require_verified_email": False}, headers=admin.headers
        )
        assert error_of(await rounds.go(email_verified=False)) == "EmailNotVerified"
        await rounds.go(email_verified=None)
        assert (await rounds.me())["email"] == "maya@people.example"

    async def test_without_leave_no_account_is_made(
        self, rounds: Rounds, admin: SignedIn, db: Database
    ) -> None:
        await rounds.client.put(
            f"{ADMIN}/{rounds.provider_id}", json={"make_users": False}, headers=admin.headers
        )
        assert error_of(await rounds.go()) == "NoAccount"
        assert await user_of(db, "maya@people.example") is None

    async def test_another_issuer_behind_the_same_provider_is_not_believed_about_the_old_names(
        self, rounds: Rounds, admin: SignedIn, issuer: Issuer
    ) -> None:
        await rounds.go()
        issuer.address += "/other"
        issuer.configuration = {**issuer.configuration, "issuer": issuer.address}
        real = issuer.answer
        issuer.answer = lambda path, form: real(path.removeprefix("/other"), form)  # type: ignore[method-assign] # another realm
        changed = await rounds.client.put(
            f"{ADMIN}/{rounds.provider_id}", json={"issuer": issuer.address}, headers=admin.headers
        )
        assert changed.status_code == 200
        await rounds.go(email="mallory@people.example")
        assert (await rounds.me())["email"] == "mallory@people.example"

    async def test_who_may_not_act_is_told_why_and_gets_nothing(
        self, rounds: Rounds, world: World, admin: SignedIn, db: Database
    ) -> None:
        business = await world.backoffice()
        rule = {"claim": "groups", "value": "ops", "role": "Operator"}
        await rounds.client.put(
            f"{ADMIN}/{rounds.provider_id}",
            json={"role_rules": [rule], "backoffice_id": str(business.id)},
            headers=admin.headers,
        )
        await rounds.go(groups=["ops"])
        user_id = (await rounds.me())["userId"]
        async with db.session() as session:
            (await session.get_one(User, user_id)).status = UserStatus.DEACTIVATED
        assert error_of(await rounds.go(groups=["ops"])) == "AccountDeactivated"

    async def test_a_second_factor_here_is_asked_for_whatever_the_provider_did(
        self, rounds: Rounds, db: Database, clock: FrozenClock, settings: Settings
    ) -> None:
        await rounds.go()
        async with db.session() as session:
            user = (await session.scalars(select(User).where(User.email == "maya@people.example"))).one()
            secret = (await second_factor.enrol(session, settings, user)).secret
            await session.flush()
            await second_factor.confirm(session, settings, user, totp(secret, clock), clock.now())
        clock.advance(60)
        answer = await rounds.go()
        assert error_of(answer) == "SecondFactorRequired"
        challenge = urlsplit(answer.headers["location"]).fragment.removeprefix("challenge=")
        done = await rounds.client.post(
            "/api/auth/login/second-factor",
            json={"challenge": challenge, "code": totp(secret, clock)},
        )
        assert (done.status_code, done.json()["email"]) == (200, "maya@people.example")


def totp(secret: str, clock: FrozenClock) -> str:
    return pyotp.TOTP(secret).at(clock.now())


class TestRoles:
    async def make(self, rounds: Rounds, world: World, admin: SignedIn, **members: Any) -> httpx.Response:
        business = await world.backoffice()
        rules = [
            {"claim": "realm_access.roles", "value": "bosses", "role": "Backoffice"},
            {"claim": "realm_access.roles", "value": "ops", "role": "Operator"},
        ]
        body = {"role_rules": rules, "backoffice_id": str(business.id), **members}
        return await rounds.client.put(f"{ADMIN}/{rounds.provider_id}", json=body, headers=admin.headers)

    async def test_claims_make_staff_of_the_business_and_take_it_back(
        self, rounds: Rounds, world: World, admin: SignedIn, db: Database
    ) -> None:
        business_id = (await self.make(rounds, world, admin)).json()["backoffice_id"]
        roles = []
        for held in (["ops", "bosses"], ["ops"], []):
            await rounds.go(realm_access={"roles": held})
            me = await rounds.me()
            roles.append((me["role"], me["backofficeId"]))
        assert roles == [("Backoffice", business_id), ("Operator", business_id), ("EvOwner", None)]
        assert (await actions(db)).count("user.role_followed") == 2

    async def test_live_connections_end_when_the_role_is_another(
        self, rounds: Rounds, world: World, admin: SignedIn, app: FastAPI, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await self.make(rounds, world, admin)
        dropped: list[UUID] = []
        monkeypatch.setattr(app.state.live, "drop_user", dropped.append)
        for roles in (["ops"], ["ops"], []):
            await rounds.go(realm_access={"roles": roles})
        assert [str(one) for one in dropped] == [(await rounds.me())["userId"]]

    async def test_whoever_was_not_made_by_the_provider_keeps_its_role(
        self, rounds: Rounds, world: World, admin: SignedIn, clock: FrozenClock
    ) -> None:
        await self.make(rounds, world, admin)
        await world.user(Role.EV_OWNER, email="maya@people.example", email_verified_at=clock.now())
        await rounds.go(realm_access={"roles": ["bosses"]})
        await rounds.go(realm_access={"roles": ["bosses"]})
        assert (await rounds.me())["role"] == "EvOwner"

    async def test_roles_are_asked_for_at_userinfo_when_the_token_has_none(
        self, rounds: Rounds, world: World, admin: SignedIn, issuer: Issuer
    ) -> None:
        await self.make(rounds, world, admin)
        issuer.userinfo = {
            "sub": "maya-1",
            "realm_access": {"roles": ["ops"]},
            "email": "other@people.example",
        }
        await rounds.go()
        me = await rounds.me()
        assert (me["role"], me["email"]) == ("Operator", "maya@people.example")

    async def test_userinfo_of_another_subject_is_not_believed(self, rounds: Rounds, issuer: Issuer) -> None:
        issuer.userinfo = {"sub": "somebody-else", "email": "boss@people.example", "email_verified": True}
        assert error_of(await rounds.go(email=None)) == "SignInRefused"

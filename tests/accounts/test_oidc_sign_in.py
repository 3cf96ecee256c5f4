"""Signing in by way of a provider: who gets in as whom, and every way in which a token can be wrong."""

from functools import partial
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import orjson
import pyotp
import pytest
from fastapi import FastAPI
from joserfc.jwk import ECKey, OctKey
from sqlalchemy import select
from tests.accounts.conftest import OpenSessions
from tests.accounts.issuers import EC, RSA, STRANGE, Claims, Issuer, signed, signed_by_hand
from tests.accounts.rounds import (
    ADMIN,
    CHALLENGE,
    CLIENT_SECRET,
    HOME,
    VERIFIER,
    Rounds,
    make_provider,
    query_of,
)
from tests.conftest import FrozenClock
from tests.world import SignedIn, World

from ohmstead.accounts import second_factor
from ohmstead.accounts.audit_models import AuditEntry
from ohmstead.accounts.models import Role, User, UserStatus
from ohmstead.core.config import Settings
from ohmstead.core.db import Database


async def user_of(db: Database, email: str) -> User | None:
    async with db.session() as session:
        return await session.scalar(select(User).where(User.email == email))


async def actions(db: Database) -> list[str]:
    async with db.session() as session:
        return list(await session.scalars(select(AuditEntry.action).order_by(AuditEntry.id)))


def error_of(answer: httpx.Response) -> str | None:
    """Return what went wrong, as the page is told where the browser ends."""
    assert answer.status_code == 303, answer.text
    assert answer.headers["location"].startswith(HOME)
    assert "ohmstead_refresh" not in answer.headers.get("set-cookie", "")
    return query_of(answer).get("error")


ELSEWHERE = (
    *("https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "x y", ""),
    *("http://localhost:8000.evil.example", "http://localhost:8000@evil.example/", "/a\nb", "/ä"),
    *("http://[", "http://localhost:80000/", "/../x", "/%2e%2e/x"),
)


class TestStart:
    async def test_the_browser_is_sent_to_the_provider_with_all_that_protects_the_round(
        self, rounds: Rounds, issuer: Issuer
    ) -> None:
        answer = await rounds.client.get(f"{rounds.path}/start")
        asked = query_of(answer)
        assert answer.headers["location"].startswith(f"{issuer.address}/authorize?")
        assert {
            name: asked[name] for name in sorted(asked.keys() - {"state", "nonce", "code_challenge"})
        } == {
            "client_id": "ohmstead",
            "code_challenge_method": "S256",
            "redirect_uri": f"{HOME}{rounds.path}/callback",
            "response_type": "code",
            "scope": "openid email profile",
        }
        assert min(len(asked[name]) for name in ("state", "nonce", "code_challenge")) >= 43
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=lax" in cookie
        assert asked["nonce"].lower() not in cookie
        assert not issuer.forms

    async def test_nobody_is_sent_anywhere_else_in_the_end(self, rounds: Rounds) -> None:
        for address in ELSEWHERE:
            answer = await rounds.client.get(f"{rounds.path}/start", params={"return_to": address})
            assert answer.status_code == 400, address
            assert answer.json()["fields"] == {"return_to": "lies outside of this installation"}

    async def test_a_provider_that_is_unknown_or_switched_off_is_none(
        self, rounds: Rounds, admin: SignedIn
    ) -> None:
        unknown = await rounds.client.get("/api/auth/oidc/5f1e9d0e-0000-4000-8000-000000000000/start")
        await rounds.client.put(
            f"{ADMIN}/{rounds.provider_id}", json={"enabled": False}, headers=admin.headers
        )
        off = await rounds.client.get(f"{rounds.path}/start")
        assert (unknown.status_code, off.status_code) == (404, 404)
        assert (await rounds.client.get("/api/auth/providers")).json() == []

    async def test_to_link_needs_a_challenge(self, rounds: Rounds) -> None:
        assert (await rounds.client.get(f"{rounds.path}/start?link=true")).status_code == 400

    async def test_a_provider_that_is_away_is_told(
        self, rounds: Rounds, issuer: Issuer, clock: FrozenClock
    ) -> None:
        issuer.status = 500
        clock.advance(25 * 3600)
        answer = await rounds.client.get(f"{rounds.path}/start")
        assert (answer.status_code, answer.json()["error"]) == (503, "ProviderUnavailable")


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


WRONG: dict[str, dict[str, Any]] = {
    "the issuer": {"iss": "https://other.example"},
    "no issuer": {"iss": None},
    "the audience": {"aud": "another-client"},
    "no audience": {"aud": None},
    "an audience of several without a party": {"aud": ["ohmstead", "another-client"]},
    "the party": {"aud": ["ohmstead"], "azp": "another-client"},
    "the nonce": {"nonce": "of another sign-in"},
    "no nonce": {"nonce": None},
    "a nonce that is no text": {"nonce": ["x"]},
    "an end in the past": {"exp": 1_700_000_000},
    "no end": {"exp": None},
    "an end that is no number": {"exp": "tomorrow"},
    "a beginning in the future": {"iat": 4_000_000_000, "exp": 4_000_000_300},
    "a beginning long ago": {"iat": 1_700_000_000},
    "no beginning": {"iat": None},
    "not valid yet": {"nbf": 4_000_000_000},
    "no subject": {"sub": None},
    "an empty subject": {"sub": ""},
    "a long subject": {"sub": "x" * 256},
    "a subject with NUL": {"sub": "a\x00b"},
    "a subject that is no text": {"sub": 7},
}


def unsigned(claims: Claims) -> str:
    _, body, _ = signed(claims).split(".")
    return f"eyJhbGciOiJub25lIn0.{body}."


def by_client_secret(claims: Claims) -> str:
    return signed(claims, OctKey.import_key(CLIENT_SECRET.ljust(32, "x")), "HS256")


def by_public_key_as_secret(claims: Claims) -> str:
    secret = RSA.as_pem(private=False)
    return signed_by_hand({"alg": "HS256", "kid": "rsa"}, orjson.dumps(claims), secret)


def with_a_critical_header(claims: Claims) -> str:
    return signed_by_hand({"alg": "RS256", "kid": "rsa", "crit": ["x"], "x": 1}, orjson.dumps(claims))


def of_half_a_character(claims: Claims) -> str:
    body = orjson.dumps(claims).replace(b"maya-1", rb"\ud800")
    return signed_by_hand({"alg": "RS256", "kid": "rsa"}, body)


def with_own_key(claims: Claims) -> str:
    return signed(claims, STRANGE, kid="rsa", jwk=STRANGE.as_dict(private=False))


def touched(claims: Claims) -> str:
    header, _, signature = signed(claims).split(".")
    _, body, _ = signed({**claims, "sub": "admin"}).split(".")
    return f"{header}.{body}.{signature}"


FAULTY = {
    "unsigned": unsigned,
    "signed by the client secret": by_client_secret,
    "signed by the public key as a secret": by_public_key_as_secret,
    "signed by a strange key": lambda claims: signed(claims, STRANGE),
    "signed by a key that it brings along": with_own_key,
    "signed by a key that nobody publishes": lambda claims: signed(claims, STRANGE, kid="unknown"),
    "changed after it was signed": touched,
    "of an algorithm that its key is not for": lambda claims: signed(claims, EC, "ES256", kid="rsa"),
    "with a critical header that nobody knows": with_a_critical_header,
    "missing": lambda _: None,
    "no token": lambda _: "no token",
    "three parts of nothing": lambda _: "..",
    "a list": lambda _: ["a", "b"],
    "very long": lambda claims: signed({**claims, "x": "y" * 20_000}),
    "half a character in its subject": of_half_a_character,
}


class TestTokensWithFaults:
    async def test_claims_that_are_wrong_let_nobody_in(self, rounds: Rounds, db: Database) -> None:
        for what, claims in WRONG.items():
            assert error_of(await rounds.go(**claims)) == "SignInRefused", what
        assert await user_of(db, "maya@people.example") is None

    async def test_tokens_that_are_wrong_let_nobody_in(
        self, rounds: Rounds, issuer: Issuer, db: Database
    ) -> None:
        for what, make in FAULTY.items():
            issuer.token = make
            assert error_of(await rounds.go()) == "SignInRefused", what
        assert await user_of(db, "maya@people.example") is None

    async def test_the_same_by_hand_is_right(self, rounds: Rounds, issuer: Issuer) -> None:
        issuer.token = lambda claims: signed_by_hand({"alg": "RS256", "kid": "rsa"}, orjson.dumps(claims))
        assert error_of_none(await rounds.go())

    async def test_several_audiences_with_us_as_the_party_are_right(self, rounds: Rounds) -> None:
        assert error_of_none(await rounds.go(aud=["ohmstead", "account"], azp="ohmstead"))

    async def test_an_elliptic_key_is_right_too(self, rounds: Rounds, issuer: Issuer) -> None:
        issuer.token = lambda claims: signed(claims, EC, "ES256")
        assert error_of_none(await rounds.go())

    async def test_a_token_of_an_earlier_sign_in_is_not_good_for_this_one(
        self, rounds: Rounds, issuer: Issuer
    ) -> None:
        earlier: list[str] = []

        def keeping(claims: Claims) -> str:
            earlier.append(signed(claims))
            return earlier[0]

        issuer.token = keeping
        assert error_of_none(await rounds.go())
        assert error_of(await rounds.go()) == "SignInRefused"

    async def test_the_secret_of_the_client_is_where_the_provider_wants_it(
        self, rounds: Rounds, issuer: Issuer, clock: FrozenClock
    ) -> None:
        issuer.configuration["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
        clock.advance(3601)
        assert error_of_none(await rounds.go())
        assert issuer.forms[-1]["client_secret"] == CLIENT_SECRET
        assert "authorization" not in issuer.headers[issuer.asked.index("/token")]


def error_of_none(answer: httpx.Response) -> bool:
    assert answer.headers["location"] == f"{HOME}/"
    return True


class TestKeys:
    async def test_a_new_key_is_fetched_once_when_it_is_first_met(
        self, rounds: Rounds, issuer: Issuer, clock: FrozenClock
    ) -> None:
        assert error_of_none(await rounds.go())
        turned = ECKey.generate_key("P-256", {"kid": "turned"})
        issuer.keys = [turned.as_dict(private=False)]
        issuer.token = lambda claims: signed(claims, turned, "ES256")
        clock.advance(31)
        assert error_of_none(await rounds.go())
        assert issuer.asked.count("/keys") == 2

    async def test_made_up_key_ids_do_not_make_us_ask_again_and_again(
        self, rounds: Rounds, issuer: Issuer
    ) -> None:
        for number in range(5):
            issuer.token = partial(signed, key=STRANGE, kid=f"made up {number}")
            assert error_of(await rounds.go()) == "SignInRefused"
        assert issuer.asked.count("/keys") == 1

    async def test_keys_that_are_weak_broken_or_for_something_else_are_passed_over(
        self, rounds: Rounds, issuer: Issuer
    ) -> None:
        good = issuer.keys[0]
        issuer.keys = [
            {"kty": "oct", "k": "c2VjcmV0", "kid": "rsa"},
            {"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "rsa"},
            {"kty": "RSA", "kid": "rsa"},
            {**good, "use": "enc"},
            {"kty": "EC", "crv": "P-0", "x": "?", "y": 1, "kid": "rsa"},
            "no key",  # type: ignore[list-item] # it is none
            good,
        ]
        assert error_of_none(await rounds.go())

    async def test_while_the_issuer_is_away_its_known_keys_serve(
        self, rounds: Rounds, issuer: Issuer, clock: FrozenClock
    ) -> None:
        assert error_of_none(await rounds.go())
        clock.advance(2 * 3600)
        real = issuer.answer
        issuer.answer = lambda path, form: (  # type: ignore[method-assign] # only the exchange is at work
            real(path, form) if path == "/token" else {}
        )
        assert error_of_none(await rounds.go())


class TestComingBack:
    async def test_a_round_comes_back_once(self, rounds: Rounds) -> None:
        asked = await rounds.start()
        cookies = httpx.Cookies(rounds.client.cookies)
        assert error_of_none(await rounds.back(asked))
        rounds.client.cookies = cookies
        again = await rounds.back(asked)
        assert (again.status_code, again.json()["error"]) == (400, "SignInExpired")

    async def test_in_another_browser_it_is_not_known(self, rounds: Rounds) -> None:
        asked = await rounds.start()
        rounds.client.cookies.clear()
        assert (await rounds.back(asked)).status_code == 400

    async def test_the_state_of_one_round_does_not_fit_the_cookie_of_another(self, rounds: Rounds) -> None:
        first, second = await rounds.start(), await rounds.start()
        forged = first["state"][:16] + second["state"][16:]
        assert (await rounds.back({"state": forged})).status_code == 400

    async def test_a_made_up_state_is_refused(self, rounds: Rounds) -> None:
        await rounds.start()
        for state in ("", "x", "x" * 43, "é" * 43, "a\x00b", "x" * 101):
            assert (await rounds.back({"state": state})).status_code == 400, state

    async def test_a_cookie_that_was_touched_is_worth_nothing(self, rounds: Rounds) -> None:
        asked = await rounds.start()
        for cookie in rounds.client.cookies.jar:
            cookie.value = str(cookie.value)[:-3] + "AAA"
        assert (await rounds.back(asked)).status_code == 400

    async def test_after_ten_minutes_it_is_too_late(self, rounds: Rounds, clock: FrozenClock) -> None:
        asked = await rounds.start()
        clock.advance(601)
        assert (await rounds.back(asked)).status_code == 400

    async def test_a_round_of_one_provider_does_not_end_at_another(
        self, rounds: Rounds, admin: SignedIn, issuer: Issuer
    ) -> None:
        asked = await rounds.start()
        other = await make_provider(rounds.client, admin, issuer, name="Other")
        rounds.provider_id = other["id"]
        assert (await rounds.back(asked)).status_code == 400

    async def test_whoever_did_not_agree_is_told_so(self, rounds: Rounds) -> None:
        asked = await rounds.start()
        assert error_of(await rounds.back(asked, code=None, error="access_denied")) == "AccessDenied"

    async def test_without_a_code_or_from_another_issuer_nobody_is_let_in(
        self, rounds: Rounds, issuer: Issuer
    ) -> None:
        wrong: list[dict[str, Any]] = [
            {"code": None},
            {"error": "server_error"},
            {"iss": "https://other.example"},
        ]
        for query in wrong:
            asked = await rounds.start()
            assert error_of(await rounds.back(asked, **query)) == "SignInRefused"
        assert not issuer.forms

    async def test_an_issuer_that_names_itself_always_does(
        self, rounds: Rounds, issuer: Issuer, clock: FrozenClock
    ) -> None:
        issuer.configuration["authorization_response_iss_parameter_supported"] = True
        clock.advance(3601)
        assert error_of(await rounds.go()) == "SignInRefused"
        asked = await rounds.start()
        assert error_of_none(await rounds.back(asked, iss=issuer.address))

    async def test_an_exchange_that_fails_is_told_without_its_reason(
        self, rounds: Rounds, issuer: Issuer
    ) -> None:
        asked = await rounds.start()
        issuer.status = 400
        answer = await rounds.back(asked)
        assert error_of(answer) == "ProviderUnavailable"
        assert issuer.address not in answer.headers["location"]


class TestApps:
    async def exchange(self, rounds: Rounds, code: str, verifier: str = VERIFIER) -> httpx.Response:
        return await rounds.client.post("/api/auth/oidc/token", json={"code": code, "verifier": verifier})

    async def test_an_app_gets_a_code_and_by_it_its_tokens_once(self, rounds: Rounds, db: Database) -> None:
        code = await rounds.code()
        answer = await self.exchange(rounds, code)
        assert answer.status_code == 200, answer.text
        assert (answer.json()["email"], answer.json()["role"]) == ("maya@people.example", "EvOwner")
        assert answer.json()["refreshToken"].startswith("ohr_")
        assert (await actions(db))[-1] == "user.signed_in"
        again = await self.exchange(rounds, code)
        assert (again.status_code, again.json()["error"]) == (401, "WrongCode")

    async def test_who_only_saw_the_code_gets_nothing_and_spoils_nothing(self, rounds: Rounds) -> None:
        code = await rounds.code()
        assert (await self.exchange(rounds, code, "w" * 43)).status_code == 401
        assert (await self.exchange(rounds, code)).status_code == 200

    async def test_after_two_minutes_it_is_too_late(self, rounds: Rounds, clock: FrozenClock) -> None:
        code = await rounds.code()
        clock.advance(121)
        assert (await self.exchange(rounds, code)).status_code == 401

    async def test_a_code_to_link_signs_nobody_in(self, rounds: Rounds) -> None:
        assert (await self.exchange(rounds, await rounds.code(link=True))).status_code == 401

    async def test_garbage_is_refused(self, client: httpx.AsyncClient) -> None:
        bodies: list[Any] = [
            *({}, [], {"code": "x"}, {"code": "x", "verifier": "short"}, {"code": 1, "verifier": VERIFIER}),
            {"code": "x", "verifier": VERIFIER, "more": 1},
        ]
        for body in bodies:
            assert (await client.post("/api/auth/oidc/token", json=body)).status_code == 400, body

    async def test_a_challenge_that_is_none_is_refused(self, rounds: Rounds) -> None:
        answer = await rounds.client.get(f"{rounds.path}/start", params={"challenge": CHALLENGE[:-1]})
        assert answer.status_code == 400

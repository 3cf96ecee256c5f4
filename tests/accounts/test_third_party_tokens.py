"""Bearer tokens of a third party: accepted as who they name, and never as more."""

from typing import Any

import httpx
import orjson
import pytest
from fastapi import FastAPI
from joserfc.jwk import OctKey
from pydantic import SecretStr
from sqlalchemy import func, select
from tests.accounts.issuers import EC, RSA, STRANGE, Claims, Issuer, seconds, signed, signed_by_hand
from tests.conftest import FrozenClock
from tests.world import World

from ohmstead.accounts import access_tokens
from ohmstead.accounts.audit_models import AuditEntry
from ohmstead.accounts.models import Role, User, UserStatus
from ohmstead.accounts.oidc_models import Identity
from ohmstead.accounts.passwords import derive_key
from ohmstead.accounts.sign_in_models import SecondFactor
from ohmstead.core.config import Settings, SettingsError
from ohmstead.core.db import Database

SECRET = "the JWT secret of a Supabase project"
ISSUER = "https://project.supabase.example/auth/v1"
ME = "/api/auth/me"


@pytest.fixture
def supabase(app: FastAPI) -> FastAPI:
    """The application of an installation that trusts a Supabase project, which confirms addresses."""
    values = {"supabase_jwt_secret": SecretStr(SECRET), "third_party_new_users": True}
    app.state.settings = app.state.settings.model_copy(update=values)
    return app


@pytest.fixture
def published(app: FastAPI, issuer: Issuer) -> FastAPI:
    """The application of an installation that trusts an issuer with published keys."""
    app.state.settings = app.state.settings.model_copy(
        update={
            "third_party_jwks_url": f"{issuer.address}/keys",
            "third_party_issuer": issuer.address,
            "third_party_audience": "charging",
            "third_party_new_users": True,
        }
    )
    return app


@pytest.fixture
def claims(clock: FrozenClock) -> Claims:
    """What a token of Supabase says."""
    now = seconds(clock.now())
    return {
        "iss": ISSUER,
        "aud": "authenticated",
        "role": "authenticated",
        "sub": "6f4e0d0e-7a53-4f3e-b1b2-6d0a6b6f9b11",
        "email": "maya@people.example",
        "iat": now,
        "exp": now + 3600,
    }


def by_secret(claims: Claims, secret: str = SECRET) -> str:
    return signed(claims, OctKey.import_key(secret), "HS256")


async def me(client: httpx.AsyncClient, token: str) -> httpx.Response:
    return await client.get(ME, headers={"Authorization": f"Bearer {token}"})


async def count_users(db: Database) -> int:
    async with db.session() as session:
        return int(await session.scalar(select(func.count()).select_from(User)) or 0)


class TestSupabase:
    async def test_somebody_new_becomes_a_driver_once(
        self, supabase: FastAPI, client: httpx.AsyncClient, claims: Claims, db: Database
    ) -> None:
        first, second = await me(client, by_secret(claims)), await me(client, by_secret(claims))
        assert first.status_code == 200, first.text
        assert (first.json()["email"], first.json()["role"]) == ("maya@people.example", "EvOwner")
        assert second.json()["userId"] == first.json()["userId"]
        async with db.session() as session:
            actions = list(await session.scalars(select(AuditEntry.action).order_by(AuditEntry.id)))
            identity = (await session.scalars(select(Identity))).one()
        assert actions == ["user.created", "identity.linked"]
        assert (identity.provider_id, identity.issuer, identity.made) == (None, ISSUER, True)

    async def test_what_the_token_says_of_roles_counts_for_nothing(
        self, supabase: FastAPI, client: httpx.AsyncClient, claims: Claims
    ) -> None:
        token = by_secret({**claims, "role": "SystemAdmin", "app_metadata": {"role": "SystemAdmin"}})
        assert (await me(client, token)).json()["role"] == "EvOwner"
        answer = await client.get("/api/admin/users", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 403

    async def test_a_driver_with_the_same_proved_address_is_found_and_staff_never(
        self,
        supabase: FastAPI,
        client: httpx.AsyncClient,
        claims: Claims,
        world: World,
        clock: FrozenClock,
    ) -> None:
        driver = await world.user(Role.EV_OWNER, email_verified_at=clock.now())
        staff = await world.user(Role.SYSTEM_ADMIN, email_verified_at=clock.now())
        unproved = await world.user(Role.EV_OWNER)
        found = await me(client, by_secret({**claims, "email": driver.email}))
        assert found.json()["userId"] == str(driver.id)
        for other in (staff, unproved):
            refused = await me(client, by_secret({**claims, "email": other.email, "sub": str(other.id)}))
            assert (refused.status_code, refused.json()["error"]) == (401, "AccountExists")

    async def test_without_leave_nobody_is_made_or_found_by_address(
        self,
        supabase: FastAPI,
        client: httpx.AsyncClient,
        claims: Claims,
        world: World,
        clock: FrozenClock,
    ) -> None:
        supabase.state.settings = supabase.state.settings.model_copy(update={"third_party_new_users": False})
        await world.user(Role.EV_OWNER, email="maya@people.example", email_verified_at=clock.now())
        answer = await me(client, by_secret(claims))
        assert (answer.status_code, answer.json()["error"]) == (401, "EmailNotVerified")
        confirmed = {**claims, "email": "new@people.example", "email_verified": True}
        answer = await me(client, by_secret(confirmed))
        assert (answer.status_code, answer.json()["error"]) == (401, "NoAccount")

    @pytest.mark.parametrize("needed_by", ["the user, who has one", "the role"])
    async def test_who_needs_a_second_factor_has_shown_it_where_the_token_is_from(
        self, supabase: FastAPI, client: httpx.AsyncClient, claims: Claims, world: World, needed_by: str
    ) -> None:
        user = await world.user(Role.BACKOFFICE)
        await world.add(
            Identity(issuer=ISSUER, subject=claims["sub"], user_id=user.id, made=False, provider_id=None)
        )
        if needed_by == "the role":
            values = {"second_factor_roles": frozenset({Role.BACKOFFICE})}
            supabase.state.settings = supabase.state.settings.model_copy(update=values)
        else:
            await world.add(SecondFactor(user_id=user.id, secret=b"x", confirmed_at=world.clock.now()))
        for weak in (
            {},
            {"aal": "aal1"},
            {"amr": ["pwd"]},
            {"amr": "mfa"},
            {"amr": [{"method": "password"}]},
        ):
            refused = await me(client, by_secret({**claims, **weak}))
            assert (refused.status_code, refused.json()["error"]) == (401, "SecondFactorNotShown")
        for strong in ({"aal": "aal2"}, {"amr": ["pwd", "mfa"]}):
            token = by_secret({**claims, **strong})
            assert (await me(client, token)).json()["userId"] == str(user.id)
            answer = await client.get("/api/operator", headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code == 200

    async def test_a_deactivated_operator_and_a_business_that_waits_stay_out(
        self, supabase: FastAPI, client: httpx.AsyncClient, claims: Claims, world: World
    ) -> None:
        user = await world.user(Role.OPERATOR, status=UserStatus.DEACTIVATED)
        await world.add(
            Identity(issuer=ISSUER, subject=claims["sub"], user_id=user.id, made=False, provider_id=None)
        )
        answer = await me(client, by_secret(claims))
        assert (answer.status_code, answer.json()["error"]) == (401, "AccountDeactivated")

    async def test_keys_of_the_project_itself_are_nobody(
        self, supabase: FastAPI, client: httpx.AsyncClient, claims: Claims, db: Database
    ) -> None:
        # The "anon" key is public, the "service_role" key is not, and both carry the same signature.
        for role in ("anon", "service_role"):
            key = {"iss": "supabase", "ref": "project", "role": role, "iat": 1, "exp": 4_000_000_000}
            assert (await me(client, by_secret(key))).status_code == 401
        assert await count_users(db) == 0

    async def test_tokens_that_are_wrong_let_nobody_in(
        self,
        supabase: FastAPI,
        client: httpx.AsyncClient,
        claims: Claims,
        db: Database,
    ) -> None:
        now = claims["iat"]
        ours = derive_key(supabase.state.settings.signing_key, "access-token")
        wrong: dict[str, dict[str, Any]] = {
            "another audience": {"aud": "anon"},
            "no audience": {"aud": None},
            "over": {"exp": now},
            "over for longer": {"exp": now - 61},
            "without an end": {"exp": None},
            "an endless number": {"exp": 10**40},
            "not yet valid": {"nbf": now + 3600},
            "from the future": {"iat": now + 3600},
            "no subject": {"sub": None},
            "an empty subject": {"sub": ""},
            "a subject with NUL": {"sub": "a\x00"},
            "no issuer": {"iss": None},
            "an issuer that is no text": {"iss": 7},
            "our issuer": {"iss": access_tokens.ISSUER},
            "our issuer and audience": {"iss": access_tokens.ISSUER, "aud": access_tokens.AUDIENCE},
        }
        tokens = {
            what: by_secret({name: value for name, value in {**claims, **other}.items() if value is not None})
            for what, other in wrong.items()
        }
        body = orjson.dumps(claims)
        tokens |= {
            "another secret": by_secret(claims, "another secret that is just as long as it"),
            "our own key": signed_by_hand({"alg": "HS256"}, body, ours),
            "unsigned": "eyJhbGciOiJub25lIn0." + by_secret(claims).split(".")[1] + ".",
            "a published key, when none are asked for": signed(claims),
            "an algorithm that is not taken": signed_by_hand({"alg": "HS512"}, body, SECRET.encode()),
            "half a character": signed_by_hand(
                {"alg": "HS256"}, body.replace(b"maya", rb"\ud800"), SECRET.encode()
            ),
            "a list of claims": signed_by_hand({"alg": "HS256"}, b"[]", SECRET.encode()),
            "nothing": "..",
            "no base64": "é.é.é",
        }
        for what, token in tokens.items():
            answer = await client.get(ME, headers={b"Authorization": f"Bearer {token}".encode()})
            assert answer.status_code == 401, what
            assert answer.json()["error"] == "Unauthorized", what
        assert await count_users(db) == 0

    async def test_our_own_tokens_go_on_working_and_are_not_theirs(
        self, supabase: FastAPI, client: httpx.AsyncClient, world: World
    ) -> None:
        user = await world.user(Role.SYSTEM_ADMIN)
        assert (await client.get(ME, headers=user.headers)).json()["userId"] == str(user.id)

    async def test_an_issuer_that_is_set_is_the_only_one(
        self, supabase: FastAPI, client: httpx.AsyncClient, claims: Claims
    ) -> None:
        supabase.state.settings = supabase.state.settings.model_copy(
            update={"third_party_issuer": "https://other.supabase.example/auth/v1"}
        )
        assert (await me(client, by_secret(claims))).status_code == 401

    async def test_the_same_name_at_another_issuer_is_somebody_else(
        self, supabase: FastAPI, client: httpx.AsyncClient, claims: Claims
    ) -> None:
        first = await me(client, by_secret(claims))
        other = {**claims, "iss": "https://other.example", "email": "other@people.example"}
        assert (await me(client, by_secret(other))).json()["userId"] != first.json()["userId"]


class TestPublishedKeys:
    @pytest.fixture
    def claims(self, claims: Claims, issuer: Issuer) -> Claims:
        return {**claims, "iss": issuer.address, "aud": ["charging", "account"], "email_verified": True}

    async def test_a_token_of_that_issuer_is_accepted_and_its_keys_are_fetched_once(
        self, published: FastAPI, client: httpx.AsyncClient, claims: Claims, issuer: Issuer
    ) -> None:
        answers = [
            await me(client, token) for token in (signed(claims), signed(claims, EC, "ES256"), signed(claims))
        ]
        assert [answer.status_code for answer in answers] == [200, 200, 200]
        assert len({answer.json()["userId"] for answer in answers}) == 1
        assert issuer.asked == ["/keys"]

    async def test_tokens_that_are_wrong_let_nobody_in(
        self, published: FastAPI, client: httpx.AsyncClient, claims: Claims, issuer: Issuer, db: Database
    ) -> None:
        public = RSA.as_pem(private=False)
        tokens = {
            "another issuer": signed({**claims, "iss": "https://other.example"}),
            "another audience": signed({**claims, "aud": "account"}),
            "a strange key": signed(claims, STRANGE),
            "a key that is not published": signed(claims, STRANGE, kid="new"),
            "another key that is not published": signed(claims, STRANGE, kid="newer"),
            "a key of the wrong kind": signed(claims, EC, "ES256", kid="rsa"),
            "the public key as a secret": signed_by_hand({"alg": "HS256"}, orjson.dumps(claims), public),
            "an address not confirmed": signed({**claims, "email_verified": False}),
        }
        for what, token in tokens.items():
            assert (await me(client, token)).status_code == 401, what
        assert await count_users(db) == 0
        assert issuer.asked == ["/keys"]

    async def test_while_the_keys_cannot_be_fetched_it_is_to_be_tried_again(
        self,
        published: FastAPI,
        client: httpx.AsyncClient,
        claims: Claims,
        issuer: Issuer,
        clock: FrozenClock,
    ) -> None:
        issuer.status = 500
        refused = await me(client, signed(claims))
        assert refused.status_code == 503
        assert "retry-after" in refused.headers
        issuer.status = 200
        assert (await me(client, signed(claims))).status_code == 503
        clock.advance(6)
        assert (await me(client, signed(claims))).status_code == 200

    async def test_keys_inside_of_a_private_network_are_not_fetched_unless_it_is_allowed(
        self, published: FastAPI, client: httpx.AsyncClient, claims: Claims, issuer: Issuer
    ) -> None:
        published.state.issuers._allowed = ()
        assert (await me(client, signed(claims))).status_code == 503
        assert issuer.asked == []


class TestSettings:
    def test_keys_need_an_issuer_and_a_secret_its_length(self) -> None:
        for given, fault in (
            ({"third_party_jwks_url": "https://id.example/keys"}, "OHMSTEAD_THIRD_PARTY_ISSUER"),
            ({"third_party_jwks_url": "ftp://id.example", "third_party_issuer": "x"}, "JWKS_URL"),
            ({"supabase_jwt_secret": "short"}, "SUPABASE_JWT_SECRET"),
            ({"outbound_allow": "10.0.0.0/8,keycloak"}, "OHMSTEAD_OUTBOUND_ALLOW"),
        ):
            with pytest.raises(SettingsError, match=fault) as refused:
                Settings.load(environment="test", **given)
            assert "short" not in str(refused.value)

    def test_the_secret_is_read_by_the_name_that_supabase_gives_it(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SUPABASE_JWT_SECRET", SECRET)
        secret = Settings.load(environment="test").supabase_jwt_secret
        assert secret is not None
        assert secret.get_secret_value() == SECRET
        assert SECRET not in repr(Settings.load(environment="test"))

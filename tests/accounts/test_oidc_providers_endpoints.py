"""Identity providers: made by a SystemAdmin, with a secret that never comes out again."""

from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import select
from tests.accounts.issuers import Issuer
from tests.accounts.rounds import ADMIN, CLIENT_SECRET, HOME, Rounds, make_provider
from tests.conftest import FrozenClock
from tests.world import SignedIn, World

from ohmstead.accounts.audit_models import AuditEntry
from ohmstead.accounts.models import Role
from ohmstead.accounts.oidc_models import Identity, IdentityProvider
from ohmstead.accounts.oidc_providers import secret_of
from ohmstead.core.config import Settings
from ohmstead.core.db import Database


def path(provider: dict[str, Any]) -> str:
    return f"{ADMIN}/{provider['id']}"


class TestWhoMay:
    @pytest.mark.parametrize("role", [Role.BACKOFFICE, Role.OPERATOR, Role.EV_OWNER])
    async def test_nobody_but_a_system_admin(
        self, client: httpx.AsyncClient, world: World, role: Role
    ) -> None:
        user = await world.user(role)
        for method, url in (
            ("GET", ADMIN),
            ("POST", ADMIN),
            *((method, f"{ADMIN}/{uuid4()}") for method in ("GET", "PUT", "DELETE")),
        ):
            assert (await client.request(method, url)).status_code == 401
            assert (await client.request(method, url, headers=user.headers)).status_code == 403

    async def test_the_buttons_are_for_everybody(
        self, client: httpx.AsyncClient, admin: SignedIn, issuer: Issuer
    ) -> None:
        b = await make_provider(client, admin, issuer, name="B")
        a = await make_provider(client, admin, issuer, name="A")
        await make_provider(client, admin, issuer, name="Off", enabled=False)
        buttons = (await client.get("/api/auth/providers")).json()
        assert buttons == [{"id": a["id"], "name": "A"}, {"id": b["id"], "name": "B"}]


class TestMakingAndChanging:
    async def test_what_is_left_out_has_its_default_and_the_secret_stays_inside(
        self,
        client: httpx.AsyncClient,
        admin: SignedIn,
        issuer: Issuer,
        db: Database,
        settings: Settings,
    ) -> None:
        made = await make_provider(client, admin, issuer)
        assert {name: made[name] for name in made.keys() - {"id", "created_at", "updated_at"}} == {
            "name": "Acme",
            "issuer": issuer.address,
            "client_id": "ohmstead",
            "has_secret": True,
            "scopes": "openid email profile",
            "role_rules": [],
            "allow_system_admin": False,
            "backoffice_id": None,
            "make_users": True,
            "require_verified_email": True,
            "enabled": True,
            "redirect_uri": f"{HOME}/api/auth/oidc/{made['id']}/callback",
        }
        shown = await client.get(path(made), headers=admin.headers)
        listed = await client.get(ADMIN, headers=admin.headers)
        assert shown.json() == made
        assert listed.json() == {"items": [made], "next_cursor": None, "total": 1}
        async with db.session() as session:
            row = (await session.scalars(select(IdentityProvider))).one()
            entry = (await session.scalars(select(AuditEntry))).one()
        assert row.secret is not None
        assert CLIENT_SECRET.encode() not in row.secret
        assert secret_of(settings, row) == CLIENT_SECRET
        assert (entry.action, entry.actor_id) == ("identity_provider.created", str(admin.id))
        assert (entry.after or {})["secret"] == "***"

    async def test_a_change_keeps_what_it_does_not_name_and_is_written_down(
        self, client: httpx.AsyncClient, admin: SignedIn, issuer: Issuer, db: Database, settings: Settings
    ) -> None:
        made = await make_provider(client, admin, issuer)
        body = {"name": "Renamed", "client_secret": "another"}
        changed = await client.put(path(made), json=body, headers=admin.headers)
        assert changed.status_code == 200, changed.text
        assert changed.json() == {**made, "name": "Renamed", "updated_at": changed.json()["updated_at"]}
        async with db.session() as session:
            row = (await session.scalars(select(IdentityProvider))).one()
            entry = (await session.scalars(select(AuditEntry).order_by(AuditEntry.id.desc()).limit(1))).one()
        assert secret_of(settings, row) == "another"
        assert entry.before == {"name": "Acme", "secret": "***"}
        assert entry.after == {"name": "Renamed", "secret": "***"}
        public = await client.put(path(made), json={"client_secret": None}, headers=admin.headers)
        assert public.json()["has_secret"] is False

    async def test_a_secret_of_another_row_is_worth_nothing(
        self, client: httpx.AsyncClient, admin: SignedIn, issuer: Issuer, db: Database, rounds: Rounds
    ) -> None:
        other = await make_provider(client, admin, issuer, name="Other", client_secret="of-another")
        async with db.session() as session:
            ours = await session.get_one(IdentityProvider, rounds.provider_id)
            ours.secret = (await session.get_one(IdentityProvider, other["id"])).secret
        answer = await rounds.go()
        assert "error=ProviderUnavailable" in answer.headers["location"]
        assert issuer.forms == []

    async def test_a_name_is_taken_once_in_any_case(
        self, client: httpx.AsyncClient, admin: SignedIn, issuer: Issuer
    ) -> None:
        await make_provider(client, admin, issuer, name="Acme")
        other = await make_provider(client, admin, issuer, name="Other")
        body = {"name": "ACME", "issuer": issuer.address, "client_id": "x"}
        again = await client.post(ADMIN, json=body, headers=admin.headers)
        renamed = await client.put(path(other), json={"name": "acme"}, headers=admin.headers)
        assert (again.status_code, renamed.status_code) == (409, 409)

    async def test_an_issuer_that_is_no_issuer_is_told_at_once(
        self, client: httpx.AsyncClient, admin: SignedIn, issuer: Issuer, app: FastAPI
    ) -> None:
        right = dict(issuer.configuration)
        for faulty in (
            {"issuer": "https://other.example"},
            {"jwks_uri": None},
            {"token_endpoint": "file:///etc/passwd"},
            {"authorization_endpoint": 7},
            {"id_token_signing_alg_values_supported": ["HS256", "none", {}]},
        ):
            issuer.configuration = {**right, **faulty}
            body = {"name": "Acme", "issuer": issuer.address, "client_id": "x"}
            answer = await client.post(ADMIN, json=body, headers=admin.headers)
            assert answer.status_code == 422, faulty
            assert list(answer.json()["fields"]) == ["issuer"]
        app.state.issuers._allowed = ()
        del app.state.issuers.__dict__["_client"]
        issuer.asked.clear()
        inside = await client.post(ADMIN, json=body, headers=admin.headers)
        assert inside.status_code == 422
        assert "OHMSTEAD_OUTBOUND_ALLOW" in inside.json()["message"]
        assert issuer.asked == []

    async def test_input_that_cannot_be_is_refused_by_its_name(
        self, client: httpx.AsyncClient, admin: SignedIn, issuer: Issuer
    ) -> None:
        right = {"name": "Acme", "issuer": issuer.address, "client_id": "x"}
        rule = {"claim": "groups", "value": "ops", "role": "Operator"}
        cases: list[tuple[dict[str, Any], str]] = [
            ({"name": ""}, "name"),
            ({"name": "x" * 81}, "name"),
            ({"name": "a\x00"}, "name"),
            ({"issuer": "keycloak"}, "issuer"),
            ({"issuer": "ftp://id.example"}, "issuer"),
            ({"issuer": "https://id.example/?x=1"}, "issuer"),
            ({"client_id": "two words"}, "client_id"),
            ({"client_secret": "ü"}, "client_secret"),
            ({"scopes": "email"}, "scopes"),
            ({"scopes": "openid  email"}, "scopes"),
            ({"make_users": "yes"}, "make_users"),
            ({"role_rules": [{**rule, "role": "King"}]}, "role_rules.0.role"),
            ({"role_rules": [rule] * 51}, "role_rules"),
            ({"role_rules": [rule]}, "backoffice_id"),
            ({"role_rules": [{**rule, "role": "SystemAdmin"}]}, "role_rules"),
            ({"backoffice_id": str(uuid4())}, "backoffice_id"),
            ({"colour": "red"}, "colour"),
        ]
        for given, name in cases:
            answer = await client.post(ADMIN, json={**right, **given}, headers=admin.headers)
            assert answer.status_code == 422, given
            assert list(answer.json()["fields"]) == [name], answer.text
        made = await make_provider(client, admin, issuer)
        for name in ("name", "issuer", "enabled", "role_rules"):
            answer = await client.put(path(made), json={name: None}, headers=admin.headers)
            assert answer.status_code == 422, name
        later = await client.put(path(made), json={"role_rules": [rule]}, headers=admin.headers)
        assert (later.status_code, list(later.json()["fields"])) == (422, ["backoffice_id"])
        assert (await client.get(path(made), headers=admin.headers)).json() == made

    async def test_system_admins_are_made_only_with_leave(
        self, client: httpx.AsyncClient, admin: SignedIn, rounds: Rounds, db: Database
    ) -> None:
        rule = {"claim": "groups", "value": "root", "role": "SystemAdmin"}
        url = f"{ADMIN}/{rounds.provider_id}"
        allowed = await client.put(
            url, json={"role_rules": [rule], "allow_system_admin": True}, headers=admin.headers
        )
        assert allowed.status_code == 200
        await rounds.go(groups=["root"])
        assert (await rounds.me())["role"] == "SystemAdmin"
        taken = await client.put(url, json={"allow_system_admin": False}, headers=admin.headers)
        assert taken.status_code == 422


class TestDeleting:
    async def test_its_links_go_and_the_accounts_stay(
        self, client: httpx.AsyncClient, admin: SignedIn, rounds: Rounds, db: Database, clock: FrozenClock
    ) -> None:
        await rounds.go()
        user_id = (await rounds.me())["userId"]
        url = f"{ADMIN}/{rounds.provider_id}"
        assert (await client.delete(url, headers=admin.headers)).status_code == 204
        assert (await client.delete(url, headers=admin.headers)).status_code == 404
        assert (await client.get(url, headers=admin.headers)).status_code == 404
        assert (await client.put(url, json={}, headers=admin.headers)).status_code == 404
        assert (await rounds.me())["userId"] == user_id
        async with db.session() as session:
            assert (await session.scalars(select(Identity))).all() == []
            last = await session.scalar(select(AuditEntry.action).order_by(AuditEntry.id.desc()).limit(1))
        assert last == "identity_provider.deleted"

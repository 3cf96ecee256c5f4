"""Whatever a request changes is in the audit trail, under the id of that request.

Every route that is not a GET is called, with a tenant's own rows, by somebody who may. New routes are in here
by themselves: one that writes to the database and leaves no entry fails, and so does one that never succeeds.
"""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx
import orjson
import pytest
from fastapi import FastAPI
from PIL import Image
from sqlalchemy import event, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from ohmstead.accounts import mailed_tokens
from ohmstead.accounts.audit_models import AuditEntry
from ohmstead.accounts.models import Role, User
from ohmstead.accounts.passwords import hash_password
from ohmstead.accounts.permissions import permission_for
from ohmstead.core.config import Settings
from ohmstead.core.db import Database
from ohmstead.core.file_links import Purpose, sign
from ohmstead.link.links import Answer
from tests.calls import Call, Operation, calls, document, operations
from tests.stations.links import FakeLink
from tests.tenants import NOW, Tenant
from tests.world import SignedIn, World

ROUTES = [one for one in operations(document()) if one.method != "GET"]
WRITING = re.compile(r"\s*(?:INSERT INTO|UPDATE|DELETE FROM) (\w+)")


def picture() -> bytes:
    """A small PNG."""
    written = io.BytesIO()
    Image.new("RGB", (64, 48), "green").save(written, "PNG")
    return written.getvalue()


NO_ENTRY: dict[str, str] = {
    "POST /api/auth/second-factor": "what is set up counts for nothing until it is confirmed: that has one",
}
"""Routes that write and need no entry, with the reason."""

ELSEWHERE = {
    "POST /api/auth/login/second-factor": "needs a code of an app; signs in as the login does",
    "POST /api/auth/refresh": "changes nothing of a user; what ends a session is user.refresh_token_reused",
    "POST /api/auth/second-factor/confirm": "needs a code of an app: user.second_factor_enabled",
    "POST /api/auth/second-factor/recovery-codes": "needs a code of an app: user.recovery_codes_made",
    "POST /api/auth/second-factor/disable": "needs a code of an app: user.second_factor_removed",
    "POST /api/auth/oidc/token": "needs a provider: tests/accounts/test_oidc_endpoints.py",
    "POST /api/auth/identities": "needs a provider: tests/accounts/test_oidc_identities_endpoints.py",
    "POST /api/admin/identity-providers": "needs a provider: tests/accounts/test_oidc_providers_endpoints.py",
    "DELETE /api/admin/stations/{station_id}": "needs an empty one: see below",
    "DELETE /api/admin/chargers/{charger_id}": "needs an empty one: see below",
}
"""Routes that rows alone do not let succeed, and where it is shown that they leave an entry."""

CSV, PICTURE = "text/csv", "image/png"
BODIES: dict[str, Any] = {
    "POST /api/auth/verify-email/resend": {"email": "somebody@example.com"},
    "POST /api/auth/email": {"email": "another@example.com"},
    "POST /api/admin/users": lambda tenant: {
        "email": "new@example.com",
        "role": "Operator",
        "backoffice_id": tenant.rows["accounts_backoffice"]["id"],
    },
    "PUT /api/admin/users/{user_id}": {"status": "Deactivated"},
    "POST /api/admin/users/{user_id}/personal-data": {"kind": "Export"},
    "POST /api/auth/me/personal-data": {"kind": "Export"},
    "PUT /api/backoffice/{backoffice_id}": {"businessName": "Another name"},
    "POST /api/evowner": {
        "nic": "200212345679",
        "name": "Ravi",
        "email": "ravi@example.com",
        "phone": "+94 77 123 4567",
        "password": "seven horses over the 9 bridges",
    },
    "PUT /api/evowner/{nic}": {"name": "Another name"},
    "POST /api/evowner/{nic}/cards": {"idTag": "ANOTHER"},
    "PUT /api/evowner/{nic}/vehicles/{vehicle_id}": {"model": "Another one"},
    "PUT /api/operator/{operator_id}": {"name": "Another name"},
    "PUT /api/admin/api-keys/{key_id}": {"name": "Another name"},
    "PUT /api/admin/identity-providers/{provider_id}": {"name": "Another name"},
    "PUT /api/admin/stations/{station_id}": {"name": "Another name"},
    "PUT /api/admin/stations/{station_id}/photo": (PICTURE, picture()),
    "POST /api/admin/chargers": {"id": "ANOTHER"},
    "PUT /api/admin/chargers/{charger_id}": {"name": "Another name"},
    "POST /api/admin/chargers/{charger_id}/commands/{action}": {"type": "Soft"},
    "POST /api/admin/chargers/{charger_id}/availability": {"operative": True},
    "POST /api/admin/chargers/{charger_id}/firmware-updates": {"location": "ftp://example.com/x.bin"},
    "POST /api/admin/id-tags": {"id_tag": "ANOTHER"},
    "PUT /api/admin/id-tags/{id_tag}": {"status": "Blocked"},
    "PUT /api/admin/charging-profiles/{profile_id}": {"name": "Another name"},
    "PUT /api/admin/configuration-templates/{template_id}": {"name": "Another name"},
    "POST /api/admin/local-list-rules": {"tags": {"all": True}},
    "PUT /api/admin/local-list-rules/{rule_id}": {"keep_up_to_date": True},
    "POST /api/admin/stations.csv": (CSV, b"name\nA new one\n"),
    "POST /api/admin/chargers.csv": (CSV, b"id\nA-NEW-ONE\n"),
    "POST /api/admin/id-tags.csv": (CSV, b"id_tag\nNEWTAG\n"),
}
"""What makes a difference where the description alone does not tell it."""

QUERIES = {"POST /api/admin/firmware": "?vendor=ABB&model=T54&version=9"}

ENDED = "UPDATE fleet_firmware_update SET ended_at = now()"
PENDING = "UPDATE accounts_backoffice SET status = 'PendingApproval'"
CARD = "UPDATE accounts_token SET stopped_as = NULL, card_status = "
ACTIVE = CARD + "'Active'"
FIRST = {
    "DELETE /api/auth/identities/{identity_id}": "UPDATE accounts_user SET password_hash = 'x'",
    "POST /api/auth/me/personal-data": "UPDATE accounts_personal_data SET ended_at = now()",
    "PUT /api/evowner/{nic}/cards/{card_id}": ACTIVE,
    "DELETE /api/evowner/{nic}/cards/{card_id}": ACTIVE,
    "PUT /api/evowner/{nic}/cards/{card_id}/block": ACTIVE,
    "PUT /api/evowner/{nic}/cards/{card_id}/lost": ACTIVE,
    "PUT /api/backoffice/{backoffice_id}/approve": PENDING,
    "PUT /api/backoffice/{backoffice_id}/reject": PENDING,
    "PUT /api/operator/{operator_id}/enable": "UPDATE accounts_user SET status = 'Deactivated'"
    " WHERE role = 'Operator'",
    "PUT /api/evowner/{nic}/reactivate": "UPDATE accounts_user SET status = 'Deactivated'"
    " WHERE role = 'EvOwner'",
    "PUT /api/evowner/{nic}/cards/{card_id}/unblock": CARD + "'Blocked'",
    "PUT /api/evowner/{nic}/cards/{card_id}/approve": CARD + "'Pending'",
    "PUT /api/evowner/{nic}/cards/{card_id}/reject": CARD + "'Pending'",
    "POST /api/admin/local-list-rules": "DELETE FROM fleet_local_list_rule",
    "DELETE /api/admin/charging-profiles/{profile_id}": "DELETE FROM energy_installed_profile",
    "DELETE /api/admin/firmware/{firmware_id}": ENDED,
    "POST /api/admin/chargers/{charger_id}/firmware-updates": ENDED,
    "POST /api/admin/users/{user_id}/reset-second-factor": (
        "INSERT INTO accounts_second_factor (user_id, secret, confirmed_at)"
        " SELECT id, 'x', now() FROM accounts_user ON CONFLICT (user_id) DO UPDATE SET confirmed_at = now()"
    ),
}
"""What must be so before."""

OK = Answer(response={"status": "Accepted"})


class Willing(FakeLink):
    """A charger that accepts everything."""

    async def call(self, action: str, payload_json: bytes, *, wait_seconds: float | None = None) -> Answer:
        if action == "GetConfiguration":
            return Answer(response={"configurationKey": [], "unknownKey": []})
        if action == "GetLocalListVersion":
            return Answer(response={"listVersion": 0})
        return OK


@dataclass
class Written:
    """The tables that were written to."""

    tables: set[str] = field(default_factory=set)

    def note(self, statement: str) -> None:
        found = WRITING.match(statement)
        if found is not None:
            self.tables.add(found.group(1))


@pytest.fixture
def written(db: Database) -> Iterator[Written]:
    kept = Written()

    def before(_: Any, __: Any, statement: str, *___: Any) -> None:
        kept.note(statement)

    event.listen(db.engine.sync_engine, "before_cursor_execute", before)
    yield kept
    event.remove(db.engine.sync_engine, "before_cursor_execute", before)


@pytest.fixture
async def tenant(app: FastAPI, settings: Settings) -> Tenant:
    connection = app.state.database.bind
    assert isinstance(connection, AsyncConnection)
    tenant = await Tenant(connection, settings, "AUDITED").fill()
    app.state.links.attach(tenant.rows["stations_charger"]["id"], Willing())
    return tenant


PASSWORD = "seven horses over the 9 bridges"


async def login(app: FastAPI, tenant: Tenant) -> tuple[str, Any]:
    user = tenant.people[Role.BACKOFFICE]
    hashed = await hash_password(PASSWORD)
    await tenant.connection.execute(update(User).where(User.id == user.id).values(password_hash=hashed))
    return "/api/auth/login", {"username": user.email, "password": PASSWORD}


async def mailed(app: FastAPI, tenant: Tenant, purpose: mailed_tokens.Purpose) -> str:
    database: Database = app.state.database
    async with database.session() as session:
        user = await session.get_one(User, tenant.people[Role.OPERATOR].id)
        made = await mailed_tokens.make(session, tenant.settings, user, purpose, NOW)
    return made.token


async def invite(app: FastAPI, tenant: Tenant) -> tuple[str, Any]:
    token = await mailed(app, tenant, mailed_tokens.Purpose.INVITE)
    return f"/api/auth/invite/{token}", {"password": PASSWORD}


async def verification(app: FastAPI, tenant: Tenant) -> tuple[str, Any]:
    return "/api/auth/verify-email", {"token": await mailed(app, tenant, mailed_tokens.Purpose.VERIFY_EMAIL)}


async def email_change(app: FastAPI, tenant: Tenant) -> tuple[str, Any]:
    database: Database = app.state.database
    async with database.session() as session:
        user = await session.get_one(User, tenant.people[Role.OPERATOR].id)
        purpose = mailed_tokens.Purpose.CHANGE_EMAIL
        made = await mailed_tokens.make(session, tenant.settings, user, purpose, NOW, email="new@example.com")
    return "/api/auth/email/confirm", {"token": made.token}


async def new_password(app: FastAPI, tenant: Tenant) -> tuple[str, Any]:
    hashed = await hash_password(PASSWORD)
    await tenant.connection.execute(update(User).values(password_hash=hashed))
    return "/api/auth/password", {"current": PASSWORD, "new": f"{PASSWORD} and more"}


async def reset_password(app: FastAPI, tenant: Tenant) -> tuple[str, Any]:
    await tenant.connection.execute(update(User).values(password_hash="x"))
    token = await mailed(app, tenant, mailed_tokens.Purpose.PASSWORD_RESET)
    return f"/api/auth/password-reset/{token}", {"password": PASSWORD}


async def upload(app: FastAPI, tenant: Tenant) -> tuple[str, Any]:
    job_id = tenant.rows["fleet_diagnostics"]["id"]
    token = sign(tenant.settings, Purpose.UPLOAD, job_id, NOW + timedelta(hours=1))
    return f"/uploads/{token}", {"what": "a charger brings"}


PREPARED = {
    "POST /api/auth/login": login,
    "POST /api/auth/invite/{token}": invite,
    "POST /api/auth/verify-email": verification,
    "POST /api/auth/email/confirm": email_change,
    "PUT /api/auth/password": new_password,
    "POST /api/auth/password-reset/{token}": reset_password,
    "PUT /uploads/{token}": upload,
    "POST /uploads/{token}": upload,
}
"""What needs more than rows: makes it, and returns the path and the body of the request."""


def callers(operation: Operation, tenant: Tenant, admin: SignedIn) -> list[dict[str, str]]:
    permission = permission_for(operation.method, operation.path)
    if permission.anonymous:
        return [{}]
    people = [(Role.SYSTEM_ADMIN, admin), *tenant.people.items()]
    return [person.headers for role, person in people if role in permission.roles]


def requests(operation: Operation, tenant: Tenant) -> Iterator[Call]:
    for call in calls(operation, tenant, tenant):
        body = BODIES.get(operation.route)
        if callable(body):
            body = body(tenant)
        if isinstance(body, tuple):
            call.kind, call.content = body
        elif body is not None:
            call.content, call.kind = orjson.dumps(body), "application/json"
        call.url += QUERIES.get(operation.route, "")
        yield call


async def test_whatever_changes_something_is_in_the_trail(
    app: FastAPI, client: httpx.AsyncClient, tenant: Tenant, world: World, written: Written
) -> None:
    admin = await world.admin()
    faults, answers = [], {}
    for number, operation in enumerate(ROUTES):
        answers[operation.route] = "was not called"
        for headers in callers(operation, tenant, admin):
            if not answers[operation.route]:
                break
            for call in requests(operation, tenant):
                request_id = f"audited-{number}"
                async with tenant.connection.begin_nested() as undone:
                    await tenant.connection.execute(text(FIRST.get(operation.route, "SELECT 1")))
                    if operation.route in PREPARED:
                        call.url, body = await PREPARED[operation.route](app, tenant)
                        call.content, call.kind = orjson.dumps(body), "application/json"
                    written.tables.clear()
                    answer = await call.send(client, headers | {"X-Request-ID": request_id})
                    told = f"{operation.method} {call.url} -> {answer.status_code} {answer.text[:200]}"
                    found = await tenant.connection.scalar(
                        select(AuditEntry.id).where(AuditEntry.request_id == request_id).limit(1)
                    )
                    await undone.rollback()
                if not answer.is_success:
                    answers[operation.route] = answers[operation.route] and told
                    continue
                answers[operation.route] = ""
                if written.tables and found is None and operation.route not in NO_ENTRY:
                    faults.append(f"{told} wrote to {sorted(written.tables)}")
    unseen = [told or route for route, told in answers.items() if told and route not in ELSEWHERE]
    assert not faults, "\n".join(faults)
    assert not unseen, "these did not succeed: mend the request or show it elsewhere\n" + "\n".join(unseen)


def test_no_exception_is_one_of_a_route_that_is_gone() -> None:
    assert {*NO_ENTRY, *ELSEWHERE, *BODIES, *QUERIES, *FIRST, *PREPARED} <= {
        operation.route for operation in ROUTES
    }


async def test_what_is_deleted_is_in_the_trail_too(client: httpx.AsyncClient, world: World) -> None:
    admin = await world.admin()
    station = await world.station()
    charger = await world.charger(station)
    simulated = await world.charger(station, simulated=True)
    for path in (
        f"chargers/{charger.id}",
        "chargers?simulated=true",
        f"stations/{station.id}",
    ):
        answer = await client.delete(f"/api/admin/{path}", headers=admin.headers)
        assert answer.is_success, answer.text
    entries = (await client.get("/api/admin/audit", headers=admin.headers)).json()["items"]
    assert [(one["action"], one["entity_id"]) for one in entries] == [
        ("station.deleted", str(station.id)),
        ("charger.deleted", simulated.id),
        ("charger.deleted", charger.id),
    ]
    assert {one["actor_email"] for one in entries} == {admin.email}
    assert entries[0]["before"]["name"] == station.name
    assert {one["station_id"] for one in entries} == {str(station.id)}

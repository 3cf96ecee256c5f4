"""Nothing that is secret or tells of a person is in the log, whatever is asked: new routes are in here."""

import asyncio
import io
import json
import logging
import sys
from typing import Any

import httpx
import pytest
import structlog
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncConnection
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from ohmstead.accounts.models import Role
from ohmstead.accounts.passwords import secret_hash
from ohmstead.core.config import Settings
from ohmstead.core.db import Database
from ohmstead.core.logging import setup_logging
from tests.calls import MADE_UP, calls, document, operations
from tests.chargers import RawCharger, basic
from tests.core.test_logging import as_it_was
from tests.running import RunningServer
from tests.tenants import Tenant
from tests.world import World

__all__ = ["as_it_was"]

ROUTES = list(operations(document()))


@pytest.fixture
def log(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """All that the application writes, down to the least important."""
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    setup_logging(settings.model_copy(update={"log_format": "json", "log_level": "DEBUG"}))
    return written


@pytest.fixture
async def tenant(app: FastAPI, settings: Settings) -> Tenant:
    database: Database = app.state.database
    connection = database.bind
    assert isinstance(connection, AsyncConnection)
    return await Tenant(connection, settings, "MINE").fill()


def secrets_of(tenant: Tenant) -> set[str]:
    """What a tenant keeps to itself: every text it has, who its people are, what they sign in with."""
    people = tenant.people.values()
    return {
        tenant.marker.lower(),
        tenant.station_marker.lower(),
        tenant.key.lower(),
        tenant.rows["accounts_driver"]["nic"].lower(),
        tenant.rows["accounts_token"]["id_tag"].lower(),
        MADE_UP,
        *(one.email.lower() for one in people),
        *(one.token.lower() for one in people),
    }


@pytest.mark.parametrize("caller", [Role.BACKOFFICE, Role.EV_OWNER, "machine", "nobody"])
async def test_no_line_has_what_was_sent_or_answered(
    client: httpx.AsyncClient, tenant: Tenant, log: io.StringIO, caller: str
) -> None:
    """Every route is called with ids that exist and bodies that it takes; for `nobody` by a key cut short."""
    headers = {
        "machine": {"X-API-Key": tenant.key},
        "nobody": {"Authorization": f"Bearer {tenant.key[:-1]}"},
    }.get(caller) or tenant.people[Role(caller)].headers
    forbidden = secrets_of(tenant) | {tenant.key[:-1].lower()}
    asked = 0
    for operation in ROUTES:
        for call in calls(operation, tenant, tenant):
            await call.send(client, headers)
            asked += 1
    lines = log.getvalue().lower().splitlines()
    assert len(lines) >= asked > 100
    told = [line for line in lines if any(one in line for one in forbidden)]
    assert not told, "\n".join(told[:5])


async def test_a_fault_of_ours_tells_nothing_of_the_row_that_it_was_about(log: io.StringIO) -> None:
    try:
        raise RuntimeError(
            "duplicate key value\nDETAIL:  Key (lower(email))=(ann (a)@example.com) already exists.\n"
        ) from ValueError("DETAIL:  Failing row contains (1, Ann, +46 70 123, null).")
    except RuntimeError:
        logging.getLogger("ohmstead.http").exception("http.crashed")
        structlog.stdlib.get_logger("ohmstead.http").exception("http.crashed")
    written = log.getvalue()
    assert "duplicate key value" in written
    assert "lower(email)" in written
    for secret in ("ann", "Ann", "+46"):
        assert secret not in written


TAG, PASSWORD = "QZTAG77", "qzhorse-over-9-bridges"
"""What a driver holds to a charger, and what a charger shows to us."""
STATUS = {"connectorId": 1, "errorCode": "NoError", "status": "Available"}
THEIRS: dict[str, dict[str, Any]] = {
    "Authorize": {"idTag": TAG},
    "StartTransaction": {
        "connectorId": 1,
        "idTag": TAG,
        "meterStart": 0,
        "timestamp": "2026-05-04T12:00:00Z",
    },
    "StopTransaction": {
        "transactionId": 9_999_999,
        "idTag": TAG,
        "meterStop": 7,
        "timestamp": "2026-05-04T12:00:00Z",
    },
    "DataTransfer": {"vendorId": "v", "data": f'{{"AuthorizationKey": "{PASSWORD}", "idTag": "{TAG}"}}'},
    "StatusNotification": {**STATUS, "info": f"ftp://u:{PASSWORD}@h"},
    "SecurityEventNotification": {
        "type": "InvalidPassword",
        "timestamp": "2026-05-04T12:00:00Z",
        "techInfo": f"https://u:{PASSWORD}@h",
    },
}
BROKEN = [
    f'[2,"b1","Authorize",{{"idTag":"{TAG}","more":1}}]',
    f'[2,"b2","Authorize",{{"idTag":"{TAG * 9}"}}]',
    f'[2,"b3","{TAG}",{{"password":"{PASSWORD}"}}]',
    f'[2,"b4","StartTransaction",{{"idTag":"{TAG}","meterStart":"{PASSWORD}"}}]',
    f'[2,"b5","StopTransaction",{{"idTag":"{TAG}"}}]',
    f'[2,"b6","StatusNotification",{{"vendorPassword":"{PASSWORD}"}}]',
    f'[3,"{TAG}",{{"idTag":"{TAG}"}}]',
    f'[4,"{TAG}","InternalError","{PASSWORD}",{{}}]',
    f'[2,"b7","Authorize",{{"idTag":"{TAG}"',
    f"{TAG} {PASSWORD}",
]
OURS: dict[str, dict[str, Any]] = {
    "ChangeConfiguration": {"key": "AuthorizationKey", "value": PASSWORD},
    "RemoteStartTransaction": {"idTag": TAG, "connectorId": 1},
    "SendLocalList": {
        "listVersion": 1,
        "updateType": "Full",
        "localAuthorizationList": [{"idTag": TAG, "idTagInfo": {"status": "Accepted"}}],
    },
    "GetDiagnostics": {"location": f"ftp://user:{PASSWORD}@host/dir"},
}


async def test_no_line_has_what_chargers_send_or_are_sent(
    server: RunningServer, server_world: World, log: io.StringIO
) -> None:
    """Whole and broken frames, commands and their answers, handshakes that are let in and that are not."""
    hashed = secret_hash(PASSWORD, server.settings.signing_key)
    row = await server_world.charger(security_profile=1, password_hash=hashed)
    admin = await server_world.admin()
    shown = basic(row.id.encode(), PASSWORD.encode())
    wrong = basic(row.id.encode(), f"{PASSWORD}!".encode())
    for headers, path in ((wrong, row.id), ({}, f"{row.id}?password={PASSWORD}")):
        with pytest.raises(InvalidStatus):
            await RawCharger.connect(server.ws, path, headers=headers)
    async with (
        await RawCharger.connect(server.ws, row.id, headers=shown) as raw,
        httpx.AsyncClient(base_url=server.http, trust_env=False, headers=admin.headers, timeout=60) as http,
    ):
        await raw.boot()
        for action, payload in THEIRS.items():
            await raw.call(action, payload)
        for text in BROKEN:
            await raw.send(text)
        for action, payload in OURS.items():
            url = f"/api/admin/chargers/{row.id}/commands/{action}"
            asked = asyncio.create_task(http.post(url, json=payload))
            call = await raw.next_call()
            assert (call[2], call[3]) == (action, payload)
            await raw.answer(call, {"status": PASSWORD, "idTag": TAG})
            await asked
        await raw.result("Heartbeat")
    lines = log.getvalue().splitlines()
    assert [line for line in lines if row.id in line]
    told = [line for line in lines if TAG.lower() in line.lower() or PASSWORD in line]
    assert not told, "\n".join(told[:5])


async def test_no_line_has_what_live_sockets_say_or_are_told(
    server: RunningServer, server_world: World, log: io.StringIO
) -> None:
    """Tokens and keys that are good, that are cut short or in the address, and events that name a tag."""
    business = await server_world.backoffice()
    row = await server_world.charger(await server_world.station(business))
    boss = await server_world.user(Role.BACKOFFICE, business)
    await server_world.token(id_tag=TAG, backoffice_id=business.id)
    topics = ["chargers", "sessions", "messages", "alerts"]
    hellos = [
        {"token": boss.token[:-2], "topics": topics},
        {"token": f"ohm_{boss.token[-30:]}", "topics": topics},
        {"token": boss.token, "topics": [TAG]},
        {"token": boss.token, "topics": topics, "secret": PASSWORD},
        {"token": boss.token, "topics": ["log"]},
        TAG,
    ]
    for hello in hellos:
        async with connect(f"{server.ws}/api/live?token={boss.token}", proxy=None) as socket:
            await socket.send(json.dumps(hello))
            with pytest.raises(ConnectionClosed):
                await asyncio.wait_for(socket.recv(), 60)
    async with (
        connect(f"{server.ws}/api/live?token={boss.token}", proxy=None) as socket,
        await RawCharger.connect(server.ws, row.id) as raw,
    ):
        await socket.send(json.dumps({"token": boss.token, "topics": topics}))
        await raw.boot()
        await raw.start(TAG)
        async with asyncio.timeout(60):
            while TAG not in str(await socket.recv()):  # it is told: else the test could not fail
                pass
        await socket.send(f"{PASSWORD} {boss.token}")
        await raw.result("Heartbeat")
    async with httpx.AsyncClient(base_url=server.http, trust_env=False) as http:
        await http.get("/health/ready")
    lines = log.getvalue().splitlines()
    assert lines
    forbidden = (TAG.lower(), PASSWORD, boss.token.lower(), boss.token[-30:].lower(), boss.email.lower())
    told = [line for line in lines if any(one in line.lower() for one in forbidden)]
    assert not told, "\n".join(told[:5])

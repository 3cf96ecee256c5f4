"""Nothing that is secret or tells of a person is in the log, whatever is asked: new routes are in here."""

import io
import logging
import sys

import httpx
import pytest
import structlog
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncConnection

from ohmstead.accounts.models import Role
from ohmstead.core.config import Settings
from ohmstead.core.db import Database
from ohmstead.core.logging import setup_logging
from tests.calls import MADE_UP, calls, document, operations
from tests.core.test_logging import as_it_was
from tests.tenants import Tenant

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

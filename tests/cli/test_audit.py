"""`ohmstead audit verify`: the verdict in words, in JSON, and as an exit code."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from tests.cli.running import ohmstead

from ohmstead.accounts.audit import record
from ohmstead.accounts.audit_seals import seal_next
from ohmstead.core.db import Database

PERSON = ("user", "create", "--email", "maya@volt.example", "--role", "SystemAdmin", "--password-stdin")


async def write_and_seal(url: str) -> None:
    database = Database(url, pool_size=1)
    async with database.session() as session:
        for number in range(2):
            await record(session, "station.updated", entity="station", entity_id=number)
    async with database.session() as session:
        assert await seal_next(session, datetime.now(UTC)) == 3
    await database.close()


@pytest.fixture(scope="module")
def url(database_factory: Any) -> str:
    """A database with the entries of a new user and of two changes, under one seal."""
    url = str(database_factory("trail"))
    assert ohmstead(*PERSON, given="a rather long sentence 7!\n", DATABASE_URL=url).returncode == 0
    asyncio.run(write_and_seal(url))
    return url


def test_a_trail_that_nobody_touched_holds(url: str) -> None:
    done = ohmstead("audit", "verify", DATABASE_URL=url)
    assert done.returncode == 0, done.stderr
    assert "3 entries under 1 seals; 0 not sealed yet." in done.stdout
    assert "The chain holds" in done.stdout


def test_what_was_changed_behind_its_back_is_named(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("UPDATE accounts_audit_entry SET action = 'nothing' WHERE entity_id = '1'")
    done = ohmstead("audit", "verify", DATABASE_URL=url)
    assert done.returncode == 1
    assert "An entry of seal 1 was changed." in done.stderr
    assert "The chain holds" not in done.stdout
    verdict = json.loads(ohmstead("audit", "verify", "--json", DATABASE_URL=url).stdout)
    assert verdict["faults"] == ["an entry of seal 1 was changed"]
    assert (verdict["seals"], verdict["entries"], verdict["unsealed"]) == (1, 3, 0)
    assert len(verdict["head"]) == 64

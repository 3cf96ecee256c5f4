"""Nobody sees or touches what is another's: every route, every role, ids that exist.

New routes and new tables are in here by themselves. What is asked of each answer: 401, 403 or 404 where the
path names a row of the other tenant, and nowhere a marker or an id of it; and of the database, that no row
which tells of the other tenant has come, gone or changed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncConnection

from ohmstead.accounts.models import Role
from ohmstead.accounts.permissions import permission_for
from ohmstead.core.config import Settings
from ohmstead.core.db import Base, Database
from tests.calls import Operation, calls, document, known, operations, table_of
from tests.tenants import Tenant, is_of_station

ROUTES = list(operations(document()))
REFUSED = {401, 403, 404}
ELSEWHERE = {
    "/api/admin/chargers/{charger_id}/composite-schedule",
    "/api/admin/diagnostics/{diagnostics_id}/file",
    "/api/admin/firmware/{firmware_id}/file",
}
"""What a row alone does not make: a charger that is connected, the bytes of a file."""

CALLERS = ("anonymous", Role.BACKOFFICE, Role.OPERATOR, Role.EV_OWNER, "machine")


@dataclass
class Two:
    """Two tenants with everything, in one database."""

    connection: AsyncConnection
    mine: Tenant
    others: Tenant


def headers_of(tenant: Tenant, caller: str) -> dict[str, str]:
    """What somebody of a tenant sends to show who it is."""
    if caller == "anonymous":
        return {}
    return {"X-API-Key": tenant.key} if caller == "machine" else tenant.people[Role(caller)].headers


@pytest.fixture
async def two(app: FastAPI, settings: Settings) -> Two:
    database: Database = app.state.database
    connection = database.bind
    assert isinstance(connection, AsyncConnection)
    mine = await Tenant(connection, settings, "MINE").fill()
    others = await Tenant(connection, settings, "OTHERS").fill()
    return Two(connection, mine, others)


def test_there_are_routes_to_look_at_and_each_parameter_is_known() -> None:
    assert len(ROUTES) > 100
    for operation in ROUTES:
        for parameter in operation.parameters:
            if parameter["in"] == "path" or parameter["schema"].get("format") == "uuid":
                known(operation.path, parameter["name"])


def test_every_row_of_a_path_is_that_of_a_table() -> None:
    tables = Base.metadata.tables
    for operation in ROUTES:
        assert all(table_of(operation.path, name) in tables for name in operation.path_ids), operation.route


@pytest.mark.parametrize("role", [Role.BACKOFFICE, Role.OPERATOR, Role.EV_OWNER])
async def test_who_may_sees_what_is_its_own(client: httpx.AsyncClient, two: Two, role: Role) -> None:
    """Else the tests below could not fail."""
    faults = []
    for operation in ROUTES:
        if operation.method != "GET" or not operation.path_ids or operation.path in ELSEWHERE:
            continue
        if role in permission_for(operation.method, operation.path).roles:
            answers = [
                await call.send(client, two.mine.people[role].headers)
                for call in calls(operation, two.mine, two.mine)
            ]
            if not any(answer.is_success for answer in answers):
                faults.append(f"{operation.route} -> {answers[0].status_code} {answers[0].text[:300]}")
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("caller", CALLERS)
async def test_another_tenant_is_as_if_it_did_not_exist(
    client: httpx.AsyncClient, two: Two, caller: str
) -> None:
    headers = headers_of(two.mine, caller)
    faults = []
    for operation in ROUTES:
        faults += await faults_of(client, operation, two.others, two.others, headers)
        if operation.path_ids and operation.contents:
            faults += await faults_of(client, operation, two.mine, two.others, headers)
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("caller", CALLERS)
async def test_what_is_another_tenant_s_is_not_reached_beside_what_is_one_s_own(
    client: httpx.AsyncClient, two: Two, caller: str
) -> None:
    """The own driver with a card of another one; the own charger, with rows of others in the query."""
    headers = headers_of(two.mine, caller)
    faults, asked = [], 0
    for operation in ROUTES:
        for strange in mixtures(operation):
            whose = dict.fromkeys(strange, two.others)
            faults += await faults_of(client, operation, two.mine, two.others, headers, strange=whose)
            asked += 1
    assert not faults, "\n".join(faults)
    assert asked >= 20


async def test_another_station_of_the_same_business_is_as_if_it_did_not_exist(
    client: httpx.AsyncClient, two: Two
) -> None:
    colleague = await two.others.colleague()
    faults = []
    for operation in ROUTES:
        tables = [Base.metadata.tables[str(table_of(operation.path, name))] for name in operation.path_ids]
        if not tables or any(is_of_station(table) for table in tables):
            faults += await faults_of(
                client, operation, two.others, two.others, colleague.headers, of_station=True
            )
    assert not faults, "\n".join(faults)


def mixtures(operation: Operation) -> Iterator[tuple[str, ...]]:
    """The parameters of a path that can name another tenant's rows beside rows of one's own in it.

    With a query that names rows too, these can be another's while all of the path is one's own.
    """
    path = operation.path_ids
    for number in range(1, len(path)):
        yield from combinations(path, number)
    if path and operation.query_ids:
        yield tuple(operation.query_ids)


async def faults_of(
    client: httpx.AsyncClient,
    operation: Operation,
    of_path: Tenant,
    others: Tenant,
    headers: dict[str, str],
    *,
    of_station: bool = False,
    strange: Mapping[str, Tenant] | None = None,
) -> list[str]:
    """Call a route with the ids of another tenant, and tell what it gave away or let happen.

    `strange` names parameters whose ids are of another tenant than those of `of_path`: then the body says
    nothing of others, so that nothing but them can be the reason of a refusal.
    """
    refused = of_path is others or not set(operation.path_ids).isdisjoint(strange or {})
    of_body = of_path if strange else others
    secrets = others.secrets()
    if of_station:
        secrets = {others.station_marker.lower(), *others.ids(of_station=True)}
    faults = []
    for call in calls(operation, of_path, of_body, strange):
        before = await others.digest(of_station=of_station) if operation.method != "GET" else {}
        savepoint = await others.connection.begin_nested()
        answer = await call.send(client, headers)
        after = await others.digest(of_station=of_station) if operation.method != "GET" else {}
        await savepoint.rollback()  # who signed itself out could not be refused any more
        told = {one for one in secrets if one in answer.text.lower() and one not in call.sent}
        if told:
            faults.append(f"{call} -> {answer.status_code} tells {sorted(told)[:3]}: {answer.text[:300]}")
        if answer.status_code >= 500 and operation.path != "/health/ready":
            faults.append(f"{call} -> {answer.status_code} {answer.text[:200]}")
        if operation.path_ids and refused and answer.status_code not in REFUSED:
            faults.append(f"{call} -> {answer.status_code}, not 401, 403 or 404: {answer.text[:200]}")
        if changed := sorted(name for name in after if after[name] != before[name]):
            faults.append(f"{call} -> {answer.status_code} changes {', '.join(changed)}")
    return faults

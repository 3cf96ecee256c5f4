"""What Schemathesis makes of the OpenAPI document, sent with the token of every role: new routes are in here.

No answer is a fault of ours (500 and more), and none is one that the document does not describe. The cases
are the same at every run; `make prove` has many more, and others each time.
"""

from copy import deepcopy
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import httpx
import hypothesis
import pytest
import requests
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase
from hypothesis.errors import Unsatisfiable
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from ohmstead.core.config import Settings
from ohmstead.core.db import Database
from tests.calls import IDS, document, plain_name
from tests.tenants import Tenant

DOCUMENT = document()
SCHEMA = schemathesis.openapi.from_dict(deepcopy(DOCUMENT))
CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
OPERATIONS = [one for methods in DOCUMENT["paths"].values() for one in methods.values()]
TAGS = sorted({tag for one in OPERATIONS for tag in one["tags"]})
SHORT = max(2, 700 // len(OPERATIONS))
"""So many cases of each sort for a route: together they cost about the same however many routes come."""
OURS = {"authorization", "x-api-key"}
"""The headers that say who asks."""
ALIVE = "/health/ready"
"""Without a running server it rightly answers 503."""


@dataclass
class Callers:
    """Somebody of every role in one tenant, a machine with a key, and nobody."""

    tenant: Tenant
    connection: AsyncConnection
    headers: dict[str, dict[str, str]]


@pytest.fixture
async def callers(app: FastAPI, settings: Settings) -> Callers:
    database: Database = app.state.database
    connection = database.bind
    assert isinstance(connection, AsyncConnection)
    tenant = await Tenant(connection, settings, "MINE").fill()
    headers = {str(role): person.headers for role, person in tenant.people.items()}
    headers |= {
        "SystemAdmin": (await tenant.admin()).headers,
        "machine": {"X-API-Key": tenant.key},
        "anonymous": {},
    }
    return Callers(tenant, connection, headers)


def cases_of(operation: Any, examples: int, *, same: bool) -> list[Any]:
    """Cases that keep to the description of a route, and cases that break it somewhere."""
    found: list[Any] = []
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

        @hypothesis.given(operation.as_strategy(generation_mode=mode))
        @hypothesis.settings(
            max_examples=examples,
            derandomize=same,
            database=None,
            phases=[Phase.generate],
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        def collect(case: Any) -> None:
            found.append(case)

        try:
            collect()
        except Unsatisfiable:  # a route that takes nothing can be told nothing wrong
            continue
    return found


def with_ids(case: Any, tenant: Tenant) -> None:
    """Name rows that exist, in the path and in the body."""
    for place in (case.path_parameters, case.body):
        if isinstance(place, dict):
            for name, value in place.items():
                table, factory = IDS.get(plain_name(name), (None, None))
                if table is not None and factory is not None and isinstance(value, str):
                    place[name] = str(factory(tenant)[0])


async def answer_to(client: httpx.AsyncClient, case: Any, headers: dict[str, str]) -> httpx.Response:
    """Send what a case says, as the library itself would send it but for who asks."""
    told = case.as_transport_kwargs("http://test")
    for name in [name for name in told["headers"] if name.lower() in OURS]:
        del told["headers"][name]
    told.pop("cookies", None)
    prepared = requests.Request(**told).prepare()
    sent = {**{name: str(value) for name, value in prepared.headers.items()}, **headers}
    sent.pop("Content-Length", None)
    body: Any = prepared.body or b""
    return await client.request(str(prepared.method), str(prepared.url), content=body, headers=sent)


async def faults_of(client: httpx.AsyncClient, callers: Callers, case: Any, who: str) -> list[str]:
    """Send a case as somebody, undo what it did, and tell what is wrong with the answer."""
    savepoint = await callers.connection.begin_nested()
    answer = await answer_to(client, case, callers.headers[who])
    await savepoint.rollback()
    shown = f"{who}: {answer.request.method} {answer.request.url} {answer.request.content[:400]!r}"
    if answer.status_code >= 500 and answer.request.url.path != ALIVE:
        return [f"{shown} -> {answer.status_code} {answer.text[:300]}"]
    try:
        case.validate_response(answer, checks=CHECKS)
    except (FailureGroup, Failure) as failure:
        why = failure.exceptions if isinstance(failure, FailureGroup) else [failure]
        return [f"{shown} -> {answer.status_code} {answer.text[:300]}: {str(one)[:400]}" for one in why]
    return []


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize(
    ("examples", "every_role"),
    [
        pytest.param(SHORT, False, id="short"),
        pytest.param(60, True, id="long", marks=[pytest.mark.prove, pytest.mark.timeout(1800)]),
    ],
)
async def test_every_answer_is_one_that_the_document_describes(
    client: httpx.AsyncClient, callers: Callers, tag: str, examples: int, every_role: bool
) -> None:
    """As a SystemAdmin every case, as the others each one in turn."""
    others = cycle(name for name in callers.headers if name != "SystemAdmin")
    faults = []
    for found in SCHEMA.include(tag=tag).get_all_operations():
        operation: Any = found.ok()  # type: ignore[union-attr] # test_openapi holds that it is valid
        for number, case in enumerate(cases_of(operation, examples, same=not every_role)):
            if number % 2 == 0:
                with_ids(case, callers.tenant)
            for who in callers.headers if every_role else ("SystemAdmin", next(others)):
                faults += await faults_of(client, callers, case, who)
    assert not faults, f"{len(faults)} faults\n" + "\n".join(faults[:20])


def test_every_route_is_under_a_tag() -> None:
    assert all(len(one["tags"]) == 1 for one in OPERATIONS)

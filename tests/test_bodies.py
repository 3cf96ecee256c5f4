"""Every route that takes a body, with bodies that nobody should send: new routes are here by themselves."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from ohmstead.core.config import Settings
from ohmstead.core.families import status_of_invalid
from tests.calls import document
from tests.test_authorization import concrete
from tests.world import World

JSON = {"content-type": "application/json"}
NASTY: list[Any] = [
    None, True, -1, 10**30, 1e308, "", "\ud800", "\x00", "x" * 5000, [None], {"\ud800": "\udfff"},
    {"a": 10**30}, "0001-01-01T00:00:00+14:00",
]  # fmt: skip
DEEP: Any = 1
for _ in range(300):
    DEEP = [DEEP]
NASTY.append(DEEP)


def routes() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every method and path of the OpenAPI document that takes JSON, with the schema of its body."""
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {})
            if "application/json" in content:
                yield method.upper(), path, resolved(content["application/json"]["schema"])


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference, also that of a body that may be left out."""
    for one in [schema, *schema.get("anyOf", ())]:
        if "$ref" in one:
            found: dict[str, Any] = document()["components"]["schemas"][one["$ref"].rsplit("/", 1)[1]]
            return found
    return schema


TYPED = [pytest.param(*one, id=f"{one[0]} {one[1]}") for one in routes() if one[2].get("properties")]


def test_there_are_routes_to_look_at() -> None:
    assert len(TYPED) >= 14
    assert {"POST /api/admin/alerts/{alert_id}/clear", "GET /health"} <= {one.id for one in BARE}


@pytest.mark.parametrize(("method", "path", "schema"), TYPED)
async def test_what_is_no_json_is_refused_as_the_family_refuses(
    client: httpx.AsyncClient, world: World, method: str, path: str, schema: dict[str, Any]
) -> None:
    headers = (await world.admin()).headers
    await world.charger(id="CP-X")
    url, status = concrete(path), status_of_invalid(path)
    for content, kind, unread in (
        (b"{", JSON, True),
        (b'{"a": "\xff"}', JSON, True),
        (b"[" * 100_000, JSON, True),
        (b'{"a": ' + b"1" * 5000 + b"}", JSON, True),
        (b"[]", JSON, False),
        (b'"x"', JSON, False),
        (b"{}", {"content-type": "text/plain"}, False),
        (b'{"\\ud800": 1}', JSON, False),
    ):
        answer = await client.request(method, url, content=content, headers=headers | kind)
        if unread or answer.status_code not in {403, 404}:  # who asks and for what may be looked at first
            assert (answer.status_code, answer.json()["error"]) == (status, "ValidationError"), content[:20]
            assert answer.json()["fields"], content[:20]


BARE = [
    pytest.param(method.upper(), path, id=f"{method.upper()} {path}")
    for path, methods in document()["paths"].items()
    for method, operation in methods.items()
    if "requestBody" not in operation and method != "head"
]


@pytest.mark.parametrize(("method", "path"), BARE)
async def test_a_body_where_none_is_taken_is_refused_and_an_empty_one_is_not(
    app: FastAPI, client: httpx.AsyncClient, world: World, method: str, path: str
) -> None:
    lift_limits(app)
    headers = (await world.admin()).headers
    url, status = concrete(path), status_of_invalid(path)
    for content in (b'{"reason": "because"}', b"[1]", b"null", b"reason=because", b"{"):
        answer = await client.request(method, url, content=content, headers=headers | JSON)
        assert (answer.status_code, answer.json()["error"]) == (status, "ValidationError"), content
        assert list(answer.json()["fields"]) == ["body"], content
    for content in (b"{}", b"", b" { }\n"):
        answer = await client.request(method, url, content=content, headers=headers | JSON)
        assert answer.status_code != 500
        assert b"is not taken here" not in answer.content, content


@pytest.mark.parametrize(("method", "path", "schema"), TYPED)
async def test_no_value_of_any_member_is_a_fault_of_ours(
    *, app: FastAPI, client: httpx.AsyncClient, world: World, method: str, path: str, schema: dict[str, Any]
) -> None:
    lift_limits(app)
    headers = (await world.admin()).headers | JSON
    await world.charger(id="CP-X")
    await world.token(None, "TAG")
    valid = {name: example(one) for name, one in schema["properties"].items()}
    for name in schema["properties"]:
        for value in NASTY:
            body = {**{one: valid[one] for one in schema.get("required", ())}, name: value}
            content = json.dumps(body).encode()
            answer = await client.request(method, concrete(path), content=content, headers=headers)
            assert answer.status_code < 500, (name, ascii(value)[:40], answer.text)
            if value is True and numeric(schema["properties"][name]) and answer.status_code not in {403, 404}:
                assert answer.status_code == status_of_invalid(path), (name, answer.text)


def lift_limits(app: FastAPI) -> None:
    """Let everybody do everything as often as wanted."""
    limits = {name for name in Settings.model_fields if name.startswith("rate_limit_")}
    lifted = dict.fromkeys(limits - {"rate_limit_exempt"}, 0)
    app.state.settings = app.state.settings.model_copy(update=lifted)


def kinds(schema: dict[str, Any]) -> set[str]:
    return {one.get("type", "object") for one in [schema, *schema.get("anyOf", ()), *schema.get("oneOf", ())]}


def numeric(schema: dict[str, Any]) -> bool:
    """Whether a member takes a number, and no truth value."""
    return bool(kinds(schema) & {"integer", "number"}) and "boolean" not in kinds(schema)


def example(schema: dict[str, Any]) -> Any:
    """A value that a member may well have."""
    if schema.get("examples"):
        return schema["examples"][0]
    if schema.get("enum"):
        return schema["enum"][0]
    return {"integer": 1, "number": 1, "boolean": True, "array": [], "string": "TAG"}.get(
        schema.get("type", ""), {}
    )

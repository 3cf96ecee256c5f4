"""The API's own description: valid, complete, and pleasant to read."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from openapi_spec_validator import validate

from ohmstead.accounts.permissions import permission_for
from ohmstead.core.families import status_of_invalid

Operations = dict[tuple[str, str], dict[str, Any]]


@pytest.fixture
def document(app: FastAPI) -> dict[str, Any]:
    return app.openapi()


@pytest.fixture
def operations(document: dict[str, Any]) -> Operations:
    return {
        (method.upper(), path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def resolved(document: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    """Follow the reference of an answer that several routes share."""
    if "$ref" not in answer:
        return answer
    shared: dict[str, Any] = document["components"]["responses"][answer["$ref"].rsplit("/", 1)[1]]
    return shared


def errors(document: dict[str, Any], operations: Operations) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every status of every route that is no success, with its answer."""
    for operation in operations.values():
        for status, answer in operation["responses"].items():
            if not status.startswith(("2", "3")):
                yield status, resolved(document, answer)


def test_it_is_valid(document: dict[str, Any]) -> None:
    validate(document)


def test_every_operation_has_a_name_of_its_own_that_reads_well(operations: Operations) -> None:
    names = [operation["operationId"] for operation in operations.values()]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+){0,3}", name) for name in names), names
    assert operations["GET", "/api/admin/stations"]["operationId"] == "list_stations"


def test_every_operation_says_what_it_does(operations: Operations) -> None:
    for route, operation in operations.items():
        assert operation["summary"], route
        assert len(operation["description"]) > 10, route


def test_every_operation_stands_under_one_tag_that_is_explained(
    document: dict[str, Any], operations: Operations
) -> None:
    explained = {tag["name"] for tag in document["tags"]}
    assert all(tag["description"] for tag in document["tags"])
    assert {tag for operation in operations.values() for tag in operation["tags"]} == explained
    assert all(len(operation["tags"]) == 1 for operation in operations.values())


def test_every_parameter_is_explained(operations: Operations) -> None:
    bare = [
        (route, parameter["name"])
        for route, operation in operations.items()
        for parameter in operation.get("parameters", ())
        if not parameter.get("description")
    ]
    assert not bare


def test_every_success_has_a_shape(operations: Operations) -> None:
    for route, operation in operations.items():
        successes = [status for status in operation["responses"] if status.startswith(("2", "3"))]
        assert len(successes) == 1, route
        (status,) = successes
        content = operation["responses"][status].get("content")
        assert (status in {"204", "303"}) == (content is None), route
        if content is not None:
            assert all(form["schema"] for form in content.values()), route


def test_every_error_has_the_one_shape(document: dict[str, Any], operations: Operations) -> None:
    readiness = operations["GET", "/health/ready"]["responses"].pop("503")
    assert readiness["content"]["application/json"]["schema"]["$ref"].endswith("/Readiness")
    for status, answer in errors(document, operations):
        assert answer["description"], status
        schema = answer["content"]["application/json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/ErrorBody"}, status
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_invalid_input_has_the_status_of_the_family(operations: Operations) -> None:
    for (method, path), operation in operations.items():
        takes_input = "parameters" in operation or "requestBody" in operation
        invalid = {"400", "422"} & operation["responses"].keys()
        assert invalid == ({str(status_of_invalid(path))} if takes_input else set()), (method, path)


def test_what_needs_a_token_says_so(operations: Operations) -> None:
    for (method, path), operation in operations.items():
        if path.startswith("/api/") and not permission_for(method, path).anonymous:
            assert operation["security"] == [{"AccessToken": []}, {"ApiKey": []}], (method, path)
            assert {"401", "403", "503"} <= operation["responses"].keys(), (method, path)


def test_nothing_in_a_url_is_null(operations: Operations) -> None:
    for route, operation in operations.items():
        for parameter in operation.get("parameters", ()):
            assert {"type": "null"} not in parameter["schema"].get("anyOf", ()), (route, parameter["name"])

"""The API's own description (`/openapi.json`): what holds for every route is written here, once."""

from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from ohmstead.core.families import status_of_invalid
from ohmstead.core.http import NAMES, ErrorBody

ERRORS = {
    "400": "BadRequest",
    "401": "Unauthorized",
    "403": "Forbidden",
    "404": "NotFound",
    "422": "ValidationError",
    "503": "Unavailable",
    "default": "Error",
}
"""The errors that are known from the outside of a route; others it declares itself (see `refuses`)."""

WHEN = {
    "BadRequest": "The input is not valid, or a rule of the business forbids it.",
    "Unauthorized": "No access token that is valid now.",
    "Forbidden": "The caller may not do this.",
    "NotFound": "There is no such thing, or it is not the caller's to see.",
    "ValidationError": "The input is not valid: `fields` names each fault.",
    "Unavailable": "The database is away for the moment; come back after `Retry-After` seconds.",
    "Error": "Any other failure has the same shape.",
}
ALIVE = "Operations"
"""The tag of routes that also answer when the database is away."""


def refuses(status: int, when: str) -> dict[int | str, dict[str, Any]]:
    """Return what a route declares as `responses` when it refuses by a rule of its own."""
    return {status: _error(NAMES[status], when)}


def _error(name: str, when: str) -> dict[str, Any]:
    example: dict[str, Any] = {"error": name, "message": when, "detail": when}
    if name in {"BadRequest", "ValidationError"}:
        example |= {"error": "ValidationError", "fields": {"name": "is too long"}}
    schema = {"$ref": "#/components/schemas/ErrorBody"}
    return {"description": when, "content": {"application/json": {"schema": schema, "example": example}}}


def operation_id(route: APIRoute) -> str:
    """Name an operation as its function: `list_stations`. A test holds that no name comes twice."""
    return route.name


class DocumentedApp(FastAPI):
    """An application whose description has the errors of each route in the one shape."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, made once."""
        if self.openapi_schema is None:
            self.openapi_schema = _completed(super().openapi())
        return self.openapi_schema


def _completed(document: dict[str, Any]) -> dict[str, Any]:
    components = document["components"]
    for made_by_fastapi in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(made_by_fastapi, None)
    components["schemas"]["ErrorBody"] = ErrorBody.model_json_schema()
    components["responses"] = {name: _error(name, when) for name, when in WHEN.items()}
    for path, methods in document["paths"].items():
        for operation in methods.values():
            operation["summary"] = operation["operationId"].replace("_", " ").capitalize()
            _declare_errors(path, operation)
            for parameter in operation.get("parameters", ()):
                parameter["schema"] = _without_null(parameter["schema"])
    return document


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a parameter that may be left out: in a URL nothing is null."""
    kinds = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    return {**{name: schema[name] for name in schema if name != "anyOf"}, **kinds[0]} if kinds else schema


def _declare_errors(path: str, operation: dict[str, Any]) -> None:
    answers = operation["responses"]
    shown = answers.get("422", {}).get("content", {}).get("application/json", {}).get("schema", {})
    if shown.get("$ref", "").endswith("/HTTPValidationError"):
        del answers["422"]
    possible = {"default"}
    if "parameters" in operation or "requestBody" in operation:
        possible.add(str(status_of_invalid(path)))
    if "security" in operation:
        possible |= {"401", "403"}
    if "{" in path:
        possible.add("404")
    if ALIVE not in operation["tags"]:
        possible.add("503")
    for status in possible - answers.keys():
        answers[status] = {"$ref": f"#/components/responses/{ERRORS[status]}"}
    operation["responses"] = dict(sorted(answers.items()))

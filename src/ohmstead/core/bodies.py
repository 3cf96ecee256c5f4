"""Bodies that nobody reads: who sends a reason must not believe that it was kept."""

from typing import Final

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.requests import HTTPConnection, Request

NOTHING: Final = frozenset({b"", b"{}"})
"""What clients send when they have nothing to say."""
FAULT: Final = "is not taken here: send none, or {}"


async def no_unread_body(connection: HTTPConnection) -> None:
    """Refuse a request that has a body where its route takes none; a dependency of every route.

    A route takes a body when it declares one, or says so in its part of the description; those that are not
    described (pages with forms, links for chargers) read what they like. Raises `RequestValidationError`.
    """
    if not isinstance(connection, Request) or _takes_body(connection.scope.get("route")):
        return
    headers = connection.headers
    if headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers:
        return  # RFC 9112 6.3: there is none, and nothing to wait for
    body = await connection.body()
    if b"".join(body.split()) not in NOTHING:
        raise RequestValidationError([{"type": "unread", "loc": ("body",), "msg": FAULT, "input": None}])


def _takes_body(route: object) -> bool:
    if not isinstance(route, APIRoute) or not route.include_in_schema:
        return True
    return route.body_field is not None or "requestBody" in (route.openapi_extra or {})

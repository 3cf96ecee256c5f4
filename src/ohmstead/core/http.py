"""What every endpoint shares: the unit of work, the clock, the error shape, keyset pages.

The one error shape is `{"error", "message", "detail"}`, with `fields` where input was refused.
"""

import base64
import binascii
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar

import orjson
from fastapi import Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, PlainSerializer
from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.exceptions import HTTPException

from ohmstead.core.clock import Clock
from ohmstead.core.db import Database
from ohmstead.core.errors import DomainError, Invalid, Kind

STATUS_OF = {
    Kind.INVALID: 422,
    Kind.RULE: 400,
    Kind.UNAUTHENTICATED: 401,
    Kind.FORBIDDEN: 403,
    Kind.NOT_FOUND: 404,
    Kind.CONFLICT: 409,
    Kind.TOO_MANY: 429,
    Kind.UNAVAILABLE: 503,
}
"""The one table from the kinds of the domains to HTTP."""

NAMES = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    413: "PayloadTooLarge",
}

COUNTED = 10_000
"""Up to here the `total` of a list is exact; beyond it is this number, `total_exact` false."""


def utc_z(moment: datetime) -> str:
    """Write a time as UTC ISO 8601 with `Z`, milliseconds only where there are any."""
    moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="milliseconds" if moment.microsecond else "seconds").replace(
        "+00:00", "Z"
    )


UtcTime = Annotated[datetime, PlainSerializer(utc_z, return_type=str, when_used="json")]


class Schema(BaseModel):
    """The base of what comes in and goes out: unknown members are refused, rows can be read."""

    model_config = ConfigDict(extra="forbid", from_attributes=True, str_strip_whitespace=True)


class ErrorBody(BaseModel):
    """The one error shape."""

    error: str
    message: str
    detail: str = ""
    fields: dict[str, str] | None = None


Item = TypeVar("Item")


class Page(BaseModel, Generic[Item]):
    """A list: `next_cursor` is null at the end; `total` is exact up to 10,000."""

    items: list[Item]
    next_cursor: str | None
    total: int


async def unit_of_work(request: Request) -> AsyncIterator[AsyncSession]:
    """One request = one transaction, committed before the answer is sent."""
    database: Database = request.app.state.database
    async with database.session() as session:
        yield session


def current_time(request: Request) -> datetime:
    """Return the time of this request from the application's clock."""
    clock: Clock = request.app.state.clock
    return clock.now()


UnitOfWork = Annotated[AsyncSession, Depends(unit_of_work, scope="function")]
Now = Annotated[datetime, Depends(current_time)]


class Paging:
    """The query parameters of every admin list: `limit` (1 to 500), `cursor`, `q`."""

    def __init__(
        self,
        limit: Annotated[int, Query(ge=1, le=500, description="How many items at most.")] = 50,
        cursor: Annotated[
            str | None, Query(max_length=400, description="`next_cursor` of the page before.")
        ] = None,
        q: Annotated[str | None, Query(max_length=200, description="Free text search.")] = None,
    ) -> None:
        self.limit = limit
        self.q = q.strip() if q and q.strip() else None
        self.after: list[Any] | None = decode_cursor(cursor) if cursor else None


def encode_cursor(*keys: Any) -> str:
    """Write the sort keys of the last item as an opaque cursor."""
    return base64.urlsafe_b64encode(orjson.dumps(keys, default=str)).decode().rstrip("=")


def decode_cursor(cursor: str) -> list[Any]:
    """Read a cursor back; a made-up one is the caller's mistake, not a crash."""
    try:
        keys = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, binascii.Error):
        keys = None
    if not isinstance(keys, list):
        raise Invalid(
            "The cursor is not one of ours. Leave it out to begin at the first page.",
            fields={"cursor": "not a cursor of this list"},
        )
    return keys


async def count(session: AsyncSession, query: Select[Any]) -> int:
    """Count the rows of a filtered query, and stop counting at 10,000."""
    limited = query.with_only_columns(1, maintain_column_froms=True).order_by(None).limit(COUNTED).subquery()
    return int((await session.execute(select(func.count()).select_from(limited))).scalar_one())


def json_response(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Build an answer from a body that orjson can write."""
    return Response(orjson.dumps(body), status, headers, media_type="application/json")


def error_response(
    status: int,
    error: str,
    message: str,
    detail: str = "",
    *,
    fields: dict[str, str] | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """Build an answer of the one error shape."""
    body: dict[str, Any] = {"error": error, "message": message, "detail": detail or message}
    if fields:
        body["fields"] = fields
    return json_response(body, status, headers)


def crash_response() -> Response:
    """Build the answer to a fault of ours, which tells nothing of it."""
    return error_response(
        500, "InternalError", "Something went wrong on our side. It is in the log under the request id."
    )


def install_error_handlers(app: FastAPI) -> None:
    """Give every failure of the app the one error shape."""

    async def domain_error(_: Request, error: Exception) -> Response:
        if not isinstance(error, DomainError):
            raise error
        headers = {}
        if error.kind is Kind.UNAUTHENTICATED:
            headers["WWW-Authenticate"] = "Bearer"
        if error.kind in {Kind.UNAVAILABLE, Kind.TOO_MANY}:
            headers["Retry-After"] = "5"
        return error_response(
            STATUS_OF[error.kind],
            error.code,
            error.message,
            error.detail,
            fields=error.fields,
            headers=headers,
        )

    async def invalid_request(_: Request, error: Exception) -> Response:
        if not isinstance(error, RequestValidationError):
            raise error
        fields = {
            ".".join(str(part) for part in fault["loc"] if part not in {"body", "query", "path"})
            or "body": str(fault["msg"])
            for fault in error.errors()
        }
        faults = "; ".join(f"{name}: {fault}" for name, fault in fields.items())
        return error_response(
            422, "ValidationError", f"The request is not valid. {faults}"[:1000], fields=fields
        )

    async def http_error(_: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise error
        name = NAMES.get(error.status_code, "HttpError")
        headers = dict(error.headers) if error.headers else None
        return error_response(error.status_code, name, str(error.detail), headers=headers)

    async def crash(_: Request, __: Exception) -> Response:
        return crash_response()

    app.add_exception_handler(DomainError, domain_error)
    app.add_exception_handler(RequestValidationError, invalid_request)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(Exception, crash)

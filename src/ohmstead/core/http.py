"""What every endpoint shares: the unit of work, the clock, the base of its schemas, the error shape.

The one error shape is `{"error", "message", "detail"}`, with `fields` where input was refused.
"""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.exceptions import HTTPException

from ohmstead.core.clock import Clock
from ohmstead.core.db import Database
from ohmstead.core.errors import DomainError, Kind
from ohmstead.core.families import status_of_invalid
from ohmstead.core.inputs import truth_for_a_number, unwritable

STATUS_OF = {
    Kind.INVALID: 422,
    Kind.RULE: 400,
    Kind.UNAUTHENTICATED: 401,
    Kind.FORBIDDEN: 403,
    Kind.NOT_FOUND: 404,
    Kind.CONFLICT: 409,
    Kind.GONE: 410,
    Kind.TOO_LARGE: 413,
    Kind.TOO_MANY: 429,
    Kind.UNAVAILABLE: 503,
}
"""The one table from the kinds of the domains to HTTP; invalid input is 400 in some families."""

PLACES = frozenset({"body", "query", "path", "header", "cookie"})
"""Where an input stands: the first part of its place in the errors of FastAPI, before its name."""
UNREADABLE = "There was an error parsing the body"
"""What FastAPI says of a body that its JSON parser fails on in another way than by its syntax."""

RETRY_AFTER = 5
"""Seconds after which to come back when an error does not say it."""

NAMES = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    410: "Gone",
    413: "PayloadTooLarge",
    429: "TooManyRequests",
}


def utc_z(moment: datetime) -> str:
    """Write a time as UTC ISO 8601 with `Z`, milliseconds only where there are any."""
    moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="milliseconds" if moment.microsecond else "seconds").replace(
        "+00:00", "Z"
    )


UtcTime = Annotated[
    datetime,
    PlainSerializer(utc_z, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-05-04T12:00:00Z"]}),
]


class Schema(BaseModel):
    """The base of what comes in and goes out: unknown members are refused, rows can be read.

    What cannot be written again as JSON in UTF-8 is refused wherever it stands, and `true` is no number.
    """

    model_config = ConfigDict(extra="forbid", from_attributes=True, str_strip_whitespace=True)

    @model_validator(mode="before")
    @classmethod
    def _sound(cls, data: Any) -> Any:
        if isinstance(data, dict):
            fault = unwritable(data) or truth_for_a_number(cls, data)
            if fault is not None:
                at, what = fault
                raise PydanticCustomError("unsound", "{what}", {"what": what, "at": at})
        return data


class ErrorBody(BaseModel):
    """The one error shape."""

    error: str = Field(description="A stable name, for programs.")
    message: str = Field(description="What is wrong and what to do, for people.")
    detail: str = Field(description="Further facts, or the message again.")
    fields: dict[str, str] = Field({}, description="The fault of each input that was refused, by its name.")


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


def _not_valid(request: Request, fields: dict[str, str]) -> Response:
    faults = "; ".join(f"{name}: {fault}" for name, fault in fields.items())
    status = status_of_invalid(request.scope["path"])
    return error_response(
        status, "ValidationError", f"The request is not valid. {faults}"[:1000], fields=fields
    )


def _why_unreadable(cause: BaseException | None) -> str:
    if isinstance(cause, UnicodeDecodeError):
        return "is not UTF-8"
    if isinstance(cause, RecursionError):
        return "is nested too deeply"
    return "cannot be read as JSON"


def crash_response() -> Response:
    """Build the answer to a fault of ours, which tells nothing of it."""
    return error_response(
        500, "InternalError", "Something went wrong on our side. It is in the log under the request id."
    )


def field_faults(error: RequestValidationError) -> dict[str, str]:
    """Return the fault of each input that was refused, by its name; `body` is the body as a whole."""
    fields: dict[str, str] = {}
    for fault in error.errors():
        place = list(fault["loc"])
        whole = place[:1] == ["body"] and (len(place) == 1 or fault["type"] == "json_invalid")
        if place and place[0] in PLACES:
            del place[0]
        context = fault.get("ctx", {})
        match fault["type"]:
            case "json_invalid":
                text = f"is not valid JSON: {context.get('error')} at character {fault['loc'][-1] + 1}"
            case "unsound":
                place += context["at"]
                whole, text = not place, context["what"]
            case "too_short" | "too_long" if isinstance(fault["input"], str):
                least = context.get("min_length")
                bound = f"at most {context.get('max_length')}" if least is None else f"at least {least}"
                text = f"must have {bound} character{'' if bound.endswith(' 1') else 's'}"
            case "value_error":
                text = fault["msg"].removeprefix("Value error, ")
            case _ if whole and isinstance(fault["input"], bytes):
                text = "is not declared as JSON: send the header 'Content-Type: application/json'"
            case _:
                text = fault["msg"]
        fields["body" if whole else ".".join(str(part) for part in place) or "body"] = text
    return fields


def install_error_handlers(app: FastAPI) -> None:
    """Give every failure of the app the one error shape."""

    async def domain_error(request: Request, error: Exception) -> Response:
        if not isinstance(error, DomainError):
            raise error
        status = (
            status_of_invalid(request.scope["path"]) if error.kind is Kind.INVALID else STATUS_OF[error.kind]
        )
        headers = {}
        if error.kind is Kind.UNAUTHENTICATED:
            headers["WWW-Authenticate"] = "Bearer"
        if error.retry_after is not None or error.kind in {Kind.UNAVAILABLE, Kind.TOO_MANY}:
            headers["Retry-After"] = str(RETRY_AFTER if error.retry_after is None else error.retry_after)
        return error_response(
            status, error.code, error.message, error.detail, fields=error.fields, headers=headers
        )

    async def invalid_request(request: Request, error: Exception) -> Response:
        if not isinstance(error, RequestValidationError):
            raise error
        return _not_valid(request, field_faults(error))

    async def http_error(request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise error
        if error.status_code == 400 and error.detail == UNREADABLE:
            return _not_valid(request, {"body": _why_unreadable(error.__cause__)})
        name = NAMES.get(error.status_code, "HttpError")
        headers = dict(error.headers) if error.headers else None
        return error_response(error.status_code, name, str(error.detail), headers=headers)

    async def crash(_: Request, __: Exception) -> Response:
        return crash_response()

    app.add_exception_handler(DomainError, domain_error)
    app.add_exception_handler(RequestValidationError, invalid_request)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(Exception, crash)

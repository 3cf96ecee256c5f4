"""What surrounds every HTTP request: its id, its log line, its time, the headers of its answer."""

import re
import secrets
import time
from typing import Final
from urllib.parse import unquote

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ohmstead.core import metrics
from ohmstead.core.acting import begin_request
from ohmstead.core.addresses import plain_address
from ohmstead.core.families import in_one_form
from ohmstead.core.http import crash_response, error_response
from ohmstead.core.logging import request_scope

logger = structlog.stdlib.get_logger("ohmstead.http")

REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{8,64}")
KEPT: Final = re.compile(r"%2([fF5])")
HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
}
HSTS: Final = {"Strict-Transport-Security": "max-age=31536000"}
"""RFC 6797: who came by https once comes by nothing else for a year. Said only where people come by https."""
TOO_LARGE: Final = "The body of the request is too long."
CLIENT_LEFT: Final = "The request did not arrive whole."
QUIET: Final = frozenset({"/health", "/health/ready", "/metrics"})


class RequestScope:
    """Gives a request its id, and its answer the headers of every answer; writes one line of log.

    Paths: the resource names of the booking family count in any case (`/api/Auth/login`), a slash at the
    end of a path means nothing, and `%2F` and `%25` within a path parameter stay so (an identity may hold
    a slash, an id tag a percent sign): whoever takes such a parameter decodes it, once. The address of the
    client is in one spelling too.

    `https` tells whether people reach this server by https. It is the outermost of ours: `OutsideAnswers` and
    what says who may read an answer (see `core.cors`) are within.
    """

    def __init__(self, app: ASGIApp, *, https: bool = False) -> None:
        self.app = app
        self.headers = HEADERS | HSTS if https else HEADERS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        _normalise(scope)
        if scope["type"] == "websocket":
            await self.app(scope, receive, send)
            return
        request_id = _request_id(scope)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        request_scope.set(scope)
        begin_request(request_id, scope["client"][0] if scope.get("client") else None)
        started = time.perf_counter()
        status = 500

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                for name, value in self.headers.items():
                    if name not in headers:
                        headers[name] = value
            await send(message)

        try:
            await self.app(scope, receive, answer)
        finally:
            _finish(scope, status, time.perf_counter() - started)


class OutsideAnswers:
    """Answers what no route does: 413 to a body that is too long, 500 to what the application raises.

    It is within `RequestScope` and within what says who may read an answer, so that these have an id, and
    pages of other sites that are listed can read them.

    A body of more than `max_body` bytes is refused at once when its length is told, else when it has grown so
    long; below the paths of `uploads` as many are taken as it says.
    """

    def __init__(
        self,
        app: ASGIApp,
        max_body: int | None = None,
        uploads: tuple[re.Pattern[str], int] | None = None,
    ) -> None:
        self.app = app
        self.max_body = max_body
        self.uploads = uploads

    def _limit(self, scope: Scope) -> int | None:
        if self.uploads is not None and self.uploads[0].match(scope["path"]):
            return self.uploads[1]
        return self.max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = False

        async def answer(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            limit = self._limit(scope)
            if limit is None:
                await self.app(scope, receive, answer)
            elif _told_length(scope) > limit:
                await error_response(413, "PayloadTooLarge", TOO_LARGE)(scope, receive, answer)
            else:
                await self.app(scope, _limited(receive, limit), answer)
        except ClientDisconnect:  # nobody waits for an answer, but the request is counted by one
            logger.info("http.client_left")
            if not begun:
                await error_response(400, "ClientLeft", CLIENT_LEFT)(scope, receive, answer)
        except Exception:
            logger.exception("http.crashed")
            if begun:
                raise
            await crash_response()(scope, receive, answer)


def _told_length(scope: Scope) -> int:
    told = Headers(scope=scope).get("content-length", "0")
    return int(told) if told.isdecimal() else 0


def _limited(receive: Receive, limit: int) -> Receive:
    """Receive a body until it is longer than it may be."""
    length = 0

    async def limited() -> Message:
        nonlocal length
        message = await receive()
        length += len(message.get("body", b""))
        if length > limit:
            raise HTTPException(413, TOO_LARGE)
        return message

    return limited


def _finish(scope: Scope, status: int, seconds: float) -> None:
    """Write the line and the figures, by the template of the route: never by the path, which is endless."""
    route = getattr(scope.get("route"), "path", None) or "unknown"
    metrics.HTTP_SECONDS.labels(scope["method"], route, str(status)).observe(seconds)
    level = "warning" if status >= 500 else "debug" if route in QUIET else "info"
    getattr(logger, level)(
        "http.request",
        method=scope["method"],
        route=route,
        status=status,
        duration_ms=round(seconds * 1000, 2),
    )


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            given = value.decode("latin-1")
            if REQUEST_ID.fullmatch(given):
                return str(given)
    return secrets.token_hex(8)


def _normalise(scope: Scope) -> None:
    raw = (scope.get("raw_path") or b"").decode("latin-1").partition("?")[0]
    if KEPT.search(raw):
        scope["path"] = unquote(KEPT.sub(r"%252\1", raw))
    scope["path"] = in_one_form(scope["path"])
    if scope.get("client"):  # as a trusted proxy has told it
        host, port = scope["client"]
        scope["client"] = (plain_address(host), port)

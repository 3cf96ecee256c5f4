"""The application's log: structlog for all, JSON for machines or colours for people, secrets masked.

Records of libraries go the same way. What is bound to the context (request id, charger id, user id)
is in every record below it; below a request of a charger's route so is that charger.
"""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from typing import Any
from urllib.parse import unquote

import structlog
from structlog.typing import Processor

from ohmstead.core.config import Settings
from ohmstead.ocpp.masking import mask

MASKED = "***"
_ROW = re.compile(r"(DETAIL: .*?=|Failing row contains )\(.*\)")
"""Where PostgreSQL quotes the row that an error is about: it may tell of a person."""
DEEPEST = 4
SECRET_WORDS = ("password", "passwd", "secret", "authorization", "cookie", "access_token", "api_key")
QUIET = (
    "uvicorn",
    "uvicorn.error",
    "uvicorn.access",
    "procrastinate",
    "alembic",
    "websockets",
    "httpx",  # it tells the whole address of each request, with what is secret in it
    "httpcore",
)


CHARGER_PARAMETERS = ("charger_id", "charge_point_id")
"""How routes name the charger in their path."""

request_scope: ContextVar[Mapping[str, Any] | None] = ContextVar("request_scope", default=None)
"""The ASGI scope of the request being served: the router writes the parameters of the path into it."""


class Open(str):
    """A text that is logged as it is: somebody is to read what is secret in it, as a link in the demo."""

    __slots__ = ()


def add_charger(_: Any, __: str, record: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add the charger that the path of the request names, unless the record names one itself."""
    scope = request_scope.get()
    if scope is not None and "charger_id" not in record:
        parameters = scope.get("path_params") or {}
        for name in CHARGER_PARAMETERS:
            if name in parameters:
                record["charger_id"] = unquote(str(parameters[name]))
    return record


def mask_secrets(_: Any, __: str, record: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Hide what is named like a secret, and secrets inside of texts (passwords in URLs)."""
    for key, value in record.items():
        record[key] = _shown(key, value, DEEPEST)
    return record


def _shown(key: str, value: Any, depth: int) -> Any:
    if isinstance(value, Open):
        return value
    if any(word in key.lower() for word in SECRET_WORDS):
        return MASKED
    if isinstance(value, str):
        return _ROW.sub(r"\1(***)", mask(None, value)) if "DETAIL" in value else mask(None, value)
    if isinstance(value, dict) and depth:
        return {inner: _shown(str(inner), held, depth - 1) for inner, held in value.items()}
    if isinstance(value, list) and depth:
        return [_shown("", held, depth - 1) for held in value]
    return value


def setup_logging(settings: Settings, tail: Processor | None = None) -> None:
    """Send every record to standard error. `tail` sees each of them on the way (the live topic)."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        add_charger,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        mask_secrets,
    ]
    if tail is not None:
        shared.append(tail)
    machine = settings.log_format == "json" or (settings.log_format == "auto" and not sys.stderr.isatty())
    render: Processor = (
        structlog.processors.JSONRenderer()
        if machine
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    # Masked again: the text of an exception may hold a URL with its password.
    last: list[Processor] = [structlog.processors.format_exc_info, mask_secrets, render]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level)
    for name in QUIET:
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.propagate = True
        logger.setLevel(max(logging.WARNING, logging.getLevelName(settings.log_level)))

"""The application's log as a live topic: each record goes to those who watch, while they watch."""

import asyncio
import logging
import threading
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any

from ohmstead.core.live import Event, LiveBus, Topic
from ohmstead.ocpp.masking import MASK, mask

LEVELS = {"debug": 10, "info": 20, "warning": 30, "warn": 30, "error": 40, "exception": 40, "critical": 50}
OWN_LOGGERS = ("ohmstead.insights",)
"""What sends the tail does not speak in it, or a record about sending would be sent, and so on."""
LONGEST = 4000
DEEPEST = 4
SECRET_WORDS = ("password", "passwd", "secret", "token", "authorization", "cookie", "api_key", "psk")
HARMLESS = ("token_id",)


class LogTail:
    """A structlog processor; put it after those that add `level` and `logger`, before the renderer.

    It gives the record on unchanged. `attach` it when the bus and its loop exist: before that, and
    after `detach`, records pass by. May be called in any thread.
    """

    def __init__(self) -> None:
        self._bus: LiveBus | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._publishing = threading.local()

    def attach(self, bus: LiveBus, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to publish on the bus, whose listeners live in this loop."""
        self._bus, self._loop = bus, loop

    def detach(self) -> None:
        """Publish no more."""
        self._bus = self._loop = None

    def __call__(self, _: Any, method: str, record: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Publish a record of level INFO or above when somebody watches."""
        bus, loop = self._bus, self._loop
        if bus is None or loop is None or not bus.watched(Topic.LOG) or loop.is_closed():
            return record
        level = str(record.get("level", method)).lower()
        name = str(record.get("logger") or record.get("logger_name") or "")
        if LEVELS.get(level, logging.INFO) < logging.INFO or name.startswith(OWN_LOGGERS):
            return record
        if getattr(self._publishing, "now", False):
            return record
        event = Event(topic=Topic.LOG, kind="log.record", data=log_record(record, level, name))
        try:
            loop.call_soon_threadsafe(self._publish, bus, event)
        except RuntimeError:
            self.detach()  # the loop was closed between the look and the call
        return record

    def _publish(self, bus: LiveBus, event: Event) -> None:
        self._publishing.now = True
        try:
            bus.publish(event)
        finally:
            self._publishing.now = False


def log_record(record: Mapping[str, Any], level: str, name: str) -> dict[str, Any]:
    """Return a record as JSON that may be shown: `at`, `level`, `logger`, `event` and its own members.

    Members named like secrets are masked, and secrets in texts (passwords in URLs, AuthorizationKey)
    too. Members that begin with `_` are the log machinery's own and left out.
    """
    shown = {
        key: _shown(key, value, DEEPEST)
        for key, value in record.items()
        if not key.startswith("_") and key not in {"level", "logger", "timestamp", "event", "exc_info"}
    }
    at = record.get("timestamp")
    if not isinstance(at, str):
        at = datetime.now(UTC)
    if record.get("exc_info"):
        shown.setdefault("exception", _exception_name(record["exc_info"]))
    fixed = {"at": at, "level": level, "logger": name, "event": _text(str(record.get("event", "")))}
    return {**shown, **fixed}


def _shown(key: str, value: Any, depth: int) -> Any:
    if _is_secret(key):
        return MASK
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping) and depth:
        return {str(inner): _shown(str(inner), held, depth - 1) for inner, held in value.items()}
    if isinstance(value, list | tuple | set | frozenset) and depth:
        return [_shown("", held, depth - 1) for held in value]
    return _text(str(value))


def _is_secret(key: str) -> bool:
    lower = key.lower()
    return lower not in HARMLESS and any(word in lower for word in SECRET_WORDS)


def _text(text: str) -> str:
    shown = mask(None, text)
    return shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}..."


def _exception_name(exc_info: Any) -> str:
    if isinstance(exc_info, tuple):
        exc_info = exc_info[1]
    if isinstance(exc_info, BaseException):
        return _text(f"{type(exc_info).__name__}: {exc_info}")
    return "see the log"

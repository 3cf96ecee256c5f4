"""`WS /api/live`: what happens, while it happens.

The client speaks first: `{"token", "topics", "since"?: {"epoch", "version"}, "charger"?}`. It is
answered `welcome`, then a `snapshot` of each topic (in pieces; `more` says that another follows) or,
with a `since` that the buffer still covers, the events it missed; then an `event` for each thing that
happens. A `since` that is not covered is answered `resync`, and snapshots follow; so it is later on, when
events of another process are known to be missing.

Close codes: 4400 the first message cannot be read, 4401 no valid token (any more), 4403 not allowed
or the scope changed, 4408 the client reads too slowly, 1001 the server stops, 1013 the database is away.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, NoReturn

import orjson
from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import Field, ValidationError
from starlette.websockets import WebSocketDisconnected

from ohmstead.accounts.access import DEBTS, check_key, principal_by
from ohmstead.accounts.api_keys_access import holder_of
from ohmstead.accounts.api_keys_secrets import PREFIX
from ohmstead.accounts.models import Role
from ohmstead.accounts.principal import Principal
from ohmstead.accounts.third_party_tokens import claims_of
from ohmstead.core.clock import Clock
from ohmstead.core.config import Settings
from ohmstead.core.db import Database
from ohmstead.core.errors import Forbidden, Unauthenticated, Unavailable
from ohmstead.core.http import Schema, utc_z
from ohmstead.core.live import RESYNC, TAIL_ONLY, LiveBus, Numbered, Subscription, Topic
from ohmstead.core.text import Text
from ohmstead.insights.snapshots import Snapshot

HELLO_SECONDS = 10.0
SEND_SECONDS = 10.0
CLOSE_SECONDS = 1.0
RECHECK_SECONDS = 60.0
"""How often the user's row is read again, for changes that no server process was told of."""
FOR_EVER = datetime.max.replace(tzinfo=UTC)
"""The end of an API key that has none."""
LONGEST_MESSAGE = 16_384
SNAPSHOT_ITEMS = 10_000
SNAPSHOT_PIECE = 500

BAD_MESSAGE, UNAUTHENTICATED, FORBIDDEN, SLOW, GOING_AWAY, TRY_LATER = 4400, 4401, 4403, 4408, 1001, 1013

STAFF_TOPICS = frozenset(Topic) - {Topic.LOG}
TOPICS_OF: Mapping[Role, frozenset[Topic]] = {
    Role.SYSTEM_ADMIN: frozenset(Topic),
    Role.BACKOFFICE: STAFF_TOPICS,
    Role.OPERATOR: STAFF_TOPICS,
    Role.EV_OWNER: frozenset(),
}
ENDED = {
    "slow": (SLOW, "too slow"),
    "scope": (FORBIDDEN, "scope changed"),
    "shutdown": (GOING_AWAY, "the server stops"),
}
"""How the bus ends a subscription, and how its socket is closed then."""

logger = logging.getLogger(__name__)
router = APIRouter(tags=["Live"])


class Since(Schema):
    """The epoch and version that the client saw last."""

    epoch: Annotated[str, Field(max_length=64)]
    version: Annotated[int, Field(ge=0)]


class Hello(Schema):
    """The first message."""

    token: Annotated[str, Field(max_length=8192)]
    topics: Annotated[frozenset[Topic], Field(min_length=1)]
    since: Since | None = None
    charger: Annotated[Text | None, Field(max_length=48)] = None


class Closing(Exception):
    """The server ends the socket with this code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


@router.websocket("/api/live")
async def live(socket: WebSocket) -> None:
    """Serve one listener until it leaves or is ended."""
    await socket.accept()
    try:
        await Listener(socket).serve()
    except (WebSocketDisconnect, WebSocketDisconnected):
        return
    except Closing as closing:
        await _close(socket, closing.code, closing.reason)
    except Unavailable:
        await _close(socket, TRY_LATER, "the database is away")


async def _close(socket: WebSocket, code: int, reason: str) -> None:
    try:
        # The reason of a close frame has 123 bytes at most (RFC 6455 5.5).
        async with asyncio.timeout(CLOSE_SECONDS):
            await socket.close(code, reason.encode()[:123].decode(errors="ignore"))
    except (TimeoutError, WebSocketDisconnect, RuntimeError):
        # It takes nothing any more, or has left meanwhile: the server drops the connection either way.
        logger.debug("live socket closed without a closing handshake")


@dataclass(frozen=True, slots=True)
class Admitted:
    """Who listens to what, until when."""

    hello: Hello
    principal: Principal
    expires_at: datetime


class Listener:
    """One socket of `/api/live`."""

    def __init__(self, socket: WebSocket) -> None:
        state = socket.app.state
        self._socket = socket
        self._settings: Settings = state.settings
        self._database: Database = state.database
        self._clock: Clock = state.clock
        self._bus: LiveBus = state.live
        self._snapshots: Mapping[Topic, Snapshot] = state.live_snapshots

    async def serve(self) -> None:
        """Admit the client, then tell it what happens; ends by an exception only."""
        admitted = await self._admit()
        hello, principal = admitted.hello, admitted.principal
        subscription = self._bus.subscribe(principal.user_id, hello.topics, principal.scope)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._tell(admitted, subscription))
                tasks.create_task(self._listen())
                tasks.create_task(self._recheck(admitted))
        except BaseExceptionGroup as group:
            raise _first(group) from None
        finally:
            self._bus.unsubscribe(subscription)

    async def _admit(self) -> Admitted:
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                text = await self._receive()
        except TimeoutError:
            raise Closing(UNAUTHENTICATED, "send the first message with a token within 10 seconds") from None
        hello = _read_hello(text)
        principal, expires_at = await self._authenticate(hello.token)
        refused = hello.topics - TOPICS_OF[principal.role]
        if refused:
            raise Closing(FORBIDDEN, f"not allowed for {principal.role}: {', '.join(sorted(refused))}")
        return Admitted(hello, principal, expires_at)

    async def _authenticate(self, token: str) -> tuple[Principal, datetime]:
        now = self._clock.now()
        try:
            async with self._database.session() as session:
                if token.startswith(PREFIX):
                    holder = await holder_of(session, self._settings, token, now)
                    check_key(holder.principal, "live")
                    return holder.principal, holder.expires_at or FOR_EVER
                # First what may have to ask an issuer for its keys: no connection waits for the network.
                claims = await claims_of(session, self._settings, token, now)
                principal = await principal_by(session, self._settings, claims, now)
                if principal.debt is not None:
                    raise Forbidden(DEBTS[principal.debt], code=principal.debt)
            return principal, claims.expires_at
        except Unauthenticated as refusal:
            raise Closing(UNAUTHENTICATED, refusal.message) from None
        except Forbidden as refusal:
            raise Closing(FORBIDDEN, refusal.message) from None

    async def _tell(self, admitted: Admitted, subscription: Subscription) -> NoReturn:
        hello, principal = admitted.hello, admitted.principal
        # Listening has begun: what is committed from here on is queued, and so is never missed between
        # the snapshot and the events; what the snapshot has already seen may come again as an event.
        version = self._bus.version
        await self._send(
            {"type": "welcome", "epoch": self._bus.epoch, "version": version, "topics": sorted(hello.topics)}
        )
        missed = None
        if hello.since is not None:
            missed = self._bus.missed(hello.since.epoch, hello.since.version, hello.topics, principal.scope)
            if missed is None:
                await self._send({"type": "resync"})
        if missed is None:
            async for message in self._snapshot(hello, principal, version):
                await self._send(message)
        else:
            for numbered in missed:
                await self._send_event(numbered, hello.charger)
                version = max(version, numbered.version)
        while (numbered_or_end := await subscription.queue.get()) is not None:
            if numbered_or_end.event is RESYNC:
                version = numbered_or_end.version
                await self._send({"type": "resync"})
                async for message in self._snapshot(hello, principal, version):
                    await self._send(message)
            elif numbered_or_end.version > version:
                await self._send_event(numbered_or_end, hello.charger)
        raise Closing(*ENDED[subscription.closed or "shutdown"])

    async def _snapshot(
        self, hello: Hello, principal: Principal, version: int
    ) -> AsyncIterator[dict[str, Any]]:
        for topic in sorted(hello.topics - TAIL_ONLY):
            async with self._database.session() as session:
                items = await self._snapshots[topic](session, principal, hello.charger, SNAPSHOT_ITEMS + 1)
            truncated = len(items) > SNAPSHOT_ITEMS
            items = items[:SNAPSHOT_ITEMS]
            for start in range(0, max(len(items), 1), SNAPSHOT_PIECE):
                more = start + SNAPSHOT_PIECE < len(items)
                yield {
                    "type": "snapshot",
                    "topic": topic,
                    "version": version,
                    "items": items[start : start + SNAPSHOT_PIECE],
                    "more": more,
                    "truncated": truncated and not more,
                }

    async def _send_event(self, numbered: Numbered, charger: str | None) -> None:
        event = numbered.event
        if charger is not None and event.data.get("charger_id", event.data.get("id")) != charger:
            return
        ago = timedelta(seconds=time.monotonic() - numbered.at)
        await self._send(
            {
                "type": "event",
                "topic": event.topic,
                "kind": event.kind,
                "version": numbered.version,
                "at": self._clock.now() - ago,
                "data": event.data,
            }
        )

    async def _send(self, message: dict[str, Any]) -> None:
        text = orjson.dumps(message, default=_plain, option=orjson.OPT_PASSTHROUGH_DATETIME).decode()
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._socket.send_text(text)
        except TimeoutError:
            raise Closing(SLOW, "too slow") from None

    async def _listen(self) -> NoReturn:
        while True:
            text = await self._receive()
            try:
                kind = orjson.loads(text)["type"]
            except (ValueError, TypeError, KeyError):
                kind = None
            if kind == "ping":
                await self._send({"type": "pong"})
            else:
                fault = 'After the first message only {"type": "ping"} is understood.'
                await self._send({"type": "error", "message": fault})

    async def _receive(self) -> str:
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1005))
        text = message.get("text")
        if text is None:
            raise Closing(BAD_MESSAGE, "messages are JSON text")
        if len(text) > LONGEST_MESSAGE:
            raise Closing(BAD_MESSAGE, f"a message has {LONGEST_MESSAGE} characters at most")
        return str(text)

    async def _recheck(self, admitted: Admitted) -> NoReturn:
        """End the socket when the token expires, or when the user's row says something else.

        The first look comes at once: rights that changed between signing on and listening are noticed.
        """
        while True:
            left = (admitted.expires_at - self._clock.now()).total_seconds()
            if left <= 0:
                raise Closing(UNAUTHENTICATED, "the access token has expired; sign in again")
            try:
                principal, _ = await self._authenticate(admitted.hello.token)
            except Unavailable:
                principal = admitted.principal  # the next look will tell
            if principal != admitted.principal:
                raise Closing(*ENDED["scope"])
            await asyncio.sleep(min(left, RECHECK_SECONDS))


def _read_hello(text: str) -> Hello:
    try:
        return Hello.model_validate_json(text)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(str(part) for part in fault["loc"])
        what = f"{place}: {fault['msg']}" if place else fault["msg"]
        if fault["loc"] == ("token",):
            raise Closing(UNAUTHENTICATED, f"the first message needs a token ({what})") from None
        raise Closing(BAD_MESSAGE, f"the first message is not valid: {what}") from None


def _plain(value: Any) -> Any:
    """Write what orjson does not as the API does: times with `Z` and milliseconds, numbers as numbers."""
    if isinstance(value, datetime):
        return utc_z(value)
    return float(value) if isinstance(value, Decimal) else str(value)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the one error that ended the listener; a fault of ours before an ordinary end."""
    errors: list[BaseException] = []
    for error in group.exceptions:
        errors += [_first(error)] if isinstance(error, BaseExceptionGroup) else [error]
    ordinary = (Closing, WebSocketDisconnect, WebSocketDisconnected, Unavailable)
    return next((error for error in errors if not isinstance(error, ordinary)), errors[0])

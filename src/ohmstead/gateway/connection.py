"""One charger's socket.

Two independent directions (OCPP-J 1.6 4.1.1), neither of which ever waits for the other:
- its CALLs are served one after the other, in their order, and each is answered when what it says is
  committed; frames that arrive meanwhile wait in the inbox;
- our CALLs go out one at a time; the answer completes a future by its id, as soon as it arrives.
"""

import time
from collections import deque
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

import structlog
from structlog.contextvars import bind_contextvars

from ohmstead.charging.metering import OpenSession
from ohmstead.charging.service import ChargerRef
from ohmstead.core import metrics
from ohmstead.core.facts import Row
from ohmstead.gateway.calls import Calls
from ohmstead.gateway.log import MESSAGE, message_event, message_row
from ohmstead.gateway.lookup import Known, LetInBy
from ohmstead.gateway.protocol import ChargerProtocol
from ohmstead.gateway.route import Hot, Payload
from ohmstead.gateway.v16 import routes
from ohmstead.gateway.writer import BadRow, Entry
from ohmstead.link.links import Answer
from ohmstead.ocpp.errors import ErrorCode, OcppError
from ohmstead.ocpp.frames import (
    UNKNOWN_MESSAGE_ID,
    Call,
    CallError,
    CallResult,
    FrameError,
    encode_error,
    encode_result,
    parse,
)
from ohmstead.ocpp.v16.schemas import check_request, check_response, strip_unknown_request
from ohmstead.stations.observations import REPEATED_ID
from ohmstead.stations.status import Told

if TYPE_CHECKING:
    from ohmstead.gateway.server import Gateway

logger = structlog.stdlib.get_logger(__name__)

REPLACED = 4000
"""The close code of a socket whose charger has come back on another one (RFC 6455 7.4.2: private use)."""


class _Inbound:
    """A frame of the charger on its way to the answer; `frame` is None when it could not be read."""

    __slots__ = ("frame", "note", "now", "started", "text")

    def __init__(self, text: str, frame: Call | None, now: datetime) -> None:
        self.text = text
        self.frame = frame
        self.now = now
        self.started = time.perf_counter()
        self.note: str | None = None

    @property
    def call(self) -> Call:
        """The CALL; only asked for once it could be read."""
        if self.frame is None:
            raise ValueError("this frame is no CALL")
        return self.frame


class ChargerConnection:
    """The gateway's side of one socket; a `ChargerLink` for everybody else."""

    __slots__ = (
        "_busy",
        "_calls",
        "_held",
        "_inbox",
        "_last_id",
        "alerted",
        "attached",
        "awaited",
        "charger",
        "elsewhere",
        "gateway",
        "id",
        "id_text",
        "last_seen",
        "last_seen_written",
        "let_in_by",
        "opened",
        "protocol",
        "said_at",
        "seen_online",
        "sessions",
        "since",
        "told",
        "tolerant",
        "unread",
    )

    def __init__(
        self,
        gateway: "Gateway",
        protocol: ChargerProtocol,
        connection_id: UUID,
        charger: ChargerRef,
        *,
        tolerant: bool,
        now: datetime,
    ) -> None:
        self.gateway = gateway
        self.protocol = protocol
        self.id = connection_id
        self.id_text = str(connection_id)
        self.charger = charger
        self.tolerant = tolerant
        self.attached = False
        self.alerted = False
        self.awaited = False
        self.elsewhere = False
        self.seen_online = False
        self.unread = False
        self.let_in_by: LetInBy | None = None
        self.since = now
        self.said_at = now
        self.opened: Row = {}
        self.last_seen = now
        self.last_seen_written = now
        self.sessions: dict[int, OpenSession] = {}
        self.told: dict[int, Told] = {}
        self._inbox: deque[tuple[str, Call | FrameError]] = deque()
        self._last_id: str | None = None
        self._busy = False
        self._held = 0
        self._calls = Calls(self)

    def learn(self, known: Known) -> None:
        """Take what the database knew of the charger when it knocked."""
        self.told = known.told()
        self.sessions = known.open_sessions()
        self.since = known.presence_since or self.since
        self.seen_online = known.online
        self.let_in_by = known.let_in_by
        self.alerted = known.alerted
        self.awaited = known.awaited

    # --- the charger's CALLs

    def frame_received(self, text: str) -> int:
        """Take a frame of the socket; returns how many CALLs wait."""
        self.last_seen = self.gateway.clock.now()
        if not self.attached:
            self.gateway.attendance.take_over(self)
        try:
            frame = parse(text)
        except FrameError as error:
            if error.answerable:
                self._inbox.append((text, error))
            elif error.message_id is not None:
                broken = CallError(error.message_id, error.code, f"a broken answer: {error.description}", {})
                self._take_answer(broken, text)
            else:
                self._log_stray(text, str(error))
        else:
            if isinstance(frame, Call):
                self._inbox.append((text, frame))
            elif isinstance(frame, CallResult | CallError):
                self._take_answer(frame, text)
            else:
                self._log_stray(text, f"message type {frame.message_type} is unknown and was ignored")
        self._pump()
        return len(self._inbox)

    def frame_refused(self, beginning: bytes, code: int, why: str) -> None:
        """Log a frame that ends the socket, as far as it can be shown."""
        inbound = _Inbound(beginning.decode("utf-8", "replace"), None, self.gateway.clock.now())
        inbound.note = f"the socket was closed with {code}: {why}"
        self._log_unanswered(inbound, "closed", str(code))

    def hold(self) -> None:
        """Serve nothing for now; as often as this is called `release` has to be."""
        self._held += 1

    def release(self) -> int:
        """Serve on, unless somebody else holds; returns how many CALLs wait."""
        self._held -= 1
        self._pump()
        return len(self._inbox)

    def _pump(self) -> None:
        """Serve the next CALL, unless one is being served, or somebody holds."""
        while self._inbox and not self._busy and not self._held:
            self._busy = True
            text, frame = self._inbox.popleft()
            self._serve(text, frame)

    def _done(self) -> None:
        self._busy = False
        self.protocol.resume(len(self._inbox))
        self._pump()

    def _serve(self, text: str, frame: Call | FrameError) -> None:
        if isinstance(frame, FrameError):
            inbound = _Inbound(text, None, self.last_seen)
            stop = routes.stop_in(text)
            if stop is None:
                self._answer(inbound, frame.encode(), frame.code)
            else:
                refusal = OcppError(frame.code, frame.description)
                self.gateway.spawn(self._refuse_stop(inbound, stop, frame.message_id, refusal))
            return
        inbound = _Inbound(text, frame, self.last_seen)
        message_id = frame.message_id
        if message_id == self._last_id:
            self.gateway.observed.note(
                self.charger.id, REPEATED_ID, self.last_seen, message_id, frame.action[:64]
            )
        self._last_id = message_id
        try:
            hot = self._read(inbound)
        except OcppError as error:
            if frame.action == "StopTransaction":
                stop = inbound.call.payload
                self.gateway.spawn(self._refuse_stop(inbound, stop, frame.message_id, error))
            else:
                self._refuse(inbound, error)
            return
        except Exception:
            logger.exception("gateway.message_unreadable", charger_id=self.charger.id)
            self._refuse(
                inbound, OcppError(ErrorCode.INTERNAL_ERROR, "this could not be read; it is in our log")
            )
            return
        if hot is not None:
            self._write_hot(inbound, hot)
        else:
            self.gateway.spawn(self._serve_cold(inbound))

    def _read(self, inbound: "_Inbound") -> Hot | None:
        """Check a CALL by its schema; returns its facts when it can go with a group. Raises `OcppError`."""
        call = inbound.call
        route = routes.ROUTES.get(call.action)
        if self.tolerant and route is not None:
            payload, stripped = strip_unknown_request(call.action, call.payload)
            if stripped:
                inbound.note = f"unknown members were left out: {', '.join(stripped)}"
                inbound.frame = call = call._replace(payload=payload)
        check_request(call.action, call.payload)
        if route is None:
            raise OcppError(ErrorCode.NOT_IMPLEMENTED, f"{call.action} is not served here")
        return route.hot(self, call.payload, inbound.now) if route.hot is not None else None

    def _write_hot(self, inbound: "_Inbound", hot: Hot) -> None:
        answer = encode_result(inbound.call.message_id, hot.response)
        row = self._row(inbound, answer, None)

        def done(error: Exception | None) -> None:
            if error is None:
                if hot.after is not None:
                    hot.after()
                self._sent(inbound.call.action, "ok", answer, row)
                return
            if hot.failed is not None:
                hot.failed()
            if isinstance(error, BadRow):
                # What the database says names our tables: that is for us.
                logger.info("gateway.message_not_stored", charger_id=self.charger.id, why=str(error))
                what = "a value cannot be stored: mend and send again"
                self._refuse(inbound, OcppError(ErrorCode.PROPERTY_CONSTRAINT_VIOLATION, what))
            else:
                away = "the database is away for the moment: send this again"
                refusal = encode_error(inbound.call.message_id, ErrorCode.INTERNAL_ERROR, away)
                self._sent(inbound.call.action, ErrorCode.INTERNAL_ERROR, refusal, row)

        self.gateway.writer.submit(Entry([*hot.facts, (MESSAGE, row)], done))

    async def _serve_cold(self, inbound: "_Inbound") -> None:
        call = inbound.call
        bind_contextvars(charger_id=self.charger.id)
        try:
            await self.gateway.figures.settle(one.id for one in self.sessions.values())
            response = await self.gateway.transactions.serve(
                self, routes.ROUTES[call.action].handler, call.payload, inbound.now
            )
            check_response(call.action, response)
        except OcppError as error:
            if call.action == "StopTransaction" and error.code != ErrorCode.INTERNAL_ERROR:
                await self._refuse_stop(inbound, call.payload, call.message_id, error)
            else:
                self._refuse(inbound, error)
        else:
            self._answer(inbound, encode_result(call.message_id, response), None)

    async def _refuse_stop(
        self, inbound: "_Inbound", stop: Payload, message_id: str | None, refusal: OcppError
    ) -> None:
        """Keep a stop that is no frame, breaks the schema or cannot be stored, then refuse it: energy may
        have flowed.
        """
        bind_contextvars(charger_id=self.charger.id)
        try:
            await self.gateway.transactions.serve(self, routes.refused_stop, stop, inbound.now)
            inbound.note = "kept as an unmatched transaction"
        except OcppError as error:
            refusal = error
        self._refuse(inbound, refusal, message_id or UNKNOWN_MESSAGE_ID)

    def _refuse(self, inbound: "_Inbound", error: OcppError, message_id: str | None = None) -> None:
        answer = encode_error(
            message_id or inbound.call.message_id, error.code, error.description, error.details
        )
        self._answer(inbound, answer, error.code)

    def _answer(self, inbound: "_Inbound", answer: str, error_code: str | None) -> None:
        """Send an answer once it is in the log. What it says is committed by now, or refused: it leaves
        even if the log cannot be written.
        """
        row = self._row(inbound, answer, error_code)
        action = inbound.frame.action if inbound.frame is not None else "unknown"

        def done(_: Exception | None) -> None:
            self._sent(action if action in routes.ROUTES else "unknown", error_code or "ok", answer, row)

        self.gateway.writer.submit(Entry([(MESSAGE, row)], done))

    def _sent(self, action: str, result: str, answer: str, row: Row) -> None:
        self.protocol.send_frame(answer)
        metrics.MESSAGES.count("in", action, result)
        self.tail(row)
        self._done()

    # --- our CALLs

    async def call(self, action: str, payload_json: bytes, *, wait_seconds: float | None = None) -> Answer:
        """Send a CALL and wait for its answer; see `ChargerLink.call`."""
        return await self._calls.send(action, payload_json, wait_seconds)

    def _take_answer(self, frame: CallResult | CallError, text: str) -> None:
        if not self._calls.answered(frame, text):
            self._log_stray(text, "an answer to no CALL that waits: too late, or sent twice")

    def disconnect(self, reason: str) -> None:
        """Close the socket on our side."""
        self.protocol.close(1000, reason)

    # --- the end

    def replaced(self) -> None:
        """Another socket of the same charger has taken over: this one ends, and its pending CALL with it."""
        self.attached = False
        self._calls.end()
        self.protocol.close(REPLACED, "the charger has connected again")

    def closed(self, code: int, reason: str) -> None:
        """The socket is gone. What it had sent before is still served: it may be a last stop."""
        self._calls.end()
        self.gateway.attendance.connection_closed(self, code, reason)

    @property
    def idle(self) -> bool:
        """Whether every CALL that arrived has been answered, if the charger reads its answers at all."""
        return not self._busy and (not self._inbox or not self.protocol.writable.is_set())

    def session_on(self, connector_id: int) -> OpenSession | None:
        """Return the newest open session of a connector."""
        found = [one for one in self.sessions.values() if one.connector_id == connector_id]
        return max(found, key=lambda one: one.started_at) if found else None

    # --- the log

    def _row(self, inbound: "_Inbound", answer: str | None, error_code: str | None) -> Row:
        call = inbound.frame
        return message_row(
            received_at=inbound.now,
            charger_id=self.charger.id,
            connection_id=self.id_text,
            direction="in",
            message_id=None if call is None else call.message_id,
            action=None if call is None else call.action,
            request=inbound.text,
            response=answer,
            error_code=error_code,
            note=inbound.note,
            duration_ms=_since(inbound.started),
        )

    def _log_stray(self, text: str, note: str) -> None:
        """Log a frame that has no answer."""
        inbound = _Inbound(text, None, self.last_seen)
        inbound.note = note
        self._log_unanswered(inbound, "ignored", None)

    def _log_unanswered(self, inbound: "_Inbound", result: str, code: str | None) -> None:
        row = self._row(inbound, None, code)
        metrics.MESSAGES.count("in", "unknown", result)
        self.gateway.writer.submit(Entry([(MESSAGE, row)], lambda _: self.tail(row)))

    def tail(self, row: Row) -> None:
        """Show a row of the log to who watches the messages."""
        live = self.gateway.live
        if live.messages_watched:
            live.publish(message_event(row, self.charger.backoffice_id, self.charger.station_id))


def _since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 3)

"""Our CALLs to one charger: one at a time, in the order asked (OCPP-J 1.6 4.1.1).

Those that wait for their turn are few, and wait no longer than they would wait for an answer; what nobody
waits for any more is not sent.
"""

import asyncio
import contextlib
import secrets
import time
from collections import deque
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ohmstead.core import metrics
from ohmstead.gateway.log import MESSAGE, message_row
from ohmstead.gateway.writer import Entry
from ohmstead.link.links import Answer, ChargerBusy, ChargerOffline, caller_left
from ohmstead.ocpp.errors import ErrorCode, OcppError
from ohmstead.ocpp.frames import CallError, CallResult, encode_call
from ohmstead.ocpp.v16.schemas import check_response, lacks_status

if TYPE_CHECKING:
    from ohmstead.gateway.connection import ChargerConnection

Received = tuple[CallResult | CallError, str]
"""An answer, and the text of its frame."""

COUNTED = frozenset({*ErrorCode, "Timeout", "Disconnected", "Cancelled"})
"""The errors of our CALLs that are counted by their name."""
WAITING_AT_MOST = 16
"""So many CALLs may wait for their turn at one charger."""
GRACE = 0.5
"""Seconds for which a turn is awaited beyond the limit: of two asked at once the second is sent as well."""


class _Pending:
    """A CALL of ours that waits for its answer."""

    __slots__ = ("action", "answer", "message_id", "request", "sent_at", "sent_time")

    def __init__(self, action: str, payload_json: bytes, sent_time: datetime) -> None:
        self.message_id = secrets.token_hex(16)
        self.action = action
        self.request = encode_call(self.message_id, action, payload_json)
        self.sent_time = sent_time
        self.sent_at = time.perf_counter()
        self.answer: asyncio.Future[Received] = asyncio.get_running_loop().create_future()


class Calls:
    """The CALLs of one connection. Whoever waits for a turn does not hold up the charger's own CALLs."""

    __slots__ = ("_connection", "_pending", "_taken", "_waiting")

    def __init__(self, connection: "ChargerConnection") -> None:
        self._connection = connection
        self._pending: _Pending | None = None
        self._taken = False
        self._waiting: deque[asyncio.Future[None]] | None = None

    async def send(self, action: str, payload_json: bytes, wait_seconds: float | None) -> Answer:
        """Send a CALL when its turn has come, and wait for its answer; see `ChargerLink.call`."""
        limit = self._connection.gateway.settings.ocpp_call_timeout if wait_seconds is None else wait_seconds
        await self._take_turn(limit)
        try:
            return await self._send(action, payload_json, limit)
        finally:
            self._pass_on()

    async def _take_turn(self, limit: float) -> None:
        """Wait until no other CALL is out. Raises `ChargerBusy`, and `ChargerOffline` when it leaves."""
        charger_id = self._connection.charger.id
        left = caller_left.get()
        if left is not None and left.done():
            raise _dropped(charger_id)
        if not self._taken:
            self._taken = True
            return
        if self._waiting is None:
            self._waiting = deque()
        if len(self._waiting) >= WAITING_AT_MOST:
            raise _full(charger_id)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def drop(_: object) -> None:
            if not turn.done():
                turn.set_exception(_dropped(charger_id))

        self._waiting.append(turn)
        if left is not None:
            left.add_done_callback(drop)
        try:
            async with asyncio.timeout(limit + GRACE):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._pass_on()  # it came at the very moment at which it was given up
            elif turn in self._waiting:
                self._waiting.remove(turn)
            if isinstance(error, TimeoutError):
                raise _late(charger_id, limit) from None
            raise
        finally:
            if left is not None:
                left.remove_done_callback(drop)

    def _pass_on(self) -> None:
        """Give the turn to who has waited longest."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._taken = False

    async def _send(self, action: str, payload_json: bytes, limit: float) -> Answer:
        connection = self._connection
        pending = _Pending(action, payload_json, connection.gateway.clock.now())
        if not connection.attached or not connection.protocol.send_frame(pending.request):
            raise _left_before(connection.charger.id)
        self._pending = pending
        try:
            async with asyncio.timeout(limit):
                frame, text = await pending.answer
        except TimeoutError:
            self._log(pending, None, "Timeout", None)
            return Answer()
        except ChargerOffline:
            self._log(pending, None, "Disconnected", None)
            raise
        except asyncio.CancelledError:
            self._log(pending, None, "Cancelled", None)
            raise
        finally:
            self._pending = None
        if isinstance(frame, CallResult):
            fault = _broken_response(action, frame.payload)
            if not lacks_status(action, frame.payload):
                self._log(pending, text, None, fault)
                return Answer(response=frame.payload)
            code = ErrorCode.FORMATION_VIOLATION
            self._log(pending, text, code, fault)
            return Answer(error_code=code, error_description=fault or "", unusable=frame.payload)
        self._log(pending, text, frame.code, None)
        return Answer(error_code=frame.code, error_description=frame.description)

    def answered(self, frame: CallResult | CallError, text: str) -> bool:
        """Hand an answer to the CALL that waits for it; False when none does: too late, or sent twice."""
        pending = self._pending
        if pending is None or pending.message_id != frame.message_id or pending.answer.done():
            return False
        pending.answer.set_result((frame, text))
        return True

    def end(self) -> None:
        """End the CALL that is out and those that wait for their turn: the charger has left."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(_left_before(self._connection.charger.id))
        pending = self._pending
        if pending is not None and not pending.answer.done():
            pending.answer.set_exception(_left(self._connection.charger.id))
            # The caller may have been cancelled; then nobody asks for the exception.
            with contextlib.suppress(ChargerOffline):
                pending.answer.exception()

    def _log(self, pending: _Pending, response: str | None, code: str | None, note: str | None) -> None:
        connection = self._connection
        metrics.MESSAGES.count("out", pending.action, _result(code))
        row = message_row(
            received_at=pending.sent_time,
            charger_id=connection.charger.id,
            connection_id=connection.id_text,
            direction="out",
            message_id=pending.message_id,
            action=pending.action,
            request=pending.request,
            response=response,
            error_code=code,
            note=note,
            duration_ms=round((time.perf_counter() - pending.sent_at) * 1000, 3),
        )
        connection.gateway.writer.submit(Entry([(MESSAGE, row)], lambda _: connection.tail(row)))


def _result(code: str | None) -> str:
    """Return what a CALL is counted as: chargers make up codes of their own, without end."""
    if code is None:
        return "ok"
    return code if code in COUNTED else "other"


def _broken_response(action: str, payload: dict[str, Any]) -> str | None:
    """Tell how an answer breaks its schema. It is passed on all the same, the operator asked for it: but as
    an error when it does not say whether the charger accepts.
    """
    try:
        check_response(action, payload)
    except OcppError as error:
        return f"the answer breaks the schema: {error.description}"
    return None


def _left(charger_id: str) -> ChargerOffline:
    return ChargerOffline(
        f"Charger {charger_id} left before it answered.",
        detail="Whether it took the command is not known. Look at its status when it is back.",
    )


def _left_before(charger_id: str) -> ChargerOffline:
    return ChargerOffline(
        f"Charger {charger_id} left before this command was sent.",
        detail="It did not get the command. Try again when it is online.",
    )


def _full(charger_id: str) -> ChargerBusy:
    return ChargerBusy(
        f"{WAITING_AT_MOST} commands wait for charger {charger_id} already. This one was not sent: try again"
        " when they have been answered."
    )


def _late(charger_id: str, limit: float) -> ChargerBusy:
    return ChargerBusy(
        f"Charger {charger_id} was busy with earlier commands for {limit:g} seconds. This one was not sent:"
        " try again, or give it a longer `timeout`."
    )


def _dropped(charger_id: str) -> ChargerBusy:
    return ChargerBusy(f"Nobody waits for this command to charger {charger_id} any more. It was not sent.")

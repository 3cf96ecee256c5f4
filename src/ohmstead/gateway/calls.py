"""Our CALLs to one charger: one at a time, in the order asked (OCPP-J 1.6 4.1.1)."""

import asyncio
import contextlib
import secrets
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ohmstead.core import metrics
from ohmstead.gateway.log import MESSAGE, message_row
from ohmstead.gateway.writer import Entry
from ohmstead.link.links import Answer, ChargerOffline
from ohmstead.ocpp.errors import OcppError
from ohmstead.ocpp.frames import CallError, CallResult, encode_call
from ohmstead.ocpp.v16.schemas import check_response

if TYPE_CHECKING:
    from ohmstead.gateway.connection import ChargerConnection

Received = tuple[CallResult | CallError, str]
"""An answer, and the text of its frame."""


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

    __slots__ = ("_connection", "_pending", "_turn")

    def __init__(self, connection: "ChargerConnection") -> None:
        self._connection = connection
        self._pending: _Pending | None = None
        self._turn: asyncio.Lock | None = None

    async def send(self, action: str, payload_json: bytes, wait_seconds: float | None) -> Answer:
        """Send a CALL when its turn has come, and wait for its answer; see `ChargerLink.call`."""
        limit = self._connection.gateway.settings.ocpp_call_timeout if wait_seconds is None else wait_seconds
        if self._turn is None:
            self._turn = asyncio.Lock()
        async with self._turn:
            return await self._send(action, payload_json, limit)

    async def _send(self, action: str, payload_json: bytes, limit: float) -> Answer:
        connection = self._connection
        pending = _Pending(action, payload_json, connection.gateway.clock.now())
        if not connection.attached or not connection.protocol.send_frame(pending.request):
            raise _left(connection.charger.id)
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
            self._log(pending, text, None, _broken_response(action, frame.payload))
            return Answer(response=frame.payload)
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
        """End the CALL that waits: the charger has left."""
        pending = self._pending
        if pending is not None and not pending.answer.done():
            pending.answer.set_exception(_left(self._connection.charger.id))
            # The caller may have been cancelled; then nobody asks for the exception.
            with contextlib.suppress(ChargerOffline):
                pending.answer.exception()

    def _log(self, pending: _Pending, response: str | None, code: str | None, note: str | None) -> None:
        connection = self._connection
        metrics.MESSAGES.count("out", pending.action, code or "ok")
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


def _broken_response(action: str, payload: dict[str, Any]) -> str | None:
    """Tell how an answer breaks its schema. It is passed on all the same: the operator asked for it."""
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

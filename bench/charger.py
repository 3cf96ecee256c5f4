"""One cheap charger: a raw asyncio protocol that keeps at most one CALL open and answers what it is asked.

The hot path (an answer in, the next message out) parses nothing and builds frames from templates of fixed
length, because every microsecond spent here is taken from the server, which shares the machine.
"""

import asyncio
import time
from collections import Counter, deque
from typing import Any, cast

import orjson

from bench.histogram import Histogram
from bench.wire import CLOSE, PING, PONG, TEXT, WireError, frame, header, split

METER, STATUS, HEARTBEAT = range(3)
KINDS = ("MeterValues", "StatusNotification", "Heartbeat")
# 60 % meter values, 20 % status, 20 % heartbeats, evenly spread.
MIX = (METER, STATUS, METER, HEARTBEAT, METER, METER, STATUS, METER, HEARTBEAT, METER)
FIRST_REGISTER_WH = 10_000_000
_STATUSES = (b"Charging", b"SuspendedEV")
_NOTHING = b"\0"
_LATE_NS = 5_000_000
_ANSWER_SECONDS = 60.0
_WALL_OFFSET_NS = time.time_ns() - time.perf_counter_ns()
_ANSWERS: dict[str, bytes] = {
    "TriggerMessage": b'{"status":"Accepted"}',
    "ChangeConfiguration": b'{"status":"Accepted"}',
    "GetConfiguration": b'{"configurationKey":[],"unknownKey":[]}',
}


def identity(number: int) -> str:
    """The OCPP identity of charger `number`."""
    return f"BENCH-{number:05d}"


def id_tag(number: int) -> str:
    """The id tag that charges at charger `number`."""
    return f"BENCHTAG{number:05d}"


class CallFailed(Exception):
    """A control message was answered with a CALLERROR, or the connection ended before its answer."""


class Tally:
    """What all chargers of one process share: counters, and whether to go on sending."""

    def __init__(self) -> None:
        self.histogram = Histogram()  # replaced at the borders of a measured window
        self.load_answers = [0, 0, 0]  # by kind, since the process began
        self.control_answers: Counter[str] = Counter()  # by action, since the process began
        self.errors: Counter[str] = Counter()
        self.first_errors: list[str] = []
        self.sending = False  # closed loop: each answer is followed by the next message
        self._second, self._prefix = -1, b""

    def error(self, kind: str, detail: str = "") -> None:
        """Count an error, and keep the first few in words."""
        self.errors[kind] += 1
        if len(self.first_errors) < 5:
            self.first_errors.append(f"{kind}: {detail[:300]}")

    @property
    def answered(self) -> dict[str, int]:
        """How many messages of each action were answered with a CALLRESULT."""
        return dict(self.control_answers + Counter(dict(zip(KINDS, self.load_answers, strict=True))))

    def timestamp(self, ms: int) -> bytes:
        """Milliseconds since 1970 as OCPP writes it, 24 bytes."""
        second, rest = divmod(ms, 1000)
        if second != self._second:
            self._second = second
            self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second)).encode()
        return b"%b%03dZ" % (self._prefix, rest)


def _template(text: bytes, *sample: object) -> bytes:
    """A frame with %-holes whose contents always have the length of `sample`."""
    return header(len(text % sample)).replace(b"%", b"%%") + text


_HEARTBEAT = _template(b'[2,"%012d","Heartbeat",{}]', 0)
_STATUS = tuple(
    _template(
        b'[2,"%%012d","StatusNotification",{"connectorId":1,"errorCode":"NoError","status":"%b","timestamp":"%%b"}]'
        % status,
        0,
        b"." * 24,
    )
    for status in _STATUSES
)


def _meter_template(transaction: int | None) -> bytes:
    inside = b"" if transaction is None else b'"transactionId":%d,' % transaction
    return _template(
        b'[2,"%%012d","MeterValues",{"connectorId":1,%b"meterValue":[{"timestamp":"%%b","sampledValue":['
        b'{"value":"%%d","context":"Sample.Periodic","measurand":"Energy.Active.Import.Register","unit":"Wh"},'
        b'{"value":"11040.0","measurand":"Power.Active.Import","unit":"W"},'
        b'{"value":"16.0","measurand":"Current.Import","unit":"A"},'
        b'{"value":"230.1","measurand":"Voltage","unit":"V"}]}]}]' % inside,
        0,
        b"." * 24,
        FIRST_REGISTER_WH,
    )


class Charger(asyncio.Protocol):
    """One connection. `handshake` is the upgrade request; `first_id` keeps ids of connections apart."""

    def __init__(self, identity: str, handshake: bytes, tally: Tally, first_id: int) -> None:
        self.identity = identity
        self.transaction: int | None = None
        self.register = FIRST_REGISTER_WH
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[None] = loop.create_future()
        self._handshake = handshake
        self._tally = tally
        self._id = first_id
        self._expected = _NOTHING  # the start of the answer to the open message of the load
        self._kind = METER
        self._sent_at = 0
        self._last_ms = 0
        self._status = 0
        self._meter = _meter_template(None)
        self._due: deque[int] = deque()
        self._rest = b""
        self._control: asyncio.Future[Any] | None = None
        self._control_id = ""
        self._closing = False
        self._transport: asyncio.Transport | None = None

    # -- the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the upgrade."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports are none by inheritance
        self._transport.write(self._handshake)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail whatever still waits."""
        lost = CallFailed(f"{self.identity}: connection lost: {exc}")
        for future in (self.opened, self._control):
            if future is not None and not future.done():
                future.set_exception(lost)
        if not self._closing:
            self._tally.error("connection lost", str(exc))
        self._expected = _NOTHING

    def close(self) -> None:
        """Say goodbye (1000) and close the socket."""
        self._closing = True
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frame((1000).to_bytes(2, "big"), CLOSE))
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        """The hot path: exactly one short frame, which answers the open message. Else the slow way."""
        if data.startswith(self._expected, 2) and data[0] == TEXT and data[1] == len(data) - 2:
            self._answered()
        else:
            self._slowly(data)

    # -- the load

    @property
    def idle(self) -> bool:
        """Whether no message of the load waits for its answer."""
        return self._expected is _NOTHING

    def charge(self, transaction: int | None) -> None:
        """Send the meter values of the load with this transaction id from now on."""
        self.transaction = transaction
        self._meter = _meter_template(transaction)

    def begin(self) -> None:
        """Start the closed loop."""
        if self.idle:
            self._send(time.perf_counter_ns())

    def offer(self, due: int, now: int) -> None:
        """Open loop: a message is due. It waits while another is open, and its latency counts from `due`."""
        if not self.idle:
            self._due.append(due)
        else:
            self._send(due if now - due > _LATE_NS else now)

    def _answered(self) -> None:
        now = time.perf_counter_ns()
        tally = self._tally
        tally.histogram.add((now - self._sent_at) // 1000)
        tally.load_answers[self._kind] += 1
        self._next(now)

    def _next(self, now: int) -> None:
        if self._tally.sending:
            self._send(now)
        elif self._due:
            self._send(self._due.popleft())
        else:
            self._expected = _NOTHING

    def _send(self, start: int) -> None:
        self._id = number = self._id + 1
        self._kind = kind = MIX[number % 10]
        if kind == METER:
            self.register += 1
            data = self._meter % (number, self._timestamp(), self.register)
        elif kind == STATUS:
            self._status ^= 1
            data = _STATUS[self._status] % (number, self._timestamp())
        else:
            data = _HEARTBEAT % number
        self._expected = b'[3,"%012d"' % number
        self._sent_at = start
        assert self._transport is not None
        self._transport.write(data)

    def _timestamp(self) -> bytes:
        ms = max((time.perf_counter_ns() + _WALL_OFFSET_NS) // 1_000_000, self._last_ms + 1)
        self._last_ms = ms
        return self._tally.timestamp(ms)

    # -- all other traffic

    async def call(self, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Send one control message and return its answer; raises CallFailed or TimeoutError."""
        assert self._transport is not None
        assert self.idle
        self._id += 1
        self._control_id = f"{self._id:012d}"
        self._control = asyncio.get_running_loop().create_future()
        self._transport.write(frame(orjson.dumps([2, self._control_id, action, payload])))
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                answer: dict[str, Any] = await self._control
        finally:
            self._control = None
        self._tally.control_answers[action] += 1
        return answer

    def now(self) -> str:
        """This charger's clock, which never shows the same millisecond twice."""
        return self._timestamp().decode()

    def _slowly(self, data: bytes) -> None:
        data = self._rest + data
        self._rest = b""
        if not self.opened.done():
            head, end, data = data.partition(b"\r\n\r\n")
            if not end:
                self._rest = head
                return
            status = head.split(b"\r\n", 1)[0]
            if b" 101 " not in status + b" ":
                self._closing = True
                self.opened.set_exception(CallFailed(f"{self.identity}: {status.decode(errors='replace')}"))
                return
            self.opened.set_result(None)
        try:
            frames, self._rest = split(data)
        except WireError as error:
            self._tally.error("wire", str(error))
            self.close()
            return
        for kind, payload in frames:
            self._frame(kind, payload)

    def _frame(self, kind: int, payload: bytes) -> None:
        assert self._transport is not None
        if kind == PING:
            self._transport.write(frame(payload, PONG))
        elif kind == CLOSE and not self._closing:
            self._tally.error("closed by server", payload[2:].decode(errors="replace"))
            self.close()
        elif kind == TEXT:
            message = orjson.loads(payload)
            if message[0] == 2:
                self._transport.write(frame(self._reply(message)))
            else:
                self._answer(message, payload)

    def _reply(self, message: list[Any]) -> bytes:
        known = _ANSWERS.get(message[2])
        if known is None:
            return orjson.dumps([4, message[1], "NotImplemented", "", {}])
        return b'[3,"%b",%b]' % (message[1].encode(), known)

    def _answer(self, message: list[Any], payload: bytes) -> None:
        control = self._control
        if control is not None and not control.done() and message[1] == self._control_id:
            if message[0] == 3:
                control.set_result(message[2])
            else:
                self._tally.error(f"CALLERROR {message[2]}", payload.decode(errors="replace"))
                control.set_exception(CallFailed(payload.decode(errors="replace")))
        elif self.idle or message[1] != f"{self._id:012d}":
            self._tally.error("answer to no open message", payload.decode(errors="replace"))
        elif message[0] == 3:
            self._answered()
        else:
            self._tally.error(f"CALLERROR {message[2]}", payload.decode(errors="replace"))
            self._next(time.perf_counter_ns())

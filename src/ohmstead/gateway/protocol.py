"""The WebSocket of a charger: uvicorn's protocol, with what ASGI hides.

For `/ocpp/...` the frames go straight to the charger's connection, and the handshake, the pings and
the close are ours: HTTP statuses before the upgrade, the raw path (`%2F` in an identity), our own
ping interval, the real close code and reason. Every other path is served by uvicorn as ever.
"""

import asyncio
import socket
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame
from websockets.http11 import Request
from websockets.protocol import OPEN
from websockets.speedups import apply_mask

if TYPE_CHECKING:
    from ohmstead.gateway.server import Gateway

PATH = "/ocpp/"
CLOSE_SECONDS = 5.0
PAUSE_AT = 64
RESUME_AT = 16
TEXT_FRAME = 0x81
"""The first byte of a text frame that is whole: FIN, and the opcode of text."""


class FrameSink(Protocol):
    """Who takes the frames of a socket."""

    def frame_received(self, text: str) -> int:
        """Take a text frame; returns how many wait, so that a flood is slowed down at the socket."""

    def closed(self, code: int, reason: str) -> None:
        """The socket is gone."""


class ChargerProtocol(WebSocketsSansIOProtocol):
    """One socket. `gateway` is set by `protocol_class`."""

    gateway: ClassVar["Gateway"]

    charger: FrameSink | None = None
    is_charger = False
    ping_seconds = 0.0
    silence_seconds = 0.0
    last_frame = 0.0
    ponged = False
    awaiting_pong = False
    why = ""
    _tick: asyncio.TimerHandle | None = None
    _rest = b""
    _fragmented = False
    _by_library = False

    def handle_connect(self, event: Request) -> None:
        """Begin the handshake: a charger's by the gateway, any other by the application."""
        if not event.path.startswith(PATH):
            super().handle_connect(event)
            return
        self.is_charger = True
        self.request = event
        self.response = self.conn.accept(event)
        self.handshake_initiated = True
        if self.response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            self._send_response()
            return
        task = self.loop.create_task(self.gateway.handshake(self, event))
        task.add_done_callback(self.on_task_complete)
        self.tasks.add(task)

    def _send_response(self) -> None:
        self.handshake_complete = True
        self.close_sent = True
        self.conn.send_response(self.response)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.transport.close()

    def refuse(self, status: int, message: str, headers: dict[str, str]) -> None:
        """Answer the handshake with an HTTP error."""
        if self.disconnected:
            return
        self.response = self.conn.reject(HTTPStatus(status), message + "\n")
        self.response.headers.update(headers)
        self._send_response()

    def accept(self, charger: FrameSink, subprotocol: str | None) -> bool:
        """Answer the handshake with 101 and deliver frames to `charger`; False when it is gone already."""
        if self.disconnected or self.transport.is_closing():
            return False
        self.charger = charger
        if subprotocol is not None:
            self.response.headers["Sec-WebSocket-Protocol"] = subprotocol
        self.handshake_complete = True
        self.conn.send_response(self.response)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self._by_library = bool(self.conn.reader.buffer)
        # What was needed for the handshake only would otherwise stay for the weeks that a charger stays.
        del self.request, self.response
        self.frames = []
        self.last_frame = time.monotonic()
        return True

    def watch(self, ping_seconds: float, silence_seconds: float) -> None:
        """Ping every `ping_seconds`; who never answers pings must send something every `silence_seconds`.

        The kernel watches as well: data that nobody acknowledges ends the socket (half-open TCP).
        """
        self.ping_seconds = ping_seconds
        self.silence_seconds = silence_seconds
        handle = self.transport.get_extra_info("socket")
        if handle is not None and hasattr(socket, "TCP_USER_TIMEOUT") and handle.family != socket.AF_UNIX:
            handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(2000 * ping_seconds))
        self._tick = self.loop.call_later(ping_seconds, self._ping)

    def _ping(self) -> None:
        """Look for life once an interval: a charger that died is found within two of them."""
        self._tick = None
        if self.close_sent or self.transport.is_closing():
            return
        now = time.monotonic()
        heard = now - self.last_frame
        if self.awaiting_pong and heard > self.ping_seconds:
            if self.ponged:
                self.fail("no answer to a ping")
                return
            if heard > self.silence_seconds:
                self.fail("neither pongs nor messages")
                return
        self.awaiting_pong = True
        self.conn.send_ping(b"ohm")
        self.transport.write(b"".join(self.conn.data_to_send()))
        self._tick = self.loop.call_later(self.ping_seconds, self._ping)

    async def send(self, message: ASGISendEvent) -> None:
        """Send for the application. A peer that does not even read its close is cut off."""
        await super().send(message)
        if message["type"] == "websocket.close" and not self.writable.is_set():
            self.transport.abort()

    def handle_pong(self, event: Frame) -> None:
        """Take a pong as a sign of life."""
        if self.charger is None:
            super().handle_pong(event)
            return
        self.ponged = True
        self.awaiting_pong = False

    def data_received(self, data: bytes) -> None:
        """Read what has come; whole text frames, which nearly all are, the short way (RFC 6455 5.2).

        Everything else (control frames, fragments, whatever breaks the rules) goes to the library, one
        whole frame at a time, so that it always stands at the beginning of a frame.
        """
        if self.charger is None or self._by_library:
            super().data_received(data)
            if self.conn.handshake_exc is not None and not self.handshake_initiated:
                # The library has written its refusal (lines too long, no HTTP); uvicorn would never send it.
                self.transport.write(b"".join(self.conn.data_to_send()))
                self.transport.close()
            return
        if self._rest:
            data, self._rest = self._rest + data, b""
        start = 0
        while start < len(data):
            first, payload, end = frame_bounds(data, start)
            if end == 0 or (end - payload <= self.config.ws_max_size and end > len(data)):
                self._rest = data[start:]
                return
            if end - payload > self.config.ws_max_size:
                self._by_library = True
                super().data_received(data[start:])
                return
            if first == TEXT_FRAME and not self._fragmented and data[start + 1] & 0x80:
                self._deliver(apply_mask(data[payload:end], data[payload - 4 : payload]))
            else:
                if first & 0x0F < 0x08:
                    self._fragmented = not first & 0x80
                super().data_received(data[start:end])
            start = end

    def send_receive_event_to_app(self) -> None:
        """Deliver a whole message to the charger's connection."""
        if not self.is_charger:
            super().send_receive_event_to_app()
            return
        data = self.frames[0] if len(self.frames) == 1 else b"".join(self.frames)
        self.frames = []
        self._deliver(data)

    def _deliver(self, data: bytes) -> None:
        if self.close_sent or self.charger is None:
            return
        try:
            text = str(data, "utf-8")
        except UnicodeDecodeError:
            self.close(1007, "the frame is not UTF-8")
            return
        self.last_frame = time.monotonic()
        self.awaiting_pong = False
        waiting = self.charger.frame_received(text)
        if waiting >= PAUSE_AT and not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()

    def resume(self, waiting: int) -> None:
        """Read on, once the connection has caught up."""
        if self.read_paused and waiting <= RESUME_AT and not self.disconnected:
            self.read_paused = False
            self.transport.resume_reading()

    def stop_reading(self) -> None:
        """Take no more frames: the server stops."""
        if not self.disconnected and not self.transport.is_closing():
            self.read_paused = True
            self.transport.pause_reading()

    def send_frame(self, text: str) -> bool:
        """Send a text frame; False when the socket does not take any more (RFC 6455 5.2, unmasked)."""
        if self.close_sent or self.disconnected or self.conn.state is not OPEN:
            return False
        payload = text.encode()
        length = len(payload)
        if length < 126:
            header = bytes((0x81, length))
        elif length < 65_536:
            header = b"\x81\x7e" + length.to_bytes(2, "big")
        else:
            header = b"\x81\x7f" + length.to_bytes(8, "big")
        self.transport.write(header + payload)
        return True

    def close(self, code: int, reason: str) -> None:
        """Close with a code and a reason; the peer has `CLOSE_SECONDS` to answer."""
        if self.close_sent or self.disconnected:
            return
        self.why = self.why or reason
        self._stop_watching()
        if self.conn.state is OPEN:
            self.conn.send_close(code, reason[:120])
            self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(CLOSE_SECONDS, self.transport.close)

    def fail(self, reason: str) -> None:
        """End a socket whose peer is thought dead: it would not answer a close."""
        self.why = reason
        self.close(1011, reason)
        self.transport.abort()

    def handle_close(self, event: Frame) -> None:
        """Take the peer's close."""
        if self.charger is None:
            if self.is_charger:
                self.transport.close()
            else:
                super().handle_close(event)
            return
        if not self.close_sent:
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
        self.transport.close()

    def handle_parser_exception(self) -> None:
        """End a socket that breaks RFC 6455: frames too long (1009), unmasked, fragments out of order."""
        if not self.is_charger:
            super().handle_parser_exception()
            return
        self._stop_watching()
        sent = self.conn.close_sent
        if sent is not None:
            self.why = self.why or f"closed by us: {sent.code} {sent.reason}".strip()
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the connection how the socket ended."""
        self._stop_watching()
        charger, self.charger = self.charger, None
        if not self.is_charger:
            super().connection_lost(exc)
            return
        self.connections.discard(self)
        self.handshake_complete = True
        self.disconnected = True
        self.writable.set()
        if self.close_timer is not None:
            self.close_timer.cancel()
            self.close_timer = None
        if charger is not None:
            code, reason = self._how_it_ended(exc)
            charger.closed(code, reason)

    def _how_it_ended(self, exc: Exception | None) -> tuple[int, str]:
        received, sent = self.conn.close_rcvd, self.conn.close_sent
        if received is not None and not self.why:
            return received.code, f"closed by the charger {received.reason}".strip()
        if sent is not None:
            return sent.code, self.why or "closed by us"
        return 1006, self.why or ("lost" if exc is None else f"lost: {exc}")

    def _stop_watching(self) -> None:
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None

    def shutdown(self) -> None:
        """The server stops: a charger's socket is closed by the gateway when its answers are out."""
        if not self.is_charger:
            super().shutdown()
        elif self.charger is None:
            self.transport.close()

    @property
    def secure(self) -> bool:
        """Whether this socket itself is TLS."""
        return self.scheme == "wss"


def frame_bounds(data: bytes, start: int) -> tuple[int, int, int]:
    """Return the first byte of the frame at `start`, where its payload begins, and where it ends.

    The end is 0 while the header is not complete (RFC 6455 5.2).
    """
    have = len(data) - start
    if have < 2:
        return 0, 0, 0
    masked, length = data[start + 1] & 0x80, data[start + 1] & 0x7F
    payload = start + (6 if masked else 2)
    if length == 126:
        if have < 4:
            return 0, 0, 0
        length = int.from_bytes(data[start + 2 : start + 4], "big")
        payload += 2
    elif length == 127:
        if have < 10:
            return 0, 0, 0
        length = int.from_bytes(data[start + 2 : start + 10], "big")
        payload += 8
    return data[start], payload, payload + length


def protocol_class(gateway: "Gateway") -> type[ChargerProtocol]:
    """Return the protocol for uvicorn's `Config.ws`, bound to a gateway."""
    members: dict[str, Any] = {"gateway": gateway}
    return type("BoundChargerProtocol", (ChargerProtocol,), members)

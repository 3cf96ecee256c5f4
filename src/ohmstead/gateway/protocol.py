"""The WebSocket of a charger: uvicorn's protocol, with what ASGI hides.

For `/ocpp/...` the frames go straight to the charger's connection, and the handshake, the pings and
the close are ours: HTTP statuses before the upgrade, the raw path (`%2F` in an identity), our own
ping interval, the real close code and reason. Every other path is served by uvicorn as ever.
"""

import asyncio
import socket
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar

import structlog
from uvicorn._types import ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame
from websockets.http11 import Request, Response
from websockets.protocol import OPEN
from websockets.speedups import apply_mask

from ohmstead.gateway.paths import SUBPROTOCOLS, meant_for_chargers
from ohmstead.gateway.wire import TEXT_FRAME, FrameSink, frame_bounds, text_header

if TYPE_CHECKING:
    from ohmstead.gateway.server import Gateway

logger = structlog.stdlib.get_logger(__name__)

CLOSE_SECONDS = 5.0
PAUSE_AT = 64
RESUME_AT = 16
SHOWN = 1000
"""Bytes of a frame that ends its socket which are kept for the log."""


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
    _ping_due = 0.0
    _rest = b""
    _fragmented = False
    _by_library = False
    _stopping = False
    _holding = False
    _stuck = False
    _refused = b""

    def handle_connect(self, event: Request) -> None:
        """Begin the handshake: a charger's by the gateway, any other by the application."""
        if not meant_for_chargers(event):
            super().handle_connect(event)
            return
        self.is_charger = True
        self.request = event
        self.response = self._checked(event)
        self.handshake_initiated = True
        if self.response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            why = (self.response.body or b"").decode().strip()
            self.gateway.door.turned_away(self, event, self.response.status_code, why)
            self._send_response()
            return
        task = self.loop.create_task(self._shake_hands(event))
        task.add_done_callback(self.on_task_complete)
        self.tasks.add(task)

    async def _shake_hands(self, request: Request) -> None:
        try:
            await self.gateway.door.handshake(self, request)
        except Exception:
            # Whatever it is, the charger must not wait for ever.
            logger.exception("gateway.handshake_failed")
            if self.charger is None:
                self.refuse(500, "This handshake could not be served; it is in our log.", {})
            else:
                self.fail("the handshake could not be served")

    def _checked(self, request: Request) -> Response:
        """Have the library look at a handshake, but for the subprotocols, which the gateway chooses.

        The library would refuse a list that it cannot read; an empty one is as good as none.
        """
        offered = request.headers.get_all(SUBPROTOCOLS)
        if offered:
            del request.headers[SUBPROTOCOLS]
        response = self.conn.accept(request)
        for value in offered:
            request.headers[SUBPROTOCOLS] = value
        return response

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
            self.response.headers[SUBPROTOCOLS] = subprotocol
        self.handshake_complete = True
        self.conn.send_response(self.response)
        self.transport.write(b"".join(self.conn.data_to_send()))
        # What was needed for the handshake only would otherwise stay for the weeks that a charger stays.
        del self.request, self.response
        self.frames = []
        self.last_frame = time.monotonic()
        if self.read_paused:
            # Served when the gateway has done with the handshake, which it does in one go from here.
            self.loop.call_soon(self._catch_up)
        return True

    def _hold_back(self, data: bytes) -> None:
        """Keep what a charger sends before it is let in (RFC 6455 4.1 tells it to wait; some do not)."""
        self._rest += data
        self._pause()

    def _catch_up(self) -> None:
        """Read what came before the charger was let in, and then go on."""
        data, self._rest = self._rest, b""
        self._read_on()
        if self.charger is not None:
            self.data_received(data)

    def watch(self, ping_seconds: float, silence_seconds: float) -> None:
        """Ping every `ping_seconds`; who never answers pings must send something every `silence_seconds`.

        The kernel watches as well: data that nobody acknowledges ends the socket (half-open TCP).
        """
        self.ping_seconds = ping_seconds
        self.silence_seconds = silence_seconds
        handle = self.transport.get_extra_info("socket")
        if handle is not None and hasattr(socket, "TCP_USER_TIMEOUT") and handle.family != socket.AF_UNIX:
            handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(2000 * ping_seconds))
        self._ping_in(ping_seconds)

    def _ping_in(self, seconds: float) -> None:
        self._ping_due = time.monotonic() + seconds
        self._tick = self.loop.call_later(seconds, self._ping)

    def _ping(self) -> None:
        """Look for life once an interval: a charger that died is found within two of them."""
        self._tick = None
        if self.close_sent or self.transport.is_closing():
            return
        if time.monotonic() - self._ping_due > self.ping_seconds / 2:
            # This process stood still: what chargers have sent meanwhile has come, and is not read yet.
            self._ping_in(self.ping_seconds / 2)
            return
        if self._stuck and not self.writable.is_set():
            self.fail("it does not read what it is sent")
            return
        self._stuck = not self.writable.is_set()
        if not self.read_paused:  # else it is not heard because we do not listen
            heard = time.monotonic() - self.last_frame
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
        self._ping_in(self.ping_seconds)

    async def send(self, message: ASGISendEvent) -> None:
        """Send for the application. A peer that does not even read its close is cut off."""
        await super().send(message)
        if message["type"] == "websocket.close" and not self.writable.is_set():
            self.transport.abort()

    def handle_ping(self) -> None:
        """Answer a ping, as the library has prepared it; not when we are leaving."""
        if self.is_charger and self.close_sent:
            self.conn.data_to_send()
        else:
            super().handle_ping()

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
            if self.is_charger and not self.handshake_complete:
                self._hold_back(data)
                return
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
                if data[start + 1] & 0x80 and len(data) > payload:
                    self._refused = apply_mask(data[payload : payload + SHOWN], data[payload - 4 : payload])
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
            why = "the frame is not UTF-8"
            self.charger.frame_refused(data[:SHOWN], 1007, why)
            self.close(1007, why)
            return
        self.last_frame = time.monotonic()
        self.awaiting_pong = False
        waiting = self.charger.frame_received(text)
        if waiting >= PAUSE_AT:
            self._pause()

    def resume(self, waiting: int) -> None:
        """Read on, once the connection has caught up."""
        if self.read_paused and waiting <= RESUME_AT:
            self._read_on()

    def stop_reading(self) -> None:
        """Take no more frames: the server stops."""
        self._stopping = True
        self._pause()

    def pause_writing(self) -> None:
        """Wait with everything while the charger does not read: its answers must not pile up here."""
        super().pause_writing()
        if self.charger is not None:
            self._pause()
            self._holding = True
            self.charger.hold()

    def resume_writing(self) -> None:
        """Go on when the charger has read."""
        super().resume_writing()
        if self._holding and self.charger is not None:
            self._holding = False
            self.resume(self.charger.release())

    def _pause(self) -> None:
        if not self.read_paused and not self.disconnected and not self.transport.is_closing():
            self.read_paused = True
            self.transport.pause_reading()

    def _read_on(self) -> None:
        """Read on, unless there is another reason not to."""
        if self.disconnected or self.transport.is_closing():
            return
        if self.writable.is_set() and not self._stopping:
            self.read_paused = False
            self.transport.resume_reading()

    def send_frame(self, text: str) -> bool:
        """Send a text frame; False when the socket does not take any more."""
        if self.close_sent or self.disconnected or self.conn.state is not OPEN:
            return False
        payload = text.encode()
        self.transport.write(text_header(len(payload)) + payload)
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
        self.close_timer = self.loop.call_later(CLOSE_SECONDS, self._give_up)

    def _give_up(self) -> None:
        """End a socket whose peer has not answered the close; one that does not even read is cut off."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

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
        self._hang_up()

    def _hang_up(self) -> None:
        """Close when what was written has left; a peer that does not read it is cut off after a while."""
        self.transport.close()
        if self.close_timer is None and self.transport.get_write_buffer_size():
            self.close_timer = self.loop.call_later(CLOSE_SECONDS, self.transport.abort)

    def handle_parser_exception(self) -> None:
        """End a socket that breaks RFC 6455: frames too long (1009), unmasked, fragments out of order."""
        if not self.is_charger:
            super().handle_parser_exception()
            return
        self._stop_watching()
        sent = self.conn.close_sent
        if sent is not None:
            self.why = self.why or f"closed by us: {sent.code} {sent.reason}".strip()
            if self.charger is not None:
                beginning = self._refused or b"".join(self.frames)[:SHOWN]
                self.charger.frame_refused(beginning, sent.code, sent.reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self._hang_up()

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
            if self._holding:
                # Served all the same, though nobody hears the answers: it may be a last stop.
                charger.release()

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
    def is_open(self) -> bool:
        """Whether frames go both ways: let in, and neither side has begun to close."""
        return self.charger is not None and not self.close_sent and not self.transport.is_closing()

    @property
    def secure(self) -> bool:
        """Whether this socket itself is TLS."""
        return self.scheme == "wss"


def protocol_class(gateway: "Gateway") -> type[ChargerProtocol]:
    """Return the protocol for uvicorn's `Config.ws`, bound to a gateway."""
    members: dict[str, Any] = {"gateway": gateway}
    return type("BoundChargerProtocol", (ChargerProtocol,), members)

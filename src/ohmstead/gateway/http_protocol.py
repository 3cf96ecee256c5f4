"""HTTP on the port of the chargers: uvicorn's protocol, with what it leaves out."""

import asyncio
import sys
from typing import Any

from httptools import HttpParserUpgrade
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ohmstead.core.addresses import plain_address
from ohmstead.gateway.protocol import ChargerProtocol

REQUEST_SECONDS = 10.0
"""How long a client may take from opening a connection, or beginning a request, to the end of its headers."""


class HttpProtocol(HttpToolsProtocol):
    """One connection, until it becomes a WebSocket."""

    _chunk = b""
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        """Begin to wait for a request."""
        super().connection_made(transport)
        if self.client is not None:
            self.client = (plain_address(self.client[0]), self.client[1])
        self._expect_request()

    def on_message_begin(self) -> None:
        """Give the rest of the headers their time."""
        super().on_message_begin()
        self._expect_request()

    def on_headers_complete(self) -> None:
        """Serve the request."""
        self._stop_waiting()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Read what has come."""
        self._chunk = data
        super().data_received(data)
        self._chunk = b""

    def handle_websocket_upgrade(self) -> None:
        """Hand over to the WebSocket, with what a charger has sent right behind its handshake."""
        parsed = sys.exception()
        super().handle_websocket_upgrade()
        protocol: Any = self.transport.get_protocol()
        if isinstance(parsed, HttpParserUpgrade) and isinstance(protocol, ChargerProtocol):
            behind = self._chunk[parsed.args[0] :]
            if behind and protocol.is_charger:
                protocol.data_received(behind)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget about it."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _expect_request(self) -> None:
        self._stop_waiting()
        self._deadline = self.loop.call_later(REQUEST_SECONDS, self._give_up)

    def _give_up(self) -> None:
        """End a connection whose request does not come, unless the one before is still being answered."""
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
        else:
            self._expect_request()

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

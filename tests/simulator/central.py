"""A small central system on the PyPI package `ocpp`: it records all that it gets and answers as told."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from ocpp.v16 import ChargePoint, call_result
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from ohmstead_simulator.commands.routing import answers


@dataclass
class Received:
    """One CALL of a charge point."""

    charger_id: str
    connection: int
    message_id: str
    action: str
    payload: dict[str, Any]


@dataclass
class Central:
    """What it got, and how it shall answer."""

    received: list[Received] = field(default_factory=list)
    chargers: dict[str, "Peer"] = field(default_factory=dict)
    handshakes: list[Request] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    boot_statuses: list[str] = field(default_factory=list)
    """Answers to the next BootNotifications; Accepted when there is none left."""
    interval: int = 300
    tags: dict[str, str] = field(default_factory=dict)
    """Status by tag; Accepted for all others."""
    silent: set[str] = field(default_factory=set)
    """Actions that get no answer."""
    failing: set[str] = field(default_factory=set)
    """Actions that get a CALLERROR."""
    refuse: HTTPStatus | None = None
    """The status of refused handshakes."""
    url: str = ""
    transaction_ids: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1001))

    def actions(self, charger_id: str | None = None) -> list[str]:
        """The actions in the order of their arrival."""
        return [one.action for one in self.received if charger_id in (None, one.charger_id)]

    def of(self, *actions: str) -> list[Received]:
        """What arrived of these actions, in order."""
        return [one for one in self.received if one.action in actions]

    async def until(self, condition: Callable[[], bool], seconds: float = 5) -> None:
        """Wait in real time for something to happen; fails after `seconds`."""
        async with asyncio.timeout(seconds):
            while True:
                if condition():
                    return
                await asyncio.sleep(0.002)

    async def command(self, charger_id: str, request: Any) -> Any:
        """Send a command; answers the charge point's answer."""
        return await self.chargers[charger_id].call(request)

    @asynccontextmanager
    async def serving(self, port: int = 0) -> AsyncIterator[Server]:
        """Listen on localhost."""
        async with serve(
            self._handle,
            "127.0.0.1",
            port,
            subprotocols=[Subprotocol("ocpp1.6")],
            process_request=self._handshake,
            close_timeout=1,
        ) as server:
            self.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/ocpp"
            yield server

    def _handshake(self, connection: ServerConnection, request: Request) -> Response | None:
        self.handshakes.append(request)
        return connection.respond(self.refuse, "no\n") if self.refuse is not None else None

    async def _handle(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        charger_id = unquote(connection.request.path.removeprefix("/ocpp/"))
        peer = Peer(self, charger_id, connection, len(self.handshakes))
        self.chargers[charger_id] = peer
        try:
            await peer.start()
        except ConnectionClosed:
            self.closed.append(charger_id)


class Peer(ChargePoint):  # type: ignore[misc]  # the ocpp package has no types
    """The central system's end of one connection."""

    def __init__(self, central: Central, charger_id: str, connection: ServerConnection, number: int) -> None:
        super().__init__(charger_id, connection, response_timeout=5)
        self.central = central
        self.number = number

    async def route_message(self, raw_msg: str) -> None:
        frame = json.loads(raw_msg)
        if frame[0] == 2:
            self.central.received.append(Received(self.id, self.number, frame[1], frame[2], frame[3]))
            if frame[2] in self.central.silent:
                return
            if frame[2] in self.central.failing:
                await self._send(json.dumps([4, frame[1], "InternalError", "not now", {}]))
                return
        await super().route_message(raw_msg)

    def _now(self) -> str:
        return self.central.now().isoformat()

    def _tag(self, tag: str) -> dict[str, str]:
        return {"status": self.central.tags.get(tag, "Accepted")}

    @answers("BootNotification")
    def on_boot(self, **_: Any) -> Any:
        statuses = self.central.boot_statuses
        return call_result.BootNotification(
            current_time=self._now(),
            interval=self.central.interval,
            status=statuses.pop(0) if statuses else "Accepted",
        )

    @answers("Heartbeat")
    def on_heartbeat(self) -> Any:
        return call_result.Heartbeat(current_time=self._now())

    @answers("Authorize")
    def on_authorize(self, id_tag: str) -> Any:
        return call_result.Authorize(id_tag_info=self._tag(id_tag))

    @answers("StartTransaction")
    def on_start(self, id_tag: str, **_: Any) -> Any:
        return call_result.StartTransaction(
            transaction_id=next(self.central.transaction_ids), id_tag_info=self._tag(id_tag)
        )

    @answers("StopTransaction")
    def on_stop(self, **_: Any) -> Any:
        return call_result.StopTransaction()

    @answers("DataTransfer")
    def on_data_transfer(self, **_: Any) -> Any:
        return call_result.DataTransfer(status="Accepted")

    @answers("SignCertificate")
    def on_sign_certificate(self, **_: Any) -> Any:
        return call_result.SignCertificate(status="Accepted")

    @answers("StatusNotification")
    def on_status(self, **_: Any) -> Any:
        return call_result.StatusNotification()

    @answers("MeterValues")
    def on_meter_values(self, **_: Any) -> Any:
        return call_result.MeterValues()

    @answers("DiagnosticsStatusNotification")
    def on_diagnostics(self, **_: Any) -> Any:
        return call_result.DiagnosticsStatusNotification()

    @answers("FirmwareStatusNotification")
    def on_firmware(self, **_: Any) -> Any:
        return call_result.FirmwareStatusNotification()

    @answers("SignedFirmwareStatusNotification")
    def on_signed_firmware(self, **_: Any) -> Any:
        return call_result.SignedFirmwareStatusNotification()

    @answers("LogStatusNotification")
    def on_log(self, **_: Any) -> Any:
        return call_result.LogStatusNotification()

    @answers("SecurityEventNotification")
    def on_security_event(self, **_: Any) -> Any:
        return call_result.SecurityEventNotification()

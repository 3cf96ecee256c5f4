"""A charger made of bare frames: what it sends is what the test says, valid or not."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from ssl import SSLContext
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol


def basic(user: bytes, password: bytes) -> dict[str, str]:
    """Return the header of Basic auth."""
    return {"Authorization": "Basic " + base64.b64encode(user + b":" + password).decode()}


class RawCharger:
    """One socket. Answers are matched by their id; CALLs of the server wait in `calls`.

    `texts` is all that came, to the character.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.calls: asyncio.Queue[list[Any]] = asyncio.Queue()
        self.stray: asyncio.Queue[list[Any]] = asyncio.Queue()
        self.texts: list[str] = []
        self._answers: dict[str, asyncio.Future[list[Any]]] = {}
        self._numbers = count(1)
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def connect(
        cls,
        ws: str,
        identity: str,
        *,
        subprotocols: Sequence[str] | None = ("ocpp1.6",),
        headers: dict[str, str] | None = None,
        ping_interval: float | None = None,
        ssl: SSLContext | None = None,
    ) -> Self:
        """Connect to `ws` + /ocpp/ + identity (taken as it is: encode it yourself)."""
        socket = await connect(
            f"{ws}/ocpp/{identity}",
            subprotocols=None if subprotocols is None else [Subprotocol(one) for one in subprotocols],
            additional_headers=headers,
            ping_interval=ping_interval,
            ssl=ssl,
            open_timeout=10,
            close_timeout=2,
            max_size=None,
        )
        return cls(socket)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _read(self) -> None:
        try:
            async for text in self.socket:
                self.texts.append(str(text))
                frame = json.loads(text)
                waiting = self._answers.pop(frame[1], None) if frame[0] in {3, 4} else None
                if frame[0] == 2:
                    self.calls.put_nowait(frame)
                elif waiting is not None and not waiting.done():
                    waiting.set_result(frame)
                else:
                    self.stray.put_nowait(frame)
        except ConnectionClosed:
            pass
        for future in self._answers.values():
            if not future.done():
                future.set_exception(ConnectionError("the socket closed before the answer"))

    def expect(self, message_id: str) -> asyncio.Future[list[Any]]:
        """Return what will be the answer to a message id."""
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._answers[message_id] = future
        return future

    async def send(self, text: str | bytes) -> None:
        """Send a frame as it is."""
        await self.socket.send(text)

    async def call(self, action: str, payload: Any = None, *, message_id: str | None = None) -> list[Any]:
        """Send a CALL and return the whole frame of its answer."""
        message_id = message_id or f"m{next(self._numbers)}"
        answer = self.expect(message_id)
        await self.send(json.dumps([2, message_id, action, {} if payload is None else payload]))
        return await asyncio.wait_for(answer, 60)

    async def result(
        self, action: str, payload: Any = None, *, message_id: str | None = None
    ) -> dict[str, Any]:
        """Send a CALL and return the payload of its CALLRESULT; anything else fails the test."""
        frame = await self.call(action, payload, message_id=message_id)
        assert frame[0] == 3, frame
        payload = frame[2]
        assert isinstance(payload, dict)
        return payload

    async def error(self, action: str, payload: Any = None) -> str:
        """Send a CALL and return the code of its CALLERROR; anything else fails the test."""
        frame = await self.call(action, payload)
        assert frame[0] == 4, frame
        return str(frame[2])

    async def next_call(self) -> list[Any]:
        """Wait for the next CALL of the server."""
        return await asyncio.wait_for(self.calls.get(), 60)

    async def answer(self, frame: list[Any], payload: Any) -> None:
        """Answer a CALL of the server."""
        await self.send(json.dumps([3, frame[1], payload]))

    async def boot(self, **fields: Any) -> dict[str, Any]:
        """Send a BootNotification."""
        return await self.result(
            "BootNotification", {"chargePointVendor": "Test", "chargePointModel": "Raw", **fields}
        )

    async def start(
        self, tag: str, connector: int = 1, meter: int = 0, at: str = "2026-05-04T12:00:00Z"
    ) -> dict[str, Any]:
        """Send a StartTransaction."""
        return await self.result(
            "StartTransaction",
            {"connectorId": connector, "idTag": tag, "meterStart": meter, "timestamp": at},
        )

    async def stop(
        self, transaction: int, meter: int = 1000, at: str = "2026-05-04T13:00:00Z", **fields: Any
    ) -> dict[str, Any]:
        """Send a StopTransaction."""
        return await self.result(
            "StopTransaction",
            {"transactionId": transaction, "meterStop": meter, "timestamp": at, **fields},
        )

    async def meter(
        self, at: str, wh: str, *, transaction: int | None = None, connector: int = 1, **sampled: Any
    ) -> list[Any]:
        """Send a MeterValues with one register; returns the whole frame of its answer."""
        payload: dict[str, Any] = {
            "connectorId": connector,
            "meterValue": [{"timestamp": at, "sampledValue": [{"value": wh, **sampled}]}],
        }
        if transaction is not None:
            payload["transactionId"] = transaction
        return await self.call("MeterValues", payload)

    async def status(self, status: str, connector: int = 1, **fields: Any) -> dict[str, Any]:
        """Send a StatusNotification."""
        return await self.result(
            "StatusNotification",
            {"connectorId": connector, "errorCode": "NoError", "status": status, **fields},
        )

    async def closed(self) -> tuple[int, str]:
        """Wait until the server has closed the socket; returns code and reason."""
        await asyncio.wait_for(self.socket.wait_closed(), 60)
        return self.socket.close_code or 1006, self.socket.close_reason or ""

    async def vanish(self) -> None:
        """Cut the TCP connection without a word."""
        self.socket.transport.abort()
        await self.socket.wait_closed()
        await self._reader

    async def close(self) -> None:
        """Close the socket as it should be."""
        await self.socket.close()
        await self._reader


@asynccontextmanager
async def charger(ws: str, identity: str, **options: Any) -> AsyncIterator[RawCharger]:
    """Connect, and close at the end."""
    raw = await RawCharger.connect(ws, identity, **options)
    try:
        yield raw
    finally:
        await raw.close()


async def until(condition: Any, seconds: float = 60.0) -> Any:
    """Wait until an async condition gives something true, and return that.

    Give `seconds` only where they are the promise under test: machines at work take longer than at rest.
    """
    async with asyncio.timeout(seconds):
        while True:
            value = await condition()
            if value:
                return value
            await asyncio.sleep(0.02)

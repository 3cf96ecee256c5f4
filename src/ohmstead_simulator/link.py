"""The socket of a charge point: handshake, reading, calls that end when the connection ends."""

import asyncio
import base64
import logging
import random
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote

from ocpp.exceptions import OCPPError, UnknownCallErrorCodeError
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.typing import Subprotocol

from ohmstead_simulator.clock import Clock
from ohmstead_simulator.errors import CallFailed, NoAnswer, Offline, Refused

LOGGER = logging.getLogger("ohmstead_simulator")


class Endpoint(Protocol):
    """What the link needs of the OCPP endpoint (a `ChargePoint` of the `ocpp` package)."""

    async def route_message(self, raw_msg: str) -> None:
        """Handle one frame that arrived."""

    async def call(self, payload: Any, *, suppress: bool) -> Any:
        """Send a CALL; answers the CALLRESULT's payload. `suppress` False raises a CALLERROR."""

    async def pipeline(self, payloads: Sequence[Any]) -> list[Any]:
        """Send several CALLs at once; answers their payloads in the same order."""


@dataclass(slots=True)
class Backoff:
    """Delays between attempts to connect, in real seconds: doubled each time, with full jitter above half.

    The jitter keeps a fleet from knocking in the same second for ever.
    """

    rng: random.Random
    first: float = 1.0
    cap: float = 60.0
    attempts: int = 0

    def next(self) -> float:
        """The delay before the next attempt."""
        base: float = min(self.cap, self.first * 2**self.attempts)
        self.attempts = min(self.attempts + 1, 20)
        return base * self.rng.uniform(0.5, 1.0)

    def reset(self) -> None:
        """A connection was made and worked."""
        self.attempts = 0


def charger_url(url: str, charger_id: str) -> str:
    """The address of a charge point: URL, slash, percent-encoded identity (OCPP-J 3.1.1)."""
    return f"{url.rstrip('/')}/{quote(charger_id, safe='')}"


def basic_auth(charger_id: str, password: str | bytes) -> str:
    """The Authorization header of security profiles 1 and 2: identity and password."""
    secret = password if isinstance(password, bytes) else password.encode()
    return "Basic " + base64.b64encode(charger_id.encode() + b":" + secret).decode()


class Link:
    """One WebSocket connection of one charge point, from handshake to end. Made anew for each connection."""

    def __init__(
        self, connection: ClientConnection, endpoint: Endpoint, clock: Clock, on_lost: Callable[[str], None]
    ):
        self.lost = asyncio.Event()
        self._opened = time.monotonic()
        self._connection = connection
        self._endpoint = endpoint
        self._clock = clock
        self._on_lost = on_lost
        self._pending: set[asyncio.Task[Any]] = set()
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def open(
        cls,
        url: str,
        charger_id: str,
        *,
        password: str | bytes | None,
        make_endpoint: Callable[[ClientConnection], Endpoint],
        clock: Clock,
        on_lost: Callable[[str], None],
        ping_interval: float | None,
        tls: ssl.SSLContext | None = None,
    ) -> "Link":
        """Connect with subprotocol `ocpp1.6`; raises Refused with a sentence that a person understands."""
        headers = {} if password is None else {"Authorization": basic_auth(charger_id, password)}
        address = charger_url(url, charger_id)
        options: dict[str, Any] = {} if tls is None else {"ssl": tls}
        try:
            connection = await connect(
                address,
                subprotocols=[Subprotocol("ocpp1.6")],
                additional_headers=headers,
                user_agent_header="ohmstead-simulator",
                compression=None,
                proxy=None,
                ping_interval=ping_interval,
                ping_timeout=ping_interval,
                close_timeout=1,
                logger=LOGGER.getChild("websocket"),
                **options,
            )
        except InvalidStatus as error:
            status = error.response.status_code
            hint = {401: " (wrong or missing password)", 404: " (this charger is not registered)"}.get(
                status, ""
            )
            raise Refused(f"the central system answered HTTP {status}{hint}", status) from error
        except (InvalidURI, ValueError) as error:
            raise Refused(f"not a WebSocket address: {address} ({error})") from error
        except (InvalidHandshake, TimeoutError, OSError, EOFError) as error:
            raise Refused(f"no connection to {address}: {error or type(error).__name__}") from error
        return cls(connection, make_endpoint(connection), clock, on_lost)

    @property
    def is_open(self) -> bool:
        """False from the moment on in which the connection ended."""
        return not self.lost.is_set()

    @property
    def age(self) -> float:
        """Real seconds since the handshake."""
        return time.monotonic() - self._opened

    async def call(self, payload: Any) -> Any:
        """Send a CALL and wait for its answer.

        Raises CallFailed for a CALLERROR, NoAnswer after the response timeout, Offline when the
        connection ends first.
        """
        return await self._run(self._endpoint.call(payload, suppress=False))

    async def pipeline(self, payloads: Sequence[Any]) -> list[Any]:
        """Send several CALLs at once and wait for all answers, as the quirk `pipelined` does.

        Answers the payloads (camelCase) in the order of the CALLs; raises CallFailed for a CALLERROR.
        """
        answers: list[Any] = await self._run(self._endpoint.pipeline(payloads))
        return answers

    async def close(self, abrupt: bool = False) -> None:
        """End the connection: with a close frame, or as a pulled cable does."""
        if abrupt:
            self._connection.transport.abort()
            await self.lost.wait()
            return
        await self._connection.close()
        await self.lost.wait()

    async def _run(self, work: Any) -> Any:
        if self.lost.is_set():
            work.close()
            raise Offline("not connected")
        task: asyncio.Task[Any] = asyncio.ensure_future(work)
        self._pending.add(task)
        try:
            # Not `await task`: asyncio.wait_for (Python 3.11) inside the package swallows a cancellation
            # that comes together with the answer, and ours would be lost with it.
            with self._clock.hold():
                await asyncio.wait({task})
        finally:
            self._pending.discard(task)
            task.cancel()
        if task.cancelled():  # by `_read`, nobody else has it
            raise Offline("the connection ended before the answer came")
        try:
            return task.result()
        except ConnectionClosed as error:
            raise Offline("the connection ended before the answer came") from error
        except TimeoutError as error:
            raise NoAnswer(str(error)) from error
        except OCPPError as error:
            raise CallFailed(str(getattr(error, "code", "")), str(error.description or "")) from error
        except UnknownCallErrorCodeError as error:
            raise CallFailed("Unknown", str(error)) from error

    async def _read(self) -> None:
        reason = "closed"
        try:
            async for frame in self._connection:
                await self._endpoint.route_message(frame if isinstance(frame, str) else frame.decode())
            reason = _why(self._connection)
        except (ConnectionClosed, OSError, UnicodeDecodeError):
            reason = _why(self._connection)
        finally:
            self.lost.set()
            cancel_all(self._pending)
            self._on_lost(reason)


def _why(connection: ClientConnection) -> str:
    code = connection.close_code
    text = connection.close_reason
    return f"closed {code}" + (f" {text}" if text else "")


def cancel_all(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel each task that still runs."""
    for task in list(tasks):
        task.cancel()

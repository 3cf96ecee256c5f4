"""A fleet that keeps a server busy and keeps account: what was acknowledged, and so must be in the database.

Each charger is a closed loop over bare frames: the next message leaves when the last one has its CALLRESULT.
A message without one is sent again, on a new socket if the old one has gone, with a new message id and the
original timestamps, as OCPP 1.6 3.7 and 4.8 ask of chargers.
"""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from tests.world import World
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from ohmstead.core.config import Settings
from ohmstead.core.db import Database

WH_A_TICK = 3
"""A tick is a second of the charger's clock, so 3 Wh are 10.8 kW."""
RETRY_SECONDS = 0.1
RECONNECT_SECONDS = 0.3


@dataclass
class Account:
    """One session as its charger knows it, by what was acknowledged."""

    transaction: int
    meter_start: int
    meter_stop: int | None = None
    stopped_at: datetime | None = None


@dataclass
class Ledger:
    """Every fact that got a CALLRESULT."""

    sessions: dict[tuple[str, int, datetime], Account] = field(default_factory=dict)
    values: set[tuple[str, int, int, datetime, int]] = field(default_factory=set)
    statuses: set[tuple[str, int, datetime, str]] = field(default_factory=set)


@dataclass
class Troubles:
    """What went otherwise than by a CALLRESULT."""

    errors: Counter[str] = field(default_factory=Counter)
    closes: Counter[int] = field(default_factory=Counter)
    refusals: Counter[int] = field(default_factory=Counter)
    unreachable: int = 0
    unanswered: int = 0


class LoadCharger:
    """One charger with two connectors that charge at the same time."""

    def __init__(self, fleet: "Fleet", identity: str) -> None:
        self.fleet = fleet
        self.identity = identity
        self.acknowledged = 0
        self.moment = fleet.begin
        self.registers = {1: 1000, 2: 500_000}
        self._socket: ClientConnection | None = None

    async def live(self) -> None:
        """Charge again and again until the fleet finishes; then end what runs, and leave."""
        try:
            await self._say(
                "BootNotification", {"chargePointVendor": "Load", "chargePointModel": "Closed loop"}
            )
            while not self.fleet.finishing:
                await self._charge()
        finally:
            if self._socket is not None:
                await self._socket.close()

    async def _charge(self) -> None:
        accounts = {}
        for connector in (1, 2):
            await self._tell(connector, "Preparing")
            accounts[connector] = await self._start(connector)
            await self._tell(connector, "Charging")
        for _ in range(self.fleet.values_a_session):
            for connector, account in accounts.items():
                await self._meter(connector, account)
        for connector, account in accounts.items():
            await self._stop(connector, account)
            await self._tell(connector, "Available")

    async def _tell(self, connector: int, status: str) -> None:
        at = self._tick()
        payload = {"connectorId": connector, "errorCode": "NoError", "status": status, "timestamp": _text(at)}
        await self._say("StatusNotification", payload)
        self.fleet.ledger.statuses.add((self.identity, connector, at, status))

    async def _start(self, connector: int) -> Account:
        at, register = self._tick(), self.registers[connector]
        payload = {"connectorId": connector, "idTag": "LOAD", "meterStart": register, "timestamp": _text(at)}
        answer = await self._say("StartTransaction", payload)
        account = Account(answer["transactionId"], register)
        self.fleet.ledger.sessions[self.identity, connector, at] = account
        return account

    async def _meter(self, connector: int, account: Account) -> None:
        at = self._tick()
        self.registers[connector] += WH_A_TICK
        register = self.registers[connector]
        value = {"timestamp": _text(at), "sampledValue": [{"value": str(register), "unit": "Wh"}]}
        payload = {"connectorId": connector, "transactionId": account.transaction, "meterValue": [value]}
        await self._say("MeterValues", payload)
        self.fleet.ledger.values.add((self.identity, connector, account.transaction, at, register))

    async def _stop(self, connector: int, account: Account) -> None:
        at, register = self._tick(), self.registers[connector]
        payload = {
            "transactionId": account.transaction,
            "meterStop": register,
            "timestamp": _text(at),
            "reason": "EVDisconnected",
        }
        await self._say("StopTransaction", payload)
        account.meter_stop, account.stopped_at = register, at

    def _tick(self) -> datetime:
        self.moment += timedelta(seconds=1)
        return self.moment

    async def _say(self, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Send until there is a CALLRESULT, and return its payload."""
        troubles = self.fleet.troubles
        while True:
            socket = self._socket or await self._connect()
            try:
                async with asyncio.timeout(self.fleet.patience_seconds):
                    frame = await _exchange(socket, action, payload)
            except ConnectionClosed as closed:
                troubles.closes[closed.rcvd.code if closed.rcvd else 1006] += 1
                self._socket = None
            except TimeoutError:
                troubles.unanswered += 1
            else:
                if frame[0] == 3:
                    self.acknowledged += 1
                    result: dict[str, Any] = frame[2]
                    return result
                troubles.errors[frame[2]] += 1
                await asyncio.sleep(RETRY_SECONDS)

    async def _connect(self) -> ClientConnection:
        troubles = self.fleet.troubles
        while True:
            try:
                self._socket = await connect(
                    f"{self.fleet.ws}/ocpp/{self.identity}",
                    subprotocols=[Subprotocol("ocpp1.6")],
                    ping_interval=None,
                    open_timeout=10,
                    close_timeout=1,
                    compression=None,
                )
            except InvalidStatus as refused:
                troubles.refusals[refused.response.status_code] += 1
            except (OSError, TimeoutError, InvalidHandshake, EOFError):
                troubles.unreachable += 1
            else:
                return self._socket
            await asyncio.sleep(RECONNECT_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311 # spreads the retries


async def _exchange(socket: ClientConnection, action: str, payload: dict[str, Any]) -> list[Any]:
    message_id = uuid4().hex
    await socket.send(json.dumps([2, message_id, action, payload]))
    while True:
        frame: list[Any] = json.loads(await socket.recv())
        if frame[0] in {3, 4} and frame[1] == message_id:
            return frame


def _text(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


class Fleet:
    """Chargers that load one server, and the ledger of what it has acknowledged."""

    def __init__(
        self,
        ws: str,
        identities: list[str],
        *,
        patience_seconds: float = 20,
        values_a_session: int = 6,
        ledger: Ledger | None = None,
    ) -> None:
        self.ws = ws
        self.patience_seconds = patience_seconds
        self.values_a_session = values_a_session
        self.begin = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
        self.ledger = Ledger() if ledger is None else ledger
        self.troubles = Troubles()
        self.finishing = False
        self.chargers = [LoadCharger(self, identity) for identity in identities]
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def acknowledged(self) -> int:
        return sum(charger.acknowledged for charger in self.chargers)

    def start(self) -> None:
        self._tasks = [asyncio.create_task(charger.live()) for charger in self.chargers]

    async def progress(self, each: int = 1, seconds: float = 180) -> None:
        """Wait until every charger has got so many more CALLRESULTs."""
        wanted = {charger: charger.acknowledged + each for charger in self.chargers}
        await self.until(lambda: all(one.acknowledged >= count for one, count in wanted.items()), seconds)

    async def until(self, condition: Callable[[], bool], seconds: float = 180) -> None:
        """Wait for a condition of the fleet; a charger that breaks off fails the test."""
        async with asyncio.timeout(seconds):
            while not condition():
                for task in self._tasks:
                    if task.done():
                        task.result()
                await asyncio.sleep(0.01)

    async def finish(self, seconds: float = 180) -> None:
        """Let every charger end its sessions, so that all that it said is acknowledged."""
        self.finishing = True
        async with asyncio.timeout(seconds):
            await asyncio.gather(*self._tasks)

    async def abandon(self) -> None:
        """End the chargers where they stand."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def load(ws: str, identities: list[str], **options: Any) -> AsyncIterator[Fleet]:
    """Run a fleet within the block; end it with `finish`, or it is abandoned."""
    fleet = Fleet(ws, identities, **options)
    fleet.start()
    try:
        yield fleet
    finally:
        await fleet.abandon()


async def settle_chargers(url: str, count: int) -> list[str]:
    """Make a station with so many chargers and the tag that they show; returns their identities."""
    database = Database(url)
    try:
        world = World(database, Settings.load(environment="test", secret_key="x" * 32), _Now())
        station = await world.station()
        await world.token(id_tag="LOAD")
        return [(await world.charger(station, id=f"LOAD-{number:03d}")).id for number in range(count)]
    finally:
        await database.close()


class _Now:
    def now(self) -> datetime:
        return datetime.now(UTC)

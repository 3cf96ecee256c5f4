"""The life around one charge point of the demo: drivers, their cars, and what breaks."""

import asyncio
import functools
import random
import ssl
from collections.abc import Awaitable, Callable, Sequence

from ohmstead_simulator.car import Car
from ohmstead_simulator.clock import ScaledClock
from ohmstead_simulator.connector import Connector
from ohmstead_simulator.errors import SimulatorError
from ohmstead_simulator.events import Event, OnEvent
from ohmstead_simulator.spec import ChargerSpec
from ohmstead_simulator.station import SimulatedStation

FAULTS = (
    "GroundFailure",
    "OverVoltage",
    "HighTemperature",
    "PowerSwitchFailure",
    "ConnectorLockFailure",
    "EVCommunicationError",
)

# Minutes of life; they pass `speed` times as fast.
BETWEEN_CARS = 10.0
SHORTEST_STAY, LONGEST_STAY = 12.0, 50.0
BETWEEN_INCIDENTS = 70.0

# Real seconds, from and to.
FAULT_SECONDS = (20.0, 60.0)
OFFLINE_SECONDS = (15.0, 60.0)
DARK_SECONDS = (10.0, 40.0)


class TagPool:
    """The tags of the drivers; one that charges somewhere is not drawn again while others are free."""

    def __init__(self, tags: Sequence[str], rng: random.Random) -> None:
        if not tags:
            raise ValueError("the demo needs at least one id tag")
        self._tags = list(tags)
        self._used: set[str] = set()
        self._rng = rng

    def draw(self) -> str:
        """A tag for one visit; give it back with `free`."""
        tag = self._rng.choice([tag for tag in self._tags if tag not in self._used] or self._tags)
        self._used.add(tag)
        return tag

    def free(self, tag: str) -> None:
        """The driver has left."""
        self._used.discard(tag)


class ChargerLife:
    """A charge point with its visitors. Time on the wire is real; only the waits are shortened by `speed`."""

    def __init__(
        self,
        url: str,
        spec: ChargerSpec,
        pool: TagPool,
        *,
        rng: random.Random,
        speed: float,
        seed: int | None,
        on_event: OnEvent,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._pool = pool
        self._rng = rng
        self._speed = speed
        self._on_event = on_event
        self._wanted = asyncio.Queue[int]()
        self.station = SimulatedStation(
            url, spec, clock=ScaledClock(), seed=seed, on_event=self._note, keep_connected=True, tls=tls
        )

    def _note(self, event: Event) -> None:
        if event.kind == "car_wanted":
            self._wanted.put_nowait(event.connector)
        self._on_event(event)

    async def live(self, boot_after: float = 0.0) -> None:
        """Boot after some real seconds, then go on for ever."""
        await asyncio.sleep(boot_after)
        await self.station.connect_persistently()
        await self._try(self.station.boot)
        await self.station.accepted.wait()
        async with asyncio.TaskGroup() as group:
            for plug in self.station.connectors.values():
                group.create_task(self._visitors(plug))
            group.create_task(self._incidents())
            group.create_task(self._remote_drivers())

    def _minutes(self, minutes: float) -> float:
        """Minutes of life in real seconds."""
        return minutes * 60 / self._speed

    async def _visitors(self, plug: Connector) -> None:
        # Two of three connectors get a car in the first seconds: a demo must move at once.
        soon = self._rng.random() < 0.67
        await asyncio.sleep(self._rng.uniform(0.5, 4) if soon else self._gap())
        # ... and the first sessions end at all times, as if the watcher had come in the middle.
        hurry = self._rng.uniform(0.15, 1.0)
        while True:
            if self._is_free(plug):
                await self._try(functools.partial(self._visit, plug, hurry))
                hurry = 1.0
                await asyncio.sleep(self._gap())
            else:
                await asyncio.sleep(2)

    def _gap(self) -> float:
        return self._rng.expovariate(1 / self._minutes(BETWEEN_CARS))

    def _is_free(self, plug: Connector) -> bool:
        return (
            plug.status == "Available"
            and plug.car is None
            and plug.tag is None
            and plug.awaited_tag is None
            and self.station.registered
        )

    def _car(self) -> Car:
        """Another car each time. The battery is as much smaller as life is faster, so its SoC moves along."""
        rng = self._rng
        return Car(
            capacity_kwh=rng.choice((40, 52, 58, 64, 77, 82, 95)) / self._speed,
            soc=rng.uniform(12, 65),
            target_soc=rng.choice((80, 80, 90, 100)),
            ac_max_kw=rng.choice((7.4, 11, 11, 11, 22)),
            dc_max_kw=rng.choice((50, 100, 130, 150, 175, 250)),
        )

    async def _visit(self, plug: Connector, hurry: float = 1.0) -> None:
        tag = self._pool.draw()
        try:
            await self._charge(plug, tag, hurry)
        except SimulatorError:
            await self._leave(plug)
            raise
        finally:
            self._pool.free(tag)
        await self._leave(plug)

    async def _charge(self, plug: Connector, tag: str, hurry: float) -> None:
        number = plug.connector_id
        if self._rng.random() < 0.7:
            await self.station.plug(number, self._car())
            await asyncio.sleep(self._rng.uniform(1, 4))
            accepted = await self.station.authorize(tag, number) == "Accepted"
        else:
            accepted = await self.station.authorize(tag, number) == "Accepted"
            await asyncio.sleep(self._rng.uniform(1, 4))
            if accepted and plug.car is None:
                await self.station.plug(number, self._car())
        if accepted and plug.transaction is None and plug.status == "Preparing":
            await self.station.start(number, tag)
        await self._stay(plug, tag, hurry)

    async def _leave(self, plug: Connector) -> None:
        if plug.car is not None:
            await self.station.unplug(plug.connector_id)

    async def _stay(self, plug: Connector, tag: str | None, hurry: float = 1.0) -> None:
        """Charge until the driver comes back, or somebody else ended it; a full car stays a little longer."""
        transaction = plug.transaction
        loop = asyncio.get_running_loop()
        leave_at = loop.time() + hurry * self._minutes(self._rng.uniform(SHORTEST_STAY, LONGEST_STAY))
        while plug.transaction is not None and plug.transaction is transaction and loop.time() < leave_at:
            if plug.status == "SuspendedEV":
                leave_at = min(leave_at, loop.time() + self._minutes(self._rng.uniform(2, 8)))
            await asyncio.sleep(1)
        if plug.transaction is not None and plug.transaction is transaction and self._rng.random() < 0.75:
            await self.station.stop("Local", plug.connector_id, tag)
        await asyncio.sleep(self._rng.uniform(2, 8))

    async def _remote_drivers(self) -> None:
        """Somebody started a charge from an app: after some seconds the car is there."""
        async with asyncio.TaskGroup() as group:
            while True:
                plug = self.station.connector(await self._wanted.get())
                group.create_task(self._try(functools.partial(self._remote_visit, plug)))

    async def _remote_visit(self, plug: Connector) -> None:
        await asyncio.sleep(self._rng.uniform(2, 5))
        if plug.awaited_tag is None or plug.car is not None:
            return
        await self.station.plug(plug.connector_id, self._car())
        await self._stay(plug, None)
        await self._leave(plug)

    async def _incidents(self) -> None:
        while True:
            await asyncio.sleep(self._rng.expovariate(1 / self._minutes(BETWEEN_INCIDENTS)))
            await self._try(self._rng.choice((self._fault, self._fault, self._offline, self._dark)))

    async def _fault(self) -> None:
        plug = self._rng.choice(list(self.station.connectors.values()))
        if plug.status in ("Faulted", "Unavailable", "Reserved"):
            return
        await self.station.fault(plug.connector_id, self._rng.choice(FAULTS))
        await asyncio.sleep(self._rng.uniform(*FAULT_SECONDS))
        await self.station.clear_fault(plug.connector_id)

    async def _offline(self) -> None:
        await self.station.offline()
        await asyncio.sleep(self._rng.uniform(*OFFLINE_SECONDS))
        await self.station.online()

    async def _dark(self) -> None:
        await self.station.power_cut(self._rng.uniform(*DARK_SECONDS))

    async def _try(self, work: Callable[[], Awaitable[object]]) -> None:
        """Life goes on after an error; it is told as an event."""
        try:
            await work()
        except SimulatorError as error:
            self.station.emit("error", detail=str(error))

"""Plays a scenario on one charge point, step by step."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from ohmstead_simulator.car import Car
from ohmstead_simulator.connector import Connector
from ohmstead_simulator.errors import NotPossible, SimulatorError
from ohmstead_simulator.forms import NEWS
from ohmstead_simulator.scenario import Scenario, Step
from ohmstead_simulator.station import SimulatedStation

DEFAULT_TAG = "SIMULATOR"
WAIT_FOR_TIMEOUT = 600.0


class Meeting:
    """Where the charge points of a scenario wait for each other (the step `meet`).

    One that has left, because it failed or was stopped, is not waited for.
    """

    def __init__(self, members: int) -> None:
        self._members = members
        self._waiting: list[asyncio.Future[None]] = []

    async def arrive(self) -> None:
        """Return when all members have arrived."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self._open_when_complete()
        await waiter

    def leave(self) -> None:
        """One member will not come any more."""
        self._members -= 1
        self._open_when_complete()

    def _open_when_complete(self) -> None:
        self._waiting = [waiter for waiter in self._waiting if not waiter.done()]
        if len(self._waiting) >= self._members:
            for waiter in self._waiting:
                waiter.set_result(None)
            self._waiting = []


class StepFailed(SimulatorError):
    """A step did not come out as the scenario says; the message names file, line and step."""


class Player:
    """A charge point that plays a scenario. `tags` are used where a step names none."""

    def __init__(
        self,
        station: SimulatedStation,
        scenario: Scenario,
        *,
        tags: Sequence[str] = (),
        rng: random.Random | None = None,
        meeting: Meeting | None = None,
    ) -> None:
        self.station = station
        self.scenario = scenario
        self._tags = tuple(scenario.tags or tags or (DEFAULT_TAG,))
        self._rng = rng or random.Random()
        self._meeting = meeting or Meeting(1)
        self._steps: dict[str, Callable[[dict[str, Any]], Awaitable[None]]] = {
            "connect": self._connect,
            "close": self._close,
            "boot": self._boot,
            "heartbeat": lambda _: self.station.heartbeat(),
            "status": self._status,
            "authorize": self._authorize,
            "plug": self._plug,
            "unplug": lambda v: self.station.unplug(v.get("connector", 1)),
            "start": self._start,
            "stop": lambda v: self.station.stop(v.get("reason", "Local"), v.get("connector"), v.get("tag")),
            "meter": self._meter,
            "wait": self._wait,
            "wait_for": self._wait_for,
            "offline": self._offline,
            "power_cut": lambda v: self.station.power_cut(v["for"]),
            "reboot": lambda v: self.station.reboot(v.get("reason", "Reboot"), hard=v.get("hard", False)),
            "fault": self._fault,
            "clear_fault": lambda v: self.station.clear_fault(v.get("connector", 1)),
            "drift": self._drift,
            "clock": self._clock,
            "security_event": lambda v: self.station.security_event(v["type"], v.get("info")),
            "data_transfer": self._data_transfer,
            "meet": lambda _: self._meeting.arrive(),
            "parallel": self._parallel,
            "repeat": self._repeat,
        }

    @property
    def step_names(self) -> list[str]:
        """The steps that can be played."""
        return list(self._steps)

    async def begin(self) -> None:
        """What comes before the first step: connect (again and again) and boot, as the scenario says."""
        if self.scenario.start == "nothing":
            return
        await self.station.connect_persistently()
        if self.scenario.start == "boot" and not self.station.registered:
            await self.station.boot()
            await self.station.accepted.wait()

    async def play(self) -> None:
        """All steps once; raises StepFailed at the first that fails."""
        await self._run(self.scenario.steps)

    async def tidy(self) -> None:
        """After a failed round: back on line, no transaction, no car, so that the next round can begin."""
        await self.station.online()
        for plug in self.station.connectors.values():
            if plug.car is not None:
                await self.station.unplug(plug.connector_id)
            if plug.transaction is not None:
                await self.station.stop("Other", plug.connector_id)

    async def _run(self, steps: Sequence[Step]) -> None:
        for step in steps:
            try:
                await self._steps[step.name](step.values)
            except StepFailed:
                raise
            except SimulatorError as error:
                raise StepFailed(f"{self.scenario.path}:{step.line}: {step.name}: {error}") from error

    async def _connect(self, _: dict[str, Any]) -> None:
        await self.station.connect_persistently()

    async def _close(self, values: dict[str, Any]) -> None:
        await self.station.disconnect(values.get("abrupt", False))

    async def _boot(self, values: dict[str, Any]) -> None:
        await self.station.connect_persistently()
        status = await self.station.boot()
        _expect(values, status)
        if "expect" not in values:
            await self.station.accepted.wait()

    async def _status(self, values: dict[str, Any]) -> None:
        await self.station.status(
            values.get("connector", 1),
            values["status"],
            values.get("error_code", "NoError"),
            values.get("info"),
        )

    async def _authorize(self, values: dict[str, Any]) -> None:
        tag = values.get("tag") or self._rng.choice(self._tags)
        status = await self.station.authorize(tag, values.get("connector", 1))
        if "expect" in values:
            _expect(values, status)
        elif status != "Accepted":
            raise NotPossible(f"tag {tag} is {status}")

    async def _plug(self, values: dict[str, Any]) -> None:
        battery = {name: value for name, value in values.items() if name != "connector"}
        battery.setdefault("soc", self._rng.uniform(15, 60))
        try:
            car = Car(**battery)
        except ValueError as error:
            raise NotPossible(str(error)) from error
        await self.station.plug(values.get("connector", 1), car)

    async def _start(self, values: dict[str, Any]) -> None:
        plug = self.station.connector(values.get("connector", 1))
        tag = values.get("tag") or plug.tag or self._rng.choice(self._tags)
        await self.station.start(plug.connector_id, tag)

    async def _meter(self, values: dict[str, Any]) -> None:
        await self.station.meter(values.get("connector", 1), values.get("context", "Sample.Periodic"))

    async def _wait(self, values: dict[str, Any]) -> None:
        seconds = values.get("for")
        if seconds is None:
            low = values.get("min", 0.0)
            seconds = self._rng.uniform(low, max(low, values.get("max", low)))
        await self.station.clock.sleep(seconds)

    async def _wait_for(self, values: dict[str, Any]) -> None:
        plug = self.station.connector(values.get("connector", 1))
        wanted = values.get("condition") or f"status {values['status']}"
        if not await self._until(lambda: self._holds(plug, values), values.get("timeout", WAIT_FOR_TIMEOUT)):
            raise NotPossible(f"no '{wanted}' at connector {plug.connector_id} in time")
        if wanted in NEWS:
            self.station.news[wanted] -= 1

    def _holds(self, plug: Connector, values: dict[str, Any]) -> bool:
        if "status" in values:
            return bool(plug.status == values["status"])
        self.station.update(plug)
        return {
            "transaction": plug.transaction is not None and plug.status != "Preparing",
            "no_transaction": plug.transaction is None,
            "car_wanted": plug.awaited_tag is not None,
            "listed": bool(self.station.local_list),
            "connected": self.station.connected,
            "booted": self.station.registered,
            "queue_empty": len(self.station.queue) == 0,
            "full": plug.car is not None and plug.car.full,
            "updating": self.station.is_updating,
            **{one: self.station.news[one] > 0 for one in NEWS},
        }[str(values["condition"])]

    async def _until(self, condition: Callable[[], bool], patience: float) -> bool:
        """Wait for a state; False when it does not come within `patience` seconds of the simulation."""
        clock = self.station.clock
        # Not more often than every 20 ms of real time, however fast the clock runs.
        pause = max(1.0, 0.02 * clock.speed)
        begun = clock.now()
        while not condition():
            if (clock.now() - begun).total_seconds() >= patience:
                return False
            await clock.sleep(pause)
        return True

    async def _offline(self, values: dict[str, Any]) -> None:
        await self.station.offline(values.get("abrupt", True))
        await self.station.clock.sleep(values["for"])
        await self.station.online()

    async def _fault(self, values: dict[str, Any]) -> None:
        connector = values.get("connector", 1)
        await self.station.fault(connector, values["error_code"])
        if "for" in values:
            await self.station.clock.sleep(values["for"])
            await self.station.clear_fault(connector)

    async def _drift(self, values: dict[str, Any]) -> None:
        self.station.drift(values["by"])

    async def _clock(self, values: dict[str, Any]) -> None:
        self.station.set_clock(values["at"])

    async def _data_transfer(self, values: dict[str, Any]) -> None:
        await self.station.data_transfer(values["vendor"], values.get("message"), values.get("data"))

    async def _parallel(self, values: dict[str, Any]) -> None:
        async with asyncio.TaskGroup() as group:
            for branch in values["branches"]:
                group.create_task(self._run(branch))

    async def _repeat(self, values: dict[str, Any]) -> None:
        for _ in range(values["times"]):
            await self._run(values["steps"])


def _expect(values: dict[str, Any], status: str) -> None:
    if "expect" in values and values["expect"] != status:
        raise NotPossible(f"expected {values['expect']}, the central system said {status}")

"""Many charge points at once: scenarios for load and tests, and the living fleet of the demo."""

import asyncio
import random
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ohmstead_simulator.clock import Clock, ScaledClock
from ohmstead_simulator.errors import SimulatorError
from ohmstead_simulator.events import Event, OnEvent
from ohmstead_simulator.life import ChargerLife, TagPool
from ohmstead_simulator.play import Meeting, Player
from ohmstead_simulator.scenario import Scenario
from ohmstead_simulator.spec import ChargerSpec
from ohmstead_simulator.station import SimulatedStation


@dataclass(slots=True)
class FleetStats:
    """What a progress display shows; kept up to date while the fleet runs."""

    chargers: int = 0
    sessions_started: int = 0
    sessions_done: int = 0
    rounds_done: int = 0
    """Scenarios played to their end, counted per charge point and repetition."""
    errors: int = 0
    last_error: str = ""
    online: set[str] = field(default_factory=set)
    active: set[tuple[str, int]] = field(default_factory=set)

    @property
    def connected(self) -> int:
        """Charge points with an open connection."""
        return len(self.online)

    @property
    def charging(self) -> int:
        """Connectors with a running transaction."""
        return len(self.active)

    def note(self, event: Event) -> None:
        """Count one event of a charge point."""
        match event.kind:
            case "connected":
                self.online.add(event.charger_id)
            case "disconnected":
                self.online.discard(event.charger_id)
            case "started":
                self.sessions_started += 1
                self.active.add((event.charger_id, event.connector))
            case "stopped":
                self.sessions_done += 1
                self.active.discard((event.charger_id, event.connector))
            case "error" | "connect_failed":
                self.errors += 1
                self.last_error = f"{event.charger_id}: {event.detail}"


async def run_fleet(
    url: str,
    *,
    chargers: int | Sequence[ChargerSpec],
    scenarios: Sequence[Scenario],
    seed: int | None = None,
    speed: float = 1.0,
    password: str | None = None,
    id_prefix: str = "SIM",
    id_tags: Sequence[str] = (),
    on_event: OnEvent | None = None,
    stop: asyncio.Event | None = None,
    stats: FleetStats | None = None,
    clock: Clock | None = None,
) -> FleetStats:
    """Play scenarios on a fleet until each charge point is done, or until `stop` is set.

    `chargers` is a number (identities `SIM-0001`, ...) or the charge points themselves. They take the
    scenarios in turn. With `speed` above 1 the simulated time runs faster than the real one, and so do
    the times on the wire. A central system that is away is tried again and again; a failed step ends
    its round, is counted in `stats.errors`, and the next round begins. Everything is closed at the end.
    `clock` takes the place of `speed` (tests move it by hand).
    """
    if not scenarios:
        raise ValueError("a fleet needs at least one scenario")
    counted = stats if stats is not None else FleetStats()
    clock = clock or ScaledClock(speed)
    told = _tell(counted, on_event)
    specs = _specs(chargers, scenarios, id_prefix, password)
    counted.chargers = len(specs)
    meetings = [Meeting(len(specs[turn :: len(scenarios)])) for turn in range(len(scenarios))]
    stations: list[SimulatedStation] = []
    lives = []
    for number, spec in enumerate(specs):
        turn = number % len(scenarios)
        station = SimulatedStation(url, spec, clock=clock, seed=seed, on_event=told, keep_connected=True)
        stations.append(station)
        rng = random.Random(f"{seed}:{spec.charger_id}:player" if seed is not None else None)
        player = Player(station, scenarios[turn], tags=id_tags, rng=rng, meeting=meetings[turn])
        lives.append(_play(player, meetings[turn], counted, rng))
    await _until_done(lives, stations, stop)
    return counted


async def demo_fleet(
    url: str,
    chargers: Sequence[ChargerSpec | tuple[str, int, float, str, str | None]],
    id_tags: Sequence[str],
    *,
    seed: int | None = None,
    speed: float = 6.0,
    on_event: OnEvent | None = None,
    stop: asyncio.Event | None = None,
    stats: FleetStats | None = None,
    tls: ssl.SSLContext | None = None,
) -> FleetStats:
    """Let a fleet live until `stop` is set (or the task is cancelled).

    `chargers` are specs or tuples `(charger_id, connectors, max kW per connector, "AC" | "DC", password)`.
    Cars come and go, some chargers fault or go offline now and then. `speed` shortens only the waits of
    life (how long cars stay, how often they come) and shrinks the batteries alike: energy, power and all
    times on the wire are those of the real clock, so a central system sees nothing impossible.
    `tls` says whom to trust, where that is not the system's trust store.
    """
    counted = stats if stats is not None else FleetStats()
    told = _tell(counted, on_event)
    specs = [charger if isinstance(charger, ChargerSpec) else demo_spec(*charger) for charger in chargers]
    counted.chargers = len(specs)
    pool = TagPool(id_tags, random.Random(seed))
    stations: list[SimulatedStation] = []
    lives = []
    for number, spec in enumerate(specs):
        rng = random.Random(f"{seed}:{spec.charger_id}:life" if seed is not None else None)
        life = ChargerLife(url, spec, pool, rng=rng, speed=speed, seed=seed, on_event=told, tls=tls)
        stations.append(life.station)
        lives.append(life.live(boot_after=min(0.25 * number, 5.0)))
    await _until_done(lives, stations, stop)
    return counted


def demo_spec(
    charger_id: str, connectors: int, max_kw: float, current: str, password: str | None = None
) -> ChargerSpec:
    """A charge point of the demo, with meter values every 3 s so that a watcher sees them move."""
    return ChargerSpec(
        charger_id,
        connectors=connectors,
        max_kw=max_kw,
        current="DC" if current.upper() == "DC" else "AC",
        password=password,
        configuration={"MeterValueSampleInterval": "3"},
    )


def _tell(stats: FleetStats, on_event: OnEvent | None) -> Callable[[Event], None]:
    def tell(event: Event) -> None:
        stats.note(event)
        if on_event is not None:
            on_event(event)

    return tell


def _specs(
    chargers: int | Sequence[ChargerSpec], scenarios: Sequence[Scenario], id_prefix: str, password: str | None
) -> list[ChargerSpec]:
    if isinstance(chargers, int):
        return [
            scenarios[number % len(scenarios)].spec(f"{id_prefix}-{number + 1:04d}", password)
            for number in range(chargers)
        ]
    found = []
    for number, spec in enumerate(chargers):
        wanted = scenarios[number % len(scenarios)].spec(spec.charger_id)
        found.append(
            replace(
                spec,
                password=spec.password if spec.password is not None else password,
                quirks=spec.quirks | wanted.quirks,
                configuration={**wanted.configuration, **spec.configuration},
                clock_start=spec.clock_start or wanted.clock_start,
                sync_clock=spec.sync_clock and wanted.sync_clock,
            )
        )
    return found


async def _play(player: Player, meeting: Meeting, stats: FleetStats, rng: random.Random) -> None:
    scenario, station = player.scenario, player.station
    try:
        await station.clock.sleep(rng.uniform(0, scenario.stagger))
        await _attempt(player.begin, station)
        done = 0
        while scenario.repeat is None or done < scenario.repeat:
            done += 1
            if await _attempt(player.play, station):
                stats.rounds_done += 1
            elif not await _attempt(player.tidy, station):
                # Not even tidying up works: the central system is away. Knock less often.
                await asyncio.sleep(1 + rng.random())
    finally:
        meeting.leave()


async def _attempt(work: Callable[[], Awaitable[None]], station: SimulatedStation) -> bool:
    """True when it went well; what went wrong becomes events of the station."""
    failures: list[BaseException] = []
    try:
        await work()
    except* SimulatorError as group:
        failures.extend(_leaves(group))
    for failure in failures:
        station.emit("error", detail=str(failure))
    return not failures


def _leaves(group: BaseExceptionGroup[SimulatorError]) -> list[BaseException]:
    """The errors themselves, out of the groups that parallel steps wrap around them."""
    found: list[BaseException] = []
    for error in group.exceptions:
        found.extend(_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    return found


async def _until_done(
    lives: Sequence[Coroutine[None, None, None]],
    stations: Sequence[SimulatedStation],
    stop: asyncio.Event | None,
) -> None:
    """Run all lives to their end or until `stop`; then close every station, whatever happened."""
    tasks = [asyncio.create_task(life) for life in lives]
    stopped = asyncio.create_task(stop.wait()) if stop is not None else None
    everything = asyncio.gather(*tasks)
    try:
        waited: list[asyncio.Future[Any]] = [everything] if stopped is None else [everything, stopped]
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if everything.done():
            everything.result()
    finally:
        for task in (*tasks, *([stopped] if stopped is not None else [])):
            task.cancel()
        await asyncio.gather(everything, *tasks, return_exceptions=True)
        await asyncio.gather(*(station.retire() for station in stations))

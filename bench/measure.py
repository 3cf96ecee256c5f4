"""What is done to a server in one run, and the figures that come of it."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import quantiles

from bench.api import Api
from bench.charger import identity
from bench.driver import Load
from bench.rollout import roll_out
from bench.servers import HOST, BareServer

_SETTLE_SECONDS = 5.0
_REST_SECONDS = 2.0  # for the server to see the last fleet leave
_AT_REST = 0.05  # seconds of the processor a second, of the server and its database
_REST_LIMIT_SECONDS = 30.0
_COMMANDS_IDLE = 300
_EXTRA_CHARGERS = 20  # beyond the fleet, to warm a fresh server without being the fleet

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """How long (seconds) and how much; `sizes` are the numbers of chargers under load, in rising order."""

    seconds: float = 10.0
    warmup: float = 3.0
    sizes: tuple[int, ...] = (200, 2000)
    sessions: bool = True
    processes: int = 1
    paced: float = 1000.0
    wave: int = 100
    soak: float = 60.0
    soak_rate: float = 3000.0

    @property
    def fleet(self) -> int:
        """The largest number of chargers at once."""
        return max(self.sizes)

    @property
    def meanwhile(self) -> float:
        """Messages/s while a campaign runs."""
        return self.paced or 1000.0

    @property
    def registered(self) -> int:
        """How many chargers the server must know."""
        return self.fleet + _EXTRA_CHARGERS


@dataclass(slots=True)
class Result:
    """The figures of one run by name, and what went wrong in it."""

    figures: dict[str, float] = field(default_factory=dict)
    answered: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    words: list[str] = field(default_factory=list)


async def settled_rss(server: BareServer) -> int:
    """Resident KiB once they have moved by less than 0.2 % for five seconds (at most half a minute)."""
    last, since, end = server.rss_kib(), time.monotonic(), time.monotonic() + 30
    while time.monotonic() < end and time.monotonic() - since < _SETTLE_SECONDS:
        await asyncio.sleep(0.5)
        rss = server.rss_kib()
        if abs(rss - last) > last * 0.002:
            last, since = rss, time.monotonic()
    return server.rss_kib()


async def at_rest(server: BareServer) -> None:
    """Wait until a server has nothing more to do for the fleet that has left (at most half a minute)."""
    end = time.monotonic() + _REST_LIMIT_SECONDS
    await asyncio.sleep(_REST_SECONDS)
    before = sum(server.cpu().values())
    while time.monotonic() < end:
        await asyncio.sleep(1)
        used = sum(server.cpu().values())
        if used - before <= _AT_REST:
            return
        before = used


@dataclass(slots=True)
class Run:
    """One run: a server, the load on it, and what comes of it. `api` only where the server has one."""

    server: BareServer
    plan: Plan
    say: Say
    api: Api | None = None
    result: Result = field(default_factory=Result)

    async def whole(self) -> Result:
        """Memory first, on the fresh server: memory freed by an earlier load would hide it."""
        result, plan = self.result, self.plan
        async with Load(HOST, self.server.port, plan.processes) as load:
            await self._memory(load)
            await self._storm(load)
            for size in plan.sizes:
                await self._throughput(load, size)
                if self.api is not None and size == plan.sizes[0]:
                    await self._commands(load, size, self.api)
                if self.api is not None and size == plan.fleet:
                    await self._rollout(load, self.api)
                await load.close()
            counts = load.counts
        result.answered, result.errors, result.words = counts.answered, counts.errors, counts.words
        result.figures["errors"] = counts.errors.total()
        return result

    async def _memory(self, load: Load) -> None:
        fleet = self.plan.fleet
        self.say(f"memory of {fleet} idle chargers")
        await load.connect(_EXTRA_CHARGERS, first=fleet)  # what is loaded on first use belongs to nobody
        await load.close()
        before = await settled_rss(self.server)
        half = fleet // 2
        await load.connect(half)
        halfway = await settled_rss(self.server)
        await load.connect(fleet - half, first=half)
        after = await settled_rss(self.server)
        self.result.figures["rss_empty_mib"] = before / 1024
        self.result.figures["memory_kib"] = (after - before) / fleet
        # Memory left free by the start of the server takes in the first chargers; the second half tells more.
        self.result.figures["memory_half_kib"] = (after - halfway) / (fleet - half)
        await load.close()

    async def _storm(self, load: Load) -> None:
        self.say(f"boot storm of {self.plan.fleet}")
        await at_rest(self.server)
        errors = load.counts.errors.total()
        self.result.figures["storm_s"] = await load.connect(self.plan.fleet, at_once=True)
        self.result.figures["storm_errors"] = load.counts.errors.total() - errors
        await load.close()

    async def _throughput(self, load: Load, size: int) -> None:
        plan, figures = self.plan, self.result.figures
        await at_rest(self.server)
        await load.connect(size, sessions=plan.sessions)
        cpu = self.server.cpu()
        before = load.counts.answered.total()
        window = await load.run(plan.seconds, warmup=plan.warmup)
        # The server's processor seconds are of warm-up, window and last answers: so are these messages.
        messages = load.counts.answered.total() - before
        figures[f"rate_{size}"] = window.rate
        _latencies(figures, f"{size}", window.histogram.percentile)
        for part, used in self.server.cpu().items():
            figures[f"{part}_us_{size}"] = (used - cpu[part]) / messages * 1e6
        figures[f"client_us_{size}"] = window.cpu_seconds / window.histogram.total * 1e6
        self.say(f"{size} chargers: {window.rate:,.0f} messages/s, p99 {figures[f'p99_{size}']:.1f} ms")
        if plan.paced:
            paced = await load.run(plan.seconds / 2, warmup=1, rate=plan.paced)
            _latencies(figures, f"paced_{size}", paced.histogram.percentile)
            self.say(f"  at {plan.paced:,.0f} messages/s p99 {figures[f'p99_paced_{size}']:.1f} ms")

    async def _commands(self, load: Load, size: int, api: Api) -> None:
        self.say("command round trip, idle and under load")
        idle = [await api.trigger(identity(n % size)) for n in range(_COMMANDS_IDLE)]
        _quantiles(self.result.figures, "command_idle", idle)
        seconds = self.plan.seconds
        running = asyncio.create_task(load.run(seconds, warmup=0))
        await asyncio.sleep(min(2.0, seconds / 4))
        busy: list[float] = []
        end = time.monotonic() + seconds * 0.6
        while time.monotonic() < end:
            busy.append(await api.trigger(identity(len(busy) % size)))
        await running
        _quantiles(self.result.figures, "command_busy", busy)

    async def _rollout(self, load: Load, api: Api) -> None:
        plan, figures = self.plan, self.result.figures
        self.say(f"configuration change of {plan.fleet} chargers in waves of {plan.wave}")
        rollout = await roll_out(api, load, chargers=plan.fleet, wave=plan.wave, rate=plan.meanwhile)
        figures["rollout_s"], figures["rollout_failed"] = rollout.seconds, rollout.failed
        _latencies(figures, "rollout", rollout.messages.percentile)
        self.say(f"  {rollout.seconds:.1f} s, p99 of messages meanwhile {figures['p99_rollout']:.1f} ms")


def _latencies(figures: dict[str, float], name: str, percentile: Callable[[float], float]) -> None:
    figures[f"p50_{name}"], figures[f"p99_{name}"] = percentile(0.50), percentile(0.99)


def _quantiles(figures: dict[str, float], name: str, seconds: list[float]) -> None:
    cuts = quantiles(seconds, n=100)
    figures[f"p50_{name}"], figures[f"p99_{name}"] = cuts[49] * 1000, cuts[98] * 1000


@dataclass(slots=True)
class Soak:
    """A long load: (seconds since the beginning, RSS in MiB) by the minute, and the load's figures."""

    rss: list[tuple[float, float]] = field(default_factory=list)
    rate: float = 0.0
    p99_ms: float = 0.0
    errors: int = 0
    answered: Counter[str] = field(default_factory=Counter)
    words: list[str] = field(default_factory=list)

    @property
    def growth_mib(self) -> float:
        """From the second sample (the first full step of load) to the last."""
        return self.rss[-1][1] - self.rss[min(1, len(self.rss) - 1)][1]


async def soak(server: BareServer, plan: Plan, say: Say) -> Soak:
    """Load the server with the whole fleet for `plan.soak` seconds and watch its memory."""
    result = Soak()
    step = min(60.0, plan.soak / 5)
    async with Load(HOST, server.port, plan.processes) as load:
        await load.connect(plan.fleet, sessions=plan.sessions)
        began = time.monotonic()
        result.rss.append((0.0, server.rss_kib() / 1024))
        running = asyncio.create_task(load.run(plan.soak, warmup=0, rate=plan.soak_rate or None))
        while not running.done() and time.monotonic() - began + step <= plan.soak + 1:
            await asyncio.wait([running], timeout=len(result.rss) * step - (time.monotonic() - began))
            result.rss.append((time.monotonic() - began, server.rss_kib() / 1024))
            say(f"soak: {result.rss[-1][0]:4.0f} s, {result.rss[-1][1]:.1f} MiB")
        window = await running
        await load.close()
        counts = load.counts
    result.rate, result.p99_ms = window.rate, window.histogram.percentile(0.99)
    result.errors, result.answered, result.words = counts.errors.total(), counts.answered, counts.words
    return result

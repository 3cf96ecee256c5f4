"""`ohmstead simulate`: a fleet of simulated chargers with a display of what it does."""

import asyncio
import signal
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from ohmstead.terminal import err, watched
from ohmstead_simulator.errors import ScenarioError
from ohmstead_simulator.fleet import FleetStats, demo_fleet, demo_spec, run_fleet
from ohmstead_simulator.scenario import Scenario, load_scenarios

__all__ = ["Plan", "ScenarioError", "simulate", "summary"]

PLUGS = ((22.0, "AC"), (11.0, "AC"), (50.0, "DC"), (150.0, "DC"))


@dataclass(frozen=True, slots=True)
class Plan:
    """What to simulate. Without scenarios cars come and go as in the demo. `duration` is in real seconds."""

    url: str
    chargers: int
    scenarios: Sequence[Path]
    password: str | None
    speed: float
    duration: float | None
    id_prefix: str
    id_tags: Sequence[str]
    seed: int | None


async def simulate(plan: Plan) -> FleetStats:
    """Run the plan until it is done, its time is over or a signal comes; a second signal ends it at once.

    Raises `ScenarioError` when a scenario file is wrong.
    """
    scenarios = load_scenarios(plan.scenarios) if plan.scenarios else []
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def stop_politely(number: signal.Signals) -> None:
        loop.remove_signal_handler(number)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop_politely, number)
    if plan.duration is not None:
        loop.call_later(plan.duration, stop.set)
    stats = FleetStats(chargers=plan.chargers)
    with _display(stats) if watched() else nullcontext():
        await _fleet(plan, scenarios, stats, stop)
    return stats


def _display(stats: FleetStats) -> Live:
    return Live(get_renderable=lambda: _shown(stats), console=err, refresh_per_second=4, transient=True)


async def _fleet(plan: Plan, scenarios: Sequence[Scenario], stats: FleetStats, stop: asyncio.Event) -> None:
    if scenarios:
        await run_fleet(
            plan.url,
            chargers=plan.chargers,
            scenarios=scenarios,
            seed=plan.seed,
            speed=plan.speed,
            password=plan.password,
            id_prefix=plan.id_prefix,
            id_tags=plan.id_tags,
            stop=stop,
            stats=stats,
        )
        return
    specs = [
        demo_spec(f"{plan.id_prefix}-{number + 1:04d}", 1, *PLUGS[number % len(PLUGS)], plan.password)
        for number in range(plan.chargers)
    ]
    await demo_fleet(plan.url, specs, plan.id_tags, seed=plan.seed, speed=plan.speed, stop=stop, stats=stats)


def _shown(stats: FleetStats) -> Table:
    table = Table.grid(padding=(0, 2))
    if stats.connected < stats.chargers:
        bar = Table.grid(padding=(0, 1))
        bar.add_row("Connecting", ProgressBar(stats.chargers, stats.connected, width=30))
        table.add_row(bar)
    table.add_row(summary(stats))
    if stats.last_error:
        table.add_row(f"last error: {stats.last_error}", style="yellow")
    return table


def summary(stats: FleetStats) -> str:
    """The figures of a fleet in one line."""
    return (
        f"{stats.connected} of {stats.chargers} connected, {stats.charging} charging, "
        f"{stats.sessions_done} of {stats.sessions_started} sessions done, {stats.errors} errors"
    )

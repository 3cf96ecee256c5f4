"""Fleets on the real clock: as short as they can be."""

import asyncio
import random

import pytest
from ocpp.v16 import call
from tests.simulator.central import Central

from ohmstead_simulator import life
from ohmstead_simulator.events import Event
from ohmstead_simulator.fleet import FleetStats, demo_fleet, run_fleet
from ohmstead_simulator.life import TagPool
from ohmstead_simulator.scenario import parse_scenario
from ohmstead_simulator.spec import ChargerSpec

SHORT = """
steps:
  - plug: 1
  - authorize
  - start
  - wait: 3m
  - stop
  - unplug: 1
"""


async def test_a_fleet_takes_the_scenarios_in_turn_and_counts(central: Central) -> None:
    scenarios = [parse_scenario(SHORT, "a"), parse_scenario("steps: [heartbeat]", "b")]
    stats = await run_fleet(
        central.url, chargers=4, scenarios=scenarios, seed=1, speed=2000, password="secret", id_tags=["T1"]
    )
    assert (stats.chargers, stats.sessions_done, stats.rounds_done, stats.errors) == (4, 2, 4, 0)
    assert {one.charger_id for one in central.of("StartTransaction")} == {"SIM-0001", "SIM-0003"}
    assert {one.payload["idTag"] for one in central.of("Authorize")} == {"T1"}
    assert all("Authorization" in request.headers for request in central.handshakes)


async def test_charge_points_may_be_given_and_take_on_what_the_scenario_wants(central: Central) -> None:
    scenario = parse_scenario("chargers: {quirks: [no_timestamp]}\nsteps: [heartbeat]")
    specs = [ChargerSpec("MINE", connectors=3, vendor="Acme")]
    await run_fleet(central.url, chargers=specs, scenarios=[scenario], speed=100)
    assert central.of("BootNotification")[0].payload["chargePointVendor"] == "Acme"
    reported = central.of("StatusNotification")
    assert len(reported) == 4
    assert all("timestamp" not in one.payload for one in reported)


async def test_a_fleet_without_a_central_system_tries_until_it_is_stopped() -> None:
    stop, stats = asyncio.Event(), FleetStats()

    def on_event(event: Event) -> None:
        if event.kind == "connect_failed":
            stop.set()

    await run_fleet(
        "ws://127.0.0.1:1/ocpp",
        chargers=2,
        scenarios=[parse_scenario(SHORT)],
        on_event=on_event,
        stop=stop,
        stats=stats,
    )
    assert stats.errors >= 1
    assert "no connection to ws://127.0.0.1:1/ocpp/SIM-000" in stats.last_error


async def test_stopping_a_fleet_ends_its_transactions(central: Central) -> None:
    stop, stats = asyncio.Event(), FleetStats()
    scenario = parse_scenario("repeat: forever\n" + SHORT)
    running = asyncio.create_task(
        run_fleet(central.url, chargers=3, scenarios=[scenario], stop=stop, stats=stats)
    )
    await central.until(lambda: stats.charging == 3)
    stop.set()
    await running
    assert len(central.of("StopTransaction")) == 3
    assert (stats.connected, stats.charging) == (0, 0)


async def test_a_fleet_without_scenarios_is_refused(central: Central) -> None:
    with pytest.raises(ValueError, match="at least one scenario"):
        await run_fleet(central.url, chargers=1, scenarios=[])


async def test_the_demo_moves_at_once_and_ends_in_order(
    central: Central, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(life, "BETWEEN_INCIDENTS", 1e9)
    stop, stats = asyncio.Event(), FleetStats()
    chargers = [(f"DEMO-{number}", 2, 22.0, "AC", "secret") for number in range(3)]
    tags = [f"TAG-{number}" for number in range(12)]
    fleet = demo_fleet(
        central.url,
        [*chargers, ("DEMO-DC", 1, 150.0, "DC", None)],
        tags,
        seed=5,
        speed=600,
        stop=stop,
        stats=stats,
    )
    running = asyncio.create_task(fleet)
    await central.until(lambda: stats.sessions_done > 0 and stats.charging > 0, seconds=15)
    stop.set()
    await running
    booted = {one.charger_id for one in central.of("BootNotification")}
    assert booted == {"DEMO-0", "DEMO-1", "DEMO-2", "DEMO-DC"}
    assert len(central.of("StopTransaction")) == len(central.of("StartTransaction")) >= 2
    assert stats.errors == 0


async def test_chargers_of_the_demo_fault_go_offline_and_lose_power_and_come_back(
    central: Central, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(life, "BETWEEN_INCIDENTS", 0.02)
    for name in ("FAULT_SECONDS", "OFFLINE_SECONDS", "DARK_SECONDS"):
        monkeypatch.setattr(life, name, (0.01, 0.03))
    seen: list[tuple[str, str]] = []
    stop = asyncio.Event()
    fleet = demo_fleet(
        central.url,
        [("DEMO", 1, 22.0, "AC", None)],
        ["TAG"],
        seed=1,
        speed=60,
        stop=stop,
        on_event=lambda event: seen.append((event.kind, event.detail)),
    )
    running = asyncio.create_task(fleet)

    def all_seen() -> bool:
        kinds = {kind for kind, _ in seen}
        faults = [detail for kind, detail in seen if kind == "status" and detail.startswith("Faulted")]
        boots = central.of("BootNotification")
        return {"offline", "online", "power_cut"} <= kinds and bool(faults) and len(boots) >= 2

    await central.until(all_seen)
    stop.set()
    await running
    assert not [detail for kind, detail in seen if kind == "error"]


async def test_a_remote_start_brings_a_car_to_the_demo(central: Central) -> None:
    stop, stats = asyncio.Event(), FleetStats()
    running = asyncio.create_task(
        demo_fleet(
            central.url,
            [ChargerSpec("DEMO", configuration={"MeterValueSampleInterval": "1"})],
            ["TAG"],
            # With this seed no car comes by itself in the first seconds.
            seed=2,
            speed=1,
            stop=stop,
            stats=stats,
        )
    )
    await central.until(lambda: len(central.of("StatusNotification")) == 2)
    answer = await central.command("DEMO", call.RemoteStartTransaction(id_tag="APP"))
    assert answer.status == "Accepted"
    await central.until(lambda: bool(central.of("MeterValues")), seconds=12)
    assert central.of("StartTransaction")[0].payload["idTag"] == "APP"
    stop.set()
    await running


def test_a_tag_in_use_is_drawn_again_only_when_no_other_is_free() -> None:
    pool = TagPool(["A", "B"], random.Random(1))  # noqa: S311  # no cryptography here
    first, second = pool.draw(), pool.draw()
    assert {first, second} == {"A", "B"}
    assert pool.draw() in ("A", "B")
    pool.free(first)
    pool.free(second)
    assert {pool.draw(), pool.draw()} == {"A", "B"}

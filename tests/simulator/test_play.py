"""Each scenario of the repository, played against a central system that records."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import pytest
from ocpp.v16 import call
from tests.simulator.central import Central, Received

from ohmstead_simulator.clock import ManualClock
from ohmstead_simulator.fleet import FleetStats, run_fleet
from ohmstead_simulator.scenario import load_scenario, parse_scenario

SCENARIOS = Path(__file__).parents[2] / "scenarios"


async def to_the_end(clock: ManualClock, fleet: Coroutine[Any, Any, FleetStats]) -> FleetStats:
    """Move the clock as long as the fleet runs."""
    running = asyncio.create_task(fleet)
    while not running.done():
        await clock.advance(5)
    return await running


async def play(central: Central, clock: ManualClock, name: str, chargers: int = 1) -> FleetStats:
    """Run a shipped scenario to its end, moving the clock as long as it runs."""
    scenarios = [load_scenario(SCENARIOS / f"{name}.yaml")]
    fleet = run_fleet(
        central.url, chargers=chargers, scenarios=scenarios, seed=11, id_tags=["TAG-A", "TAG-B"], clock=clock
    )
    stats = await to_the_end(clock, fleet)
    assert (stats.errors, stats.last_error) == (0, "")
    assert stats.connected == 0
    return stats


def balanced(central: Central) -> None:
    """Every start has its stop, with a register that only rose."""
    starts = central.of("StartTransaction")
    stops = {one.payload["transactionId"]: one.payload for one in central.of("StopTransaction")}
    assert list(stops) == [1001 + number for number in range(len(starts))] or len(stops) == len(starts)
    for number, start in enumerate(starts):
        assert stops[1001 + number]["meterStop"] >= start.payload["meterStart"]


def states(central: Central, charger_id: str, connector: int) -> list[str]:
    return [
        one.payload["status"]
        for one in central.of("StatusNotification")
        if one.charger_id == charger_id and one.payload["connectorId"] == connector
    ]


async def test_plug_first(central: Central, clock: ManualClock) -> None:
    stats = await play(central, clock, "plug_first")
    assert (stats.sessions_started, stats.sessions_done, stats.rounds_done) == (1, 1, 1)
    balanced(central)
    assert states(central, "SIM-0001", 1) == ["Available", "Preparing", "Charging", "Finishing", "Available"]
    actions = central.actions()
    assert actions.index("Authorize") < actions.index("StartTransaction")


async def test_tag_first(central: Central, clock: ManualClock) -> None:
    await play(central, clock, "tag_first")
    balanced(central)
    first_preparing = next(one for one in central.received if one.payload.get("status") == "Preparing")
    assert central.received.index(central.of("Authorize")[0]) < central.received.index(first_preparing)
    assert states(central, "SIM-0001", 1)[-2:] == ["Preparing", "Available"]
    assert len(central.of("StartTransaction")) == 1


async def test_ev_side_disconnect(central: Central, clock: ManualClock) -> None:
    await play(central, clock, "ev_side_disconnect")
    balanced(central)
    assert [one.payload["reason"] for one in central.of("StopTransaction")] == ["EVDisconnected"]


async def test_power_cut_and_offline_queue(central: Central, clock: ManualClock) -> None:
    await play(central, clock, "power_cut_offline_queue")
    balanced(central)
    assert [one.payload["reason"] for one in central.of("StopTransaction")] == ["Local", "PowerLoss"]
    assert len(central.of("BootNotification")) == 2

    def time_of(one: Received) -> str:
        values = one.payload.get("meterValue")
        return str(values[0]["timestamp"] if values else one.payload["timestamp"])

    times = [time_of(one) for one in central.of("StartTransaction", "MeterValues", "StopTransaction")]
    assert times == sorted(times)


async def test_faults(central: Central, clock: ManualClock) -> None:
    await play(central, clock, "faults")
    balanced(central)
    codes = {one.payload["errorCode"] for one in central.of("StatusNotification")}
    assert codes == {"NoError", "GroundFailure", "OverCurrentFailure", "InternalError", "ReaderFailure"}
    assert states(central, "SIM-0001", 0) == ["Available", "Faulted", "Available"]
    assert states(central, "SIM-0001", 1)[-1] == "Available"
    assert central.of("SecurityEventNotification")[0].payload["type"] == "TamperDetectionActivated"


async def test_clock_drift(central: Central, clock: ManualClock) -> None:
    await play(central, clock, "clock_drift")
    balanced(central)
    first, second = (one.payload["timestamp"] for one in central.of("StartTransaction"))
    assert first.startswith("1970-01-01T00:00:")
    assert second.startswith("1970-01-01T00:00:")
    times = [one.payload["meterValue"][0]["timestamp"] for one in central.of("MeterValues")]
    assert times != sorted(times)
    assert times[-1].startswith("2040-01-01")


async def test_boot_storm(central: Central, clock: ManualClock) -> None:
    await play(central, clock, "boot_storm", chargers=20)
    assert len(central.handshakes) == 4 * 20
    assert len(central.of("BootNotification")) == 4 * 20
    # All have left before the first comes back: the connections of a storm follow each other closely.
    waves = [one.connection for one in central.of("BootNotification")]
    assert [sorted(waves[at : at + 20])[-1] <= at + 20 for at in range(0, 80, 20)] == [True] * 4


async def test_two_connectors_at_once(central: Central, clock: ManualClock) -> None:
    await play(central, clock, "two_connectors_at_once")
    balanced(central)
    connectors = {
        1001 + number: one.payload["connectorId"] for number, one in enumerate(central.of("StartTransaction"))
    }
    assert sorted(connectors.values()) == [1, 2, 2]
    for one in central.of("MeterValues"):
        assert one.payload["connectorId"] == connectors[one.payload["transactionId"]]


async def test_mixed_units(central: Central, clock: ManualClock) -> None:
    await play(central, clock, "mixed_units")
    balanced(central)
    units = [
        value["unit"]
        for one in central.of("MeterValues")
        for value in one.payload["meterValue"][0]["sampledValue"]
        if value["measurand"] == "Energy.Active.Import.Register"
    ]
    assert units == ["Wh", "kWh", "Wh", "kWh", "Wh", "kWh"][: len(units)]
    assert set(units) == {"Wh", "kWh"}


async def test_vendor_quirks(central: Central, clock: ManualClock) -> None:
    await play(central, clock, "vendor_quirks")
    start, stop = central.of("StartTransaction")[0].payload, central.of("StopTransaction")[0].payload
    assert stop["meterStop"] < start["meterStart"]
    ids = [one.message_id for one in central.received]
    assert ids.count("1") == len(central.of("BootNotification")) == 3
    noisy = [
        value["value"]
        for one in central.of("MeterValues")
        for value in one.payload["meterValue"][0]["sampledValue"]
        if value.get("unit") == "kWh"
    ]
    assert max(map(len, noisy)) > 15
    assert all("timestamp" not in one.payload for one in central.of("StatusNotification"))


@pytest.fixture
async def remote_fleet(central: Central, clock: ManualClock) -> AsyncIterator["asyncio.Task[FleetStats]"]:
    stop = asyncio.Event()
    scenarios = [load_scenario(SCENARIOS / "remote_start.yaml")]
    running = asyncio.create_task(
        run_fleet(central.url, chargers=1, scenarios=scenarios, seed=1, clock=clock, stop=stop)
    )
    yield running
    stop.set()
    stats = await running
    assert stats.errors == 0


async def test_remote_start(
    central: Central, clock: ManualClock, remote_fleet: "asyncio.Task[FleetStats]"
) -> None:
    async def until(action: str, number: int) -> None:
        async with asyncio.timeout(60):
            while len(central.of(action)) < number:
                await clock.advance(2)

    await until("StatusNotification", 2)
    for number in (1, 2):
        answer = await central.command("SIM-0001", call.RemoteStartTransaction(id_tag="APP", connector_id=1))
        assert answer.status == "Accepted"
        await until("StartTransaction", number)
        await until("MeterValues", number)
        await central.command("SIM-0001", call.RemoteStopTransaction(transaction_id=1000 + number))
        await until("StopTransaction", number)
        while states(central, "SIM-0001", 1)[-1] != "Available":
            await clock.advance(2)
    balanced(central)


async def test_a_step_that_fails_names_its_line_and_the_next_round_begins(
    central: Central, clock: ManualClock
) -> None:
    central.tags["BAD"] = "Blocked"
    scenario = parse_scenario("repeat: 2\nsteps:\n  - plug\n  - authorize: BAD\n  - start: 1\n", "wrong.yaml")
    stats = await to_the_end(clock, run_fleet(central.url, chargers=1, scenarios=[scenario], clock=clock))
    assert (stats.errors, stats.rounds_done) == (2, 0)
    assert stats.last_error == "SIM-0001: wrong.yaml:4: authorize: tag BAD is Blocked"
    assert states(central, "SIM-0001", 1) == ["Available", *["Preparing", "Available"] * 2]


async def test_waiting_for_what_does_not_come_ends_in_time(central: Central, clock: ManualClock) -> None:
    scenario = parse_scenario("steps:\n  - wait_for: {condition: transaction, timeout: 30s}\n", "s.yaml")
    begun = clock.now()
    stats = await to_the_end(clock, run_fleet(central.url, chargers=1, scenarios=[scenario], clock=clock))
    assert "no 'transaction' at connector 1 in time" in stats.last_error
    assert (clock.now() - begun).total_seconds() < 60

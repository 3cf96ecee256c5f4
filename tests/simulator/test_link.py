"""What a call comes to when the connection, the answer or the caller ends."""

import asyncio

import pytest
from tests.simulator.central import Central
from tests.simulator.conftest import MakeStation

from ohmstead_simulator.clock import ManualClock
from ohmstead_simulator.errors import CallFailed, NoAnswer, Offline


async def test_a_call_ends_with_its_connection(central: Central, make_station: MakeStation) -> None:
    station = await make_station()
    central.silent = {"Heartbeat"}
    calling = asyncio.create_task(station.heartbeat())
    await central.until(lambda: bool(central.of("Heartbeat")))
    await station.offline()
    with pytest.raises(Offline, match="before the answer"):
        await calling
    with pytest.raises(Offline, match="not connected"):
        await station.heartbeat()


async def test_an_answer_that_does_not_come_is_an_error(central: Central, make_station: MakeStation) -> None:
    station = await make_station(response_timeout=0.05)
    central.silent = {"Heartbeat"}
    with pytest.raises(NoAnswer):
        await station.heartbeat()
    central.silent = set()
    await station.heartbeat()


async def test_a_callerror_is_raised_with_its_code(central: Central, make_station: MakeStation) -> None:
    station = await make_station()
    central.failing = {"Heartbeat"}
    with pytest.raises(CallFailed, match="InternalError: not now") as failure:
        await station.heartbeat()
    assert failure.value.code == "InternalError"


async def test_a_cancellation_is_not_lost_when_the_answer_comes_with_it(
    central: Central, make_station: MakeStation
) -> None:
    station = await make_station()
    for turns in range(40):
        calling = asyncio.create_task(station.heartbeat())
        for _ in range(turns):
            await asyncio.sleep(0)
        if calling.done():
            break
        calling.cancel()
        await asyncio.wait({calling})
        assert calling.cancelled()
    else:
        pytest.fail("no heartbeat was ever answered, so nothing was tested")


async def test_a_dead_charger_sends_no_more_heartbeats(
    central: Central, clock: ManualClock, make_station: MakeStation
) -> None:
    station = await make_station()
    await station.close(abrupt=True)
    before = len(central.received)
    await clock.advance(1000)
    assert len(central.received) == before

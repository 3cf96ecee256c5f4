import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
from tests.simulator.central import Central

from ohmstead_simulator.clock import ManualClock
from ohmstead_simulator.spec import ChargerSpec
from ohmstead_simulator.station import SimulatedStation

MakeStation = Callable[..., Awaitable[SimulatedStation]]


@pytest.fixture(autouse=True)
def quiet_peer(caplog: pytest.LogCaptureFixture) -> None:
    """The peer of the tests refuses on purpose; its tracebacks say nothing."""
    caplog.set_level(logging.CRITICAL, logger="ocpp")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def central(clock: ManualClock) -> AsyncIterator[Central]:
    system = Central(now=clock.now)
    async with system.serving():
        yield system


@pytest.fixture
async def make_station(central: Central, clock: ManualClock) -> AsyncIterator[MakeStation]:
    """Makes booted charge points on the clock of the test; closes them at the end."""
    async with AsyncExitStack() as stack:

        async def make(
            spec: ChargerSpec | str = "CP1", *, boot: bool = True, **options: object
        ) -> SimulatedStation:
            station = SimulatedStation(central.url, spec, clock=clock, seed=7, **options)  # type: ignore[arg-type]  # options of one call
            stack.push_async_callback(station.close)
            await station.connect()
            if boot:
                await station.boot()
            return station

        yield make

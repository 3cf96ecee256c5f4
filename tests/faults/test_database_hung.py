"""PostgreSQL hangs under load (a stalled disk, a frozen machine): connections stay open and nobody answers."""

from typing import Any

import pytest
from tests.faults.database import CHARGERS, Hung
from tests.faults.proof import prove, rows

pytest_plugins: list[str] = []


async def test_a_database_that_hangs_is_taken_as_away(play: Any) -> None:
    async with play(Hung) as scene:
        fleet, troubles = scene.fleet, scene.fleet.troubles
        await fleet.progress(each=10)
        scene.fault.away()
        await fleet.until(lambda: troubles.closes[1013] >= CHARGERS, 40)
        print(troubles)
        await fleet.until(lambda: troubles.refusals[503] >= CHARGERS)
        assert (await scene.http.get("/health")).json()["status"] == "healthy"
        status, _ = await scene.ready()
        assert status == 503
        assert (await scene.new_station("Away")).status_code == 503

        scene.fault.back()
        await fleet.progress(each=10)
        assert (await scene.new_station("After")).status_code == 201
        await fleet.finish()
        await prove(scene.url, fleet.ledger)

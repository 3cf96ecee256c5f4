"""PostgreSQL hangs under load (a frozen machine, a stalled disk): connections stay open, nobody answers."""

import asyncio
from typing import Any

import pytest
from tests.chargers import until
from tests.faults.database import CHARGERS, Hung
from tests.faults.proof import prove

from ohmstead.gateway import writer


async def test_a_database_that_hangs_is_taken_as_away_and_nothing_waits_for_ever(
    play: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "WRITE_SECONDS", 1.0)
    async with play(Hung) as scene:
        fleet, troubles = scene.fleet, scene.fleet.troubles
        await fleet.progress(each=10)
        scene.fault.away()
        waiting = asyncio.create_task(scene.new_station("Away"))
        await fleet.until(lambda: troubles.closes[1013] >= CHARGERS)
        await fleet.until(lambda: troubles.refusals[503] >= CHARGERS)
        assert set(troubles.errors) <= {"InternalError"}
        assert (await scene.http.get("/health")).json()["status"] == "healthy"
        assert (await scene.ready())[0] == 503
        assert (await asyncio.wait_for(waiting, 60)).status_code == 503

        scene.fault.back()
        await fleet.progress(each=10)
        assert (await scene.new_station("After")).status_code == 201
        await fleet.finish()
        await prove(scene.url, fleet.ledger)


@pytest.mark.prove
async def test_a_server_can_be_stopped_while_its_database_hangs(
    play: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "WRITE_SECONDS", 1.0)
    async with play(Hung) as scene:
        await scene.fleet.progress(each=5)
        scene.fault.away()
        running = scene.server.server
        running.stop()

        async def stopped() -> bool:
            return not running.worker.running

        await until(stopped)

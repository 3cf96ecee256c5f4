"""PostgreSQL goes away under load and comes back: nobody is lied to meanwhile, nothing needs a restart."""

import asyncio
from typing import Any

import psycopg
import pytest
from tests.chargers import charger, until
from tests.faults.database import CHARGERS, Stopped
from tests.faults.proof import prove, rows
from tests.world import World

from ohmstead.gateway import server as gateway_server


async def jobs_run(url: str) -> bool:
    """Whether a job that was made just now has ended well."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        cursor = await connection.execute(
            "INSERT INTO procrastinate_jobs (queue_name, task_name, args)"
            " VALUES ('default', 'core:remove_old_jobs', '{\"timestamp\": 0}') RETURNING id"
        )
        row = await cursor.fetchone()
    assert row is not None

    async def ended() -> bool:
        status = await rows(url, "SELECT status FROM procrastinate_jobs WHERE id = %s", row[0])
        return status == [("succeeded",)]

    return bool(await until(ended))


async def test_a_crash_under_load_loses_nothing_and_needs_no_restart(play: Any) -> None:
    async with play(Stopped) as scene:
        fleet, troubles = scene.fleet, scene.fleet.troubles
        await fleet.progress(each=10)
        assert (await scene.new_station("Before")).status_code == 201

        await asyncio.to_thread(scene.fault.away)
        await fleet.until(lambda: troubles.errors["InternalError"] > 0)
        assert troubles.closes[1013] == 0, "they are answered for a while before they are sent away"
        refused = await scene.new_station("Away")
        assert (refused.status_code, refused.json()["error"]) == (503, "Unavailable")
        assert refused.headers["Retry-After"]
        await fleet.until(lambda: troubles.closes[1013] >= CHARGERS)
        await fleet.until(lambda: troubles.refusals[503] >= CHARGERS)
        assert set(troubles.errors) == {"InternalError"}
        assert set(troubles.refusals) == {503}
        assert (await scene.http.get("/health")).json()["status"] == "healthy"
        status, checks = await scene.ready()
        assert status == 503
        assert {name for name in ("database", "schema", "gateway") if checks[name]["ok"]} == set()
        acknowledged = fleet.acknowledged

        await asyncio.to_thread(scene.fault.back)
        await fleet.progress(each=10)
        assert fleet.acknowledged > acknowledged
        assert (await scene.new_station("After")).status_code == 201

        async def is_ready() -> bool:
            status, _ = await scene.ready()
            return bool(status == 200)

        await until(is_ready)
        assert await jobs_run(scene.url)
        await fleet.finish()
        await prove(scene.url, fleet.ledger)
        names = await rows(
            scene.url, "SELECT name FROM stations_station WHERE name IN ('Before', 'Away', 'After')"
        )
        assert sorted(names) == [("After",), ("Before",)]

        async def all_have_left() -> bool:
            left = "SELECT (SELECT count(*) FROM stations_charger WHERE online), (SELECT count(*)"
            return await rows(scene.url, f"{left} FROM gateway_connection WHERE closed_at IS NULL)") == [
                (0, 0)
            ]

        await until(all_have_left)
        print(f"\n{fleet.acknowledged} acknowledged, {troubles}")  # noqa: T201 # how hard the proof was


async def test_a_short_absence_costs_nobody_its_socket(play: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async with play(Stopped) as scene:
        monkeypatch.setattr(gateway_server, "AWAY_GRACE_SECONDS", 60.0)
        fleet, troubles = scene.fleet, scene.fleet.troubles
        for _ in range(2):
            await fleet.progress(each=5)
            before = troubles.errors["InternalError"]
            await asyncio.to_thread(scene.fault.away)
            await fleet.until(lambda before=before: troubles.errors["InternalError"] > before)
            await asyncio.to_thread(scene.fault.back)
        await fleet.progress(each=5)
        await fleet.finish()
        await prove(scene.url, fleet.ledger)
        assert not troubles.closes
        assert set(troubles.errors) == {"InternalError"}


async def test_a_charger_that_left_meanwhile_is_known_to_be_offline_when_the_database_is_back(
    play: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with play(Stopped) as scene:
        # However long the database takes to come back, the other one stays.
        monkeypatch.setattr(gateway_server, "AWAY_GRACE_SECONDS", 60.0)
        world = World(scene.server.database, scene.server.settings, scene.server.app.state.clock)
        gone, stays = [(await world.charger()).id for _ in range(2)]
        async with charger(scene.server.ws, gone) as leaving, charger(scene.server.ws, stays) as staying:
            await leaving.boot()
            await staying.boot()

            async def online() -> list[str]:
                query = "SELECT id FROM stations_charger WHERE online AND id IN (%s, %s)"
                return [identity for (identity,) in await rows(scene.url, query, gone, stays)]

            async def both() -> bool:
                return len(await online()) == 2

            await until(both)
            await asyncio.to_thread(scene.fault.away)
            await scene.fleet.until(lambda: scene.fleet.troubles.errors["InternalError"] > 0)
            await leaving.vanish()
            await asyncio.to_thread(scene.fault.back)
            await scene.fleet.progress(each=1)

            async def told() -> bool:
                jobs = (
                    "SELECT 1 FROM procrastinate_jobs, jsonb_array_elements(args -> 'gone') AS one"
                    " WHERE one ->> 'charger_id' = %s"
                )
                closed = "SELECT 1 FROM gateway_connection WHERE charger_id = %s AND closed_at IS NOT NULL"
                published = await rows(scene.url, jobs, gone)
                ended = await rows(scene.url, closed, gone)
                return await online() == [stays] and bool(published and ended)

            await until(told)

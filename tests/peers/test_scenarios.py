"""Every scenario under version control, played by the simulator against the real server."""

import asyncio
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import select
from tests.chargers import until
from tests.running import RunningServer
from tests.world import World

from ohmstead.charging.models import Session, SessionStatus
from ohmstead.gateway.models import Message
from ohmstead_simulator.fleet import FleetStats, run_fleet
from ohmstead_simulator.scenario import load_scenarios

FOLDER = Path(__file__).parents[2] / "scenarios"
COMMANDED = {"remote_start", "firmware", "diagnostics", "reservation", "local_list"}
"""These wait for commands for ever: each has a test of its own."""
SCENARIOS = sorted(path.stem for path in FOLDER.glob("*.yaml") if path.stem not in COMMANDED)
SPEED = 240.0


async def prepare(world: World, chargers: int) -> tuple[str, list[str], list[str]]:
    """Make chargers `PREFIX-0001`, ... and tags for them; returns prefix, charger ids and tags."""
    station = await world.station()
    prefix = f"SIM{uuid4().hex[:6].upper()}"
    ids = [f"{prefix}-{number:04d}" for number in range(1, chargers + 1)]
    for charger_id in ids:
        await world.charger(station, id=charger_id)
    tags = [(await world.token(station.backoffice_id)).id_tag for _ in range(2 * chargers)]
    return prefix, ids, tags


async def play(server: RunningServer, name: str, prefix: str, chargers: int, tags: list[str]) -> FleetStats:
    return await asyncio.wait_for(
        run_fleet(
            f"{server.ws}/ocpp",
            chargers=chargers,
            scenarios=load_scenarios([FOLDER / f"{name}.yaml"]),
            seed=7,
            speed=SPEED,
            id_prefix=prefix,
            id_tags=tags,
        ),
        90,
    )


@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_scenario_ends_well_and_every_session_of_it_is_kept(
    server: RunningServer, server_world: World, name: str
) -> None:
    chargers = 12 if name == "boot_storm" else 2
    prefix, ids, tags = await prepare(server_world, chargers)
    stats = await play(server, name, prefix, chargers, tags)
    assert stats.errors == 0, stats.last_error
    assert stats.rounds_done >= chargers

    rows: list[Session] = []

    async def all_ended() -> bool:
        async with server.database.session() as session:
            rows[:] = (await session.scalars(select(Session).where(Session.charger_id.in_(ids)))).all()
        return all(row.status == SessionStatus.COMPLETED for row in rows)

    await until(all_ended)
    matched = [row for row in rows if not row.unmatched]
    assert len(matched) == stats.sessions_started
    assert all(row.energy_wh is not None and row.energy_wh >= 0 for row in matched)
    for row in matched:
        if not row.anomalies and row.meter_stop is not None and row.meter_start is not None:
            assert row.energy_wh == Decimal(row.meter_stop - row.meter_start)
    async with server.database.session() as session:
        refused = (
            await session.scalars(
                select(Message).where(
                    Message.charger_id.in_(ids), Message.direction == "in", Message.error_code.is_not(None)
                )
            )
        ).all()
    assert [row.request for row in refused] == []


async def test_remote_start_is_commanded_by_the_api_and_charges(
    server: RunningServer, server_world: World
) -> None:
    prefix, [charger_id], tags = await prepare(server_world, 1)
    admin = await server_world.admin()
    playing = asyncio.create_task(play(server, "remote_start", prefix, 1, tags))
    base = f"/api/admin/chargers/{charger_id}"
    async with httpx.AsyncClient(base_url=server.http, headers=admin.headers) as client:

        async def accepted() -> bool:
            body = {"id_tag": tags[0], "connector_id": 1}
            answer = await client.post(f"{base}/remote-start", json=body)
            return answer.status_code == 200 and answer.json()["status"] == "Accepted"

        await until(accepted)

        async def charging() -> int | None:
            found = await client.get("/api/admin/transactions", params={"charger": charger_id})
            items = found.json()["items"]
            return items[0]["ocpp_transaction_id"] if items and items[0]["energy_wh"] else None

        transaction_id = await until(charging)
        answer = await client.post(f"{base}/remote-stop", json={"transaction_id": transaction_id})
        assert answer.json()["status"] == "Accepted"

        async def stopped() -> bool:
            found = await client.get(f"/api/admin/transactions/{transaction_id}")
            return bool(found.json()["stop_reason"] == "Remote")

        await until(stopped)
    playing.cancel()
    await asyncio.gather(playing, return_exceptions=True)

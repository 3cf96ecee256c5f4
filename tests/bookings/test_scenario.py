"""The scenario of reservations, played by the simulator against the real server."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
from tests.chargers import until
from tests.running import RunningServer
from tests.world import World

from ohmstead_simulator.fleet import run_fleet
from ohmstead_simulator.scenario import load_scenarios

SCENARIO = Path(__file__).parents[2] / "scenarios" / "reservation.yaml"


async def test_a_reserved_connector_is_used_by_the_driver_it_was_reserved_for(
    server: RunningServer, server_world: World
) -> None:
    station = await server_world.station()
    charger = await server_world.charger(station, id="RESERVING-0001", connectors=1)
    await server_world.token(station.backoffice_id, "SIMULATOR")
    admin = await server_world.admin()
    playing = asyncio.create_task(
        run_fleet(
            f"{server.ws}/ocpp",
            chargers=1,
            scenarios=load_scenarios([SCENARIO]),
            seed=1,
            speed=120,
            id_prefix="RESERVING",
        )
    )
    async with httpx.AsyncClient(base_url=server.http, headers=admin.headers) as client:
        body = {"connector_id": 1, "id_tag": "SIMULATOR", "expires_at": "2099-01-01T00:00:00Z"}

        async def reserved() -> Any:
            answer = await client.post(f"/api/admin/chargers/{charger.id}/reserve", json=body)
            told = answer.json()
            return told if answer.status_code == 200 and told["status"] == "Accepted" else None

        told = await until(reserved)

        async def used() -> Any:
            answer = await client.get(f"/api/admin/reservations/{told['reservation']['id']}")
            row = answer.json()
            return row if row["status"] == "Used" else None

        row = await until(used)
        session = (await client.get(f"/api/admin/transactions/{row['session_id']}")).json()
    assert (session["reservation_id"], session["id_tag"]) == (told["reservation_id"], "SIMULATOR")
    assert session["anomalies"] == []
    playing.cancel()
    await asyncio.gather(playing, return_exceptions=True)

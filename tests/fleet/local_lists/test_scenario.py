"""The scenario of local lists, played by the simulator against the real server."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
from tests.chargers import until
from tests.running import RunningServer
from tests.world import World

from ohmstead_simulator.fleet import run_fleet
from ohmstead_simulator.scenario import load_scenarios

SCENARIO = Path(__file__).parents[3] / "scenarios" / "local_list.yaml"


async def test_a_charger_without_network_goes_by_the_list_that_it_was_sent(
    server: RunningServer, server_world: World
) -> None:
    station = await server_world.station()
    charger = await server_world.charger(station, id="LISTED-0001", connectors=1)
    await server_world.token(station.backoffice_id, "SIMULATOR")
    admin = await server_world.admin()
    playing = asyncio.create_task(
        run_fleet(
            f"{server.ws}/ocpp",
            chargers=1,
            scenarios=load_scenarios([SCENARIO]),
            seed=1,
            speed=240,
            id_prefix="LISTED",
        )
    )
    async with httpx.AsyncClient(base_url=server.http, headers=admin.headers) as client:
        rule = {"charger_id": charger.id, "tags": {"all": True, "everywhere": False}}
        assert (await client.post("/api/admin/local-list-rules", json=rule)).status_code == 201

        async def sent() -> Any:
            answer = await client.post(f"/api/admin/chargers/{charger.id}/local-list")
            return answer.json() if answer.status_code == 200 else None

        told = await until(sent)
        assert (told["status"], told["state"]) == ("Accepted", "InSync")
        stats = await asyncio.wait_for(playing, 60)
        assert (stats.errors, stats.last_error) == (0, "")
        sessions = (await client.get("/api/admin/transactions", params={"charger": charger.id})).json()
        [session] = sessions["items"]
        assert (session["id_tag"], session["id_tag_status"]) == ("SIMULATOR", "Accepted")
        log = await client.get("/api/admin/ocpp/messages", params={"charger": charger.id, "limit": 500})
        actions = [one["action"] for one in log.json()["items"]]
        assert "Authorize" not in actions, "the list decided alone"
        assert "SendLocalList" in actions

"""The scenario of smart charging, played by the simulator against the real server and commanded from here."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.chargers import until
from tests.energy.test_endpoints import wire
from tests.gateway.admin import AdminApi, admin_client
from tests.running import RunningServer
from tests.world import World

from ohmstead.accounts.models import Role
from ohmstead_simulator.fleet import run_fleet
from ohmstead_simulator.scenario import load_scenarios

SCENARIO = Path(__file__).parents[2] / "scenarios" / "smart_charging.yaml"
LIMIT_W, FULL_W = 4200.0, 11_000.0
"""What the profile allows, and what the car takes without it; meters are not exact."""


def near(found: float, watts: float) -> bool:
    return abs(found - watts) < 0.03 * watts


async def test_a_car_takes_less_while_its_session_has_a_profile_and_all_again_when_it_is_cleared(
    server: RunningServer, server_world: World
) -> None:
    """Played in real time, so that the schedules of both sides have the same clock; a value each second."""
    backoffice = await server_world.backoffice()
    charger = await server_world.charger(
        await server_world.station(backoffice), id=f"SMART-{uuid4().hex[:8].upper()}"
    )
    tag = (await server_world.token(backoffice.id)).id_tag
    manager = await server_world.user(Role.BACKOFFICE, backoffice)
    [scenario] = load_scenarios([SCENARIO])
    spec = replace(scenario.spec(charger.id), configuration={"MeterValueSampleInterval": "1"})
    fleet = asyncio.create_task(
        run_fleet(f"{server.ws}/ocpp", chargers=[spec], scenarios=[scenario], seed=7, id_tags=[tag])
    )
    path = f"/api/admin/chargers/{charger.id}"
    try:
        async with admin_client(server.http, manager.headers) as client:
            api = AdminApi(client)

            async def charging() -> dict[str, Any] | None:
                return next(iter(await api.transactions(charger.id, status="Active")), None)

            session = await until(charging)

            async def powers() -> list[float]:
                return [one["power_w"] for one in await api.meter_values(session["id"])]

            async def takes(watts: float) -> None:
                """Wait until a value that came after now says so."""
                known = len(await powers())

                async def so() -> bool:
                    return any(near(one, watts) for one in (await powers())[known:])

                await until(so)

            await takes(FULL_W)
            made = await client.post(
                "/api/admin/charging-profiles",
                json={
                    "name": "Less",
                    "profile": wire(
                        chargingProfilePurpose="TxProfile",
                        schedule={"chargingSchedulePeriod": [{"startPeriod": 0, "limit": LIMIT_W}]},
                    ),
                },
            )
            assert made.status_code == 201, made.text
            told = await client.post(
                f"{path}/charging-profiles", json={"profile_id": made.json()["id"], "connector_id": 1}
            )
            assert (told.status_code, told.json()["status"]) == (200, "Accepted"), told.text
            await takes(LIMIT_W)
            assert all(near(one, FULL_W) or near(one, LIMIT_W) for one in await powers())

            async def agree() -> bool:
                """Tell whether both say the same; a charger that answers a second later begins there."""
                query = {"connector_id": 1, "duration": 3600}
                schedule = await api.get(f"/chargers/{charger.id}/composite-schedule", **query)
                assert schedule["status"] == "Accepted"
                assert schedule["expected"] == [{"start": 0, "limit": LIMIT_W}]
                assert schedule["charger"][-1]["limit"] == LIMIT_W
                return bool(schedule["differences"] == [])

            await until(agree)
            [installed] = (await api.get(f"/chargers/{charger.id}/charging-profiles"))["items"]
            assert installed["transaction_id"] == session["ocpp_transaction_id"]
            cleared = await client.delete(f"{path}/charging-profiles", params={"connector_id": 1})
            assert (cleared.json()["status"], cleared.json()["forgotten"]) == (
                "Accepted",
                [made.json()["charging_profile_id"]],
            )
            await takes(FULL_W)
            assert (await api.transaction(session["id"]))["anomalies"] == []
    finally:
        fleet.cancel()
        await asyncio.gather(fleet, return_exceptions=True)

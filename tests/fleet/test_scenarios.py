"""The scenario files of firmware and diagnostics: whole stories over HTTP and OCPP, on the real server."""

import asyncio
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from tests.chargers import until
from tests.fleet.firmware.signers import signer
from tests.running import RunningServer
from tests.world import World

from ohmstead.accounts.models import Role
from ohmstead_simulator.fleet import run_fleet
from ohmstead_simulator.scenario import load_scenarios

FOLDER = Path(__file__).parents[2] / "scenarios"
IMAGE = b"OHMSTEAD-FIRMWARE 2.0.0\n" + bytes(3_000_000)
SPEED = 240.0


@asynccontextmanager
async def playing(
    server: RunningServer, world: World, name: str
) -> AsyncIterator[tuple[httpx.AsyncClient, str]]:
    """Play a scenario on one charger until the block ends; gives a client of its operator and its id."""
    backoffice = await world.backoffice()
    station = await world.station(backoffice)
    prefix = f"SIM{uuid4().hex[:6].upper()}"
    charger_id = f"{prefix}-0001"
    await world.charger(station, id=charger_id)
    tag = await world.token(station.backoffice_id)
    manager = await world.user(Role.BACKOFFICE, backoffice)
    fleet = asyncio.create_task(
        run_fleet(
            f"{server.ws}/ocpp",
            chargers=1,
            scenarios=load_scenarios([FOLDER / f"{name}.yaml"]),
            seed=7,
            speed=SPEED,
            id_prefix=prefix,
            id_tags=[tag.id_tag],
        )
    )
    try:
        async with httpx.AsyncClient(base_url=server.http, headers=manager.headers) as http:
            yield http, charger_id
    finally:
        fleet.cancel()
        await asyncio.gather(fleet, return_exceptions=True)


@pytest.fixture
def reachable(server: RunningServer) -> Any:
    """The links of the server lead to where it really is."""
    before = server.app.state.settings
    server.app.state.settings = before.model_copy(update={"public_url": server.http})
    yield server
    server.app.state.settings = before


async def charging(http: httpx.AsyncClient, charger_id: str) -> bool:
    found = await http.get("/api/admin/transactions", params={"charger": charger_id, "status": "Active"})
    return bool(found.json()["items"])


@pytest.mark.parametrize("is_signed", [False, True])
async def test_a_charger_downloads_from_us_waits_for_its_car_and_comes_back_with_the_new_version(
    reachable: RunningServer, server_world: World, *, is_signed: bool
) -> None:
    async with playing(reachable, server_world, "firmware") as (http, charger_id):
        said = {"vendor": "Ohmstead", "model": "Simulator", "version": "2.0.0"}
        image = await http.post("/api/admin/firmware", params=said, content=IMAGE)
        assert image.status_code == 201, image.text
        body: dict[str, Any] = {"firmware_id": image.json()["id"], "retries": 2}
        if is_signed:
            maker = signer("rsa")
            body["signing"] = {"certificate": maker.certificate, "signature": maker.sign(IMAGE)}

        async def charges() -> bool:
            return await charging(http, charger_id)

        await until(charges)
        made = await http.post(f"/api/admin/chargers/{charger_id}/firmware-updates", json=body)
        assert made.status_code == 201, made.text
        path = f"/api/admin/firmware-updates/{made.json()['id']}"

        async def confirmed() -> bool:
            update = (await http.get(path)).json()
            assert update["state"] in {"Accepted", "Running", "Installed"}, update
            return bool(update["state"] == "Installed" and update["confirmed"])

        await until(confirmed)

        async def told() -> list[str] | None:
            items = (await http.get(f"{path}/history")).json()["items"]
            words = [item["status"] for item in reversed(items)]
            return words if "Installed" in words else None

        words = await until(told)
        common = ["Requested", "Accepted", "Downloading", "Downloaded"]
        assert words[:4] == common
        if is_signed:
            assert words[4:6] == ["SignatureVerified", "InstallScheduled"]
        assert words.index("Installing") < words.index("Confirmed") < words.index("Installed")
        shown = (await http.get(f"/api/admin/chargers/{charger_id}")).json()
        assert shown["firmware_version"] == "2.0.0"


async def test_a_charger_uploads_its_diagnostics_and_its_log_to_us(
    reachable: RunningServer, server_world: World
) -> None:
    async with playing(reachable, server_world, "diagnostics") as (http, charger_id):

        async def online() -> bool:
            return bool((await http.get(f"/api/admin/chargers/{charger_id}")).json()["online"])

        await until(online)
        found: dict[str, bytes] = {}
        for what, body in (("diagnostics", {}), ("logs", {"log_type": "SecurityLog"})):
            made = await http.post(f"/api/admin/chargers/{charger_id}/{what}", json=body)
            assert made.status_code == 201, made.text
            path = f"/api/admin/diagnostics/{made.json()['id']}"

            async def uploaded(path: str = path) -> bool:
                items = (await http.get(f"{path}/history")).json()["items"]
                return "Uploaded" in [item["status"] for item in items]

            await until(uploaded)
            assert (await http.get(path)).json()["state"] == "Done"
            found[what] = (await http.get(f"{path}/file")).content
        with zipfile.ZipFile(BytesIO(found["diagnostics"])) as archive:
            assert archive.namelist() == ["state.json"]
        assert f"{charger_id} firmware 1.0.0".encode() in found["logs"]

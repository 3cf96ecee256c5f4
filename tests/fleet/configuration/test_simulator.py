"""A charge point of an independent OCPP package: its template, its password; and the template of the demo."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select
from tests.chargers import until
from tests.conftest import SECRET
from tests.fleet.configuration.scenes import template
from tests.fleet.configuration.test_boot import run_now
from tests.gateway.admin import AdminApi, admin_client
from tests.running import RunningServer
from tests.world import World

from ohmstead import demo
from ohmstead.accounts.passwords import secret_hash
from ohmstead.core.config import Settings
from ohmstead.core.db import Database
from ohmstead.fleet.configuration import applying
from ohmstead.fleet.configuration.models import ConfigurationTemplate
from ohmstead.stations.models import Charger
from ohmstead_simulator.clock import ScaledClock
from ohmstead_simulator.spec import ChargerSpec
from ohmstead_simulator.station import SimulatedStation


@asynccontextmanager
async def simulated(
    server: RunningServer, row: Charger, password: str | None = None
) -> AsyncIterator[SimulatedStation]:
    """The charger, connected and booted."""
    spec = ChargerSpec(row.id, password=password)
    station = SimulatedStation(f"{server.ws}/ocpp", spec, clock=ScaledClock(), seed=7, keep_connected=True)
    try:
        await station.connect_persistently()
        if station.boot_status != "Accepted":
            await station.boot()
        yield station
    finally:
        await station.close()


@pytest.fixture
async def client(server: RunningServer, server_world: World) -> AsyncIterator[httpx.AsyncClient]:
    user = await server_world.admin()
    async with admin_client(server.http, user.headers) as client:
        yield client


async def test_what_wants_a_restart_is_in_effect_after_it_and_nobody_restarts_it_for_that(
    server: RunningServer,
    server_world: World,
    client: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(applying, "SETTLE", timedelta(0))
    row, api = await server_world.charger(connectors=1), AdminApi(client)
    wanted = {"WebSocketPingInterval": "20", "MeterValueSampleInterval": "30", "HeartbeatInterval": "240"}
    await template(server_world, row, wanted)

    async def state() -> str:
        shown = await api.get(f"/chargers/{row.id}/configuration")
        return str(shown["template"]["state"])

    async def is_state(wanted: str) -> bool:
        return await state() == wanted

    async with simulated(server, row) as station:
        await run_now(server, row)
        await until(lambda: is_state("RebootRequired"))
        station.configuration.rebooted()
        await station.boot()
        await run_now(server, row)
        await until(lambda: is_state("InSync"))
        assert station.configuration["WebSocketPingInterval"] == "20"
        assert station.configuration["HeartbeatInterval"] == "240"

    async def sent() -> list[str]:
        return [one["action"] for one in await api.messages(row.id) if one["direction"] == "out"]

    assert "Reset" not in await sent()
    assert (await sent()).count("ChangeConfiguration") == 2


async def test_a_password_is_rotated_again_and_again(
    server: RunningServer, server_world: World, client: httpx.AsyncClient
) -> None:
    old = "the-first-password"
    row = await server_world.charger(connectors=1, security_profile=1, password_hash=secret_hash(old, SECRET))

    async def back(sockets: int) -> bool:
        found = await AdminApi(client).connections(row.id)
        return len(found) == sockets and found[-1]["closed_at"] is None

    async with simulated(server, row, old):
        await until(lambda: back(1))
        for turn in range(2, 5):
            answer = await client.post(f"/api/admin/chargers/{row.id}/rotate-password")
            assert answer.json() == {"status": "Accepted", "password": "New"}
            await until(lambda turn=turn: back(turn))
        refused = await AdminApi(client).refusals(charger=row.id)
        assert refused == []


async def test_the_demo_has_one_template_however_often_it_is_started(
    database_factory: Any, tmp_path: Path
) -> None:
    settings = Settings.load(database_url=database_factory("demo"), secret_key=SECRET, data_dir=tmp_path)
    database = Database(settings.postgres_url, pool_size=1)
    try:
        for _ in range(2):
            await demo.seed(settings)
            async with database.session() as session:
                [row] = (await session.scalars(select(ConfigurationTemplate))).all()
                assert row.everywhere
                assert dict(row.keys) == demo.TEMPLATE
    finally:
        await database.close()

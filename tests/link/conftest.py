"""Two servers on one database and one Redis, as two processes are, in the test's own event loop."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import SECRET
from tests.gateway.admin import AdminApi, admin_client
from tests.running import RunningServer, start_server
from tests.world import SignedIn, World

from ohmstead.core.config import Settings
from ohmstead.stations.models import Charger

PING = 3.0


@dataclass
class Pair:
    """Two servers, the admin API of each, and rows for both."""

    one: RunningServer
    two: RunningServer
    api_one: AdminApi
    api_two: AdminApi
    world: World
    admin: SignedIn


@asynccontextmanager
async def two_servers(database_url: str, redis_url: str, folder: Path, **more: Any) -> AsyncIterator[Pair]:
    values = {
        "environment": "test",
        "database_url": database_url,
        "redis_url": redis_url,
        "secret_key": SECRET,
        "data_dir": folder,
        "ocpp_refusals_per_minute": 0,
        "ocpp_call_timeout": 5.0,
        "ocpp_ping_interval": PING,
        "log_level": "ERROR",
    }
    settings = Settings.load(**{**values, **more})
    async with start_server(settings) as one, start_server(settings) as two:
        world = World(one.database, one.settings, one.app.state.clock)
        admin = await world.admin()
        async with (
            admin_client(one.http, admin.headers) as first,
            admin_client(two.http, admin.headers) as second,
        ):
            yield Pair(one, two, AdminApi(first), AdminApi(second), world, admin)


@pytest.fixture(scope="session")
async def pair(
    database_factory: Any, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Pair]:
    """One pair for all tests of this folder: give your rows names of their own."""
    async with two_servers(database_factory("pair"), redis_url, tmp_path_factory.mktemp("pair")) as pair:
        yield pair


@pytest.fixture
async def row(pair: Pair) -> Charger:
    return await pair.world.charger()


@pytest.fixture
async def tag(pair: Pair) -> str:
    return (await pair.world.token()).id_tag

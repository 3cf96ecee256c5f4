"""A charger and an operator, both on the real server."""

from collections.abc import AsyncIterator

import pytest
from tests.chargers import RawCharger
from tests.gateway.admin import AdminApi, admin_client
from tests.running import RunningServer
from tests.world import World

from ohmstead.stations.models import Charger


@pytest.fixture
async def api(server: RunningServer, server_world: World) -> AsyncIterator[AdminApi]:
    """The admin API as a SystemAdmin."""
    user = await server_world.admin()
    async with admin_client(server.http, user.headers) as client:
        yield AdminApi(client)


@pytest.fixture
async def row(server_world: World) -> Charger:
    """A charger with two connectors, known to the server and not connected."""
    return await server_world.charger()


@pytest.fixture
async def raw(server: RunningServer, row: Charger) -> AsyncIterator[RawCharger]:
    """That charger, connected."""
    async with await RawCharger.connect(server.ws, row.id) as raw:
        yield raw


@pytest.fixture
async def tag(server_world: World) -> str:
    """An id tag that may charge everywhere."""
    return (await server_world.token()).id_tag

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from tests.cli.running import reachable_folder
from tests.faults.database import CHARGERS, GRACE_SECONDS, Hung, Scene, Stopped, ending
from tests.faults.fleet import load, settle_chargers
from tests.world import World

from ohmstead.core import migrations
from ohmstead.core.postgres import EmbeddedPostgres
from ohmstead.gateway import server as gateway_server


@pytest.fixture
def own_postgres() -> Iterator[EmbeddedPostgres]:
    """A durable PostgreSQL that a test may ill-treat."""
    with reachable_folder() as folder:
        postgres = EmbeddedPostgres(folder)
        migrations.upgrade(postgres.start())
        yield postgres
        postgres.stop()


@pytest.fixture
def play(own_postgres: EmbeddedPostgres, make_server: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Set the scene: `async with play(Stopped) as scene`."""
    monkeypatch.setattr(gateway_server, "AWAY_GRACE_SECONDS", GRACE_SECONDS)

    @asynccontextmanager
    async def make(kind: Callable[[EmbeddedPostgres], Stopped | Hung]) -> AsyncIterator[Scene]:
        url = own_postgres.url()
        identities = await settle_chargers(url, CHARGERS)
        async with (
            make_server(database_url=url, log_level="ERROR") as server,
            httpx.AsyncClient(base_url=server.http, timeout=60) as http,
            load(server.ws, identities, patience_seconds=30) as fleet,
        ):
            world = World(server.database, server.settings, server.app.state.clock)
            headers = (await world.admin()).headers
            business = await world.backoffice()
            with ending(kind(own_postgres)) as fault:
                yield Scene(server, url, fault, fleet, http, headers, str(business.id))

    return make

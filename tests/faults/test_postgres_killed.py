"""`kill -9` of the embedded PostgreSQL under load: the server that started it starts it again."""

import asyncio
import os
import signal

import httpx
from tests.chargers import until
from tests.cli.running import reachable_folder
from tests.faults.fleet import load, settle_chargers
from tests.faults.processes import serve
from tests.faults.proof import prove
from tests.running import free_port

from ohmstead.core.postgres import EmbeddedPostgres

CHARGERS = 10


async def test_the_fleet_goes_on_and_nothing_that_was_acknowledged_is_lost() -> None:
    port = free_port()
    with reachable_folder() as folder:
        postgres = EmbeddedPostgres(folder)
        with serve(port, OHMSTEAD_DATA_DIR=str(folder)) as server:
            await asyncio.to_thread(server.await_health, port)
            identities = await settle_chargers(postgres.url(), CHARGERS)
            async with load(f"ws://127.0.0.1:{port}", identities, patience_seconds=60) as fleet:
                for _ in range(2):
                    await fleet.progress(each=8)
                    killed = postgres.pid
                    assert killed is not None
                    os.kill(killed, signal.SIGKILL)
                    await fleet.progress(each=8)
                    assert postgres.pid not in {None, killed}
                await fleet.finish()

            async def ready() -> bool:
                async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
                    return (await http.get("/health/ready")).status_code == 200

            await until(ready)
            await prove(postgres.url(), fleet.ledger)
            assert await asyncio.to_thread(server.stop, signal.SIGTERM) == 0, server.text()
            assert "postgres.started_again" in server.text()
        assert postgres.pid is None, "the last server has stopped it"

"""`kill -9` of the server under load: what it had acknowledged is there, once, and the fleet goes on."""

import asyncio
import signal

import pytest
from tests.cli.running import reachable_folder
from tests.faults.fleet import load, settle_chargers
from tests.faults.processes import serve
from tests.faults.proof import prove, rows
from tests.running import free_port

from ohmstead.core.postgres import EmbeddedPostgres

CHARGERS = 30


@pytest.mark.parametrize(
    "kills",
    [3, pytest.param(50, marks=[pytest.mark.prove, pytest.mark.timeout(1200)])],
)
async def test_what_was_acknowledged_survives_every_kill_exactly_once(kills: int) -> None:
    port = free_port()
    with reachable_folder() as folder:
        postgres = EmbeddedPostgres(folder)

        server = serve(port, OHMSTEAD_DATA_DIR=str(folder))
        try:
            await asyncio.to_thread(server.await_health, port)
            identities = await settle_chargers(postgres.url(), CHARGERS)
            async with load(f"ws://127.0.0.1:{port}", identities) as fleet:
                for _ in range(kills):
                    await fleet.progress(each=8)
                    server.process.send_signal(signal.SIGKILL)
                    server.process.wait()
                    server.__exit__()
                    server = serve(port, OHMSTEAD_DATA_DIR=str(folder))
                    await fleet.progress(each=1)
                await fleet.finish()
            assert server.stop(signal.SIGTERM) == 0, server.text()
            assert "Traceback" not in server.text(), server.text()
            assert fleet.troubles.closes[1006] >= kills, "the kills came under load"
            assert postgres.pid is None, "the last server has stopped the database that the killed ones left"
            with EmbeddedPostgres(folder) as url:
                await prove(url, fleet.ledger)
                ended = await rows(
                    url,
                    "SELECT count(*) FROM gateway_connection WHERE close_reason = %s",
                    "the server ended without closing it",
                )
                assert ended[0][0] >= kills * CHARGERS // 2, "its connections were ended by the next server"
                open_still = await rows(
                    url, "SELECT count(*) FROM gateway_connection WHERE closed_at IS NULL"
                )
                assert open_still == [(0,)]
        finally:
            server.__exit__()
    print(f"\n{kills} kills: {fleet.acknowledged} acknowledged, {fleet.troubles}")  # noqa: T201 # how hard it was

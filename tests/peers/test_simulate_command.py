"""`ohmstead simulate` as a person runs it, in a process of its own, against the real server."""

import asyncio
import re

from sqlalchemy import select
from tests.chargers import until
from tests.cli.running import ohmstead
from tests.peers.test_scenarios import FOLDER, prepare
from tests.running import RunningServer
from tests.world import World

from ohmstead.charging.models import Session, SessionStatus
from ohmstead.gateway.models import Connection

SPEED = 240
SECONDS = 10
"""Some scenarios wait for commands for ever: the run ends when its time is over."""


async def test_it_plays_every_scenario_of_the_repository_and_ends_well(
    server: RunningServer, server_world: World
) -> None:
    scenarios = sorted(FOLDER.glob("*.yaml"))
    prefix, ids, tags = await prepare(server_world, len(scenarios))
    done = await asyncio.to_thread(
        ohmstead,
        "simulate",
        *("--url", f"{server.ws}/ocpp", "--scenario", str(FOLDER / "*.yaml")),
        *("--chargers", str(len(scenarios)), "--speed", str(SPEED), "--duration", str(SECONDS)),
        *("--id-prefix", prefix, "--seed", "7"),
        *(word for tag in tags for word in ("--tag", tag)),
    )
    assert done.returncode == 0, done.stderr
    told = re.search(r"(\d+) of (\d+) sessions done, 0 errors", done.stdout)
    assert told is not None, done.stdout
    ended, started = int(told[1]), int(told[2])
    assert 0 < ended <= started

    async def all_gone() -> bool:
        async with server.database.session() as session:
            query = select(Connection).where(Connection.charger_id.in_(ids))
            connections = (await session.scalars(query)).all()
        return {one.charger_id for one in connections} == set(ids) and all(
            one.closed_at is not None for one in connections
        )

    await until(all_gone)
    async with server.database.session() as session:
        query = select(Session).where(Session.charger_id.in_(ids), Session.unmatched.is_(False))
        rows = (await session.scalars(query)).all()
    assert len(rows) == started
    assert sum(row.status == SessionStatus.COMPLETED for row in rows) >= ended

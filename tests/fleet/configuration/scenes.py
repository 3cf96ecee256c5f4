"""A charger with a template that boots, and the job that follows."""

from typing import Any
from uuid import uuid4

from fastapi import FastAPI
from sqlalchemy import text, update
from tests.conftest import FrozenClock
from tests.fleet.configuration.conftest import Api
from tests.world import World

from ohmstead.core.db import Database
from ohmstead.fleet.configuration import applying
from ohmstead.fleet.configuration.applying import SETTLE, TASK
from ohmstead.fleet.configuration.models import ConfigurationTemplate, ConfigurationTurn
from ohmstead.stations.models import Charger

KEYS = {"HeartbeatInterval": "120", "MeterValueSampleInterval": "30"}


async def template(world: World, charger: Charger, keys: dict[str, str]) -> ConfigurationTemplate:
    """Make a template for the business of a charger."""
    assert charger.backoffice_id is not None
    row = ConfigurationTemplate(
        id=uuid4(),
        backoffice_id=charger.backoffice_id,
        name=f"Template {uuid4()}",
        keys=[[key, value] for key, value in keys.items()],
        everywhere=True,
    )
    await world.add(row)
    return row


class Scene:
    """A charger with a template that boots, and the job that follows."""

    def __init__(self, app: FastAPI, db: Database, clock: FrozenClock, charger: Charger) -> None:
        self.app = app
        self.db = db
        self.clock = clock
        self.charger = charger

    async def boot(self) -> int | None:
        """The charger has booted; its turn comes some seconds later."""
        self.clock.advance(60)
        now = self.clock.now()
        async with self.db.session() as session:
            await session.execute(
                update(Charger).where(Charger.id == self.charger.id).values(last_boot_at=now)
            )
            interval = await applying.booted(session, self.charger, now)
        self.clock.advance(SETTLE.total_seconds())
        return interval

    async def run(self) -> int:
        return await applying.run_due(self.app.state.commands, self.app.state.settings)

    async def turn(self) -> ConfigurationTurn | None:
        async with self.db.session() as session:
            return await session.get(ConfigurationTurn, self.charger.id)

    async def state(self, api: Api) -> tuple[str, dict[str, str]]:
        """How the charger stands: as a whole, and by its wanted keys."""
        shown = await api.ok("GET", f"/chargers/{self.charger.id}/configuration")
        keys = {item["key"]: item["state"] for item in shown["items"] if item["state"] is not None}
        return shown["template"]["state"], keys

    async def jobs(self) -> list[Any]:
        """When the job is to run, each time that it was deferred."""
        async with self.db.session() as session:
            query = text("SELECT scheduled_at FROM procrastinate_jobs WHERE task_name = :task ORDER BY id")
            return list(await session.scalars(query, {"task": TASK}))


async def a_scene(app: FastAPI, db: Database, clock: FrozenClock, world: World) -> Scene:
    """Make a charger that counts as online, without a template yet."""
    return Scene(app, db, clock, await world.charger(online=True))

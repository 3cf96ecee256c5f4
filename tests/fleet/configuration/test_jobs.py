"""What the configuration does by the clock."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from fastapi import FastAPI
from procrastinate import JobContext
from procrastinate.jobs import Job
from sqlalchemy import select
from tests.conftest import FrozenClock
from tests.fleet.configuration.conftest import Attach
from tests.fleet.configuration.scenes import KEYS, Scene, template
from tests.world import World

from ohmstead.core.db import Database
from ohmstead.core.jobs import Jobs
from ohmstead.fleet.configuration.models import ConfigurationChange

Run = Callable[..., Awaitable[None]]


@pytest.fixture
def run(app: FastAPI) -> Run:
    """Run a task as the queue would."""

    async def run(name: str, **arguments: int) -> None:
        jobs: Jobs = app.state.jobs
        job = Job(
            id=1, queue="default", lock=None, queueing_lock=None, task_name=name, task_kwargs=dict(arguments)
        )
        state = app.state
        means = {
            "database": state.database,
            "clock": state.clock,
            "settings": state.settings,
            "commands": state.commands,
        }
        context = JobContext(
            app=jobs.app, job=job, start_timestamp=0, abort_reason=lambda: None, additional_context=means
        )
        await jobs.app.tasks[name](context, **arguments)

    return run


@pytest.mark.parametrize(
    ("task", "arguments"), [("apply_templates", {}), ("apply_templates_again", {"timestamp": 0})]
)
async def test_the_turns_that_are_due_are_taken_after_a_boot_and_by_the_clock(
    *,
    app: FastAPI,
    db: Database,
    clock: FrozenClock,
    world: World,
    attach: Attach,
    run: Run,
    task: str,
    arguments: dict[str, int],
) -> None:
    charger = await world.charger(online=True)
    await template(world, charger, KEYS)
    link = attach(charger)
    scene = Scene(app, db, clock, charger)
    await scene.boot()
    await run(f"configuration:{task}", **arguments)
    assert dict(link.changed) == KEYS


async def test_changes_are_kept_as_long_as_the_history_of_chargers(
    app: FastAPI, db: Database, clock: FrozenClock, world: World, run: Run
) -> None:
    charger = await world.charger()
    days = app.state.settings.history_days
    for age in (timedelta(days=days, seconds=1), timedelta(days=days, seconds=-1)):
        await world.add(
            ConfigurationChange(
                charger_id=charger.id,
                at=clock.now() - age,
                key="A",
                to_value=str(age.total_seconds()),
                command="ChangeConfiguration",
            )
        )
    await run("configuration:trim_configuration_changes", timestamp=0)
    async with db.session() as session:
        kept = await session.scalars(select(ConfigurationChange.to_value))
        assert kept.all() == [str(timedelta(days=days, seconds=-1).total_seconds())]

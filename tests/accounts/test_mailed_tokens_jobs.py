"""Links that were mailed are forgotten a month after their end."""

from fastapi import FastAPI
from procrastinate import JobContext
from procrastinate.jobs import Job
from sqlalchemy import func, select
from tests.conftest import FrozenClock
from tests.world import World

from ohmstead.accounts.mailed_tokens import Purpose, make
from ohmstead.accounts.mailed_tokens_models import MailedToken
from ohmstead.accounts.models import Role, User
from ohmstead.core.jobs import Jobs

TASK = "mailed_tokens:trim"


async def test_they_go_by_the_clock_and_not_before(app: FastAPI, world: World, clock: FrozenClock) -> None:
    made = await world.user(Role.EV_OWNER)
    async with world.database.session() as session:
        user = await session.get(User, made.id)
        assert user is not None
        for purpose in (Purpose.INVITE, Purpose.VERIFY_EMAIL):
            await make(session, world.settings, user, purpose, clock.now())
    jobs: Jobs = app.state.jobs

    async def left() -> int:
        context = JobContext(
            app=jobs.app,
            job=Job(id=1, queue="default", lock=None, queueing_lock=None, task_name=TASK, task_kwargs={}),
            start_timestamp=0,
            abort_reason=lambda: None,
            additional_context={"database": world.database, "clock": clock},
        )
        await jobs.app.tasks[TASK](context, timestamp=0)
        async with world.database.session() as session:
            return await session.scalar(select(func.count()).select_from(MailedToken)) or 0

    assert await left() == 2
    clock.advance((3 + 31) * 86400 + 1)
    assert await left() == 1
    clock.advance(4 * 86400)
    assert await left() == 0

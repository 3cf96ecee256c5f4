from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from procrastinate import Blueprint
from sqlalchemy import text

from ohmstead.core.acting import Acting, acting, acting_as
from ohmstead.core.db import Database
from ohmstead.core.jobs import Jobs, defer, emit


@pytest.fixture(scope="module")
def url(database_factory: Any) -> str:
    return str(database_factory("jobs"))


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    """A database whose commits are real, with a queue of two tasks that hear `Happened`."""
    blueprint = Blueprint()

    @blueprint.task(name="bill")
    async def bill(*, number: int) -> None: ...

    @blueprint.task(name="notify")
    async def notify(*, number: int) -> None: ...

    registry = Blueprint()
    registry.add_tasks_from(blueprint, namespace="test")
    database = Database(url)
    database.session_info["jobs"] = Jobs(url, registry, {"Happened": ["test:bill", "test:notify"]})
    yield database
    async with database.session() as session:
        await session.execute(text("TRUNCATE procrastinate_jobs CASCADE"))
    await database.close()


def queued(url: str) -> list[tuple[Any, ...]]:
    """What another connection sees of the queue."""
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT task_name, args, scheduled_at, status FROM procrastinate_jobs ORDER BY id"
        ).fetchall()


async def test_a_fact_becomes_one_job_for_each_subscriber_when_it_commits(
    database: Database, url: str
) -> None:
    async with database.session() as session:
        await emit(session, "Happened", number=7)
        assert queued(url) == [], "nobody may act on what is not committed"
    assert queued(url) == [
        ("test:bill", {"number": 7}, None, "todo"),
        ("test:notify", {"number": 7}, None, "todo"),
    ]


async def test_a_fact_that_is_rolled_back_has_no_job(database: Database, url: str) -> None:
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 # the block is the unit of work
        async with database.session() as session:
            await emit(session, "Happened", number=7)
            await defer(session, "test:bill", number=8)
            raise ZeroDivisionError
    assert queued(url) == []


async def test_a_fact_whose_statement_fails_has_no_job(database: Database, url: str) -> None:
    with pytest.raises(Exception, match="division by zero"):  # noqa: PT012 # the block is the unit of work
        async with database.session() as session:
            await emit(session, "Happened", number=7)
            await session.execute(text("SELECT 1 / 0"))
    assert queued(url) == []


async def test_a_part_that_is_rolled_back_takes_its_jobs_along_and_leaves_the_rest(
    database: Database, url: str
) -> None:
    async with database.session() as session:
        await emit(session, "Happened", number=1)
        with pytest.raises(ZeroDivisionError):  # noqa: PT012 # the block is the unit of work
            async with session.begin_nested():
                await emit(session, "Happened", number=2)
                raise ZeroDivisionError
    assert [args["number"] for _, args, _, _ in queued(url)] == [1, 1]


async def test_a_fact_that_nobody_hears_is_no_job(database: Database, url: str) -> None:
    async with database.session() as session:
        await emit(session, "Unheard", number=7)
    assert queued(url) == []


async def test_a_job_may_wait_for_its_time(database: Database, url: str) -> None:
    later = datetime(2030, 1, 1, tzinfo=UTC)
    async with database.session() as session:
        await defer(session, "test:bill", run_at=later, number=7)
    ((_, _, scheduled, _),) = queued(url)
    assert scheduled == later


async def test_the_queue_is_not_read_before_it_is_needed(database: Database, url: str) -> None:
    """A job is deferred over the caller's connection: the queue's own pool need not be open."""
    async with database.session() as session:
        jobs: Jobs = session.info["jobs"]
        await jobs.defer(session, "test:notify", number=1)
    assert [name for name, *_ in queued(url)] == ["test:notify"]


def test_a_subscriber_that_is_no_task_is_found_at_the_start(url: str) -> None:
    with pytest.raises(ValueError, match="test:nobody"):
        Jobs(url, Blueprint(), {"Happened": ["test:nobody"]})


async def test_what_a_job_does_is_done_by_the_system_in_its_name(url: str) -> None:
    seen: list[Acting] = []
    blueprint = Blueprint()

    @blueprint.task(name="look")
    async def look() -> None:
        seen.append(acting())

    registry = Blueprint()
    registry.add_tasks_from(blueprint, namespace="test")
    jobs = Jobs(url, registry, {})
    with acting_as(Acting(kind="user", id="maya")):
        async with jobs.app.open_async():
            await jobs.app.configure_task("test:look").defer_async()
            await jobs.app.run_worker_async(wait=False, install_signal_handlers=False)
        assert acting().id == "maya"
    assert seen == [Acting(kind="system", id="test:look")]

"""Durable jobs, and facts that other domains care about.

A job is deferred on the connection of the unit of work that causes it: it exists exactly when its
fact does, so this queue is the outbox. A fact is published by name and becomes one job per
subscriber; the publisher knows none of them. Jobs run at least once, so they are idempotent.
"""

from copy import copy
from datetime import datetime
from typing import Any

from procrastinate import App, Blueprint, JobContext, PsycopgConnector, RetryStrategy
from procrastinate.middleware import AsyncCallNext
from procrastinate.tasks import configure_task
from procrastinate.worker import Worker
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.core.acting import Acting, acting_as
from ohmstead.core.db import raw_connection

RETRY = RetryStrategy(max_attempts=12, exponential_wait=3)

Subscribers = dict[str, list[str]]


class Jobs:
    """The queue of one process: tasks by name, and which of them hear which fact."""

    def __init__(self, url: str, registry: Blueprint, subscribers: Subscribers) -> None:
        self.app = App(connector=PsycopgConnector(conninfo=url, min_size=1, max_size=4, timeout=5.0))
        # A blueprint can be added to one app only, and a process may hold several (tests do): each has
        # copies, since a task defers by the app that it belongs to.
        own = {name: copy(task) for name, task in registry.tasks.items()}
        for task in own.values():
            task.blueprint = self.app
            task.task_middleware = [*task.task_middleware, _acting_as_job]
        self.app.tasks.update(own)
        for turn in registry.periodic_registry.periodic_tasks.values():
            self.app.periodic_registry.register_task(
                own[turn.task.name], turn.cron, turn.periodic_id, turn.configure_kwargs
            )
        self.subscribers = subscribers
        unknown = {task for tasks in subscribers.values() for task in tasks} - set(self.app.tasks)
        if unknown:
            raise ValueError(f"facts are subscribed by tasks that do not exist: {sorted(unknown)}")

    async def defer(
        self,
        session: AsyncSession,
        task: str,
        *,
        run_at: datetime | None = None,
        queueing_lock: str | None = None,
        **arguments: Any,
    ) -> None:
        """Queue a task in the caller's transaction; it runs after the commit, at `run_at` if given."""
        deferrer = configure_task(
            name=task,
            job_manager=self.app.job_manager,
            connection=await raw_connection(session),
            schedule_at=run_at,
            queueing_lock=queueing_lock,
        )
        await deferrer.defer_async(**arguments)


async def _acting_as_job(call_next: AsyncCallNext, context: JobContext, _: Worker) -> Any:
    """What a job changes is done by the system, under the name of its task."""
    with acting_as(Acting(kind="system", id=None if context.job is None else context.job.task_name)):
        return await call_next()


async def defer(
    session: AsyncSession, task: str, *, run_at: datetime | None = None, **arguments: Any
) -> None:
    """Queue a task in the caller's transaction."""
    jobs: Jobs = session.info["jobs"]
    await jobs.defer(session, task, run_at=run_at, **arguments)


async def emit(session: AsyncSession, fact: str, **arguments: Any) -> None:
    """Publish a fact (`SessionEnded`): one job per subscriber, in the caller's transaction."""
    jobs: Jobs = session.info["jobs"]
    for task in jobs.subscribers.get(fact, ()):
        await jobs.defer(session, task, **arguments)

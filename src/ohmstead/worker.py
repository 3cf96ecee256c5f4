"""The jobs of every domain, and the worker that runs them inside the server."""

import asyncio
from typing import Any

import structlog
from procrastinate import Blueprint, JobContext, builtin_tasks
from procrastinate.jobs import Status

from ohmstead.accounts import audit_jobs as audit
from ohmstead.accounts import key_rotation_jobs as key_rotation
from ohmstead.accounts import mailed_tokens_jobs as mailed_tokens
from ohmstead.accounts import personal_data_jobs as personal_data
from ohmstead.accounts import sign_in_jobs as sign_in
from ohmstead.bookings import reservations_jobs as reservations
from ohmstead.charging import jobs as charging
from ohmstead.core import files
from ohmstead.core.clock import Clock
from ohmstead.core.config import Settings
from ohmstead.core.db import Database
from ohmstead.core.jobs import Jobs, Subscribers
from ohmstead.energy import subscribers as energy
from ohmstead.fleet.campaigns import jobs as campaigns
from ohmstead.fleet.configuration import jobs as configuration
from ohmstead.fleet.diagnostics import jobs as diagnostics
from ohmstead.fleet.firmware import jobs as firmware
from ohmstead.fleet.local_lists import jobs as local_lists
from ohmstead.fleet.onboarding import jobs as onboarding
from ohmstead.gateway import jobs as gateway
from ohmstead.insights import diagnosis_jobs as diagnosis
from ohmstead.mail import jobs as mail
from ohmstead.notifications import jobs as alerts
from ohmstead.notifications import subscribers as notifications
from ohmstead.stations import jobs as stations

logger = structlog.stdlib.get_logger(__name__)

KEEP_HOURS = 72
RESTART_SECONDS = 2.0
STOP_SECONDS = 15.0

housekeeping = Blueprint()


@housekeeping.periodic(cron="37 * * * *")
@housekeeping.task(name="remove_old_jobs", pass_context=True, queueing_lock="remove_old_jobs")
async def remove_old_jobs(context: JobContext, timestamp: int) -> None:
    """Remove jobs that ended well three days ago."""
    await builtin_tasks.remove_old_jobs(context, max_hours=KEEP_HOURS)


@housekeeping.periodic(cron="* * * * *")
@housekeeping.task(name="retry_stalled_jobs", pass_context=True, queueing_lock="retry_stalled_jobs")
async def retry_stalled_jobs(context: JobContext, timestamp: int) -> None:
    """Run again what a worker had begun when it was killed, or cut off, before it could say how it ended.

    What comes by the clock is not run again: its next turn does the same.
    """
    jobs = context.app.job_manager
    for job in await jobs.get_stalled_jobs():
        logger.warning("jobs.stalled", task_name=job.task_name, job_id=job.id)
        if job.queueing_lock is None:
            await jobs.retry_job(job)
        else:
            await jobs.finish_job(job, status=Status.ABORTED, delete_job=False)


registry = Blueprint()
for namespace, blueprint in (
    ("core", housekeeping),
    (files.NAMESPACE, files.blueprint),
    (firmware.NAMESPACE, firmware.blueprint),
    (diagnostics.NAMESPACE, diagnostics.blueprint),
    (charging.NAMESPACE, charging.blueprint),
    (local_lists.NAMESPACE, local_lists.blueprint),
    (reservations.NAMESPACE, reservations.blueprint),
    (campaigns.NAMESPACE, campaigns.blueprint),
    (configuration.NAMESPACE, configuration.blueprint),
    (gateway.NAMESPACE, gateway.blueprint),
    (notifications.NAMESPACE, notifications.blueprint),
    (alerts.NAMESPACE, alerts.blueprint),
    (stations.NAMESPACE, stations.blueprint),
    (mail.NAMESPACE, mail.blueprint),
    (sign_in.NAMESPACE, sign_in.blueprint),
    (audit.NAMESPACE, audit.blueprint),
    (mailed_tokens.NAMESPACE, mailed_tokens.blueprint),
    (key_rotation.NAMESPACE, key_rotation.blueprint),
    (personal_data.NAMESPACE, personal_data.blueprint),
    (energy.NAMESPACE, energy.blueprint),
    (onboarding.NAMESPACE, onboarding.blueprint),
    (diagnosis.NAMESPACE, diagnosis.blueprint),
):
    registry.add_tasks_from(blueprint, namespace=namespace)


def subscribers() -> Subscribers:
    """Return which tasks hear which fact, over all domains."""
    heard: Subscribers = {}
    for domain in (
        notifications.SUBSCRIBERS,
        energy.SUBSCRIBERS,
    ):
        for fact, tasks in domain.items():
            heard.setdefault(fact, []).extend(tasks)
    return heard


def create_jobs(url: str) -> Jobs:
    """Build the queue of this process."""
    return Jobs(url, registry, subscribers())


class Worker:
    """Runs jobs until it is stopped; comes back by itself when the database was away."""

    def __init__(
        self, jobs: Jobs, settings: Settings, database: Database, clock: Clock, **means: Any
    ) -> None:
        """Run `jobs`; `means` is what tasks find in their context beside the settings, database and clock."""
        self._jobs = jobs
        self._context: dict[str, Any] = {"settings": settings, "database": database, "clock": clock, **means}
        self._task: asyncio.Task[None] | None = None
        self.running = False

    def start(self) -> None:
        """Begin to run jobs."""
        self._task = asyncio.create_task(self._run(), name="jobs")

    async def stop(self) -> None:
        """Let the jobs that run come to their end, for some seconds, then stop.

        A database that hangs cannot hold it up: what is not done by then is run again at the next start.
        """
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait({self._task}, timeout=STOP_SECONDS)
        if not self._task.done():
            logger.warning("jobs.abandoned", seconds=STOP_SECONDS)
        self.running = False

    async def _run(self) -> None:
        while True:
            try:
                async with self._jobs.app.open_async():
                    self.running = True
                    await self._jobs.app.run_worker_async(
                        concurrency=4,
                        install_signal_handlers=False,
                        listen_notify=True,
                        shutdown_graceful_timeout=5.0,
                        additional_context=self._context,
                    )
            except asyncio.CancelledError:
                raise
            except Exception:  # whatever ends it (the database most of all), it must come back
                logger.warning("jobs.interrupted", exc_info=True)
            self.running = False
            await asyncio.sleep(RESTART_SECONDS)

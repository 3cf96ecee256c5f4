"""`ohmstead serve` that finds within seconds what a killed process was working on, and says what it claims.

It has one job more, which does not end before it is begun anew.

python -m tests.faults.hasty serve --port 9000
"""

import asyncio
from datetime import timedelta
from functools import partialmethod
from typing import Any

from procrastinate import Blueprint, JobContext
from procrastinate.manager import JobManager
from procrastinate.worker import Worker

from ohmstead import cli
from ohmstead.fleet.campaigns import dispatcher, progress, turns
from ohmstead.fleet.campaigns.dispatcher import Dispatcher
from ohmstead.fleet.campaigns.turns import Claimed
from ohmstead.worker import registry

LEASE_SECONDS = 4.0
CLAIMED = "has claimed"
BEGUN = "has begun the job"
LINGER = "test:linger"


def shorten() -> None:
    """Let the leases of campaigns be short, and all that hangs on them."""
    turns.LEASE = timedelta(seconds=LEASE_SECONDS)
    dispatcher.RENEW_SECONDS = LEASE_SECONDS / 4
    dispatcher.LAPSE_SECONDS = LEASE_SECONDS * 3 / 4
    progress.UNREACHED_AGAIN = timedelta(seconds=1)


def tell_claims() -> None:
    """Say on the standard output which charger is begun with, before it is."""
    begin = Dispatcher._begin

    def told(self: Dispatcher, claimed: Claimed) -> None:
        print(CLAIMED, claimed.charger_id, flush=True)  # noqa: T201 # the test reads it
        begin(self, claimed)

    Dispatcher._begin = told  # type: ignore[method-assign] # replaces what the program uses


def miss_workers_soon() -> None:
    """Let a worker of jobs whose heart beats no more be known as dead after some seconds."""
    more: Any = {"update_heartbeat_interval": LEASE_SECONDS / 4, "stalled_worker_timeout": LEASE_SECONDS}
    patched: Any = Worker
    patched.__init__ = partialmethod(Worker.__init__, **more)
    patched = JobManager
    patched.get_stalled_jobs = partialmethod(
        JobManager.get_stalled_jobs, seconds_since_heartbeat=LEASE_SECONDS
    )


def add_lingering_job() -> None:
    """Add a job that says who does it, and that nobody ends who does it for the first time."""
    blueprint = Blueprint()

    @blueprint.task(name="linger", pass_context=True)
    async def linger(context: JobContext) -> None:
        print(BEGUN, context.job.id, flush=True)  # noqa: T201 # the test reads it
        if context.job.attempts == 0:
            await asyncio.Event().wait()

    registry.add_tasks_from(blueprint, namespace=LINGER.partition(":")[0])


if __name__ == "__main__":
    shorten()
    tell_claims()
    miss_workers_soon()
    add_lingering_job()
    cli.main()

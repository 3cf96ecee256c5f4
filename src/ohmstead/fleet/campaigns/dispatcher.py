"""The dispatcher of one process: it works on the items that it has claimed, as many as the limits allow.

Nothing that must happen lives only in here. What is to be done, and who does it, is in the database; a job
(`jobs.py`) wakes the dispatcher for each cause, and the clock once a minute. It does not work inside a job:
a charger may take long to answer, and only a few jobs run at a time.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import structlog
from sqlalchemy.exc import IntegrityError

from ohmstead.core.acting import Acting, acting_as
from ohmstead.core.errors import DomainError, Unavailable
from ohmstead.core.tasks import end
from ohmstead.fleet.campaigns.turns import LEASE, Claimed, Ended, Turn, interrupted, renew, take_turn
from ohmstead.fleet.campaigns.work import Kind, Means, Outcome, away, failed, unreached
from ohmstead.link.links import ChargerOffline, ChargerUnreachable

logger = structlog.stdlib.get_logger(__name__)

RENEW_SECONDS = LEASE.total_seconds() / 4
LAPSE_SECONDS = LEASE.total_seconds() * 3 / 4
"""Work whose lease could not be renewed for so long is cut off: another process will soon begin it."""
RETRY_SECONDS = 1.0
STOP_SECONDS = 2.0
GATHER_SECONDS = 0.05
"""For so long results gather before they are written together."""
PER_SECOND = 100
"""So many chargers are begun with in a second: what a fleet answers must not crowd out everything else."""
BURST = 20


class Dispatcher:
    """Claims items, has their kinds work on them, and writes what comes of it.

    `kinds` may grow while it runs; `means` is what each kind is given.
    """

    def __init__(self, means: Means, kinds: Mapping[str, Kind]) -> None:
        self.means = means
        self.kinds = kinds
        self._work: dict[asyncio.Task[Outcome], Claimed] = {}
        self._ended: list[Ended] = []
        self._woken = asyncio.Event()
        self._renewed = 0.0
        self._budget = float(BURST)
        self._counted = time.monotonic()
        self._stopping = False
        self._loop: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Return how many items are being worked on."""
        return len(self._work)

    def wake(self) -> None:
        """Have it look at what may begin. Returns at once, and may be called as often as one likes."""
        self._woken.set()
        if not self._stopping and (self._loop is None or self._loop.done()):
            self._loop = asyncio.create_task(self._run(), name="campaigns")

    async def stop(self, grace_seconds: float = STOP_SECONDS) -> None:
        """Claim no more, let chargers answer for a moment, and write what has become of the rest.

        What cannot be written now is found by its lease, by whoever is alive then.
        """
        self._stopping = True
        if self._loop is None:
            return
        if self._work:
            await asyncio.wait(self._work, timeout=grace_seconds)
        for task in self._work:
            task.cancel()
        self._woken.set()
        await asyncio.wait({self._loop}, timeout=max(grace_seconds, RETRY_SECONDS))
        await end(self._loop)

    async def _run(self) -> None:
        while not (self._stopping and not self._work and not self._ended):
            try:
                async with asyncio.timeout(RENEW_SECONDS):
                    await self._woken.wait()
            except TimeoutError:
                if not self._work and not self._ended:
                    continue
            if not self._stopping:
                await asyncio.sleep(GATHER_SECONDS)
            self._woken.clear()
            try:
                turn = await self._turn()
            except (Unavailable, IntegrityError) as error:
                # The database is away; or another process began work of the same kind at the same charger.
                logger.info("campaigns.turn_failed", why=type(error).__name__)
                await self._try_again()
            except Exception:
                logger.exception("campaigns.turn_broken")
                self._ended = [_bare(one) for one in self._ended]
                await self._try_again()
            else:
                for claimed in turn.claimed:
                    self._begin(claimed)
                if turn.more:  # in the next turn there is a budget again
                    self._woken.set()

    async def _try_again(self) -> None:
        if self._work and time.monotonic() - self._renewed > LAPSE_SECONDS:
            logger.warning("campaigns.work_cut_off", items=len(self._work), why="leases could not be renewed")
            for task in self._work:
                task.cancel()
        await asyncio.sleep(RETRY_SECONDS)
        self._woken.set()

    async def _turn(self) -> Turn:
        """Write what has ended until now, renew what is being worked on, and claim what may begin."""
        began, now, links = time.monotonic(), self.means.clock.now(), self.means.links
        held = list(self._work.values())
        to_renew = held if began - self._renewed >= RENEW_SECONDS else []
        ended = [replace(one, connected=links.get(one.claimed.charger_id) is not None) for one in self._ended]
        self._budget = min(self._budget + (began - self._counted) * PER_SECOND, BURST)
        self._counted = began
        at_most = 0 if self._stopping else max(1, int(self._budget))
        async with self.means.database.session() as session:
            still_ours = await renew(session, to_renew, now) if to_renew else set()
            turn = await take_turn(session, ended, kinds=self.kinds, now=now, at_most=at_most)
        del self._ended[: len(ended)]
        self._budget -= len(turn.claimed)
        if to_renew or not held:
            self._renewed = began
        lost = {one.lease for one in to_renew} - still_ours
        for task, claimed in self._work.items():
            if claimed.lease in lost:
                task.cancel()  # somebody took this process for dead, and works on it
        return turn

    def _begin(self, claimed: Claimed) -> None:
        if self._stopping:
            self._keep(claimed, failed("The server stopped before this began.", again=True))
            return
        task = asyncio.create_task(self._apply(claimed), name=f"campaigns {claimed.charger_id}")
        self._work[task] = claimed
        task.add_done_callback(partial(self._finished, claimed))

    def _finished(self, claimed: Claimed, task: asyncio.Task[Outcome]) -> None:
        del self._work[task]
        self._keep(claimed, interrupted(self.kinds.get(claimed.kind)) if task.cancelled() else task.result())

    def _keep(self, claimed: Claimed, outcome: Outcome) -> None:
        self._ended.append(Ended(claimed, outcome))
        self._woken.set()

    async def _apply(self, claimed: Claimed) -> Outcome:
        """Have the kind work on an item; whatever goes wrong is a failure of the item."""
        kind = self.kinds.get(claimed.kind)
        if kind is None:
            return failed(f"This server does not know the kind of work {claimed.kind}.")
        try:
            with acting_as(Acting(kind="system", id=f"campaigns:{kind.name}"[:64])):
                async with asyncio.timeout(kind.work_limit.total_seconds()):
                    return await kind.apply(self.means, claimed.charger_id, claimed.parameters)
        except TimeoutError:
            return failed(f"This took longer than {kind.work_limit} and was cut off.", again=kind.repeatable)
        except ChargerUnreachable as error:
            return unreached(error.message)
        except ChargerOffline as error:
            return away(error.message) if kind.repeatable else failed(error.message)
        except DomainError as error:
            return failed(error.message, again=kind.repeatable and isinstance(error, Unavailable))
        except Exception:
            logger.exception("campaigns.work_broken", kind=kind.name, charger_id=claimed.charger_id)
            return failed("This failed by a fault of ours; it is in our log.")


def _bare(one: Ended) -> Ended:
    """Return a result without what the charger said: perhaps that is what could not be written."""
    outcome = replace(one.outcome, detail="What the charger said could not be stored.", evidence={})
    return replace(one, outcome=outcome)

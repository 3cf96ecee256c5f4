"""The gateway: the connections of this process, from the handshake to the drain."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.charging.counting import mend_figures
from ohmstead.charging.figures import WRITE_EVERY, RunningFigures
from ohmstead.charging.models import ClosedBy
from ohmstead.core.clock import Clock
from ohmstead.core.config import Settings
from ohmstead.core.db import Database
from ohmstead.core.errors import Unavailable
from ohmstead.core.live import Event, LiveBus
from ohmstead.core.tasks import end
from ohmstead.gateway import presence
from ohmstead.gateway.attendance import Attendance, nobody, nothing
from ohmstead.gateway.connection import ChargerConnection
from ohmstead.gateway.door import Door
from ohmstead.gateway.neighbours import Neighbours
from ohmstead.gateway.transactions import Transactions
from ohmstead.gateway.v16 import routes
from ohmstead.gateway.writer import Entry, Writer
from ohmstead.link.links import Links
from ohmstead.stations.observations import OBSERVATION, Observed

logger = structlog.stdlib.get_logger(__name__)

AWAY_GRACE_SECONDS = 10.0
CUT_SECONDS = 3.0
SEEN_EVERY_SECONDS = 10.0
COLD_AT_ONCE = 8
RETRY_SECONDS = 1.0
WATCH_SECONDS = 0.5


class _Last:
    """When the watch did each of its works last."""

    def __init__(self) -> None:
        self.seen = self.cut = self.figures = time.monotonic()


class Gateway:
    """All that the connections share. One per process, and one event loop."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        links: Links,
        live: LiveBus,
        *,
        figures: RunningFigures,
        clock: Clock,
        process_id: UUID,
    ) -> None:
        self.settings = settings
        self.process_id = process_id
        self.database = database
        self.links = links
        self.live = live
        self.clock = clock
        self.writer = Writer(settings.postgres_url)
        self.figures = figures
        figures.write_by(self.writer.write)
        self._tasks: set[asyncio.Task[None]] = set()
        self.cold = asyncio.Semaphore(COLD_AT_ONCE)
        self.transactions = Transactions(database, self.cold, self.report_away)
        self.attendance = Attendance(self)
        self.observed = Observed()
        self.door = Door(self)
        self.draining = False
        self._away_since: float | None = None
        self.neighbours: Neighbours | None = None

    # --- the life of the gateway

    async def start(self, *, alone: bool = True) -> None:
        """Begin to write; `alone`, take the place of whatever ran before on this database."""
        self.writer.start()
        self.database.on_commit = self._committed
        if alone:
            async with self.database.session() as session:
                await presence.forget_the_dead(session, self.clock.now())
                await mend_figures(session, self.clock.now())
        if self.neighbours is not None:
            await self.neighbours.start()
        self.spawn(self._watch())

    def _committed(self, events: list[Event]) -> None:
        """Hand on what units of work published."""
        self.forget_ended(events)
        self.live.publish_all(events)

    def forget_ended(self, events: list[Event]) -> None:
        """Count no more on sessions that have ended, here or at another process.

        The stop does not always come over the charger's socket: an operator or a rule ends a session as well.
        """
        for event in events:
            if event.kind == "session.ended" and not event.data["unmatched"]:
                connection = self.links.get(event.data["charger_id"])
                if isinstance(connection, ChargerConnection):
                    ended = connection.sessions.pop(event.data["ocpp_transaction_id"], None)
                    if ended is not None and event.data["closed_by"] != ClosedBy.CHARGER:
                        self.spawn(routes.measure_again(connection, ended))

    async def drain(self, grace_seconds: float) -> None:
        """Stop: take nothing new, answer what has arrived, close every socket, write the rest."""
        self.draining = True
        deadline = time.monotonic() + grace_seconds
        for connection in self.attendance:
            connection.protocol.stop_reading()
        await _until(lambda: all(one.idle for one in self.attendance), deadline)
        for connection in self.attendance:
            connection.protocol.close(1001, "the server stops")
        await _until(lambda: not self.attendance, deadline)
        for connection in self.attendance:
            connection.protocol.fail("the server stops")
        await self.figures.settle()
        self.write_observed()
        running = [task for task in self._tasks if task.get_name() != "gateway watch"]
        if running:
            await asyncio.wait(running, timeout=max(0.1, deadline - time.monotonic()))
        await end(*self._tasks)
        await self.writer.stop()

    def spawn(self, work: Coroutine[Any, Any, None], name: str | None = None) -> None:
        """Run something beside the connections; what it raises is logged."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("gateway.task_failed", exc_info=task.exception())

    async def _watch(self) -> None:
        """Write who was heard and what sessions come to; close the sockets when the database stays away."""
        task = asyncio.current_task()
        if task is not None:
            task.set_name("gateway watch")
        last = _Last()
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            try:
                self._look(last)
            except Exception:
                # A fault of ours in one look must not end the watch, or nobody would be written as seen.
                logger.exception("gateway.watch_failed")

    def _look(self, last: "_Last") -> None:
        """Do what is due by now; `last` says when each was done."""
        away = self.writer.away_since
        if away is not None and time.monotonic() - max(away, last.cut) >= CUT_SECONDS:
            # It may hang with its connections open: then whoever waits for one would wait for ever.
            last.cut = time.monotonic()
            self.database.cut()
        if self.database_away and self.attendance:
            logger.warning("gateway.closing_all", why="the database is away", sockets=len(self.attendance))
            for connection in self.attendance:
                connection.protocol.close(1013, "the database is away: come back later")
        if away is None:
            self.attendance.write_owed()
            if time.monotonic() - last.figures >= WRITE_EVERY.total_seconds():
                last.figures = time.monotonic()
                self.figures.tick()
        if time.monotonic() - last.seen >= SEEN_EVERY_SECONDS:
            last.seen = time.monotonic()
            self.attendance.write_seen()
            if away is None:
                self.write_observed()

    def write_observed(self) -> None:
        """Write what chargers were seen to do since the last time."""
        rows = self.observed.take()
        if rows:
            self.writer.submit(Entry([(OBSERVATION, row) for row in rows], nothing))

    @property
    def database_away(self) -> bool:
        """Whether the database has been away for so long that chargers should queue as offline."""
        since = self.writer.away_since
        return since is not None and time.monotonic() - since >= AWAY_GRACE_SECONDS

    def __len__(self) -> int:
        return len(self.attendance)

    def report_away(self) -> None:
        """Let the writer find out whether the database is away: it decides for all."""
        self.writer.submit(Entry([(presence.CHARGER_SEEN, nobody(self.clock.now()))], nothing))

    async def publish(self, work: Callable[[AsyncSession], Awaitable[None]]) -> None:
        """Publish a fact that nobody tells a second time: again and again while the database is away."""
        while True:
            try:
                async with self.cold, self.database.session() as session:
                    await work(session)
            except Unavailable:
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return


async def _until(condition: Callable[[], bool], deadline: float) -> None:
    """Wait for a condition of many connections, at most until `deadline`; only the drain needs it."""
    while not condition() and time.monotonic() < deadline:  # noqa: ASYNC110 # an event for each message would cost
        await asyncio.sleep(0.02)

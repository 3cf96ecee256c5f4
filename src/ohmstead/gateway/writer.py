"""Group commit: many messages, one transaction, and each sender answered when it has committed.

All that arrives while one group commits goes into the next one. Within a group each kind of fact is
written by one statement. A group that holds a bad row (a NUL character, an integer of more than 32
bits: both pass the schema) is written again entry by entry, and only the bad one is refused.

Database away: entries fail at once with `DatabaseAway`; `away_since` tells for how long, and the
writer tries to come back by itself.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import errors as pg

from ohmstead.core import metrics

logger = logging.getLogger(__name__)

Row = Any
"""What a kind of fact is written from: its `Write` knows the shape."""
Connection = psycopg.AsyncConnection[Any]
Write = Callable[[Connection, list[Row]], Awaitable[None]]
Fact = tuple[Write, Row]

GROUP_LIMIT = 500
ATTEMPTS_AT_DEADLOCK = 5
RECONNECT_SECONDS = 0.5
CONFLICTS = (pg.DeadlockDetected, pg.SerializationFailure, pg.LockNotAvailable)


class DatabaseAway(Exception):
    """The database cannot be reached: whether this was written is not known, so it was not acknowledged."""


class BadRow(Exception):
    """The database refuses this one fact for what is in it; the message says why."""


@dataclass(slots=True)
class Entry:
    """One message: its facts, and who waits for the commit.

    `done` is called once, in the event loop: with None after the commit, or with what went wrong.
    """

    facts: list[Fact]
    done: Callable[[Exception | None], None]


class Writer:
    """The one writer of this process, on a connection of its own. `order` fixes the order of locks."""

    def __init__(self, url: str, order: Iterable[Write]) -> None:
        self._url = url
        self._rank = {write: rank for rank, write in enumerate(order)}
        self._queue: list[Entry] = []
        self._wake = asyncio.Event()
        self._connection: Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self._idle = asyncio.Event()
        self._idle.set()
        self.away_since: float | None = None

    def start(self) -> None:
        """Begin to write."""
        self._task = asyncio.create_task(self._run(), name="writer")

    def submit(self, entry: Entry) -> None:
        """Put an entry into the next group."""
        self._queue.append(entry)
        self._idle.clear()
        self._wake.set()

    async def write(self, *facts: Fact) -> None:
        """Write facts with the next group and wait for the commit. Raises `DatabaseAway` or `BadRow`."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(error: Exception | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

        self.submit(Entry(list(facts), done))
        await future

    @property
    def depth(self) -> int:
        """How many entries wait for the next group."""
        return len(self._queue)

    async def drain(self) -> None:
        """Wait until all that was submitted has been written or refused."""
        await self._idle.wait()

    async def stop(self) -> None:
        """Write what is left, then close the connection."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await self._task
        await self._disconnect()

    async def _run(self) -> None:
        while True:
            if not self._queue:
                self._idle.set()
                if self._closing:
                    return
                self._wake.clear()
                await self._wait()
                continue
            group, self._queue = self._queue[:GROUP_LIMIT], self._queue[GROUP_LIMIT:]
            metrics.WRITER_QUEUE.set(len(self._queue))
            await self._write_group(group)

    async def _wait(self) -> None:
        """Wait for work; while the database is away, try now and then to come back."""
        if self.away_since is None:
            await self._wake.wait()
            return
        try:
            async with asyncio.timeout(RECONNECT_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            try:
                await self._transact([])
            except (DatabaseAway, psycopg.Error):
                logger.debug("the database is still away")

    async def _write_group(self, group: list[Entry]) -> None:
        started = time.perf_counter()
        try:
            await self._transact(group)
        except DatabaseAway as error:
            _answer(group, error)
        except psycopg.Error as error:
            if len(group) == 1:
                _answer(group, BadRow(_reason(error)))
            else:
                for entry in group:
                    await self._write_group([entry])
        except Exception as error:
            # A fault of ours in one statement must not end the writer, or every charger would wait for ever.
            logger.exception("a group could not be written")
            _answer(group, error)
        else:
            metrics.COMMIT_SECONDS.observe(time.perf_counter() - started)
            metrics.GROUP_SIZE.observe(len(group))
            _answer(group, None)

    async def _transact(self, group: list[Entry]) -> None:
        """Write a group in one transaction. Raises `DatabaseAway`, or the error of a bad row."""
        rows: dict[Write, list[Row]] = {}
        for entry in group:
            for write, row in entry.facts:
                rows.setdefault(write, []).append(row)
        ordered = sorted(rows.items(), key=lambda item: self._rank[item[0]])
        for attempt in range(1, ATTEMPTS_AT_DEADLOCK + 1):
            try:
                connection = self._connection or await self._connect()
                for write, facts in ordered:
                    await write(connection, facts)
                if ordered:
                    await connection.commit()
                else:
                    await connection.rollback()
            except CONFLICTS:
                await self._rollback()
                if attempt == ATTEMPTS_AT_DEADLOCK:
                    raise DatabaseAway("too many deadlocks") from None
            except (psycopg.OperationalError, psycopg.InterfaceError, OSError) as error:
                await self._lost(error)
                raise DatabaseAway(_reason(error)) from error
            except BaseException:
                await self._rollback()
                raise
            else:
                self._back()
                return

    async def _connect(self) -> Connection:
        connection = await psycopg.AsyncConnection.connect(
            self._url, connect_timeout=3, options="-c timezone=UTC -c statement_timeout=30000"
        )
        connection.prepare_threshold = 0
        self._connection = connection
        return connection

    async def _rollback(self) -> None:
        if self._connection is None:
            return
        try:
            await self._connection.rollback()
        except psycopg.Error as error:
            await self._lost(error)

    async def _lost(self, error: Exception) -> None:
        if self.away_since is None:
            self.away_since = time.monotonic()
            logger.error("the database is away: %s", _reason(error))
        await self._disconnect()

    async def _disconnect(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            try:
                await connection.close()
            except psycopg.Error as error:
                logger.debug("closing a dead connection: %s", error)

    def _back(self) -> None:
        if self.away_since is not None:
            logger.warning("the database is back after %.1f s", time.monotonic() - self.away_since)
            self.away_since = None


def _answer(group: list[Entry], error: Exception | None) -> None:
    for entry in group:
        try:
            entry.done(error)
        except Exception:
            # One that stumbles over its own answer must not keep the others, or the writer, from going on.
            logger.exception("an answer could not be given")


def _reason(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__

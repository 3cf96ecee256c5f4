"""Group commit: many messages, one transaction, and each sender answered when it has committed.

All that arrives while the groups before are being written goes into the next one. The statements of
all kinds of facts in a group are put together into one (`WITH ... AS (INSERT ...), ...`), which is a
transaction of its own: one trip to the database for some hundred messages. Two lanes write in turn,
so that the database works on one group while the next one is made and the last one is answered.

A group that holds a bad row (a NUL character, an integer of more than 32 bits: both pass the schema)
is written again entry by entry, and only the bad one is refused.

Database away: entries fail at once with `DatabaseAway`; `away_since` tells for how long, and the
lanes try to come back by themselves.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
import structlog
from psycopg import errors as pg

from ohmstead.core import metrics
from ohmstead.core.db import cut
from ohmstead.core.facts import FactKind, Row

logger = structlog.stdlib.get_logger(__name__)

Connection = psycopg.AsyncConnection[Any]
Fact = tuple[FactKind, Row]

LANES = 2
GROUP_LIMIT = 500
WRITE_SECONDS = 10.0
"""A database that has not written a group by then hangs: the chargers must not hang with it."""
ATTEMPTS_AT_DEADLOCK = 5
RECONNECT_SECONDS = 0.5
AWAY = (psycopg.OperationalError, psycopg.InterfaceError, OSError)
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
    """Writes what the chargers of this process say."""

    def __init__(self, url: str) -> None:
        self._queue: list[Entry] = []
        self._wake = asyncio.Event()
        self._lanes = [_Lane(url, self) for _ in range(LANES)]
        self._tasks: list[asyncio.Task[None]] = []
        self._busy = 0
        self._in_flight = 0
        self._ripe_at = 1
        self._closing = False
        self._idle = asyncio.Event()
        self._idle.set()
        self.away_since: float | None = None

    def start(self) -> None:
        """Begin to write."""
        self._tasks = [asyncio.create_task(self._run(lane), name="writer") for lane in self._lanes]

    def submit(self, entry: Entry) -> None:
        """Put an entry into the next group."""
        self._queue.append(entry)
        self._idle.clear()
        if len(self._queue) >= self._ripe_at:
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
        """Write what is left, then close the connections."""
        self._closing = True
        self._wake.set()
        await asyncio.gather(*self._tasks)
        for lane in self._lanes:
            await lane.disconnect()

    def lost(self, reason: str) -> None:
        """Note that the database is away."""
        if self.away_since is None:
            self.away_since = time.monotonic()
            logger.error("writer.database_away", why=reason)

    def back(self) -> None:
        """Note that the database answers."""
        if self.away_since is not None:
            logger.warning("writer.database_back", after=round(time.monotonic() - self.away_since, 1))
            self.away_since = None

    async def _run(self, lane: "_Lane") -> None:
        while True:
            if len(self._queue) < self._ripe_at:
                if not self._queue and not self._busy:
                    self._idle.set()
                if self._closing and not self._queue:
                    return
                self._wake.clear()
                await self._wait(lane)
                continue
            group, self._queue = self._queue[:GROUP_LIMIT], self._queue[GROUP_LIMIT:]
            metrics.WRITER_QUEUE.set(len(self._queue))
            self._began(len(group))
            try:
                await lane.write_group(group)
            finally:
                self._ended(len(group))

    def _began(self, size: int) -> None:
        """While a group is on its way the next one waits until it is half as large, or the way is free.

        A lane that took the first message it saw would write many small groups, which cost the most.
        """
        self._busy += 1
        self._in_flight += size
        self._ripe_at = max(1, self._in_flight // 2)

    def _ended(self, size: int) -> None:
        self._busy -= 1
        self._in_flight -= size
        self._ripe_at = max(1, self._in_flight // 2)
        if self._queue:
            self._wake.set()

    async def _wait(self, lane: "_Lane") -> None:
        """Wait for work; while the database is away, try now and then to come back."""
        if self.away_since is None:
            await self._wake.wait()
            return
        try:
            async with asyncio.timeout(RECONNECT_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            await lane.probe()


class _Lane:
    """One connection to the database, and the group that is on its way there."""

    def __init__(self, url: str, writer: Writer) -> None:
        self._url = url
        self._writer = writer
        self._connection: Connection | None = None
        self._composed: dict[tuple[FactKind, ...], bytes] = {}

    async def write_group(self, group: list[Entry]) -> None:
        """Write a group and tell each entry how it went. Never raises."""
        started = time.perf_counter()
        try:
            await self._write(group)
        except DatabaseAway as error:
            _answer(group, error)
        except psycopg.Error as error:
            if len(group) == 1:
                _answer(group, BadRow(_reason(error)))
            else:
                await self._write_singly(group)
        except Exception as error:
            # A fault of ours in one statement must not end the writer, or every charger would wait for ever.
            logger.exception("writer.group_failed")
            _answer(group, error)
        else:
            metrics.COMMIT_SECONDS.observe(time.perf_counter() - started)
            metrics.GROUP_SIZE.observe(len(group))
            _answer(group, None)

    async def _write_singly(self, group: list[Entry]) -> None:
        for number, entry in enumerate(group):
            await self.write_group([entry])
            if self._writer.away_since is not None:
                _answer(group[number + 1 :], DatabaseAway("the database went away meanwhile"))
                return

    async def _write(self, group: list[Entry]) -> None:
        """Write a group by one statement. Raises `DatabaseAway`, or the error of a bad row."""
        rows: dict[FactKind, list[Row]] = {}
        for entry in group:
            for kind, row in entry.facts:
                rows.setdefault(kind, []).append(row)
        if not rows:
            return
        # Kinds always stand in the same order, so that two groups lock in one order.
        kinds = tuple(sorted(rows, key=_name))
        statement = self._composed.get(kinds)
        if statement is None:
            statement = self._composed[kinds] = compose(kinds)
        parameters = [parameter for kind in kinds for parameter in kind.parameters(rows[kind])]
        for attempt in range(1, ATTEMPTS_AT_DEADLOCK + 1):
            try:
                await self._execute(statement, parameters)
            except CONFLICTS:
                if attempt == ATTEMPTS_AT_DEADLOCK:
                    raise DatabaseAway("too many deadlocks") from None
            except AWAY as error:
                await self._lost(error)
                raise DatabaseAway(_reason(error)) from error
            else:
                self._writer.back()
                return

    async def probe(self) -> None:
        """Find out whether the database is back."""
        try:
            await self._execute(b"SELECT 1", [])
        except AWAY as error:
            await self._lost(error)
        else:
            self._writer.back()

    async def _execute(self, statement: bytes, parameters: list[str]) -> None:
        connection = self._connection or await self._connect()
        alarm = asyncio.get_running_loop().call_later(WRITE_SECONDS, cut, connection)
        try:
            await connection.execute(statement, parameters)
        finally:
            alarm.cancel()

    async def disconnect(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            try:
                await connection.close()
            except psycopg.Error as error:
                logger.debug("writer.close_failed", why=_reason(error))

    async def _connect(self) -> Connection:
        connection = await psycopg.AsyncConnection.connect(
            self._url,
            autocommit=True,
            connect_timeout=3,
            options="-c timezone=UTC -c statement_timeout=30000",
        )
        connection.prepare_threshold = 0
        self._connection = connection
        return connection

    async def _lost(self, error: Exception) -> None:
        self._writer.lost(_reason(error))
        await self.disconnect()


def compose(kinds: Sequence[FactKind]) -> bytes:
    """Put the statements of several kinds into one; all of them see the database as it was before."""
    statements = [statement for kind in kinds for statement in kind.statements]
    parts = [f"part_{number} AS ({statement})" for number, statement in enumerate(statements[:-1])]
    head = f"WITH {', '.join(parts)} " if parts else ""
    return (head + statements[-1]).encode()


def _name(kind: FactKind) -> str:
    return kind.name


def _answer(group: list[Entry], error: Exception | None) -> None:
    for entry in group:
        try:
            entry.done(error)
        except Exception:
            # One that stumbles over its own answer must not keep the others, or the lane, from going on.
            logger.exception("writer.answer_failed")


def _reason(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__

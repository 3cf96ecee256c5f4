"""Who serves this database: one process alone, or several that share the work by Redis.

Each process keeps one connection to PostgreSQL for its whole life. On it are
- an advisory lock: exclusive without REDIS_URL, shared with it, so that nobody serves beside a process
  that cannot hear it; PostgreSQL frees it at once when the process is killed;
- its sign of life: the row in `core_process`, refreshed three times in each lease. Who has not been seen
  for a lease is dead, and `on_dead` tells it to each of the living.

The database decides who lives, not Redis: a Redis that comes back empty must not make the living dead. A
process that was away from the database itself judges nobody until it has been back for a lease.
"""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
import structlog
from sqlalchemy import String, func, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from ohmstead.core.db import Base, cut
from ohmstead.core.errors import StartupError
from ohmstead.core.tasks import end

logger = structlog.stdlib.get_logger(__name__)

Connection = psycopg.AsyncConnection[Any]

SERVING, STARTING = 7_305_127, 7_305_128
"""The advisory locks: of who serves, and of who starts; any numbers that nothing else of ours uses."""
WAIT_SECONDS = 3.0
"""How long a killed process may take to be gone from PostgreSQL."""
START_SECONDS = 60.0
"""How long another process may take to start."""
POLL_SECONDS = 0.1
BEAT_TIMEOUT = 5.0
RETRY_SECONDS = 0.5
USURPED_SECONDS = 60.0
AWAY = (psycopg.Error, OSError, TimeoutError)
"""Whatever the database says, it may say otherwise a moment later: at a failover it is read-only."""
# PostgreSQL finds out within half a minute that the machine of a process has vanished.
OPTIONS = (
    "-c timezone=UTC -c statement_timeout=30000 -c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5"
    " -c tcp_keepalives_count=3 -c idle_session_timeout=0"
)

BEAT = b"""
WITH beat AS (UPDATE core_process SET seen_at = clock_timestamp() WHERE id = %(id)s RETURNING id)
SELECT EXISTS (SELECT FROM beat),
       coalesce(array_agg(id) FILTER (WHERE seen_at < clock_timestamp() - lease_seconds * interval '1 s'),
                '{}'),
       coalesce(array_agg(id) FILTER (WHERE seen_at >= clock_timestamp() - lease_seconds * interval '1 s'
                                        AND started_at < clock_timestamp() - interval '10 s'), '{}')
  FROM core_process WHERE id <> %(id)s
"""
ENTER = b"""
INSERT INTO core_process (id, host, pid, shares, lease_seconds)
VALUES (%(id)s, %(host)s, %(pid)s, %(shares)s, %(lease)s)
    ON CONFLICT (id) DO UPDATE SET seen_at = clock_timestamp()
"""
OTHERS = b"""
SELECT host, pid, started_at, shares FROM core_process WHERE id <> %(id)s ORDER BY seen_at DESC LIMIT 1
"""
END_OWN = b"""
SELECT pg_terminate_backend(pid) FROM pg_locks
 WHERE locktype = 'advisory' AND objid = %(lock)s AND pid = %(backend)s
   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


class CoreProcess(Base):
    """A server process: where it runs, and when it was last seen; dead when that is a lease ago.

    `shares` says whether it shares the database with others (REDIS_URL).
    """

    __tablename__ = "core_process"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    host: Mapped[str] = mapped_column(String(255))
    pid: Mapped[int]
    shares: Mapped[bool]
    lease_seconds: Mapped[float]
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Processes:
    """This process among those that serve the database.

    `on_dead` is called with the ids of the dead as long as nobody has buried them (`bury`); `on_forgotten`
    when the others have taken this one for dead, and buried it, while it hung. `usurped` is set when
    another process has taken the database while this one could not reach it: then this one must end.
    """

    def __init__(self, url: str, process_id: UUID, *, shares: bool, lease_seconds: float) -> None:
        self.id = process_id
        self.shares = shares
        self.lease_seconds = lease_seconds
        self.on_dead: Callable[[Sequence[UUID]], None] = _nothing
        self.on_forgotten: Callable[[], None] = _nothing_at_all
        self.usurped = asyncio.Event()
        self.others: list[UUID] = []
        """Those that serve beside this one, and have done so for some seconds."""
        self._url = url
        self._connection: Connection | None = None
        self._backend = 0
        self._task: asyncio.Task[None] | None = None
        self._steady_since: float | None = None
        self._beat_at = 0.0
        self._alone = False

    @property
    def _parameters(self) -> dict[str, Any]:
        host = socket.gethostname()[:255]
        return {
            "id": self.id,
            "host": host,
            "pid": os.getpid(),
            "shares": self.shares,
            "lease": self.lease_seconds,
        }

    # --- from the start to the end

    async def join(self) -> bool:
        """Take a place before anything is changed; True when no other process serves this database.

        Others that start wait until `started`. Raises `StartupError` when the place is taken.
        """
        try:
            connection = await self._connect()
            self._backend = connection.info.backend_pid
            await self._await_turn(connection)
            deadline = time.monotonic() + WAIT_SECONDS
            while not await self._lock(connection):
                if time.monotonic() > deadline:
                    raise await self._refusal(connection)
                await asyncio.sleep(POLL_SECONDS)
            if self._alone:
                await connection.execute(b"DELETE FROM core_process")
            await connection.execute(ENTER, self._parameters)
        except AWAY as error:
            await self.leave()
            raise StartupError(
                f"The database cannot be reached or written to: {_words(error)}",
                "Look at the database's own log.",
            ) from error
        except BaseException:
            await self.leave()
            raise
        return self._alone

    async def started(self) -> None:
        """Let others in, and begin to give signs of life."""
        connection = self._connection
        if connection is not None:
            with contextlib.suppress(*AWAY):  # the first beat finds out
                if self.shares and self._alone:
                    await connection.execute(b"SELECT pg_advisory_lock_shared(%s)", [SERVING])
                    await connection.execute(b"SELECT pg_advisory_unlock(%s)", [SERVING])
                await connection.execute(b"SELECT pg_advisory_unlock(%s)", [STARTING])
        self._task = asyncio.create_task(self._live(), name="sign of life")

    async def leave(self) -> None:
        """Give the place back.

        The row stays: chargers that were sent away and have not come back to another process are found
        by it, when its lease is over or when the next one starts.
        """
        await end(self._task)
        self._task = None
        await self._disconnect()

    async def _await_turn(self, connection: Connection) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not await _true(connection, b"SELECT pg_try_advisory_lock(%s)", STARTING):
            if time.monotonic() > deadline:
                raise StartupError(
                    "Another Ohmstead server has been starting on this database for a minute.",
                    "Look at its log; stop it if it hangs.",
                )
            await asyncio.sleep(POLL_SECONDS)

    async def _lock(self, connection: Connection) -> bool:
        """Try for the lock. Alone, it is held exclusively until `started`, whoever it will be shared with."""
        self._alone = await _true(connection, b"SELECT pg_try_advisory_lock(%s)", SERVING)
        if self._alone or not self.shares:
            return self._alone
        return await _true(connection, b"SELECT pg_try_advisory_lock_shared(%s)", SERVING)

    async def _refusal(self, connection: Connection) -> StartupError:
        rows = await (await connection.execute(OTHERS, {"id": self.id})).fetchall()
        who = "a server"
        theirs = False
        if rows:
            host, pid, started_at, theirs = rows[0]
            who = f"process {pid} on {host}, started {started_at:%Y-%m-%d %H:%M} UTC"
        if self.shares:
            return StartupError(
                f"Another Ohmstead server without REDIS_URL serves this database: {who}.",
                "Stop it, and start it again with the same REDIS_URL as this one.",
            )
        mend = "Start this one with the same REDIS_URL" if theirs else "Give both the same REDIS_URL"
        return StartupError(
            f"Another Ohmstead server serves this database: {who}.",
            f"{mend}, so that they share the work; or stop the other one first.",
        )

    # --- the sign of life

    async def _live(self) -> None:
        taken_at: float | None = None
        while True:
            try:
                if self._connection is None:
                    await self._come_back()
                taken_at = None
                self._judge(await self._beat())
            except _Taken:
                taken_at = taken_at or time.monotonic()
                if time.monotonic() - taken_at > USURPED_SECONDS:
                    logger.error("processes.usurped")
                    self.usurped.set()
                    return
            except AWAY as error:
                await self._missed(_words(error))
            except Exception as error:
                # A fault of ours must not end the signs of life: the living would be buried.
                logger.exception("processes.failed")
                await self._missed(_words(error))
            else:
                await asyncio.sleep(self.lease_seconds / 3)
                continue
            await asyncio.sleep(RETRY_SECONDS)

    async def _beat(self) -> list[UUID]:
        """Give a sign of life; returns who is dead. Raises what the driver raises."""
        connection = self._require()
        alarm = asyncio.get_running_loop().call_later(BEAT_TIMEOUT, cut, connection)
        try:
            [(known, dead, self.others)] = await (await connection.execute(BEAT, {"id": self.id})).fetchall()
            if not known:
                await connection.execute(ENTER, self._parameters)
        finally:
            alarm.cancel()
        if not known:
            logger.error("processes.forgotten", why="no sign of life came from here for too long")
            self.on_forgotten()
        return list(dead)

    def _judge(self, dead: list[UUID]) -> None:
        """Tell of the dead, unless this process was itself away: the others may just be coming back."""
        now = time.monotonic()
        if self._steady_since is None or now - self._beat_at > self.lease_seconds:
            self._steady_since = now  # it was away from the database, or stood still
        self._beat_at = now
        if dead and self.shares and now - self._steady_since >= self.lease_seconds:
            self.on_dead(dead)

    async def _missed(self, why: str) -> None:
        if self._steady_since is not None:
            logger.warning("processes.no_sign_of_life", why=why)
        self._steady_since = None
        await self._disconnect()

    # --- the connection

    async def _connect(self) -> Connection:
        connection: Connection = await psycopg.AsyncConnection.connect(
            self._url,
            autocommit=True,
            connect_timeout=5,
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=3,
            options=OPTIONS,
        )
        self._connection = connection
        return connection

    async def _come_back(self) -> None:
        """Connect again and take the lock. Raises `_Taken` when somebody else has it."""
        connection = await self._connect()
        kind = b"_shared" if self.shares else b""
        alarm = asyncio.get_running_loop().call_later(BEAT_TIMEOUT, cut, connection)
        try:
            # PostgreSQL may not know yet that the old connection is gone, which would shut us out ourselves.
            await connection.execute(END_OWN, {"lock": SERVING, "backend": self._backend})
            locked = await _true(connection, b"SELECT pg_try_advisory_lock" + kind + b"(%s)", SERVING)
        finally:
            alarm.cancel()
        if not locked:
            await self._disconnect()
            raise _Taken
        self._backend = connection.info.backend_pid
        logger.info("processes.sign_of_life_again")

    async def _disconnect(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            with contextlib.suppress(psycopg.Error):
                await connection.close()

    def _require(self) -> Connection:
        if self._connection is None:
            raise OSError("there is no connection")
        return self._connection


class _Taken(Exception):
    """Somebody else holds the lock."""


async def bury(session: AsyncSession, ids: Sequence[UUID]) -> list[UUID]:
    """Take the rows of dead processes away; returns those that the caller has taken.

    Of several that try at once one gets each: whoever gets it does what follows, in this unit of work.
    """
    taken = await session.execute(
        text(
            "DELETE FROM core_process WHERE id IN (SELECT id FROM core_process WHERE id = ANY(:ids)"
            " AND seen_at < clock_timestamp() - lease_seconds * interval '1 second'"
            " FOR UPDATE SKIP LOCKED) RETURNING id"
        ),
        {"ids": list(ids)},
    )
    return [row.id for row in taken]


def _words(error: Exception) -> str:
    """Return the first line of what an error says."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


async def _true(connection: Connection, query: bytes, parameter: int) -> bool:
    row = await (await connection.execute(query, [parameter])).fetchone()
    return row is not None and bool(row[0])


def _nothing(_: Sequence[UUID]) -> None:
    """Nobody asks who is dead."""


def _nothing_at_all() -> None:
    """Nobody asks whether this process was forgotten."""

"""The database: one engine, and one unit of work = one transaction, opened and committed here only.

What must follow a commit (live events) is collected on the session and sent afterwards; what must
be as durable as the change itself (jobs) is written on the session's own connection by `core.jobs`.
"""

import logging
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any
from weakref import WeakSet

import orjson
import psycopg
from sqlalchemy import DateTime, MetaData, event
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeDecorator

from ohmstead.core.errors import Unavailable

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

logger = logging.getLogger(__name__)

DATABASE_AWAY = (OperationalError, PoolTimeout, psycopg.OperationalError, ConnectionError)


class UtcDateTime(TypeDecorator[datetime]):
    """A `timestamptz` that is an aware UTC datetime on this side, and refuses naive ones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a naive datetime: it would be taken in the session's zone silently."""
        if value is not None and value.tzinfo is None:
            raise ValueError(f"naive datetime {value!r}; times are aware UTC")
        return value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give UTC whatever the server's zone is."""
        return None if value is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """The base of every table of every domain."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {datetime: UtcDateTime(), dict[str, Any]: JSONB, list[Any]: JSONB}


def sqlalchemy_url(url: str) -> str:
    """Turn `postgresql://...` into the form that names the driver (psycopg 3)."""
    return "postgresql+psycopg://" + url.split("://", 1)[1]


class Database:
    """The engine and its units of work.

    `url` is a libpq URL. `on_commit` receives the list of things that a unit of work published,
    after its commit succeeded. `session_info` is put into every session's `info` (the job queue).
    """

    def __init__(
        self, url: str, *, pool_size: int = 10, on_commit: Callable[[list[Any]], None] | None = None
    ) -> None:
        self.url = url
        self.on_commit = on_commit
        self.session_info: dict[str, Any] = {}
        self.engine: AsyncEngine = create_async_engine(
            sqlalchemy_url(url),
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_timeout=5,
            pool_pre_ping=False,
            hide_parameters=True,
            json_serializer=lambda value: orjson.dumps(value, default=str).decode(),
            json_deserializer=orjson.loads,
            connect_args={"connect_timeout": 5, "options": "-c timezone=UTC -c statement_timeout=30000"},
        )
        self.bind: AsyncEngine | AsyncConnection = self.engine
        self._open: WeakSet[psycopg.AsyncConnection[Any]] = WeakSet()
        event.listen(
            self.engine.sync_engine, "connect", lambda made, _: self._open.add(made.driver_connection)
        )

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """One unit of work: commits when the block ends well, rolls back when it raises.

        A connection that the server has cut raises `Unavailable`, and so does an exhausted pool;
        the pool drops what is dead, so nothing needs a restart when the database is back.
        """
        session = AsyncSession(
            self.bind,
            expire_on_commit=False,
            autoflush=False,
            join_transaction_mode="create_savepoint",
            info={**self.session_info, "published": []},
        )
        try:
            async with session:
                yield session
                await session.commit()
        except DATABASE_AWAY as error:
            raise away(error) from error
        except DBAPIError as error:
            if error.connection_invalidated:
                raise away(error) from error
            raise
        published = session.info["published"]
        if published and self.on_commit is not None:
            self.on_commit(published)

    def cut(self) -> None:
        """End every connection of the pool, for a database that hangs: who waits gets `Unavailable` now."""
        for connection in list(self._open):
            cut(connection)

    async def close(self) -> None:
        """Close every connection."""
        await self.engine.dispose()


def cut(connection: psycopg.AsyncConnection[Any]) -> None:
    """End a connection whose server does not answer.

    Who waits for it gets an `OperationalError` now. (To cancel the waiting task instead makes psycopg ask
    that same server to cancel the query, and wait ten seconds for it.)
    """
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as handle:
        handle.shutdown(socket.SHUT_RDWR)


def away(error: Exception) -> Unavailable:
    """Return the error that tells a caller that the database is away, with the cause in the log only."""
    logger.warning("database away: %s", str(error).splitlines()[0] if str(error) else type(error).__name__)
    return Unavailable("The database does not answer at the moment. Try again in a few seconds.")


def publish(session: AsyncSession, event: Any) -> None:
    """Keep a live event on the unit of work, to be sent when and only when it has committed."""
    session.info["published"].append(event)


async def raw_connection(session: AsyncSession) -> psycopg.AsyncConnection[Any]:
    """Return the psycopg connection that carries this unit of work."""
    connection = await session.connection()
    fairy = await connection.get_raw_connection()
    driver: psycopg.AsyncConnection[Any] = fairy.driver_connection  # type: ignore[assignment] # typed Any-ish by SQLAlchemy
    return driver

"""Units of work, on a database whose commits are real."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.ext.asyncio import AsyncSession
from tests.chargers import until

from ohmstead.accounts.models import Backoffice
from ohmstead.core.db import Database, publish, raw_connection, sqlalchemy_url
from ohmstead.core.errors import Unavailable
from ohmstead.core.postgres import EmbeddedPostgres


@pytest.fixture(scope="module")
def url(database_factory: Any) -> str:
    return str(database_factory("db"))


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    database = Database(url, pool_size=1)
    yield database
    await database.close()


async def names(database: Database) -> set[str]:
    async with database.session() as session:
        return set((await session.scalars(select(Backoffice.name))).all())


class TestUnitOfWork:
    async def test_it_commits_when_the_block_ends_well(self, database: Database) -> None:
        name = f"kept {uuid4()}"
        async with database.session() as session:
            session.add(Backoffice(id=uuid4(), name=name))
        assert name in await names(database)

    @pytest.mark.parametrize("error", [ZeroDivisionError, asyncio.CancelledError, KeyError])
    async def test_it_rolls_back_when_the_block_raises(
        self, database: Database, error: type[BaseException]
    ) -> None:
        name = f"gone {uuid4()}"
        with pytest.raises(error):  # noqa: PT012 # the block is the unit of work
            async with database.session() as session:
                session.add(Backoffice(id=uuid4(), name=name))
                await session.flush()
                raise error
        assert name not in await names(database)

    async def test_a_statement_that_fails_takes_all_of_it_along(self, database: Database) -> None:
        name = f"gone {uuid4()}"
        with pytest.raises(DBAPIError):  # noqa: PT012 # the block is the unit of work
            async with database.session() as session:
                session.add(Backoffice(id=uuid4(), name=name))
                await session.flush()
                await session.execute(text("SELECT 1 / 0"))
        assert name not in await names(database)

    async def test_what_is_published_is_sent_after_the_commit_and_only_then(self, url: str) -> None:
        sent: list[Any] = []
        database = Database(url, on_commit=sent.extend)
        async with database.session() as session:
            publish(session, "kept")
            assert sent == []
        with pytest.raises(ZeroDivisionError):  # noqa: PT012 # the block is the unit of work
            async with database.session() as session:
                publish(session, "rolled back")
                raise ZeroDivisionError
        assert sent == ["kept"]
        await database.close()

    async def test_nothing_is_sent_when_the_commit_itself_fails(
        self, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def fail(_: AsyncSession) -> None:
            raise ConnectionResetError("gone in this moment")

        sent: list[Any] = []
        database = Database(url, on_commit=sent.extend)
        with monkeypatch.context() as patch:
            patch.setattr(AsyncSession, "commit", fail)
            with pytest.raises(Unavailable):  # the block is the unit of work
                async with database.session() as session:
                    publish(session, "never")
        assert sent == []
        await database.close()

    async def test_the_raw_connection_carries_the_same_transaction(self, database: Database) -> None:
        async with database.session() as session:
            business = Backoffice(id=uuid4(), name="raw")
            session.add(business)
            await session.flush()
            raw = await raw_connection(session)
            cursor = await raw.execute("SELECT name FROM accounts_backoffice WHERE id = %s", [business.id])
            assert await cursor.fetchone() == ("raw",)
            await session.rollback()


class TestTimes:
    async def test_they_come_back_as_utc_whatever_zone_they_went_in_with(self, database: Database) -> None:
        berlin = datetime(2026, 7, 1, 14, 0, tzinfo=timezone(timedelta(hours=2)))
        number = uuid4()
        async with database.session() as session:
            session.add(Backoffice(id=number, name="time", created_at=berlin))
        async with database.session() as session:
            found = await session.get(Backoffice, number)
        assert found is not None
        assert found.created_at == berlin
        assert found.created_at.tzinfo is UTC

    async def test_a_naive_one_is_refused(self, database: Database) -> None:
        with pytest.raises(StatementError, match="naive datetime"):
            async with database.session() as session:
                session.add(Backoffice(id=uuid4(), name="t", created_at=datetime(2026, 1, 1)))  # noqa: DTZ001 # meant


class TestAway:
    async def test_nobody_listening_is_unavailable_without_telling_where(self) -> None:
        database = Database("postgresql://someone:hidden@127.0.0.1:1/nowhere")
        with pytest.raises(Unavailable) as told:
            async with database.session() as session:
                await session.execute(text("SELECT 1"))
        assert "127.0.0.1" not in told.value.message + told.value.detail
        await database.close()

    async def test_a_connection_that_was_cut_is_unavailable_and_the_next_unit_of_work_gets_a_new_one(
        self, database: Database
    ) -> None:
        with pytest.raises(Unavailable):  # noqa: PT012 # the block is the unit of work
            async with database.session() as session:
                pid = (await session.execute(text("SELECT pg_backend_pid()"))).scalar_one()
                with psycopg.connect(database.url, autocommit=True) as other:
                    other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
                await session.execute(text("SELECT 1"))
        await names(database)

    async def test_an_idle_connection_that_died_costs_one_error_at_most(
        self, database: Database, postgres: EmbeddedPostgres
    ) -> None:
        await names(database)
        with psycopg.connect(postgres.url("postgres"), autocommit=True) as other:
            name = conninfo_to_dict(database.url)["dbname"]
            other.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", [name]
            )
        with pytest.raises(Unavailable):  # the block is the unit of work
            await names(database)
        await names(database)

    async def test_cut_frees_whoever_waits_for_a_database_that_does_not_answer(
        self, database: Database
    ) -> None:
        async def wait() -> None:
            async with database.session() as session:
                await session.execute(text("SELECT pg_sleep(60)"))

        waiting = asyncio.create_task(wait())

        async def sleeps() -> bool:
            with psycopg.connect(database.url) as other:
                query = "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)' AND state = 'active'"
                return other.execute(query).fetchone() is not None

        await until(sleeps)
        database.cut()
        with pytest.raises(Unavailable):  # the block is the unit of work
            await asyncio.wait_for(waiting, 60)
        await names(database)
        with psycopg.connect(database.url, autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)'"
            )

    async def test_a_pool_that_is_exhausted_is_unavailable(self, url: str) -> None:
        database = Database(url, pool_size=1)
        database.engine.sync_engine.pool._timeout = 0.2  # type: ignore[attr-defined] # five seconds are long for a test
        async with database.session() as one, database.session() as two:
            await one.execute(text("SELECT 1"))
            await two.execute(text("SELECT 1"))
            with pytest.raises(Unavailable):  # the block is the unit of work
                async with database.session() as three:
                    await three.execute(text("SELECT 1"))
        await database.close()


def test_the_url_names_the_driver() -> None:
    assert sqlalchemy_url("postgresql://me@host/x") == "postgresql+psycopg://me@host/x"

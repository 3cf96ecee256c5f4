"""Who serves a database: one process alone, or several that share it."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from tests.chargers import until

from ohmstead.core import processes
from ohmstead.core.db import Database
from ohmstead.core.errors import StartupError
from ohmstead.core.processes import Processes, bury

LEASE = 0.6


@pytest.fixture(scope="module")
def url(database_factory: Any) -> str:
    return str(database_factory("processes"))


@pytest.fixture
async def make(url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """Make processes of one database; all are ended with the test."""
    monkeypatch.setattr(processes, "WAIT_SECONDS", 0.3)
    made: list[Processes] = []

    def new(*, shares: bool) -> Processes:
        made.append(Processes(url, uuid4(), shares=shares, lease_seconds=LEASE))
        return made[-1]

    yield new
    for one in made:
        await one.leave()
    await ask(url, "DELETE FROM core_process")


async def ask(url: str, query: str, *parameters: object) -> list[Any]:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        cursor = await connection.execute(query.encode(), parameters or None)
        return await cursor.fetchall() if cursor.description else []


async def kill(one: Processes) -> None:
    """Let a process end as `kill -9` ends it: nothing is said, the connection closes."""
    assert one._task is not None
    one._task.cancel()
    await asyncio.wait({one._task})
    one._task = None
    await one._disconnect()


class TestPlaces:
    @pytest.mark.parametrize(
        ("first", "second", "hint"),
        [
            (False, False, "Give both the same REDIS_URL"),
            (True, False, "Start this one with the same REDIS_URL"),
            (False, True, "start it again with the same REDIS_URL as this one"),
        ],
    )
    async def test_a_second_one_is_refused_unless_both_share(
        self, make: Any, first: bool, second: bool, hint: str
    ) -> None:
        one, two = make(shares=first), make(shares=second)
        assert await one.join()
        await one.started()
        with pytest.raises(StartupError, match="Another Ohmstead server") as refused:
            await two.join()
        assert "process " in refused.value.message
        assert hint in refused.value.hint
        await one.leave()
        assert await two.join()

    async def test_several_that_share_get_in_and_only_the_first_is_alone(self, make: Any) -> None:
        one, two, three = (make(shares=True) for _ in range(3))
        assert await one.join() is True
        await one.started()
        assert await two.join() is False
        await two.started()
        await one.leave()
        assert await three.join() is False
        await three.started()

    async def test_they_start_one_after_the_other(self, make: Any) -> None:
        one, two = make(shares=True), make(shares=True)
        await one.join()
        second = asyncio.create_task(two.join())
        await asyncio.sleep(0.3)
        assert not second.done()
        await one.started()
        assert await second is False

    async def test_one_that_was_killed_is_waited_for_until_the_database_has_noticed(
        self, make: Any, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(processes, "WAIT_SECONDS", 10)
        one, two = make(shares=False), make(shares=False)
        await one.join()
        await one.started()
        second = asyncio.create_task(two.join())
        await asyncio.sleep(0.2)
        await kill(one)
        assert await second is True

    async def test_other_databases_of_the_same_server_have_their_own(
        self, make: Any, database_factory: Any
    ) -> None:
        one = make(shares=False)
        await one.join()
        other = Processes(database_factory("processes"), uuid4(), shares=False, lease_seconds=LEASE)
        assert await other.join()
        await other.leave()

    async def test_a_database_that_is_away_is_a_readable_refusal(self) -> None:
        away = Processes("postgresql://me:hidden@127.0.0.1:1/x", uuid4(), shares=False, lease_seconds=LEASE)
        with pytest.raises(StartupError, match="cannot be reached") as refused:
            await away.join()
        assert "hidden" not in refused.value.message

    async def test_a_lost_connection_is_made_again_with_its_lock(self, make: Any, url: str) -> None:
        one, two = make(shares=False), make(shares=False)
        await one.join()
        await one.started()
        await ask(url, "SELECT pg_terminate_backend(%s)", one._backend)
        backend = one._backend

        async def again() -> bool:
            return one._connection is not None and one._backend != backend

        await until(again)
        with pytest.raises(StartupError):
            await two.join()
        assert not one.usurped.is_set()

    async def test_who_cannot_get_its_lock_back_says_so(
        self, make: Any, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(processes, "USURPED_SECONDS", 0.5)
        one = make(shares=False)
        await one.join()
        await one.started()
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as thief:
            waiting = asyncio.create_task(thief.execute(b"SELECT pg_advisory_lock(%s)", [processes.SERVING]))
            await asyncio.sleep(0.1)
            await ask(url, "SELECT pg_terminate_backend(%s)", one._backend)
            await asyncio.wait_for(waiting, 60)
            await asyncio.wait_for(one.usurped.wait(), 60)


class TestSignsOfLife:
    async def test_a_dead_one_is_told_to_the_living_and_buried_once(self, make: Any, url: str) -> None:
        told: list[Sequence[UUID]] = []
        one, two, three = (make(shares=True) for _ in range(3))
        for process in (one, two, three):
            await process.join()
            await process.started()
            process.on_dead = told.append
        await kill(two)

        async def heard() -> bool:
            return len(told) >= 2

        await until(heard)
        assert {tuple(dead) for dead in told} == {(two.id,)}
        database = Database(url)
        try:

            async def try_to_bury() -> list[UUID]:
                async with database.session() as session:
                    taken = await bury(session, [one.id, two.id])
                    await asyncio.sleep(0.1)
                    return taken

            assert sorted(await asyncio.gather(*(try_to_bury() for _ in range(4)))) == [[], [], [], [two.id]]
        finally:
            await database.close()
        assert {row[0] for row in await ask(url, "SELECT id FROM core_process")} == {one.id, three.id}

    async def test_each_knows_who_has_served_beside_it_for_a_while(self, make: Any, url: str) -> None:
        one, two = make(shares=True), make(shares=True)
        for process in (one, two):
            await process.join()
            await process.started()
        await asyncio.sleep(LEASE)
        assert one.others == [], "who has just come may not be heard yet"
        await ask(url, "UPDATE core_process SET started_at = now() - interval '1 minute'")

        async def known() -> bool:
            return bool(one.others == [two.id] and two.others == [one.id])

        await until(known)
        await kill(two)

        async def gone() -> bool:
            return bool(one.others == [])

        await until(gone)

    async def test_one_that_was_buried_by_mistake_comes_back_and_says_so(self, make: Any, url: str) -> None:
        forgotten = asyncio.Event()
        one = make(shares=True)
        one.on_forgotten = forgotten.set
        await one.join()
        await one.started()
        await ask(url, "DELETE FROM core_process")
        await asyncio.wait_for(forgotten.wait(), 60)
        assert await ask(url, "SELECT id FROM core_process") == [(one.id,)]

    async def test_one_that_was_away_itself_judges_nobody_until_a_lease_later(
        self, make: Any, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        told: list[Sequence[UUID]] = []
        one, two = make(shares=True), make(shares=True)
        for process in (one, two):
            await process.join()
            await process.started()
        one.on_dead = told.append
        await asyncio.sleep(LEASE)
        # Both lose the database for longer than a lease; one is back a moment before two.
        await kill(two)
        before = one._steady_since
        await ask(url, "SELECT pg_terminate_backend(%s)", one._backend)
        await ask(url, "UPDATE core_process SET seen_at = now() - interval '1 minute' WHERE id = %s", two.id)

        async def back() -> bool:
            return one._connection is not None and one._steady_since not in {None, before}

        await until(back)
        assert told == []
        await ask(url, "UPDATE core_process SET seen_at = now() WHERE id = %s", two.id)
        await asyncio.sleep(LEASE / 2)
        assert told == []

    async def test_one_that_stood_still_judges_nobody_until_a_lease_later(self, make: Any) -> None:
        """As all do whose machine was halted: whoever goes on first finds the others silent."""
        told: list[Sequence[UUID]] = []
        one, other = make(shares=True), uuid4()
        one.on_dead = told.append
        one._judge([])
        time.sleep(2 * LEASE)  # noqa: ASYNC251 # the whole process stands still
        one._judge([other])
        assert told == []

        async def judged() -> bool:
            one._judge([other])
            return bool(told)

        await until(judged)

    async def test_a_fault_of_ours_does_not_end_the_signs_of_life(self, make: Any, url: str) -> None:
        stumbled: list[bool] = []

        def stumble() -> None:
            stumbled.append(True)
            raise LookupError("a fault of ours")

        one = make(shares=True)
        one.on_forgotten = stumble
        await one.join()
        await one.started()
        await ask(url, "DELETE FROM core_process")

        async def seen_after() -> bool:
            query = "SELECT 1 FROM core_process WHERE seen_at > started_at"
            return bool(stumbled) and bool(await ask(url, query))

        await until(seen_after)

    async def test_a_database_that_hangs_when_it_is_back_is_left_and_the_lock_is_not_forgotten(
        self, make: Any, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        left: list[str] = []
        come_back = Processes._come_back

        async def note(self: Processes) -> None:
            try:
                await come_back(self)
            except psycopg.Error as error:
                left.append(str(error))
                raise

        monkeypatch.setattr(processes, "BEAT_TIMEOUT", 1.0)
        monkeypatch.setattr(processes, "OPTIONS", "-c timezone=UTC -c statement_timeout=0")
        monkeypatch.setattr(Processes, "_come_back", note)
        one = make(shares=False)
        await one.join()
        await one.started()
        backend = one._backend
        with monkeypatch.context() as hung:
            hung.setattr(processes, "END_OWN", b"SELECT pg_sleep(1000), %(lock)s::int, %(backend)s::int")
            await ask(url, "SELECT pg_terminate_backend(%s)", backend)

            async def gave_up() -> bool:
                return bool(left)

            await until(gave_up)
            assert one._backend == backend, "whose lock has to be ended"
        [(before,)] = await ask(url, "SELECT clock_timestamp()")

        async def seen() -> bool:
            return await ask(url, "SELECT id FROM core_process WHERE seen_at > %s", before) == [(one.id,)]

        await until(seen)

    async def test_a_database_that_refuses_a_beat_is_asked_again_until_it_takes_one(
        self, make: Any, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As at a failover: for a while there is a database, and nothing can be written to it."""
        missed: list[str] = []
        take = Processes._missed

        async def note(self: Processes, why: str) -> None:
            missed.append(why)
            await take(self, why)

        monkeypatch.setattr(Processes, "_missed", note)
        one, two = make(shares=False), make(shares=False)
        await one.join()
        await one.started()
        writing = f"{url}{'&' if '?' in url else '?'}options=-c%20default_transaction_read_only%3Doff"
        [(name,)] = await ask(url, "SELECT current_database()")
        await ask(writing, f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        try:
            await ask(writing, "SELECT pg_terminate_backend(%s)", one._backend)

            async def refused() -> bool:
                return sum("read-only" in why for why in missed) >= 2

            await until(refused)
            assert one._task is not None
            assert not one._task.done()
        finally:
            await ask(writing, f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
        [(before,)] = await ask(url, "SELECT clock_timestamp()")

        async def seen() -> bool:
            return await ask(url, "SELECT id FROM core_process WHERE seen_at > %s", before) == [(one.id,)]

        await until(seen)
        with pytest.raises(StartupError, match="Another Ohmstead server"):
            await two.join()

    async def test_one_that_starts_on_a_database_that_is_read_only_says_so(
        self, make: Any, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(processes, "OPTIONS", f"{processes.OPTIONS} -c default_transaction_read_only=on")
        with pytest.raises(StartupError, match=r"written to: cannot execute .* in a read-only transaction"):
            await make(shares=False).join()

    async def test_without_sharing_nobody_is_judged_and_a_start_clears_the_table(
        self, make: Any, url: str
    ) -> None:
        await ask(
            url,
            "INSERT INTO core_process (id, host, pid, shares, lease_seconds, seen_at)"
            " VALUES (gen_random_uuid(), 'gone', 1, true, 30, now() - interval '1 day')",
        )
        one = make(shares=False)
        await one.join()
        assert await ask(url, "SELECT id FROM core_process") == [(one.id,)]

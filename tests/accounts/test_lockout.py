"""Guessing is slowed down, whichever process is asked and however often one restarts."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from procrastinate import JobContext
from sqlalchemy import func, select, text
from tests.accounts.signing_in import login, person
from tests.conftest import FrozenClock
from tests.world import World

from ohmstead.accounts import lockout, passwords
from ohmstead.accounts.drivers_models import Driver
from ohmstead.accounts.lockout import TooManyAttempts
from ohmstead.accounts.lockout_models import SignInAttempts
from ohmstead.accounts.passwords import HashingThread
from ohmstead.accounts.sign_in_jobs import trim_sign_in_attempts
from ohmstead.core.config import Settings
from ohmstead.core.db import Database
from ohmstead.core.errors import Kind

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
FIVE_MINUTES = timedelta(minutes=5)


class Guesser:
    """Somebody who guesses, from an address."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.database = database
        self.settings = settings

    def pair(self, account: str = "a@b.de", address: str = "192.0.2.1") -> bytes:
        return lockout.pair_of(self.settings, account, address)

    async def begin(self, now: datetime = NOW, **who: str) -> bool:
        async with self.database.session() as session:
            return await lockout.begin(session, self.pair(**who), now)

    async def fail(self, times: int, **who: str) -> None:
        for _ in range(times):
            await self.begin(NOW, **who)

    async def wait(self, now: datetime = NOW, **who: str) -> int:
        """Be refused; returns how many seconds one has to wait."""
        with pytest.raises(TooManyAttempts) as refused:
            await self.begin(now, **who)
        return refused.value.retry_after or 0

    async def take_back(self, now: datetime = NOW) -> None:
        async with self.database.session() as session:
            await lockout.take_back(session, self.pair(), now)

    async def succeed(self) -> None:
        async with self.database.session() as session:
            await lockout.succeeded(session, self.pair())


@pytest.fixture
def guesser(db: Database, settings: Settings) -> Guesser:
    return Guesser(db, settings)


async def rows(database: Database) -> int:
    async with database.session() as session:
        return await session.scalar(select(func.count()).select_from(SignInAttempts)) or 0


class TestRule:
    async def test_ten_are_let_through_and_the_eleventh_is_told_when_to_come_back(
        self, guesser: Guesser
    ) -> None:
        await guesser.begin(NOW - timedelta(seconds=100))
        await guesser.fail(9)
        with pytest.raises(TooManyAttempts) as refused:
            await guesser.begin()
        assert refused.value.retry_after == 300
        assert refused.value.kind is Kind.TOO_MANY

    async def test_ten_that_are_further_apart_are_never_too_many(self, guesser: Guesser) -> None:
        for number in range(30):
            assert not await guesser.begin(NOW + number * timedelta(seconds=34))

    async def test_after_five_minutes_there_is_one_more(self, guesser: Guesser) -> None:
        await guesser.fail(10)
        assert await guesser.begin(NOW + FIVE_MINUTES)

    async def test_being_refused_does_not_make_the_wait_longer(self, guesser: Guesser) -> None:
        await guesser.fail(10)
        for second in range(0, 300, 50):
            assert await guesser.wait(NOW + timedelta(seconds=second)) == 300 - second
        await guesser.begin(NOW + FIVE_MINUTES)

    async def test_each_further_failure_waits_twice_as_long_up_to_four_hours(self, guesser: Guesser) -> None:
        await guesser.fail(10)
        now, waits = NOW, []
        for _ in range(8):
            seconds = await guesser.wait(now)
            waits.append(seconds // 60)
            now += timedelta(seconds=seconds)
            await guesser.begin(now)
        assert waits == [5, 10, 20, 40, 80, 160, 240, 240]

    async def test_a_day_after_the_last_wait_all_is_forgotten(self, guesser: Guesser) -> None:
        await guesser.fail(10)
        later = NOW + timedelta(hours=24, minutes=5)
        assert [await guesser.begin(later) for _ in range(10)] == [False] * 9 + [True]

    async def test_another_address_and_another_account_are_not_held_up(self, guesser: Guesser) -> None:
        await guesser.fail(10)
        await guesser.begin(address="192.0.2.2")
        await guesser.begin(account="other@b.de")

    async def test_success_forgets_the_failures(self, guesser: Guesser) -> None:
        await guesser.fail(10)
        await guesser.succeed()
        await guesser.fail(10)

    async def test_the_addresses_of_one_ipv6_network_are_one(self, guesser: Guesser) -> None:
        for last in range(10):
            await guesser.begin(address=f"2001:db8:0:1::{last:x}")
        await guesser.wait(address="2001:db8:0:1:ffff::1")
        await guesser.begin(address="2001:db8:0:2::1")

    async def test_an_address_that_is_none_is_a_name_like_another(self, guesser: Guesser) -> None:
        await guesser.fail(10, address="")
        await guesser.wait(address="")

    async def test_no_spelling_of_a_name_fails(self, guesser: Guesser) -> None:
        names = ("\x00", "\ud800", "é" * 254, "a\x00b", "a", "")
        assert not any([await guesser.begin(account=name) for name in names])
        assert await rows(guesser.database) == len(names)


class TestTakingBack:
    async def test_an_attempt_that_could_not_be_looked_at_does_not_count(self, guesser: Guesser) -> None:
        for second in range(50):
            now = NOW + timedelta(seconds=second)
            await guesser.begin(now)
            await guesser.take_back(now)
        await guesser.fail(10)

    async def test_after_a_wait_it_may_be_made_again(self, guesser: Guesser) -> None:
        await guesser.fail(10)
        later = NOW + FIVE_MINUTES
        for _ in range(3):
            assert await guesser.begin(later)
            await guesser.take_back(later)
        assert await guesser.begin(later)
        assert await guesser.wait(later) == 600

    async def test_the_tenth_that_is_taken_back_locks_nobody_and_nine_are_left(
        self, guesser: Guesser
    ) -> None:
        await guesser.fail(9)
        later = NOW + timedelta(seconds=1)
        assert await guesser.begin(later)
        await guesser.take_back(later)
        assert await guesser.begin(later)

    async def test_one_that_was_forgotten_meanwhile_takes_nothing_of_others(self, guesser: Guesser) -> None:
        await guesser.begin()
        await guesser.succeed()
        later = NOW + timedelta(seconds=1)
        assert [await guesser.begin(later) for _ in range(10)][-1]
        await guesser.take_back()
        assert await guesser.wait(later) == 300


class TestWhatIsKept:
    async def test_neither_account_nor_address_can_be_read(self, guesser: Guesser) -> None:
        await guesser.fail(10)
        async with guesser.database.session() as session:
            found = await session.execute(text("SELECT a::text FROM accounts_sign_in_attempts a"))
            [row] = found.scalars()
        assert "a@b.de" not in row
        assert "192.0.2.1" not in row
        other = Settings.load(environment="test", secret_key="another secret of the tests, quite long")
        assert lockout.pair_of(other, "a@b.de", "192.0.2.1") != guesser.pair()

    async def test_what_is_over_is_removed_and_no_earlier(self, guesser: Guesser, clock: FrozenClock) -> None:
        async def left_after(seconds: float) -> int:
            clock.advance(seconds)
            context = SimpleNamespace(additional_context={"database": guesser.database, "clock": clock})
            await trim_sign_in_attempts(cast(JobContext, context), 0)
            return await rows(guesser.database)

        await guesser.fail(1, account="tried once")
        await guesser.fail(10, account="locked")
        assert await left_after(299) == 2
        await guesser.begin(clock.now(), account="tried once")
        assert await left_after(299) == 2
        assert await left_after(1) == 1
        assert await left_after(24 * 3600 - 300) == 1
        assert await left_after(1) == 0

    async def test_who_made_accounts_up_and_was_not_looked_at_leaves_nothing(
        self, client: httpx.AsyncClient, db: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(passwords, "_hashing", HashingThread(limit=0))
        for number in range(20):
            assert (await login(client, f"made-up-{number}@example.com")).status_code == 503
        assert await rows(db) == 0

    async def test_who_signs_in_leaves_nothing(self, guesser: Guesser) -> None:
        await guesser.fail(3)
        await guesser.succeed()
        assert await rows(guesser.database) == 0

    async def test_it_is_counted_before_the_password_is_looked_at(
        self, client: httpx.AsyncClient, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        known = await person(world)
        seen: list[int] = []

        async def verify(password: str, stored: str | None) -> bool:
            seen.append(await rows(world.database))
            return False

        monkeypatch.setattr(passwords, "verify", verify)
        for name in (known.email, "unknown@example.com"):
            await login(client, name)
        assert seen == [1, 2]


class TestSeveralProcesses:
    """Two servers on one database, with connections of their own."""

    @pytest.fixture
    def shared(self, database_factory: Any) -> str:
        return str(database_factory("lockout"))

    async def test_a_hundred_guesses_at_once_over_two_are_ten(
        self, make_server: Any, redis_url: str, shared: str
    ) -> None:
        settings = {"database_url": shared, "redis_url": redis_url, "rate_limit_sign_in": 0}
        async with (
            make_server(**settings) as one,
            make_server(**settings) as two,
            httpx.AsyncClient(base_url=one.http, timeout=60) as at_one,
            httpx.AsyncClient(base_url=two.http, timeout=60) as at_two,
        ):
            guesses = (guess((at_one, at_two)[number % 2], number) for number in range(100))
            assert sorted(await asyncio.gather(*guesses)) == [401] * 10 + [429] * 90

    async def test_a_restart_forgets_no_lock(self, make_server: Any, shared: str) -> None:
        async with (
            make_server(database_url=shared) as server,
            httpx.AsyncClient(base_url=server.http) as http,
        ):
            assert [await guess(http, number) for number in range(11)] == [401] * 10 + [429]
        async with make_server(database_url=shared) as again, httpx.AsyncClient(base_url=again.http) as http:
            assert await guess(http, 11) == 429

    async def test_many_that_begin_at_once_and_end_at_once_are_counted_each(
        self, make_server: Any, shared: str
    ) -> None:
        """First attempts, successes and what is taken back meet on one row that comes and goes."""
        async with make_server(database_url=shared) as server:
            guesser = Guesser(server.database, server.settings)

            async def try_and(end: Callable[[datetime], Any], number: int) -> None:
                now = NOW + timedelta(microseconds=number)
                await guesser.begin(now)
                await end(now)

            for _ in range(5):
                await asyncio.gather(*(try_and(guesser.take_back, number) for number in range(9)))
                assert await rows(server.database) == 0
            for _ in range(5):
                await asyncio.gather(*(try_and(lambda _: guesser.succeed(), n) for n in range(9)))
                assert await rows(server.database) == 0


class TestWhatWasTyped:
    async def test_a_lock_of_a_nic_does_not_tell_whose_address_belongs_to_it(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        owner, other = await person(world), await person(world)
        await world.add(Driver(user_id=owner.id, nic="861234569V"))
        spellings = ("861234569V", "861234569v", " 86 1234569 v")
        statuses = [(await login(client, spellings[n % 3], "wrong")).status_code for n in range(11)]
        assert statuses == [401] * 10 + [429]
        told = [(await login(client, who.email, "wrong")).status_code for who in (owner, other)]
        assert told == [401, 401]

    async def test_success_forgets_the_failures_of_the_name_that_was_typed(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        owner = await person(world)
        await world.add(Driver(user_id=owner.id, nic="861234570V"))
        for name in (owner.email, "861234570V"):
            for _ in range(9):
                assert (await login(client, name, "wrong")).status_code == 401
        assert (await login(client, owner.email.upper())).status_code == 200
        assert [(await login(client, owner, "wrong")).status_code for _ in range(2)] == [401, 401]
        statuses = [(await login(client, "861234570v", "wrong")).status_code for _ in range(2)]
        assert statuses == [401, 429]


async def guess(http: httpx.AsyncClient, number: int) -> int:
    return (await login(http, "victim@example.com", f"guess {number}")).status_code

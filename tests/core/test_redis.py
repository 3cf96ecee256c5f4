"""The way to the other processes: what is said arrives once or not at all, and nobody waits for Redis."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from redis import asyncio as client
from tests.chargers import until
from tests.conftest import SECRET
from tests.faults.redis_server import RedisServer

from ohmstead.core import redis as core_redis
from ohmstead.core.config import Settings
from ohmstead.core.errors import StartupError
from ohmstead.core.redis import Redis, RedisAway


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


def settings_for(server: RedisServer, **more: Any) -> Settings:
    values = {"environment": "test", "secret_key": SECRET, "database_url": "postgresql:///x", **more}
    return Settings.load(redis_url=server.url, **values)


@pytest.fixture
async def redis(server: RedisServer) -> AsyncIterator[Redis]:
    redis = Redis(settings_for(server), str(uuid4()))
    redis.start()
    assert await redis.ready(10)
    yield redis
    await redis.stop()


@asynccontextmanager
async def losing_answers(redis_port: int, *, to: bytes) -> AsyncIterator[int]:
    """A way to Redis on which a command arrives, and then the connection ends instead of its answer."""
    tasks: set[asyncio.Task[Any]] = set()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        there = await asyncio.open_connection("127.0.0.1", redis_port)
        back = asyncio.ensure_future(_copy(there[0], writer))
        try:
            while data := await reader.read(65_536):
                if to in data:
                    back.cancel()
                    await asyncio.wait({back})
                    there[1].write(data)
                    await there[0].read(1)  # it has taken it
                    break
                there[1].write(data)
        finally:
            back.cancel()
            there[1].transport.abort()
            writer.transport.abort()
            tasks.discard(task)

    proxy = await asyncio.start_server(carry, "127.0.0.1", 0)
    try:
        yield int(proxy.sockets[0].getsockname()[1])
    finally:
        proxy.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)


async def away(redis: Redis) -> None:
    async def said() -> bool:
        return not redis.connected

    await until(said)


class TestTelling:
    async def test_each_process_hears_what_is_meant_for_it_in_order(
        self, server: RedisServer, redis: Redis
    ) -> None:
        other = Redis(settings_for(server), str(uuid4()))
        heard: dict[str, list[int]] = {"here": [], "there": []}
        redis.on("number", lambda message: heard["here"].append(message["number"]))
        other.on("number", lambda message: heard["there"].append(message["number"]))
        other.start()
        assert await other.ready(10)
        for number in range(600):
            other.tell(redis.process_id, {"kind": "number", "number": number})
        redis.tell_all({"kind": "number", "number": -1})
        assert await redis.reach(other.process_id, {"kind": "number", "number": -2})

        async def all_heard() -> bool:
            return len(heard["here"]) == 601 and len(heard["there"]) == 2

        await until(all_heard)
        assert [one for one in heard["here"] if one >= 0] == list(range(600))
        assert heard["there"] == [-1, -2]
        await other.stop()
        assert not await redis.listens(other.process_id)
        assert not await redis.reach(other.process_id, {"kind": "number", "number": 0})

    async def test_another_installation_on_the_same_redis_hears_nothing(
        self, server: RedisServer, redis: Redis
    ) -> None:
        names = {redis.key("charger", "A")}
        for different in (
            {"secret_key": "another secret that is long enough, too"},
            {"database_url": "postgresql:///y"},
        ):
            names.add(Redis(settings_for(server, **different), "x").key("charger", "A"))
        assert len(names) == 3
        same = Redis(settings_for(server, database_url="postgresql://me:pw@elsewhere/x"), "y")
        assert same.key("charger", "A") in names, "the same database may have several addresses"

    async def test_what_cannot_be_read_is_passed_over(self, redis: Redis) -> None:
        heard: list[Any] = []

        def broken(message: Any) -> None:
            raise ValueError(message)

        redis.on("broken", broken)
        redis.on("whole", heard.append)
        texts = ("{", "[]", "7", '{"kind": "nobody knows it"}', '{"kind": "broken"}', '{"kind": "whole"}')
        for data in texts:
            redis.send("PUBLISH", redis.key("all"), data)

        async def whole() -> bool:
            return bool(heard)

        await until(whole)
        assert redis.connected

    async def test_a_command_that_redis_refuses_hurts_no_other(self, redis: Redis) -> None:
        await redis.ask("SET", redis.key("text"), "x", "PX", 10_000)
        wrong = redis.submit("INCR", redis.key("text"))
        right = redis.submit("GET", redis.key("text"))
        with pytest.raises(RedisAway, match="not an integer"):
            await wrong
        assert await right == b"x"
        assert redis.connected


class TestAway:
    async def test_while_it_is_away_nobody_waits_and_when_it_is_back_it_is_used(
        self, server: RedisServer, redis: Redis
    ) -> None:
        came_back = asyncio.Event()
        redis.on_back.append(came_back.set)
        server.kill()
        await away(redis)
        assert redis.away_since is not None
        began = time.monotonic()
        with pytest.raises(RedisAway):
            await redis.ask("PING")
        redis.send("SET", redis.key("dropped"), "x")
        redis.tell_all({"kind": "dropped"})
        assert time.monotonic() - began < 1
        server.start()
        await asyncio.wait_for(came_back.wait(), 60)
        assert await redis.ask("GET", redis.key("dropped")) is None
        assert redis.away_since is None

    async def test_one_that_hangs_is_away_soon_and_what_was_asked_ends(
        self, server: RedisServer, redis: Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(core_redis, "ANSWER_SECONDS", 0.4)
        server.kill()
        await away(redis)
        server.start()
        assert await redis.ready(10)
        server.hang()
        try:
            began = time.monotonic()
            with pytest.raises(RedisAway):
                await redis.ask("PING")
            assert time.monotonic() - began < 10
            assert not redis.connected
        finally:
            server.go_on()
        assert await redis.ready(10)

    async def test_a_command_whose_answer_was_lost_is_not_sent_again(self, server: RedisServer) -> None:
        async with losing_answers(server.port, to=b"INCR") as port:
            settings = settings_for(server)
            redis = Redis(settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{port}/0"}), "x")
            redis.start()
            assert await redis.ready(10)
            key = redis.key("count")
            with pytest.raises(RedisAway):
                await redis.ask("INCR", key)
            assert await redis.ready(10)
            assert await redis.ask("GET", key) == b"1"
            await redis.stop()

    async def test_a_subscription_that_is_deaf_is_made_anew(
        self, redis: Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(core_redis, "DEAF_SECONDS", 0.3)
        came_back = asyncio.Event()
        redis.on_back.append(came_back.set)
        await redis.ask("CLIENT", "KILL", "TYPE", "pubsub")
        await asyncio.wait_for(came_back.wait(), 60)
        assert await redis.listens(redis.process_id)

    async def test_it_comes_back_even_if_the_broken_connection_cannot_be_closed(
        self, redis: Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An event loop may refuse to close what is broken already, with an error of its own."""
        close = client.Redis.aclose
        failed: list[Any] = []

        async def refuse(self: Any, *arguments: Any) -> None:
            await close(self, *arguments)
            if not failed:
                failed.append(self)
                raise RuntimeError("the handler is closed")

        monkeypatch.setattr(client.Redis, "aclose", refuse)
        came_back = asyncio.Event()
        redis.on_back.append(came_back.set)
        await redis.ask("CLIENT", "KILL", "TYPE", "pubsub")
        await asyncio.wait_for(came_back.wait(), 60)
        assert failed

    async def test_what_was_asked_is_answered_even_if_it_is_stopped_while_it_is_being_lost(
        self, server: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        redis = Redis(settings_for(server), str(uuid4()))
        fail, let_go = asyncio.Event(), asyncio.Event()

        async def fails(*_: Any) -> None:
            await fail.wait()
            raise ConnectionError("gone")

        async def ends_late() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await let_go.wait()

        monkeypatch.setattr(redis, "_listen", fails)
        monkeypatch.setattr(redis, "_echo", ends_late)
        redis.start()
        assert await redis.ready(60)
        server.hang()
        try:
            asked = redis.submit("PING")
            fail.set()
            await away(redis)
            stopping = asyncio.create_task(redis.stop())
            await asyncio.sleep(0)
            let_go.set()
            await asyncio.wait_for(stopping, 60)
        finally:
            server.go_on()
        with pytest.raises(RedisAway):
            await asyncio.wait_for(asked, 10)

    @pytest.mark.parametrize("once", [True, False])
    async def test_it_ends_even_if_its_connection_fails_at_that_very_moment(
        self, server: RedisServer, monkeypatch: pytest.MonkeyPatch, once: bool
    ) -> None:
        """Whether it is stopped, or only cancelled once, as an event loop does with what is left."""
        redis = Redis(settings_for(server), str(uuid4()))
        before = asyncio.all_tasks()

        async def fails_when_cancelled(*_: Any) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                raise ConnectionError("gone")

        monkeypatch.setattr(redis, "_listen", fails_when_cancelled)
        redis.start()
        assert await redis.ready(10)
        if once:
            [task] = [one for one in asyncio.all_tasks() if one.get_name() == "redis" and one not in before]
            task.cancel()
            await asyncio.wait_for(asyncio.wait({task}), 60)
        else:
            await asyncio.wait_for(redis.stop(), 60)

    async def test_more_than_can_wait_is_dropped(self, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(core_redis, "QUEUE_LIMIT", 3)
        kept = [redis.submit("INCR", redis.key("kept")) for _ in range(3)]
        with pytest.raises(RedisAway):
            await redis.submit("INCR", redis.key("kept"))
        assert await asyncio.gather(*kept) == [1, 2, 3]


class TestStart:
    @pytest.mark.parametrize("parameter", ["socket_timeout=soon", "no_such_parameter=1"])
    def test_a_wrong_parameter_of_its_address_is_a_readable_refusal(self, parameter: str) -> None:
        settings = Settings.load(
            environment="test",
            secret_key=SECRET,
            database_url="postgresql:///x",
            redis_url=f"redis://localhost/0?{parameter}",
        )
        with pytest.raises(StartupError, match="REDIS_URL cannot be used"):
            Redis(settings, "x")

    async def test_one_that_is_not_there_is_awaited_only_as_long_as_asked(self, server: RedisServer) -> None:
        server.kill()
        redis = Redis(settings_for(server), "x")
        redis.start()
        began = time.monotonic()
        assert not await redis.ready(0.3)
        assert time.monotonic() - began < 10
        assert redis.why
        server.start()
        assert await redis.ready(10)
        await redis.stop()


async def test_a_stop_in_the_midst_of_closing_leaves_no_connection_open(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core_redis, "DEAF_SECONDS", 0.2)
    redis = Redis(settings_for(server), str(uuid4()))
    redis.start()
    assert await redis.ready(10)
    time.sleep(2 * core_redis.ECHO_SECONDS)  # noqa: ASYNC251 # the whole loop stands still, and misses its own words
    await redis.stop()
    async with client.Redis.from_url(server.url) as asking:
        assert len(await asking.client_list()) == 1, "only who asks is connected"

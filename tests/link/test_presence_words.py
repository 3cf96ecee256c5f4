"""What goes between a process and Redis of who holds a charger, where it is not as it should be."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from tests.chargers import until
from tests.conftest import SECRET

from ohmstead.core.config import Settings
from ohmstead.core.redis import Message, Redis
from ohmstead.link.presence import Presence

TTL = 0.9


@pytest.fixture
async def three(redis_url: str) -> AsyncIterator[list[Redis]]:
    """Three processes of an installation of their own."""
    name = f"postgresql:///{uuid4().hex}"
    settings = Settings.load(environment="test", secret_key=SECRET, database_url=name, redis_url=redis_url)
    processes = [Redis(settings, str(uuid4())) for _ in range(3)]
    for one in processes:
        one.start()
        assert await one.ready(60)
    yield processes
    for one in processes:
        await one.stop()


async def key(redis: Redis) -> Any:
    return await redis.ask("GET", redis.key("charger", "A"))


async def all_heard(redis: Redis, *others: Redis) -> None:
    """Wait until the others have heard all that a process has said so far."""
    heard: list[str] = []
    for other in others:
        other.on("barrier", lambda _, process_id=other.process_id: heard.append(process_id))  # type: ignore[misc] # bound now
    redis.tell_all({"kind": "barrier"})

    async def said() -> bool:
        return len(heard) == len(others)

    await until(said)


async def test_a_refresh_that_redis_refuses_is_tried_again(three: list[Redis]) -> None:
    """As when Redis is full, or read-only for the time of a failover: it answers all the while."""
    redis = three[0]
    presence = Presence(redis, ttl_seconds=TTL)
    await redis.ask("RPUSH", redis.key("charger", "A"), "not what it should be")
    presence.claim("A", "c1", datetime.now(UTC))
    presence.start()
    try:

        async def refused() -> bool:
            return presence.fault is not None

        await until(refused)
        assert redis.connected
        await redis.ask("DEL", redis.key("charger", "A"))

        async def kept() -> bool:
            return redis.process_id.encode() in (await key(redis) or b"") and presence.fault is None

        await until(kept)
    finally:
        await presence.stop()


async def test_a_fault_of_ours_in_one_refresh_does_not_end_it(three: list[Redis]) -> None:
    redis, stumbled = three[0], []
    presence = Presence(redis, ttl_seconds=TTL)

    def stumble() -> None:
        stumbled.append(presence.fault)
        if len(stumbled) == 1:
            raise LookupError("a fault of ours")

    presence.on_refreshed = stumble
    presence.start()
    try:

        async def again() -> bool:
            return len(stumbled) > 1

        await until(again)
        assert stumbled[:2] == [None, "LookupError"]
    finally:
        await presence.stop()


async def test_a_key_that_another_version_has_written_is_in_nobodys_way(three: list[Redis]) -> None:
    dated: list[str] = []
    redis = three[0]
    presence = Presence(redis, ttl_seconds=TTL)
    presence.on_dated = lambda _, connection_id, *__: dated.append(connection_id)
    await redis.ask("SET", redis.key("charger", "A"), "something else")
    assert await presence.holder("A") is None
    presence.claim("A", "c1", datetime.now(UTC))
    assert redis.process_id.encode() in await key(redis)
    assert dated == ["c1"]
    await redis.ask("SET", redis.key("charger", "A"), "something else")
    await presence.keep_all()
    assert redis.process_id.encode() in await key(redis)


async def test_nobody_is_told_that_a_charger_has_left_while_a_later_socket_has_it(three: list[Redis]) -> None:
    """A silent socket at a third process would take it from the one that has just spoken."""
    older, later, third = (Presence(redis, ttl_seconds=TTL) for redis in three)
    left: list[str] = []
    third.on_left = left.append
    three[0].on("taken", lambda _: None)  # it closes before it has heard
    older.claim("A", "old", datetime.now(UTC))
    await key(three[0])
    later.claim("A", "new", datetime.now(UTC))
    await key(three[1])
    older.release("A", "old")
    await all_heard(three[0], three[2])
    assert left == []
    assert three[1].process_id.encode() in await key(three[1])
    later.release("A", "new")
    await all_heard(three[1], three[2])
    assert left == ["A"]


async def test_the_news_of_an_older_claim_ends_none_that_was_made_anew(three: list[Redis]) -> None:
    """Or both would give the charger up: the other one is told that it has been taken back."""
    older, later = (Presence(redis, ttl_seconds=TTL) for redis in three[:2])
    lost: list[str] = []
    older.on_taken = later.on_taken = lambda _, connection_id: lost.append(connection_id)
    late: list[Message] = []
    hear = three[0]._handlers["taken"]
    three[0].on("taken", late.append)
    begun = datetime.now(UTC)
    older.claim("A", "c1", begun)
    await key(three[0])
    later.claim("A", "c2", begun + timedelta(seconds=1))
    await all_heard(three[1], three[0])
    older.claim("A", "c1", begun + timedelta(seconds=2))
    await key(three[0])
    await all_heard(three[0], three[1])
    hear(*late)
    assert lost == ["c2"]
    await older.keep_all()
    assert three[0].process_id.encode() in await key(three[0])


async def test_a_claim_whose_answer_was_lost_is_dated_by_the_next_refresh(
    three: list[Redis], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or nobody would believe what the socket says: the clock of the process before is ahead."""
    presence = Presence(three[0], ttl_seconds=TTL)
    dated: list[datetime] = []
    presence.on_dated = lambda _, __, since, ___: dated.append(since)
    ahead = datetime(2100, 1, 1, tzinfo=UTC)
    Presence(three[1], ttl_seconds=60).claim("A", "gone", ahead)
    await key(three[1])
    submit = Redis.submit

    def lose(self: Redis, *command: Any) -> Any:
        answer = submit(self, *command)
        lost = submit(self, "NO SUCH COMMAND")
        return lost if self is three[0] else answer

    with monkeypatch.context() as losing:
        losing.setattr(Redis, "submit", lose)
        presence.claim("A", "c1", datetime.now(UTC))
    before = await key(three[0])
    assert three[0].process_id.encode() in before
    assert dated == []
    await presence.keep_all()
    assert dated[-1] > ahead
    assert await key(three[0]) == before, "it is not set back to what the process thought"

"""Whose a charger is, in every order in which its processes may hear of each other.

Up to three processes at one real redis-server. What goes to Redis, what it answers and what it tells others
waits here until the example lets it go on: so a story of a few steps is any interleaving of them.
"""

import asyncio
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
import redis as client
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import NOW, SECRET

from ohmstead.core.config import Settings
from ohmstead.core.redis import Redis, RedisAway
from ohmstead.link.presence import Holder, Presence

PROCESSES = 3
CHARGER = "shared"
SKEW = (timedelta(seconds=-7), timedelta(), timedelta(seconds=7))
"""How wrong the clock of each process is."""
TICK = timedelta(milliseconds=1)


@dataclass(eq=False)
class Process:
    """What a process has of the charger: the socket that serves it, those that wait beside it."""

    redis: Redis
    presence: Presence
    listening: Any
    skew: timedelta
    answers: "deque[tuple[asyncio.Future[Any], Any]]" = field(default_factory=deque)
    heard: "deque[bytes]" = field(default_factory=deque)
    serving: str | None = None
    waiting: list[str] = field(default_factory=list)
    refreshing: "asyncio.Task[None] | None" = None
    looking: "asyncio.Task[None] | None" = None

    @property
    def held(self) -> Holder | None:
        return self.presence._held.get(CHARGER)


class Story:
    """One example: its steps change nothing but the order in which things happen."""

    def __init__(self, server: Any, url: str) -> None:
        self._server = server
        self._server.flushall()
        self._numbers = 0
        self._now = NOW
        self._known_since = NOW
        self._closed: set[str] = set()
        self.claimed: list[str] = []
        self.lost = self.lapsed = False
        values = {"environment": "test", "secret_key": SECRET, "database_url": "postgresql:///orders"}
        configured = Settings.load(redis_url=url, **values)
        self.processes = [self._process(configured, number) for number in range(PROCESSES)]

    def _process(self, configured: Settings, number: int) -> Process:
        redis = Redis(configured, f"process-{number}")
        listening = self._server.pubsub(ignore_subscribe_messages=True)
        process = Process(redis, Presence(redis, ttl_seconds=60), listening, SKEW[number])
        redis._connected = True

        def dated(_: str, __: str, since: datetime, ___: bool) -> None:
            self._known_since = max(self._known_since, since)

        def taken(_: str, connection_id: str) -> None:
            if process.serving == connection_id:
                process.serving = None

        def left(_: str) -> None:
            if process.waiting and process.looking is None:
                process.looking = asyncio.get_running_loop().create_task(self._look(process))

        process.presence.on_dated, process.presence.on_taken = dated, taken
        process.presence.on_left = process.presence.on_left = left
        listening.subscribe(redis.key("all"), redis.key("process", redis.process_id))
        return process

    def close(self) -> None:
        for process in self.processes:
            process.listening.close()

    # --- what sockets do

    def _serve(self, process: Process, connection_id: str) -> None:
        """As the gateway does: later than all that the database knows of, whatever the clock says."""
        self._now += TICK
        since = max(self._now + process.skew, self._known_since + TICK)
        self._known_since = since
        process.serving = connection_id
        process.presence.claim(CHARGER, connection_id, since)

    def connect(self, process: Process) -> None:
        self._numbers += 1
        self._serve(process, f"c{self._numbers}")

    def wait(self, process: Process) -> None:
        self._numbers += 1
        process.waiting.append(f"c{self._numbers}")

    def speak(self, process: Process) -> None:
        if process.waiting:
            self._serve(process, process.waiting.pop())

    def claim_again(self, process: Process) -> None:
        """The database said that the charger is offline, and this process knows better."""
        if process.serving is not None:
            self._serve(process, process.serving)

    def leave(self, process: Process) -> None:
        if process.serving is None:
            return
        connection_id, process.serving = process.serving, None
        self._closed.add(connection_id)
        if process.waiting:
            self._serve(process, process.waiting.pop())
        process.presence.release(CHARGER, connection_id)

    async def _look(self, process: Process) -> None:
        try:
            holder = await process.presence.holder(CHARGER)
        except RedisAway:
            holder = "unknown"
        process.looking = None
        if holder is None and process.serving is None and process.waiting:
            self._serve(process, process.waiting.pop())

    # --- what the network does

    def pass_command(self, process: Process) -> None:
        """Let Redis execute the oldest command; its answer is on its way."""
        if not process.redis._queue:
            return
        command, future = process.redis._queue.pop(0)
        answer = self._server.execute_command(*command)
        if command[0] == "EVAL" and "'^%d+'" in command[1]:
            self.claimed.append(command[-2].split(" ")[1])
        if future is not None:
            process.answers.append((future, answer))
        for each in self.processes:
            while (message := each.listening.get_message(timeout=0.0)) is not None:
                if each.redis.connected:
                    each.heard.append(message["data"])

    def pass_answer(self, process: Process) -> None:
        if process.answers:
            future, answer = process.answers.popleft()
            if not future.done():
                future.set_result(answer)

    def pass_message(self, process: Process) -> None:
        if process.heard:
            process.redis._handle(process.heard.popleft())

    def refresh(self, process: Process) -> None:
        if process.refreshing is None:
            process.refreshing = asyncio.get_running_loop().create_task(self._refresh(process))

    async def _refresh(self, process: Process) -> None:
        try:
            await process.presence.keep_all()
        except RedisAway:
            pass
        else:
            if process.waiting and process.serving is None and process.looking is None:
                process.looking = asyncio.get_running_loop().create_task(self._look(process))
        finally:
            process.refreshing = None

    def lose_redis(self, process: Process) -> None:
        """What is on its way to the process is lost; of what it has sent Redis may execute the beginning."""
        self.lost = True
        for future, _ in process.answers:
            if not future.done():
                future.set_exception(RedisAway("lost"))
        process.answers.clear()
        process.heard.clear()
        process.redis._fail_all()

    def find_redis(self, process: Process) -> None:
        process.redis._connected = True

    def empty_redis(self, _: Process) -> None:
        for process in self.processes:
            self.lose_redis(process)
        self._server.flushall()

    def lapse(self, _: Process) -> None:
        """The key ends: who holds the charger hung for longer than it lives."""
        self.lapsed = True
        self._server.delete(self.processes[0].redis.key("charger", CHARGER))

    # --- what must be true

    async def settle(self) -> None:
        """Let everything arrive, with two refreshes of each."""
        for process in self.processes:
            self.find_redis(process)
        for _ in range(3):
            for process in self.processes:
                self.refresh(process)
            await self._arrive()
        key = self.key
        if self.lost and key is not None and self._named(key).held != key:
            # Whoever it names was cut off before it could take it away: it ends by itself.
            self.lapse(self.processes[0])
            for process in self.processes:
                self.refresh(process)
            await self._arrive()

    async def _arrive(self) -> None:
        for _ in range(1000):
            await asyncio.sleep(0)
            moving = False
            for process in self.processes:
                moving |= bool(process.redis._queue or process.answers or process.heard)
                moving |= process.refreshing is not None or process.looking is not None
                self.pass_command(process)
                self.pass_answer(process)
                self.pass_message(process)
            if not moving:
                return
        raise AssertionError("it never comes to rest")

    @property
    def key(self) -> Holder | None:
        value = self._server.get(self.processes[0].redis.key("charger", CHARGER))
        return None if value is None else Holder.read(value)

    def _named(self, key: Holder) -> Process:
        return next(one for one in self.processes if one.redis.process_id == key.process_id)

    def check(self) -> None:
        holding = [one for one in self.processes if one.held is not None]
        assert len(holding) <= 1, "at most one holds the charger"
        for process in self.processes:
            held = None if process.held is None else process.held.connection_id
            assert process.serving == held, "it holds what it serves, and serves what it holds"
        assert self.key == (holding[0].held if holding else None), "the key names who holds it, or nobody"
        waiting = [one for process in self.processes for one in process.waiting]
        assert holding or not waiting, "nobody waits for a charger that nobody has"
        last = self.claimed[-1] if self.claimed else None
        if last is not None and last not in self._closed:
            assert holding, "one that is open was not closed in favour of nobody"
            if not self.lost and not self.lapsed:
                assert holding[0].serving == last, "the latest has it"


STEPS = [
    "connect",
    "wait",
    "speak",
    "leave",
    "claim_again",
    "refresh",
    "lapse",
    *3 * ["pass_command", "pass_answer", "pass_message"],
]
FAULTS = ["lose_redis", "find_redis", "empty_redis"]


def stories(steps: list[str]) -> Any:
    """Steps, each of one of the processes; what moves on is more frequent than what begins."""
    return st.lists(st.tuples(st.sampled_from(steps), st.integers(0, PROCESSES - 1)), min_size=5, max_size=60)


@pytest.fixture(scope="module")
def server(redis_url: str) -> Iterator[Any]:
    """A database of the redis-server for these stories alone: the keys in it are theirs."""
    with client.Redis.from_url(redis_url, db=9) as server:
        yield server


async def play(server: Any, redis_url: str, steps: list[tuple[str, int]]) -> None:
    story = Story(server, redis_url)
    try:
        for step, number in steps:
            getattr(story, step)(story.processes[number])
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        await story.settle()
        story.check()
        # And when all have left nothing is left of it.
        for process in story.processes:
            process.waiting.clear()
            story.leave(process)
        story.claimed.clear()
        await story.settle()
        story.check()
        assert story.key is None
    except AssertionError as error:
        error.add_note(f"steps={steps}")
        raise
    finally:
        story.close()


@pytest.mark.also_long(40)
@settings(max_examples=150, derandomize=True, database=None)
@given(steps=stories(STEPS))
def test_the_latest_socket_has_the_charger_and_nobody_else(
    server: Any, redis_url: str, steps: list[tuple[str, int]]
) -> None:
    asyncio.run(play(server, redis_url, steps))


@pytest.mark.also_long(40)
@settings(max_examples=150, derandomize=True, database=None)
@given(steps=stories(STEPS + FAULTS))
def test_whatever_redis_loses_one_has_the_charger_or_nobody_in_the_end(
    server: Any, redis_url: str, steps: list[tuple[str, int]]
) -> None:
    asyncio.run(play(server, redis_url, steps))


async def test_a_socket_that_ended_before_its_claim_was_answered_costs_nobody_else_its_own(
    server: Any, redis_url: str
) -> None:
    story = Story(server, redis_url)
    try:
        one, two, _ = story.processes
        story.connect(one)
        story.leave(one)
        story.connect(two)
        for process in (two, one):
            story.pass_command(process)
        story.pass_answer(one)
        await asyncio.sleep(0)
        await story.settle()
        assert two.serving == "c2"
        story.check()
    finally:
        story.close()

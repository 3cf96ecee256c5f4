"""Which process holds the socket of a charger: a key in Redis for each charger, with a time to live.

The key holds when the socket became the charger's own, the process and the connection. A new socket always
wins, and its moment is later than that of the one before, whatever the clocks say. Each process refreshes
its own keys three times in their life; a process that is killed leaves keys that end by themselves. After
Redis was away each writes what it holds again, and of two that hold the same charger the later one has it.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from ohmstead.core.redis import Message, Redis, RedisAway
from ohmstead.core.tasks import end

REFRESHED_AT_ONCE = 200
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

CLAIM = """
local was = redis.call('GET', KEYS[1])
local since = tonumber(ARGV[1])
if was then
  since = math.max(since, tonumber(was:match('^%d+')) + 1)
end
local now = string.format('%.0f', since)
redis.call('SET', KEYS[1], now .. ' ' .. ARGV[2], 'PX', ARGV[3])
return {now, was}
"""
"""The charger is mine: returns since when, and who had it."""

KEEP = """
local others = {}
for i, key in ipairs(KEYS) do
  local since, mine = ARGV[i + 1]:match('^(%d+) (.*)$')
  local was = redis.call('GET', key)
  local theirs, holder = (was or '0 '):match('^(%d+) (.*)$')
  if holder == mine or tonumber(theirs) < tonumber(since) then
    redis.call('SET', key, ARGV[i + 1], 'PX', ARGV[1])
  end
  if was and holder ~= mine then
    others[#others + 1] = {i, was}
  end
end
return others
"""
"""These are mine still, unless a later socket has them: returns those that had another holder, and whom."""

RELEASE = """
local was = redis.call('GET', KEYS[1])
if was and was:match('^%d+ (.*)$') == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
"""


class Holder(NamedTuple):
    """Who holds a charger: since when (microseconds of the epoch), which process, by which connection."""

    since: int
    process_id: str
    connection_id: str

    def __str__(self) -> str:
        return f"{self.since} {self.process_id} {self.connection_id}"

    @classmethod
    def read(cls, value: bytes) -> "Holder":
        """Read what a key holds."""
        since, process_id, connection_id = value.decode().split(" ")
        return cls(int(since), process_id, connection_id)


class Presence:
    """The chargers that this process holds, as the others see them.

    `on_taken(charger_id, connection_id)` is called when a later socket at another process has the charger;
    `on_left(charger_id)` when a process has given one up; `on_refreshed` after each refresh.
    """

    def __init__(self, redis: Redis, *, ttl_seconds: float) -> None:
        self._redis = redis
        self._ttl = ttl_seconds
        self._held: dict[str, Holder] = {}
        self._task: asyncio.Task[None] | None = None
        self._now = asyncio.Event()
        self.on_taken: Callable[[str, str], None] = _nothing_of_both
        self.on_left: Callable[[str], None] = _nothing_of_it
        self.on_refreshed: Callable[[], None] = _nothing
        redis.on("taken", self._take_taken)
        redis.on("left", self._take_left)
        redis.on_back.append(self._now.set)

    def start(self) -> None:
        """Begin to refresh."""
        self._task = asyncio.create_task(self._refresh(), name="presence")

    async def stop(self) -> None:
        """Refresh no more."""
        await end(self._task)
        self._task = None

    def claim(
        self, charger_id: str, connection_id: str, since: datetime, claimed: Callable[[datetime], None]
    ) -> None:
        """Take a charger, whoever has it; `claimed` is told since when, which may be a little later."""
        mine = Holder((since - EPOCH) // MICROSECOND, self._redis.process_id, connection_id)
        self._held[charger_id] = mine

        def answered(answer: "asyncio.Future[Any]") -> None:
            if answer.exception() is not None:
                return  # Redis is away: the refresh writes it when it is back
            stamp, was = answer.result()
            if self._held.get(charger_id) == mine:
                self._held[charger_id] = mine._replace(since=int(stamp))
                claimed(EPOCH + int(stamp) * MICROSECOND)
            if was is not None:
                self._tell_holder(charger_id, Holder.read(was))

        words = (mine.since, f"{mine.process_id} {connection_id}", self._ttl_ms)
        self._redis.submit("EVAL", CLAIM, 1, self._key(charger_id), *words).add_done_callback(answered)

    def release(self, charger_id: str, connection_id: str) -> None:
        """Give a charger up, if this connection has it, and tell those where another socket waits."""
        mine = self._held.get(charger_id)
        if mine is None or mine.connection_id != connection_id:
            return
        del self._held[charger_id]
        words = f"{mine.process_id} {connection_id}"
        self._redis.send("EVAL", RELEASE, 1, self._key(charger_id), words)
        self._redis.tell_all({"kind": "left", "from": self._redis.process_id, "charger": charger_id})

    async def holder(self, charger_id: str) -> str | None:
        """Return the other process that holds a charger, or None. Raises `RedisAway`."""
        value = await self._redis.ask("GET", self._key(charger_id))
        holder = None if value is None else Holder.read(value)
        return None if holder is None or holder.process_id == self._redis.process_id else holder.process_id

    async def _refresh(self) -> None:
        while True:
            self._now.clear()
            try:
                await self.keep_all()
            except RedisAway:
                await self._now.wait()
                continue
            self.on_refreshed()
            try:
                async with asyncio.timeout(self._ttl / 3):
                    await self._now.wait()
            except TimeoutError:
                continue

    async def keep_all(self) -> None:
        """Refresh the keys of what is held here, and give up what a later socket has. Raises `RedisAway`."""
        chargers = list(self._held)
        for start in range(0, len(chargers), REFRESHED_AT_ONCE):
            # Read anew each time: one that was given up while the others were asked is not written again.
            some = [
                (charger_id, self._held[charger_id])
                for charger_id in chargers[start : start + REFRESHED_AT_ONCE]
                if charger_id in self._held
            ]
            keys = [self._key(charger_id) for charger_id, _ in some]
            values = [str(mine) for _, mine in some]
            answer = await self._redis.ask("EVAL", KEEP, len(keys), *keys, self._ttl_ms, *values)
            for number, was in answer:
                charger_id, mine = some[number - 1]
                theirs = Holder.read(was)
                if theirs.since < mine.since:
                    self._tell_holder(charger_id, theirs)
                elif self._held.get(charger_id) == mine:
                    del self._held[charger_id]
                    self.on_taken(charger_id, mine.connection_id)

    def _tell_holder(self, charger_id: str, holder: Holder) -> None:
        if holder.process_id != self._redis.process_id:
            message: Message = {"kind": "taken", "charger": charger_id, "connection": holder.connection_id}
            self._redis.tell(holder.process_id, message)

    def _take_taken(self, message: Message) -> None:
        charger_id, connection_id = message["charger"], message["connection"]
        mine = self._held.get(charger_id)
        if mine is not None and mine.connection_id == connection_id:
            # Now, not at the next refresh: the later one may have given it up by then, and nobody has it.
            del self._held[charger_id]
        self.on_taken(charger_id, connection_id)

    def _take_left(self, message: Message) -> None:
        if message["from"] != self._redis.process_id:
            self.on_left(message["charger"])

    @property
    def _ttl_ms(self) -> int:
        return max(1, int(self._ttl * 1000))

    def _key(self, charger_id: str) -> str:
        return self._redis.key("charger", charger_id)


def _nothing_of_both(_: str, __: str) -> None:
    """Nobody holds sockets here."""


def _nothing_of_it(_: str) -> None:
    """No socket waits here."""


def _nothing() -> None:
    """Nobody waits for a refresh."""

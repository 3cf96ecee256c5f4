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

import orjson
import structlog

from ohmstead.core.redis import Message, Redis, RedisAway
from ohmstead.core.tasks import end

logger = structlog.stdlib.get_logger(__name__)

REFRESHED_AT_ONCE = 200
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

CLAIM = """
local was = redis.call('GET', KEYS[1])
local since = tonumber(ARGV[1])
local theirs = was and tonumber(was:match('^%d+'))
if theirs then
  since = math.max(since, theirs + 1)
end
local now = string.format('%.0f', since)
redis.call('SET', KEYS[1], now .. ' ' .. ARGV[2], 'PX', ARGV[3])
return {now, was}
"""
"""The charger is mine: returns since when, and who had it."""

KEEP = """
local known = {}
for i, key in ipairs(KEYS) do
  local since, mine = ARGV[i + 1]:match('^(%d+) (.*)$')
  local was = redis.call('GET', key)
  local theirs, holder = (was or ''):match('^(%d+) (.*)$')
  if holder == mine and tonumber(theirs) >= tonumber(since) then
    redis.call('PEXPIRE', key, ARGV[1])
  elseif not theirs or holder == mine or tonumber(theirs) < tonumber(since) then
    redis.call('SET', key, ARGV[i + 1], 'PX', ARGV[1])
  end
  if was and was ~= ARGV[i + 1] then
    known[#known + 1] = {i, was}
  end
end
return known
"""
"""These are mine still, unless a later socket has them: returns what the keys were that said otherwise.

A key that says that it is mine since later is right: the answer to the claim that made it so was lost, or is
on its way.
"""

RELEASE = """
local was = redis.call('GET', KEYS[1])
if was and was:match('^%d+ (.*)$') == ARGV[1] then
  redis.call('DEL', KEYS[1])
  was = false
end
if not was then
  redis.call('PUBLISH', ARGV[2], ARGV[3])
end
"""
"""The charger is mine no more: all are told, unless somebody else has it."""


class Holder(NamedTuple):
    """Who holds a charger: since when (microseconds of the epoch), which process, by which connection."""

    since: int
    process_id: str
    connection_id: str

    def __str__(self) -> str:
        return f"{self.since} {self.process_id} {self.connection_id}"

    @classmethod
    def read(cls, value: bytes) -> "Holder | None":
        """Read what a key holds; None for what no process of this version has written."""
        try:
            since, process_id, connection_id = value.decode().split(" ")
            return cls(int(since), process_id, connection_id)
        except ValueError:
            return None


class Presence:
    """The chargers that this process holds, as the others see them.

    `on_dated(charger_id, connection_id, since, moved)` is called when it is known since when a socket here
    has its charger, and whether it was at another process until then; `on_taken(charger_id, connection_id)`
    when a later socket at another process has the charger; `on_left(charger_id)` when a process has given
    one up that nobody else has; `on_refreshed` after each refresh. `fault` says why the last refresh failed.
    """

    def __init__(self, redis: Redis, *, ttl_seconds: float) -> None:
        self._redis = redis
        self._ttl = ttl_seconds
        self._held: dict[str, Holder] = {}
        self._task: asyncio.Task[None] | None = None
        self._now = asyncio.Event()
        self.fault: str | None = None
        self.on_dated: Callable[[str, str, datetime, bool], None] = _nothing_of_all
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

    def claim(self, charger_id: str, connection_id: str, since: datetime) -> None:
        """Take a charger, whoever has it; it may come out as a little later (`on_dated`)."""
        mine = Holder((since - EPOCH) // MICROSECOND, self._redis.process_id, connection_id)
        self._held[charger_id] = mine

        def answered(answer: "asyncio.Future[Any]") -> None:
            if answer.exception() is not None:
                return  # Redis is away: the refresh writes it when it is back
            stamp, was = answer.result()
            before = None if was is None else Holder.read(was)
            moved = before is not None and before.process_id != mine.process_id
            self._date(charger_id, mine._replace(since=int(stamp)), moved=moved)
            if before is not None:
                self._tell_holder(charger_id, before, mine)

        words = (mine.since, f"{mine.process_id} {connection_id}", self._ttl_ms)
        self._redis.submit("EVAL", CLAIM, 1, self._key(charger_id), *words).add_done_callback(answered)

    def release(self, charger_id: str, connection_id: str) -> None:
        """Give a charger up, if this connection has it, and tell those where another socket waits."""
        mine = self._held.get(charger_id)
        if mine is None or mine.connection_id != connection_id:
            return
        del self._held[charger_id]
        left = {"kind": "left", "from": self._redis.process_id, "charger": charger_id}
        words = (f"{mine.process_id} {connection_id}", self._redis.key("all"), orjson.dumps(left))
        self._redis.send("EVAL", RELEASE, 1, self._key(charger_id), *words)

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
                self.on_refreshed()
                self.fault = None
            except RedisAway as error:
                # Perhaps it is there, and refuses (it is full, or read-only for a while): it is asked again.
                self.fault = str(error)
            except Exception as error:
                # A fault of ours must not end this: nobody would find the chargers of this process any more.
                logger.exception("presence.refresh_failed")
                self.fault = type(error).__name__
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
                if theirs is None:
                    continue
                if theirs[1:] == mine[1:]:
                    self._date(charger_id, theirs, moved=False)
                elif theirs.since < mine.since:
                    self._tell_holder(charger_id, theirs, mine)
                elif self._held.get(charger_id) == mine:
                    self._lose(charger_id, mine.connection_id)

    def _tell_holder(self, charger_id: str, holder: Holder, mine: Holder) -> None:
        """Tell who had a charger that `mine` has it now; not when that has ended already."""
        held = self._held.get(charger_id)
        if held is not None and held[1:] == mine[1:] and holder.process_id != self._redis.process_id:
            message: Message = {
                "kind": "taken",
                "charger": charger_id,
                "connection": holder.connection_id,
                "since": holder.since,
            }
            self._redis.tell(holder.process_id, message)

    def _date(self, charger_id: str, holder: Holder, *, moved: bool) -> None:
        """Take since when a socket of this process has its charger, unless it has lost it meanwhile."""
        mine = self._held.get(charger_id)
        if mine is not None and mine[1:] == holder[1:] and mine.since <= holder.since:
            self._held[charger_id] = holder
            self.on_dated(charger_id, holder.connection_id, EPOCH + holder.since * MICROSECOND, moved)

    def _lose(self, charger_id: str, connection_id: str) -> None:
        """Give up what a later socket has.

        At once, not at the next refresh: the later one may have given it up by then, and nobody has it.
        """
        mine = self._held.get(charger_id)
        if mine is not None and mine.connection_id == connection_id:
            del self._held[charger_id]
        self.on_taken(charger_id, connection_id)

    def _take_taken(self, message: Message) -> None:
        mine = self._held.get(message["charger"])
        if mine is None or mine.connection_id != message["connection"] or mine.since <= message["since"]:
            self._lose(message["charger"], message["connection"])
        # Else it has been claimed anew since it was taken: whoever took it is told so.

    def _take_left(self, message: Message) -> None:
        if message["from"] == self._redis.process_id:
            return
        if message["charger"] in self._held:
            self._now.set()  # another one had it for a moment, and now no key says that it is here
        self.on_left(message["charger"])

    @property
    def _ttl_ms(self) -> int:
        return max(1, int(self._ttl * 1000))

    def _key(self, charger_id: str) -> str:
        return self._redis.key("charger", charger_id)


def _nothing_of_all(_: str, __: str, ___: datetime, ____: bool) -> None:
    """Nobody asks since when."""


def _nothing_of_both(_: str, __: str) -> None:
    """Nobody holds sockets here."""


def _nothing_of_it(_: str) -> None:
    """No socket waits here."""


def _nothing() -> None:
    """Nobody waits for a refresh."""

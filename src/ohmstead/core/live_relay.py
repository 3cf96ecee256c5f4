"""The live bus across processes: events go to the others over Redis, in batches, off the path of messages.

Each process counts what it sends. Who hears a batch that does not begin where the last one of that process
ended has missed something (Redis was away, or the sender had too much to say) and lets its listeners begin
anew (`LiveBus.resync`); a word in each second says how far the count is while nothing happens.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
import structlog

from ohmstead.core.http import utc_z
from ohmstead.core.live import Event, LiveBus, Topic
from ohmstead.core.redis import Message, Redis
from ohmstead.core.tasks import end

logger = structlog.stdlib.get_logger(__name__)

FLUSH_SECONDS = 0.02
BATCH = 500
MOST_WAITING = 20_000
WORD_SECONDS = 1.0
SILENT_SECONDS = 5.0
"""Who says no word for so long watches nothing, as far as can be known."""
FORGET_SECONDS = 3600.0


class LiveRelay:
    """Carries the events of this process's bus to the others, and theirs to it.

    `heard` is called with the events of others, before they are handed to the listeners; `missed` when
    some are known not to have arrived.
    """

    def __init__(self, bus: LiveBus, redis: Redis) -> None:
        self._bus = bus
        self._redis = redis
        self._waiting: list[Event] = []
        self._sent = 0
        self._flushing: asyncio.TimerHandle | None = None
        self._others: dict[str, _Other] = {}
        self._task: asyncio.Task[None] | None = None
        self.heard: Callable[[list[Event]], None] = _nothing
        self.missed: Callable[[], None] = _nothing_at_all
        redis.on("events", self._take_events)
        redis.on("word", self._take_word)
        redis.on("drop_user", self._take_drop_user)

    def start(self) -> None:
        """Begin to carry."""
        self._bus.relay = self
        self._task = asyncio.create_task(self._speak(), name="live relay")

    async def stop(self) -> None:
        """Send what waits, and carry no more."""
        self._bus.relay = None
        if self._flushing is not None:
            self._flushing.cancel()
        self._flush()
        await end(self._task)
        self._task = None

    def heard_from(self) -> set[str]:
        """Return the other processes that have said a word lately."""
        now = time.monotonic()
        return {one for one, other in self._others.items() if now - other.spoke_at < SILENT_SECONDS}

    # --- what the bus says

    def event(self, event: Event) -> None:
        """Take an event of this process."""
        self._waiting.append(event)
        if self._flushing is None:
            self._flushing = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._flush)

    def drop_user(self, user_id: UUID) -> None:
        """Tell the others that a user's rights have changed."""
        self._redis.tell_all(self._message("drop_user", user_id=str(user_id)))

    def watching(self) -> None:
        """Tell the others which tails are watched here."""
        tails = sorted(self._bus.tails_watched())
        self._redis.tell_all(self._message("word", sent=self._sent, tails=tails))

    def _flush(self) -> None:
        self._flushing = None
        waiting, self._waiting = self._waiting, []
        if not self._redis.connected or len(waiting) > MOST_WAITING:
            self._sent += len(waiting)  # the others will see the gap
            return
        for start in range(0, len(waiting), BATCH):
            batch = waiting[start : start + BATCH]
            events = [[one.topic, one.kind, one.data, one.backoffice_id, one.station_id] for one in batch]
            message = self._message("events", first=self._sent, events=events)
            self._sent += len(batch)
            try:
                written = orjson.dumps(message, default=_plain, option=orjson.OPT_PASSTHROUGH_DATETIME)
            except TypeError as error:
                logger.error("live.batch_unwritable", why=str(error), kinds=[one.kind for one in batch][:10])
                continue  # the others will see the gap
            self._redis.tell_all(written)

    async def _speak(self) -> None:
        while True:
            self.watching()
            self._look_who_is_silent()
            await asyncio.sleep(WORD_SECONDS)

    def _message(self, kind: str, **members: Any) -> Message:
        return {"kind": kind, "from": self._redis.process_id, **members}

    # --- what the others say

    def _take_events(self, message: Message) -> None:
        if message["from"] == self._redis.process_id:
            return
        events = [
            Event(Topic(topic), kind, data, _uuid(backoffice_id), _uuid(station_id))
            for topic, kind, data, backoffice_id, station_id in message["events"]
        ]
        self._expect(message["from"], message["first"], len(events))
        self.heard(events)
        for event in events:
            self._bus.deliver(event)

    def _take_word(self, message: Message) -> None:
        if message["from"] == self._redis.process_id:
            return
        other = self._expect(message["from"], message["sent"], 0)
        other.tails = frozenset(Topic(topic) for topic in message["tails"])
        other.spoke_at = time.monotonic()
        self._look_who_is_silent()

    def _expect(self, process_id: str, first: int, count: int) -> "_Other":
        other = self._others.setdefault(process_id, _Other())
        if first != other.count:
            self._bus.resync()
            self.missed()
        other.count = first + count
        return other

    def _take_drop_user(self, message: Message) -> None:
        if message["from"] != self._redis.process_id:
            self._bus.drop_user_here(UUID(message["user_id"]))

    def _look_who_is_silent(self) -> None:
        now = time.monotonic()
        for process_id, other in list(self._others.items()):
            if now - other.spoke_at > FORGET_SECONDS:
                del self._others[process_id]
        heard = [one.tails for one in self._others.values() if now - one.spoke_at < SILENT_SECONDS]
        self._bus.watched_elsewhere(frozenset().union(*heard))


@dataclass
class _Other:
    """Another process: how many events it has sent, which tails are watched there, when it last spoke."""

    count: int = 0
    tails: frozenset[Topic] = frozenset()
    spoke_at: float = field(default_factory=time.monotonic)


def _uuid(value: str | None) -> UUID | None:
    return None if value is None else UUID(value)


def _plain(value: Any) -> Any:
    """Write what orjson does not as the live API does, so that a listener elsewhere reads the same."""
    if isinstance(value, datetime):
        return utc_z(value)
    return float(value) if isinstance(value, Decimal) else str(value)


def _nothing(_: list[Event]) -> None:
    """Nobody else wants to know."""


def _nothing_at_all() -> None:
    """Nobody else wants to know."""

"""The live bus: what happened, to whoever watches, after it was committed.

Events carry a version that only grows within one `epoch` (the life of this process). A listener
that comes back with the epoch and version it saw last gets what it missed, as long as the buffer
of five minutes (and a bounded number of events) still holds it; otherwise it is told to `resync`.
A listener that does not keep up is dropped, never waited for: publishing is a plain function call
that cannot block.

With several processes each has a bus of its own, with its own epoch, and a relay that carries events from
one to the others (`core.live_relay`).
"""

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

from ohmstead.core import metrics


class Topic(StrEnum):
    """What can be watched."""

    CHARGERS = "chargers"
    CONNECTORS = "connectors"
    SESSIONS = "sessions"
    ALERTS = "alerts"
    MESSAGES = "messages"
    LOG = "log"


TAIL_ONLY = frozenset({Topic.MESSAGES, Topic.LOG})
"""Tails are as heavy as the traffic itself: they are sent while watched, and not kept for replay."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. `kind` names it (`session.started`), `data` is its JSON body.

    `backoffice_id` and `station_id` say whose it is; None for both means that only a SystemAdmin
    may see it.
    """

    topic: Topic
    kind: str
    data: dict[str, Any]
    backoffice_id: UUID | None = None
    station_id: UUID | None = None


RESYNC = Event(Topic.LOG, "resync", {})
"""Stands in a listener's queue where events of another process are missing: it must begin anew."""


class Relay(Protocol):
    """Carries what is published here to the other processes. Never blocks."""

    def event(self, event: Event) -> None:
        """Take an event."""

    def drop_user(self, user_id: UUID) -> None:
        """Take the news that a user's rights have changed."""

    def watching(self) -> None:
        """Take the news that others are to send more tails, or fewer."""


@dataclass(frozen=True, slots=True)
class Numbered:
    """An event with its place in the order of this epoch, and the moment of publishing (monotonic)."""

    version: int
    at: float
    event: Event


@dataclass(frozen=True, slots=True)
class Scope:
    """What a listener may see: everything, one business, or some of its stations."""

    everything: bool = False
    backoffice_id: UUID | None = None
    station_ids: frozenset[UUID] | None = None

    def covers(self, event: Event) -> bool:
        """Tell whether an event lies within this scope."""
        if self.everything:
            return True
        if self.backoffice_id is None or event.backoffice_id != self.backoffice_id:
            return False
        return self.station_ids is None or event.station_id in self.station_ids


@dataclass(eq=False)
class Subscription:
    """One listener's queue. `closed` says why it was ended by the bus: `slow`, `scope` or `shutdown`."""

    user_id: UUID
    topics: frozenset[Topic]
    scope: Scope
    queue: asyncio.Queue[Numbered | None] = field(default_factory=lambda: asyncio.Queue(maxsize=1000))
    closed: str | None = None

    def end(self, why: str) -> None:
        """End the subscription: what is queued is dropped and the reader is woken with None."""
        if self.closed is not None:
            return
        self.closed = why
        while not self.queue.empty():
            self.queue.get_nowait()
        self.queue.put_nowait(None)


class LiveBus:
    """The bus of this process."""

    def __init__(self, *, keep_seconds: float = 300.0, keep_events: int = 20_000) -> None:
        self.epoch = secrets.token_hex(8)
        self.version = 0
        self._keep_seconds = keep_seconds
        self._buffer: deque[Numbered] = deque(maxlen=keep_events)
        self._forgotten = 0
        self._subscriptions: set[Subscription] = set()
        self._watched: dict[Topic, int] = dict.fromkeys(Topic, 0)
        self._watched_elsewhere: frozenset[Topic] = frozenset()
        self.messages_watched = False
        self.relay: Relay | None = None

    def watched(self, topic: Topic) -> bool:
        """Tell whether anybody watches a topic, at any process; tails are not built when nobody does."""
        return self._watched[topic] > 0 or topic in self._watched_elsewhere

    def tails_watched(self) -> frozenset[Topic]:
        """Return the tails that somebody watches here."""
        return frozenset(topic for topic in TAIL_ONLY if self._watched[topic])

    def watched_elsewhere(self, tails: frozenset[Topic]) -> None:
        """Take which tails are watched at other processes."""
        self._watched_elsewhere = tails
        self.messages_watched = self.watched(Topic.MESSAGES)

    def publish_all(self, events: Iterable[Event]) -> None:
        """Publish several events in their order."""
        for event in events:
            self.publish(event)

    def publish(self, event: Event) -> None:
        """Hand an event to every listener that may see it, here and elsewhere. Never blocks."""
        if self.relay is not None and (
            event.topic not in TAIL_ONLY or event.topic in self._watched_elsewhere
        ):
            self.relay.event(event)
        self.deliver(event)

    def deliver(self, event: Event) -> None:
        """Hand an event to the listeners of this process."""
        self.version += 1
        numbered = Numbered(self.version, time.monotonic(), event)
        if event.topic not in TAIL_ONLY:
            if len(self._buffer) == self._buffer.maxlen:
                self._forgotten = self._buffer[0].version
            self._buffer.append(numbered)
            self._forget_old(numbered.at)
        if not self._watched[event.topic]:
            return
        for subscription in list(self._subscriptions):
            if event.topic in subscription.topics and subscription.scope.covers(event):
                if subscription.queue.full():
                    self.drop(subscription, "slow")
                else:
                    subscription.queue.put_nowait(numbered)

    def resync(self) -> None:
        """Let every listener begin anew: events of another process did not arrive here."""
        self.version += 1
        self._buffer.clear()
        self._forgotten = self.version
        begin_anew = Numbered(self.version, time.monotonic(), RESYNC)
        for subscription in list(self._subscriptions):
            if subscription.topics <= TAIL_ONLY:
                continue
            if subscription.queue.full():
                self.drop(subscription, "slow")
            else:
                subscription.queue.put_nowait(begin_anew)

    def _forget_old(self, now: float) -> None:
        while self._buffer and now - self._buffer[0].at > self._keep_seconds:
            self._forgotten = self._buffer.popleft().version

    def subscribe(self, user_id: UUID, topics: Iterable[Topic], scope: Scope) -> Subscription:
        """Begin to listen; events published from now on are queued."""
        subscription = Subscription(user_id, frozenset(topics), scope)
        self._subscriptions.add(subscription)
        self._count(subscription, 1)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Stop listening. Doing it twice is harmless."""
        if subscription in self._subscriptions:
            self._subscriptions.discard(subscription)
            self._count(subscription, -1)

    def _count(self, subscription: Subscription, change: int) -> None:
        for topic in subscription.topics:
            self._watched[topic] += change
        # Asked for each frame, so kept as a plain truth.
        self.messages_watched = self.watched(Topic.MESSAGES)
        if self.relay is not None and subscription.topics & TAIL_ONLY:
            self.relay.watching()

    def drop(self, subscription: Subscription, why: str) -> None:
        """End a listener from this side: `slow`, or `scope` when what it may see has changed."""
        self.unsubscribe(subscription)
        subscription.end(why)
        metrics.LIVE_DROPPED.labels(why).inc()

    def drop_user(self, user_id: UUID) -> None:
        """End every listener of a user whose rights changed; it signs on again with the new ones."""
        if self.relay is not None:
            self.relay.drop_user(user_id)
        self.drop_user_here(user_id)

    def drop_user_here(self, user_id: UUID) -> None:
        """End every listener of a user at this process."""
        for subscription in [one for one in self._subscriptions if one.user_id == user_id]:
            self.drop(subscription, "scope")

    def close(self) -> None:
        """End every listener: the server stops."""
        for subscription in list(self._subscriptions):
            self.drop(subscription, "shutdown")

    def missed(
        self, epoch: str, version: int, topics: frozenset[Topic], scope: Scope
    ) -> list[Numbered] | None:
        """Return what a listener missed since `version`, or None when it must resync."""
        self._forget_old(time.monotonic())
        if epoch != self.epoch or version > self.version or version < self._forgotten:
            return None
        return [
            one
            for one in self._buffer
            if one.version > version and one.event.topic in topics and scope.covers(one.event)
        ]

    @property
    def listeners(self) -> int:
        """How many listeners there are, for the metrics."""
        return len(self._subscriptions)

"""The live bus."""

import time
from uuid import UUID, uuid4

import pytest

from ohmstead.core.live import Event, LiveBus, Numbered, Scope, Subscription, Topic

OURS, THEIRS = uuid4(), uuid4()
HERE, THERE = uuid4(), uuid4()
ALL = Scope(everything=True)
CHARGERS = frozenset({Topic.CHARGERS})


def event(
    kind: str = "charger.online",
    topic: Topic = Topic.CHARGERS,
    backoffice_id: UUID | None = OURS,
    station_id: UUID | None = HERE,
) -> Event:
    return Event(topic, kind, {}, backoffice_id, station_id)


def listen(bus: LiveBus, *topics: Topic, scope: Scope = ALL, user_id: UUID | None = None) -> Subscription:
    return bus.subscribe(user_id or uuid4(), topics or CHARGERS, scope)


def queued(subscription: Subscription) -> list[str | None]:
    kinds: list[str | None] = []
    while not subscription.queue.empty():
        numbered = subscription.queue.get_nowait()
        kinds.append(numbered.event.kind if numbered else None)
    return kinds


class TestScope:
    @pytest.mark.parametrize(
        ("scope", "of", "covered"),
        [
            (ALL, event(), True),
            (ALL, event(backoffice_id=None, station_id=None), True),
            (Scope(backoffice_id=OURS), event(), True),
            (Scope(backoffice_id=OURS), event(station_id=None), True),
            (Scope(backoffice_id=OURS), event(backoffice_id=THEIRS), False),
            (Scope(backoffice_id=OURS), event(backoffice_id=None), False),
            (Scope(backoffice_id=OURS, station_ids=frozenset({HERE})), event(), True),
            (Scope(backoffice_id=OURS, station_ids=frozenset({HERE})), event(station_id=THERE), False),
            (Scope(backoffice_id=OURS, station_ids=frozenset({HERE})), event(station_id=None), False),
            (Scope(backoffice_id=OURS, station_ids=frozenset()), event(), False),
            (Scope(), event(), False),
            (Scope(), event(backoffice_id=None, station_id=None), False),
        ],
    )
    def test_covers_what_is_the_listeners(self, scope: Scope, of: Event, covered: bool) -> None:
        assert scope.covers(of) is covered


class TestPublishing:
    def test_reaches_who_watches_the_topic_and_may_see_it(self) -> None:
        bus = LiveBus()
        admin, owner = listen(bus), listen(bus, scope=Scope(backoffice_id=OURS))
        other = listen(bus, Topic.SESSIONS)
        bus.publish_all([event("one"), event("two", backoffice_id=THEIRS)])
        assert queued(admin) == ["one", "two"]
        assert queued(owner) == ["one"]
        assert queued(other) == []

    def test_versions_grow_by_one_and_begin_anew_with_another_epoch(self) -> None:
        bus = LiveBus()
        listener = listen(bus)
        bus.publish_all([event(), event()])
        versions = [one.version for one in (listener.queue.get_nowait(), listener.queue.get_nowait()) if one]
        assert versions == [1, 2]
        assert LiveBus().epoch != bus.epoch

    def test_who_has_left_hears_nothing_and_leaving_twice_is_harmless(self) -> None:
        bus = LiveBus()
        listener = listen(bus)
        bus.unsubscribe(listener)
        bus.unsubscribe(listener)
        bus.publish(event())
        assert queued(listener) == []
        assert bus.listeners == 0
        assert not bus.watched(Topic.CHARGERS)

    def test_a_topic_is_watched_while_anybody_watches_it(self) -> None:
        bus = LiveBus()
        first, second = listen(bus, Topic.LOG), listen(bus, Topic.LOG)
        bus.unsubscribe(first)
        assert bus.watched(Topic.LOG)
        bus.unsubscribe(second)
        assert not bus.watched(Topic.LOG)

    def test_who_does_not_keep_up_is_dropped_and_others_are_not(self) -> None:
        bus = LiveBus()
        slow, quick = listen(bus), listen(bus)
        heard: list[str | None] = []
        for number in range(1001):
            bus.publish(event(str(number)))
            heard += queued(quick)
        assert slow.closed == "slow"
        assert queued(slow) == [None]
        assert heard == [str(number) for number in range(1001)]
        assert bus.listeners == 1

    def test_a_user_whose_rights_changed_is_dropped_everywhere(self) -> None:
        bus = LiveBus()
        user = uuid4()
        first, second, other = listen(bus, user_id=user), listen(bus, user_id=user), listen(bus)
        bus.drop_user(user)
        assert (first.closed, second.closed, other.closed) == ("scope", "scope", None)
        assert queued(first) == [None]

    def test_the_first_reason_to_end_stands(self) -> None:
        bus = LiveBus()
        listener = listen(bus)
        bus.drop(listener, "scope")
        bus.drop(listener, "slow")
        assert listener.closed == "scope"
        assert queued(listener) == [None]


class TestMissed:
    def kinds(
        self, bus: LiveBus, version: int, scope: Scope = ALL, epoch: str | None = None
    ) -> list[str] | None:
        missed = bus.missed(epoch or bus.epoch, version, CHARGERS, scope)
        return None if missed is None else [one.event.kind for one in missed]

    def test_is_what_came_since_then_in_order_and_in_scope(self) -> None:
        bus = LiveBus()
        bus.publish_all([event("1"), event("2"), event("3", backoffice_id=THEIRS), event("4")])
        bus.publish(event("5", topic=Topic.SESSIONS))
        assert self.kinds(bus, 1) == ["2", "3", "4"]
        assert self.kinds(bus, 1, Scope(backoffice_id=OURS)) == ["2", "4"]
        assert self.kinds(bus, 5) == []

    def test_another_epoch_or_a_version_to_come_is_a_resync(self) -> None:
        bus = LiveBus()
        bus.publish(event())
        assert self.kinds(bus, 0, epoch="another") is None
        assert self.kinds(bus, 2) is None

    def test_tails_are_not_kept(self) -> None:
        bus = LiveBus()
        bus.publish_all([event("tail", Topic.MESSAGES), event("1")])
        missed = bus.missed(bus.epoch, 0, frozenset(Topic), ALL)
        assert missed is not None
        assert [one.event.kind for one in missed] == ["1"]

    def test_more_than_the_buffer_holds_is_a_resync(self) -> None:
        bus = LiveBus(keep_events=3)
        bus.publish_all([event(str(number)) for number in range(1, 6)])
        assert self.kinds(bus, 1) is None
        assert self.kinds(bus, 2) == ["3", "4", "5"]

    def test_longer_ago_than_the_buffer_goes_is_a_resync(self, monkeypatch: pytest.MonkeyPatch) -> None:
        bus = LiveBus(keep_seconds=300)
        now = time.monotonic()
        monkeypatch.setattr("ohmstead.core.live.time.monotonic", lambda: now)
        bus.publish(event("1"))
        now += 200
        bus.publish(event("2"))
        now += 101
        assert self.kinds(bus, 0) is None
        assert self.kinds(bus, 1) == ["2"]
        now += 300
        assert self.kinds(bus, 1) is None
        assert self.kinds(bus, 2) == []


class KeptRelay:
    """A relay that keeps what it is given."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.dropped: list[UUID] = []
        self.watched = 0

    def event(self, event: Event) -> None:
        self.events.append(event.kind)

    def drop_user(self, user_id: UUID) -> None:
        self.dropped.append(user_id)

    def watching(self) -> None:
        self.watched += 1


class TestSeveralProcesses:
    def test_what_happens_here_goes_to_the_others_and_what_they_say_does_not_go_back(self) -> None:
        bus, relay = LiveBus(), KeptRelay()
        bus.relay = relay
        listener = listen(bus)
        bus.publish(event("ours"))
        bus.deliver(event("theirs"))
        assert relay.events == ["ours"]
        assert queued(listener) == ["ours", "theirs"]
        user = uuid4()
        bus.drop_user(user)
        bus.drop_user_here(uuid4())
        assert relay.dropped == [user]

    def test_tails_go_to_the_others_only_while_they_watch_them(self) -> None:
        bus, relay = LiveBus(), KeptRelay()
        bus.relay = relay
        bus.publish(event("unwatched", Topic.MESSAGES))
        watched = [bus.messages_watched]
        bus.watched_elsewhere(frozenset({Topic.MESSAGES}))
        watched += [bus.messages_watched, bus.watched(Topic.MESSAGES), bus.watched(Topic.LOG)]
        bus.publish(event("watched", Topic.MESSAGES))
        bus.watched_elsewhere(frozenset())
        watched += [bus.messages_watched]
        bus.publish(event("unwatched", Topic.MESSAGES))
        assert watched == [False, True, True, False, False]
        assert relay.events == ["watched"]

    def test_the_others_are_told_at_once_when_a_tail_is_watched_here(self) -> None:
        bus, relay = LiveBus(), KeptRelay()
        bus.relay = relay
        listen(bus, Topic.SESSIONS)
        assert (relay.watched, bus.tails_watched()) == (0, frozenset())
        listener = listen(bus, Topic.LOG, Topic.SESSIONS)
        assert (relay.watched, bus.tails_watched()) == (1, frozenset({Topic.LOG}))
        bus.unsubscribe(listener)
        assert (relay.watched, bus.tails_watched()) == (2, frozenset())

    def test_after_a_gap_each_begins_anew_also_who_was_away_meanwhile(self) -> None:
        bus = LiveBus()
        listener, tail, full = listen(bus), listen(bus, Topic.MESSAGES), listen(bus)
        for number in range(1000):
            full.queue.put_nowait(Numbered(number, 0.0, event()))
        bus.deliver(event("before"))
        version = bus.version
        bus.resync()
        bus.deliver(event("after"))
        assert queued(listener) == ["before", "resync", "after"]
        assert queued(tail) == [], "what is not kept has no gap"
        assert full.closed == "slow"
        assert bus.missed(bus.epoch, version, CHARGERS, ALL) is None
        missed = bus.missed(bus.epoch, version + 1, CHARGERS, ALL)
        assert missed is not None
        assert [one.event.kind for one in missed] == ["after"]

"""Two buses and a real Redis between them."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from tests.chargers import until
from tests.conftest import SECRET

from ohmstead.core import live_relay
from ohmstead.core.config import Settings
from ohmstead.core.live import Event, LiveBus, Topic
from ohmstead.core.live_relay import LiveRelay
from ohmstead.core.redis import Redis


class Side:
    """One process, as far as its bus goes."""

    def __init__(self, settings: Settings) -> None:
        self.bus = LiveBus()
        self.redis = Redis(settings, str(uuid4()))
        self.relay = LiveRelay(self.bus, self.redis)
        self.missed = 0
        self.heard: list[str] = []
        self.relay.missed = self._missed
        self.relay.heard = lambda events: self.heard.extend(one.kind for one in events)

    def _missed(self) -> None:
        self.missed += 1

    async def start(self) -> None:
        self.redis.start()
        self.relay.start()
        assert await self.redis.ready(10)

    async def stop(self) -> None:
        await self.relay.stop()
        await self.redis.stop()

    def kept(self) -> list[Event]:
        return [one.event for one in self.bus._buffer]


@pytest.fixture
async def sides(redis_url: str) -> AsyncIterator[tuple[Side, Side]]:
    settings = Settings.load(
        environment="test", secret_key=SECRET, database_url="postgresql:///relay", redis_url=redis_url
    )
    here, there = Side(settings), Side(settings)
    await here.start()
    await there.start()
    yield here, there
    await here.stop()
    await there.stop()


def event(kind: str, **data: Any) -> Event:
    return Event(Topic.CHARGERS, kind, data, uuid4(), uuid4())


async def heard(side: Side, *kinds: str) -> None:
    async def all_heard() -> bool:
        return side.heard[-len(kinds) :] == list(kinds)

    await until(all_heard)


async def test_an_event_arrives_whole_and_written_as_the_api_writes_it(sides: tuple[Side, Side]) -> None:
    here, there = sides
    at = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
    sent = event("told", at=at, energy=Decimal("1.500"), id=uuid4(), text="é\u0000", nothing=None)
    here.bus.publish(sent)
    await heard(there, "told")
    [arrived] = there.kept()
    assert (arrived.topic, arrived.kind) == (Topic.CHARGERS, "told")
    assert (arrived.backoffice_id, arrived.station_id) == (sent.backoffice_id, sent.station_id)
    assert arrived.data == {
        "at": "2026-05-04T12:00:00Z",
        "energy": 1.5,
        "id": str(sent.data["id"]),
        "text": "é\u0000",
        "nothing": None,
    }
    assert here.heard == [], "nobody hears itself"
    assert (here.missed, there.missed) == (0, 0)


async def test_many_arrive_in_their_order(sides: tuple[Side, Side]) -> None:
    here, there = sides
    for number in range(1201):
        here.bus.publish(event(str(number)))
    await heard(there, "1200")
    assert there.heard == [str(number) for number in range(1201)]
    assert there.missed == 0


async def test_too_many_are_dropped_and_the_others_know_it(
    sides: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_relay, "MOST_WAITING", 10)
    here, there = sides
    for number in range(11):
        here.bus.publish(event(str(number)))

    async def known() -> bool:
        return there.missed == 1

    await until(known)
    here.bus.publish(event("after"))
    await heard(there, "after")
    assert there.heard == ["after"]
    assert there.missed == 1


async def test_one_that_cannot_be_written_takes_its_batch_with_it_and_the_others_know(
    sides: tuple[Side, Side],
) -> None:
    here, there = sides
    here.bus.publish(event("broken", text="\ud800"))

    async def known() -> bool:
        return there.missed == 1

    await until(known)
    here.bus.publish(event("after"))
    await heard(there, "after")


async def test_what_was_said_before_the_end_arrives(sides: tuple[Side, Side]) -> None:
    here, there = sides
    here.bus.publish(event("the last"))
    await here.stop()
    await heard(there, "the last")

"""Raising and clearing alerts."""

from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from tests.conftest import FrozenClock
from tests.world import World

from ohmstead.core.db import Database
from ohmstead.core.live import Event, Topic
from ohmstead.notifications.models import Alert, AlertKind, Severity
from ohmstead.notifications.service import clear_alert, raise_alert
from ohmstead.stations.models import Charger


@pytest.fixture
async def charger(world: World) -> Charger:
    return await world.charger()


@pytest.fixture
def events(db: Database) -> list[Event]:
    """What was told live, after its commit."""
    told: list[Event] = []
    db.on_commit = told.extend
    return told


async def trouble(
    session: AsyncSession, charger: Charger, clock: FrozenClock, **changed: Any
) -> Alert | None:
    values = {
        "kind": AlertKind.CHARGER_OFFLINE,
        "subject": charger.id,
        "severity": Severity.WARN,
        "title": "Away",
        "message": "It is away.",
        "backoffice_id": charger.backoffice_id,
        "station_id": charger.station_id,
        "charger_id": charger.id,
        "now": clock.now(),
        **changed,
    }
    return await raise_alert(session, **values)


async def test_raised_and_cleared_are_told_to_those_who_may_see_it(
    db: Database, charger: Charger, clock: FrozenClock, events: list[Event]
) -> None:
    async with db.session() as session:
        raised = await trouble(session, charger, clock, data={"since": "now"})
        assert events == []
    clock.advance(60)
    async with db.session() as session:
        cleared = await clear_alert(session, AlertKind.CHARGER_OFFLINE, charger.id, clock.now())
    assert raised is not None
    assert cleared is not None
    assert cleared.id == raised.id
    assert [event.kind for event in events] == ["alert.raised", "alert.cleared"]
    for event in events:
        assert event.topic is Topic.ALERTS
        assert (event.backoffice_id, event.station_id) == (charger.backoffice_id, charger.station_id)
    assert events[0].data["id"] == str(raised.id)
    assert events[0].data["data"] == {"since": "now"}
    assert (events[0].data["cleared_at"], events[1].data["cleared_at"]) == (None, "2026-05-04T12:01:00Z")


async def test_the_same_trouble_is_one_open_alert_told_once(
    db: Database, charger: Charger, clock: FrozenClock, events: list[Event]
) -> None:
    for _ in range(3):
        async with db.session() as session:
            await trouble(session, charger, clock)
    async with db.session() as session:
        assert len((await session.scalars(select(Alert))).all()) == 1
    assert len(events) == 1


async def test_after_it_was_cleared_it_is_raised_anew(
    db: Database, charger: Charger, clock: FrozenClock
) -> None:
    for _ in range(2):
        async with db.session() as session:
            assert await trouble(session, charger, clock) is not None
        async with db.session() as session:
            assert await clear_alert(session, AlertKind.CHARGER_OFFLINE, charger.id, clock.now()) is not None


async def test_a_fact_raises_once_for_ever(db: Database, charger: Charger, clock: FrozenClock) -> None:
    async with db.session() as session:
        assert await trouble(session, charger, clock, fact="connection 1") is not None
        assert await clear_alert(session, AlertKind.CHARGER_OFFLINE, charger.id, clock.now()) is not None
        assert await trouble(session, charger, clock, fact="connection 1") is None
        assert await trouble(session, charger, clock, fact="connection 2") is not None


async def test_another_subject_and_another_kind_are_other_troubles(
    db: Database, charger: Charger, clock: FrozenClock
) -> None:
    async with db.session() as session:
        assert await trouble(session, charger, clock) is not None
        assert await trouble(session, charger, clock, subject="another") is not None
        assert await trouble(session, charger, clock, kind=AlertKind.SECURITY_EVENT) is not None
        assert await clear_alert(session, AlertKind.SECURITY_EVENT, charger.id, clock.now()) is not None
        open_ones = await session.scalars(select(Alert.subject).where(Alert.cleared_at.is_(None)))
        assert sorted(open_ones) == sorted([charger.id, "another"])


async def test_clearing_what_is_not_open_is_nothing(
    db: Database, charger: Charger, clock: FrozenClock, events: list[Event]
) -> None:
    async with db.session() as session:
        assert await clear_alert(session, AlertKind.CHARGER_OFFLINE, charger.id, clock.now()) is None
    assert events == []


async def test_long_texts_are_cut_to_their_columns(
    db: Database, charger: Charger, clock: FrozenClock
) -> None:
    async with db.session() as session:
        alert = await trouble(session, charger, clock, subject="s" * 500, title="t" * 500, message="m" * 5000)
        assert alert is not None
        assert (len(alert.subject), len(alert.title), len(alert.message)) == (120, 200, 1000)
        assert await clear_alert(session, AlertKind.CHARGER_OFFLINE, "s" * 500, clock.now()) is not None

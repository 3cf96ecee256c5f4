"""What the diagnosis finds is told to operators by the quarter of an hour, until it is over."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import select
from tests.conftest import FrozenClock
from tests.insights.trouble import KINDS, Trouble, run
from tests.world import World

from ohmstead.core.db import Database
from ohmstead.notifications.models import Alert
from ohmstead.stations.models import Charger, Connector


@pytest.fixture
def trouble(world: World, clock: FrozenClock) -> Trouble:
    return Trouble(world, clock)


@pytest.fixture
async def charger(world: World) -> Charger:
    return await world.charger()


class TestAlerts:
    @pytest.fixture
    def turn(self, app: FastAPI, db: Database, clock: FrozenClock) -> Callable[[], Awaitable[list[Alert]]]:
        """Let the quarter of an hour come; returns all alerts, the oldest first."""

        async def turn() -> list[Alert]:
            await run(app, "diagnosis:tell_operators", db, clock)
            async with db.session() as session:
                query = select(Alert).order_by(Alert.raised_at, Alert.kind)
                return list(await session.scalars(query.execution_options(populate_existing=True)))

        return turn

    @pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "SilentConnectors"])
    async def test_trouble_is_one_alert_until_it_is_over(
        self, charger: Charger, trouble: Trouble, clock: FrozenClock, turn: Any, kind: str
    ) -> None:
        await getattr(trouble, kind)(charger)
        (alert,) = await turn()
        assert (alert.kind, alert.subject, alert.charger_id) == (kind, charger.id, charger.id)
        assert (alert.backoffice_id, alert.station_id) == (charger.backoffice_id, charger.station_id)
        assert alert.severity in {"WARN", "CRITICAL"}
        assert alert.message.startswith(alert.title.partition(": ")[2][:50])
        assert alert.data["count"] >= 1
        assert alert.data["examples"]
        (still,) = await turn()
        assert (still.id, still.cleared_at) == (alert.id, None)
        clock.advance(25 * 3600)
        (over,) = await turn()
        assert over.cleared_at == clock.now()
        await getattr(trouble, kind)(charger)
        assert [one.cleared_at is None for one in await turn()] == [False, True]

    async def test_a_connector_that_speaks_again_clears_its_alert(
        self, db: Database, charger: Charger, trouble: Trouble, clock: FrozenClock, turn: Any
    ) -> None:
        await trouble.SilentConnectors(charger)
        (alert,) = await turn()
        assert alert.kind == "SilentConnectors"
        assert "connector 2" in alert.title
        async with db.session() as session:
            row = await session.get_one(Connector, (charger.id, 2))
            row.status, row.status_received_at = "Available", clock.now()
        (alert,) = await turn()
        assert alert.cleared_at is not None

    async def test_what_an_operator_cleared_comes_back_only_when_it_happens_again(
        self, db: Database, charger: Charger, trouble: Trouble, clock: FrozenClock, turn: Any
    ) -> None:
        await trouble.BadAuth(charger)
        (alert,) = await turn()
        async with db.session() as session:
            (await session.get_one(Alert, alert.id)).cleared_at = clock.now()
        assert len(await turn()) == 1
        clock.advance(60)
        await trouble.BadAuth(charger)
        assert [one.cleared_at is None for one in await turn()] == [False, True]

    async def test_little_things_call_nobody(self, charger: Charger, trouble: Trouble, turn: Any) -> None:
        await trouble.refused(charger, "WrongPassword", 401, times=2)
        await trouble.ended(charger, times=5)
        await trouble.ended(charger, times=1, subprotocol=None, close_code=1000, reason="the server stops")
        assert await turn() == []

    async def test_all_troubles_of_many_chargers_are_told_each_at_its_own(
        self, world: World, trouble: Trouble, turn: Any
    ) -> None:
        chargers = [await world.charger() for _ in KINDS]
        for charger, kind in zip(chargers, KINDS, strict=True):
            await getattr(trouble, kind)(charger)
        told = {(alert.charger_id, alert.kind) for alert in await turn()}
        assert told == {(charger.id, kind) for charger, kind in zip(chargers, KINDS, strict=True)}

    async def test_retired_chargers_and_those_that_are_nobodys_raise_none_and_theirs_are_cleared(
        self, db: Database, world: World, trouble: Trouble, clock: FrozenClock, turn: Any
    ) -> None:
        retired, nobodys = await world.charger(), await world.charger()
        for charger in (retired, nobodys):
            await trouble.BadAuth(charger)
        assert len(await turn()) == 2
        async with db.session() as session:
            (await session.get_one(Charger, retired.id)).retired_at = clock.now()
            (await session.get_one(Charger, nobodys.id)).unregistered_since = clock.now()
        assert all(alert.cleared_at is not None for alert in await turn())

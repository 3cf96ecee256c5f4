"""Which facts become alerts, and which facts end them."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from fastapi import FastAPI
from procrastinate import JobContext
from procrastinate.jobs import Job
from sqlalchemy import select, text, update
from tests.conftest import NOW, FrozenClock
from tests.world import World

from ohmstead.charging.models import SessionStatus
from ohmstead.core.db import Database
from ohmstead.core.http import utc_z
from ohmstead.core.jobs import emit
from ohmstead.gateway import presence
from ohmstead.notifications import subscribers
from ohmstead.notifications.models import Alert, AlertKind, Severity
from ohmstead.notifications.service import clear_alert
from ohmstead.stations import connectors
from ohmstead.stations.models import Charger, Connector


class Worker:
    """Runs a task as the queue would."""

    def __init__(self, app: FastAPI, db: Database, clock: FrozenClock) -> None:
        self.app, self.db, self.clock = app, db, clock

    async def run(self, name: str, **arguments: Any) -> None:
        full = f"{subscribers.NAMESPACE}:{name}"
        queue = self.app.state.jobs.app
        job = Job(id=1, queue="default", lock=None, queueing_lock=None, task_name=full, task_kwargs=arguments)
        context = JobContext(
            app=queue,
            job=job,
            start_timestamp=0,
            abort_reason=lambda: None,
            additional_context={"database": self.db, "clock": self.clock},
        )
        await queue.tasks[full](context, **arguments)

    async def queued(self) -> list[Any]:
        """Return what was queued in this test: task, arguments, time."""
        async with self.db.session() as session:
            rows = await session.execute(
                text("SELECT task_name, args, scheduled_at FROM procrastinate_jobs ORDER BY id")
            )
            return [tuple(row) for row in rows]


@pytest.fixture
def worker(app: FastAPI, db: Database, clock: FrozenClock) -> Worker:
    return Worker(app, db, clock)


async def alerts(db: Database) -> list[Alert]:
    async with db.session() as session:
        return list((await session.scalars(select(Alert).order_by(Alert.raised_at, Alert.id))).all())


def left(charger_id: str, at: str) -> dict[str, str]:
    """A charger of a server that was killed: no connection is known."""
    return {"charger_id": charger_id, "connection_id": "", "at": at}


async def change(db: Database, charger: Charger, **values: Any) -> None:
    async with db.session() as session:
        await session.execute(update(Charger).where(Charger.id == charger.id).values(**values))


async def set_status(db: Database, charger: Charger, connector_id: int, status: str) -> None:
    async with db.session() as session:
        await session.execute(
            update(Connector)
            .where(Connector.charger_id == charger.id, Connector.connector_id == connector_id)
            .values(status=status)
        )


class TestChargerOffline:
    async def test_patience_first(
        self, worker: Worker, world: World, clock: FrozenClock, db: Database
    ) -> None:
        charger = await world.charger()
        told = {"charger_id": charger.id, "connection_id": str(uuid4()), "at": utc_z(clock.now())}
        clock.advance(1)
        await worker.run("chargers_went_offline", gone=[told])
        assert await alerts(db) == []
        [(task, arguments, at)] = await worker.queued()
        assert task == "notifications:chargers_went_offline"
        assert arguments == {"gone": [told]}
        assert at == clock.now() + timedelta(seconds=59)

    async def test_still_away_after_a_minute_is_an_alert(
        self, worker: Worker, world: World, clock: FrozenClock, db: Database
    ) -> None:
        charger = await world.charger(last_seen=clock.now() - timedelta(seconds=30))
        told = {"charger_id": charger.id, "connection_id": str(uuid4()), "at": utc_z(clock.now())}
        clock.advance(60)
        await worker.run("chargers_went_offline", gone=[told])
        [alert] = await alerts(db)
        assert (alert.kind, alert.subject, alert.severity) == ("ChargerOffline", charger.id, "WARN")
        assert (alert.backoffice_id, alert.station_id) == (charger.backoffice_id, charger.station_id)
        assert (alert.charger_id, alert.raised_at, alert.cleared_at) == (charger.id, clock.now(), None)
        assert alert.data["since"] == told["at"]
        assert await worker.queued() == []

    async def test_back_in_time_is_nothing(
        self, worker: Worker, world: World, clock: FrozenClock, db: Database
    ) -> None:
        charger = await world.charger(online=True)
        at = utc_z(clock.now())
        clock.advance(60)
        await worker.run("chargers_went_offline", gone=[left(charger.id, at)])
        assert await alerts(db) == []

    async def test_gone_again_meanwhile_has_a_minute_of_its_own(
        self, worker: Worker, world: World, clock: FrozenClock, db: Database
    ) -> None:
        charger = await world.charger(last_seen=clock.now() + timedelta(seconds=50))
        at = utc_z(clock.now())
        clock.advance(60)
        await worker.run("chargers_went_offline", gone=[left(charger.id, at)])
        assert await alerts(db) == []

    async def test_a_retired_and_an_unknown_charger_are_nobodys_trouble(
        self, worker: Worker, world: World, clock: FrozenClock, db: Database
    ) -> None:
        charger = await world.charger(retired_at=clock.now())
        at = utc_z(clock.now())
        clock.advance(60)
        for charger_id in (charger.id, "CP-deleted"):
            await worker.run("chargers_went_offline", gone=[left(charger_id, at)])
        assert await alerts(db) == []

    async def test_the_same_fact_twice_is_one_alert_even_after_it_was_cleared(
        self, worker: Worker, world: World, clock: FrozenClock, db: Database
    ) -> None:
        charger = await world.charger()
        told = {"charger_id": charger.id, "connection_id": str(uuid4()), "at": utc_z(clock.now())}
        clock.advance(60)
        await worker.run("chargers_went_offline", gone=[told])
        await worker.run("chargers_went_offline", gone=[told])
        async with db.session() as session:
            await clear_alert(session, AlertKind.CHARGER_OFFLINE, charger.id, clock.now())
        await worker.run("chargers_went_offline", gone=[told])
        [alert] = await alerts(db)
        assert alert.cleared_at is not None

    async def test_the_next_time_is_an_alert_of_its_own(
        self, worker: Worker, world: World, clock: FrozenClock, db: Database
    ) -> None:
        charger = await world.charger()
        for _ in range(2):
            # A server that was killed knows no connection: then the time tells the two apart.
            at = utc_z(clock.now())
            clock.advance(60)
            await worker.run("chargers_went_offline", gone=[left(charger.id, at)])
            async with db.session() as session:
                await clear_alert(session, AlertKind.CHARGER_OFFLINE, charger.id, clock.now())
        assert len(await alerts(db)) == 2

    async def test_coming_back_clears_it(
        self, worker: Worker, world: World, clock: FrozenClock, db: Database
    ) -> None:
        charger = await world.charger()
        at = utc_z(clock.now())
        clock.advance(60)
        await worker.run("chargers_went_offline", gone=[left(charger.id, at)])
        await change(db, charger, online=True)
        await worker.run("chargers_came_online", charger_ids=[charger.id])
        [alert] = await alerts(db)
        assert alert.cleared_at == clock.now()

    async def test_presence_that_is_written_late_is_waited_for_but_not_for_ever(
        self, worker: Worker, world: World, clock: FrozenClock, db: Database
    ) -> None:
        charger = await world.charger()
        await worker.run("chargers_came_online", charger_ids=[charger.id])
        [(task, arguments, at)] = await worker.queued()
        assert (task, at) == ("notifications:chargers_came_online", clock.now() + timedelta(seconds=5))
        await worker.run("chargers_came_online", **arguments)
        assert len(await worker.queued()) == 2
        await worker.run("chargers_came_online", **(await worker.queued())[1][1])
        assert len(await worker.queued()) == 2

    async def test_a_late_return_does_not_clear_what_came_after_it(
        self, worker: Worker, world: World, clock: FrozenClock, db: Database
    ) -> None:
        charger = await world.charger()
        at = utc_z(clock.now())
        clock.advance(60)
        await worker.run("chargers_went_offline", gone=[left(charger.id, at)])
        await worker.run("chargers_came_online", charger_ids=[charger.id])
        [alert] = await alerts(db)
        assert alert.cleared_at is None

    async def test_of_many_that_went_at_once_those_are_told_that_are_still_away(
        self, worker: Worker, world: World, clock: FrozenClock, db: Database
    ) -> None:
        away, back, late = [await world.charger(online=online) for online in (False, True, False)]
        gone = [left(one.id, utc_z(clock.now())) for one in (away, back)]
        clock.advance(1)
        gone.append(left(late.id, utc_z(clock.now())))
        clock.advance(59)
        await worker.run("chargers_went_offline", gone=gone)
        assert await alerts(db) == []
        [(_, arguments, at)] = await worker.queued()
        clock.advance(1)
        assert at == clock.now(), "each has its whole minute"
        await worker.run("chargers_went_offline", **arguments)
        assert {alert.charger_id for alert in await alerts(db)} == {away.id, late.id}
        await change(db, away, online=True)
        await worker.run("chargers_came_online", charger_ids=[away.id, late.id])
        assert {alert.charger_id for alert in await alerts(db) if alert.cleared_at} == {away.id}
        assert (await worker.queued())[1][1] == {"charger_ids": [late.id], "looked": 1}

    async def test_as_the_gateway_says_it(self, worker: Worker, world: World, db: Database) -> None:
        charger = await world.charger()
        news = presence.News(gone=[(charger.id, "c", NOW)] * 501, back=[charger.id])
        async with db.session() as session:
            await news.publish(session)
        tasks = [(task, len(next(iter(arguments.values())))) for task, arguments, _ in await worker.queued()]
        offline = "notifications:chargers_went_offline"
        assert tasks == [(offline, 500), (offline, 1), ("notifications:chargers_came_online", 1)]
        for task, arguments, scheduled_at in await worker.queued():
            assert scheduled_at is None
            await worker.run(task.removeprefix("notifications:"), **arguments)


class TestOverlooked:
    """Chargers whose going was written and, since their process was killed then, told to nobody."""

    async def test_one_that_nobody_was_told_of_is_found_and_told_once(
        self, worker: Worker, world: World, clock: FrozenClock, db: Database
    ) -> None:
        charger = await world.charger(presence_at=clock.now())
        clock.advance(119)
        await worker.run("find_overlooked", timestamp=0)
        assert await alerts(db) == [], "its own job comes first"
        clock.advance(1)
        await worker.run("find_overlooked", timestamp=0)
        await worker.run("find_overlooked", timestamp=0)
        [alert] = await alerts(db)
        assert (alert.charger_id, alert.data["since"]) == (charger.id, "2026-05-04T12:00:00Z")
        async with db.session() as session:
            await clear_alert(session, AlertKind.CHARGER_OFFLINE, charger.id, clock.now())
        await worker.run("find_overlooked", timestamp=0)
        assert len(await alerts(db)) == 1

    async def test_nobody_else_is(
        self, worker: Worker, world: World, clock: FrozenClock, db: Database
    ) -> None:
        await world.charger(online=True, presence_at=clock.now())
        await world.charger(presence_at=clock.now(), retired_at=clock.now())
        await world.charger(presence_at=clock.now() - timedelta(days=2))
        await world.charger()
        told = await world.charger(presence_at=clock.now())
        gone = [left(told.id, utc_z(clock.now()))]
        clock.advance(120)
        await worker.run("chargers_went_offline", gone=gone)
        await worker.run("find_overlooked", timestamp=0)
        assert [alert.charger_id for alert in await alerts(db)] == [told.id]


class TestConnectorFaulted:
    @pytest.fixture
    async def charger(self, world: World) -> Charger:
        return await world.charger()

    @pytest.fixture
    def told(self, charger: Charger, clock: FrozenClock) -> dict[str, Any]:
        return {"charger_id": charger.id, "connector_id": 2, "at": utc_z(clock.now())}

    async def test_a_fault_is_an_alert(
        self, worker: Worker, db: Database, charger: Charger, told: dict[str, Any]
    ) -> None:
        await set_status(db, charger, 2, "Faulted")
        await worker.run("connector_faulted", error_code="GroundFailure", info="RCD tripped", **told)
        [alert] = await alerts(db)
        assert (alert.kind, alert.subject) == ("ConnectorFaulted", f"{charger.id}/2")
        assert alert.severity == "CRITICAL"
        assert "GroundFailure" in alert.title
        assert "RCD tripped" in alert.message

    async def test_mended_before_the_job_ran_is_nothing(
        self, worker: Worker, db: Database, charger: Charger, told: dict[str, Any]
    ) -> None:
        await set_status(db, charger, 2, "Available")
        await worker.run("connector_faulted", error_code="GroundFailure", info=None, **told)
        assert await alerts(db) == []

    async def test_mended_clears_it(
        self, worker: Worker, db: Database, charger: Charger, told: dict[str, Any]
    ) -> None:
        await set_status(db, charger, 2, "Faulted")
        await worker.run("connector_faulted", error_code="GroundFailure", info=None, **told)
        await worker.run("connector_recovered", **told)
        assert (await alerts(db))[0].cleared_at is None, "it is still faulted"
        await set_status(db, charger, 2, "Available")
        await worker.run("connector_recovered", **told)
        assert (await alerts(db))[0].cleared_at is not None

    async def test_a_faulted_connector_that_is_removed_clears_it(
        self, *, worker: Worker, db: Database, charger: Charger, told: dict[str, Any], clock: FrozenClock
    ) -> None:
        await set_status(db, charger, 2, "Faulted")
        await worker.run("connector_faulted", error_code="GroundFailure", info=None, **told)
        async with db.session() as session:
            await connectors.declare(session, charger.id, 1, clock.now())
        [(task, arguments, _)] = await worker.queued()
        await worker.run(task.removeprefix("notifications:"), **arguments)
        assert (await alerts(db))[0].cleared_at is not None

    async def test_an_unknown_connector_is_nothing(
        self, worker: Worker, db: Database, charger: Charger, told: dict[str, Any]
    ) -> None:
        await worker.run("connector_faulted", error_code="X", info=None, **(told | {"connector_id": 9}))
        await worker.run("connector_recovered", **(told | {"connector_id": 9}))
        assert await alerts(db) == []


class TestSessions:
    @pytest.mark.parametrize(
        ("task", "kind", "severity"),
        [
            ("stop_unmatched", AlertKind.STOP_UNMATCHED, Severity.WARN),
            ("session_closed_by_rule", AlertKind.SESSION_CLOSED_BY_RULE, Severity.INFO),
        ],
    )
    async def test_are_an_alert_once(
        self, *, worker: Worker, world: World, db: Database, task: str, kind: AlertKind, severity: Severity
    ) -> None:
        charger = await world.charger()
        row = await world.session(
            charger, status=SessionStatus.COMPLETED, stop_reason="ConnectorAvailable", ocpp_transaction_id=77
        )
        for _ in range(2):
            await worker.run(task, session_id=str(row.id))
        [alert] = await alerts(db)
        assert (alert.kind, alert.subject, alert.severity) == (kind, str(row.id), severity)
        assert (alert.charger_id, alert.backoffice_id) == (charger.id, charger.backoffice_id)
        assert "77" in alert.message
        async with db.session() as session:
            await clear_alert(session, kind, str(row.id), worker.clock.now())
        await worker.run(task, session_id=str(row.id))
        assert len(await alerts(db)) == 1

    @pytest.mark.parametrize("task", ["stop_unmatched", "session_closed_by_rule"])
    async def test_that_are_gone_are_nothing(self, worker: Worker, db: Database, task: str) -> None:
        await worker.run(task, session_id=str(uuid4()))
        assert await alerts(db) == []


class TestSecurityEvents:
    @pytest.mark.parametrize("kind", sorted(subscribers.SECURITY_SEVERITY))
    async def test_that_matter_are_an_alert(
        self, worker: Worker, world: World, db: Database, clock: FrozenClock, kind: str
    ) -> None:
        charger = await world.charger()
        await worker.run("security_event", charger_id=charger.id, type=kind, at=utc_z(clock.now()))
        [alert] = await alerts(db)
        assert alert.severity == subscribers.SECURITY_SEVERITY[kind]
        assert alert.subject == f"{charger.id}:{kind}"

    @pytest.mark.parametrize("kind", ["StartupOfTheDevice", "ResetOrReboot", "SettingSystemTime", "Odd"])
    async def test_of_every_day_are_not(
        self, worker: Worker, world: World, db: Database, clock: FrozenClock, kind: str
    ) -> None:
        charger = await world.charger()
        await worker.run("security_event", charger_id=charger.id, type=kind, at=utc_z(clock.now()))
        assert await alerts(db) == []


class TestAsThePublishersSay:
    """The facts as the gateway and charging publish them, through the queue."""

    @pytest.mark.parametrize(
        ("fact", "members"),
        [
            ("ConnectorFaulted", {"connector_id": 1, "error_code": "GroundFailure", "info": None}),
            ("ConnectorRecovered", {"connector_id": 1}),
            ("SecurityEvent", {"type": "TamperDetectionActivated"}),
        ],
    )
    async def test_a_fact_reaches_its_task_with_its_time_and_at_once(
        self, *, worker: Worker, world: World, db: Database, fact: str, members: dict[str, Any]
    ) -> None:
        charger = await world.charger()
        said = {"charger_id": charger.id, "at": "2026-05-04T12:00:00Z", **members}
        async with db.session() as session:
            await emit(session, fact, **said)
        [(task, arguments, scheduled_at)] = await worker.queued()
        assert [task] == subscribers.SUBSCRIBERS[fact]
        assert arguments == said
        assert scheduled_at is None
        await worker.run(task.removeprefix("notifications:"), **arguments)


def test_every_subscribed_task_exists(app: FastAPI) -> None:
    tasks = {task for names in subscribers.SUBSCRIBERS.values() for task in names}
    assert tasks <= set(app.state.jobs.app.tasks)

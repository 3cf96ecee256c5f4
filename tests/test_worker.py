"""The worker inside the server: it runs what was deferred, tries again, and comes back by itself."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from fastapi import FastAPI
from procrastinate import Blueprint, JobContext, RetryStrategy
from procrastinate.jobs import Job
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import func, select, text

from ohmstead import worker
from ohmstead.charging.models import ClosedBy, MeterValue, Session, SessionStatus
from ohmstead.core.clock import SystemClock
from ohmstead.core.config import Settings
from ohmstead.core.db import Database
from ohmstead.core.jobs import Jobs, emit
from ohmstead.core.postgres import EmbeddedPostgres
from ohmstead.gateway.models import Connection, Message, Refusal
from ohmstead.notifications.models import Alert, AlertKind, Severity
from ohmstead.stations.models import Charger, ChargerReport, Connector, StatusEvent
from ohmstead.worker import Worker, create_jobs, subscribers
from tests.chargers import until
from tests.conftest import FrozenClock
from tests.world import World

Done = list[tuple[str, Any]]


@pytest.fixture(scope="module")
def url(database_factory: Any) -> str:
    return str(database_factory("worker"))


class Bench:
    """A worker on a database of its own, with tasks that note what they did."""

    def __init__(self, url: str, settings: Settings) -> None:
        self.url = url
        self.settings = settings
        self.done: Done = []
        self.release = asyncio.Event()
        blueprint = Blueprint()

        @blueprint.task(name="note", pass_context=True)
        async def note(context: JobContext, *, number: int) -> None:
            means = sorted(context.additional_context)
            self.done.append(("note", (number, means)))

        @blueprint.task(name="stumble", pass_context=True, retry=RetryStrategy(max_attempts=1, wait=0))
        async def stumble(context: JobContext, *, times: int) -> None:
            if context.job.attempts < times:
                raise ConnectionError("not yet")

        @blueprint.task(name="wait")
        async def wait() -> None:
            self.done.append(("wait", "begun"))
            await self.release.wait()
            self.done.append(("wait", "ended"))

        @blueprint.task(name="stalled", pass_context=True)
        async def stalled(context: JobContext) -> None:
            await worker.retry_stalled_jobs.func(context, timestamp=0)

        registry = Blueprint()
        registry.add_tasks_from(blueprint, namespace="test")
        self.jobs = Jobs(url, registry, {"Noted": ["test:note"]})
        self.database = Database(url)
        self.database.session_info["jobs"] = self.jobs
        self.worker = Worker(self.jobs, settings, self.database, SystemClock())

    async def defer(self, task: str, **arguments: Any) -> None:
        async with self.database.session() as session:
            await self.jobs.defer(session, task, **arguments)

    async def until(self, condition: Callable[[], bool], seconds: float = 20) -> None:
        async def holds() -> bool:
            return condition()

        await until(holds, seconds)

    def states(self) -> list[str]:
        with psycopg.connect(self.url) as connection:
            found = connection.execute(
                "SELECT status FROM procrastinate_jobs WHERE task_name <> 'test:stalled' ORDER BY id"
            )
            return [status for (status,) in found]


@pytest.fixture
async def bench(url: str, settings: Settings) -> AsyncIterator[Bench]:
    bench = Bench(url, settings)
    bench.worker.start()
    await bench.until(lambda: bench.worker.running)
    yield bench
    bench.release.set()
    await bench.worker.stop()
    async with bench.database.session() as session:
        await session.execute(text("TRUNCATE procrastinate_jobs, procrastinate_workers CASCADE"))
    await bench.database.close()


class TestWorker:
    async def test_a_fact_is_heard_after_its_commit_with_the_means_of_the_server(self, bench: Bench) -> None:
        async with bench.database.session() as session:
            await emit(session, "Noted", number=1)
            await session.flush()
            assert bench.done == []
        await bench.until(lambda: bool(bench.done))
        ((_, (number, means)),) = bench.done
        assert number == 1
        assert {"clock", "database", "settings"} <= set(means)
        await bench.until(lambda: bench.states() == ["succeeded"])

    async def test_a_fact_that_was_rolled_back_is_never_heard(self, bench: Bench) -> None:
        with pytest.raises(ZeroDivisionError):  # noqa: PT012 # the block is the unit of work
            async with bench.database.session() as session:
                await emit(session, "Noted", number=1)
                raise ZeroDivisionError
        await bench.defer("test:note", number=2)
        await bench.until(lambda: bool(bench.done))
        assert [number for _, (number, _) in bench.done] == [2]

    async def test_a_job_that_fails_is_tried_again_and_one_that_always_does_stays_for_people_to_see(
        self, bench: Bench
    ) -> None:
        await bench.defer("test:stumble", times=1)
        await bench.defer("test:stumble", times=99)
        await bench.until(lambda: bench.states() == ["succeeded", "failed"])

    async def test_it_comes_back_when_its_connections_were_cut(
        self, bench: Bench, postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(worker, "RESTART_SECONDS", 0.1)
        name = conninfo_to_dict(bench.url)["dbname"]
        with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", [name]
            )

        async def deferred() -> bool:
            try:
                await bench.defer("test:note", number=3)
            except Exception:  # noqa: BLE001 # the pool finds its dead connections by using them
                return False
            return True

        await until(deferred)
        await bench.until(lambda: bool(bench.done))

    async def test_a_stop_lets_a_job_come_to_its_end(self, bench: Bench) -> None:
        await bench.defer("test:wait")
        await bench.until(lambda: bench.done == [("wait", "begun")])
        stopping = asyncio.create_task(bench.worker.stop())
        await asyncio.sleep(0)
        bench.release.set()
        await asyncio.wait_for(stopping, 60)
        assert bench.done[-1] == ("wait", "ended")
        assert bench.states() == ["succeeded"]
        assert not bench.worker.running

    async def test_what_a_killed_worker_had_begun_is_run_again(self, bench: Bench) -> None:
        """A `kill -9` leaves a job that is being done by nobody, and a worker whose heart beats no more."""
        with psycopg.connect(bench.url, autocommit=True) as connection:
            dead = connection.execute(
                "INSERT INTO procrastinate_workers (last_heartbeat)"
                " VALUES (now() - interval '2 minutes') RETURNING id"
            ).fetchone()
            assert dead is not None
            insert = (
                "INSERT INTO procrastinate_jobs"
                " (queue_name, task_name, args, status, worker_id, queueing_lock)"
                " VALUES ('default', %s, %s, 'doing', %s, %s)"
            )
            connection.execute(insert, ["test:note", '{"number": 4}', dead[0], None])
            connection.execute(insert, ["test:note", '{"number": 5}', None, None])
            connection.execute(insert, ["test:note", '{"number": 6}', dead[0], "by the clock"])
        await bench.defer("test:stalled")
        await bench.until(lambda: len(bench.done) == 2)
        assert {number for _, (number, _) in bench.done} == {4, 5}
        await bench.until(lambda: sorted(bench.states()) == ["aborted", "succeeded", "succeeded"])


class TestRegistry:
    def test_every_fact_is_heard_by_tasks_that_are_tried_again(self, url: str) -> None:
        jobs = create_jobs(url)
        heard = {task for tasks in subscribers().values() for task in tasks}
        assert heard
        for name in heard:
            assert jobs.app.tasks[name].retry_strategy is not None, f"{name} would be lost by one failure"

    def test_every_task_by_the_clock_holds_a_lock_so_that_turns_do_not_pile_up(self, url: str) -> None:
        jobs = create_jobs(url)
        periodic = {task.task.name for task in jobs.app.periodic_registry.periodic_tasks.values()}
        assert periodic == {
            "accounts:trim_sessions",
            "accounts:trim_sign_in_attempts",
            "alerts:trim_alerts",
            "audit:seal",
            "campaigns:forget_old",
            "campaigns:mend",
            "stations:trim_history",
            "charging:close_stale_sessions",
            "charging:meter_value_days",
            "configuration:apply_templates_again",
            "configuration:trim_configuration_changes",
            "core:remove_old_jobs",
            "core:retry_stalled_jobs",
            "diagnosis:tell_operators",
            "diagnostics:expire_diagnostics",
            "diagnostics:trim_diagnostics",
            "files:sweep",
            "firmware:expire_updates",
            "firmware:trim_updates",
            "gateway:message_log_days",
            "gateway:trim_connections",
            "notifications:find_overlooked",
            "key_rotation:seal_anew",
            "local_lists:keep_local_lists",
            "mail:trim",
            "mailed_tokens:trim",
            "onboarding:forget_unadopted",
            "personal_data:expire",
            "reservations:expire_reservations",
        }
        for name in periodic:
            assert jobs.app.tasks[name].queueing_lock


Run = Callable[..., Awaitable[None]]


@pytest.fixture
def by_the_clock(app: FastAPI, db: Database, clock: FrozenClock, settings: Settings) -> Run:
    """Run a periodic task as the queue would."""

    async def run(name: str, **changed: Any) -> None:
        jobs: Jobs = app.state.jobs
        job = Job(
            id=1, queue="default", lock=None, queueing_lock=None, task_name=name, task_kwargs={"timestamp": 0}
        )
        means = {"database": db, "clock": clock, "settings": settings.model_copy(update=changed)}
        context = JobContext(
            app=jobs.app, job=job, start_timestamp=0, abort_reason=lambda: None, additional_context=means
        )
        await jobs.app.tasks[name](context, timestamp=0)

    return run


class TestStaleSessions:
    async def scene(self, world: World, clock: FrozenClock, **fields: Any) -> Session:
        """A session whose connector has been Available for 16 minutes, unless the fields say otherwise."""
        online = fields.pop("online", True)
        status = fields.pop("status", "Available")
        since = clock.now() - timedelta(minutes=fields.pop("minutes", 16))
        began = clock.now() - timedelta(hours=fields.pop("hours", 2))
        station = await world.station()
        charger = Charger(
            id=f"CP-{uuid4().hex[:8]}",
            station_id=station.id,
            backoffice_id=station.backoffice_id,
            online=online,
        )
        await world.add(
            charger,
            Connector(charger_id=charger.id, connector_id=1, status=status, status_received_at=since),
        )
        return await world.session(charger, started_at=began, received_at=began)

    async def after(self, db: Database, row: Session) -> Session:
        async with db.session() as session:
            found = await session.get(Session, row.id)
        assert found is not None
        return found

    async def test_a_session_whose_car_has_left_is_closed_with_the_reason(
        self, by_the_clock: Run, world: World, clock: FrozenClock, db: Database
    ) -> None:
        row = await self.after(db, await self.scene(world, clock))
        await by_the_clock("charging:close_stale_sessions")
        closed = await self.after(db, row)
        assert (closed.status, closed.closed_by, closed.stop_reason) == (
            SessionStatus.COMPLETED,
            ClosedBy.RULE,
            "ConnectorAvailable",
        )
        await by_the_clock("charging:close_stale_sessions")
        async with db.session() as session:
            jobs = await session.scalars(
                text("SELECT task_name FROM procrastinate_jobs WHERE args ->> 'session_id' = :id"),
                {"id": str(row.id)},
            )
            names = list(jobs.all())
        assert len(names) == len(set(names)), "it is told once"

    @pytest.mark.parametrize(
        "fields",
        [{"minutes": 14}, {"status": "Finishing"}, {"online": False}, {"hours": 0.1}],
        ids=[
            "not yet",
            "the car is there",
            "the charger may still bring the stop",
            "Available was before the start",
        ],
    )
    async def test_others_go_on(
        self, by_the_clock: Run, world: World, clock: FrozenClock, db: Database, fields: dict[str, Any]
    ) -> None:
        row = await self.scene(world, clock, **fields)
        await by_the_clock("charging:close_stale_sessions")
        assert (await self.after(db, row)).status == SessionStatus.ACTIVE


class TestRetention:
    async def count(self, db: Database, model: Any) -> int:
        async with db.session() as session:
            return int((await session.execute(select(func.count()).select_from(model))).scalar_one())

    async def test_meter_values_are_dropped_by_day(
        self, by_the_clock: Run, world: World, clock: FrozenClock, db: Database, settings: Settings
    ) -> None:
        await by_the_clock("charging:meter_value_days")
        value = {"charger_id": "X", "connector_id": 1, "transaction_id": 1, "digest": 1, "sampled_values": []}
        absurd = datetime(1970, 1, 1, tzinfo=UTC)
        now = clock.now()
        await world.add(
            MeterValue(**value, sampled_at=now, received_at=now),
            MeterValue(**value, sampled_at=absurd, received_at=now),
        )
        clock.advance(settings.meter_value_days * 86_400)
        await by_the_clock("charging:meter_value_days")
        assert await self.count(db, MeterValue) == 2
        clock.advance(86_400)
        await by_the_clock("charging:meter_value_days")
        assert await self.count(db, MeterValue) == 0

    async def test_the_message_log_is_dropped_by_day_and_the_next_days_are_ready(
        self, by_the_clock: Run, world: World, clock: FrozenClock, db: Database, settings: Settings
    ) -> None:
        await by_the_clock("gateway:message_log_days")
        await world.add(Message(id=1, received_at=clock.now(), charger_id="X", direction="in", request="[]"))
        clock.advance((settings.message_log_days + 1) * 86_400)
        await by_the_clock("gateway:message_log_days")
        assert await self.count(db, Message) == 0
        async with db.session() as session:
            names = await session.scalars(
                text(
                    "SELECT inhrelid::regclass::text FROM pg_inherits"
                    " WHERE inhparent = 'gateway_message'::regclass"
                )
            )
            days = {name[-8:] for name in names.all()}
        wanted: set[date] = {clock.now().date() + timedelta(days=offset) for offset in range(4)}
        assert {f"{day:%Y%m%d}" for day in wanted} <= days

    async def test_old_connections_are_dropped_and_open_ones_never(
        self, by_the_clock: Run, world: World, clock: FrozenClock, db: Database, settings: Settings
    ) -> None:
        charger = await world.charger()
        long_ago = clock.now() - timedelta(days=settings.connection_log_days, seconds=1)
        closed = [long_ago, long_ago + timedelta(seconds=2), None]
        await world.add(
            *(
                Connection(id=uuid4(), charger_id=charger.id, opened_at=long_ago, closed_at=at)
                for at in closed
            )
        )
        await by_the_clock("gateway:trim_connections")
        assert await self.count(db, Connection) == 2

    @pytest.mark.parametrize(
        ("keep", "left"), [(3, [3, 4, 5]), (5, [1, 2, 3, 4, 5]), (9, [1, 2, 3, 4, 5]), (0, [])]
    )
    async def test_the_newest_refusals_are_kept(
        self, by_the_clock: Run, db: Database, world: World, *, keep: int, left: list[int]
    ) -> None:
        for number in range(1, 6):
            await world.add(
                Refusal(at=world.clock.now(), charger_id=f"N{number}", status=404, reason="UnknownCharger")
            )
        await by_the_clock("gateway:trim_connections", refusal_log_rows=keep)
        async with db.session() as session:
            names = await session.scalars(select(Refusal.charger_id).order_by(Refusal.id))
            assert list(names.all()) == [f"N{number}" for number in left]

    async def test_history_goes_with_its_age_and_open_alerts_stay(
        self, by_the_clock: Run, world: World, clock: FrozenClock, db: Database, settings: Settings
    ) -> None:
        charger = await world.charger()
        now = clock.now()
        old = now - timedelta(days=settings.history_days, seconds=1)
        for at in (old, now):
            await world.add(
                StatusEvent(
                    charger_id=charger.id,
                    connector_id=1,
                    at=at,
                    received_at=at,
                    status="Available",
                    error_code="NoError",
                ),
                ChargerReport(charger_id=charger.id, received_at=at, action="DataTransfer", payload={}),
            )
        for subject, cleared_at in (("long over", old), ("just over", now), ("open", None)):
            await world.add(
                Alert(
                    kind=AlertKind.CHARGER_OFFLINE,
                    subject=subject,
                    severity=Severity.WARN,
                    title="Offline",
                    message="It is offline.",
                    raised_at=old,
                    cleared_at=cleared_at,
                )
            )
        await by_the_clock("stations:trim_history")
        await by_the_clock("alerts:trim_alerts")
        assert await self.count(db, StatusEvent) == 1
        assert await self.count(db, ChargerReport) == 1
        async with db.session() as session:
            assert set(await session.scalars(select(Alert.subject))) == {"just over", "open"}

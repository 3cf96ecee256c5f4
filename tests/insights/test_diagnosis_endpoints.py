"""The diagnosis of a charger over HTTP, and the alerts by the quarter of an hour, from rows of every kind."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from itertools import count
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from procrastinate import JobContext
from procrastinate.jobs import Job
from sqlalchemy import select
from tests.conftest import FrozenClock
from tests.world import SignedIn, World

from ohmstead.accounts.models import Role
from ohmstead.charging.models import ClosedBy, SessionStatus
from ohmstead.core.db import Database, raw_connection
from ohmstead.core.facts import write_facts
from ohmstead.gateway.models import Connection, Message, Refusal
from ohmstead.notifications.models import Alert
from ohmstead.stations.jobs import NAMESPACE as STATIONS
from ohmstead.stations.models import Charger, Connector, Observation, StatusEvent
from ohmstead.stations.observations import OBSERVATION, REPEATED_ID, WRONG_SUBPROTOCOL, Observed

Make = Callable[[Charger], Awaitable[None]]
NUMBERS = count(1)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)


class Trouble:
    """Makes the rows that a charger with some trouble leaves behind, all of the last half an hour."""

    def __init__(self, world: World, clock: FrozenClock) -> None:
        self.world, self.clock = world, clock

    async def refused(self, charger: Charger, reason: str, status: int, times: int = 3) -> None:
        for number in range(times):
            await self.world.add(
                Refusal(
                    at=self.clock.now() - number * MINUTE,
                    charger_id=charger.id,
                    backoffice_id=charger.backoffice_id,
                    station_id=charger.station_id,
                    address="192.0.2.7",
                    status=status,
                    reason=reason,
                )
            )

    async def message(self, charger: Charger, **fields: Any) -> Message:
        number = next(NUMBERS)
        row = Message(
            **{
                "id": number,
                "received_at": self.clock.now() - MINUTE,
                "charger_id": charger.id,
                "direction": "in",
                "message_id": f"m{number}",
                "action": "StatusNotification",
                "request": "[]",
                **fields,
            }
        )
        await self.world.add(row)
        return row

    async def ended(self, charger: Charger, reason: str = "", times: int = 6, **fields: Any) -> None:
        for number in range(times):
            at = self.clock.now() - (number + 2) * MINUTE
            values = {"subprotocol": "ocpp1.6", "close_code": 1006, **fields}
            row = Connection(
                charger_id=charger.id, opened_at=at, closed_at=at + MINUTE, close_reason=reason, **values
            )
            await self.world.add(row)

    async def observed(self, charger: Charger, kind: str, times: int, detail: str) -> None:
        seen = Observed()
        for number in range(times):
            seen.note(charger.id, kind, self.clock.now() - number * SECOND, f"id{number}", detail)
        await write(self.world.database, seen)

    # --- one way to make each finding

    async def BadAuth(self, charger: Charger) -> None:  # noqa: N802 # named as its kind
        await self.refused(charger, "WrongPassword", 401)

    async def BadHandshake(self, charger: Charger) -> None:  # noqa: N802
        await self.refused(charger, "NoUpgrade", 426)

    async def WrongSubprotocol(self, charger: Charger) -> None:  # noqa: N802
        await self.observed(charger, WRONG_SUBPROTOCOL, 1, "ocpp2.0.1")

    async def RepeatedIds(self, charger: Charger) -> None:  # noqa: N802
        await self.observed(charger, REPEATED_ID, 12, "Heartbeat")

    async def SchemaFaults(self, charger: Charger) -> None:  # noqa: N802
        for _ in range(3):
            await self.message(charger, error_code="TypeConstraintViolation", response='[4,"m","T","no",{}]')

    async def Flapping(self, charger: Charger) -> None:  # noqa: N802
        await self.ended(charger)

    async def MissingStops(self, charger: Charger) -> None:  # noqa: N802
        for _ in range(3):
            await self.world.session(
                charger,
                status=SessionStatus.COMPLETED,
                closed_by=ClosedBy.RULE,
                closed_at=self.clock.now() - MINUTE,
                stop_reason="ReplacedByNewStart",
            )

    async def RegisterJumps(self, charger: Charger) -> None:  # noqa: N802
        for _ in range(3):
            await self.world.session(
                charger,
                status=SessionStatus.COMPLETED,
                closed_by=ClosedBy.CHARGER,
                anomalies=[{"kind": "register_jump", "at": None, "detail": ""}],
            )

    async def ClockDrift(self, charger: Charger) -> None:  # noqa: N802
        now = self.clock.now()
        await self.world.add(
            StatusEvent(
                charger_id=charger.id,
                connector_id=1,
                at=now + 3 * HOUR,
                received_at=now - MINUTE,
                status="Available",
                error_code="NoError",
            )
        )

    async def SilentConnectors(self, charger: Charger) -> None:  # noqa: N802
        booted = self.clock.now() - HOUR
        async with self.world.database.session() as session:
            row = await session.get_one(Charger, charger.id)
            row.online, row.last_boot_at, row.presence_since = True, booted, booted
            first = await session.get_one(Connector, (charger.id, 1))
            first.status, first.status_received_at = "Available", booted + SECOND


KINDS = [name for name in vars(Trouble) if name[0].isupper()]
OF = {
    "BadAuth": "refusal",
    "BadHandshake": "refusal",
    "WrongSubprotocol": "connection",
    "RepeatedIds": "message id",
    "SchemaFaults": "message",
    "Flapping": "connection",
    "MissingStops": "session",
    "RegisterJumps": "session",
    "ClockDrift": "status event",
    "SilentConnectors": "connector",
}


async def write(database: Database, seen: Observed) -> None:
    async with database.session() as session:
        await write_facts(await raw_connection(session), OBSERVATION, seen.take())


@pytest.fixture
def trouble(world: World, clock: FrozenClock) -> Trouble:
    return Trouble(world, clock)


@pytest.fixture
async def admin(world: World) -> SignedIn:
    return await world.admin()


@pytest.fixture
async def charger(world: World) -> Charger:
    return await world.charger()


async def diagnosis(
    client: httpx.AsyncClient, user: SignedIn, charger: Charger, **params: Any
) -> dict[str, Any]:
    answer = await client.get(
        f"/api/admin/chargers/{charger.id}/diagnosis", headers=user.headers, params=params
    )
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


class TestDiagnosis:
    async def test_a_charger_that_did_nothing_wrong_is_healthy(
        self, client: httpx.AsyncClient, admin: SignedIn, charger: Charger
    ) -> None:
        assert await diagnosis(client, admin, charger) == {
            "charger_id": charger.id,
            "since": "2026-04-27T12:00:00Z",
            "until": "2026-05-04T12:00:00Z",
            "healthy": True,
            "findings": [],
        }

    @pytest.mark.parametrize("kind", KINDS)
    async def test_each_kind_of_trouble_is_one_finding_of_the_charger_that_has_it(
        self,
        *,
        client: httpx.AsyncClient,
        world: World,
        admin: SignedIn,
        charger: Charger,
        trouble: Trouble,
        kind: str,
    ) -> None:
        await getattr(trouble, kind)(charger)
        body = await diagnosis(client, admin, charger)
        (found,) = body["findings"]
        assert body["healthy"] is False
        assert found["kind"] == kind
        assert found["summary"]
        assert found["mend"]
        evidence = found["evidence"]
        assert evidence["count"] >= 1
        assert evidence["first_at"] <= evidence["last_at"]
        assert 1 <= len(evidence["examples"]) <= 5
        for example in evidence["examples"]:
            assert example["of"] == OF[kind]
            assert example["id"]
            assert example["detail"]
        assert (await diagnosis(client, admin, await world.charger()))["findings"] == []

    @pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "SilentConnectors"])
    async def test_what_is_older_than_the_window_is_left_out(
        self,
        *,
        client: httpx.AsyncClient,
        admin: SignedIn,
        charger: Charger,
        trouble: Trouble,
        clock: FrozenClock,
        kind: str,
    ) -> None:
        await getattr(trouble, kind)(charger)
        clock.advance(2 * 86_400)
        admin = await trouble.world.admin()
        assert (await diagnosis(client, admin, charger, days=1))["findings"] == []
        assert len((await diagnosis(client, admin, charger, days=3))["findings"]) == 1

    async def test_only_the_newest_five_are_shown_and_all_are_counted(
        self, client: httpx.AsyncClient, admin: SignedIn, charger: Charger, trouble: Trouble
    ) -> None:
        await trouble.refused(charger, "WrongPassword", 401, times=8)
        (found,) = (await diagnosis(client, admin, charger))["findings"]
        assert found["evidence"]["count"] == 8
        times = [example["at"] for example in found["evidence"]["examples"]]
        assert times == [f"2026-05-04T{11 + (n == 0)}:{(60 - n) % 60:02}:00Z" for n in range(5)]
        assert found["evidence"]["first_at"] == "2026-05-04T11:53:00Z"
        assert found["evidence"]["examples"][0]["detail"] == "WrongPassword from 192.0.2.7"

    async def test_connections_that_we_ended_are_no_flapping(
        self, client: httpx.AsyncClient, admin: SignedIn, charger: Charger, trouble: Trouble
    ) -> None:
        for reason in ("the server stops", "subprotocol not supported: offer ocpp1.6"):
            await trouble.ended(charger, reason, times=20)
        assert (await diagnosis(client, admin, charger))["findings"] == []

    async def test_a_connection_without_a_subprotocol_is_told_and_is_healthy(
        self, client: httpx.AsyncClient, admin: SignedIn, charger: Charger, trouble: Trouble
    ) -> None:
        await trouble.ended(charger, times=1, subprotocol=None)
        body = await diagnosis(client, admin, charger)
        assert [one["kind"] for one in body["findings"]] == ["NoSubprotocol"]
        assert body["healthy"] is True

    async def test_ids_that_were_used_again_much_later_are_found_in_the_log(
        self, client: httpx.AsyncClient, admin: SignedIn, charger: Charger, trouble: Trouble
    ) -> None:
        here, there = uuid4(), uuid4()
        for connection in (here, there):
            await trouble.message(charger, message_id="1", connection_id=connection)
        assert (await diagnosis(client, admin, charger))["findings"] == []
        again = await trouble.message(charger, message_id="1", connection_id=here)
        (found,) = (await diagnosis(client, admin, charger))["findings"]
        assert (found["kind"], found["evidence"]["count"]) == ("RepeatedIds", 1)
        assert found["evidence"]["examples"][0]["id"] == str(again.id)

    async def test_a_session_that_tells_nothing_for_an_hour_is_silent(
        self,
        client: httpx.AsyncClient,
        world: World,
        admin: SignedIn,
        charger: Charger,
        clock: FrozenClock,
    ) -> None:
        began = clock.now() - 3 * HOUR
        async with world.database.session() as session:
            row = await session.get_one(Charger, charger.id)
            row.online, row.presence_since = True, began
            for number in (1, 2):
                connector = await session.get_one(Connector, (charger.id, number))
                connector.status = "Charging"
        telling = {"last_sample_at": clock.now() - MINUTE}
        silent = await world.session(charger, started_at=began, received_at=began)
        await world.session(charger, connector_id=2, started_at=began, received_at=began, **telling)
        (found,) = (await diagnosis(client, admin, charger))["findings"]
        assert found["kind"] == "SilentConnectors"
        assert [one["id"] for one in found["evidence"]["examples"]] == [str(silent.id)]
        assert "MeterValueSampleInterval" in found["mend"]

    async def test_what_happened_under_another_business_is_not_shown(
        self, client: httpx.AsyncClient, world: World, admin: SignedIn, charger: Charger, trouble: Trouble
    ) -> None:
        for kind in ("BadAuth", "MissingStops", "RegisterJumps"):
            await getattr(trouble, kind)(charger)
        elsewhere = await world.station()
        async with world.database.session() as session:
            row = await session.get_one(Charger, charger.id)
            row.station_id, row.backoffice_id = elsewhere.id, elsewhere.backoffice_id
        assert (await diagnosis(client, admin, charger))["findings"] == []

    @pytest.mark.parametrize("days", ["0", "31", "soon", "-1"])
    async def test_days_that_cannot_be_are_refused_by_name(
        self, client: httpx.AsyncClient, admin: SignedIn, charger: Charger, days: str
    ) -> None:
        answer = await client.get(
            f"/api/admin/chargers/{charger.id}/diagnosis", headers=admin.headers, params={"days": days}
        )
        assert answer.status_code == 422
        assert "days" in answer.json()["fields"]

    async def test_everybody_sees_their_own_chargers_only(
        self, client: httpx.AsyncClient, world: World, charger: Charger
    ) -> None:
        url = f"/api/admin/chargers/{charger.id}/diagnosis"
        station = await world.station()
        mine = await world.charger(station)
        for user in (
            await world.user(Role.BACKOFFICE),
            await world.user(Role.OPERATOR, stations=(station,)),
        ):
            answer = await client.get(url, headers=user.headers)
            assert answer.status_code == 404
            assert answer.json()["error"] == "ChargerNotFound"
        driver = await world.user(Role.EV_OWNER)
        assert (await client.get(url, headers=driver.headers)).status_code == 403
        assert (await client.get(url)).status_code == 401
        for garbage in ("CP-NOBODY", "a%00b", "%F0%9F%94%8C"):
            answer = await client.get(
                f"/api/admin/chargers/{garbage}/diagnosis", headers=(await world.admin()).headers
            )
            assert answer.status_code in {404, 422}
        backoffice = await world.backoffice()
        place = await world.station(backoffice)
        theirs = await world.charger(place)
        operator = await world.user(Role.OPERATOR, backoffice, (place,))
        assert (await diagnosis(client, operator, theirs))["healthy"]
        assert mine.id != theirs.id


class TestObservations:
    async def rows(self, db: Database) -> list[Observation]:
        async with db.session() as session:
            return list(await session.scalars(select(Observation).order_by(Observation.day)))

    async def test_counts_are_added_and_the_newest_five_examples_stay(
        self, db: Database, charger: Charger, clock: FrozenClock
    ) -> None:
        seen = Observed()
        for number in range(4):
            seen.note(charger.id, REPEATED_ID, clock.now() + number * SECOND, f"m{number}", "Heartbeat")
        await write(db, seen)
        for number in range(4, 7):
            seen.note(charger.id, REPEATED_ID, clock.now() + number * SECOND, f"m{number}", "Heartbeat")
        await write(db, seen)
        (row,) = await self.rows(db)
        assert (row.count, row.first_at, row.last_at) == (7, clock.now(), clock.now() + 6 * SECOND)
        assert [one["id"] for one in row.examples] == ["m6", "m5", "m4", "m3", "m2"]
        assert seen.take() == []

    async def test_each_day_is_a_row_and_a_charger_that_is_gone_is_left_out(
        self, db: Database, charger: Charger, clock: FrozenClock
    ) -> None:
        seen = Observed()
        seen.note(charger.id, REPEATED_ID, clock.now(), "1", "Heartbeat")
        seen.note(charger.id, REPEATED_ID, clock.now() + 24 * HOUR, "1", "Heartbeat")
        seen.note("GONE", REPEATED_ID, clock.now(), "1", "Heartbeat")
        await write(db, seen)
        assert [row.count for row in await self.rows(db)] == [1, 1]

    async def test_two_groups_that_became_one_statement_are_added(
        self, db: Database, charger: Charger, clock: FrozenClock
    ) -> None:
        rows = []
        for number in range(2):
            seen = Observed()
            seen.note(charger.id, WRONG_SUBPROTOCOL, clock.now() + number * SECOND, f"c{number}", "ocpp2.0")
            rows += seen.take()
        async with db.session() as session:
            await write_facts(await raw_connection(session), OBSERVATION, rows)
        (row,) = await self.rows(db)
        assert row.count == 2

    async def test_ids_that_no_text_column_takes_are_kept_without_what_it_refuses(
        self, db: Database, charger: Charger, clock: FrozenClock
    ) -> None:
        seen = Observed()
        seen.note(charger.id, REPEATED_ID, clock.now(), "a\0b\ud800" + "x" * 500, "\0")
        await write(db, seen)
        (row,) = await self.rows(db)
        assert row.examples[0]["id"] == ("ab?" + "x" * 500)[:36]

    async def test_they_are_dropped_with_the_history(
        self, app: FastAPI, db: Database, charger: Charger, trouble: Trouble, clock: FrozenClock
    ) -> None:
        await trouble.RepeatedIds(charger)
        settings = app.state.settings
        await run(app, f"{STATIONS}:trim_history", db, clock, settings=settings)
        assert len(await self.rows(db)) == 1
        clock.advance((settings.history_days + 1) * 86_400)
        await run(app, f"{STATIONS}:trim_history", db, clock, settings=settings)
        assert await self.rows(db) == []


async def run(app: FastAPI, name: str, db: Database, clock: FrozenClock, **means: Any) -> None:
    """Run a periodic task as the queue would."""
    jobs = app.state.jobs
    job = Job(
        id=1, queue="default", lock=None, queueing_lock=None, task_name=name, task_kwargs={"timestamp": 0}
    )
    context = JobContext(
        app=jobs.app,
        job=job,
        start_timestamp=0,
        abort_reason=lambda: None,
        additional_context={"database": db, "clock": clock, **means},
    )
    await jobs.app.tasks[name](context, timestamp=0)


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

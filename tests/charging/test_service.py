"""Sessions by rule: starts, stops, retries, replacements, corrections, and clocks that are wrong."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text
from tests.conftest import NOW, FrozenClock
from tests.world import World

from ohmstead.accounts.models import TokenStatus
from ohmstead.charging import events, service
from ohmstead.charging.metering import read_meter_values
from ohmstead.charging.models import ClosedBy, MeterValue, Session, SessionStatus
from ohmstead.charging.service import ChargerRef, Stop
from ohmstead.core.db import Database
from ohmstead.core.errors import Conflict, NotFound
from ohmstead.stations.models import Charger, Connector, ConnectorStatus, Registration


def ref(charger: Charger, **changes: Any) -> ChargerRef:
    values = {
        "id": charger.id,
        "backoffice_id": charger.backoffice_id,
        "station_id": charger.station_id,
        "registration": charger.registration,
        "simulated": charger.simulated,
    }
    return ChargerRef(**{**values, **changes})


class Teller:
    """Says to the service what a charger says, each in a unit of work of its own."""

    def __init__(self, db: Database, clock: FrozenClock, charger: Charger) -> None:
        self.db = db
        self.clock = clock
        self.charger = charger

    async def start(
        self,
        tag: str = "TAG",
        *,
        at: datetime = NOW,
        meter: int = 0,
        connector: int = 1,
        charger: ChargerRef | None = None,
    ) -> service.Started:
        async with self.db.session() as session:
            return await service.start(
                session,
                charger or ref(self.charger),
                connector_id=connector,
                id_tag=tag,
                meter_start=meter,
                started_at=at,
                reservation_id=None,
                now=self.clock.now(),
            )

    async def stop(
        self,
        transaction_id: int | None,
        *,
        at: datetime | None = NOW + timedelta(hours=1),
        meter: int = 1000,
        data: list[dict[str, Any]] | None = None,
        reason: str = "Local",
        charger: ChargerRef | None = None,
    ) -> Session:
        raw = {"transactionId": transaction_id, "meterStop": meter, "timestamp": at and at.isoformat()}
        told = Stop(transaction_id, meter, at, None, reason, data or [], raw)
        async with self.db.session() as session:
            return await service.stop(session, charger or ref(self.charger), told, self.clock.now())

    async def values(
        self, transaction_id: int | None, *samples: tuple[datetime, int], connector: int = 1
    ) -> Session | None:
        metered = read_meter_values(
            [{"timestamp": at.isoformat(), "sampledValue": [{"value": str(wh)}]} for at, wh in samples],
            charger_id=self.charger.id,
            connector_id=connector,
            transaction_id=transaction_id,
            received_at=self.clock.now(),
        )
        async with self.db.session() as session:
            return await service.add_meter_values(
                session, ref(self.charger), metered, transaction_id, self.clock.now()
            )

    async def sessions(self) -> list[Session]:
        async with self.db.session() as session:
            query = select(Session).where(Session.charger_id == self.charger.id)
            return list((await session.scalars(query.order_by(Session.occurred_at, Session.id))).all())

    async def again(self, row: Session) -> Session:
        async with self.db.session() as session:
            found = await session.get(Session, row.id)
            assert found is not None
            return found


@pytest.fixture
async def charger(world: World) -> Charger:
    return await world.charger()


@pytest.fixture
def tell(db: Database, clock: FrozenClock, charger: Charger) -> Teller:
    clock.advance(3600)  # what is told of NOW was an hour ago
    return Teller(db, clock, charger)


def minutes(number: float) -> timedelta:
    return timedelta(minutes=number)


class TestStart:
    async def test_a_start_is_an_open_session_with_an_id_of_its_own(
        self, tell: Teller, charger: Charger, world: World
    ) -> None:
        token = await world.token(charger.backoffice_id)
        started = await tell.start(token.id_tag, meter=1234)
        row = started.session
        assert (started.status, started.decision.token_id) == (TokenStatus.ACCEPTED, token.id)
        assert (row.status, row.meter_start, row.energy_wh, row.register_wh) == ("Active", 1234, 0, 1234)
        assert (row.charger_id, row.station_id, row.token_id) == (charger.id, charger.station_id, token.id)
        assert row.ocpp_transaction_id is not None
        assert 0 < row.ocpp_transaction_id < 2**31
        assert (row.started_at, row.received_at) == (NOW, NOW + timedelta(hours=1))

    async def test_a_retried_start_is_the_same_session(self, tell: Teller) -> None:
        first, again = await tell.start("Tag"), await tell.start("TAG")
        assert again.session.id == first.session.id
        assert len(await tell.sessions()) == 1

    @pytest.mark.parametrize(
        "other",
        [
            {"at": NOW + minutes(1)},
            {"at": NOW + timedelta(microseconds=1)},
            {"meter": 1},
            {"tag": "OTHER"},
            {"connector": 2},
        ],
    )
    async def test_a_start_that_differs_is_another_session(self, tell: Teller, other: dict[str, Any]) -> None:
        first, second = await tell.start("TAG"), await tell.start(**{"tag": "TAG", **other})
        assert second.session.id != first.session.id
        assert second.session.ocpp_transaction_id != first.session.ocpp_transaction_id

    async def test_the_same_start_of_another_charger_is_another_session(
        self, tell: Teller, world: World
    ) -> None:
        first = await tell.start()
        second = await tell.start(charger=ref(await world.charger()))
        assert second.session.id != first.session.id

    async def test_a_start_equal_to_one_that_was_stopped_is_a_new_session(self, tell: Teller) -> None:
        first = await tell.start()
        await tell.stop(first.session.ocpp_transaction_id)
        assert (await tell.start()).session.id != first.session.id

    async def test_a_start_equal_to_one_that_we_closed_is_still_that_session(self, tell: Teller) -> None:
        first = await tell.start(at=NOW)
        await tell.start(at=NOW + minutes(5))
        again = await tell.start(at=NOW)
        assert again.session.id == first.session.id
        assert again.session.status == SessionStatus.COMPLETED
        assert [row.status for row in await tell.sessions()] == ["Completed", "Active"]

    @pytest.mark.parametrize(
        ("fields", "status"),
        [
            ({"status": TokenStatus.BLOCKED}, "Blocked"),
            ({"status": TokenStatus.EXPIRED}, "Expired"),
            ({"expires_at": NOW - minutes(1)}, "Expired"),
            ({}, "Accepted"),
        ],
    )
    async def test_a_tag_that_may_not_charge_still_gets_a_session(
        self, tell: Teller, world: World, fields: dict[str, Any], status: str
    ) -> None:
        token = await world.token(**fields)
        started = await tell.start(token.id_tag)
        assert (started.status, started.session.id_tag_status) == (status, status)
        assert started.session.status == SessionStatus.ACTIVE

    async def test_an_unknown_tag_is_invalid(self, tell: Teller) -> None:
        assert (await tell.start("NOBODY")).status == "Invalid"

    @pytest.mark.parametrize("registration", [Registration.PENDING, Registration.REJECTED])
    async def test_a_charger_that_was_not_accepted_authorises_nobody(
        self, tell: Teller, world: World, charger: Charger, registration: str
    ) -> None:
        token = await world.token()
        started = await tell.start(token.id_tag, charger=ref(charger, registration=registration))
        assert started.status == "Invalid"

    async def test_a_simulated_charger_has_simulated_sessions(self, tell: Teller, charger: Charger) -> None:
        assert (await tell.start(charger=ref(charger, simulated=True))).session.simulated is True


class TestConcurrency:
    async def test_a_tag_over_its_limit_is_told_so(self, tell: Teller, world: World) -> None:
        token = await world.token(max_concurrent_sessions=1)
        first = await tell.start(token.id_tag, connector=1)
        second = await tell.start(token.id_tag, connector=2)
        assert (first.status, second.status) == ("Accepted", "ConcurrentTx")
        # One that was refused takes no place itself.
        await tell.stop(first.session.ocpp_transaction_id)
        assert (await tell.start(token.id_tag, connector=1, at=NOW + minutes(70))).status == "Accepted"

    async def test_a_retried_start_is_answered_as_the_first_time(self, tell: Teller, world: World) -> None:
        token = await world.token(max_concurrent_sessions=1)
        for _ in range(2):
            assert (await tell.start(token.id_tag, connector=1)).status == "Accepted"
        for _ in range(2):
            assert (await tell.start(token.id_tag, connector=2)).status == "ConcurrentTx"

    async def test_a_start_that_replaces_its_own_session_is_not_one_too_many(
        self, tell: Teller, world: World
    ) -> None:
        token = await world.token(max_concurrent_sessions=1)
        await tell.start(token.id_tag)
        assert (await tell.start(token.id_tag, at=NOW + minutes(5))).status == "Accepted"

    async def test_without_a_limit_there_is_none(self, tell: Teller, world: World) -> None:
        token = await world.token()
        assert [(await tell.start(token.id_tag, connector=n)).status for n in range(1, 5)] == ["Accepted"] * 4


class TestReplacing:
    async def test_a_new_start_closes_what_was_open_on_its_connector_only(self, tell: Teller) -> None:
        old = await tell.start(connector=1)
        beside = await tell.start(connector=2)
        await tell.values(old.session.ocpp_transaction_id, (NOW + minutes(10), 700))
        new = await tell.start(connector=1, meter=900, at=NOW + minutes(30))
        assert new.replaced == (old.session.ocpp_transaction_id,)
        closed = await tell.again(old.session)
        assert (closed.status, closed.stop_reason, closed.closed_by) == (
            "Completed",
            "ReplacedByNewStart",
            ClosedBy.RULE,
        )
        assert (closed.energy_wh, closed.stopped_at) == (700, NOW + minutes(10))
        assert [one["kind"] for one in closed.anomalies] == ["closed_without_stop"]
        assert (await tell.again(beside.session)).status == "Active"

    async def test_an_older_start_from_the_queue_does_not_close_the_live_one(self, tell: Teller) -> None:
        live = await tell.start(at=NOW + minutes(30), meter=5000)
        late = await tell.start(at=NOW, meter=0)
        assert late.replaced == ()
        assert (await tell.again(live.session)).status == "Active"
        await tell.stop(late.session.ocpp_transaction_id, at=NOW + minutes(20), meter=4000)
        assert [(row.status, row.energy_wh) for row in await tell.sessions()] == [
            ("Completed", 4000),
            ("Active", 0),
        ]

    @pytest.mark.parametrize(
        "at", [datetime(1970, 1, 1, 0, 0, 9, tzinfo=UTC), datetime(2099, 1, 1, tzinfo=UTC)]
    )
    async def test_the_start_of_a_charger_without_a_clock_is_the_newest(
        self, tell: Teller, at: datetime
    ) -> None:
        old = await tell.start(at=NOW)
        await tell.start(at=at, meter=5)
        assert (await tell.again(old.session)).status == "Completed"

    async def test_each_1970_is_a_session_of_its_own_once_the_last_was_stopped(self, tell: Teller) -> None:
        begin = datetime(1970, 1, 1, 0, 1, tzinfo=UTC)
        given = []
        for _ in range(3):
            started = await tell.start(at=begin)
            assert (await tell.start(at=begin)).session.id == started.session.id
            given.append(started.session.ocpp_transaction_id)
            row = await tell.stop(given[-1], at=begin + minutes(30), meter=800)
            assert (row.energy_wh, row.unmatched) == (800, False)
        assert len(set(given)) == 3

    async def test_a_1970_that_we_closed_is_not_taken_for_the_next_one(self, tell: Teller) -> None:
        begin = datetime(1970, 1, 1, 0, 1, tzinfo=UTC)
        first = await tell.start(at=begin)
        async with tell.db.session() as session:
            await service.close_session(
                session, first.session.id, reason="Gone", closed_by=ClosedBy.RULE, now=tell.clock.now()
            )
        assert (await tell.start(at=begin)).session.id != first.session.id


class TestStop:
    async def test_a_stop_ends_its_session_with_its_energy(self, tell: Teller, charger: Charger) -> None:
        started = await tell.start(meter=1000)
        row = await tell.stop(started.session.ocpp_transaction_id, meter=5500, reason="EVDisconnected")
        assert row.id == started.session.id
        assert (row.status, row.energy_wh, row.meter_stop) == ("Completed", 4500, 5500)
        assert (row.stop_reason, row.closed_by, row.closed_at) == (
            "EVDisconnected",
            "charger",
            tell.clock.now(),
        )
        assert row.power_w == 0
        assert charger.id == row.charger_id

    async def test_a_retried_stop_changes_nothing(self, tell: Teller) -> None:
        started = await tell.start()
        first = await tell.stop(started.session.ocpp_transaction_id)
        tell.clock.advance(60)
        again = await tell.stop(started.session.ocpp_transaction_id)
        assert (again.id, again.closed_at) == (first.id, first.closed_at)
        assert len(await tell.sessions()) == 1

    async def test_a_second_stop_that_says_otherwise_is_kept_as_unmatched(self, tell: Teller) -> None:
        started = await tell.start()
        await tell.stop(started.session.ocpp_transaction_id, meter=1000)
        other = await tell.stop(started.session.ocpp_transaction_id, meter=2000)
        assert (other.unmatched, other.meter_stop) == (True, 2000)
        assert (await tell.again(started.session)).meter_stop == 1000

    @pytest.mark.parametrize("transaction_id", [None, 0, -1, 7, 2**31, 2**62])
    async def test_a_stop_of_nothing_is_kept_once(self, tell: Teller, transaction_id: int | None) -> None:
        first, again = await tell.stop(transaction_id), await tell.stop(transaction_id)
        assert first.id == again.id
        assert (first.unmatched, first.status, first.ocpp_transaction_id) == (
            True,
            "Completed",
            transaction_id,
        )

    async def test_two_unmatched_stops_of_one_id_are_two_records(self, tell: Teller) -> None:
        await tell.stop(7, meter=1)
        await tell.stop(7, meter=2)
        assert sorted(row.meter_stop or 0 for row in await tell.sessions()) == [1, 2]

    async def test_a_stop_without_a_time_is_kept_as_unmatched(self, tell: Teller) -> None:
        started = await tell.start()
        row = await tell.stop(started.session.ocpp_transaction_id, at=None)
        assert (row.unmatched, row.stopped_at, row.occurred_at) == (True, None, tell.clock.now())
        assert (await tell.again(started.session)).status == "Active"

    async def test_another_chargers_stop_changes_nothing(self, tell: Teller, world: World) -> None:
        started, other = await tell.start(), await world.charger()
        row = await tell.stop(started.session.ocpp_transaction_id, charger=ref(other))
        assert (row.unmatched, row.charger_id) == (True, other.id)
        assert (await tell.again(started.session)).status == "Active"

    async def test_values_that_come_with_the_stop_count_and_are_kept_once(self, tell: Teller) -> None:
        started = await tell.start()
        data = [
            {"timestamp": (NOW + minutes(n)).isoformat(), "sampledValue": [{"value": str(100 * n)}]}
            for n in (10, 20, 30)
        ]
        for _ in range(2):
            row = await tell.stop(started.session.ocpp_transaction_id, meter=6000, data=data)
        assert (row.energy_wh, row.anomalies) == (6000, [])
        async with tell.db.session() as session:
            stored = await session.scalars(
                select(MeterValue.register_wh).where(MeterValue.charger_id == tell.charger.id)
            )
            assert sorted(one or Decimal(0) for one in stored) == [1000, 2000, 3000]

    async def test_a_stop_before_its_start_is_taken_as_the_last_word(self, tell: Teller) -> None:
        started = await tell.start()
        row = await tell.stop(started.session.ocpp_transaction_id, at=NOW - timedelta(days=400), meter=900)
        assert (row.energy_wh, [one["kind"] for one in row.anomalies]) == (900, ["clock_out_of_range"])


class TestCorrections:
    async def test_the_chargers_own_stop_corrects_what_an_operator_closed(self, tell: Teller) -> None:
        started = await tell.start()
        async with tell.db.session() as session:
            closed = await service.close_session(
                session,
                started.session.id,
                reason="ForceStopped",
                closed_by=ClosedBy.OPERATOR,
                now=tell.clock.now(),
            )
        assert (closed.energy_wh, closed.closed_by, closed.stop_reason) == (0, "operator", "ForceStopped")
        row = await tell.stop(started.session.ocpp_transaction_id, meter=3000)
        assert (row.id, row.energy_wh, row.closed_by, row.stop_reason) == (
            closed.id,
            3000,
            "charger",
            "Local",
        )
        assert [one["kind"] for one in row.anomalies] == ["closed_without_stop", "closed_before_stop"]
        assert "ForceStopped" in row.anomalies[1]["detail"]

    async def test_late_values_of_a_closed_session_count_and_are_told(
        self, tell: Teller, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        told: list[str] = []

        async def emit(_: Any, fact: str, **__: Any) -> None:
            told.append(fact)

        started = await tell.start()
        await tell.start(at=NOW + minutes(50), meter=4000)
        monkeypatch.setattr(service, "emit", emit)
        row = await tell.values(started.session.ocpp_transaction_id, (NOW + minutes(20), 2500))
        assert row is not None
        assert (row.status, row.energy_wh, row.stopped_at) == ("Completed", 2500, NOW + minutes(20))
        assert told == [events.SESSION_CORRECTED]
        await tell.values(started.session.ocpp_transaction_id, (NOW + minutes(20), 2500))
        assert told == [events.SESSION_CORRECTED]

    async def test_late_values_of_a_session_that_its_charger_stopped_do_not_move_its_end(
        self, tell: Teller
    ) -> None:
        started = await tell.start()
        await tell.stop(started.session.ocpp_transaction_id, at=NOW + minutes(30), meter=3000)
        row = await tell.values(started.session.ocpp_transaction_id, (NOW + minutes(50), 9000))
        assert row is not None
        assert (row.energy_wh, row.stopped_at) == (3000, NOW + minutes(30))

    async def test_a_stray_value_does_not_move_the_end_that_we_guessed(self, tell: Teller) -> None:
        started = await tell.start()
        await tell.start(at=NOW + minutes(50), meter=4000)
        row = await tell.values(started.session.ocpp_transaction_id, (datetime(2099, 1, 1, tzinfo=UTC), 2500))
        assert row is not None
        assert (row.energy_wh, row.stopped_at) == (0, NOW)

    @pytest.mark.parametrize("year", [1, 9999])
    async def test_a_session_at_the_end_of_time_can_be_closed(self, tell: Teller, year: int) -> None:
        at = datetime(year, 12, 31, 23, 59, 59, tzinfo=UTC)
        started = await tell.start(at=at)
        tell.clock.advance(86_400)
        again = await tell.start(at=at, meter=700)
        assert again.replaced == (started.session.ocpp_transaction_id,)
        await tell.values(started.session.ocpp_transaction_id, (at, 500))

    async def test_closing_twice_is_a_conflict_and_closing_nothing_is_not_found(self, tell: Teller) -> None:
        started = await tell.start()
        closing = {"reason": "x", "closed_by": ClosedBy.OPERATOR, "now": NOW}
        async with tell.db.session() as session:
            await service.close_session(session, started.session.id, **closing)
        with pytest.raises(Conflict):
            async with tell.db.session() as session:
                await service.close_session(session, started.session.id, **closing)
        with pytest.raises(NotFound):
            async with tell.db.session() as session:
                await service.close_session(session, tell.charger.backoffice_id, **closing)

    @pytest.mark.parametrize(
        ("sample", "ended"),
        [
            (None, NOW),
            (NOW + minutes(20), NOW + minutes(20)),
            (NOW + timedelta(hours=20), NOW + timedelta(hours=20)),
            (datetime(2099, 1, 1, tzinfo=UTC), NOW + timedelta(hours=2)),
        ],
    )
    async def test_it_ended_with_its_last_value_unless_that_is_years_ahead(
        self, tell: Teller, sample: datetime | None, ended: datetime
    ) -> None:
        started = await tell.start()
        if sample is not None:
            await tell.values(started.session.ocpp_transaction_id, (sample, 500))
        tell.clock.advance(2 * 3600)
        async with tell.db.session() as session:
            row = await service.close_session(
                session, started.session.id, reason="x", closed_by=ClosedBy.RULE, now=tell.clock.now()
            )
        assert row.stopped_at == ended


class TestMeterValues:
    async def test_values_land_where_their_times_say_in_any_order(self, tell: Teller) -> None:
        started = await tell.start()
        number = started.session.ocpp_transaction_id
        for at in (30, 10, 40, 20, 10):
            row = await tell.values(number, (NOW + minutes(at), at * 100))
        assert row is not None
        assert (row.energy_wh, row.last_sample_at, row.anomalies) == (4000, NOW + minutes(40), [])

    async def test_values_of_no_session_are_kept_and_change_none(self, tell: Teller) -> None:
        started = await tell.start()
        for number in (None, 7, 2**31 - 1):
            assert await tell.values(number, (NOW + minutes(5), 900)) is None
        assert (await tell.again(started.session)).energy_wh == 0

    async def test_two_connectors_never_mix(self, tell: Teller) -> None:
        one, two = await tell.start(connector=1), await tell.start(connector=2, meter=10_000)
        await tell.values(one.session.ocpp_transaction_id, (NOW + minutes(5), 300), connector=1)
        await tell.values(two.session.ocpp_transaction_id, (NOW + minutes(5), 10_200), connector=2)
        # A value of one connector that names the other's transaction counts for neither.
        await tell.values(one.session.ocpp_transaction_id, (NOW + minutes(6), 10_250), connector=2)
        assert [row.energy_wh for row in (await tell.again(one.session), await tell.again(two.session))] == [
            300,
            200,
        ]


class TestStale:
    @pytest.fixture
    async def available(self, db: Database, charger: Charger) -> Any:
        async def make(
            status: str = ConnectorStatus.AVAILABLE, received: datetime | None = None, online: bool = True
        ) -> None:
            async with db.session() as session:
                connector = await session.get(Connector, (charger.id, 1))
                known = await session.get(Charger, charger.id)
                assert connector is not None
                assert known is not None
                connector.status = status
                connector.status_received_at = received or NOW + minutes(70)
                known.online = online

        return make

    async def close(self, tell: Teller, after_minutes: float) -> list[Session]:
        async with tell.db.session() as session:
            return await service.close_stale(session, NOW + minutes(70 + after_minutes), minutes(15))

    async def test_a_session_whose_connector_is_available_for_long_is_closed(
        self, tell: Teller, available: Any
    ) -> None:
        started = await tell.start()
        await available()
        assert await self.close(tell, 14.9) == []
        [row] = await self.close(tell, 15)
        assert (row.id, row.stop_reason, row.closed_by) == (started.session.id, "ConnectorAvailable", "rule")
        assert await self.close(tell, 30) == []

    @pytest.mark.parametrize(
        "but",
        [
            {"status": ConnectorStatus.CHARGING},
            {"status": ConnectorStatus.SUSPENDED_EV},
            {"online": False},
            {"received": NOW + minutes(30)},  # told before the session began
        ],
    )
    async def test_otherwise_it_waits(self, tell: Teller, available: Any, but: dict[str, Any]) -> None:
        await tell.start()
        await available(**but)
        assert await self.close(tell, 1000) == []


@st.composite
def retried(draw: st.DrawFn) -> list[int]:
    """An order in which facts 0 to 7 come: each at least once, the first time in their order."""
    order = list(range(8))
    for _ in range(draw(st.integers(0, 8))):
        fact = draw(st.integers(0, 7))
        place = draw(st.integers(order.index(fact) + 1, len(order)))
        order.insert(place, fact)
    return order


async def everything(tell: Teller, names: dict[int, int]) -> list[Any]:
    """What is stored of a charger, without the ids and arrival times that are random by design."""
    async with tell.db.session() as session:
        sessions = await session.execute(
            text(
                "SELECT connector_id, started_at, stopped_at, meter_start, meter_stop, energy_wh, status,"
                " closed_by, stop_reason, unmatched, register_wh, last_sample_at, anomalies::text,"
                " ocpp_transaction_id FROM charging_session WHERE charger_id = :id"
            ),
            {"id": tell.charger.id},
        )
        values = await session.execute(
            text(
                "SELECT connector_id, sampled_at, register_wh, transaction_id FROM charging_meter_value"
                " WHERE charger_id = :id"
            ),
            {"id": tell.charger.id},
        )
        named = [(*row[:-1], names.get(row[-1], row[-1])) for row in (*sessions, *values)]
    return sorted(named, key=repr)


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(order=retried())
async def test_retries_in_any_order_give_the_same_rows(
    db: Database, clock: FrozenClock, world: World, order: list[int]
) -> None:
    async def play(sequence: list[int]) -> list[Any]:
        clock.moment = NOW + timedelta(hours=3)
        tell = Teller(db, clock, await world.charger())
        ids: dict[int, int] = {}

        async def begin(fact: int, **start: Any) -> None:
            number = (await tell.start(**start)).session.ocpp_transaction_id
            assert number is not None
            # Every retry gets the same answer.
            assert ids.setdefault(fact, number) == number

        async def once(fact: int) -> None:
            match fact:
                case 0:
                    await begin(0, connector=1, meter=1000)
                case 1:
                    await tell.values(ids[0], (NOW + minutes(10), 2000), (NOW + minutes(20), 3000))
                case 2:
                    await begin(2, connector=2, meter=0)
                case 3:
                    await tell.values(ids[2], (NOW + minutes(15), 700), connector=2)
                case 4:
                    # The first session was never stopped: this one replaces it.
                    await begin(4, connector=1, meter=4000, at=NOW + minutes(40))
                case 5:
                    await tell.values(ids[4], (NOW + minutes(50), 4600))
                case 6:
                    await tell.stop(7, meter=1)
                case 7:
                    await tell.values(ids[0], (NOW + minutes(30), 3500))

        for fact in sequence:
            await once(fact)
            clock.advance(1)
        for number in (ids[2], ids[4], ids[2], ids[4]):
            await tell.stop(number, meter=5000)
        return await everything(tell, {number: fact for fact, number in ids.items()})

    assert await play(order) == await play(list(range(8)))

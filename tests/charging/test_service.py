"""Sessions by rule: starts, replacements, values, and clocks that are wrong."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.charging.teller import Teller, minutes, ref, wh
from tests.conftest import NOW
from tests.world import World

from ohmstead.accounts.models import TokenStatus
from ohmstead.charging import service
from ohmstead.charging.models import ClosedBy, Session, SessionStatus
from ohmstead.core.db import Database
from ohmstead.stations.models import Charger, Connector, ConnectorStatus, Registration


class TestStart:
    async def test_a_start_is_an_open_session_with_an_id_of_its_own(
        self, tell: Teller, charger: Charger, world: World
    ) -> None:
        token = await world.token(charger.backoffice_id)
        started = await tell.start(token.id_tag, meter=1234)
        row = started.session
        assert (started.status, started.decision.token_id) == (TokenStatus.ACCEPTED, token.id)
        assert (row.status, row.meter_start, wh(row), float(row.register_wh or 0)) == (
            "Active",
            1234,
            0,
            1234,
        )
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
        assert (wh(closed), closed.stopped_at) == (700, NOW + minutes(10))
        assert [one["kind"] for one in closed.anomalies] == ["closed_without_stop"]
        assert (await tell.again(beside.session)).status == "Active"

    async def test_an_older_start_from_the_queue_does_not_close_the_live_one(self, tell: Teller) -> None:
        live = await tell.start(at=NOW + minutes(30), meter=5000)
        late = await tell.start(at=NOW, meter=0)
        assert late.replaced == ()
        assert (await tell.again(live.session)).status == "Active"
        await tell.stop(late.session.ocpp_transaction_id, at=NOW + minutes(20), meter=4000)
        assert [(row.status, wh(row)) for row in await tell.sessions()] == [
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
            assert (wh(row), row.unmatched) == (800, False)
        assert len(set(given)) == 3

    async def test_a_1970_that_we_closed_is_not_taken_for_the_next_one(self, tell: Teller) -> None:
        begin = datetime(1970, 1, 1, 0, 1, tzinfo=UTC)
        first = await tell.start(at=begin)
        async with tell.db.session() as session:
            await service.close_session(
                session, first.session.id, reason="Gone", closed_by=ClosedBy.RULE, now=tell.clock.now()
            )
        assert (await tell.start(at=begin)).session.id != first.session.id


class TestMeterValues:
    async def test_values_land_where_their_times_say_in_any_order(self, tell: Teller) -> None:
        started = await tell.start()
        number = started.session.ocpp_transaction_id
        for at in (30, 10, 40, 20, 10):
            row = await tell.values(number, (NOW + minutes(at), at * 100))
        assert row is not None
        assert (wh(row), row.last_sample_at, row.anomalies) == (4000, NOW + minutes(40), [])

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
        assert [wh(row) for row in (await tell.again(one.session), await tell.again(two.session))] == [
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

"""How sessions end: stops, stops of nothing, and corrections of what we closed ourselves."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select
from tests.charging.teller import Teller, minutes, ref, wh
from tests.conftest import NOW
from tests.world import World

from ohmstead.charging import counting, events, service
from ohmstead.charging.models import ClosedBy, MeterValue
from ohmstead.core.errors import Conflict, NotFound
from ohmstead.stations.models import Charger


class TestStop:
    async def test_a_stop_ends_its_session_with_its_energy(self, tell: Teller, charger: Charger) -> None:
        started = await tell.start(meter=1000)
        row = await tell.stop(started.session.ocpp_transaction_id, meter=5500, reason="EVDisconnected")
        assert row.id == started.session.id
        assert (row.status, wh(row), row.meter_stop) == ("Completed", 4500, 5500)
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
        assert (wh(row), row.anomalies) == (6000, [])
        async with tell.db.session() as session:
            stored = await session.scalars(
                select(MeterValue.register_wh).where(MeterValue.charger_id == tell.charger.id)
            )
            assert sorted(one or Decimal(0) for one in stored) == [1000, 2000, 3000]

    async def test_a_stop_before_its_start_is_taken_as_the_last_word(self, tell: Teller) -> None:
        started = await tell.start()
        row = await tell.stop(started.session.ocpp_transaction_id, at=NOW - timedelta(days=400), meter=900)
        assert (wh(row), [one["kind"] for one in row.anomalies]) == (900, ["clock_out_of_range"])


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
        assert (wh(closed), closed.closed_by, closed.stop_reason) == (0, "operator", "ForceStopped")
        row = await tell.stop(started.session.ocpp_transaction_id, meter=3000)
        assert (row.id, wh(row), row.closed_by, row.stop_reason) == (
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
        monkeypatch.setattr(counting, "emit", emit)
        row = await tell.values(started.session.ocpp_transaction_id, (NOW + minutes(20), 2500))
        assert row is not None
        assert (row.status, wh(row), row.stopped_at) == ("Completed", 2500, NOW + minutes(20))
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
        assert (wh(row), row.stopped_at) == (3000, NOW + minutes(30))

    async def test_a_stray_value_does_not_move_the_end_that_we_guessed(self, tell: Teller) -> None:
        started = await tell.start()
        await tell.start(at=NOW + minutes(50), meter=4000)
        row = await tell.values(started.session.ocpp_transaction_id, (datetime(2099, 1, 1, tzinfo=UTC), 2500))
        assert row is not None
        assert (wh(row), row.stopped_at) == (0, NOW)

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
        closing: dict[str, Any] = {"reason": "x", "closed_by": ClosedBy.OPERATOR, "now": NOW}
        async with tell.db.session() as session:
            await service.close_session(session, started.session.id, **closing)
        with pytest.raises(Conflict):
            async with tell.db.session() as session:
                await service.close_session(session, started.session.id, **closing)
        with pytest.raises(NotFound):
            async with tell.db.session() as session:
                await service.close_session(session, uuid4(), **closing)

    @pytest.mark.parametrize(
        ("sample", "ended"),
        [
            (None, NOW),
            (NOW + minutes(20), NOW + minutes(20)),
            (NOW + timedelta(hours=20), NOW + timedelta(hours=20)),
            (datetime(2099, 1, 1, tzinfo=UTC), NOW),
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

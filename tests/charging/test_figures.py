"""Running figures: written once a second, never lost, and never older than what was written before."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from tests.charging.samples import sample
from tests.conftest import NOW
from tests.world import World

from ohmstead.charging.counting import mend_figures
from ohmstead.charging.energy import EnergyMeter
from ohmstead.charging.figures import RunningFigures
from ohmstead.charging.metering import FIGURES, METER_VALUE, Metered, OpenSession, read_meter_values
from ohmstead.charging.models import Session
from ohmstead.core.db import Database, raw_connection
from ohmstead.core.facts import write_facts
from ohmstead.ocpp.v16.measurands import Reading


def opened(**fields: Any) -> OpenSession:
    values: dict[str, Any] = {
        "id": uuid4(),
        "transaction_id": 7,
        "connector_id": 1,
        "started_at": NOW,
        "received_at": NOW,
        "energy_wh": Decimal(0),
        "register_wh": Decimal(1000),
        "last_sample_at": NOW,
        "max_power_w": 22_000,
        **fields,
    }
    return OpenSession(**values)


def count(session: OpenSession, wh: int, seconds: int = 60) -> None:
    at = session.last_sample_at + timedelta(seconds=seconds)
    assert session.follows(at, Reading(Decimal(wh), None, None, None, None))


def metered(register: int) -> EnergyMeter:
    meter = EnergyMeter(22_000)
    meter.start(Decimal(register), NOW)
    return meter


def read(at: datetime, wh: int) -> Metered:
    value = {"timestamp": at.isoformat(), "sampledValue": [{"value": str(wh)}]}
    [one] = read_meter_values([value], charger_id="CP", connector_id=1, transaction_id=7, received_at=NOW)
    return one


class Store:
    """Takes what is written, at once or when it is let."""

    def __init__(self) -> None:
        self.written: list[dict[str, Any]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.away = False

    async def write(self, *facts: Any) -> None:
        await self.open.wait()
        if self.away:
            raise ConnectionError("away")
        self.written += [row for kind, row in facts if kind is FIGURES]

    def energies(self) -> list[str]:
        return [row["energy_wh"] for row in self.written]


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def figures(store: Store) -> RunningFigures:
    figures = RunningFigures()
    figures.write_by(store.write)
    return figures


class TestWhen:
    def test_the_first_value_takes_its_figures_along_and_those_within_a_second_do_not(
        self, figures: RunningFigures
    ) -> None:
        session = opened()
        told = [
            figures.due(session, NOW + timedelta(milliseconds=ms)) for ms in (0, 1, 999, 1000, 1500, 2000)
        ]
        assert told == [True, False, False, True, False, True]

    def test_a_clock_that_is_put_back_does_not_stop_the_writing(self, figures: RunningFigures) -> None:
        session = opened()
        assert figures.due(session, NOW)
        assert figures.due(session, NOW - timedelta(hours=1))

    async def test_what_waits_is_written_once_and_as_it_was_last(
        self, figures: RunningFigures, store: Store
    ) -> None:
        session = opened()
        for wh in (1010, 1020, 1030):
            count(session, wh)
            figures.later(session)
        await figures.settle()
        await figures.settle()
        assert store.energies() == ["30"]

    async def test_a_value_that_is_still_on_its_way_is_not_in_what_is_written(
        self, figures: RunningFigures, store: Store
    ) -> None:
        session = opened()
        count(session, 1010)
        figures.later(session)
        count(session, 1500)
        await figures.settle()
        assert store.energies() == ["10"]

    async def test_newer_figures_that_went_with_a_value_end_the_waiting(
        self, figures: RunningFigures, store: Store
    ) -> None:
        session = opened()
        figures.later(session)
        figures.written(session.figures())
        assert not figures.owes([session.id])
        await figures.settle()
        assert store.written == []

    async def test_figures_that_went_with_an_older_value_do_not_end_the_waiting_of_newer_ones(
        self, figures: RunningFigures, store: Store
    ) -> None:
        """A charger's old socket may be answered after its new one."""
        session = opened()
        count(session, 1010)
        older = session.figures()
        count(session, 1020)
        figures.later(session)
        figures.written(older)
        await figures.settle()
        assert store.energies() == ["20"]

    async def test_who_wants_one_session_does_not_have_the_others_written(
        self, figures: RunningFigures, store: Store
    ) -> None:
        one, other = opened(), opened()
        for session in (one, other):
            figures.later(session)
        await figures.settle([one.id])
        assert [row["id"] for row in store.written] == [one.id]
        assert figures.owes([other.id])

    async def test_figures_of_a_meter_never_go_with_a_value_and_one_after_the_other(
        self, figures: RunningFigures, store: Store
    ) -> None:
        session = opened(meter=metered(1000))
        for wh, seconds in ((1010, 0), (5, 60), (1030, 120)):
            value = read(NOW + timedelta(seconds=60 + seconds), wh)
            assert session.count([value], NOW)
            assert not figures.due(session, NOW + timedelta(seconds=seconds))
            figures.later(session)
            figures.flush()
            store.open.clear()
            await asyncio.sleep(0)
        store.open.set()
        await figures.settle()
        assert store.energies() == ["10.000", "30.000"]
        assert [len(row["anomalies"]) for row in store.written] == [0, 1]

    async def test_what_was_measured_anew_ends_the_waiting(
        self, figures: RunningFigures, store: Store
    ) -> None:
        session = opened()
        figures.later(session)
        figures.forget(session)
        await figures.settle()
        assert store.written == []

    async def test_what_watchers_were_not_told_is_told_once_when_the_second_is_over(
        self, figures: RunningFigures
    ) -> None:
        told: list[str] = []
        one, other, third = opened(), opened(), opened()
        figures.tell_later(one, lambda: told.append("old"))
        figures.tell_later(one, lambda: told.append("one"))
        figures.tell_later(other, lambda: told.append("other"))
        figures.tell_later(third, lambda: told.append("third"))
        figures.told(third)
        figures.tick()
        figures.tick()
        assert told == ["one", "other"]

    async def test_whoever_settles_waits_for_what_is_on_its_way_and_for_what_came_after_it(
        self, figures: RunningFigures, store: Store
    ) -> None:
        session = opened()
        store.open.clear()
        count(session, 1010)
        figures.later(session)
        figures.flush()
        count(session, 1020)
        figures.later(session)
        assert figures.owes([session.id])
        settling = asyncio.create_task(figures.settle([session.id]))
        await asyncio.sleep(0)
        assert not settling.done()
        store.open.set()
        await settling
        assert store.energies() == ["10", "20"]
        assert not figures.owes([session.id])

    async def test_who_wants_one_session_does_not_wait_for_another(
        self, figures: RunningFigures, store: Store
    ) -> None:
        other = opened()
        figures.later(other)
        store.open.clear()
        await asyncio.wait_for(figures.settle([uuid4()]), 1)
        assert figures.owes([other.id])

    async def test_figures_that_cannot_be_written_wait_on_unless_newer_ones_do(
        self, figures: RunningFigures, store: Store
    ) -> None:
        one, two = opened(), opened()
        for session in (one, two):
            count(session, 1010)
            figures.later(session)
        store.away = True
        store.open.clear()
        figures.flush()
        count(one, 1020)
        figures.later(one)
        store.open.set()
        await figures.settle()
        assert figures.owes([one.id])
        assert figures.owes([two.id])
        store.away = False
        await figures.settle()
        assert sorted(store.energies()) == ["10", "20"]


class TestWhatIsWritten:
    async def test_older_figures_never_take_the_place_of_newer_ones(self, db: Database, world: World) -> None:
        row = await world.session(await world.charger(), energy_wh=Decimal(0))
        session = opened(id=row.id, register_wh=Decimal(0))
        states = []
        for wh, seconds in ((10, 60), (20, 60), (30, 0)):
            count(session, wh, seconds)
            states.append(session.figures().row())
        async with db.session() as unit:
            for state in (states[2], states[1], states[0]):
                await write_facts(await raw_connection(unit), FIGURES, [state])
        async with db.session() as unit:
            now = await unit.get(Session, row.id)
        assert now is not None
        assert now.energy_wh == 30

    async def test_measured_figures_may_fall_and_bring_their_anomalies(
        self, db: Database, world: World
    ) -> None:
        row = await world.session(await world.charger(), energy_wh=Decimal(900), register_wh=Decimal(900))
        session = opened(id=row.id, register_wh=Decimal(0), meter=metered(0))
        assert session.count([read(NOW + timedelta(minutes=1), 50)], NOW)
        assert session.count([read(NOW + timedelta(minutes=2), 10)], NOW)
        async with db.session() as unit:
            await write_facts(await raw_connection(unit), FIGURES, [session.figures().row()])
        async with db.session() as unit:
            now = await unit.get(Session, row.id)
        assert now is not None
        assert (now.energy_wh, now.register_wh) == (session.energy_wh, session.register_wh)
        assert now.energy_wh == 10
        assert now.anomalies == session.anomalies
        assert [one["kind"] for one in now.anomalies] == ["register_jump"]

    async def test_figures_that_were_counted_without_knowing_of_an_anomaly_are_left_out(
        self, db: Database, world: World
    ) -> None:
        noted = [{"kind": "register_jump", "at": None, "detail": "x"}]
        row = await world.session(await world.charger(), energy_wh=Decimal(10), anomalies=noted)
        for anomalies, energy in (([], 10), (noted, 30)):
            session = opened(id=row.id, register_wh=Decimal(0), anomalies=anomalies)
            count(session, 30)
            async with db.session() as unit:
                await write_facts(await raw_connection(unit), FIGURES, [session.figures().row()])
            async with db.session() as unit:
                now = await unit.get(Session, row.id)
            assert now is not None
            assert now.energy_wh == energy
            assert now.anomalies == noted


class TestMending:
    async def test_sessions_whose_stored_values_are_newer_than_their_figures_are_worked_out_anew(
        self, db: Database, world: World
    ) -> None:
        charger = await world.charger()
        fields = {"meter_start": 0, "energy_wh": Decimal(0), "last_sample_at": NOW, "started_at": NOW}
        behind = await world.session(charger, connector_id=1, **fields)
        level = await world.session(charger, connector_id=2, **{**fields, "energy_wh": Decimal(7)})
        values = [
            {"timestamp": "2026-05-04T12:01:00Z", "sampledValue": [{"value": "100"}]},
            {
                "timestamp": "2026-05-04T12:02:00Z",
                "sampledValue": [
                    {"value": "230"},
                    {"value": "7200", "measurand": "Power.Active.Import", "unit": "W"},
                ],
            },
        ]
        read = read_meter_values(
            values,
            charger_id=charger.id,
            connector_id=1,
            transaction_id=behind.ocpp_transaction_id,
            received_at=NOW,
        )
        async with db.session() as unit:
            await write_facts(await raw_connection(unit), METER_VALUE, [one.row for one in read])
        async with db.session() as unit:
            assert await mend_figures(unit, NOW + timedelta(hours=1)) == 1
        async with db.session() as unit:
            mended, left = await unit.get(Session, behind.id), await unit.get(Session, level.id)
            assert await mend_figures(unit, NOW + timedelta(hours=1)) == 0
        assert mended is not None
        assert left is not None
        assert (mended.energy_wh, mended.power_w) == (Decimal(230), 7200.0)
        assert mended.register_wh == Decimal(230)
        assert mended.last_sample_at == NOW + timedelta(minutes=2)
        assert left.energy_wh == 7

    async def test_a_session_of_a_charger_that_is_online_is_left_to_who_counts_it(
        self, db: Database, world: World
    ) -> None:
        charger = await world.charger(online=True)
        row = await world.session(charger, energy_wh=Decimal(0), last_sample_at=NOW)
        await world.add(sample(row, 60, 100))
        async with db.session() as unit:
            assert await mend_figures(unit, NOW + timedelta(hours=1)) == 0

    async def test_one_value_from_years_ahead_is_none_that_is_missing(
        self, db: Database, world: World
    ) -> None:
        row = await world.session(await world.charger(), energy_wh=Decimal(0), last_sample_at=NOW)
        await world.add(sample(row, 60, 100, sampled_at=datetime(2099, 1, 1, tzinfo=UTC)))
        async with db.session() as unit:
            assert await mend_figures(unit, NOW + timedelta(hours=1)) == 0

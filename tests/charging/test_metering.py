"""Meter values as rows, and the running figures of open sessions."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from tests.conftest import NOW
from tests.world import World

from ohmstead.charging.energy import DEFAULT_POWER_W, Sample, session_energy
from ohmstead.charging.metering import (
    FIGURES,
    METER_VALUE,
    Metered,
    OpenSession,
    max_power_w,
    read_meter_values,
)
from ohmstead.charging.models import MeterValue, Session, SessionStatus
from ohmstead.core.db import Database, raw_connection
from ohmstead.core.facts import FactKind, Row, write_facts
from ohmstead.ocpp.v16.measurands import Reading, summarise

thorough = settings(max_examples=300, derandomize=True, database=None)


def read(*sampled: dict[str, Any], at: str = "2026-05-04T12:00:00Z", **fields: Any) -> Metered:
    values = {"charger_id": "CP", "connector_id": 1, "transaction_id": 7, "received_at": NOW, **fields}
    [metered] = read_meter_values([{"timestamp": at, "sampledValue": list(sampled)}], **values)
    return metered


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


def register(wh: object) -> Reading:
    return Reading(Decimal(str(wh)), None, None, None, None)


class TestReading:
    def test_a_value_is_a_row_with_what_was_sent_and_what_it_says(self) -> None:
        sampled = [
            {"value": "1.5", "unit": "kWh", "vendor": "as it is"},
            {"value": "7400", "measurand": "Power.Active.Import", "unit": "W"},
            {"value": "42", "measurand": "SoC", "unit": "Percent"},
        ]
        metered = read(*sampled, at="2026-05-04T14:00:00.25+02:00")
        assert metered.sampled_at == NOW + timedelta(milliseconds=250)
        row = metered.row
        assert (float(row["register_wh"]), row["power_w"], row["soc_percent"]) == (1500, 7400.0, 42.0)
        assert row["sampled_values"] == sampled
        assert (row["charger_id"], row["connector_id"], row["transaction_id"]) == ("CP", 1, 7)

    def test_a_value_that_says_nothing_of_these_is_still_a_row(self) -> None:
        row = read({"value": "230", "measurand": "Voltage"}).row
        assert (row["register_wh"], row["power_w"], row["soc_percent"]) == (None, None, None)

    def test_the_digest_is_of_what_was_sampled(self) -> None:
        one = {"value": "1", "unit": "Wh"}
        same, other = read(one, at="2026-05-04T13:00:00Z", connector_id=2), read({"value": "2", "unit": "Wh"})
        assert read(one).row["digest"] == same.row["digest"]
        assert read(one).row["digest"] != other.row["digest"]
        assert -(2**63) <= read(one).row["digest"] < 2**63

    def test_several_moments_are_several_rows(self) -> None:
        values = [
            {"timestamp": f"2026-05-04T12:0{n}:00Z", "sampledValue": [{"value": str(n)}]} for n in range(3)
        ]
        rows = read_meter_values(
            values, charger_id="CP", connector_id=1, transaction_id=None, received_at=NOW
        )
        assert [one.reading.register_wh for one in rows] == [0, 1, 2]

    @pytest.mark.also_long(20)
    @thorough
    @given(
        st.lists(
            st.fixed_dictionaries(
                {
                    "value": st.sampled_from(
                        [
                            "0",
                            "7",
                            "0007",
                            "1.",
                            ".5",
                            "1.2345",
                            "-1",
                            "+1",
                            "1e3",
                            "",
                            " 1",
                            "٣",
                            "²",
                            "nan",
                            "1_0",
                        ]
                    )
                    | st.integers(0, 10**16).map(str)
                    | st.decimals(0, 10**6, places=3).map(str)
                    | st.text(max_size=16)
                },
                optional={
                    "measurand": st.sampled_from(
                        [
                            "Energy.Active.Import.Register",
                            "Power.Active.Import",
                            "SoC",
                            "Voltage",
                            "Energy.Active.Export.Register",
                        ]
                    ),
                    "unit": st.sampled_from(["Wh", "kWh", "W", "kW", "Percent", "V", "varh"]),
                    "phase": st.sampled_from(["L1", "L2", "L3-N", "N"]),
                    "location": st.sampled_from(["Outlet", "EV", "Inlet"]),
                    "format": st.sampled_from(["Raw", "SignedData"]),
                    "context": st.sampled_from(["Sample.Periodic", "Transaction.Begin", "Sample.Clock"]),
                },
            ),
            min_size=1,
            max_size=4,
        )
    )
    def test_the_short_way_to_read_agrees_with_all_the_rules(self, sampled: list[dict[str, Any]]) -> None:
        full, row = summarise(sampled), read(*sampled).row
        assert (None if row["register_wh"] is None else Decimal(row["register_wh"])) == full.register_wh
        assert row["power_w"] == (None if full.power_w is None else float(full.power_w))
        assert row["soc_percent"] == (None if full.soc is None else float(full.soc))


class TestOpenSession:
    def test_a_value_that_goes_on_counts(self) -> None:
        session = opened()
        assert session.follows(NOW + timedelta(minutes=10), register(2500))
        assert session.follows(
            NOW + timedelta(minutes=20), Reading(None, Decimal(7400), Decimal(50), None, None)
        )
        assert (session.energy_wh, session.register_wh) == (Decimal(1500), Decimal(2500))
        assert (session.power_w, session.soc_percent) == (7400.0, 50.0)
        assert session.last_sample_at == NOW + timedelta(minutes=20)

    @pytest.mark.parametrize(
        ("at", "reading", "fields"),
        [
            (NOW + timedelta(minutes=10), register(999), {}),
            (NOW + timedelta(minutes=10), register(1_000_000), {}),
            (NOW - timedelta(seconds=1), register(1001), {}),
            (NOW + timedelta(days=2), register(1001), {}),
            (NOW + timedelta(minutes=10), register(1001), {"trusted": False}),
            (NOW + timedelta(minutes=10), register(1001), {"register_wh": None}),
        ],
    )
    def test_anything_odd_is_left_to_the_full_rule(
        self, at: datetime, reading: Reading, fields: dict[str, Any]
    ) -> None:
        session = opened(**fields)
        before = session.figures()
        assert not session.follows(at, reading)
        assert session.figures() == before

    @pytest.mark.also_long(20)
    @thorough
    @given(
        st.lists(
            st.tuples(
                st.integers(0, 7200) | st.just(-60) | st.just(86_400),
                st.integers(0, 3_000_000) | st.integers(-2000, 2000),
            ),
            max_size=12,
        )
    )
    def test_what_is_counted_in_memory_is_what_the_full_rule_says(self, steps: list[tuple[int, int]]) -> None:
        session = opened()
        at, milli = NOW, 1_000_000
        samples = []
        for seconds, more in steps:
            at, milli = at + timedelta(seconds=seconds), milli + more
            wh = Decimal(milli) / 1000
            if not session.follows(at, Reading(wh, None, None, None, None)):
                break
            samples.append(Sample(at, wh))
        energy = session_energy(
            meter_start=Decimal(1000),
            started_at=NOW,
            samples=samples,
            meter_stop=None,
            stopped_at=None,
            max_power_w=22_000,
        )
        assert (energy.wh, energy.anomalies) == (session.energy_wh, ())

    def test_a_connector_of_unknown_power_is_taken_as_a_strong_one(self) -> None:
        assert (max_power_w(None), max_power_w(0), max_power_w(7.4)) == (
            DEFAULT_POWER_W,
            DEFAULT_POWER_W,
            7400,
        )


async def write(db: Database, kind: FactKind, *rows: Row) -> None:
    async with db.session() as session:
        await write_facts(await raw_connection(session), kind, list(rows))


class TestWriting:
    async def stored(self, db: Database, charger_id: str) -> list[MeterValue]:
        async with db.session() as session:
            query = select(MeterValue).where(MeterValue.charger_id == charger_id)
            return list((await session.scalars(query.order_by(MeterValue.sampled_at))).all())

    @pytest.mark.parametrize("transaction_id", [None, 7])
    async def test_what_was_written_before_stays_as_it_is(
        self, db: Database, transaction_id: int | None
    ) -> None:
        first = read({"value": "1"}, charger_id="W-1", transaction_id=transaction_id).row
        later = {**first, "received_at": NOW + timedelta(hours=1)}
        await write(db, METER_VALUE, first, later)
        await write(db, METER_VALUE, later)
        [row] = await self.stored(db, "W-1")
        assert (row.received_at, row.register_wh, row.sampled_values) == (NOW, Decimal(1), [{"value": "1"}])

    async def test_values_that_differ_in_anything_are_rows_of_their_own(self, db: Database) -> None:
        rows = [
            read({"value": "1"}, charger_id="W-2").row,
            read({"value": "2"}, charger_id="W-2").row,
            read({"value": "1"}, charger_id="W-2", at="2026-05-04T12:00:00.001Z").row,
            read({"value": "1"}, charger_id="W-2", connector_id=2).row,
            read({"value": "1"}, charger_id="W-2", transaction_id=8).row,
            read({"value": "1"}, charger_id="W-2", transaction_id=None).row,
        ]
        await write(db, METER_VALUE, *rows)
        assert len(await self.stored(db, "W-2")) == 6

    @pytest.mark.parametrize("at", ["0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
    async def test_a_value_from_any_year_has_a_place(self, db: Database, at: str) -> None:
        await write(db, METER_VALUE, read({"value": "1"}, charger_id="W-3", at=at).row)
        [row] = await self.stored(db, "W-3")
        assert row.sampled_at == datetime.fromisoformat(at)

    async def test_figures_bring_an_open_session_up_to_date_and_leave_an_ended_one(
        self, db: Database, world: World
    ) -> None:
        charger = await world.charger()
        fields = {"energy_wh": Decimal(0), "soc_percent": 40.0}
        active = await world.session(charger, **fields)
        ended = await world.session(charger, status=SessionStatus.COMPLETED, connector_id=2, **fields)
        rows = []
        for row in (active, ended):
            in_memory = opened(id=row.id, register_wh=Decimal(0))
            assert in_memory.follows(NOW + timedelta(minutes=1), register("12.5"))
            rows.append(in_memory.figures().row())
            assert in_memory.follows(NOW + timedelta(minutes=2), register("20.25"))
            rows.append(in_memory.figures().row())
        await write(db, FIGURES, *rows)
        async with db.session() as session:
            now, then = await session.get(Session, active.id), await session.get(Session, ended.id)
        assert now is not None
        assert then is not None
        assert (now.energy_wh, now.register_wh, now.soc_percent) == (Decimal("20.25"), Decimal("20.25"), 40.0)
        assert now.last_sample_at == datetime(2026, 5, 4, 12, 2, tzinfo=UTC)
        assert (then.energy_wh, then.last_sample_at) == (Decimal(0), None)

"""What real chargers do with meter values, and what it costs: odd ones, late ones, and ones without an id."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text
from tests.chargers import RawCharger, charger
from tests.gateway.admin import AdminApi
from tests.running import RunningServer

from ohmstead.charging import counting, measuring
from ohmstead.charging.energy import Sample, session_energy
from ohmstead.stations.models import Charger

BEGIN = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
POWER = "Power.Active.Import"


def minute(minutes: float) -> str:
    return (BEGIN + timedelta(minutes=minutes)).isoformat()


def kinds(session: dict[str, Any]) -> set[str]:
    return {one["kind"] for one in session["anomalies"]}


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sessions whose stored values were all read to go on, in the order in which that was done."""
    read: list[str] = []

    async def live_meter(session: Any, row: Any, *others: Any) -> Any:
        read.append(row.charger_id)
        return await measuring.live_meter(session, row, *others)

    monkeypatch.setattr(counting, "live_meter", live_meter)
    return read


ODD: dict[str, list[float]] = {
    "a register that falls and comes back": [12_000, 9_000, 14_000, 15_000, 15_500],
    "a register that restarts": [12_000, 40, 90, 700, 1500],
    "a register that leaps and stays there": [12_000, 5_000_000, 5_000_100, 5_000_200, 5_000_900],
    "kWh for Wh": [10.1, 10.2, 10.3, 10.4, 10.5],
    "kWh now and then": [10_100, 10.2, 10_300, 10.4, 10_500],
    "a stray value now and then": [10_100, 7, 10_300, 9_900_000, 10_500, 1, 10_700],
    "a start above its samples": [500, 700, 900, 1000],
}


class TestOddSessions:
    @pytest.mark.parametrize("name", ODD)
    async def test_each_value_counts_by_the_whole_rule_and_what_is_stored_is_read_once(
        self, raw: RawCharger, tag: str, api: AdminApi, readings: list[str], name: str
    ) -> None:
        transaction = (await raw.start(tag, meter=10_000))["transactionId"]
        samples: list[Sample] = []
        for place, register in enumerate(ODD[name], 1):
            await raw.meter(minute(10 * place), str(register), transaction=transaction)
            samples.append(Sample(BEGIN + timedelta(minutes=10 * place), Decimal(str(register))))
            expected = session_energy(
                meter_start=Decimal(10_000),
                started_at=BEGIN,
                samples=samples,
                meter_stop=None,
                stopped_at=None,
                max_power_w=None,
            )
            session = await api.transaction(transaction)
            assert session["energy_wh"] == float(expected.wh)
            assert [one["detail"] for one in session["anomalies"]] == [
                one.detail for one in expected.anomalies
            ]
        assert session["anomalies"]
        assert len(readings) == 1

    async def test_a_charger_that_comes_back_goes_on_after_one_reading_more(
        self, server: RunningServer, row: Charger, tag: str, api: AdminApi, readings: list[str]
    ) -> None:
        async with charger(server.ws, row.id) as raw:
            transaction = (await raw.start(tag, meter=10_000))["transactionId"]
            for place, register in enumerate((12_000, 9_000, 14_000), 1):
                await raw.meter(minute(10 * place), str(register), transaction=transaction)
        async with charger(server.ws, row.id) as raw:
            for place, register in enumerate((15_000, 16_000, 17_000), 4):
                await raw.meter(minute(10 * place), str(register), transaction=transaction)
            session = await api.transaction(transaction)
            assert (session["energy_wh"], kinds(session)) == (7000, {"register_backwards"})
            assert readings == [row.id] * 2
            await raw.stop(transaction, 18_000, at=minute(90))
        session = await api.transaction(transaction)
        assert (session["energy_wh"], kinds(session)) == (8000, {"register_backwards"})

    async def test_a_queue_that_comes_behind_a_live_value_is_counted_in_its_order(
        self, raw: RawCharger, tag: str, api: AdminApi, readings: list[str]
    ) -> None:
        transaction = (await raw.start(tag, meter=0))["transactionId"]
        await raw.meter(minute(100), "10000", transaction=transaction)
        for place in range(10, 100, 10):
            sent = 1 if place == 50 else 100 * place
            await raw.meter(minute(place), str(sent), transaction=transaction)
        await raw.meter(minute(110), "11000", transaction=transaction)
        session = await api.transaction(transaction)
        assert (session["energy_wh"], kinds(session)) == (11_000, {"register_backwards"})
        assert len(readings) == 1
        assert len(await api.meter_values(transaction)) == 11

    async def test_a_value_that_is_too_late_for_the_live_count_is_measured_at_the_stop(
        self, raw: RawCharger, tag: str, api: AdminApi
    ) -> None:
        transaction = (await raw.start(tag, meter=0))["transactionId"]
        values = [
            {
                "timestamp": minute(place),
                "sampledValue": [{"value": "1" if place == 30 else f"{100 * place}"}],
            }
            for place in range(1, 301)
        ]
        for some in (values[:150], values[150:]):
            await raw.result(
                "MeterValues", {"connectorId": 1, "transactionId": transaction, "meterValue": some}
            )
        await raw.meter(minute(1.5), "150", transaction=transaction)
        session = await api.transaction(transaction)
        assert (session["energy_wh"], kinds(session)) == (30_000, {"register_backwards", "sample_too_late"})
        await raw.stop(transaction, 30_100, at=minute(301))
        session = await api.transaction(transaction)
        assert (session["energy_wh"], kinds(session)) == (30_100, {"register_backwards"})
        assert len(await api.meter_values(transaction)) == 301

    async def test_one_value_from_years_ahead_does_not_freeze_what_is_live(
        self, raw: RawCharger, tag: str, api: AdminApi, readings: list[str]
    ) -> None:
        transaction = (await raw.start(tag, meter=0))["transactionId"]
        await raw.meter(minute(10), "1000", transaction=transaction)
        await raw.meter("2099-01-01T00:00:00Z", "1100", transaction=transaction)
        for place in (20, 30, 40):
            await raw.meter(minute(place), str(100 * place), transaction=transaction)
            await raw.meter(minute(place), f"{place}", transaction=transaction, measurand=POWER, unit="W")
        session = await api.transaction(transaction)
        assert (session["energy_wh"], session["power_w"]) == (4000, 40)
        assert session["last_sample_at"] == "2026-05-04T12:40:00Z"
        assert len(readings) == 1
        await raw.stop(transaction, 5000, at=minute(50))
        session = await api.transaction(transaction)
        assert (session["energy_wh"], kinds(session)) == (5000, {"clock_out_of_range"})

    async def test_values_of_another_connector_change_nothing_of_the_session_that_they_name(
        self, raw: RawCharger, tag: str, api: AdminApi
    ) -> None:
        transaction = (await raw.start(tag, connector=1))["transactionId"]
        await raw.meter(minute(20), "1000", transaction=transaction)
        await raw.meter(minute(10), "500", transaction=transaction)  # it has a meter of its own now
        for at in (5, 30):
            await raw.meter(minute(at), "9000", transaction=transaction, connector=2)
            await raw.meter(
                minute(at), "50000", transaction=transaction, connector=2, measurand=POWER, unit="W"
            )
        session = await api.transaction(transaction)
        assert (session["energy_wh"], session["power_w"], session["anomalies"]) == (1000, None, [])


class TestWithoutATransaction:
    async def transaction_of(self, server: RunningServer, row: Charger, at: str) -> int | None:
        query = "SELECT transaction_id FROM charging_meter_value WHERE charger_id = :id AND sampled_at = :at"
        async with server.database.engine.connect() as connection:
            found = await connection.execute(text(query), {"id": row.id, "at": datetime.fromisoformat(at)})
            numbers: list[int | None] = [number for (number,) in found]
        assert len(numbers) == 1
        return numbers[0]

    async def test_a_value_goes_to_the_session_of_its_time_and_not_to_the_newest(
        self, server: RunningServer, raw: RawCharger, row: Charger, tag: str, api: AdminApi
    ) -> None:
        live = (await raw.start(tag, meter=5000, at=minute(60)))["transactionId"]
        queued = (await raw.start(tag, meter=0, at=minute(30)))["transactionId"]
        await raw.meter(minute(40), "700")
        await raw.meter(minute(70), "5600")
        sessions = [await api.transaction(number) for number in (queued, live)]
        assert [one["energy_wh"] for one in sessions] == [700, 600]
        assert [one["anomalies"] for one in sessions] == [[], []]

    async def test_one_frame_may_hold_values_of_two_sessions(
        self, raw: RawCharger, tag: str, api: AdminApi
    ) -> None:
        live = (await raw.start(tag, meter=5000, at=minute(60)))["transactionId"]
        queued = (await raw.start(tag, meter=0, at=minute(30)))["transactionId"]
        values = [
            {"timestamp": minute(at), "sampledValue": [{"value": str(wh)}]}
            for at, wh in ((70, 5600), (40, 700), (50, 900))
        ]
        assert await raw.result("MeterValues", {"connectorId": 1, "meterValue": values}) == {}
        energies = [(await api.transaction(number))["energy_wh"] for number in (queued, live)]
        assert energies == [900, 600]

    async def test_a_late_value_goes_to_the_session_that_has_ended_since(
        self, server: RunningServer, raw: RawCharger, row: Charger, tag: str, api: AdminApi
    ) -> None:
        first = (await raw.start(tag, meter=0, at=minute(0)))["transactionId"]
        await raw.stop(first, 2000, at=minute(30))
        # Nothing is open: the value that was kept while the charger was away belongs to what was.
        await raw.meter(minute(10), "700")
        second = (await raw.start(tag, meter=2000, at=minute(60)))["transactionId"]
        await raw.meter(minute(20), "1300")
        await raw.meter(minute(70), "2500")
        assert [await self.transaction_of(server, row, minute(at)) for at in (10, 20, 70)] == [
            first,
            first,
            second,
        ]
        ended, live = await api.transaction(first), await api.transaction(second)
        assert (ended["energy_wh"], live["energy_wh"], live["anomalies"]) == (2000, 500, [])

    async def test_a_value_between_two_sessions_is_one_of_none_when_nothing_is_open(
        self, server: RunningServer, raw: RawCharger, row: Charger, tag: str
    ) -> None:
        for begin in (0, 60):
            number = (await raw.start(tag, meter=0, at=minute(begin)))["transactionId"]
            await raw.stop(number, 2000, at=minute(begin + 30))
        await raw.meter(minute(45), "2000")
        assert await self.transaction_of(server, row, minute(45)) is None

    async def test_a_clock_that_was_set_back_during_a_session_does_not_lose_its_values(
        self, raw: RawCharger, tag: str, api: AdminApi
    ) -> None:
        transaction = (await raw.start(tag, meter=1000, at=minute(4)))["transactionId"]
        await raw.meter(minute(1), "1100")
        await raw.meter(minute(2), "1200")
        assert (await api.transaction(transaction))["energy_wh"] == 200


class TestNumbers:
    @pytest.mark.parametrize("connector", [-1, -5, -(2**31)])
    async def test_values_of_a_negative_connector_are_refused(self, raw: RawCharger, connector: int) -> None:
        frame = await raw.meter(minute(1), "7", connector=connector)
        assert (frame[0], frame[2]) == (4, "PropertyConstraintViolation")
        assert "connectorId" in frame[3]

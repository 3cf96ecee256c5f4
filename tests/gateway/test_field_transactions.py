"""What real chargers do with transactions and meter values; seen on the wire and in the admin API."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from tests.chargers import RawCharger, charger, until
from tests.gateway.admin import AdminApi
from tests.running import RunningServer
from tests.world import World

from ohmstead.charging import service
from ohmstead.stations.models import Charger

BEGIN = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


def minute(minutes: int) -> str:
    return (BEGIN + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")


def kinds(session: dict[str, Any]) -> set[str]:
    return {one["kind"] for one in session["anomalies"]}


class TestWhoseTransaction:
    async def test_two_connectors_run_two_transactions_that_never_mix(
        self, raw: RawCharger, row: Charger, tag: str, api: AdminApi
    ) -> None:
        first = (await raw.start(tag, connector=1, meter=100))["transactionId"]
        second = (await raw.start(tag, connector=2, meter=900_000))["transactionId"]
        await raw.meter(minute(10), "1100", transaction=first, connector=1)
        await raw.meter(minute(10), "900300", transaction=second, connector=2)
        await raw.stop(first, 2100, at=minute(20))
        one, other = await api.transaction(first), await api.transaction(second)
        assert (one["status"], one["energy_wh"], one["connector_id"]) == ("Completed", 2000, 1)
        assert (other["status"], other["energy_wh"], other["connector_id"]) == ("Active", 300, 2)
        await raw.stop(second, 900_700, at=minute(30))
        assert (await api.transaction(second))["energy_wh"] == 700
        assert len(await api.transactions(row.id)) == 2

    async def test_a_charger_stops_only_its_own_transaction(
        self, server: RunningServer, server_world: World, raw: RawCharger, tag: str, api: AdminApi
    ) -> None:
        transaction = (await raw.start(tag))["transactionId"]
        thief = await server_world.charger()
        async with charger(server.ws, thief.id) as other:
            assert await other.stop(transaction, 99_000, idTag=tag) == {"idTagInfo": {"status": "Accepted"}}
        session = await api.transaction(transaction)
        assert (session["status"], session["meter_stop"]) == ("Active", None)
        [kept] = await api.transactions(thief.id)
        assert (kept["unmatched"], kept["ocpp_transaction_id"], kept["meter_stop"]) == (
            True,
            transaction,
            99_000,
        )
        await raw.stop(transaction, 4000)
        assert (await api.transaction(transaction))["energy_wh"] == 4000

    async def test_values_for_another_chargers_transaction_do_not_count_there(
        self, server: RunningServer, server_world: World, raw: RawCharger, tag: str, api: AdminApi
    ) -> None:
        transaction = (await raw.start(tag))["transactionId"]
        async with charger(server.ws, (await server_world.charger()).id) as other:
            assert (await other.meter(minute(5), "5000", transaction=transaction))[0] == 3
        assert (await api.transaction(transaction))["energy_wh"] == 0
        assert await api.meter_values(transaction) == []

    async def test_transaction_ids_are_positive_unique_and_not_guessable(
        self, server: RunningServer, server_world: World, tag: str
    ) -> None:
        given: list[int] = []
        for _ in range(2):
            async with charger(server.ws, (await server_world.charger()).id) as raw:
                for number in range(12):
                    given.append((await raw.start(tag, at=minute(number)))["transactionId"])
        assert all(0 < one < 2**31 for one in given)
        assert len(set(given)) == len(given)
        steps = {after - before for before, after in pairwise(given)}
        assert len(steps) == len(given) - 1
        # 24 ids that were counted up would lie within a few thousand of each other.
        assert max(given) - min(given) > 2**24


class TestStops:
    async def test_a_stop_without_a_tag_is_answered_without_one(
        self, raw: RawCharger, tag: str, api: AdminApi
    ) -> None:
        transaction = (await raw.start(tag))["transactionId"]
        assert await raw.stop(transaction, 700) == {}
        session = await api.transaction(transaction)
        assert (session["energy_wh"], session["stop_reason"]) == (700, "Local")

    async def test_a_stop_of_an_unknown_transaction_is_answered_and_shown_as_unmatched(
        self, raw: RawCharger, row: Charger, tag: str, api: AdminApi
    ) -> None:
        answers = [await raw.stop(7, 5000, idTag=tag, reason="PowerLoss") for _ in range(2)]
        assert answers == [{"idTagInfo": {"status": "Accepted"}}] * 2
        [kept] = await api.transactions(row.id, unmatched="true")
        assert (kept["ocpp_transaction_id"], kept["meter_stop"], kept["stop_reason"]) == (
            7,
            5000,
            "PowerLoss",
        )
        assert (kept["unmatched"], kept["status"], kept["id_tag"]) == (True, "Completed", tag)

    async def test_a_stop_of_transaction_minus_one_is_answered_and_kept(
        self, raw: RawCharger, row: Charger, api: AdminApi
    ) -> None:
        assert await raw.stop(-1, 100) == {}
        [kept] = await api.transactions(row.id)
        assert (kept["unmatched"], kept["ocpp_transaction_id"]) == (True, -1)

    async def test_a_register_that_began_again_at_zero_counts_on_from_there(
        self, raw: RawCharger, tag: str, api: AdminApi
    ) -> None:
        transaction = (await raw.start(tag, meter=50_000))["transactionId"]
        await raw.meter(minute(30), "58000", transaction=transaction)
        await raw.stop(transaction, 1500, at=minute(60), reason="PowerLoss")
        session = await api.transaction(transaction)
        assert session["energy_wh"] == 9500
        assert "register_reset" in kinds(session)
        assert session["meter_stop"] == 1500

    async def test_a_stop_with_an_old_register_does_not_take_energy_back(
        self, raw: RawCharger, tag: str, api: AdminApi
    ) -> None:
        transaction = (await raw.start(tag, meter=50_000))["transactionId"]
        for step, register in enumerate(("54000", "56000", "58000"), 1):
            await raw.meter(minute(10 * step), register, transaction=transaction)
        await raw.stop(transaction, 54_000, at=minute(60))
        session = await api.transaction(transaction)
        assert session["energy_wh"] == 8000
        assert "stop_is_old" in kinds(session)

    async def test_a_large_signed_value_in_a_stop_is_kept(
        self, raw: RawCharger, tag: str, api: AdminApi
    ) -> None:
        transaction = (await raw.start(tag))["transactionId"]
        signed = {"value": "A" * 60_000, "format": "SignedData", "context": "Transaction.End"}
        plain = {"value": "4000", "context": "Transaction.End"}
        data = [{"timestamp": minute(60), "sampledValue": [plain, signed]}]
        assert await raw.stop(transaction, 4000, at=minute(60), transactionData=data) == {}
        [value] = await api.meter_values(transaction)
        assert value["register_wh"] == 4000
        assert value["sampled_values"] == [plain, signed]
        assert [(one["measurand"], one["value"]) for one in value["values"]] == [
            ("Energy.Active.Import.Register", 4000),
            ("Energy.Active.Import.Register", None),
        ]
        assert (await api.transaction(transaction))["energy_wh"] == 4000

    async def test_a_stop_that_breaks_the_schema_is_refused_and_kept(
        self, raw: RawCharger, row: Charger, tag: str, api: AdminApi
    ) -> None:
        transaction = (await raw.start(tag))["transactionId"]
        payload = {"transactionId": transaction, "meterStop": 3000, "timestamp": minute(60), "reason": "Fire"}
        assert await raw.error("StopTransaction", payload) == "PropertyConstraintViolation"
        started, kept = sorted(await api.transactions(row.id), key=lambda one: bool(one["unmatched"]))
        assert (started["status"], started["unmatched"]) == ("Active", False)
        assert (kept["unmatched"], kept["meter_stop"], kept["stop_reason"]) == (True, 3000, "Fire")
        assert (await api.messages(row.id))[-1]["note"] == "kept as an unmatched transaction"

    @pytest.mark.parametrize("text", ["\0", "\\u0000", "a\0b"])
    async def test_a_stop_that_the_database_cannot_take_is_refused_and_kept(
        self, raw: RawCharger, row: Charger, text: str, api: AdminApi
    ) -> None:
        data = [{"timestamp": minute(60), "sampledValue": [{"value": text}]}]
        payload = {"transactionId": 7, "meterStop": 3000, "timestamp": minute(60), "transactionData": data}
        frame = await raw.call("StopTransaction", payload)
        assert frame[0] == 3 or frame[2] == "PropertyConstraintViolation", frame
        [kept] = await api.transactions(row.id)
        assert (kept["unmatched"], kept["meter_stop"]) == (True, 3000)

    async def test_a_broken_stop_with_nul_and_backslashes_is_kept(
        self, raw: RawCharger, row: Charger, api: AdminApi
    ) -> None:
        payload = {"transactionId": 8, "meterStop": 10, "timestamp": "soon", "vendor\0": "\\u0000 \0 \\\0"}
        assert (await raw.error("StopTransaction", payload)).endswith("Violation")
        [kept] = await api.transactions(row.id)
        assert (kept["unmatched"], kept["meter_stop"], kept["stopped_at"]) == (True, 10, None)


class TestStatuses:
    async def test_charging_may_be_told_before_the_start_is_answered(
        self, raw: RawCharger, row: Charger, tag: str, api: AdminApi
    ) -> None:
        start = {"connectorId": 1, "idTag": tag, "meterStart": 0, "timestamp": minute(0)}
        status = {"connectorId": 1, "errorCode": "NoError", "status": "Charging", "timestamp": minute(0)}
        answers = [raw.expect("s"), raw.expect("n")]
        await raw.send(json.dumps([2, "s", "StartTransaction", start]))
        await raw.send(json.dumps([2, "n", "StatusNotification", status]))
        started, told = await asyncio.wait_for(asyncio.gather(*answers), 60)
        assert (started[0], told) == (3, [3, "n", {}])
        assert (await api.connector(row.id))["status"] == "Charging"
        assert (await api.transaction(started[2]["transactionId"]))["status"] == "Active"

    async def test_a_status_without_a_timestamp_counts_from_its_arrival(
        self, raw: RawCharger, row: Charger, api: AdminApi
    ) -> None:
        await raw.status("Preparing", timestamp=minute(0))
        before = datetime.now(UTC)
        await raw.status("Charging")
        connector = await api.connector(row.id)
        assert (connector["status"], connector["status_at"]) == ("Charging", None)
        assert abs(datetime.fromisoformat(connector["status_since"]) - before) < timedelta(seconds=30)

    async def test_what_comes_after_the_boot_has_set_a_clock_that_was_ahead_is_taken(
        self, server: RunningServer, row: Charger, api: AdminApi
    ) -> None:
        async with charger(server.ws, row.id) as raw:
            ahead = datetime.now(UTC) + timedelta(minutes=4, seconds=50)
            await raw.status("Available", timestamp=ahead.isoformat())
            told = (await raw.boot())["currentTime"]
            await raw.status("Preparing", timestamp=f"{told[:19]}Z")  # in whole seconds, as many do
            assert (await api.connector(row.id))["status"] == "Preparing"
        # Nor does what another socket remembers of it hide anything.
        async with charger(server.ws, row.id) as raw:
            queued = datetime.now(UTC) - timedelta(hours=1)
            await raw.status("Finishing", timestamp=queued.isoformat())
            assert (await api.connector(row.id))["status"] == "Preparing"
            await raw.status("Charging", timestamp=datetime.now(UTC).isoformat())
        assert (await api.connector(row.id))["status"] == "Charging"

    async def test_a_status_before_the_answer_to_the_boot_is_taken(
        self, raw: RawCharger, row: Charger, api: AdminApi
    ) -> None:
        boot = {"chargePointVendor": "V", "chargePointModel": "M"}
        status = {"connectorId": 1, "errorCode": "NoError", "status": "Available"}
        answers = [raw.expect("b"), raw.expect("n")]
        await raw.send(json.dumps([2, "b", "BootNotification", boot]))
        await raw.send(json.dumps([2, "n", "StatusNotification", status]))
        booted, told = await asyncio.wait_for(asyncio.gather(*answers), 60)
        assert (booted[2]["status"], told) == ("Accepted", [3, "n", {}])
        assert (await api.connector(row.id))["status"] == "Available"

    async def test_connector_0_is_the_charger_as_a_whole(
        self, raw: RawCharger, row: Charger, api: AdminApi
    ) -> None:
        await raw.status("Faulted", connector=0, errorCode="GroundFailure", info="wet")
        shown = await api.charger(row.id)
        assert (shown["whole"]["status"], shown["whole"]["error_code"]) == ("Faulted", "GroundFailure")
        assert [one["connector_id"] for one in shown["connectors"]] == [1, 2]
        await raw.meter(minute(1), "7", connector=0)
        await raw.status("Available", connector=0)
        assert (await api.charger(row.id))["whole"]["status"] == "Available"

    async def test_available_while_a_transaction_is_open_leaves_it_open_until_it_is_stale(
        self, server: RunningServer, raw: RawCharger, tag: str, api: AdminApi
    ) -> None:
        transaction = (await raw.start(tag))["transactionId"]
        await raw.meter(minute(10), "800", transaction=transaction)
        await raw.status("Available", timestamp=minute(15))
        assert (await api.transaction(transaction))["status"] == "Active"

        async def close(minutes: int) -> list[int | None]:
            async with server.database.session() as session:
                now = datetime.now(UTC) + timedelta(minutes=minutes)
                closed = await service.close_stale(session, now, timedelta(minutes=15))
            return [one.ocpp_transaction_id for one in closed]

        assert transaction not in await close(14)
        assert transaction in await close(16)
        session = await api.transaction(transaction)
        assert (session["status"], session["stop_reason"], session["closed_by"]) == (
            "Completed",
            "ConnectorAvailable",
            "rule",
        )
        assert (session["energy_wh"], session["stopped_at"]) == (800, minute(10))
        # The stop comes after all: it is the truth.
        await raw.stop(transaction, 1200, at=minute(20))
        session = await api.transaction(transaction)
        assert (session["energy_wh"], session["closed_by"], session["stopped_at"]) == (
            1200,
            "charger",
            minute(20),
        )
        assert "closed_before_stop" in kinds(session)

    async def test_a_new_start_closes_the_transaction_that_was_never_stopped(
        self, raw: RawCharger, row: Charger, tag: str, api: AdminApi
    ) -> None:
        first = (await raw.start(tag, meter=0, at=minute(0)))["transactionId"]
        await raw.meter(minute(10), "800", transaction=first)
        second = (await raw.start(tag, meter=900, at=minute(30)))["transactionId"]
        old, new = await api.transaction(first), await api.transaction(second)
        assert (old["status"], old["stop_reason"], old["energy_wh"]) == (
            "Completed",
            "ReplacedByNewStart",
            800,
        )
        assert (new["status"], new["energy_wh"]) == ("Active", 0)
        # Values without an id belong to the new one now.
        await raw.meter(minute(40), "1400")
        assert (await api.transaction(second))["energy_wh"] == 500

    async def test_values_belong_to_the_new_session_of_a_charger_that_lost_its_clock(
        self, raw: RawCharger, row: Charger, tag: str, api: AdminApi
    ) -> None:
        first = (await raw.start(tag, meter=0, at=minute(0)))["transactionId"]
        second = (await raw.start(tag, meter=900, at="1970-01-01T00:00:10Z"))["transactionId"]
        await raw.meter("1970-01-01T00:05:00Z", "1400")
        assert (await api.transaction(first))["status"] == "Completed"
        assert (await api.transaction(second))["energy_wh"] == 500

    async def test_a_session_that_an_operator_closed_still_counts_what_its_charger_tells(
        self, raw: RawCharger, row: Charger, tag: str, api: AdminApi
    ) -> None:
        transaction = (await raw.start(tag))["transactionId"]
        await raw.meter(minute(5), "400", transaction=transaction)
        stopping = asyncio.create_task(api.client.post(f"/api/admin/transactions/{transaction}/force-stop"))
        await raw.answer(await raw.next_call(), {"status": "Rejected"})
        assert (await stopping).json()["status"] == "ClosedLocally"
        await raw.meter(minute(30), "2000", transaction=transaction)
        session = await api.transaction(transaction)
        assert (session["status"], session["energy_wh"]) == ("Completed", 2000)
        assert session["stopped_at"] == minute(30)
        await raw.stop(transaction, 2500, at=minute(40))
        session = await api.transaction(transaction)
        assert (session["energy_wh"], session["closed_by"]) == (2500, "charger")


class TestMeterValues:
    async def test_float_noise_is_rounded_away(self, raw: RawCharger, tag: str, api: AdminApi) -> None:
        transaction = (await raw.start(tag))["transactionId"]
        await raw.meter(minute(5), "0.15003999999999998", transaction=transaction, unit="kWh")
        assert (await api.transaction(transaction))["energy_wh"] == 150.04
        [value] = await api.meter_values(transaction)
        assert value["register_wh"] == 150.04

    async def test_kwh_and_wh_may_be_mixed(self, raw: RawCharger, tag: str, api: AdminApi) -> None:
        transaction = (await raw.start(tag, meter=1000))["transactionId"]
        await raw.meter(minute(10), "2.5", transaction=transaction, unit="kWh")
        await raw.meter(minute(20), "4000", transaction=transaction, unit="Wh")
        await raw.meter(minute(30), "5.25", transaction=transaction, unit="kWh")
        session = await api.transaction(transaction)
        assert (session["energy_wh"], session["anomalies"]) == (4250, [])

    async def test_a_unit_that_is_wrong_is_noticed_and_noted(
        self, raw: RawCharger, tag: str, api: AdminApi
    ) -> None:
        transaction = (await raw.start(tag, meter=100_000))["transactionId"]
        for step, value in enumerate(("101", "102", "103"), 1):
            await raw.meter(minute(10 * step), value, transaction=transaction, unit="Wh")
        await raw.stop(transaction, 104_000, at=minute(40))
        session = await api.transaction(transaction)
        assert session["energy_wh"] == 4000
        assert "unit_mix" in kinds(session)

    async def test_fractions_of_a_wh_count(self, raw: RawCharger, tag: str, api: AdminApi) -> None:
        transaction = (await raw.start(tag))["transactionId"]
        await raw.meter(minute(1), "0.5", transaction=transaction)
        await raw.meter(minute(2), "1.125", transaction=transaction)
        assert (await api.transaction(transaction))["energy_wh"] == 1.125

    async def test_a_register_that_jumps_backwards_takes_nothing_back(
        self, raw: RawCharger, tag: str, api: AdminApi
    ) -> None:
        transaction = (await raw.start(tag, meter=10_000))["transactionId"]
        for step, register in enumerate((12_000, 9_000, 14_000, 15_000), 1):
            await raw.meter(minute(10 * step), str(register), transaction=transaction)
        session = await api.transaction(transaction)
        assert session["energy_wh"] == 5000
        assert "register_backwards" in kinds(session)

    @pytest.mark.parametrize("at", ["2099-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "0001-01-01T00:00:00Z"])
    async def test_a_sample_with_an_absurd_time_is_kept_and_does_not_spoil_the_session(
        self, raw: RawCharger, tag: str, api: AdminApi, at: str
    ) -> None:
        transaction = (await raw.start(tag))["transactionId"]
        await raw.meter(minute(10), "800", transaction=transaction)
        assert (await raw.meter(at, "900", transaction=transaction))[0] == 3
        await raw.meter(minute(20), "1600", transaction=transaction)
        await raw.stop(transaction, 2000, at=minute(30))
        session = await api.transaction(transaction)
        assert (session["energy_wh"], session["stopped_at"]) == (2000, minute(30))
        assert "clock_out_of_range" in kinds(session)

    async def test_a_stray_time_in_the_future_is_not_when_we_say_the_session_ended(
        self, raw: RawCharger, tag: str, api: AdminApi
    ) -> None:
        now = datetime.now(UTC).replace(microsecond=0)
        transaction = (await raw.start(tag, at=now.isoformat()))["transactionId"]
        await raw.meter("2099-01-01T00:00:00Z", "900", transaction=transaction)
        await raw.start(tag, meter=5000, at=(now + timedelta(hours=1)).isoformat())
        session = await api.transaction(transaction)
        assert session["stop_reason"] == "ReplacedByNewStart"
        assert datetime.fromisoformat(session["stopped_at"]) < now + timedelta(days=1)

    async def test_a_value_without_measurand_is_the_import_register_in_wh(
        self, raw: RawCharger, tag: str, api: AdminApi
    ) -> None:
        transaction = (await raw.start(tag))["transactionId"]
        await raw.meter(minute(10), "800", transaction=transaction)
        [value] = await api.meter_values(transaction)
        [sampled] = value["values"]
        assert (sampled["measurand"], sampled["unit"]) == ("Energy.Active.Import.Register", "Wh")
        assert value["register_wh"] == 800

    async def test_values_outside_of_a_transaction_are_kept(
        self, server: RunningServer, raw: RawCharger, row: Charger
    ) -> None:
        assert (await raw.meter(minute(10), "800"))[0] == 3

        async def stored() -> int:
            async with server.database.engine.connect() as connection:
                found = await connection.exec_driver_sql(
                    "SELECT count(*) FROM charging_meter_value"
                    " WHERE charger_id = %s AND transaction_id IS NULL",
                    (row.id,),
                )
                return int(found.scalar_one())

        assert await until(stored) == 1

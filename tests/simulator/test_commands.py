"""Every command of the central system, answered and followed."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from ocpp.v16 import call
from tests.simulator.central import Central
from tests.simulator.conftest import MakeStation

from ohmstead_simulator.car import Car
from ohmstead_simulator.clock import ManualClock
from ohmstead_simulator.spec import ChargerSpec
from ohmstead_simulator.state import wire_time
from ohmstead_simulator.station import password_of


async def status_of(central: Central, request: Any, charger_id: str = "CP1") -> str:
    """The status that the charge point answers."""
    return str((await central.command(charger_id, request)).status)


class TestStartAndStop:
    async def test_a_remote_start_waits_for_the_car_and_a_remote_stop_ends_it(
        self, central: Central, clock: ManualClock, make_station: MakeStation
    ) -> None:
        station = await make_station()
        assert (
            await status_of(central, call.RemoteStartTransaction(id_tag="APP", connector_id=1)) == "Accepted"
        )
        await clock.advance(10)
        assert station.connectors[1].status == "Preparing"
        await station.plug()
        assert central.of("StartTransaction")[0].payload["idTag"] == "APP"
        assert await status_of(central, call.RemoteStopTransaction(transaction_id=5)) == "Rejected"
        assert await status_of(central, call.RemoteStopTransaction(transaction_id=1001)) == "Accepted"
        await clock.advance(1)
        assert central.of("StopTransaction")[0].payload["reason"] == "Remote"

    async def test_a_remote_start_whose_car_does_not_come_is_given_up(
        self, central: Central, clock: ManualClock, make_station: MakeStation
    ) -> None:
        station = await make_station()
        await status_of(central, call.RemoteStartTransaction(id_tag="APP"))
        await clock.advance(61)
        assert station.connectors[1].status == "Available"
        assert station.connectors[1].awaited_tag is None

    async def test_a_remote_start_prefers_the_connector_with_a_car_and_is_refused_where_none_is_free(
        self, central: Central, clock: ManualClock, make_station: MakeStation
    ) -> None:
        station = await make_station(ChargerSpec("CP1", connectors=2))
        await station.plug(2)
        assert await status_of(central, call.RemoteStartTransaction(id_tag="APP")) == "Accepted"
        await clock.advance(1)
        assert central.of("StartTransaction")[0].payload["connectorId"] == 2
        assert await status_of(central, call.RemoteStartTransaction(id_tag="B", connector_id=2)) == "Rejected"
        assert await status_of(central, call.RemoteStartTransaction(id_tag="B", connector_id=9)) == "Rejected"

    async def test_a_remote_start_with_a_profile_charges_under_it(
        self, central: Central, clock: ManualClock, make_station: MakeStation
    ) -> None:
        station = await make_station()
        await station.plug(1, Car(soc=10))
        profile = tx_profile(3000)
        request = call.RemoteStartTransaction(id_tag="APP", connector_id=1, charging_profile=profile)
        assert await status_of(central, request) == "Accepted"
        await clock.advance(1)
        assert station.connectors[1].power_w == 3000

    async def test_authorize_remote_tx_requests_asks_first(
        self, central: Central, clock: ManualClock, make_station: MakeStation
    ) -> None:
        central.tags["BAD"] = "Blocked"
        station = await make_station(ChargerSpec("CP1", configuration={"AuthorizeRemoteTxRequests": "true"}))
        await station.plug()
        await status_of(central, call.RemoteStartTransaction(id_tag="BAD"))
        await clock.advance(1)
        assert len(central.of("Authorize")) == 1
        assert central.of("StartTransaction") == []


class TestOperation:
    @pytest.mark.parametrize(("kind", "reason"), [("Soft", "SoftReset"), ("Hard", "HardReset")])
    async def test_a_reset_ends_the_transaction_with_its_reason_and_boots(
        self, central: Central, clock: ManualClock, make_station: MakeStation, kind: str, reason: str
    ) -> None:
        station = await make_station()
        await station.plug()
        await station.start(1, "TAG")
        assert await status_of(central, call.Reset(type=kind)) == "Accepted"
        await clock.advance(20)
        assert central.of("StopTransaction")[0].payload["reason"] == reason
        assert len(central.of("BootNotification")) == 2
        assert station.registered
        assert central.of("SecurityEventNotification")[0].payload["type"] == "StartupOfTheDevice"

    async def test_unlocking_ends_the_transaction_and_is_not_for_fixed_cables(
        self, central: Central, clock: ManualClock, make_station: MakeStation
    ) -> None:
        station = await make_station()
        await make_station(ChargerSpec("DC", current="DC"))
        await station.plug()
        await station.start(1, "TAG")
        assert await status_of(central, call.UnlockConnector(connector_id=1)) == "Unlocked"
        await clock.advance(1)
        assert central.of("StopTransaction")[0].payload["reason"] == "UnlockCommand"
        assert await status_of(central, call.UnlockConnector(connector_id=4)) == "NotSupported"
        assert await status_of(central, call.UnlockConnector(connector_id=1), "DC") == "NotSupported"

    async def test_availability_waits_for_the_end_of_the_transaction(
        self, central: Central, clock: ManualClock, make_station: MakeStation
    ) -> None:
        station = await make_station(ChargerSpec("CP1", connectors=2))
        await station.plug(1)
        await station.start(1, "TAG")
        off = call.ChangeAvailability(connector_id=0, type="Inoperative")
        assert await status_of(central, off) == "Scheduled"
        await clock.advance(1)
        assert (station.connectors[1].status, station.connectors[2].status) == ("Charging", "Unavailable")
        await station.stop()
        assert station.connectors[1].status == "Unavailable"
        assert await status_of(central, call.RemoteStartTransaction(id_tag="A")) == "Rejected"
        on = call.ChangeAvailability(connector_id=2, type="Operative")
        assert await status_of(central, on) == "Accepted"
        await clock.advance(1)
        assert station.connectors[2].status == "Available"
        bad = call.ChangeAvailability(connector_id=3, type="Operative")
        assert await status_of(central, bad) == "Rejected"

    async def test_a_changed_interval_holds_at_once(
        self, central: Central, clock: ManualClock, make_station: MakeStation
    ) -> None:
        station = await make_station()
        await station.plug()
        await station.start(1, "TAG")
        for key, value in (("HeartbeatInterval", "20"), ("MeterValueSampleInterval", "5")):
            assert await status_of(central, call.ChangeConfiguration(key=key, value=value)) == "Accepted"
        await clock.advance(41)
        assert len(central.of("Heartbeat")) == 2
        assert len(central.of("MeterValues")) == 8
        answer = await central.command("CP1", call.GetConfiguration(key=["HeartbeatInterval", "Nope"]))
        assert answer.configuration_key == [{"key": "HeartbeatInterval", "readonly": False, "value": "20"}]
        assert answer.unknown_key == ["Nope"]

    async def test_a_new_password_is_used_at_once(
        self, central: Central, clock: ManualClock, make_station: MakeStation
    ) -> None:
        station = await make_station(ChargerSpec("CP1", password="old"))
        request = call.ChangeConfiguration(key="AuthorizationKey", value="a new and long password")
        assert await status_of(central, request) == "Accepted"
        await clock.advance(1)
        await central.until(lambda: len(central.handshakes) == 2)
        assert (
            central.handshakes[0].headers["Authorization"] != central.handshakes[1].headers["Authorization"]
        )
        assert station.password == "a new and long password"

    def test_a_password_of_hexadecimal_digits_is_bytes(self) -> None:
        assert password_of("00ff" * 8) == bytes.fromhex("00ff" * 8)
        assert password_of("not hexadecimal") == "not hexadecimal"

    async def test_the_cache_is_cleared(self, central: Central, make_station: MakeStation) -> None:
        station = await make_station()
        await station.authorize("TAG")
        assert await status_of(central, call.ClearCache()) == "Accepted"
        await station.offline()
        assert await station.authorize("TAG") == "Invalid"

    async def test_data_transfer_knows_its_vendor_and_echoes(
        self, central: Central, make_station: MakeStation
    ) -> None:
        station = await make_station()
        echo = call.DataTransfer(vendor_id="Ohmstead", message_id="echo", data="hi")
        assert (await central.command("CP1", echo)).data == "hi"
        assert await status_of(central, call.DataTransfer(vendor_id="Else")) == "UnknownVendorId"
        assert await status_of(central, call.DataTransfer(vendor_id="Ohmstead")) == "UnknownMessageId"
        assert await station.data_transfer("Ohmstead", "hello") == "Accepted"

    @pytest.mark.parametrize(
        "message",
        [
            "BootNotification",
            "DiagnosticsStatusNotification",
            "FirmwareStatusNotification",
            "Heartbeat",
            "MeterValues",
            "StatusNotification",
        ],
    )
    async def test_a_triggered_message_comes_after_the_answer(
        self, central: Central, clock: ManualClock, make_station: MakeStation, message: str
    ) -> None:
        await make_station()
        before = len(central.received)
        assert await status_of(central, call.TriggerMessage(requested_message=message)) == "Accepted"
        await clock.advance(0)
        assert {one.action for one in central.received[before:]} == {message}
        missing = call.TriggerMessage(requested_message=message, connector_id=5)
        assert await status_of(central, missing) == "Rejected"

    async def test_commands_do_not_wait_for_an_answer_that_does_not_come(
        self, central: Central, make_station: MakeStation
    ) -> None:
        station = await make_station()
        central.silent = {"Heartbeat"}
        waiting = asyncio.create_task(station.heartbeat())
        await central.until(lambda: bool(central.of("Heartbeat")))
        assert (await central.command("CP1", call.GetLocalListVersion())).list_version == 0
        waiting.cancel()


class TestReservation:
    async def reserve(
        self, central: Central, clock: ManualClock, number: int = 7, seconds: float = 600
    ) -> str:
        return await status_of(
            central,
            call.ReserveNow(
                connector_id=1,
                expiry_date=wire_time(clock.now() + timedelta(seconds=seconds)),
                id_tag="MINE",
                reservation_id=number,
            ),
        )

    async def test_a_reservation_holds_the_connector_for_its_tag(
        self, central: Central, clock: ManualClock, make_station: MakeStation
    ) -> None:
        station = await make_station()
        assert await self.reserve(central, clock) == "Accepted"
        await clock.advance(1)
        assert station.connectors[1].status == "Reserved"
        assert await self.reserve(central, clock, number=8) == "Occupied"
        assert await status_of(central, call.RemoteStartTransaction(id_tag="OTHER")) == "Rejected"
        await station.plug()
        await station.authorize("MINE", 1)
        await station.start(1)
        assert central.of("StartTransaction")[0].payload["reservationId"] == 7
        assert station.connectors[1].reservation is None

    async def test_a_reservation_expires_or_is_cancelled(
        self, central: Central, clock: ManualClock, make_station: MakeStation
    ) -> None:
        station = await make_station()
        await self.reserve(central, clock, seconds=60)
        await clock.advance(61)
        assert station.connectors[1].status == "Available"
        await self.reserve(central, clock)
        assert await status_of(central, call.CancelReservation(reservation_id=99)) == "Rejected"
        assert await status_of(central, call.CancelReservation(reservation_id=7)) == "Accepted"
        await clock.advance(1)
        assert station.connectors[1].status == "Available"

    async def test_the_state_of_the_connector_decides(
        self, central: Central, clock: ManualClock, make_station: MakeStation
    ) -> None:
        station = await make_station()
        assert await self.reserve(central, clock, seconds=-1) == "Rejected"
        await station.fault(1, "GroundFailure")
        assert await self.reserve(central, clock) == "Faulted"
        await station.clear_fault(1)
        await station.plug()
        assert await self.reserve(central, clock) == "Occupied"


class TestLocalList:
    async def send(self, central: Central, version: int, kind: str, **tags: str | None) -> str:
        entries = [
            {"id_tag": tag} | ({"id_tag_info": {"status": status}} if status else {})
            for tag, status in tags.items()
        ]
        return await status_of(
            central,
            call.SendLocalList(list_version=version, update_type=kind, local_authorization_list=entries),
        )

    async def test_full_replaces_and_differential_changes(
        self, central: Central, make_station: MakeStation
    ) -> None:
        station = await make_station()
        assert await self.send(central, 3, "Full", A="Accepted", B="Blocked") == "Accepted"
        assert await self.send(central, 3, "Differential", C="Accepted") == "VersionMismatch"
        assert await self.send(central, 4, "Differential", A=None, C="Accepted") == "Accepted"
        assert set(station.local_list) == {"B", "C"}
        assert (await central.command("CP1", call.GetLocalListVersion())).list_version == 4
        assert await self.send(central, 0, "Full") == "Failed"
        await station.offline()
        assert [await station.authorize(tag) for tag in "ABC"] == ["Invalid", "Blocked", "Accepted"]

    async def test_a_list_that_is_switched_off_has_version_minus_one(
        self, central: Central, make_station: MakeStation
    ) -> None:
        await make_station(ChargerSpec("CP1", configuration={"LocalAuthListEnabled": "false"}))
        assert await self.send(central, 1, "Full") == "NotSupported"
        assert (await central.command("CP1", call.GetLocalListVersion())).list_version == -1


def tx_profile(watts: float, purpose: str = "TxProfile") -> dict[str, Any]:
    return {
        "charging_profile_id": 1,
        "stack_level": 0,
        "charging_profile_purpose": purpose,
        "charging_profile_kind": "Relative",
        "charging_schedule": {
            "charging_rate_unit": "W",
            "charging_schedule_period": [{"start_period": 0, "limit": watts}],
        },
    }


class TestSmartCharging:
    async def test_a_limit_really_reduces_the_power_and_zero_suspends(
        self, central: Central, clock: ManualClock, make_station: MakeStation
    ) -> None:
        station = await make_station()
        plug = station.connectors[1]
        refused = call.SetChargingProfile(connector_id=1, cs_charging_profiles=tx_profile(4000))
        assert await status_of(central, refused) == "Rejected"
        await station.plug(1, Car(soc=10, ac_max_kw=11))
        await station.start(1, "TAG")
        await clock.advance(360)
        before = plug.register_wh
        assert await status_of(central, refused) == "Accepted"
        await clock.advance(360)
        assert plug.register_wh - before == pytest.approx(400, abs=1)
        zero = call.SetChargingProfile(connector_id=1, cs_charging_profiles=tx_profile(0))
        assert await status_of(central, zero) == "Accepted"
        await clock.advance(1)
        assert plug.status == "SuspendedEVSE"
        assert await status_of(central, call.ClearChargingProfile(id=1)) == "Accepted"
        await clock.advance(1)
        assert plug.status == "Charging"
        assert await status_of(central, call.ClearChargingProfile(id=1)) == "Unknown"

    async def test_the_composite_schedule_tells_what_holds(
        self, central: Central, make_station: MakeStation
    ) -> None:
        await make_station(ChargerSpec("CP1", max_kw=22))
        profile = tx_profile(4200.5, "TxDefaultProfile")
        await central.command("CP1", call.SetChargingProfile(connector_id=0, cs_charging_profiles=profile))
        answer = await central.command("CP1", call.GetCompositeSchedule(connector_id=1, duration=300))
        assert answer.status == "Accepted"
        period = answer.charging_schedule["charging_schedule_period"][0]
        assert (period["start_period"], float(period["limit"])) == (0, 4200.5)
        amps = call.GetCompositeSchedule(connector_id=1, duration=300, charging_rate_unit="A")
        answer = await central.command("CP1", amps)
        assert float(answer.charging_schedule["charging_schedule_period"][0]["limit"]) == 6.1
        bad = call.GetCompositeSchedule(connector_id=9, duration=300)
        assert await status_of(central, bad) == "Rejected"

"""Power, connection, registration, and the queue of what could not be sent."""

import asyncio
import base64
from http import HTTPStatus
from typing import Any

import pytest
from tests.simulator.central import Central
from tests.simulator.conftest import MakeStation

from ohmstead_simulator.car import Car
from ohmstead_simulator.clock import ManualClock, ScaledClock
from ohmstead_simulator.errors import CallFailed, Refused
from ohmstead_simulator.events import Event
from ohmstead_simulator.link import Backoff, charger_url
from ohmstead_simulator.spec import ChargerSpec
from ohmstead_simulator.station import SimulatedStation

QUEUED = ("StartTransaction", "MeterValues", "StopTransaction")


def simulator_tasks() -> set[asyncio.Task[Any]]:
    """The tasks of the simulator alone: a server of other tests may live in the same loop."""
    files = {task: getattr(task.get_coro(), "cr_code", None) for task in asyncio.all_tasks()}
    return {task for task, code in files.items() if code and "ohmstead_simulator" in code.co_filename}


class TestHandshake:
    async def test_identity_password_and_subprotocol_are_those_of_ocpp_j(
        self, central: Central, make_station: MakeStation
    ) -> None:
        station = await make_station(ChargerSpec("DE*ABC/1 x", password="pässword"), boot=False)
        request = central.handshakes[0]
        assert request.path == "/ocpp/DE%2AABC%2F1%20x"
        assert request.headers["Sec-WebSocket-Protocol"] == "ocpp1.6"
        kind, secret = request.headers["Authorization"].split()
        assert kind == "Basic"
        assert base64.b64decode(secret).decode() == "DE*ABC/1 x:pässword"
        assert station.connected

    async def test_without_a_password_there_is_no_authorization(
        self, central: Central, make_station: MakeStation
    ) -> None:
        await make_station(boot=False)
        assert "Authorization" not in central.handshakes[0].headers

    async def test_a_refusal_says_why(self, central: Central) -> None:
        central.refuse = HTTPStatus.UNAUTHORIZED
        with pytest.raises(Refused, match=r"HTTP 401 \(wrong or missing password\)") as refusal:
            await SimulatedStation(central.url, "CP1").connect()
        assert refusal.value.status == 401

    @pytest.mark.parametrize("url", ["ws://127.0.0.1:1/ocpp", "http://nothing", "ws://"])
    async def test_an_address_where_nobody_listens_is_refused(self, url: str) -> None:
        with pytest.raises(Refused):
            await SimulatedStation(url, "CP1").connect()

    def test_a_trailing_slash_of_the_address_does_not_matter(self) -> None:
        assert charger_url("ws://h/ocpp/", "A B") == charger_url("ws://h/ocpp", "A B") == "ws://h/ocpp/A%20B"


class TestBoot:
    async def test_boot_reports_the_charger_and_each_connector(
        self, central: Central, make_station: MakeStation
    ) -> None:
        await make_station(ChargerSpec("CP1", connectors=2))
        assert central.actions() == ["BootNotification", *["StatusNotification"] * 3]
        assert [one.payload["connectorId"] for one in central.of("StatusNotification")] == [0, 1, 2]

    async def test_pending_and_rejected_wait_and_ask_again_and_send_nothing_else(
        self, central: Central, clock: ManualClock, make_station: MakeStation
    ) -> None:
        central.boot_statuses, central.interval = ["Rejected"], 90
        station = await make_station()
        assert (station.boot_status, station.registered) == ("Rejected", False)
        await station.plug()
        await clock.advance(89)
        assert central.actions() == ["BootNotification"]
        await clock.advance(2)
        assert station.registered
        assert central.actions()[:2] == ["BootNotification", "BootNotification"]
        assert central.of("StatusNotification")[1].payload["status"] == "Preparing"

    async def test_a_boot_that_fails_is_tried_again(
        self, central: Central, clock: ManualClock, make_station: MakeStation
    ) -> None:
        central.failing = {"BootNotification"}
        station = await make_station(boot=False)
        with pytest.raises(CallFailed, match="InternalError"):
            await station.boot()
        central.failing = set()
        await clock.advance(31)
        assert station.registered

    async def test_heartbeats_come_at_the_interval_of_the_central_system(
        self, central: Central, clock: ManualClock, make_station: MakeStation
    ) -> None:
        central.interval = 60
        await make_station()
        await clock.advance(185)
        assert len(central.of("Heartbeat")) == 3

    async def test_the_clock_is_set_by_the_central_system_and_drifts(self, central: Central) -> None:
        true = ManualClock(true_time=True)
        central.now = true.now
        station = SimulatedStation(
            central.url, ChargerSpec("CP1", clock_start=true.now().replace(year=1970)), clock=true
        )
        await station.connect()
        assert station.now().year == 1970
        await station.boot()
        assert station.now() == true.now()
        station.drift(100)
        await station.status(1, "Available")
        assert central.of("StatusNotification")[-1].payload["timestamp"] == "2026-01-01T12:01:40.000Z"
        await station.heartbeat()
        assert station.now() == true.now()
        await station.close()

    async def test_a_charger_without_a_clock_begins_at_1970_with_each_power_up(
        self, central: Central, clock: ManualClock, make_station: MakeStation
    ) -> None:
        start = clock.now().replace(year=1970)
        station = await make_station(ChargerSpec("CP1", clock_start=start, sync_clock=False))
        for _ in range(2):
            await station.plug()
            await station.start(1, "TAG")
            await station.stop()
            await station.unplug()
            await station.cut_power()
            await clock.advance(3600)
            await station.restore_power()
        times = [one.payload["timestamp"] for one in central.of("StartTransaction")]
        assert times[0] == times[1] == "1970-01-01T12:00:00.000Z"


class TestQueue:
    async def test_what_happened_offline_arrives_in_order_with_its_own_times_and_new_ids(
        self, central: Central, clock: ManualClock, make_station: MakeStation
    ) -> None:
        station = await make_station()
        await station.plug()
        await station.authorize("TAG", 1)
        await station.start(1)
        await clock.advance(60)
        await station.offline()
        await clock.advance(90)
        await station.stop()
        await station.unplug()
        await station.plug(1, Car())
        assert await station.authorize("TAG", 1) == "Accepted"  # from the cache
        assert await station.start(1) is None
        await clock.advance(60)
        before = len(central.received)
        assert len(station.queue) == 4
        await station.online()
        await clock.advance(1)

        late = [one for one in central.received[before:] if one.action in QUEUED]
        assert [one.action for one in late] == [
            "MeterValues",
            "StopTransaction",
            "StartTransaction",
            "MeterValues",
        ]
        times = [
            "2026-01-01T12:02:00.000Z",
            "2026-01-01T12:02:30.000Z",
            "2026-01-01T12:02:30.000Z",
            "2026-01-01T12:03:30.000Z",
        ]
        assert [
            one.payload["meterValue"][0]["timestamp"]
            if one.action == "MeterValues"
            else one.payload["timestamp"]
            for one in late
        ] == times
        assert [one.payload.get("transactionId") for one in late] == [1001, 1001, None, 1002]
        assert len({one.message_id for one in central.received}) == len(central.received)
        assert "BootNotification" not in [one.action for one in central.received[before:]]
        assert len(station.queue) == 0

    async def test_a_start_without_an_answer_is_sent_again_with_the_same_time(
        self, central: Central, clock: ManualClock, make_station: MakeStation
    ) -> None:
        station = await make_station()
        await station.plug()
        central.silent = {"StartTransaction"}
        starting = asyncio.create_task(station.start(1, "TAG"))
        await central.until(lambda: bool(central.of("StartTransaction")))
        await station.offline()
        assert await starting is None
        central.silent = set()
        await clock.advance(30)
        await station.online()
        await clock.advance(1)
        first, second = central.of("StartTransaction")
        assert first.payload == second.payload
        assert first.message_id != second.message_id
        await station.stop()
        assert central.of("StopTransaction")[0].payload["transactionId"] == 1001

    async def test_a_refused_message_is_tried_as_often_as_configured_and_then_given_up(
        self, central: Central, clock: ManualClock, make_station: MakeStation
    ) -> None:
        told: list[Event] = []
        spec = ChargerSpec(
            "CP1", configuration={"TransactionMessageAttempts": "3", "TransactionMessageRetryInterval": "10"}
        )
        station = await make_station(spec, on_event=told.append)
        await station.plug()
        await station.start(1, "TAG")
        central.failing = {"MeterValues"}
        await clock.advance(61)
        assert len(central.of("MeterValues")) == 1
        await clock.advance(9)
        assert len(central.of("MeterValues")) == 2
        await clock.advance(20)
        assert len(central.of("MeterValues")) == 3
        assert [event.detail for event in told if event.kind == "error"] == [
            "MeterValues given up: InternalError: not now"
        ]
        central.failing = set()
        await station.stop()
        assert central.of("StopTransaction")[0].payload["transactionId"] == 1001

    async def test_offline_decides_by_the_cache_and_the_configuration(
        self, make_station: MakeStation
    ) -> None:
        station = await make_station()
        await station.authorize("KNOWN")
        await station.offline()
        assert await station.authorize("KNOWN") == "Accepted"
        assert await station.authorize("STRANGER") == "Invalid"
        station.configuration.change("AllowOfflineTxForUnknownId", "true")
        assert await station.authorize("STRANGER") == "Accepted"


class TestPower:
    async def test_a_power_cut_stops_the_transaction_at_the_time_of_the_cut(
        self, central: Central, clock: ManualClock, make_station: MakeStation
    ) -> None:
        station = await make_station()
        await station.plug()
        await station.start(1, "TAG")
        await clock.advance(90)
        await station.cut_power()
        register = station.connectors[1].register_wh
        await clock.advance(600)
        await station.restore_power()
        await clock.advance(1)
        stop = central.of("StopTransaction")[0]
        assert stop.payload["reason"] == "PowerLoss"
        assert stop.payload["timestamp"] == "2026-01-01T12:01:30.000Z"
        assert stop.payload["meterStop"] == round(register)
        after = central.actions()[central.actions().index("StartTransaction") :]
        assert after.index("BootNotification") < after.index("StopTransaction")

    async def test_a_meter_without_memory_begins_at_zero_and_the_charge_goes_on(
        self, central: Central, clock: ManualClock, make_station: MakeStation
    ) -> None:
        station = await make_station(ChargerSpec("CP1", quirks=frozenset({"register_reset"})))
        await station.plug()
        await station.start(1, "TAG")
        await clock.advance(90)
        await station.cut_power()
        await station.restore_power()
        await clock.advance(120)
        await station.stop()
        start, stop = central.of("StartTransaction")[0].payload, central.of("StopTransaction")[0].payload
        assert stop["transactionId"] == 1001
        assert 0 < stop["meterStop"] < start["meterStart"]

    async def test_message_ids_begin_again_with_each_boot_where_the_quirk_says_so(
        self, central: Central, clock: ManualClock, make_station: MakeStation
    ) -> None:
        station = await make_station(ChargerSpec("CP1", quirks=frozenset({"repeated_ids"})))
        await station.cut_power()
        await station.restore_power()
        ids = [one.message_id for one in central.of("BootNotification")]
        assert ids == ["1", "1"]

    async def test_a_reboot_without_network_boots_when_the_network_is_back(
        self, central: Central, clock: ManualClock, make_station: MakeStation
    ) -> None:
        station = await make_station()
        await station.offline()
        await station.cut_power()
        await station.restore_power()
        assert len(central.of("BootNotification")) == 1
        await station.online()
        await clock.advance(1)
        assert len(central.of("BootNotification")) == 2
        assert station.registered


class TestReconnect:
    async def test_a_charger_comes_back_by_itself_when_the_central_system_does(self) -> None:
        central = Central()
        told: list[str] = []
        async with central.serving() as server:
            port = server.sockets[0].getsockname()[1]
            station = SimulatedStation(
                central.url,
                "CP1",
                clock=ScaledClock(60),
                keep_connected=True,
                backoff_first=0.02,
                on_event=lambda event: told.append(event.kind),
            )
            await station.connect()
            await station.boot()
            await station.plug()
            await station.start(1, "TAG")
        await central.until(lambda: told.count("connect_failed") >= 2)
        await central.until(lambda: len(station.queue) > 0)
        async with central.serving(port):
            await central.until(lambda: station.connected and len(station.queue) == 0)
            await station.close()
        assert len(central.of("BootNotification")) == 1
        assert len(central.of("MeterValues")) > 0

    async def test_offline_on_purpose_stays_offline(self, central: Central) -> None:
        station = SimulatedStation(central.url, "CP1", keep_connected=True, backoff_first=0.01)
        await station.connect()
        await station.boot()
        await station.offline()
        await asyncio.sleep(0.1)  # several times the delay of a reconnect
        assert len(central.handshakes) == 1
        await station.online()
        assert station.connected
        await station.close()

    def test_delays_double_up_to_the_cap_and_scatter(self) -> None:
        station = SimulatedStation("ws://x", "CP1", seed=3)
        backoff = Backoff(station.rng, first=1, cap=60)
        delays = [backoff.next() for _ in range(12)]
        for number, delay in enumerate(delays):
            ceiling = min(60, 2**number)
            assert ceiling / 2 <= delay <= ceiling
        assert len(set(delays)) == 12
        backoff.reset()
        assert backoff.next() <= 1

    async def test_closing_leaves_nothing_behind(self, central: Central, clock: ManualClock) -> None:
        before = simulator_tasks()
        station = SimulatedStation(central.url, "CP1", clock=clock, keep_connected=True)
        await station.connect()
        await station.boot()
        await station.plug()
        await station.start(1, "TAG")
        await station.retire()
        assert central.of("StopTransaction")[0].payload["transactionId"] == 1001
        await central.until(lambda: simulator_tasks() <= before)


class TestQuirks:
    async def test_states_come_before_the_boot_is_answered(
        self, central: Central, make_station: MakeStation
    ) -> None:
        central.silent = {"BootNotification"}
        station = await make_station(ChargerSpec("CP1", quirks=frozenset({"status_before_boot"})), boot=False)
        booting = asyncio.create_task(station.boot())
        await central.until(lambda: central.actions() == ["BootNotification", "StatusNotification"])
        booting.cancel()

    async def test_a_pipelining_charger_boots_and_meters(
        self, central: Central, clock: ManualClock, make_station: MakeStation
    ) -> None:
        quirks = frozenset({"pipelined", "no_timestamp", "status_before_start", "status_before_boot"})
        station = await make_station(ChargerSpec("CP1", connectors=2, quirks=quirks))
        await station.plug()
        await station.start(1, "TAG")
        await clock.advance(61)
        assert central.actions()[-2:] == ["MeterValues", "Heartbeat"]
        assert all("timestamp" not in one.payload for one in central.of("StatusNotification"))
        actions = [one.payload.get("status", one.action) for one in central.received]
        assert actions.index("Charging") < actions.index("StartTransaction")

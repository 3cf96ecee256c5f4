"""A charger that is no work of ours: PyPI `ocpp` on `websockets`, against the real server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from ocpp.routing import on
from ocpp.v16 import ChargePoint, call, call_result
from tests.chargers import basic, until
from tests.conftest import SECRET
from tests.running import RunningServer
from tests.world import World
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from ohmstead.accounts.passwords import secret_hash
from ohmstead.stations.models import Charger

BEGIN = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


def minute(number: int) -> str:
    return (BEGIN + timedelta(minutes=number)).isoformat()


class Station(ChargePoint):  # type: ignore[misc]  # the ocpp package has no types
    """It charges when it is asked to, and remembers what it was asked."""

    def __init__(self, identity: str, socket: Any) -> None:
        super().__init__(identity, socket, response_timeout=15)
        self.asked: list[tuple[str, dict[str, Any]]] = []

    @on("RemoteStartTransaction")  # type: ignore[untyped-decorator]  # as above
    async def on_remote_start(self, **payload: Any) -> Any:
        self.asked.append(("RemoteStartTransaction", payload))
        return call_result.RemoteStartTransaction(status="Accepted")

    @on("RemoteStopTransaction")  # type: ignore[untyped-decorator]  # as above
    async def on_remote_stop(self, **payload: Any) -> Any:
        self.asked.append(("RemoteStopTransaction", payload))
        return call_result.RemoteStopTransaction(status="Rejected")

    @on("GetConfiguration")  # type: ignore[untyped-decorator]  # as above
    async def on_get_configuration(self, **payload: Any) -> Any:
        self.asked.append(("GetConfiguration", payload))
        known = [{"key": "HeartbeatInterval", "readonly": False, "value": "300"}]
        return call_result.GetConfiguration(configuration_key=known, unknown_key=["Colour"])

    @on("ChangeAvailability")  # type: ignore[untyped-decorator]  # as above
    async def on_change_availability(self, **payload: Any) -> Any:
        self.asked.append(("ChangeAvailability", payload))
        return call_result.ChangeAvailability(status="Scheduled")

    @on("GetCompositeSchedule")  # type: ignore[untyped-decorator]  # as above
    async def on_get_composite_schedule(self, **_: Any) -> Any:
        schedule = {
            "duration": 600,
            "charging_rate_unit": "A",
            "charging_schedule_period": [{"start_period": 0, "limit": 16.1}],
        }
        return call_result.GetCompositeSchedule(status="Accepted", connector_id=1, charging_schedule=schedule)


@asynccontextmanager
async def station(server: RunningServer, row: Charger, password: bytes) -> AsyncIterator[Station]:
    socket = await connect(
        f"{server.ws}/ocpp/{row.id}",
        subprotocols=[Subprotocol("ocpp1.6")],
        additional_headers=basic(row.id.encode(), password),
        proxy=None,
    )
    async with socket:
        peer = Station(row.id, socket)
        reading = asyncio.create_task(peer.start())
        try:
            yield peer
        finally:
            reading.cancel()


@pytest.fixture
async def row(server_world: World) -> Charger:
    return await server_world.charger(security_profile=1, password_hash=secret_hash(b"a password", SECRET))


@pytest.fixture
async def peer(server: RunningServer, row: Charger) -> AsyncIterator[Station]:
    async with station(server, row, b"a password") as peer:
        yield peer


@pytest.fixture
async def admin(server: RunningServer, server_world: World) -> AsyncIterator[httpx.AsyncClient]:
    user = await server_world.admin()
    url = f"{server.http}/api/admin"
    async with httpx.AsyncClient(base_url=url, headers=user.headers, trust_env=False, timeout=20) as client:
        yield client


async def test_a_charge_from_boot_to_stop(
    peer: Station, row: Charger, server_world: World, admin: httpx.AsyncClient
) -> None:
    token = await server_world.token(row.backoffice_id)
    boot = await peer.call(
        call.BootNotification(charge_point_vendor="Peer", charge_point_model="P1", firmware_version="1.2")
    )
    assert (boot.status, boot.interval) == ("Accepted", 300)
    assert datetime.fromisoformat(boot.current_time).tzinfo is not None
    for connector in (0, 1):
        await peer.call(
            call.StatusNotification(connector_id=connector, error_code="NoError", status="Available")
        )
    assert (await peer.call(call.Heartbeat())).current_time
    assert (await peer.call(call.Authorize(id_tag=token.id_tag))).id_tag_info["status"] == "Accepted"
    started = await peer.call(
        call.StartTransaction(connector_id=1, id_tag=token.id_tag, meter_start=1000, timestamp=minute(0))
    )
    assert started.id_tag_info["status"] == "Accepted"
    await peer.call(call.StatusNotification(connector_id=1, error_code="NoError", status="Charging"))
    for number in (10, 20, 30):
        sampled = [
            {"value": str(1000 + 100 * number), "unit": "Wh", "context": "Sample.Periodic"},
            {"value": "7.2", "unit": "kW", "measurand": "Power.Active.Import"},
        ]
        await peer.call(
            call.MeterValues(
                connector_id=1,
                transaction_id=started.transaction_id,
                meter_value=[{"timestamp": minute(number), "sampledValue": sampled}],
            )
        )
    live = (await admin.get(f"/transactions/{started.transaction_id}")).json()
    assert (live["status"], live["energy_wh"], live["power_w"]) == ("Active", 3000, 7200)
    shown = (await admin.get(f"/chargers/{row.id}")).json()
    assert (shown["vendor"], shown["model"], shown["firmware_version"]) == ("Peer", "P1", "1.2")
    assert (shown["online"], shown["connectors"][0]["status"]) == (True, "Charging")
    stopped = await peer.call(
        call.StopTransaction(
            transaction_id=started.transaction_id,
            meter_stop=4600,
            timestamp=minute(36),
            reason="EVDisconnected",
            id_tag=token.id_tag,
        )
    )
    assert stopped.id_tag_info["status"] == "Accepted"
    session = (await admin.get(f"/transactions/{started.transaction_id}")).json()
    assert (session["status"], session["energy_wh"], session["stop_reason"]) == (
        "Completed",
        3600,
        "EVDisconnected",
    )
    values = (await admin.get(f"/transactions/{started.transaction_id}/meter-values")).json()["items"]
    assert [one["register_wh"] for one in values] == [2000, 3000, 4000]


async def test_commands_reach_it_and_its_answers_come_back(
    peer: Station, row: Charger, admin: httpx.AsyncClient
) -> None:
    commands = f"/chargers/{row.id}"
    answer = await admin.post(f"{commands}/remote-start", json={"id_tag": "TAG", "connector_id": 1})
    assert answer.json() == {"status": "Accepted", "response": {"status": "Accepted"}}
    answer = await admin.post(f"{commands}/remote-stop", json={"transaction_id": 7})
    assert answer.json()["status"] == "Rejected"
    answer = await admin.post(
        f"{commands}/commands/GetConfiguration", json={"key": ["HeartbeatInterval", "Colour"]}
    )
    assert answer.json()["response"] == {
        "configurationKey": [{"key": "HeartbeatInterval", "readonly": False, "value": "300"}],
        "unknownKey": ["Colour"],
    }
    answer = await admin.post(f"{commands}/availability", json={"connector_id": 1, "operative": False})
    assert answer.json()["status"] == "Scheduled"
    answer = await admin.post(
        f"{commands}/commands/GetCompositeSchedule", json={"connectorId": 1, "duration": 600}
    )
    [period] = answer.json()["response"]["chargingSchedule"]["chargingSchedulePeriod"]
    assert period == {"startPeriod": 0, "limit": 16.1}
    assert peer.asked == [
        ("RemoteStartTransaction", {"connector_id": 1, "id_tag": "TAG"}),
        ("RemoteStopTransaction", {"transaction_id": 7}),
        ("GetConfiguration", {"key": ["HeartbeatInterval", "Colour"]}),
        ("ChangeAvailability", {"connector_id": 1, "type": "Inoperative"}),
    ]


async def test_a_command_that_it_does_not_know_is_a_call_error(
    peer: Station, row: Charger, admin: httpx.AsyncClient
) -> None:
    answer = await admin.post(f"/chargers/{row.id}/commands/ClearCache")
    assert (answer.json()["status"], answer.json()["error"]["code"]) == ("CallError", "NotImplemented")
    assert (await peer.call(call.Heartbeat())).current_time


async def test_its_reports_are_kept(peer: Station, row: Charger, admin: httpx.AsyncClient) -> None:
    await peer.call(call.FirmwareStatusNotification(status="Downloading"))
    await peer.call(call.DiagnosticsStatusNotification(status="Uploaded"))
    await peer.call(call.LogStatusNotification(status="Uploading", request_id=1))
    await peer.call(
        call.SecurityEventNotification(type="FirmwareUpdated", timestamp=minute(0), tech_info=None)
    )
    signing = await peer.call(call.SignCertificate(csr="-----BEGIN CERTIFICATE REQUEST-----"))
    assert signing.status == "Accepted"
    assert (await peer.call(call.DataTransfer(vendor_id="v"))).status == "UnknownVendorId"
    reports = (await admin.get(f"/chargers/{row.id}/reports")).json()["items"]
    assert [one["action"] for one in reports][::-1] == [
        "FirmwareStatusNotification",
        "DiagnosticsStatusNotification",
        "LogStatusNotification",
        "SecurityEventNotification",
        "SignCertificate",
        "DataTransfer",
    ]


async def test_it_comes_back_and_goes_on(
    server: RunningServer, row: Charger, admin: httpx.AsyncClient
) -> None:
    async with station(server, row, b"a password") as first:
        started = await first.call(
            call.StartTransaction(connector_id=1, id_tag="T", meter_start=0, timestamp=minute(0))
        )
    async with station(server, row, b"a password") as second:
        again = await second.call(
            call.StartTransaction(connector_id=1, id_tag="T", meter_start=0, timestamp=minute(0))
        )
        assert again.transaction_id == started.transaction_id
        await second.call(
            call.StopTransaction(transaction_id=again.transaction_id, meter_stop=900, timestamp=minute(9))
        )

    async def sessions() -> list[Any]:
        return list((await admin.get("/transactions", params={"charger": row.id})).json()["items"])

    [session] = await until(sessions)
    assert (session["energy_wh"], session["status"]) == (900, "Completed")

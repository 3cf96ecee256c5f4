"""Charge points of the npm registry, which are no work of ours, against the real server."""

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest
from tests.chargers import until
from tests.gateway.admin import AdminApi, admin_client
from tests.nodejs import installed, node
from tests.running import RunningServer
from tests.world import World

from ohmstead.accounts.passwords import secret_hash

FOLDER = Path(__file__).parent / "node"
PASSWORD = "correct-horse-9"
PACKAGES = ("ocpp_rpc", "ocpp_ts")
MANY, ROUNDS = 20, 3

COMMANDS = {
    "GetConfiguration": ({"key": ["HeartbeatInterval", "Colour"]}, "Accepted"),
    "ChangeConfiguration": ({"key": "HeartbeatInterval", "value": "60"}, "Accepted"),
    "ChangeAvailability": ({"connectorId": 1, "type": "Inoperative"}, "Scheduled"),
    "ClearCache": ({}, "Accepted"),
    "DataTransfer": ({"vendorId": "peer.example", "data": "ping"}, "Accepted"),
    "GetLocalListVersion": ({}, "Accepted"),
    "SendLocalList": ({"listVersion": 1, "updateType": "Full", "localAuthorizationList": []}, "Accepted"),
    "ReserveNow": (
        {"connectorId": 1, "expiryDate": "2026-05-04T13:00:00Z", "idTag": "TAG", "reservationId": 7},
        "Occupied",
    ),
    "CancelReservation": ({"reservationId": 7}, "Rejected"),
    "SetChargingProfile": (
        {
            "connectorId": 1,
            "csChargingProfiles": {
                "chargingProfileId": 1,
                "stackLevel": 0,
                "chargingProfilePurpose": "TxDefaultProfile",
                "chargingProfileKind": "Absolute",
                "chargingSchedule": {
                    "chargingRateUnit": "A",
                    "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 16.0}],
                },
            },
        },
        "Accepted",
    ),
    "ClearChargingProfile": ({"id": 99}, "Unknown"),
    "GetCompositeSchedule": ({"connectorId": 1, "duration": 600}, "Rejected"),
    "UpdateFirmware": (
        {"location": "http://files.example/fw.bin", "retrieveDate": "2026-05-04T12:30:00Z"},
        "Accepted",
    ),
    "GetDiagnostics": ({"location": "ftp://files.example/"}, "Accepted"),
    "UnlockConnector": ({"connectorId": 1}, "NotSupported"),
    "Reset": ({"type": "Soft"}, "Rejected"),
    "RemoteStartTransaction": ({"idTag": "TAG", "connectorId": 1}, "Rejected"),
    "TriggerMessage": ({"requestedMessage": "Heartbeat"}, "Accepted"),
}
"""Every command of OCPP 1.6 with what the peers answer; RemoteStopTransaction ends their story."""


async def charge(server: RunningServer, world: World, package: str, *, seconds: float) -> None:
    """Let a charge point run a session and take every command, with `seconds` for each part of its story."""
    charger = await world.charger(
        id=f"NPM-{uuid4().hex[:8]}",
        security_profile=1,
        password_hash=secret_hash(PASSWORD, key=server.settings.signing_key),
    )
    tag = (await world.token()).id_tag
    admin = await world.admin()
    async with (
        admin_client(server.http, admin.headers) as client,
        node(
            FOLDER / f"{package}.mjs",
            URL_BASE=f"{server.ws}/ocpp",
            IDENTITY=charger.id,
            PASSWORD=PASSWORD,
            TAG=tag,
        ) as peer,
    ):
        api = AdminApi(client)
        assert (await peer.until("booted", seconds))["status"] == "Accepted"
        assert await peer.until("authorized", seconds) == {
            "at": "authorized",
            "unknown": "Invalid",
            "known": "Accepted",
        }
        started = await peer.until("started", seconds)
        assert started["again"] == started["transactionId"]
        await peer.until("charging", seconds)
        for action, (payload, expected) in COMMANDS.items():
            answer = await client.post(f"/api/admin/chargers/{charger.id}/commands/{action}", json=payload)
            assert (answer.status_code, answer.json()["status"]) == (200, expected), (action, answer.text)
        unknown = await client.post(
            f"/api/admin/chargers/{charger.id}/commands/GetInstalledCertificateIds",
            json={"certificateType": "CentralSystemRootCertificate"},
        )
        assert (unknown.json()["status"], unknown.json()["error"]["code"]) == ("CallError", "NotImplemented")
        session = await api.transaction(started["transactionId"])
        assert (session["status"], session["energy_wh"], session["anomalies"]) == ("Active", 360, [])
        stop = await client.post(
            f"/api/admin/chargers/{charger.id}/remote-stop", json={"transaction_id": started["transactionId"]}
        )
        assert stop.json()["status"] == "Accepted"
        await peer.until("done", seconds)
        assert await peer.process.wait() == 0
        for action, (payload, _) in COMMANDS.items():
            assert peer.asked(action) == [payload], action
        session = await api.transaction(started["transactionId"])
        assert (session["status"], session["energy_wh"], session["stop_reason"]) == (
            "Completed",
            600,
            "Remote",
        )

        async def offline() -> bool:
            return (await api.charger(charger.id))["online"] is False

        await until(offline, seconds)
        messages = await api.messages(charger.id, direction="in")
        assert {one["error_code"] for one in messages} == {None}


@pytest.mark.parametrize("package", PACKAGES)
async def test_a_charge_point_of_npm_charges_and_takes_every_command(
    package: str, server: RunningServer, server_world: World
) -> None:
    installed(FOLDER)
    await charge(server, server_world, package, seconds=20)


@pytest.mark.prove
@pytest.mark.timeout(600)
@pytest.mark.parametrize("package", PACKAGES)
async def test_many_of_them_at_once_do_the_same_round_after_round(
    package: str, server: RunningServer, server_world: World
) -> None:
    installed(FOLDER)
    for _ in range(ROUNDS):
        async with asyncio.TaskGroup() as group:
            for _ in range(MANY):
                group.create_task(charge(server, server_world, package, seconds=120))

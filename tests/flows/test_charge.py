"""A whole story: a business signs in, sets up a place, and a car charges there until it is stopped."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from tests.chargers import RawCharger, basic, until
from tests.running import RunningServer
from tests.world import World
from websockets.asyncio.client import connect

from ohmstead.accounts.models import Role
from ohmstead.accounts.passwords import hash_password

PASSWORD = "a long enough password"


class Watcher:
    """The live socket: what was told so far, by kind."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket
        self.events: list[dict[str, Any]] = []

    async def until_event(self, kind: str, **data: Any) -> dict[str, Any]:
        """Wait for an event of this kind with these members."""
        async with asyncio.timeout(60):
            while True:
                message = json.loads(await self.socket.recv())
                if message["type"] != "event":
                    continue
                self.events.append(message)
                told: dict[str, Any] = message["data"]
                if message["kind"] == kind and data.items() <= told.items():
                    return told


async def signed_in(client: httpx.AsyncClient, email: str) -> dict[str, Any]:
    answer = await client.post("/api/auth/login", json={"username": email, "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    signed: dict[str, Any] = answer.json()
    client.headers["Authorization"] = f"Bearer {signed['accessToken']}"
    return signed


async def test_a_charge_from_the_first_sign_in_to_the_plot(
    server: RunningServer, server_world: World
) -> None:
    business = await server_world.backoffice("Sunny Parking")
    hashed = await hash_password(PASSWORD)
    owner = await server_world.user(Role.BACKOFFICE, business, password_hash=hashed)
    guard = await server_world.user(Role.OPERATOR, business, password_hash=hashed)
    async with (
        httpx.AsyncClient(base_url=server.http, trust_env=False, timeout=20) as office,
        httpx.AsyncClient(base_url=server.http, trust_env=False, timeout=20) as gate,
    ):
        # The owner signs in and sets up a station, a charger, a tag, and the operator's place of work.
        assert (await signed_in(office, owner.email))["role"] == "Backoffice"
        made = await office.post(
            "/api/admin/stations",
            json={"name": "Deck 2", "city": "Graz", "latitude": 47.07, "longitude": 15.44},
        )
        assert made.status_code == 201, made.text
        station = made.json()
        identity = f"DECK-{station['id'][:8]}"
        made = await office.post(
            "/api/admin/chargers",
            json={
                "id": identity,
                "station_id": station["id"],
                "security_profile": 1,
                "connectors": [
                    {"connector_id": 1, "type": "Type 2", "max_power_kw": 22},
                    {"connector_id": 2},
                ],
            },
        )
        assert made.status_code == 201, made.text
        password = made.json()["password"]
        tag = f"CARD{station['id'][:8]}".upper()
        made = await office.post("/api/admin/id-tags", json={"id_tag": tag, "owner": "Ada"})
        assert made.status_code == 201, made.text
        changed = await office.put(
            f"/api/admin/users/{guard.id}", json={"operator_station_ids": [station["id"]]}
        )
        assert changed.status_code == 200, changed.text
        signed = await signed_in(gate, guard.email)
        assert signed["operatorStationIds"] == [station["id"]]

        async with connect(f"{server.ws}/api/live", proxy=None) as socket:
            watcher = Watcher(socket)
            topics = ["chargers", "connectors", "sessions"]
            await socket.send(json.dumps({"token": signed["accessToken"], "topics": topics}))
            assert json.loads(await socket.recv())["type"] == "welcome"

            # The charger comes online.
            raw = await RawCharger.connect(
                server.ws, identity, headers=basic(identity.encode(), password.encode())
            )
            await watcher.until_event("charger.online", id=identity, online=True)
            assert (await raw.boot(firmwareVersion="7.1"))["status"] == "Accepted"
            await watcher.until_event("charger.booted", id=identity, firmware_version="7.1")
            await raw.status("Available", connector=1)
            await watcher.until_event("connector.status", charger_id=identity, status="Available")

            # The operator starts a session from afar.
            asked = asyncio.create_task(
                gate.post(
                    f"/api/admin/chargers/{identity}/remote-start", json={"id_tag": tag, "connector_id": 1}
                )
            )
            command = await raw.next_call()
            assert command[2:] == ["RemoteStartTransaction", {"connectorId": 1, "idTag": tag}]
            await raw.answer(command, {"status": "Accepted"})
            assert (await asked).json()["status"] == "Accepted"

            # The car charges for an hour that has just passed.
            begin = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)

            def at(minutes: int) -> str:
                return (begin + timedelta(minutes=minutes)).isoformat().replace("+00:00", "Z")

            assert (await raw.result("Authorize", {"idTag": tag}))["idTagInfo"]["status"] == "Accepted"
            started = await raw.start(tag, meter=10_000, at=at(0))
            transaction = started["transactionId"]
            assert started["idTagInfo"] == {"status": "Accepted"}
            await watcher.until_event("session.started", ocpp_transaction_id=transaction, id_tag=tag)
            await raw.status("Charging", connector=1)
            for minutes in range(5, 61, 5):
                sampled = [
                    {"value": str(10_000 + 180 * minutes), "unit": "Wh"},
                    {"value": "10.8", "unit": "kW", "measurand": "Power.Active.Import"},
                    {"value": str(20 + minutes // 2), "measurand": "SoC", "unit": "Percent"},
                ]
                payload = {
                    "connectorId": 1,
                    "transactionId": transaction,
                    "meterValue": [{"timestamp": at(minutes), "sampledValue": sampled}],
                }
                await raw.result("MeterValues", payload)
            update = await watcher.until_event("session.updated", ocpp_transaction_id=transaction)
            assert update["power_w"] == 10_800

            # The operator ends it; the charger agrees, and its stop ends the session.
            stopping = asyncio.create_task(gate.post(f"/api/admin/transactions/{transaction}/force-stop"))
            command = await raw.next_call()
            assert command[2:] == ["RemoteStopTransaction", {"transactionId": transaction}]
            await raw.answer(command, {"status": "Accepted"})
            assert (await stopping).json()["status"] == "Accepted"
            await raw.stop(transaction, 20_800, at=at(60), reason="Remote", idTag=tag)
            ended = await watcher.until_event("session.ended", ocpp_transaction_id=transaction)
            assert (ended["energy_wh"], ended["stop_reason"]) == (10_800, "Remote")
            await raw.close()
            await watcher.until_event("charger.offline", id=identity)

        # It is in the list, once, with its figures; and in the plot.
        async def listed() -> list[Any]:
            answer = await gate.get("/api/admin/transactions", params={"station": station["id"]})
            return list(answer.json()["items"])

        [session] = await until(listed)
        assert (session["ocpp_transaction_id"], session["status"]) == (transaction, "Completed")
        assert (session["energy_wh"], session["meter_start"], session["meter_stop"]) == (
            10_800,
            10_000,
            20_800,
        )
        assert (session["started_at"], session["stopped_at"]) == (at(0), at(60))
        assert session["anomalies"] == []
        url = f"/api/admin/transactions/{session['id']}/meter-values"
        plot = (await gate.get(url, params={"points": 6})).json()
        assert plot["samples"] == 12
        energies = [point["energy_wh"] for point in plot["points"]]
        assert 2 <= len(energies) <= 6
        assert energies == sorted(energies)
        assert energies[-1] == 10_800
        assert plot["points"][-1]["soc_percent"] == 50
        assert (await gate.get(url)).json()["total"] == 12

        # A charger with a history is not deleted.
        refused = await office.delete(f"/api/admin/chargers/{identity}")
        assert (refused.status_code, refused.json()["error"]) == (409, "ChargerInUse")


async def test_a_session_of_a_charger_that_went_away_is_closed_here_and_corrected_later(
    server: RunningServer, server_world: World
) -> None:
    row, user = await server_world.charger(), await server_world.admin()
    token = await server_world.token()
    async with httpx.AsyncClient(
        base_url=f"{server.http}/api/admin", headers=user.headers, trust_env=False, timeout=20
    ) as admin:
        raw = await RawCharger.connect(server.ws, row.id)
        transaction = (await raw.start(token.id_tag))["transactionId"]
        await raw.meter("2026-05-04T12:20:00Z", "2000", transaction=transaction)
        await raw.vanish()

        async def offline() -> bool:
            return not (await admin.get(f"/chargers/{row.id}")).json()["online"]

        await until(offline)
        answer = await admin.post(f"/transactions/{transaction}/force-stop", json={"reason": "Towed away"})
        assert answer.status_code == 200, answer.text
        closed = answer.json()
        assert (closed["status"], closed["answer"]) == ("ClosedLocally", "Offline")
        assert (closed["transaction"]["energy_wh"], closed["transaction"]["stop_reason"]) == (
            2000,
            "Towed away",
        )
        again = await admin.post(f"/transactions/{transaction}/force-stop")
        assert (again.status_code, again.json()["error"]) == (409, "TransactionEnded")
        # It comes back with what it had queued.
        raw = await RawCharger.connect(server.ws, row.id)
        await raw.meter("2026-05-04T12:40:00Z", "4000", transaction=transaction)
        await raw.stop(transaction, 5000, at="2026-05-04T12:50:00Z", reason="PowerLoss")
        await raw.close()
        session = (await admin.get(f"/transactions/{transaction}")).json()
        assert (session["energy_wh"], session["stop_reason"], session["closed_by"]) == (
            5000,
            "PowerLoss",
            "charger",
        )
        assert {one["kind"] for one in session["anomalies"]} >= {"closed_before_stop"}
        assert (await admin.get("/transactions", params={"charger": row.id})).json()["total"] == 1

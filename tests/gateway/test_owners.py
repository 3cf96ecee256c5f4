"""A charger's id, or the charger, passes to another business: what was said before stays with the first."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncSession
from tests.chargers import RawCharger, until
from tests.gateway.admin import AdminApi, admin_client
from tests.running import RunningServer
from tests.world import SignedIn, World
from websockets.exceptions import ConnectionClosed

from ohmstead.accounts.models import Backoffice, Role
from ohmstead.core.http import utc_z
from ohmstead.stations import history
from ohmstead.stations.models import Charger

SECRET = "SECRETOFTHEFIRST"


@asynccontextmanager
async def as_user(server: RunningServer, user: SignedIn) -> AsyncIterator[AdminApi]:
    async with admin_client(server.http, user.headers) as client:
        yield AdminApi(client)


@pytest.fixture
async def first(server_world: World) -> Backoffice:
    return await server_world.backoffice()


@pytest.fixture
async def second(server_world: World) -> Backoffice:
    return await server_world.backoffice()


async def seen(api: AdminApi, charger: str) -> dict[str, Any]:
    """All that a caller is shown of what a charger said."""
    return {
        "messages": await api.messages(charger),
        "connections": await api.connections(charger),
        "reports": (await api.get(f"/chargers/{charger}/reports"))["items"],
        "status": (await api.get(f"/chargers/{charger}/status-history"))["items"],
        "findings": (await api.get(f"/chargers/{charger}/diagnosis"))["findings"],
        "updates": (await api.get("/firmware-updates", charger=charger))["items"],
        "diagnostics": (await api.get("/diagnostics", charger=charger))["items"],
        "reservations": (await api.get("/reservations", charger=charger))["items"],
        "changes": (await api.get(f"/chargers/{charger}/configuration/history"))["items"],
        "profiles": [
            one["name"]
            for one in (await api.get(f"/chargers/{charger}/charging-profiles"))["items"]
            if one["name"]
        ],
        "local list": (await api.get(f"/chargers/{charger}/local-list"))["items"],
    }


KINDS = (
    *("messages", "connections", "reports", "status", "findings"),
    *("updates", "diagnostics", "reservations", "changes", "profiles", "local list"),
)
NOTHING: dict[str, Any] = {kind: [] for kind in KINDS}


async def flood(raw: RawCharger) -> None:
    """Send until the socket is closed, and read nothing."""
    number = 0
    try:
        while True:
            number += 1
            await raw.send(json.dumps([2, f"d{number}", "DataTransfer", {"vendorId": SECRET}]))
            status = {"connectorId": 1, "errorCode": "NoError", "status": "Available", "info": SECRET}
            await raw.send(json.dumps([2, f"s{number}", "StatusNotification", status]))
            await asyncio.sleep(0)
    except ConnectionClosed:
        return


async def obey(raw: RawCharger) -> None:
    """Answer whatever is asked with a yes."""
    while True:
        frame = await raw.next_call()
        plain = frame[2] in {"UpdateFirmware", "GetDiagnostics"}
        await raw.answer(frame, {} if plain else {"status": "Accepted"})


class TestTheIdOfADeletedCharger:
    async def test_its_next_owner_sees_nothing_of_frames_that_were_under_way(
        self, server: RunningServer, server_world: World, first: Backoffice, second: Backoffice
    ) -> None:
        mine = await server_world.user(Role.BACKOFFICE, first)
        theirs = await server_world.user(Role.BACKOFFICE, second)
        async with as_user(server, mine) as owner, as_user(server, theirs) as next_owner:
            for number in range(3):
                charger = f"PASSED-ON-{number}"
                assert await self.create(owner, charger) == 201
                async with await RawCharger.connect(server.ws, charger) as raw:
                    await raw.boot()
                    sending = asyncio.create_task(flood(raw))
                    await asyncio.sleep(0.1)
                    deleted = await owner.client.delete(f"/api/admin/chargers/{charger}")
                    assert deleted.status_code == 204
                    assert await self.create(next_owner, charger) == 201
                    await sending
                assert await seen(next_owner, charger) == NOTHING

    async def test_a_start_that_was_answered_while_it_was_deleted_is_kept(
        self,
        *,
        api: AdminApi,
        raw: RawCharger,
        row: Charger,
        tag: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        count, answers = history.sessions_of_charger, []

        async def counted(session: AsyncSession, charger_id: str, **which: Any) -> int:
            number = await count(session, charger_id, **which)
            answers.append(await raw.start(tag))
            return number

        await raw.boot()
        monkeypatch.setattr(history, "sessions_of_charger", counted)
        refused = await api.client.delete(f"/api/admin/chargers/{row.id}")
        assert (refused.status_code, refused.json()["error"]) == (409, "ChargerInUse")
        (session,) = await api.transactions(row.id)
        assert session["ocpp_transaction_id"] == answers[0]["transactionId"]
        assert {one["action"] for one in await api.messages(row.id)} >= {"BootNotification"}

    async def test_a_real_session_is_not_deleted_with_a_simulated_charger(
        self,
        server_world: World,
        api: AdminApi,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """It began before the charger was made simulated, and was committed after the count."""
        row, count = await server_world.charger(simulated=True), history.sessions_of_charger

        async def counted(session: AsyncSession, charger_id: str, **which: Any) -> int:
            number = await count(session, charger_id, **which)
            await server_world.session(row, simulated=False)
            return number

        monkeypatch.setattr(history, "sessions_of_charger", counted)
        params = {"simulated": "true"}
        refused = await api.client.delete(f"/api/admin/chargers/{row.id}", params=params)
        assert (refused.status_code, refused.json()["error"]) == (409, "ChargerInUse")
        assert len(await api.transactions(row.id)) == 1

    async def create(self, api: AdminApi, charger: str) -> int:
        answer: httpx.Response = await api.client.post("/api/admin/chargers", json={"id": charger})
        return answer.status_code


class TestAChargerThatMoves:
    @pytest.mark.parametrize("by", ["charger", "station"])
    async def test_its_next_business_sees_only_what_it_says_from_then_on(
        self,
        *,
        server: RunningServer,
        server_world: World,
        first: Backoffice,
        second: Backoffice,
        by: str,
    ) -> None:
        place = await server_world.station(first)
        row = await server_world.charger(place)
        theirs = await server_world.user(Role.BACKOFFICE, second)
        admin = await server_world.admin()
        async with as_user(server, theirs) as next_owner, as_user(server, admin) as everything:
            before = await self.say_much(server, everything, row)
            if by == "charger":
                path = f"/api/admin/chargers/{row.id}"
                body = {"station_id": None, "backoffice_id": str(second.id)}
            else:
                path, body = f"/api/admin/stations/{place.id}", {"backoffice_id": str(second.id)}
            moved = await everything.client.put(path, json=body)
            assert moved.status_code == 200, moved.text
            assert await seen(next_owner, row.id) == NOTHING
            now = await seen(everything, row.id)
            assert {name: len(rows) for name, rows in now.items()} == before
            async with await RawCharger.connect(server.ws, row.id) as raw:
                await raw.boot()
                await raw.status("Available")
                await raw.result("DataTransfer", {"vendorId": "to the second"})

                async def logged() -> Any:
                    shown = await seen(next_owner, row.id)
                    return shown if len(shown["messages"]) == 3 else None

                shown = await until(logged)
            assert SECRET not in json.dumps(shown)
            assert [len(shown[one]) for one in ("connections", "reports", "status")] == [1, 1, 1]

    async def say_much(self, server: RunningServer, api: AdminApi, row: Charger) -> dict[str, int]:
        async with await RawCharger.connect(server.ws, row.id) as raw:
            await raw.boot()
            await raw.status("Available", info=SECRET)
            await raw.result("DataTransfer", {"vendorId": SECRET})
            answering = asyncio.create_task(obey(raw))
            await self.order_much(api, row)
            answering.cancel()
            for _ in range(12):
                await raw.error("Heartbeat", {"what": SECRET})
                await raw.call("Heartbeat", message_id="again")

        async def complete() -> Any:
            shown = await seen(api, row.id)
            kinds = {one["kind"] for one in shown["findings"]}
            return shown if {"SchemaFaults", "RepeatedIds"} <= kinds and all(shown.values()) else None

        return {name: len(rows) for name, rows in (await until(complete)).items()}

    async def order_much(self, api: AdminApi, row: Charger) -> None:
        """Have an operator of the first business do what leaves rows behind."""
        soon = utc_z(datetime.now(UTC) + timedelta(hours=1))
        update = {"location": f"https://files.example/{SECRET}", "version": SECRET}
        reservation = {"connector_id": 1, "id_tag": SECRET, "expires_at": soon}
        orders: list[tuple[str, str, dict[str, Any]]] = [
            ("POST", "firmware-updates", update),
            ("POST", "diagnostics", {"location": f"ftp://files.example/{SECRET}"}),
            ("POST", "reserve", reservation),
            ("PUT", "configuration", {"keys": {"Owner": "nobody"}}),
            ("PUT", "configuration", {"keys": {"Owner": SECRET}}),
        ]
        for method, what, body in orders:
            answer = await api.client.request(method, f"/api/admin/chargers/{row.id}/{what}", json=body)
            assert answer.is_success, (what, answer.text)
        period = {"startPeriod": 0, "limit": 16.0}
        schedule = {"chargingRateUnit": "A", "chargingSchedulePeriod": [period]}
        profile = {
            "stackLevel": 0,
            "chargingProfilePurpose": "TxDefaultProfile",
            "chargingProfileKind": "Relative",
            "chargingSchedule": schedule,
        }
        wanted = {"name": SECRET, "profile": profile, "backoffice_id": str(row.backoffice_id)}
        kept = (await api.client.post("/api/admin/charging-profiles", json=wanted)).json()["id"]
        given = {"profile_id": kept, "connector_id": 1}
        path = f"/api/admin/chargers/{row.id}/charging-profiles"
        assert (await api.client.post(path, json=given)).json()["status"] == "Accepted"
        entry = {"idTag": SECRET, "idTagInfo": {"status": "Accepted"}}
        told = {"listVersion": 1, "updateType": "Full", "localAuthorizationList": [entry]}
        assert (await api.command(row.id, "SendLocalList", told)).json()["status"] == "Accepted"

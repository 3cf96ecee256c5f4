from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncSession
from tests.stations.links import FakeLink
from tests.world import SignedIn, World

from ohmstead.accounts.models import Role
from ohmstead.core.db import Database
from ohmstead.link.links import Answer, ChargerOffline
from ohmstead.ocpp.v16.actions import FROM_CENTRAL
from ohmstead.stations.models import Charger

CHARGERS = "/api/admin/chargers"
NAMED = {
    "remote-start": {"id_tag": "TAG", "connector_id": 1},
    "remote-stop": {"transaction_id": 7},
    "availability": {"operative": False},
    "reset": {"type": "Soft"},
    "unlock": {"connector_id": 1},
}
EVERY = {"commands/ClearCache": {}, **NAMED}
ACCEPTED = Answer(response={"status": "Accepted"})


@pytest.fixture
async def charger(world: World) -> Charger:
    return await world.charger()


@pytest.fixture
async def admin(world: World) -> SignedIn:
    return await world.admin()


def connect(app: FastAPI, charger: Charger, *answers: Answer | Exception) -> FakeLink:
    link = FakeLink(*answers)
    app.state.links.attach(charger.id, link)
    return link


class TestAccess:
    @pytest.mark.parametrize("command", EVERY)
    async def test_anonymous(
        self, client: httpx.AsyncClient, app: FastAPI, charger: Charger, command: str
    ) -> None:
        link = connect(app, charger, ACCEPTED)
        answer = await client.post(f"{CHARGERS}/{charger.id}/{command}", json=EVERY[command])
        assert answer.status_code == 401
        assert link.calls == []

    @pytest.mark.parametrize("command", EVERY)
    async def test_a_driver_may_not(
        self, client: httpx.AsyncClient, app: FastAPI, world: World, charger: Charger, command: str
    ) -> None:
        link, driver = connect(app, charger, ACCEPTED), await world.user(Role.EV_OWNER)
        path = f"{CHARGERS}/{charger.id}/{command}"
        answer = await client.post(path, headers=driver.headers, json=EVERY[command])
        assert answer.status_code == 403
        assert link.calls == []

    @pytest.mark.parametrize("command", EVERY)
    @pytest.mark.parametrize("role", [Role.BACKOFFICE, Role.OPERATOR])
    async def test_a_charger_of_another_business_does_not_exist(
        self,
        *,
        client: httpx.AsyncClient,
        app: FastAPI,
        world: World,
        charger: Charger,
        command: str,
        role: Role,
    ) -> None:
        link, other = connect(app, charger, ACCEPTED), await world.user(role)
        path = f"{CHARGERS}/{charger.id}/{command}"
        answer = await client.post(path, headers=other.headers, json=EVERY[command])
        assert answer.status_code == 404
        assert link.calls == []

    @pytest.mark.parametrize("command", EVERY)
    async def test_an_operator_commands_the_chargers_of_its_stations(
        self, client: httpx.AsyncClient, app: FastAPI, world: World, command: str
    ) -> None:
        business = await world.backoffice()
        mine, other = await world.station(business), await world.station(business)
        operator = await world.user(Role.OPERATOR, business, (mine,))
        for station, status in ((mine, 200), (other, 404)):
            charger = await world.charger(station)
            connect(app, charger, ACCEPTED)
            path = f"{CHARGERS}/{charger.id}/{command}"
            answer = await client.post(path, headers=operator.headers, json=EVERY[command])
            assert answer.status_code == status


class TestSendCommand:
    async def post(
        self, client: httpx.AsyncClient, admin: SignedIn, path: str, body: bytes = b"", **query: str
    ) -> httpx.Response:
        return await client.post(f"{CHARGERS}/{path}", headers=admin.headers, content=body, params=query)

    async def test_the_payload_goes_out_compact_and_unchanged(
        self, client: httpx.AsyncClient, app: FastAPI, charger: Charger, admin: SignedIn
    ) -> None:
        link = connect(app, charger, ACCEPTED)
        body = b'{ "type" : "Inoperative",\n "connectorId": 99 }'
        answer = await self.post(client, admin, f"{charger.id}/commands/ChangeAvailability", body)
        assert answer.status_code == 200
        assert link.calls == [("ChangeAvailability", b'{"type":"Inoperative","connectorId":99}', None)]

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            (
                Answer(response={"status": "NotSupported"}),
                {"status": "NotSupported", "response": {"status": "NotSupported"}},
            ),
            (
                Answer(response={"unknownKey": ["a"], "vendor": {"x": None}}),
                {"status": "Accepted", "response": {"unknownKey": ["a"], "vendor": {"x": None}}},
            ),
            (Answer(response={}), {"status": "Accepted", "response": {}}),
            (
                Answer(error_code="NotImplemented", error_description="no such thing"),
                {"status": "CallError", "error": {"code": "NotImplemented", "description": "no such thing"}},
            ),
            (
                Answer(error_code="", error_description=""),
                {"status": "CallError", "error": {"code": "", "description": ""}},
            ),
            (Answer(), {"status": "Timeout"}),
        ],
    )
    async def test_the_answer_is_the_chargers_own(
        self,
        *,
        client: httpx.AsyncClient,
        app: FastAPI,
        charger: Charger,
        admin: SignedIn,
        given: Answer,
        said: dict[str, Any],
    ) -> None:
        connect(app, charger, given)
        answer = await self.post(client, admin, f"{charger.id}/commands/GetConfiguration")
        assert (answer.status_code, answer.json()) == (200, said)

    async def test_an_absent_charger_is_a_conflict(
        self, client: httpx.AsyncClient, charger: Charger, admin: SignedIn
    ) -> None:
        answer = await self.post(client, admin, f"{charger.id}/commands/ClearCache")
        assert answer.status_code == 409
        assert answer.json()["error"] == "ChargerOffline"

    async def test_a_charger_that_leaves_meanwhile_is_a_conflict(
        self, client: httpx.AsyncClient, app: FastAPI, charger: Charger, admin: SignedIn
    ) -> None:
        connect(app, charger, ChargerOffline("It left."))
        answer = await self.post(client, admin, f"{charger.id}/commands/ClearCache")
        assert (answer.status_code, answer.json()["error"]) == (409, "ChargerOffline")

    async def test_an_unknown_action_tells_the_possible_ones(
        self, client: httpx.AsyncClient, app: FastAPI, charger: Charger, admin: SignedIn
    ) -> None:
        link = connect(app, charger)
        for action, status in (("Explode", 404), ("BootNotification", 422)):
            answer = await self.post(client, admin, f"{charger.id}/commands/{action}")
            assert answer.status_code == status
            assert all(possible in answer.json()["message"] for possible in FROM_CENTRAL)
        assert link.calls == []

    @pytest.mark.parametrize("body", [b"{}", b"{", b"[]", b'{"type":"Soft","x":1}', b'{"type":1}'])
    async def test_a_payload_that_breaks_the_schema_is_not_sent(
        self, client: httpx.AsyncClient, app: FastAPI, charger: Charger, admin: SignedIn, body: bytes
    ) -> None:
        link = connect(app, charger)
        answer = await self.post(client, admin, f"{charger.id}/commands/Reset", body)
        assert answer.status_code == 422
        assert answer.json()["fields"]["body"]
        assert link.calls == []

    async def test_a_payload_larger_than_a_frame_is_not_sent(
        self, client: httpx.AsyncClient, app: FastAPI, charger: Charger, admin: SignedIn
    ) -> None:
        link = connect(app, charger)
        body = b'{"vendorId":"v","data":"' + b"x" * 262_144 + b'"}'
        answer = await self.post(client, admin, f"{charger.id}/commands/DataTransfer", body)
        assert answer.status_code == 422
        assert link.calls == []

    async def test_the_caller_says_how_long_to_wait(
        self, client: httpx.AsyncClient, app: FastAPI, charger: Charger, admin: SignedIn
    ) -> None:
        link = connect(app, charger, ACCEPTED)
        path = f"{charger.id}/commands/ClearCache"
        await self.post(client, admin, path, timeout="2.5")
        assert [wait for _, _, wait in link.calls] == [2.5]
        for wrong in ("0", "121", "nan", "soon"):
            assert (await self.post(client, admin, path, timeout=wrong)).status_code == 422
        assert len(link.calls) == 1

    @pytest.mark.parametrize("command", EVERY)
    async def test_no_transaction_is_open_while_the_charger_is_awaited(
        self,
        *,
        client: httpx.AsyncClient,
        app: FastAPI,
        db: Database,
        charger: Charger,
        admin: SignedIn,
        monkeypatch: pytest.MonkeyPatch,
        command: str,
    ) -> None:
        session, held, seen = db.session, [0], list[int]()

        @asynccontextmanager
        async def counted() -> AsyncIterator[AsyncSession]:
            async with session() as opened:
                held[0] += 1
                yield opened
            held[0] -= 1

        async def look() -> None:
            seen.append(held[0])

        link = connect(app, charger, ACCEPTED)
        link.while_waiting = look
        monkeypatch.setattr(db, "session", counted)
        path = f"{CHARGERS}/{charger.id}/{command}"
        answer = await client.post(path, headers=admin.headers, json=EVERY[command])
        assert answer.status_code == 200
        assert seen == [0]


class TestNamedCommands:
    @pytest.mark.parametrize(
        ("command", "body", "action", "payload"),
        [
            (
                "remote-start",
                {"id_tag": "TAG", "connector_id": 99},
                "RemoteStartTransaction",
                b'{"connectorId":99,"idTag":"TAG"}',
            ),
            ("remote-start", {"id_tag": "TAG"}, "RemoteStartTransaction", b'{"idTag":"TAG"}'),
            ("remote-stop", {"transaction_id": 7}, "RemoteStopTransaction", b'{"transactionId":7}'),
            (
                "availability",
                {"connector_id": 2, "type": "Operative"},
                "ChangeAvailability",
                b'{"connectorId":2,"type":"Operative"}',
            ),
            (
                "availability",
                {"operative": False},
                "ChangeAvailability",
                b'{"connectorId":0,"type":"Inoperative"}',
            ),
            (
                "availability",
                {"operative": True, "connector_id": 1},
                "ChangeAvailability",
                b'{"connectorId":1,"type":"Operative"}',
            ),
            ("reset", {"type": "Hard"}, "Reset", b'{"type":"Hard"}'),
            ("unlock", {"connector_id": 1}, "UnlockConnector", b'{"connectorId":1}'),
        ],
    )
    async def test_each_becomes_its_message(
        self,
        *,
        client: httpx.AsyncClient,
        app: FastAPI,
        charger: Charger,
        admin: SignedIn,
        command: str,
        body: dict[str, Any],
        action: str,
        payload: bytes,
    ) -> None:
        link = connect(app, charger, Answer(response={"status": "Rejected"}))
        path = f"{CHARGERS}/{charger.id}/{command}?timeout=3"
        answer = await client.post(path, headers=admin.headers, json=body)
        assert answer.json() == {"status": "Rejected", "response": {"status": "Rejected"}}
        assert link.calls == [(action, payload, 3.0)]

    async def test_a_remote_start_may_carry_a_charging_profile(
        self, client: httpx.AsyncClient, app: FastAPI, charger: Charger, admin: SignedIn
    ) -> None:
        link = connect(app, charger, ACCEPTED)
        path = f"{CHARGERS}/{charger.id}/remote-start"
        profile = {
            "chargingProfileId": 1,
            "stackLevel": 0,
            "chargingProfilePurpose": "TxProfile",
            "chargingProfileKind": "Relative",
            "chargingSchedule": {
                "chargingRateUnit": "A",
                "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 16}],
            },
        }
        body = {"id_tag": "TAG", "charging_profile": profile}
        assert (await client.post(path, headers=admin.headers, json=body)).status_code == 200
        assert b'"chargingProfile":{"chargingProfileId":1,' in link.calls[0][1]
        body = {"id_tag": "TAG", "charging_profile": {**profile, "stackLevel": "low"}}
        refused = await client.post(path, headers=admin.headers, json=body)
        assert refused.status_code == 422
        assert "stackLevel must be an integer" in refused.json()["message"]

    @pytest.mark.parametrize(
        ("profile", "field"),
        [
            (b'{"a": "\\ud800"}', "charging_profile.a"),
            (b'{"\\ud800": 1}', "charging_profile.\\ud800"),
            (b'{"a": ' + b"1" + b"0" * 30 + b"}", "charging_profile.a"),
            (b'{"a": {"b": [-9223372036854775809]}}', "charging_profile.a.b.0"),
            (b'{"a": ' + b"[" * 300 + b"]" * 300 + b"}", "charging_profile"),
            (b'{"a": NaN}', "body"),
            (b'{"chargingProfileId": 9223372036854775808}', "body"),
        ],
        ids=lambda value: ascii(value)[:40],
    )
    async def test_a_charging_profile_that_no_frame_can_carry_is_not_sent(
        self,
        *,
        client: httpx.AsyncClient,
        app: FastAPI,
        charger: Charger,
        admin: SignedIn,
        profile: bytes,
        field: str,
    ) -> None:
        link = connect(app, charger)
        headers = {**admin.headers, "content-type": "application/json"}
        body = b'{"id_tag": "TAG", "charging_profile": ' + profile + b"}"
        for connected in (True, False):
            if not connected:
                app.state.links.detach(charger.id, link)
            answer = await client.post(f"{CHARGERS}/{charger.id}/remote-start", headers=headers, content=body)
            assert answer.status_code == 422, answer.text
            assert list(answer.json()["fields"]) == [field]
        assert link.calls == []

    @pytest.mark.parametrize(
        ("command", "body", "field"),
        [
            ("remote-start", {"connector_id": 1}, "id_tag"),
            ("remote-start", {"id_tag": "x" * 21}, "id_tag"),
            ("remote-start", {"id_tag": ""}, "id_tag"),
            ("remote-start", {"id_tag": "TAG", "connector_id": "1"}, "connector_id"),
            ("remote-stop", {}, "transaction_id"),
            ("remote-stop", {"transaction_id": 2**31}, "transaction_id"),
            ("remote-stop", {"transaction_id": True}, "transaction_id"),
            ("unlock", {"connector_id": True}, "connector_id"),
            ("availability", {"operative": 1}, "operative"),
            ("remote-stop", {"session_id": "x", "transaction_id": 1}, "session_id"),
            ("availability", {"connector_id": 1}, "body"),
            ("availability", {"operative": True, "type": "Inoperative"}, "body"),
            ("reset", {"type": "Gentle"}, "type"),
            ("reset", {}, "type"),
            ("unlock", {}, "connector_id"),
            ("unlock", {"connector_id": -1}, "connector_id"),
        ],
    )
    async def test_bad_input_names_the_field(
        self,
        *,
        client: httpx.AsyncClient,
        app: FastAPI,
        charger: Charger,
        admin: SignedIn,
        command: str,
        body: dict[str, Any],
        field: str,
    ) -> None:
        link = connect(app, charger)
        path = f"{CHARGERS}/{charger.id}/{command}"
        answer = await client.post(path, headers=admin.headers, json=body)
        assert answer.status_code == 422
        assert field in answer.json()["fields"]
        assert link.calls == []

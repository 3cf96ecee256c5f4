"""Charging profiles at real chargers: told, cleared, ended with their session; and what limits come to."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from tests.chargers import RawCharger, until
from tests.energy.test_endpoints import wire
from tests.gateway.admin import AdminApi, admin_client
from tests.running import RunningServer
from tests.world import World

from ohmstead.accounts.models import Role
from ohmstead.stations.models import Charger


class Desk:
    """An operator with a charger that is connected: each command is answered as the test says."""

    def __init__(self, client: httpx.AsyncClient, charger: Charger, raw: RawCharger) -> None:
        self.client = client
        self.charger = charger
        self.raw = raw
        self.path = f"/api/admin/chargers/{charger.id}"

    async def keep(self, **fields: Any) -> Any:
        body = {
            "name": f"P{id(fields)}",
            "profile": wire(**fields),
            "backoffice_id": str(self.charger.backoffice_id),
        }
        answer = await self.client.post("/api/admin/charging-profiles", json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def asked(
        self, method: str, path: str, answer: dict[str, Any] | None, **options: Any
    ) -> tuple[httpx.Response, dict[str, Any]]:
        """Send a request; the charger answers the CALL that comes of it. Returns both."""
        request = asyncio.create_task(self.client.request(method, self.path + path, **options))
        frame = await self.raw.next_call()
        if answer is not None:
            await self.raw.answer(frame, answer)
        return await request, frame[3]

    async def assign(
        self, profile: Any, status: str = "Accepted", connector: int = 1, **fields: Any
    ) -> tuple[httpx.Response, dict[str, Any]]:
        body = {"profile_id": profile["id"], "connector_id": connector, **fields}
        return await self.asked("POST", "/charging-profiles", {"status": status}, json=body)

    async def installed(self) -> list[dict[str, Any]]:
        answer = await self.client.get(f"{self.path}/charging-profiles")
        assert answer.status_code == 200, answer.text
        items: list[dict[str, Any]] = answer.json()["items"]
        return items

    async def numbers(self) -> list[int]:
        return [one["charging_profile_id"] for one in await self.installed()]


@pytest.fixture
async def desk(server: RunningServer, server_world: World) -> Any:
    charger = await server_world.charger()
    admin = await server_world.admin()
    async with (
        admin_client(server.http, admin.headers) as client,
        await RawCharger.connect(server.ws, charger.id) as raw,
    ):
        yield Desk(client, charger, raw)


class TestTelling:
    async def test_an_accepted_profile_is_what_the_charger_was_told(self, desk: Desk) -> None:
        kept = await desk.keep()
        answer, payload = await desk.assign(kept)
        assert (answer.status_code, answer.json()["status"]) == (200, "Accepted")
        number = kept["charging_profile_id"]
        assert payload == {
            "connectorId": 1,
            "csChargingProfiles": {"chargingProfileId": number, **wire()},
        }
        [told] = await desk.installed()
        assert (told["charging_profile_id"], told["connector_id"]) == (number, 1)
        assert (told["purpose"], told["stack_level"], told["transaction_id"]) == ("TxDefaultProfile", 0, None)
        assert (told["profile_id"], told["name"], told["outdated"]) == (kept["id"], kept["name"], False)
        shown = (await desk.client.get(f"/api/admin/charging-profiles/{kept['id']}")).json()
        assert (shown["chargers"], shown["outdated_chargers"]) == (1, 0)

    @pytest.mark.parametrize("status", ["Rejected", "NotSupported"])
    async def test_a_refused_one_changes_nothing(self, desk: Desk, status: str) -> None:
        answer, _ = await desk.assign(await desk.keep(), status)
        assert answer.json()["status"] == status
        assert await desk.installed() == []

    async def test_a_changed_one_is_outdated_until_it_is_told_anew(self, desk: Desk) -> None:
        kept = await desk.keep()
        await desk.assign(kept)
        change = {"profile": wire(schedule={"chargingRateUnit": "A"})}
        await desk.client.put(f"/api/admin/charging-profiles/{kept['id']}", json=change)
        assert [one["outdated"] for one in await desk.installed()] == [True]
        await desk.assign(kept)
        assert [one["outdated"] for one in await desk.installed()] == [False]

    async def test_the_same_place_holds_one_profile_and_the_same_id_is_there_once(self, desk: Desk) -> None:
        low, high, again = await desk.keep(), await desk.keep(stackLevel=1), await desk.keep()
        for profile in (low, high, again):
            await desk.assign(profile)
        assert await desk.numbers() == [high["charging_profile_id"], again["charging_profile_id"]]
        await desk.assign(again, connector=2)
        found = {one["charging_profile_id"]: one["connector_id"] for one in await desk.installed()}
        assert found == {high["charging_profile_id"]: 1, again["charging_profile_id"]: 2}

    async def test_a_raw_command_counts_like_any_other(self, desk: Desk) -> None:
        payload = {"connectorId": 0, "csChargingProfiles": {"chargingProfileId": 5, **wire()}}
        await desk.asked("POST", "/commands/SetChargingProfile", {"status": "Accepted"}, json=payload)
        [told] = await desk.installed()
        assert (told["charging_profile_id"], told["connector_id"], told["profile_id"]) == (5, 0, None)

    async def test_what_is_in_use_cannot_be_deleted(self, desk: Desk) -> None:
        kept = await desk.keep()
        await desk.assign(kept)
        path = f"/api/admin/charging-profiles/{kept['id']}"
        refused = await desk.client.delete(path)
        assert (refused.status_code, refused.json()["error"]) == (409, "ProfileInUse")
        assert desk.charger.id in refused.json()["message"]
        await desk.asked("DELETE", "/charging-profiles", {"status": "Accepted"})
        assert (await desk.client.delete(path)).status_code == 204

    async def test_a_profile_of_the_whole_charger_goes_to_connector_0(self, desk: Desk) -> None:
        kept = await desk.keep(chargingProfilePurpose="ChargePointMaxProfile")
        body = {"profile_id": kept["id"], "connector_id": 1}
        refused = await desk.client.post(f"{desk.path}/charging-profiles", json=body)
        assert (refused.status_code, refused.json()["fields"]) == (422, {"connector_id": "must be 0"})
        answer, _ = await desk.assign(kept, connector=0)
        assert answer.json()["status"] == "Accepted"

    async def test_a_profile_of_another_business_is_refused(self, desk: Desk, server_world: World) -> None:
        other = await server_world.backoffice()
        body = {"name": "Other", "profile": wire(), "backoffice_id": str(other.id)}
        kept = (await desk.client.post("/api/admin/charging-profiles", json=body)).json()
        refused = await desk.client.post(
            f"{desk.path}/charging-profiles", json={"profile_id": kept["id"], "connector_id": 1}
        )
        assert (refused.status_code, list(refused.json()["fields"])) == (422, ["profile_id"])

    async def test_a_charger_that_is_away_was_told_nothing(
        self, server: RunningServer, server_world: World, desk: Desk
    ) -> None:
        kept = await desk.keep()
        await desk.raw.close()

        async def away() -> bool:
            return not (await AdminApi(desk.client).charger(desk.charger.id))["online"]

        await until(away)
        body = {"profile_id": kept["id"], "connector_id": 1}
        answer = await desk.client.post(f"{desk.path}/charging-profiles", json=body)
        assert (answer.status_code, answer.json()["error"]) == (409, "ChargerOffline")
        assert await desk.installed() == []


class TestTransactions:
    async def test_a_tx_profile_needs_a_session_and_ends_with_it(
        self, desk: Desk, server_world: World
    ) -> None:
        kept = await desk.keep(chargingProfilePurpose="TxProfile")
        body = {"profile_id": kept["id"], "connector_id": 1}
        refused = await desk.client.post(f"{desk.path}/charging-profiles", json=body)
        assert (refused.status_code, refused.json()["error"]) == (409, "NoSession")
        zero = await desk.client.post(f"{desk.path}/charging-profiles", json={**body, "connector_id": 0})
        assert zero.status_code == 422
        tag = (await server_world.token()).id_tag
        transaction = (await desk.raw.start(tag))["transactionId"]
        wrong = await desk.client.post(
            f"{desk.path}/charging-profiles", json={**body, "transaction_id": transaction ^ 1 or 1}
        )
        assert (wrong.status_code, wrong.json()["error"]) == (409, "NoSession")
        answer, payload = await desk.assign(kept)
        assert answer.json()["status"] == "Accepted"
        assert payload["csChargingProfiles"]["transactionId"] == transaction
        default = await desk.keep()
        await desk.assign(default)
        assert len(await desk.numbers()) == 2
        await desk.raw.stop(transaction, 1000)

        async def ended() -> bool:
            return await desk.numbers() == [default["charging_profile_id"]]

        await until(ended)

    async def test_the_profile_of_a_remote_start_is_known_too(self, desk: Desk) -> None:
        profile = {"chargingProfileId": 77, **wire(chargingProfilePurpose="TxProfile")}
        body = {"id_tag": "TAG", "connector_id": 2, "charging_profile": profile}
        await desk.asked("POST", "/remote-start", {"status": "Rejected"}, json=body)
        assert await desk.installed() == []
        await desk.asked("POST", "/remote-start", {"status": "Accepted"}, json=body)
        [told] = await desk.installed()
        assert (told["charging_profile_id"], told["connector_id"]) == (77, 2)

    async def test_one_without_a_connector_stays_while_any_session_of_the_charger_runs(
        self, desk: Desk, server_world: World
    ) -> None:
        tag = (await server_world.token()).id_tag
        first = (await desk.raw.start(tag, connector=1))["transactionId"]
        here = {"chargingProfileId": 76, **wire(chargingProfilePurpose="TxProfile")}
        body = {"connectorId": 1, "csChargingProfiles": here}
        await desk.asked("POST", "/commands/SetChargingProfile", {"status": "Accepted"}, json=body)
        anywhere = {"chargingProfileId": 77, **wire(chargingProfilePurpose="TxProfile")}
        start = {"id_tag": tag, "charging_profile": anywhere}
        await desk.asked("POST", "/remote-start", {"status": "Accepted"}, json=start)
        second = (await desk.raw.start(tag, connector=2))["transactionId"]
        assert await desk.numbers() == [76, 77]

        async def told(*numbers: int) -> None:
            async def so() -> bool:
                return await desk.numbers() == list(numbers)

            await until(so)

        await desk.raw.stop(first)
        await told(77)
        await desk.raw.stop(second)
        await told()


class TestClearing:
    @pytest.mark.parametrize(
        ("query", "payload", "left"),
        [
            ("", {}, []),
            ("?id=11", {"id": 11}, [12, 13]),
            ("?connector_id=1", {"connectorId": 1}, [13]),
            ("?purpose=TxDefaultProfile&stack_level=1",
             {"chargingProfilePurpose": "TxDefaultProfile", "stackLevel": 1}, [11, 13]),
        ],
    )  # fmt: skip
    async def test_what_was_cleared_is_forgotten(
        self, desk: Desk, query: str, payload: dict[str, Any], left: list[int]
    ) -> None:
        for number, connector, level in ((11, 1, 0), (12, 1, 1), (13, 2, 0)):
            profile = {"chargingProfileId": number, **wire(stackLevel=level)}
            body = {"connectorId": connector, "csChargingProfiles": profile}
            await desk.asked("POST", "/commands/SetChargingProfile", {"status": "Accepted"}, json=body)
        answer, sent = await desk.asked("DELETE", f"/charging-profiles{query}", {"status": "Accepted"})
        assert sent == payload
        assert (answer.json()["status"], await desk.numbers()) == ("Accepted", left)
        assert answer.json()["forgotten"] == [one for one in (11, 12, 13) if one not in left]

    async def test_what_the_charger_does_not_know_is_forgotten_as_well(self, desk: Desk) -> None:
        await desk.assign(await desk.keep())
        answer, _ = await desk.asked("DELETE", "/charging-profiles", {"status": "Unknown"})
        assert (answer.json()["status"], await desk.numbers()) == ("Unknown", [])

    async def test_without_an_answer_everything_is_known_as_before(self, desk: Desk) -> None:
        await desk.assign(await desk.keep())
        answer, _ = await desk.asked("DELETE", "/charging-profiles?timeout=1", None)
        assert (answer.json()["status"], answer.json()["forgotten"]) == ("Timeout", [])
        assert len(await desk.numbers()) == 1


def told(*periods: tuple[int, float], unit: str = "W", **fields: Any) -> dict[str, Any]:
    schedule = {
        "chargingRateUnit": unit,
        "chargingSchedulePeriod": [{"startPeriod": one, "limit": limit} for one, limit in periods],
    }
    return {"status": "Accepted", "connectorId": 1, "chargingSchedule": {**schedule, **fields}}


class TestCompositeSchedule:
    async def composite(self, desk: Desk, answer: dict[str, Any] | None, query: str = "") -> Any:
        path = f"/composite-schedule?connector_id=1&duration=3600{query}"
        response, payload = await desk.asked("GET", path, answer)
        assert response.status_code == 200, response.text
        assert payload["duration"] == 3600
        return response.json()

    async def test_what_the_charger_says_stands_beside_what_we_expect(self, desk: Desk) -> None:
        await desk.assign(await desk.keep())
        same = await self.composite(desk, told((0, 7400.0)))
        assert (same["status"], same["differences"]) == ("Accepted", [])
        assert same["charger"] == same["expected"] == [{"start": 0, "limit": 7400.0}]
        other = await self.composite(desk, told((0, 7400.0), (1800, 3000.0)))
        assert other["differences"] == [{"start": 1800, "charger": 3000.0, "expected": 7400.0}]

    async def test_units_are_those_that_were_asked_for(self, desk: Desk) -> None:
        await desk.assign(await desk.keep(schedule={"chargingRateUnit": "A", "chargingSchedulePeriod": [
            {"startPeriod": 0, "limit": 16.0}]}))  # fmt: skip
        shown = await self.composite(desk, told((0, 11_040.0)), "&unit=A")
        assert shown["expected"] == shown["charger"] == [{"start": 0, "limit": 16.0}]

    @pytest.mark.parametrize(
        ("answer", "charger"),
        [
            ({"status": "Accepted"}, None),
            ({"status": "Rejected"}, None),
            (told(), []),
            (told((0, -1.0)), [{"start": 0, "limit": None}]),
            (told((0, 5.0), duration=9_999_999_999), [{"start": 0, "limit": 5.0}]),
            (told((0, 5.0), (60, 6.0), startSchedule="1970-01-01T00:00:00Z"), [{"start": 0, "limit": 6.0}]),
            (told((0, 5.0), startSchedule="yesterday"), [{"start": 0, "limit": 5.0}]),
            (told((0, 5.0), startSchedule="soon"), [{"start": 0, "limit": 5.0}]),
        ],
    )
    async def test_odd_answers_are_shown_for_what_they_are(
        self, desk: Desk, answer: dict[str, Any], charger: Any
    ) -> None:
        if answer.get("chargingSchedule", {}).get("startSchedule") == "soon":
            soon = datetime.now(UTC) + timedelta(seconds=20)
            answer["chargingSchedule"]["startSchedule"] = soon.isoformat()
        shown = await self.composite(desk, answer)
        assert shown["charger"] == charger
        assert shown["status"] == answer["status"]
        assert shown["response"] == answer
        assert (shown["differences"] is None) == (charger is None)

    async def test_a_charger_that_is_away_leaves_what_we_expect(self, desk: Desk) -> None:
        await desk.assign(await desk.keep())
        await desk.raw.close()

        async def away() -> bool:
            return not (await AdminApi(desk.client).charger(desk.charger.id))["online"]

        await until(away)
        shown = (await desk.client.get(f"{desk.path}/composite-schedule?connector_id=1")).json()
        assert (shown["status"], shown["charger"], shown["differences"]) == ("Offline", None, None)
        assert shown["expected"] == [{"start": 0, "limit": 7400.0}]

    async def test_no_answer_in_time_is_told(self, desk: Desk) -> None:
        shown = await self.composite(desk, None, "&timeout=1")
        assert (shown["status"], shown["charger"]) == ("Timeout", None)


class TestAccess:
    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/charging-profiles"),
            ("POST", "/charging-profiles"),
            ("DELETE", "/charging-profiles"),
            ("GET", "/composite-schedule"),
        ],
    )
    async def test_strangers_neither_see_nor_send(
        self, client: httpx.AsyncClient, world: World, method: str, path: str
    ) -> None:
        charger = await world.charger()
        body = {"profile_id": str(charger.station_id)} if method == "POST" else None
        where = f"/api/admin/chargers/{charger.id}{path}"
        assert (await client.request(method, where, json=body)).status_code == 401
        driver = await world.user(Role.EV_OWNER)
        assert (await client.request(method, where, json=body, headers=driver.headers)).status_code == 403
        for role in (Role.BACKOFFICE, Role.OPERATOR):
            other = await world.user(role)
            answer = await client.request(method, where, json=body, headers=other.headers)
            assert (answer.status_code, answer.json()["error"]) == (404, "ChargerNotFound"), answer.text

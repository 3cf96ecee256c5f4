"""A charger that answers a command without saying whether it accepts: that is never success."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import httpx
import pytest
from tests.chargers import RawCharger, until
from tests.gateway.admin import AdminApi

from ohmstead.ocpp.v16.actions import FROM_CENTRAL
from ohmstead.ocpp.v16.schemas import lacks_status
from ohmstead.stations.models import Charger

WITHOUT_STATUS = {"GetConfiguration", "GetDiagnostics", "GetLocalListVersion", "UpdateFirmware"}
PROFILE = {
    "chargingProfileId": 1,
    "stackLevel": 0,
    "chargingProfilePurpose": "TxDefaultProfile",
    "chargingProfileKind": "Relative",
    "chargingSchedule": {
        "chargingRateUnit": "A",
        "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 10}],
    },
}


async def answered(
    raw: RawCharger, asking: Awaitable[httpx.Response], *payloads: dict[str, Any]
) -> httpx.Response:
    """Answer the next CALLs with these, and return what whoever asked is told."""
    asked = asyncio.ensure_future(asking)
    for payload in payloads:
        await raw.answer(await raw.next_call(), payload)
    return await asyncio.wait_for(asked, 60)


def test_those_whose_answers_have_no_status_by_the_standard_are_few() -> None:
    assert {action for action in FROM_CENTRAL if not lacks_status(action, {})} == WITHOUT_STATUS


@pytest.mark.parametrize("payload", [{}, {"foo": 1}, {"status": None}, {"status": 1}, {"status": {}}])
async def test_an_answer_without_a_status_is_an_error_and_kept(
    raw: RawCharger, row: Charger, api: AdminApi, payload: dict[str, Any]
) -> None:
    answer = await answered(raw, api.command(row.id, "UnlockConnector", {"connectorId": 1}), payload)
    body = answer.json()
    assert (answer.status_code, body["status"], body["response"]) == (200, "CallError", payload)
    assert body["error"]["code"] == "FormationViolation"
    assert "status" in body["error"]["description"]

    async def logged() -> Any:
        return await api.messages(row.id, errors=True)

    (message,) = await until(logged)
    assert (message["action"], message["error_code"]) == ("UnlockConnector", "FormationViolation")
    assert message["response"][2] == payload


async def test_what_breaks_the_schema_in_another_way_is_passed_on(
    raw: RawCharger, row: Charger, api: AdminApi
) -> None:
    for payload in ({"status": "Unlocked", "vendor": 1}, {"status": "Perhaps"}):
        answer = await answered(raw, api.command(row.id, "UnlockConnector", {"connectorId": 1}), payload)
        assert answer.json() == {"status": payload["status"], "response": payload}


async def test_an_answer_that_needs_none_is_accepted(raw: RawCharger, row: Charger, api: AdminApi) -> None:
    answer = await answered(raw, api.command(row.id, "GetConfiguration"), {})
    assert answer.json() == {"status": "Accepted", "response": {}}


async def test_a_reservation_is_not_held(raw: RawCharger, row: Charger, api: AdminApi, tag: str) -> None:
    path = f"/api/admin/chargers/{row.id}/reserve"
    body = {"connector_id": 1, "id_tag": tag, "expires_at": "2099-01-01T00:00:00Z"}
    answer = (await answered(raw, api.client.post(path, json=body), {})).json()
    assert (answer["status"], answer["reservation"]["status"]) == ("CallError", "Failed")
    assert answer["reservation"]["uncertain"] is True


async def test_a_key_is_not_changed(raw: RawCharger, row: Charger, api: AdminApi) -> None:
    path = f"/api/admin/chargers/{row.id}/configuration"
    body = {"keys": {"HeartbeatInterval": "60"}}
    answer = (await answered(raw, api.client.put(path, json=body), {})).json()
    assert answer["keys"]["HeartbeatInterval"]["status"] == "CallError"
    kept = (await api.get(f"/chargers/{row.id}/configuration"))["items"]
    assert [one["value"] for one in kept if one["key"] == "HeartbeatInterval"] in ([], [None])


async def test_a_profile_is_not_installed(raw: RawCharger, row: Charger, api: AdminApi) -> None:
    body = {"connectorId": 1, "csChargingProfiles": PROFILE}
    answer = await answered(raw, api.command(row.id, "SetChargingProfile", body), {})
    assert answer.json()["status"] == "CallError"
    assert (await api.get(f"/chargers/{row.id}/charging-profiles"))["items"] == []


async def test_a_force_stop_ends_the_session_here(
    raw: RawCharger, row: Charger, api: AdminApi, tag: str
) -> None:
    transaction = (await raw.start(tag))["transactionId"]
    asking = api.client.post(f"/api/admin/transactions/{transaction}/force-stop")
    answer = (await answered(raw, asking, {"foo": 1})).json()
    assert (answer["status"], answer["answer"]) == ("ClosedLocally", "CallError")
    assert answer["transaction"]["status"] == "Completed"

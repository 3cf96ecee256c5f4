"""Charging profiles that are kept: making, changing and deleting them, and who may."""

from typing import Any

import httpx
import pytest
from tests.world import SignedIn, World

from ohmstead.accounts.models import Role

PATH = "/api/admin/charging-profiles"


def wire(**fields: Any) -> dict[str, Any]:
    """A ChargingProfile as OCPP 1.6 writes it; `schedule` changes what is in its schedule."""
    schedule = {
        "chargingRateUnit": "W",
        "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 7400.0}],
        **fields.pop("schedule", {}),
    }
    return {
        "stackLevel": 0,
        "chargingProfilePurpose": "TxDefaultProfile",
        "chargingProfileKind": "Absolute",
        "chargingSchedule": schedule,
        **fields,
    }


@pytest.fixture
async def manager(world: World) -> SignedIn:
    return await world.user(Role.BACKOFFICE)


async def make(client: httpx.AsyncClient, user: SignedIn, name: str = "Night", **fields: Any) -> Any:
    answer = await client.post(PATH, json={"name": name, "profile": wire(**fields)}, headers=user.headers)
    assert answer.status_code == 201, answer.text
    return answer.json()


class TestKeeping:
    async def test_a_profile_is_kept_changed_and_deleted(
        self, client: httpx.AsyncClient, manager: SignedIn
    ) -> None:
        made = await make(client, manager)
        assert (made["name"], made["profile"], made["chargers"]) == ("Night", wire(), 0)
        assert made["charging_profile_id"] >= 1000
        path = f"{PATH}/{made['id']}"
        changed = await client.put(path, json={"name": "Day"}, headers=manager.headers)
        assert (changed.json()["name"], changed.json()["profile"]) == ("Day", wire())
        other = wire(stackLevel=3)
        changed = await client.put(path, json={"profile": other}, headers=manager.headers)
        assert (changed.json()["name"], changed.json()["profile"]) == ("Day", other)
        assert (await client.get(path, headers=manager.headers)).json() == changed.json()
        listed = (await client.get(f"{PATH}?q=da", headers=manager.headers)).json()
        assert [one["id"] for one in listed["items"]] == [made["id"]]
        assert (await client.delete(path, headers=manager.headers)).status_code == 204
        assert (await client.get(path, headers=manager.headers)).status_code == 404

    async def test_a_name_is_there_once_in_a_business(
        self, client: httpx.AsyncClient, world: World, manager: SignedIn
    ) -> None:
        await make(client, manager)
        again = await client.post(PATH, json={"name": "NIGHT", "profile": wire()}, headers=manager.headers)
        assert (again.status_code, again.json()["error"]) == (409, "ProfileExists")
        await make(client, await world.user(Role.BACKOFFICE))

    @pytest.mark.parametrize(
        ("profile", "fault"),
        [
            ({}, "stackLevel"),
            (wire(chargingProfileId=7), "chargingProfileId"),
            (wire(transactionId=7), "transactionId"),
            (wire(colour="red"), "colour"),
            (wire(chargingProfilePurpose="Everything"), "chargingProfilePurpose"),
            (wire(stackLevel=-1), "stackLevel"),
            (wire(schedule={"chargingSchedulePeriod": []}), "period"),
            (wire(schedule={"chargingSchedulePeriod": [{"startPeriod": 60, "limit": 1.0}]}), "startPeriod 0"),
            (
                wire(
                    schedule={
                        "chargingSchedulePeriod": [
                            {"startPeriod": 0, "limit": 1.0},
                            {"startPeriod": 0, "limit": 2.0},
                        ]
                    }
                ),
                "rise",
            ),
            (wire(schedule={"chargingSchedulePeriod": [{"startPeriod": 0, "limit": -1.0}]}), "negative"),
            (wire(schedule={"chargingSchedulePeriod": [{"startPeriod": 0, "limit": 1.23}]}), "limit"),
            (
                wire(
                    schedule={"chargingSchedulePeriod": [{"startPeriod": 0, "limit": 1, "numberPhases": 4}]}
                ),
                "numberPhases",
            ),
            (wire(schedule={"duration": 0}), "duration"),
            (wire(schedule={"startSchedule": "tomorrow"}), "startSchedule"),
            (wire(chargingProfileKind="Recurring"), "recurrencyKind"),
            (wire(chargingProfileKind="Recurring", recurrencyKind="Daily"), "startSchedule"),
            (
                wire(
                    chargingProfileKind="Recurring",
                    recurrencyKind="Daily",
                    schedule={"startSchedule": "2026-05-04T00:00:00Z", "duration": 86_401},
                ),
                "cycle",
            ),
            (wire(recurrencyKind="Daily"), "recurrencyKind"),
            (
                wire(chargingProfileKind="Relative", schedule={"startSchedule": "2026-05-04T00:00:00Z"}),
                "Relative",
            ),
            (wire(chargingProfileKind="Relative", chargingProfilePurpose="ChargePointMaxProfile"), "session"),
            (wire(validFrom="2026-05-05T00:00:00Z", validTo="2026-05-04T00:00:00Z"), "validTo"),
        ],
    )
    async def test_what_is_no_profile_of_the_standard_is_refused_with_the_reason(
        self, client: httpx.AsyncClient, manager: SignedIn, profile: dict[str, Any], fault: str
    ) -> None:
        answer = await client.post(PATH, json={"name": "X", "profile": profile}, headers=manager.headers)
        assert (answer.status_code, answer.json()["error"]) == (422, "ProfileInvalid"), answer.text
        assert fault in answer.json()["message"]
        assert (await client.get(PATH, headers=manager.headers)).json()["total"] == 0


class TestAccess:
    @pytest.mark.parametrize(
        ("method", "path"),
        [("GET", ""), ("POST", ""), ("GET", "/{id}"), ("PUT", "/{id}"), ("DELETE", "/{id}")],
    )
    async def test_strangers_see_and_change_nothing(
        self, client: httpx.AsyncClient, world: World, manager: SignedIn, *, method: str, path: str
    ) -> None:
        made = await make(client, manager)
        where = PATH + path.format(id=made["id"])
        body = None if method in {"GET", "DELETE"} else {"name": "Theirs", "profile": wire()}
        other = await world.user(Role.BACKOFFICE)
        for user, status in ((None, 401), (await world.user(Role.EV_OWNER), 403)):
            answer = await client.request(method, where, json=body, headers=user.headers if user else {})
            assert answer.status_code == status
        answer = await client.request(method, where, json=body, headers=other.headers)
        if path:
            assert (answer.status_code, answer.json()["error"]) == (404, "ProfileNotFound")
        elif method == "GET":
            assert answer.json()["items"] == []
        assert (await client.get(f"{PATH}/{made['id']}", headers=manager.headers)).json() == made

    async def test_an_operator_sees_and_does_not_change(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        business = await world.backoffice()
        made = await make(client, await world.user(Role.BACKOFFICE, business))
        operator = await world.user(Role.OPERATOR, business)
        path = f"{PATH}/{made['id']}"
        assert (await client.get(path, headers=operator.headers)).status_code == 200
        for method, body in (("PUT", {"name": "X"}), ("DELETE", {})):
            answer = await client.request(method, path, json=body, headers=operator.headers)
            assert answer.status_code == 403

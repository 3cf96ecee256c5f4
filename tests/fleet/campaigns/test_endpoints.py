"""`/api/admin/campaigns`: who may, what is refused, what is told."""

from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text
from tests.conftest import FrozenClock
from tests.fleet.campaigns.kinds import SETTING, Setting
from tests.world import SignedIn, World

from ohmstead.accounts.models import Role
from ohmstead.core.db import Database
from ohmstead.fleet.campaigns.work import Kind, Parameters
from ohmstead.stations.models import Charger, Station

CAMPAIGNS = "/api/admin/campaigns"
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"kind": "Nothing"}, "kind"),
    ({"kind": "a\0b"}, "kind"),
    ({"parameters": {}}, "parameters.value"),
    ({"parameters": {"value": "1", "x": 1}}, "parameters.x"),
    ({"parameters": []}, "parameters"),
    ({"chargers": {}}, "chargers"),
    ({"chargers": {"all": True, "online": True}}, "chargers"),
    ({"chargers": {"charger_ids": []}}, "chargers.charger_ids"),
    ({"chargers": {"charger_ids": ["a b"]}}, "chargers.charger_ids.0"),
    ({"chargers": {"charger_ids": ["NOBODY"]}}, "chargers.charger_ids"),
    ({"chargers": {"q": "\0"}}, "chargers.q"),
    ({"at_once": 0}, "at_once"),
    ({"at_once": True}, "at_once"),
    ({"tries": 0}, "tries"),
    ({"retry_seconds": -1}, "retry_seconds"),
    ({"stop_at_error_percent": 101}, "stop_at_error_percent"),
    ({"stop_after_items": 0}, "stop_after_items"),
    ({"ends_at": "2026-05-04T11:59:59Z"}, "ends_at"),
    ({"ends_at": "2026-06-04T11:59:59"}, "ends_at"),
    ({"name": ""}, "name"),
    ({"nonsense": 1}, "nonsense"),
]
CHANGES = ("pause", "resume", "cancel")


def without_value(parameters: Parameters) -> Parameters:
    return {**parameters, "value": "***"}


@pytest.fixture(autouse=True)
def kinds(app: FastAPI) -> None:
    app.state.kinds["Setting"] = SETTING
    app.state.kinds["Secret"] = Kind("Secret", Setting, SETTING.apply, shown=without_value)


@pytest.fixture
async def station(world: World) -> Station:
    return await world.station()


@pytest.fixture
async def charger(world: World, station: Station) -> Charger:
    return await world.charger(station, "CP-1", online=True, vendor="Alpha")


@pytest.fixture
async def admin(world: World) -> SignedIn:
    return await world.admin()


def body(**fields: Any) -> dict[str, Any]:
    return {"kind": "Setting", "parameters": {"value": "60"}, "chargers": {"all": True}, **fields}


async def make(client: httpx.AsyncClient, who: SignedIn, **fields: Any) -> dict[str, Any]:
    answer = await client.post(CAMPAIGNS, headers=who.headers, json=body(**fields))
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


class TestAccess:
    async def test_an_operator_changes_nothing(
        self, client: httpx.AsyncClient, world: World, charger: Charger, admin: SignedIn
    ) -> None:
        made = await make(client, admin)
        operator = await world.user(Role.OPERATOR)
        answer = await client.post(CAMPAIGNS, headers=operator.headers, json=body())
        assert answer.status_code == 403
        for change in CHANGES:
            answer = await client.post(f"{CAMPAIGNS}/{made['id']}/{change}", headers=operator.headers)
            assert answer.status_code == 403

    async def test_a_campaign_of_another_business_does_not_exist(
        self, client: httpx.AsyncClient, world: World, charger: Charger, admin: SignedIn
    ) -> None:
        made = await make(client, admin, chargers={"backoffice_id": str(charger.backoffice_id)})
        other = await world.user(Role.BACKOFFICE)
        for method, path in (
            ("GET", ""),
            ("GET", "/items"),
            *(("POST", f"/{change}") for change in CHANGES),
        ):
            answer = await client.request(method, f"{CAMPAIGNS}/{made['id']}{path}", headers=other.headers)
            assert (answer.status_code, answer.json()["error"]) == (404, "CampaignNotFound"), path
        listed = await client.get(CAMPAIGNS, headers=other.headers)
        assert listed.json() == {"items": [], "next_cursor": None, "total": 0}

    async def test_one_of_nobody_is_for_a_systemadmin_alone(
        self, client: httpx.AsyncClient, world: World, charger: Charger, admin: SignedIn, db: Database
    ) -> None:
        made = await make(client, admin)
        async with db.session() as session:
            business = await session.scalar(text("SELECT backoffice_id FROM stations_charger"))
            await session.execute(
                text("UPDATE accounts_user SET backoffice_id = :b, role = 'Backoffice' WHERE id <> :id"),
                {"b": business, "id": admin.id},
            )
        user = await world.user(Role.BACKOFFICE)
        assert (await client.get(f"{CAMPAIGNS}/{made['id']}", headers=user.headers)).status_code == 404
        assert (await client.get(f"{CAMPAIGNS}/{made['id']}", headers=admin.headers)).status_code == 200

    async def test_a_business_works_on_its_own_chargers_only(
        self, client: httpx.AsyncClient, world: World, charger: Charger
    ) -> None:
        business = await world.backoffice()
        mine = await world.charger(await world.station(business))
        user = await world.user(Role.BACKOFFICE, business)
        made = await make(client, user)
        items = await client.get(f"{CAMPAIGNS}/{made['id']}/items", headers=user.headers)
        assert [item["charger_id"] for item in items.json()["items"]] == [mine.id]
        answer = await client.post(
            CAMPAIGNS, headers=user.headers, json=body(chargers={"charger_ids": [charger.id]})
        )
        assert (answer.status_code, list(answer.json()["fields"])) == (422, ["chargers.charger_ids"])
        answer = await client.post(
            CAMPAIGNS,
            headers=user.headers,
            json=body(chargers={"backoffice_id": str(charger.backoffice_id)}),
        )
        assert (answer.status_code, list(answer.json()["fields"])) == (422, ["chargers"])

    async def test_an_operator_sees_what_is_done_at_its_stations(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        business = await world.backoffice()
        mine, other = await world.station(business), await world.station(business)
        a, b = await world.charger(mine), await world.charger(other)
        manager = await world.user(Role.BACKOFFICE, business)
        operator = await world.user(Role.OPERATOR, business, (mine,))
        both = await make(client, manager, chargers={"charger_ids": [a.id, b.id]})
        await make(client, manager, chargers={"charger_ids": [b.id]})
        listed = (await client.get(CAMPAIGNS, headers=operator.headers)).json()
        (seen,) = listed["items"]
        assert (seen["id"], seen["chargers"], seen["counts"]["Queued"]) == (both["id"], 1, 1)
        assert seen["selection"] is None
        items = await client.get(f"{CAMPAIGNS}/{both['id']}/items", headers=operator.headers)
        assert [item["charger_id"] for item in items.json()["items"]] == [a.id]
        assert items.json()["total"] == 1


class TestCreate:
    async def test_it_is_made_with_an_item_for_each_charger_that_matches_now(
        self, client: httpx.AsyncClient, world: World, charger: Charger, admin: SignedIn, clock: FrozenClock
    ) -> None:
        await world.charger(vendor="Beta")
        made = await make(client, admin, chargers={"vendor": "alpha"}, name="Beat slower", at_once=7)
        assert made["state"] == "Running"
        assert (made["name"], made["kind"], made["at_once"], made["chargers"]) == (
            "Beat slower",
            "Setting",
            7,
            1,
        )
        assert made["counts"] == {
            "Queued": 1,
            "Away": 0,
            "Running": 0,
            "Waiting": 0,
            "Done": 0,
            "Failed": 0,
            "Skipped": 0,
            "Cancelled": 0,
        }
        assert made["parameters"] == {"value": "60"}
        assert made["selection"] == {"vendor": "alpha"}
        assert made["created_at"] == made["state_at"] == "2026-05-04T12:00:00Z"
        assert (made["created_by"], made["finished_at"]) == (str(admin.id), None)
        items = await client.get(f"{CAMPAIGNS}/{made['id']}/items", headers=admin.headers)
        assert items.json()["items"] == [
            {
                "charger_id": charger.id,
                "state": "Queued",
                "detail": None,
                "tries": 0,
                "due_at": "2026-05-04T12:00:00Z",
                "begun_at": None,
                "wait_until": None,
                "ended_at": None,
                "evidence": None,
            }
        ]

    async def test_it_is_queued_in_the_same_transaction(
        self, client: httpx.AsyncClient, charger: Charger, admin: SignedIn, db: Database
    ) -> None:
        await make(client, admin)
        async with db.session() as session:
            tasks = await session.scalars(text("SELECT task_name FROM procrastinate_jobs"))
            assert list(tasks) == ["campaigns:work"]

    async def test_a_dry_run_tells_and_begins_nothing(
        self, client: httpx.AsyncClient, world: World, charger: Charger, admin: SignedIn, db: Database
    ) -> None:
        away = await world.charger(id="CP-0")
        answer = await client.post(f"{CAMPAIGNS}?dry_run=true", headers=admin.headers, json=body())
        assert answer.status_code == 200
        assert answer.json() == {"chargers": 2, "online": 1, "charger_ids": [away.id, charger.id]}
        async with db.session() as session:
            assert await session.scalar(text("SELECT count(*) FROM fleet_campaign")) == 0
            assert await session.scalar(text("SELECT count(*) FROM procrastinate_jobs")) == 0

    async def test_a_dry_run_that_chooses_nobody_says_so(
        self, client: httpx.AsyncClient, admin: SignedIn
    ) -> None:
        chosen = body(chargers={"vendor": "Nobody"})
        answer = await client.post(f"{CAMPAIGNS}?dry_run=true", headers=admin.headers, json=chosen)
        assert answer.json() == {"chargers": 0, "online": 0, "charger_ids": []}
        answer = await client.post(CAMPAIGNS, headers=admin.headers, json=chosen)
        assert (answer.status_code, answer.json()["fields"]) == (422, {"chargers": "chooses none"})

    async def test_bad_input_is_refused_by_the_name_of_its_field(
        self, client: httpx.AsyncClient, charger: Charger, admin: SignedIn
    ) -> None:
        for wrong, field in WRONG:
            for dry_run in ("true", "false"):
                answer = await client.post(
                    CAMPAIGNS, params={"dry_run": dry_run}, headers=admin.headers, json=body(**wrong)
                )
                assert answer.status_code == 422, (wrong, answer.text)
                assert list(answer.json()["fields"]) == [field], wrong

    async def test_an_unknown_kind_is_told_which_there_are(
        self, client: httpx.AsyncClient, charger: Charger, admin: SignedIn
    ) -> None:
        answer = await client.post(CAMPAIGNS, headers=admin.headers, json=body(kind="Setings"))
        assert "Setting" in answer.json()["message"]

    async def test_secrets_among_the_parameters_are_not_shown(
        self, client: httpx.AsyncClient, charger: Charger, admin: SignedIn, app: FastAPI
    ) -> None:
        made = await make(client, admin, kind="Secret")
        assert made["parameters"] == {"value": "***"}
        del app.state.kinds["Secret"]
        shown = await client.get(f"{CAMPAIGNS}/{made['id']}", headers=admin.headers)
        assert shown.json()["parameters"] == {}


class TestList:
    async def test_the_newest_is_first_and_filters_and_pages_hold(
        self, client: httpx.AsyncClient, charger: Charger, admin: SignedIn, clock: FrozenClock
    ) -> None:
        made = []
        for number in range(5):
            clock.advance(1)
            made.append((await make(client, admin, name=f"Number {number}"))["id"])
        await client.post(f"{CAMPAIGNS}/{made[1]}/pause", headers=admin.headers)

        async def ids(**params: Any) -> list[str]:
            answer = await client.get(CAMPAIGNS, headers=admin.headers, params=params)
            assert answer.status_code == 200, answer.text
            return [item["id"] for item in answer.json()["items"]]

        assert await ids() == made[::-1]
        assert await ids(sort="created_at") == made
        assert await ids(state="Paused") == [made[1]]
        assert await ids(kind="Other") == []
        assert await ids(q="number 3") == [made[3]]
        first = (await client.get(CAMPAIGNS, headers=admin.headers, params={"limit": 3})).json()
        rest = await ids(limit=3, cursor=first["next_cursor"])
        assert [item["id"] for item in first["items"]] + rest == made[::-1]
        assert first["total"] == 5

    async def test_items_are_listed_by_charger_and_by_state(
        self, client: httpx.AsyncClient, world: World, station: Station, admin: SignedIn, db: Database
    ) -> None:
        ids = [(await world.charger(station, f"L-{number}")).id for number in range(4)]
        made = await make(client, admin)
        async with db.session() as session:
            await session.execute(
                text(
                    "UPDATE fleet_campaign_item SET state = 'Failed', detail = 'No.' WHERE charger_id = 'L-2'"
                )
            )
        path = f"{CAMPAIGNS}/{made['id']}/items"

        async def page(**params: Any) -> dict[str, Any]:
            answer = await client.get(path, headers=admin.headers, params=params)
            assert answer.status_code == 200, answer.text
            found: dict[str, Any] = answer.json()
            return found

        first = await page(limit=3)
        rest = await page(limit=3, cursor=first["next_cursor"])
        assert [one["charger_id"] for one in first["items"] + rest["items"]] == ids
        assert [one["charger_id"] for one in (await page(state="Failed"))["items"]] == ["L-2"]
        assert [one["charger_id"] for one in (await page(q="no."))["items"]] == ["L-2"]
        assert [one["charger_id"] for one in (await page(q="l-1"))["items"]] == ["L-1"]
        answer = await client.get(path, headers=admin.headers, params={"state": "Nonsense"})
        assert answer.status_code == 422

    async def test_there_is_no_such_campaign(self, client: httpx.AsyncClient, admin: SignedIn) -> None:
        for path in ("", "/items"):
            answer = await client.get(f"{CAMPAIGNS}/{uuid4()}{path}", headers=admin.headers)
            assert answer.status_code == 404
        assert (await client.get(f"{CAMPAIGNS}/x", headers=admin.headers)).status_code == 422


class TestChange:
    async def test_pause_resume_and_cancel_may_be_told_twice(
        self, client: httpx.AsyncClient, charger: Charger, admin: SignedIn, clock: FrozenClock
    ) -> None:
        made = await make(client, admin)
        clock.advance(1)
        for change, state in (
            ("pause", "Paused"),
            ("pause", "Paused"),
            ("resume", "Running"),
            ("resume", "Running"),
            ("cancel", "Cancelled"),
            ("cancel", "Cancelled"),
        ):
            answer = await client.post(f"{CAMPAIGNS}/{made['id']}/{change}", headers=admin.headers)
            assert (answer.status_code, answer.json()["state"]) == (200, state)
        assert answer.json()["counts"]["Cancelled"] == 1
        assert answer.json()["finished_at"] == "2026-05-04T12:00:01Z"

    async def test_what_is_over_is_over(
        self, client: httpx.AsyncClient, charger: Charger, admin: SignedIn
    ) -> None:
        made = await make(client, admin)
        await client.post(f"{CAMPAIGNS}/{made['id']}/cancel", headers=admin.headers)
        for change in ("pause", "resume"):
            answer = await client.post(f"{CAMPAIGNS}/{made['id']}/{change}", headers=admin.headers)
            assert (answer.status_code, answer.json()["error"]) == (409, "CampaignState")
            assert "make a new one" in answer.json()["message"]

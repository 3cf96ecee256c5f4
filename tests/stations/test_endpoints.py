import json
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text
from tests.conftest import FrozenClock
from tests.stations.links import FakeLink
from tests.world import World

from ohmstead.accounts.models import Role
from ohmstead.core.db import Database

PATH = "/api/admin/stations"
CALLS = [("GET", ""), ("POST", ""), ("GET", "/{id}"), ("PUT", "/{id}"), ("DELETE", "/{id}")]

FULL = {
    "name": "Praça do Comércio",
    "address": "Praça do Comércio 1",
    "city": "Lisboa",
    "country": "pt",
    "latitude": 38.7075,
    "longitude": -9.1364,
    "time_zone": "Europe/Lisbon",
    "amenities": ["Toilets", "Wifi"],
    "photo_url": "https://example.com/praca.jpg",
    "opening_hours": {"mon": [{"start": "06:00", "end": "24:00"}]},
    "support_phone": "+351 800 123 456",
    "status": "Maintenance",
}


class TestAccess:
    @pytest.mark.parametrize(("method", "path"), CALLS)
    async def test_anonymous(self, client: httpx.AsyncClient, world: World, method: str, path: str) -> None:
        station = await world.station()
        answer = await client.request(method, PATH + path.format(id=station.id))
        assert answer.status_code == 401
        assert answer.json()["error"] == "Unauthorized"

    @pytest.mark.parametrize(("method", "path"), CALLS)
    async def test_a_driver_may_not(
        self, client: httpx.AsyncClient, world: World, method: str, path: str
    ) -> None:
        station = await world.station()
        driver = await world.user(Role.EV_OWNER)
        body: dict[str, Any] = {"json": {"name": "Mine"}} if method in {"POST", "PUT"} else {}
        answer = await client.request(
            method, PATH + path.format(id=station.id), headers=driver.headers, **body
        )
        assert answer.status_code == 403

    @pytest.mark.parametrize(("method", "path"), [("GET", "/{id}"), ("PUT", "/{id}"), ("DELETE", "/{id}")])
    async def test_another_business_does_not_exist(
        self, client: httpx.AsyncClient, world: World, method: str, path: str
    ) -> None:
        station = await world.station()
        other = await world.user(Role.BACKOFFICE)
        body: dict[str, Any] = {"json": {"name": "Mine"}} if method == "PUT" else {}
        answer = await client.request(
            method, PATH + path.format(id=station.id), headers=other.headers, **body
        )
        assert answer.status_code == 404
        assert answer.json()["error"] == "StationNotFound"

    async def test_an_operator_sees_its_stations_and_changes_none(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        business = await world.backoffice()
        mine, other = await world.station(business), await world.station(business)
        operator = await world.user(Role.OPERATOR, business, (mine,))
        listed = (await client.get(PATH, headers=operator.headers)).json()
        assert [item["id"] for item in listed["items"]] == [str(mine.id)]
        assert listed["total"] == 1
        assert (await client.get(f"{PATH}/{mine.id}", headers=operator.headers)).status_code == 200
        assert (await client.get(f"{PATH}/{other.id}", headers=operator.headers)).status_code == 404
        for method, body in (("PUT", {"name": "x"}), ("DELETE", {})):
            answer = await client.request(method, f"{PATH}/{mine.id}", headers=operator.headers, json=body)
            assert answer.status_code == 403
        created = await client.post(PATH, headers=operator.headers, json={"name": "x"})
        assert created.status_code == 403


class TestCreateStation:
    async def test_only_a_name_is_needed(self, client: httpx.AsyncClient, world: World) -> None:
        business = await world.backoffice()
        user = await world.user(Role.BACKOFFICE, business)
        answer = await client.post(PATH, headers=user.headers, json={"name": "  Harbour "})
        assert answer.status_code == 201
        created = answer.json()
        assert created == {
            "id": created["id"],
            "name": "Harbour",
            **dict.fromkeys(("address", "city", "country", "latitude", "longitude")),
            "time_zone": "UTC",
            "amenities": [],
            **dict.fromkeys(("photo_url", "opening_hours", "support_phone")),
            "backoffice_id": str(business.id),
            "status": "Active",
            "chargers": 0,
            "online_chargers": 0,
            "simulated_chargers": 0,
            "online_simulated_chargers": 0,
            "created_at": "2026-05-04T12:00:00Z",
            "updated_at": "2026-05-04T12:00:00Z",
        }

    async def test_every_field_is_kept(self, client: httpx.AsyncClient, world: World) -> None:
        user = await world.user(Role.BACKOFFICE)
        created = (await client.post(PATH, headers=user.headers, json=FULL)).json()
        shown = (await client.get(f"{PATH}/{created['id']}", headers=user.headers)).json()
        assert shown == created
        assert {name: shown[name] for name in FULL} == {**FULL, "country": "PT"}

    async def test_a_system_admin_need_not_name_the_only_business(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        admin, business = await world.admin(), await world.backoffice()
        answer = await client.post(PATH, headers=admin.headers, json={"name": "Harbour"})
        assert answer.status_code == 201
        assert answer.json()["backoffice_id"] == str(business.id)

    async def test_of_several_businesses_the_oldest_is_meant_when_none_is_named(
        self, client: httpx.AsyncClient, world: World, clock: FrozenClock
    ) -> None:
        admin = await world.admin()
        oldest = await world.backoffice(created_at=clock.now() - timedelta(days=2))
        other = await world.backoffice(created_at=clock.now() - timedelta(days=1))
        answer = await client.post(PATH, headers=admin.headers, json={"name": "Harbour"})
        assert answer.json()["backoffice_id"] == str(oldest.id)
        body = {"name": "Harbour", "backoffice_id": str(other.id)}
        answer = await client.post(PATH, headers=admin.headers, json=body)
        assert answer.json()["backoffice_id"] == str(other.id)

    async def test_the_first_station_of_an_installation_needs_nothing_but_its_name(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        admin = await world.admin()
        first = await client.post(PATH, headers=admin.headers, json={"name": "Harbour"})
        second = await client.post(PATH, headers=admin.headers, json={"name": "Airport"})
        assert (first.status_code, second.status_code) == (201, 201)
        assert first.json()["backoffice_id"] == second.json()["backoffice_id"]

    async def test_an_unknown_business_is_not_found(self, client: httpx.AsyncClient, world: World) -> None:
        admin = await world.admin()
        body = {"name": "Harbour", "backoffice_id": str(uuid4())}
        answer = await client.post(PATH, headers=admin.headers, json=body)
        assert answer.status_code == 404
        assert answer.json()["error"] == "BackofficeNotFound"

    async def test_a_business_creates_for_itself_only(self, client: httpx.AsyncClient, world: World) -> None:
        user, other = await world.user(Role.BACKOFFICE), await world.backoffice()
        body = {"name": "Harbour", "backoffice_id": str(other.id)}
        answer = await client.post(PATH, headers=user.headers, json=body)
        assert answer.status_code == 403

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({}, "name"),
            ({"name": " "}, "name"),
            ({"name": None}, "name"),
            ({"name": "x" * 201}, "name"),
            ({"name": "a\x00"}, "name"),
            ({"name": "\ud800"}, "name"),
            ({"name": "x", "city": "a\x00"}, "city"),
            ({"name": "x", "latitude": 91, "longitude": 0}, "latitude"),
            ({"name": "x", "latitude": 1, "longitude": -181}, "longitude"),
            ({"name": "x", "latitude": 1}, "longitude"),
            ({"name": "x", "latitude": True, "longitude": 1}, "latitude"),
            ({"name": "x", "latitude": 1, "longitude": "2"}, "longitude"),
            ({"name": "x", "longitude": 1, "latitude": None}, "latitude"),
            ({"name": "x", "time_zone": "CET/Nowhere"}, "time_zone"),
            ({"name": "x", "country": "ZZ"}, "country"),
            ({"name": "x", "photo_url": "javascript:x"}, "photo_url"),
            ({"name": "x", "status": "Closed"}, "status"),
            (
                {"name": "x", "opening_hours": {"mon": [{"start": "9", "end": "10"}]}},
                "opening_hours.mon.0.start",
            ),
            ({"name": "x", "location": {"lat": 1, "lng": 2}}, "location"),
            ({"name": "x", "support_phone": "1" * 41}, "support_phone"),
        ],
    )
    async def test_bad_input_names_the_field(
        self, client: httpx.AsyncClient, world: World, body: dict[str, Any], field: str
    ) -> None:
        user = await world.user(Role.BACKOFFICE)
        answer = await client.post(
            PATH, headers={**user.headers, "content-type": "application/json"}, content=json.dumps(body)
        )
        assert answer.status_code == 422, answer.text
        assert field in answer.json()["fields"]

    async def test_not_a_number_is_no_place(self, client: httpx.AsyncClient, world: World) -> None:
        user = await world.user(Role.BACKOFFICE)
        headers = {**user.headers, "content-type": "application/json"}
        body = b'{"name": "x", "latitude": NaN, "longitude": Infinity}'
        answer = await client.post(PATH, headers=headers, content=body)
        assert answer.status_code == 422


class TestListStations:
    async def test_another_business_is_not_seen(self, client: httpx.AsyncClient, world: World) -> None:
        business = await world.backoffice()
        mine, _ = await world.station(business), await world.station()
        user = await world.user(Role.BACKOFFICE, business)
        listed = (await client.get(PATH, headers=user.headers)).json()
        assert [item["id"] for item in listed["items"]] == [str(mine.id)]

    async def test_chargers_are_counted(self, client: httpx.AsyncClient, world: World) -> None:
        station, empty = await world.station(name="A"), await world.station(name="B")
        await world.charger(station, online=True)
        await world.charger(station)
        await world.charger(station, retired_at=world.clock.now())
        admin = await world.admin()
        listed = (await client.get(PATH, headers=admin.headers)).json()
        counts = {item["id"]: (item["chargers"], item["online_chargers"]) for item in listed["items"]}
        assert counts == {str(station.id): (2, 1), str(empty.id): (0, 0)}

    async def test_simulated_chargers_are_counted_apart(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        station, admin = await world.station(), await world.admin()
        await world.charger(station, online=True)
        for online in (True, True, False):
            await world.charger(station, online=online, simulated=True)
        await world.charger(station, simulated=True, retired_at=world.clock.now())
        names = ("chargers", "online_chargers", "simulated_chargers", "online_simulated_chargers")
        [listed] = (await client.get(PATH, headers=admin.headers)).json()["items"]
        shown = (await client.get(f"{PATH}/{station.id}", headers=admin.headers)).json()
        for one in (listed, shown):
            assert tuple(one[name] for name in names) == (1, 1, 3, 2)

    async def test_filters_and_search(self, client: httpx.AsyncClient, world: World) -> None:
        business = await world.backoffice()
        await world.station(business, name="Harbour", city="Porto", address="Rua 100%", status="Inactive")
        await world.station(business, name="Airport", city="Lisboa", address="Rua 100")
        await world.station(name="Elsewhere", city="Lisboa", address=None)
        admin = await world.admin()

        async def names(**query: Any) -> list[str]:
            answer = await client.get(PATH, headers=admin.headers, params=query)
            assert answer.status_code == 200, answer.text
            listed = answer.json()
            assert listed["total"] == len(listed["items"])
            return [item["name"] for item in listed["items"]]

        assert await names(status="Inactive") == ["Harbour"]
        assert await names(city="lisboa") == ["Airport", "Elsewhere"]
        assert await names(backoffice_id=str(business.id)) == ["Airport", "Harbour"]
        assert await names(q="HARB") == ["Harbour"]
        assert await names(q="porto") == ["Harbour"]
        assert await names(q="100%") == ["Harbour"]
        assert await names(q="_") == []
        assert await names(city="Lisboa", backoffice_id=str(business.id)) == ["Airport"]

    @pytest.mark.parametrize(
        "query",
        [
            {"status": "Closed"},
            {"sort": "city"},
            {"sort": "--name"},
            {"limit": "0"},
            {"limit": "501"},
            {"cursor": "made-up"},
            {"q": "a\x00"},
            {"city": "a\x00"},
            {"backoffice_id": "mine"},
        ],
    )
    async def test_a_query_that_makes_no_sense_is_invalid(
        self, client: httpx.AsyncClient, world: World, query: dict[str, str]
    ) -> None:
        admin = await world.admin()
        answer = await client.get(PATH, headers=admin.headers, params=query)
        assert answer.status_code == 422
        assert next(iter(query)) in answer.json()["fields"]

    @pytest.mark.parametrize("sort", ["name", "-name", "created_at", "-created_at"])
    async def test_pages_join_without_gap_or_repetition(
        self, client: httpx.AsyncClient, world: World, clock: FrozenClock, sort: str
    ) -> None:
        business = await world.backoffice()
        user = await world.user(Role.BACKOFFICE, business)
        for name in ("b", "A", "a", "C", "c", "a"):
            await world.station(business, name=name, created_at=clock.now())
            clock.advance(30 if name == "A" else 0)
        cursor: str | None = ""
        key, seen = sort.removeprefix("-"), []
        while cursor is not None:
            query = {"sort": sort, "limit": "2", **({"cursor": cursor} if cursor else {})}
            page = (await client.get(PATH, headers=user.headers, params=query)).json()
            assert page["total"] == 6
            seen += page["items"]
            cursor = page["next_cursor"]
        assert len({item["id"] for item in seen}) == len(seen) == 6
        keys = [item[key].lower() for item in seen]
        assert keys == sorted(keys, reverse=sort.startswith("-"))

    async def test_a_cursor_of_another_order_is_refused(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        business = await world.backoffice()
        user = await world.user(Role.BACKOFFICE, business)
        await world.station(business)
        await world.station(business)
        page = (await client.get(PATH, headers=user.headers, params={"limit": "1"})).json()
        query = {"limit": "1", "sort": "created_at", "cursor": page["next_cursor"]}
        answer = await client.get(PATH, headers=user.headers, params=query)
        assert answer.status_code == 422
        assert "cursor" in answer.json()["fields"]


class TestGetStation:
    async def test_what_does_not_exist_is_not_found(self, client: httpx.AsyncClient, world: World) -> None:
        admin = await world.admin()
        assert (await client.get(f"{PATH}/{uuid4()}", headers=admin.headers)).status_code == 404
        assert (await client.get(f"{PATH}/first", headers=admin.headers)).status_code == 422


class TestChangeStation:
    async def test_what_is_left_out_stays_and_null_clears(
        self, client: httpx.AsyncClient, world: World, clock: FrozenClock
    ) -> None:
        user = await world.user(Role.BACKOFFICE)
        created = (await client.post(PATH, headers=user.headers, json=FULL)).json()
        path = f"{PATH}/{created['id']}"
        clock.advance(60)
        change = {"name": "New", "city": None, "opening_hours": {"always": True}}
        changed = await client.put(path, headers=user.headers, json=change)
        assert changed.status_code == 200, changed.text
        assert changed.json() == {**created, **change, "updated_at": "2026-05-04T12:01:00Z"}
        cleared = {"latitude": None, "longitude": None, "opening_hours": None, "photo_url": None}
        again = (await client.put(path, headers=user.headers, json=cleared)).json()
        assert again == {**changed.json(), **cleared}
        assert (await client.get(path, headers=user.headers)).json() == again

    async def test_no_opening_hours_are_null_in_the_database(
        self, client: httpx.AsyncClient, world: World, db: Database
    ) -> None:
        user = await world.user(Role.BACKOFFICE)
        await client.post(PATH, headers=user.headers, json={"name": "never said"})
        cleared = (await client.post(PATH, headers=user.headers, json=FULL)).json()
        await client.put(f"{PATH}/{cleared['id']}", headers=user.headers, json={"opening_hours": None})
        async with db.session() as session:
            unknown = text("SELECT opening_hours IS NULL FROM stations_station")
            assert list((await session.execute(unknown)).scalars()) == [True, True]

    @pytest.mark.parametrize("field", ["name", "time_zone", "amenities", "status", "backoffice_id"])
    async def test_what_is_always_there_cannot_be_cleared(
        self, client: httpx.AsyncClient, world: World, field: str
    ) -> None:
        station, admin = await world.station(), await world.admin()
        answer = await client.put(f"{PATH}/{station.id}", headers=admin.headers, json={field: None})
        assert answer.status_code == 422
        assert field in answer.json()["fields"]

    async def test_half_a_point_is_refused_after_the_merge(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        station, admin = await world.station(latitude=1.0, longitude=2.0), await world.admin()
        path = f"{PATH}/{station.id}"
        moved = await client.put(path, headers=admin.headers, json={"latitude": 3.5})
        assert (moved.json()["latitude"], moved.json()["longitude"]) == (3.5, 2.0)
        half = await client.put(path, headers=admin.headers, json={"latitude": None})
        assert half.status_code == 422
        assert half.json()["fields"] == {"latitude": "is needed too"}
        assert (await client.get(path, headers=admin.headers)).json()["latitude"] == 3.5

    async def test_a_new_owner_takes_the_chargers_along_and_they_reconnect(
        self, client: httpx.AsyncClient, world: World, app: FastAPI
    ) -> None:
        station, heir, admin = await world.station(), await world.backoffice(), await world.admin()
        charger = await world.charger(station)
        link = FakeLink()
        app.state.links.attach(charger.id, link)
        answer = await client.put(
            f"{PATH}/{station.id}", headers=admin.headers, json={"backoffice_id": str(heir.id)}
        )
        assert answer.json()["backoffice_id"] == str(heir.id)
        shown = await client.get(f"/api/admin/chargers/{charger.id}", headers=admin.headers)
        assert shown.json()["backoffice_id"] == str(heir.id)
        assert len(link.disconnected) == 1
        unknown = {"backoffice_id": str(uuid4())}
        answer = await client.put(f"{PATH}/{station.id}", headers=admin.headers, json=unknown)
        assert answer.status_code == 404

    async def test_a_business_cannot_give_its_station_away(
        self, client: httpx.AsyncClient, world: World, app: FastAPI
    ) -> None:
        business, other = await world.backoffice(), await world.backoffice()
        station, user = await world.station(business), await world.user(Role.BACKOFFICE, business)
        link = FakeLink()
        app.state.links.attach((await world.charger(station)).id, link)
        for owner, status in ((other, 403), (business, 200)):
            answer = await client.put(
                f"{PATH}/{station.id}", headers=user.headers, json={"backoffice_id": str(owner.id)}
            )
            assert answer.status_code == status
        assert link.disconnected == []


class TestDeleteStation:
    async def test_an_empty_station_goes(self, client: httpx.AsyncClient, world: World) -> None:
        station, admin = await world.station(), await world.admin()
        path = f"{PATH}/{station.id}"
        answer = await client.delete(path, headers=admin.headers)
        assert (answer.status_code, answer.content) == (204, b"")
        assert (await client.get(path, headers=admin.headers)).status_code == 404

    async def test_one_with_chargers_and_sessions_is_refused_with_the_numbers(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        station, admin = await world.station(name="Harbour"), await world.admin()
        charger = await world.charger(station)
        await world.charger(station, retired_at=world.clock.now())
        await world.session(charger)
        answer = await client.delete(f"{PATH}/{station.id}", headers=admin.headers)
        assert answer.status_code == 409
        assert answer.json()["error"] == "StationInUse"
        assert "2 chargers and 1 session" in answer.json()["message"]
        assert "Deactivate it instead" in answer.json()["message"]

    async def test_sessions_of_chargers_that_moved_away_still_count(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        station, admin = await world.station(), await world.admin()
        charger = await world.charger(station)
        await world.session(charger)
        moved = await client.put(
            f"/api/admin/chargers/{charger.id}", headers=admin.headers, json={"station_id": None}
        )
        assert moved.status_code == 200
        answer = await client.delete(f"{PATH}/{station.id}", headers=admin.headers)
        assert "no chargers and 1 session" in answer.json()["message"]

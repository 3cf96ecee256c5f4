from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import select, update
from tests.world import SignedIn, World

from ohmstead.accounts.models import Role, User, UserStatus
from ohmstead.accounts.passwords import hash_password
from ohmstead.core.db import Database
from ohmstead.core.errors import Unavailable
from ohmstead.core.live import LiveBus, Scope, Topic

URL = "/api/admin/users"


async def emails(client: httpx.AsyncClient, user: SignedIn, **query: Any) -> list[str]:
    answer = await client.get(URL, params=query, headers=user.headers)
    assert answer.status_code == 200, answer.text
    return [item["email"] for item in answer.json()["items"]]


class TestListUsers:
    async def test_anonymous(self, client: httpx.AsyncClient) -> None:
        assert (await client.get(URL)).status_code == 401

    @pytest.mark.parametrize("role", [Role.OPERATOR, Role.EV_OWNER])
    async def test_other_roles_may_not(self, client: httpx.AsyncClient, world: World, role: Role) -> None:
        user = await world.user(role)
        assert (await client.get(URL, headers=user.headers)).status_code == 403

    async def test_a_system_admin_sees_everybody_without_secrets(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        admin = await world.user(Role.SYSTEM_ADMIN, email="a@b.de")
        owner = await world.user(Role.EV_OWNER, email="b@b.de", password_hash="SECRET")
        answer = await client.get(URL, headers=admin.headers)
        body = answer.json()
        assert "SECRET" not in answer.text
        assert (body["total"], body["next_cursor"]) == (2, None)
        assert body["items"][1].pop("created_at").endswith("Z")
        assert body["items"][1] == {
            "id": str(owner.id),
            "email": "b@b.de",
            "name": None,
            "phone": None,
            "nic": None,
            "role": "EvOwner",
            "status": "Active",
            "backoffice_id": None,
            "operator_station_ids": [],
            "second_factor": False,
            "invited": False,
            "last_login_at": None,
        }

    async def test_a_backoffice_sees_its_own_business(self, client: httpx.AsyncClient, world: World) -> None:
        business = await world.backoffice()
        boss = await world.user(Role.BACKOFFICE, business, email="boss@volt.co")
        await world.user(Role.OPERATOR, business, email="op@volt.co")
        await world.user(Role.OPERATOR, email="op@other.co")
        await world.user(Role.SYSTEM_ADMIN)
        assert await emails(client, boss) == ["boss@volt.co", "op@volt.co"]

    async def test_filters_and_search(self, client: httpx.AsyncClient, world: World) -> None:
        admin = await world.user(Role.SYSTEM_ADMIN, email="admin@x.de")
        await world.user(Role.EV_OWNER, email="ravi_1@x.de")
        await world.user(Role.EV_OWNER, email="off@x.de", status=UserStatus.DEACTIVATED)
        assert await emails(client, admin, role="EvOwner") == ["off@x.de", "ravi_1@x.de"]
        assert await emails(client, admin, status="Deactivated") == ["off@x.de"]
        assert await emails(client, admin, q="RAVI_1") == ["ravi_1@x.de"]
        assert await emails(client, admin, q="i%1") == []
        assert await emails(client, admin, q="i_x") == []

    @pytest.mark.parametrize("sort", ["email", "-email", "created_at", "-created_at"])
    async def test_pages_together_are_the_list_in_every_order(
        self, client: httpx.AsyncClient, world: World, sort: str
    ) -> None:
        admin = await world.user(Role.SYSTEM_ADMIN, email="m@x.de")
        for name in "dbca":
            await world.user(Role.EV_OWNER, email=f"{name}@x.de")
        whole = await emails(client, admin, sort=sort)
        assert len(whole) == 5
        if sort.endswith("email"):
            assert whole == sorted(whole, reverse=sort.startswith("-"))
        paged, cursor, pages = [], None, 0
        while pages == 0 or cursor:
            query: dict[str, Any] = {"sort": sort, "limit": 2} | ({"cursor": cursor} if cursor else {})
            body = (await client.get(URL, params=query, headers=admin.headers)).json()
            paged += [item["email"] for item in body["items"]]
            cursor, pages = body["next_cursor"], pages + 1
            assert body["total"] == 5
        assert (paged, pages) == (whole, 3)

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ({"sort": "password_hash"}, "sort"),
            ({"sort": "--email"}, "sort"),
            ({"cursor": "made-up"}, "cursor"),
            ({"cursor": "WyJlbWFpbCJd"}, "cursor"),  # ["email"]
            ({"cursor": "WyJlbWFpbCIsMSwyXQ"}, "cursor"),  # ["email",1,2]
            ({"cursor": "WyItZW1haWwiLCJhIiwiYiJd"}, "cursor"),  # ["-email","a","b"]
            ({"q": "nul\x00"}, "q"),
            ({"role": "King"}, "role"),
            ({"status": "Asleep"}, "status"),
            ({"limit": 0}, "limit"),
        ],
        ids=str,
    )
    async def test_a_query_that_makes_no_sense_names_its_fault(
        self, client: httpx.AsyncClient, world: World, query: dict[str, Any], field: str
    ) -> None:
        admin = await world.user(Role.SYSTEM_ADMIN)
        answer = await client.get(URL, params=query, headers=admin.headers)
        assert answer.status_code == 422
        assert list(answer.json()["fields"]) == [field]


async def put(client: httpx.AsyncClient, by: SignedIn, user: UUID, body: Any) -> httpx.Response:
    return await client.put(f"{URL}/{user}", json=body, headers=by.headers)


class TestChangeUser:
    async def test_anonymous(self, client: httpx.AsyncClient) -> None:
        assert (await client.put(f"{URL}/{uuid4()}", json={})).status_code == 401

    @pytest.mark.parametrize("role", [Role.OPERATOR, Role.EV_OWNER])
    async def test_other_roles_may_not_even_themselves(
        self, client: httpx.AsyncClient, world: World, role: Role
    ) -> None:
        user = await world.user(role)
        assert (await put(client, user, user.id, {"status": "Active"})).status_code == 403

    async def test_a_deactivated_user_is_out_and_comes_back_when_activated(
        self, client: httpx.AsyncClient, world: World, db: Database
    ) -> None:
        admin, owner = await world.admin(), await world.user(Role.OPERATOR)
        async with db.session() as session:
            change = update(User).where(User.id == owner.id)
            await session.execute(change.values(password_hash=await hash_password("Secret123")))
        answer = await put(client, admin, owner.id, {"status": "Deactivated"})
        assert (answer.status_code, answer.json()["status"]) == (200, "Deactivated")
        assert (await client.get("/api/auth/me", headers=owner.headers)).status_code == 401
        await put(client, admin, owner.id, {"status": "Active"})
        assert (await client.get("/api/auth/me", headers=owner.headers)).status_code == 200

    async def test_an_operator_gets_its_stations_and_what_is_absent_stays(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        business = await world.backoffice()
        boss, operator = (
            await world.user(Role.BACKOFFICE, business),
            await world.user(Role.OPERATOR, business),
        )
        one, other = await world.station(business), await world.station(business)
        ids = [str(one.id), str(other.id)]
        answer = await put(client, boss, operator.id, {"operator_station_ids": [*ids, ids[0]]})
        assert answer.json()["operator_station_ids"] == ids
        answer = await put(client, boss, operator.id, {"status": "Deactivated"})
        assert answer.json()["operator_station_ids"] == ids
        answer = await put(client, boss, operator.id, {})
        assert answer.json()["status"] == "Deactivated"
        answer = await put(client, boss, operator.id, {"operator_station_ids": []})
        assert answer.json()["operator_station_ids"] == []

    async def test_stations_are_those_of_its_own_business(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        business, admin = await world.backoffice(), await world.admin()
        boss, operator = (
            await world.user(Role.BACKOFFICE, business),
            await world.user(Role.OPERATOR, business),
        )
        own, strange = await world.station(business), await world.station()
        new = {"email": "new@volt.example", "role": "Operator", "backoffice_id": str(business.id)}
        for by in (boss, admin):
            for ids in ([str(strange.id)], [str(own.id), str(uuid4())]):
                body = {"operator_station_ids": ids}
                for answer in (
                    await put(client, by, operator.id, body),
                    await client.post(URL, headers=by.headers, json=new | body),
                ):
                    assert answer.status_code == 422
                    assert list(answer.json()["fields"]) == ["operator_station_ids"]
        move = {"backoffice_id": str(strange.backoffice_id), "operator_station_ids": [str(own.id)]}
        assert (await put(client, admin, operator.id, move)).status_code == 422
        move["operator_station_ids"] = [str(strange.id)]
        assert (await put(client, admin, operator.id, move)).status_code == 200

    async def test_another_business_s_user_is_not_found(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        boss = await world.user(Role.BACKOFFICE)
        for stranger in (await world.user(Role.OPERATOR), await world.admin()):
            assert (await put(client, boss, stranger.id, {"status": "Deactivated"})).status_code == 404
            assert (await client.get("/api/auth/me", headers=stranger.headers)).status_code == 200
        assert (await put(client, boss, uuid4(), {})).status_code == 404

    async def test_a_backoffice_may_not_change_its_equals(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        business = await world.backoffice()
        boss, equal = await world.user(Role.BACKOFFICE, business), await world.user(Role.BACKOFFICE, business)
        assert (await put(client, boss, equal.id, {"status": "Deactivated"})).status_code == 403

    async def test_nobody_locks_itself_out(self, client: httpx.AsyncClient, world: World) -> None:
        admin = await world.admin()
        assert (await put(client, admin, admin.id, {"status": "Deactivated"})).status_code == 409
        assert (await client.get("/api/auth/me", headers=admin.headers)).status_code == 200

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"status": None}, "status"),
            ({"status": "Asleep"}, "status"),
            ({"operator_station_ids": None}, "operator_station_ids"),
            ({"operator_station_ids": ["x"]}, "operator_station_ids.0"),
            ({"operator_station_ids": [str(UUID(int=n)) for n in range(1001)]}, "operator_station_ids"),
            ({"role": "King"}, "role"),
            ({"role": None}, "role"),
            ({"role": "Operator"}, "backoffice_id"),
            ({"backoffice_id": str(UUID(int=1))}, "backoffice_id"),
            ({"role": "Backoffice", "backoffice_id": str(UUID(int=1))}, "backoffice_id"),
            ({"email": "another"}, "email"),
            ({"phone": "call me"}, "phone"),
            ({"operator_station_ids": []}, "operator_station_ids"),  # of somebody who is no Operator
        ],
        ids=lambda value: str(value)[:40],
    )
    async def test_input_that_makes_no_sense_names_its_fault(
        self, client: httpx.AsyncClient, world: World, body: dict[str, Any], field: str
    ) -> None:
        admin, owner = await world.admin(), await world.user(Role.EV_OWNER)
        answer = await put(client, admin, owner.id, body)
        assert answer.status_code == 422
        assert list(answer.json()["fields"]) == [field]


class TestLiveConnections:
    @pytest.fixture
    def live(self, app: FastAPI) -> LiveBus:
        bus: LiveBus = app.state.live
        return bus

    @pytest.mark.parametrize("change", [{"status": "Deactivated"}, {"operator_station_ids": []}])
    async def test_they_end_when_the_rights_change_and_those_of_others_stay(
        self, client: httpx.AsyncClient, world: World, live: LiveBus, change: dict[str, Any]
    ) -> None:
        admin, business = await world.admin(), await world.backoffice()
        stations = (await world.station(business),)
        operator = await world.user(Role.OPERATOR, business, stations=stations)
        mine = live.subscribe(operator.id, [Topic.CHARGERS], Scope())
        other = live.subscribe(admin.id, [Topic.CHARGERS], Scope(everything=True))
        assert (await put(client, admin, operator.id, change)).status_code == 200
        assert mine.closed == "scope"
        assert await mine.queue.get() is None
        assert other.closed is None

    async def test_they_stay_when_nothing_changes(
        self, client: httpx.AsyncClient, world: World, live: LiveBus
    ) -> None:
        admin, operator = await world.admin(), await world.user(Role.OPERATOR)
        mine = live.subscribe(operator.id, [Topic.CHARGERS], Scope())
        same = {"status": "Active", "operator_station_ids": []}
        assert (await put(client, admin, operator.id, same)).status_code == 200
        assert mine.closed is None

    async def test_they_stay_when_the_change_is_refused(
        self, client: httpx.AsyncClient, world: World, live: LiveBus
    ) -> None:
        admin = await world.admin()
        mine = live.subscribe(admin.id, [Topic.CHARGERS], Scope(everything=True))
        assert (await put(client, admin, admin.id, {"status": "Deactivated"})).status_code == 409
        assert mine.closed is None

    async def test_they_end_after_the_commit_and_not_at_all_when_it_fails(
        self,
        client: httpx.AsyncClient,
        world: World,
        live: LiveBus,
        db: Database,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        admin, operator = await world.admin(), await world.user(Role.OPERATOR)
        mine = live.subscribe(operator.id, [Topic.CHARGERS], Scope())
        real = db.session
        told: list[str | None] = []
        fails = True

        @asynccontextmanager
        async def watched() -> AsyncIterator[Any]:
            async with real() as session:
                yield session
                status = await session.scalar(select(User.status).where(User.id == operator.id))
                changed = status == "Deactivated"
                if changed and fails:
                    raise Unavailable("The database went away at the commit.")
            if changed:
                told.append(mine.closed)

        monkeypatch.setattr(db, "session", watched)
        assert (await put(client, admin, operator.id, {"status": "Deactivated"})).status_code == 503
        assert (mine.closed, told) == (None, [])
        fails = False
        assert (await put(client, admin, operator.id, {"status": "Deactivated"})).status_code == 200
        assert (mine.closed, told) == ("scope", [None])

"""Operators: who works at which stations of a business, and that it holds at once."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI
from tests.accounts.people import PASSWORD, link, mails, trail
from tests.conftest import FrozenClock
from tests.running import RunningServer
from tests.world import SignedIn, World

from ohmstead.accounts.access_tokens import issue
from ohmstead.accounts.models import Backoffice, Role, User
from ohmstead.accounts.passwords import hash_password
from ohmstead.core.config import Settings
from ohmstead.core.db import Database
from ohmstead.core.live import LiveBus, Scope, Topic
from ohmstead.stations.models import Station

PATH = "/api/operator"


class Office:
    """A business with someone to run it and two stations."""

    def __init__(self, business: Backoffice, boss: SignedIn, stations: list[Station]) -> None:
        self.business = business
        self.boss = boss
        self.stations = stations
        self.ids = [str(station.id) for station in stations]


@pytest.fixture
async def office(world: World) -> Office:
    business = await world.backoffice()
    boss = await world.user(Role.BACKOFFICE, business)
    return Office(business, boss, [await world.station(business) for _ in range(2)])


async def make(client: httpx.AsyncClient, by: SignedIn, **body: Any) -> dict[str, Any]:
    body = {"email": f"{uuid4().hex[:8]}@volt.example"} | body
    answer = await client.post(PATH, headers=by.headers, json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


class TestCreate:
    async def test_with_a_password_that_has_to_be_changed_at_the_first_sign_in(
        self, client: httpx.AsyncClient, office: Office, db: Database
    ) -> None:
        answer = await client.post(
            "/api/Operator",
            headers=office.boss.headers,
            json={"email": "Maya@volt.co", "password": "Init#123", "stationIds": office.ids},
        )
        assert answer.status_code == 201, answer.text
        made = answer.json()
        assert made | {"id": "", "createdAt": ""} == {
            "id": "",
            "email": "maya@volt.co",
            "name": None,
            "phone": None,
            "status": "Active",
            "backofficeId": str(office.business.id),
            "stationIds": office.ids,
            "invited": False,
            "createdAt": "",
            "lastLoginAt": None,
        }
        [mail] = await mails(db, "maya@volt.co")
        assert mail.template == "operator_created"
        assert office.business.name in str(mail.text)
        assert "/sign-in" in str(mail.text)
        assert "Init#123" not in f"{mail.text}{mail.html}"
        signed = await client.post(
            "/api/auth/login", json={"username": "maya@volt.co", "password": "Init#123"}
        )
        assert signed.json()["mustChangePassword"] is True
        assert signed.json()["operatorStationIds"] == sorted(office.ids)
        assert (await trail(db, made["id"]))[0] == "operator.created"

    async def test_without_one_by_invitation(
        self, client: httpx.AsyncClient, office: Office, db: Database
    ) -> None:
        made = await make(client, office.boss, email="maya@volt.co", name="Maya", stationIds=office.ids[:1])
        assert made["invited"] is True
        [mail] = await mails(db, "maya@volt.co", "invite")
        assert office.business.name in str(mail.text)
        token = await link(db, "maya@volt.co", "/invite/")
        await client.post(f"/api/auth/invite/{token}", json={"password": PASSWORD})
        shown = await client.get(f"{PATH}/{made['id']}", headers=office.boss.headers)
        assert shown.json()["invited"] is False
        again = await client.post(f"{PATH}/{made['id']}/invite", headers=office.boss.headers)
        assert (again.status_code, again.json()["error"]) == (409, "AlreadyAccepted")

    async def test_an_invitation_can_be_sent_again(
        self, client: httpx.AsyncClient, office: Office, db: Database
    ) -> None:
        made = await make(client, office.boss, email="maya@volt.co")
        old = await link(db, "maya@volt.co", "/invite/")
        answer = await client.post(f"{PATH}/{made['id']}/invite", headers=office.boss.headers)
        assert answer.status_code == 202
        assert (await client.get(f"/api/auth/invite/{old}")).status_code == 410
        new = await link(db, "maya@volt.co", "/invite/")
        assert (await client.get(f"/api/auth/invite/{new}")).status_code == 200

    async def test_who_is_disabled_is_mailed_no_link_that_would_open_nothing(
        self, client: httpx.AsyncClient, world: World, office: Office, db: Database
    ) -> None:
        made = await make(client, office.boss, email="maya@volt.co")
        await client.put(f"{PATH}/{made['id']}/disable", headers=office.boss.headers)
        admin = await world.admin()
        for path, by in ((PATH, office.boss), ("/api/admin/users", admin)):
            answer = await client.post(f"{path}/{made['id']}/invite", headers=by.headers)
            assert (answer.status_code, answer.json()["error"]) == (409, "AccountDeactivated")
        assert len(await mails(db, "maya@volt.co")) == 1
        await client.put(f"{PATH}/{made['id']}/enable", headers=office.boss.headers)
        answer = await client.post(f"{PATH}/{made['id']}/invite", headers=office.boss.headers)
        assert answer.status_code == 202

    async def test_a_system_admin_names_the_business(
        self, client: httpx.AsyncClient, world: World, office: Office
    ) -> None:
        admin = await world.admin()
        body = {"email": "maya@volt.co", "stationIds": office.ids}
        answer = await client.post(PATH, headers=admin.headers, json=body)
        assert (answer.status_code, list(answer.json()["fields"])) == (400, ["backofficeId"])
        made = await make(client, admin, **body, backofficeId=str(office.business.id))
        assert made["backofficeId"] == str(office.business.id)

    async def test_an_address_is_taken_once_in_any_case(
        self, client: httpx.AsyncClient, office: Office
    ) -> None:
        await make(client, office.boss, email="maya@volt.co")
        answer = await client.post(PATH, headers=office.boss.headers, json={"email": "MAYA@volt.co"})
        assert (answer.status_code, answer.json()["error"]) == (409, "EmailTaken")

    async def test_of_several_at_once_with_one_address_one_is_made(
        self, server: RunningServer, server_world: World
    ) -> None:
        boss = await server_world.user(Role.BACKOFFICE)
        body = {"email": f"{uuid4().hex[:8]}@volt.example"}
        async with httpx.AsyncClient(
            base_url=server.http, headers=boss.headers, trust_env=False, timeout=30
        ) as http:
            answers = await asyncio.gather(*(http.post(PATH, json=body) for _ in range(6)))
        assert sorted(answer.status_code for answer in answers) == [201] + [409] * 5

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"email": None}, "email"),
            ({"email": "m\u0430ya@volt.co"}, "email"),
            ({"password": ""}, "password"),
            ({"stationIds": ["x"]}, "stationIds.0"),
            ({"stationIds": [str(UUID(int=1))]}, "stationIds"),
            ({"stationIds": [str(UUID(int=n)) for n in range(1001)]}, "stationIds"),
            ({"role": "SystemAdmin"}, "role"),
            ({"name": ""}, "name"),
            ({"name": "x" * 201}, "name"),
            ({"phone": "ring"}, "phone"),
        ],
        ids=lambda value: str(value)[:30],
    )
    async def test_bad_input_names_its_field(
        self, client: httpx.AsyncClient, office: Office, body: dict[str, Any], field: str
    ) -> None:
        answer = await client.post(PATH, headers=office.boss.headers, json={"email": "maya@volt.co"} | body)
        assert answer.status_code == 400
        assert list(answer.json()["fields"]) == [field]
        assert (await client.get(PATH, headers=office.boss.headers)).json() == []

    async def test_another_business_and_its_stations_are_out_of_reach(
        self, client: httpx.AsyncClient, world: World, office: Office
    ) -> None:
        other = await world.station()
        body = {"email": "maya@volt.co", "stationIds": [str(other.id)]}
        answer = await client.post(PATH, headers=office.boss.headers, json=body)
        assert (answer.status_code, list(answer.json()["fields"])) == (400, ["stationIds"])
        body = {"email": "maya@volt.co", "backofficeId": str(other.backoffice_id)}
        assert (await client.post(PATH, headers=office.boss.headers, json=body)).status_code == 403

    @pytest.mark.parametrize("status", ["PendingApproval", "Rejected"])
    async def test_a_business_that_is_not_at_work_has_no_operators(
        self, client: httpx.AsyncClient, world: World, status: str
    ) -> None:
        business = await world.backoffice(status=status)
        body = {"email": "maya@volt.co", "backofficeId": str(business.id)}
        answer = await client.post(PATH, headers=(await world.admin()).headers, json=body)
        assert (answer.status_code, list(answer.json()["fields"])) == (400, ["backofficeId"])


class TestList:
    async def test_they_are_those_of_the_own_business_searched_filtered_and_paged(
        self, client: httpx.AsyncClient, world: World, office: Office
    ) -> None:
        for name, stations in (("ada", office.ids), ("ben", office.ids[:1]), ("cyd", [])):
            await make(client, office.boss, email=f"{name}@volt.co", name=name.title(), stationIds=stations)
        await world.user(Role.OPERATOR)

        async def names(by: SignedIn = office.boss, **params: Any) -> list[str]:
            answer = await client.get(PATH, headers=by.headers, params=params)
            assert answer.status_code == 200, answer.text
            return [str(one["email"])[:3] for one in answer.json()]

        assert await names() == ["ada", "ben", "cyd"]
        assert await names(sort="-email") == ["cyd", "ben", "ada"]
        assert await names(q="Ben") == ["ben"]
        assert await names(stationId=office.ids[1]) == ["ada"]
        admin = await world.admin()
        assert len(await names(admin)) == 4
        assert await names(admin, backofficeId=str(office.business.id)) == ["ada", "ben", "cyd"]
        first = await client.get(PATH, headers=office.boss.headers, params={"limit": 2})
        assert await names(limit=2, cursor=first.headers["X-Next-Cursor"]) == ["cyd"]


class TestChange:
    async def test_what_is_absent_stays(
        self, client: httpx.AsyncClient, office: Office, db: Database
    ) -> None:
        made = await make(client, office.boss, name="Maya", phone="+65 1234", stationIds=office.ids)
        url = f"{PATH}/{made['id']}"
        answer = await client.put(url, headers=office.boss.headers, json={"stationIds": office.ids[:1]})
        assert answer.json() == made | {"stationIds": office.ids[:1]}
        answer = await client.put(url, headers=office.boss.headers, json={"phone": None, "name": "M"})
        assert answer.json() == made | {"stationIds": office.ids[:1], "phone": None, "name": "M"}
        answer = await client.put(url, headers=office.boss.headers, json={})
        assert answer.status_code == 200
        assert await trail(db, made["id"]) == ["operator.created", "user.invited"] + ["operator.updated"] * 2

    async def test_a_system_admin_moves_one_to_another_business_and_its_stations_are_left(
        self, client: httpx.AsyncClient, world: World, office: Office
    ) -> None:
        made = await make(client, office.boss, stationIds=office.ids)
        url, other = f"{PATH}/{made['id']}", await world.station()
        body = {"backofficeId": str(other.backoffice_id)}
        assert (await client.put(url, headers=office.boss.headers, json=body)).status_code == 403
        admin = await world.admin()
        answer = await client.put(url, headers=admin.headers, json=body)
        assert (answer.json()["backofficeId"], answer.json()["stationIds"]) == (body["backofficeId"], [])
        assert (await client.get(url, headers=office.boss.headers)).status_code == 404
        back = {"backofficeId": str(office.business.id), "stationIds": office.ids[1:]}
        answer = await client.put(url, headers=admin.headers, json=back)
        assert answer.json()["stationIds"] == office.ids[1:]

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"stationIds": None}, "stationIds"),
            ({"stationIds": [str(UUID(int=1))]}, "stationIds"),
            ({"backofficeId": None}, "backofficeId"),
            ({"email": "new@volt.co"}, "email"),
            ({"status": "Active"}, "status"),
        ],
    )
    async def test_bad_input_names_its_field(
        self, client: httpx.AsyncClient, office: Office, body: dict[str, Any], field: str
    ) -> None:
        made = await make(client, office.boss)
        answer = await client.put(f"{PATH}/{made['id']}", headers=office.boss.headers, json=body)
        assert (answer.status_code, list(answer.json()["fields"])) == (400, [field])

    async def test_a_disabled_one_is_out_with_the_token_that_it_has_until_it_is_enabled(
        self, client: httpx.AsyncClient, world: World, office: Office
    ) -> None:
        hashed = await hash_password(PASSWORD)
        maya = await world.user(Role.OPERATOR, office.business, password_hash=hashed)
        stations = "/api/admin/stations"
        for _ in range(2):
            answer = await client.put(f"{PATH}/{maya.id}/disable", headers=office.boss.headers)
            assert (answer.status_code, answer.json()["status"]) == (200, "Deactivated")
        assert (await client.get(stations, headers=maya.headers)).status_code == 401
        answer = await client.put(f"{PATH}/{maya.id}/enable", headers=office.boss.headers)
        assert answer.json()["status"] == "Active"
        assert (await client.get(stations, headers=maya.headers)).status_code == 200
        assert await trail(world.database, maya.id) == ["operator.disabled", "operator.enabled"]

    async def test_the_reasons_are_in_the_audit_trail(
        self, client: httpx.AsyncClient, office: Office
    ) -> None:
        made, headers = await make(client, office.boss), office.boss.headers
        url = f"{PATH}/{made['id']}"
        for path, more in (("/disable", {}), ("/enable", {}), ("", {"name": "Maya"})):
            body = {"reason": f"why{path}"} | more
            assert (await client.put(url + path, headers=headers, json=body)).status_code == 200
        assert (await client.put(f"{url}/disable", headers=headers, json={"why": "x"})).status_code == 400
        wanted = {"entity_id": made["id"]}
        shown = (await client.get("/api/admin/audit", params=wanted, headers=headers)).json()["items"]
        assert [(one["action"], one["reason"]) for one in shown[:3]] == [
            ("operator.updated", "why"),
            ("operator.enabled", "why/enable"),
            ("operator.disabled", "why/disable"),
        ]

    async def test_an_enabled_one_signs_in_anew(
        self, client: httpx.AsyncClient, world: World, office: Office
    ) -> None:
        hashed = await hash_password(PASSWORD)
        maya = await world.user(Role.OPERATOR, office.business, password_hash=hashed)
        body = {"username": maya.email, "password": PASSWORD, "refreshToken": "body"}
        signed = (await client.post("/api/auth/login", json=body)).json()
        for move in ("disable", "enable"):
            await client.put(f"{PATH}/{maya.id}/{move}", headers=office.boss.headers)
        headers = {"Authorization": f"Bearer {signed['accessToken']}"}
        answer = await client.get("/api/admin/stations", headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (401, "SignedOut")
        again = await client.post("/api/auth/refresh", json={"refreshToken": signed["refreshToken"]})
        assert again.status_code == 401
        assert (await client.post("/api/auth/login", json=body)).status_code == 200


class TestAtOnce:
    @pytest.mark.parametrize(("path", "body"), [("", {"stationIds": []}), ("/disable", None)])
    async def test_live_connections_end_when_the_rights_change_and_only_then(
        self, *, app: FastAPI, client: httpx.AsyncClient, world: World, office: Office, path: str, body: Any
    ) -> None:
        live: LiveBus = app.state.live
        maya = await world.user(Role.OPERATOR, office.business, stations=(office.stations[0],))
        mine = live.subscribe(maya.id, [Topic.CHARGERS], Scope(backoffice_id=office.business.id))
        url = f"{PATH}/{maya.id}"
        same = {"name": "Maya", "stationIds": office.ids[:1]}
        assert (await client.put(url, headers=office.boss.headers, json=same)).status_code == 200
        assert mine.closed is None
        assert (await client.put(url + path, headers=office.boss.headers, json=body)).status_code == 200
        assert mine.closed == "scope"

    async def test_a_station_that_is_deleted_is_left_by_all_who_worked_there(
        self, *, app: FastAPI, client: httpx.AsyncClient, world: World, office: Office
    ) -> None:
        live: LiveBus = app.state.live
        gone, stays = office.stations
        maya = await world.user(Role.OPERATOR, office.business, stations=(gone, stays))
        other = await world.user(Role.OPERATOR, office.business, stations=(stays,))
        hers, his = (
            live.subscribe(one.id, [Topic.CHARGERS], Scope(backoffice_id=office.business.id))
            for one in (maya, other)
        )
        answer = await client.delete(f"/api/admin/stations/{gone.id}", headers=office.boss.headers)
        assert answer.status_code == 204
        shown = (await client.get(f"{PATH}/{maya.id}", headers=office.boss.headers)).json()
        assert shown["stationIds"] == [str(stays.id)]
        assert (hers.closed, his.closed) == ("scope", None)
        body = {"stationIds": shown["stationIds"]}
        again = await client.put(f"{PATH}/{maya.id}", headers=office.boss.headers, json=body)
        assert again.status_code == 200
        assert await trail(world.database, maya.id) == ["operator.updated"]
        assert await trail(world.database, other.id) == []

    async def test_a_station_that_cannot_be_deleted_is_left_by_nobody(
        self, *, app: FastAPI, client: httpx.AsyncClient, world: World, office: Office
    ) -> None:
        live: LiveBus = app.state.live
        await world.charger(office.stations[0])
        maya = await world.user(Role.OPERATOR, office.business, stations=(office.stations[0],))
        mine = live.subscribe(maya.id, [Topic.CHARGERS], Scope(backoffice_id=office.business.id))
        answer = await client.delete(f"/api/admin/stations/{office.ids[0]}", headers=office.boss.headers)
        assert (answer.status_code, mine.closed) == (409, None)
        shown = (await client.get(f"{PATH}/{maya.id}", headers=office.boss.headers)).json()
        assert shown["stationIds"] == office.ids[:1]

    async def test_a_station_that_goes_to_another_business_is_left_too(
        self, client: httpx.AsyncClient, world: World, office: Office
    ) -> None:
        maya = await world.user(Role.OPERATOR, office.business, stations=tuple(office.stations))
        body = {"backoffice_id": str((await world.backoffice()).id)}
        url = f"/api/admin/stations/{office.ids[0]}"
        answer = await client.put(url, headers=(await world.admin()).headers, json=body)
        assert answer.status_code == 200
        shown = (await client.get(f"{PATH}/{maya.id}", headers=office.boss.headers)).json()
        assert shown["stationIds"] == office.ids[1:]

    async def test_of_a_station_that_is_deleted_while_operators_come_to_it_none_keeps_it(
        self, server: RunningServer, server_world: World
    ) -> None:
        boss = await server_world.user(Role.BACKOFFICE, business := await server_world.backoffice())
        station = await server_world.station(business)
        body = {"stationIds": [str(station.id)]}
        async with httpx.AsyncClient(
            base_url=server.http, headers=boss.headers, trust_env=False, timeout=30
        ) as http:
            ids = [(await make(http, boss))["id"] for _ in range(6)]
            gone, *answers = await asyncio.gather(
                http.delete(f"/api/admin/stations/{station.id}"),
                *(http.put(f"{PATH}/{one}", json=body) for one in ids),
            )
            assert gone.status_code == 204
            assert {answer.status_code for answer in answers} <= {200, 400}
            assert [one["stationIds"] for one in (await http.get(PATH)).json()] == [[]] * 6

    async def test_what_counts_is_the_row_and_not_the_stations_in_the_token(
        self, client: httpx.AsyncClient, world: World, office: Office
    ) -> None:
        maya = await world.user(Role.OPERATOR, office.business, stations=tuple(office.stations))

        async def seen() -> list[str]:
            answer = await client.get("/api/admin/stations", headers=maya.headers)
            return sorted(one["id"] for one in answer.json()["items"])

        assert await seen() == sorted(office.ids)
        await client.put(
            f"{PATH}/{maya.id}", headers=office.boss.headers, json={"stationIds": office.ids[1:]}
        )
        assert await seen() == office.ids[1:]

    @pytest.mark.parametrize(("count", "named"), [(50, True), (51, False)])
    def test_more_than_fifty_stations_are_left_out_of_the_token(
        self, settings: Settings, clock: FrozenClock, count: int, named: bool
    ) -> None:
        user = User(id=uuid4(), email="m@volt.co", role=Role.OPERATOR, operator_station_ids=[uuid4()] * count)
        token = issue(settings, user, clock.now())
        assert (len(token) > 2000) is named


class TestWhoMay:
    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", ""),
            ("POST", ""),
            ("GET", "/{id}"),
            ("PUT", "/{id}"),
            ("PUT", "/{id}/disable"),
            ("PUT", "/{id}/enable"),
            ("POST", "/{id}/invite"),
        ],
    )
    async def test_nobody_else_and_no_other_business(
        self, client: httpx.AsyncClient, world: World, office: Office, method: str, path: str
    ) -> None:
        maya = await world.user(Role.OPERATOR, office.business)
        url = PATH + path.replace("{id}", str(maya.id))
        assert (await client.request(method, url, json={})).status_code == 401
        for user in (maya, await world.user(Role.EV_OWNER)):
            assert (await client.request(method, url, json={}, headers=user.headers)).status_code == 403
        if path:
            stranger = await world.user(Role.BACKOFFICE)
            answer = await client.request(method, url, json={}, headers=stranger.headers)
            assert (answer.status_code, answer.json()["error"]) == (404, "OperatorNotFound")

    async def test_somebody_who_is_no_operator_is_not_found(
        self, client: httpx.AsyncClient, world: World, office: Office
    ) -> None:
        equal = await world.user(Role.BACKOFFICE, office.business)
        answer = await client.put(f"{PATH}/{equal.id}/disable", headers=office.boss.headers)
        assert answer.status_code == 404
        assert (await client.get("/api/admin/stations", headers=equal.headers)).status_code == 200

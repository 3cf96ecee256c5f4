from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import select
from tests.conftest import FrozenClock
from tests.stations.links import FakeLink
from tests.world import World

from ohmstead.accounts.models import Role
from ohmstead.accounts.passwords import secret_matches
from ohmstead.core.config import Settings
from ohmstead.core.db import Database
from ohmstead.stations.models import Charger, Connector, Station

PATH = "/api/admin/chargers"
ONE = ["GET /{id}", "PUT /{id}", "DELETE /{id}", "GET /{id}/status-history", "GET /{id}/reports"]
ALL = ["GET ", "POST ", "DELETE ?simulated=true", *ONE]


async def password_hash(db: Database, charger_id: str) -> str | None:
    async with db.session() as session:
        query = select(Charger.password_hash).where(Charger.id == charger_id)
        return (await session.execute(query)).scalar_one()


class TestAccess:
    async def call(
        self, client: httpx.AsyncClient, call: str, charger_id: str, headers: dict[str, str]
    ) -> httpx.Response:
        method, path = call.split(" ")
        bodies: dict[str, Any] = {"POST": {"json": {"id": "NEW"}}, "PUT": {"json": {"name": "Mine"}}}
        body = bodies.get(method, {})
        return await client.request(method, PATH + path.format(id=charger_id), headers=headers, **body)

    @pytest.mark.parametrize("call", ALL)
    async def test_anonymous(self, client: httpx.AsyncClient, world: World, call: str) -> None:
        charger = await world.charger(simulated=True)
        assert (await self.call(client, call, charger.id, {})).status_code == 401

    @pytest.mark.parametrize("call", ALL)
    async def test_a_driver_may_not(self, client: httpx.AsyncClient, world: World, call: str) -> None:
        charger, driver = await world.charger(), await world.user(Role.EV_OWNER)
        assert (await self.call(client, call, charger.id, driver.headers)).status_code == 403

    @pytest.mark.parametrize("call", ONE)
    async def test_a_charger_of_another_business_does_not_exist(
        self, client: httpx.AsyncClient, world: World, call: str
    ) -> None:
        charger, other = await world.charger(), await world.user(Role.BACKOFFICE)
        answer = await self.call(client, call, charger.id, other.headers)
        assert answer.status_code == 404
        assert answer.json()["error"] == "ChargerNotFound"

    @pytest.mark.parametrize("call", ALL)
    async def test_an_operator_reads_its_stations_only(
        self, client: httpx.AsyncClient, world: World, call: str
    ) -> None:
        business = await world.backoffice()
        mine = await world.charger(await world.station(business))
        other = await world.charger(await world.station(business))
        station = mine.station_id
        operator = await world.user(Role.OPERATOR, business, (await self.station(world, station),))
        reads = call.startswith("GET")
        answer = await self.call(client, call, mine.id, operator.headers)
        assert answer.status_code == (200 if reads else 403)
        if reads and "{id}" in call:
            assert (await self.call(client, call, other.id, operator.headers)).status_code == 404
        elif reads:
            assert [item["id"] for item in answer.json()["items"]] == [mine.id]

    async def station(self, world: World, station_id: Any) -> Any:
        async with world.database.session() as session:
            return await session.get_one(Station, station_id)


class TestCreateCharger:
    async def test_only_an_id_is_needed(self, client: httpx.AsyncClient, world: World) -> None:
        business = await world.backoffice()
        user = await world.user(Role.BACKOFFICE, business)
        answer = await client.post(PATH, headers=user.headers, json={"id": "CP001"})
        assert answer.status_code == 201, answer.text
        created = answer.json()
        assert "password" not in created
        assert created["backoffice_id"] == str(business.id)
        assert created["station"] is None
        assert created["registration"] == "Accepted"
        assert created["ocpp_version"] == "1.6"
        assert (created["online"], created["has_password"], created["security_profile"]) == (False, False, 0)
        assert created["created_at"] == "2026-05-04T12:00:00Z"
        assert created["connectors"] == [
            {
                "connector_id": 1,
                **dict.fromkeys(
                    ("type", "current", "phases", "max_power_kw", "status", "error_code", "info")
                ),
                **dict.fromkeys(("vendor_id", "vendor_error_code", "status_since", "status_at")),
            }
        ]
        assert created["whole"] is None
        shown = await client.get(f"{PATH}/CP001", headers=user.headers)
        assert shown.json() == created

    async def test_connectors_are_a_number_or_a_list(self, client: httpx.AsyncClient, world: World) -> None:
        station, admin = await world.station(name="Harbour"), await world.admin()
        body = {"id": "A", "station_id": str(station.id), "connectors": 3}
        created = (await client.post(PATH, headers=admin.headers, json=body)).json()
        assert [one["connector_id"] for one in created["connectors"]] == [1, 2, 3]
        assert created["station"] == {"id": str(station.id), "name": "Harbour"}
        assert created["backoffice_id"] == str(station.backoffice_id)
        listed = [
            {"number": 2, "type": "CCS", "current": "DC", "max_power_kw": 149.9996},
            {"connector_id": 1, "type": "Type 2", "current": "AC", "phases": 3, "max_power_kw": 22},
        ]
        body = {"id": "B", "station_id": str(station.id), "connectors": listed}
        created = (await client.post(PATH, headers=admin.headers, json=body)).json()
        kept = ("connector_id", "type", "current", "phases", "max_power_kw")
        assert [tuple(one[name] for name in kept) for one in created["connectors"]] == [
            (1, "Type 2", "AC", 3, 22.0),
            (2, "CCS", "DC", None, 150.0),
        ]

    async def test_the_least_power_is_a_watt(self, client: httpx.AsyncClient, world: World) -> None:
        user = await world.user(Role.BACKOFFICE)
        listed = [{"number": 1, "max_power_kw": 0.001}, {"number": 2, "max_power_kw": 0.0019}]
        created = await client.post(PATH, headers=user.headers, json={"id": "CP", "connectors": listed})
        assert [one["max_power_kw"] for one in created.json()["connectors"]] == [0.001, 0.002]

    async def test_what_is_known_before_its_first_boot_is_kept(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        user = await world.user(Role.BACKOFFICE)
        known = {"vendor": "Volta", "model": "X1", "serial_number": "SN-0001"}
        created = (await client.post(PATH, headers=user.headers, json={"id": "CP", **known})).json()
        assert known.items() <= created.items()
        assert created["firmware_version"] is None
        changed = await client.put(f"{PATH}/CP", headers=user.headers, json={"serial_number": "SN-0002"})
        assert {**known, "serial_number": "SN-0002"}.items() <= changed.json().items()
        cleared = await client.put(f"{PATH}/CP", headers=user.headers, json={"model": None})
        assert (cleared.json()["vendor"], cleared.json()["model"]) == ("Volta", None)
        found = await client.get(PATH, headers=user.headers, params={"q": "sn-0002"})
        assert [one["id"] for one in found.json()["items"]] == ["CP"]

    @pytest.mark.parametrize("profile", [1, 2])
    async def test_a_password_is_made_and_told_once(
        self, client: httpx.AsyncClient, world: World, db: Database, settings: Settings, profile: int
    ) -> None:
        user = await world.user(Role.BACKOFFICE)
        body = {"id": "CP", "security_profile": profile}
        answer = await client.post(PATH, headers=user.headers, json=body)
        password = answer.json()["password"]
        assert 16 <= len(password) <= 40
        assert answer.headers["cache-control"] == "no-store"
        stored = await password_hash(db, "CP")
        assert stored != password
        assert secret_matches(password, stored, settings.signing_key)
        shown = await client.get(f"{PATH}/CP", headers=user.headers)
        assert shown.json()["has_password"] is True
        listed = await client.get(PATH, headers=user.headers)
        for later in (shown.text, listed.text):
            assert password not in later
            assert str(stored) not in later

    async def test_a_given_password_is_not_repeated(
        self, client: httpx.AsyncClient, world: World, db: Database, settings: Settings
    ) -> None:
        user = await world.user(Role.BACKOFFICE)
        body = {"id": "CP", "security_profile": 2, "password": "given-secret:1"}
        answer = await client.post(PATH, headers=user.headers, json=body)
        assert answer.json()["has_password"] is True
        assert "password" not in answer.json()
        assert secret_matches("given-secret:1", await password_hash(db, "CP"), settings.signing_key)

    async def test_a_taken_id_does_not_tell_whose_it_is(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        other = await world.backoffice(name="Rival GmbH")
        charger = await world.charger(await world.station(other, name="Secret place"))
        user = await world.user(Role.BACKOFFICE)
        answer = await client.post(PATH, headers=user.headers, json={"id": charger.id})
        assert answer.status_code == 409
        assert answer.json()["error"] == "ChargerExists"
        assert "Rival" not in answer.text
        assert str(other.id) not in answer.text

    async def test_a_business_uses_its_own_stations_only(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        foreign, user = await world.station(), await world.user(Role.BACKOFFICE)
        body = {"id": "CP", "station_id": str(foreign.id)}
        answer = await client.post(PATH, headers=user.headers, json=body)
        assert answer.status_code == 404
        body = {"id": "CP", "backoffice_id": str(foreign.backoffice_id)}
        assert (await client.post(PATH, headers=user.headers, json=body)).status_code == 403

    async def test_the_business_is_that_of_the_station(self, client: httpx.AsyncClient, world: World) -> None:
        station, other, admin = await world.station(), await world.backoffice(), await world.admin()
        body = {"id": "CP", "station_id": str(station.id), "backoffice_id": str(other.id)}
        answer = await client.post(PATH, headers=admin.headers, json=body)
        assert answer.status_code == 422
        assert "backoffice_id" in answer.json()["fields"]

    async def test_without_station_and_business_only_a_system_admin_sees_it(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        admin = await world.admin()
        users = [await world.user(Role.BACKOFFICE) for _ in range(2)]
        created = await client.post(PATH, headers=admin.headers, json={"id": "CP"})
        assert created.json()["backoffice_id"] is None
        assert (await client.get(f"{PATH}/CP", headers=admin.headers)).status_code == 200
        assert (await client.get(f"{PATH}/CP", headers=users[0].headers)).status_code == 404

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({}, "id"),
            ({"id": "CP 1"}, "id"),
            ({"id": "x" * 49}, "id"),
            ({"id": "CP", "connectors": 0}, "connectors"),
            ({"id": "CP", "connectors": 101}, "connectors"),
            ({"id": "CP", "connectors": True}, "connectors"),
            ({"id": "CP", "connectors": "2"}, "connectors"),
            ({"id": "CP", "connectors": []}, "connectors"),
            ({"id": "CP", "connectors": [{"type": "CCS"}]}, "connectors"),
            ({"id": "CP", "connectors": [{"number": 0}]}, "connectors"),
            ({"id": "CP", "connectors": [{"number": 1}, {"number": 1}]}, "connectors"),
            ({"id": "CP", "connectors": [{"number": 1, "current": "XC"}]}, "connectors"),
            ({"id": "CP", "connectors": [{"number": 1, "phases": 4}]}, "connectors"),
            ({"id": "CP", "connectors": [{"number": 1, "max_power_kw": 0}]}, "connectors"),
            ({"id": "CP", "connectors": [{"number": 1, "max_power_kw": 1e-9}]}, "connectors"),
            ({"id": "CP", "connectors": [{"number": 1, "max_power_kw": 0.0009}]}, "connectors"),
            ({"id": "CP", "connectors": [{"number": 1, "max_power_kw": True}]}, "connectors"),
            ({"id": "CP", "connectors": [{"number": 1, "max_power_kw": "22"}]}, "connectors"),
            ({"id": "CP", "connectors": [{"number": True}]}, "connectors"),
            ({"id": "CP", "connectors": [{"number": 1, "phases": True}]}, "connectors"),
            ({"id": "CP", "security_profile": True}, "security_profile"),
            ({"id": "CP", "simulated": 1}, "simulated"),
            ({"id": "CP", "tolerant": "yes"}, "tolerant"),
            ({"id": "CP", "vendor": "x" * 51}, "vendor"),
            ({"id": "CP", "model": ""}, "model"),
            ({"id": "CP", "serial_number": "a\x00"}, "serial_number"),
            ({"id": "CP", "firmware_version": "1.2"}, "firmware_version"),
            ({"id": "CP", "security_profile": 4}, "security_profile"),
            ({"id": "CP", "security_profile": 1, "password": "short"}, "password"),
            ({"id": "CP", "registration": "Maybe"}, "registration"),
            ({"id": "CP", "ocpp_version": "1.5"}, "ocpp_version"),
            ({"id": "CP", "name": "a\x00"}, "name"),
            ({"id": "CP", "online": True}, "online"),
        ],
    )
    async def test_bad_input_names_the_field(
        self, client: httpx.AsyncClient, world: World, body: dict[str, Any], field: str
    ) -> None:
        user = await world.user(Role.BACKOFFICE)
        answer = await client.post(PATH, headers=user.headers, json=body)
        assert answer.status_code == 422, answer.text
        assert any(name == field or name.startswith(f"{field}.") for name in answer.json()["fields"])
        assert body.get("password", "nothing") not in answer.text


class TestListChargers:
    async def ids(self, client: httpx.AsyncClient, headers: dict[str, str], **query: Any) -> list[str]:
        answer = await client.get(PATH, headers=headers, params=query)
        assert answer.status_code == 200, answer.text
        assert answer.json()["total"] == len(answer.json()["items"])
        return [item["id"] for item in answer.json()["items"]]

    async def test_another_business_is_not_seen(self, client: httpx.AsyncClient, world: World) -> None:
        business = await world.backoffice()
        await world.charger(await world.station(business), "MINE")
        await world.charger()
        user = await world.user(Role.BACKOFFICE, business)
        assert await self.ids(client, user.headers) == ["MINE"]

    async def test_filters_and_search(self, client: httpx.AsyncClient, world: World, db: Database) -> None:
        station = await world.station()
        a = await world.charger(station, "A", online=True, name="Gate_1", vendor="Volta", model="X1")
        await world.charger(None, "B", registration="Pending", serial_number="SN-77", simulated=True)
        await world.charger(None, "C", retired_at=world.clock.now())
        await world.add(Connector(charger_id="B", connector_id=0, status="Faulted"))
        async with db.session() as session:
            (await session.get_one(Connector, (a.id, 2))).status = "Charging"
        headers = (await world.admin()).headers
        assert await self.ids(client, headers) == ["A", "B"]
        assert await self.ids(client, headers, retired="false") == ["A", "B"]
        assert await self.ids(client, headers, retired="true") == ["C"]
        assert await self.ids(client, headers, station=str(station.id)) == ["A"]
        assert await self.ids(client, headers, backoffice_id=str(station.backoffice_id)) == ["A"]
        assert await self.ids(client, headers, online="true") == ["A"]
        assert await self.ids(client, headers, online="false") == ["B"]
        assert await self.ids(client, headers, registration="Pending") == ["B"]
        assert await self.ids(client, headers, status="Charging") == ["A"]
        assert await self.ids(client, headers, status="Faulted") == ["B"]
        assert await self.ids(client, headers, status="Available") == []
        assert await self.ids(client, headers, simulated="true") == ["B"]
        assert await self.ids(client, headers, simulated="false") == ["A"]
        for q, found in {"gate_": ["A"], "volta": ["A"], "x1": ["A"], "sn-77": ["B"], "%": []}.items():
            assert await self.ids(client, headers, q=q) == found

    @pytest.mark.parametrize("sort", ["id", "-id", "last_seen", "-last_seen"])
    async def test_pages_join_also_over_chargers_never_seen(
        self, client: httpx.AsyncClient, world: World, clock: FrozenClock, sort: str
    ) -> None:
        station, admin = await world.station(), await world.admin()
        for number, seen in enumerate((True, False, True, False, True)):
            clock.advance(1.5)
            await world.charger(station, f"C{number}", last_seen=clock.now() if seen else None)
        cursor: str | None = ""
        seen_ids = []
        while cursor is not None:
            query = {"sort": sort, "limit": "2", **({"cursor": cursor} if cursor else {})}
            page = (await client.get(PATH, headers=admin.headers, params=query)).json()
            seen_ids += [item["id"] for item in page["items"]]
            cursor = page["next_cursor"]
        rising = {"id": ["C0", "C1", "C2", "C3", "C4"], "last_seen": ["C1", "C3", "C0", "C2", "C4"]}
        wanted = rising[sort.removeprefix("-")]
        assert seen_ids == (wanted[::-1] if sort.startswith("-") else wanted)

    @pytest.mark.parametrize(
        "query",
        [{"status": "Busy"}, {"online": "maybe"}, {"sort": "vendor"}, {"q": "\x00"}, {"cursor": "WzFd"}],
    )
    async def test_a_query_that_makes_no_sense_is_invalid(
        self, client: httpx.AsyncClient, world: World, query: dict[str, str]
    ) -> None:
        admin = await world.admin()
        answer = await client.get(PATH, headers=admin.headers, params=query)
        assert answer.status_code == 422


class TestGetCharger:
    async def test_connectors_tell_their_status_and_connector_0_stands_apart(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        charger, admin = await world.charger(connectors=0, vendor="Volta"), await world.admin()
        since = world.clock.now()
        status = {
            "status": "Faulted",
            "error_code": "GroundFailure",
            "status_since": since,
            "status_at": since,
        }
        await world.add(
            Connector(charger_id=charger.id, connector_id=0, status="Available"),
            Connector(charger_id=charger.id, connector_id=1, **status, info="wet", vendor_error_code="E7"),
        )
        shown = (await client.get(f"{PATH}/{charger.id}", headers=admin.headers)).json()
        assert shown["vendor"] == "Volta"
        assert shown["whole"]["status"] == "Available"
        (connector,) = shown["connectors"]
        assert connector["status"] == "Faulted"
        assert connector["error_code"] == "GroundFailure"
        assert connector["status_since"] == "2026-05-04T12:00:00Z"
        assert (connector["info"], connector["vendor_error_code"]) == ("wet", "E7")

    async def test_the_socket_knows_better_when_a_charger_was_seen(
        self, client: httpx.AsyncClient, world: World, app: FastAPI, clock: FrozenClock
    ) -> None:
        charger = await world.charger(online=True, last_seen=clock.now())
        admin = await world.admin()
        clock.advance(20)
        app.state.links.attach(charger.id, FakeLink(last_seen=clock.now()))
        shown = (await client.get(f"{PATH}/{charger.id}", headers=admin.headers)).json()
        assert shown["last_seen"] == "2026-05-04T12:00:20Z"

    async def test_an_id_with_a_slash_is_written_encoded(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        await world.charger(None, "site/CP1")
        await world.charger(None, "site")
        admin = await world.admin()
        path = f"{PATH}/site%2FCP1"
        assert (await client.get(path, headers=admin.headers)).json()["id"] == "site/CP1"
        changed = await client.put(path, headers=admin.headers, json={"name": "Gate"})
        assert changed.json()["id"] == "site/CP1"
        history = await client.get(f"{path}/status-history", headers=admin.headers)
        assert history.status_code == 200
        command = await client.post(f"{path}/commands/ClearCache", headers=admin.headers)
        assert command.json()["error"] == "ChargerOffline"
        assert (await client.delete(path, headers=admin.headers)).status_code == 204
        assert (await client.get(path, headers=admin.headers)).status_code == 404
        assert (await client.get(f"{PATH}/site", headers=admin.headers)).status_code == 200

    @pytest.mark.parametrize("strange", ["nobody", "%00", "a%20b", "x" * 49])
    async def test_what_is_no_charger_is_not_found(
        self, client: httpx.AsyncClient, world: World, strange: str
    ) -> None:
        admin = await world.admin()
        assert (await client.get(f"{PATH}/{strange}", headers=admin.headers)).status_code == 404

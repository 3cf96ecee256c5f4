"""The cars of a driver."""

import asyncio
from typing import Any

import httpx
import pytest
from tests.accounts.people import charged, driver, trail
from tests.running import RunningServer
from tests.world import SignedIn, World

from ohmstead.accounts.models import Role

NIC = "200212345679"
PATH = f"/api/evowner/{NIC}/vehicles"
CAR = {"plate": "WP CAB-1234", "model": "Leaf", "batteryKwh": 39.5, "connector": "CHAdeMO", "maxKw": 50.0}


@pytest.fixture
async def ravi(world: World) -> SignedIn:
    return await driver(world, NIC)


async def add(client: httpx.AsyncClient, by: SignedIn, **body: Any) -> dict[str, Any]:
    answer = await client.post(PATH, headers=by.headers, json={"plate": "WP CAB-1234"} | body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


class TestVehicles:
    async def test_a_driver_has_several(
        self, client: httpx.AsyncClient, world: World, ravi: SignedIn
    ) -> None:
        first = await add(client, ravi, **CAR | {"plate": "wp cab-1234"})
        assert first == CAR | {"id": first["id"], "createdAt": "2026-05-04T12:00:00Z"}
        second = await add(client, ravi, plate="KV 7")
        assert (second["model"], second["batteryKwh"], second["maxKw"]) == (None, None, None)
        listed = (await client.get(PATH, headers=ravi.headers)).json()
        assert sorted(one["plate"] for one in listed) == ["KV 7", "WP CAB-1234"]
        shown = await client.get(f"{PATH}/{first['id']}", headers=ravi.headers)
        assert shown.json() == first
        assert await trail(world.database, first["id"]) == ["vehicle.added"]

    async def test_what_is_absent_stays_and_null_clears(
        self, client: httpx.AsyncClient, world: World, ravi: SignedIn
    ) -> None:
        made = await add(client, ravi, **CAR)
        url = f"{PATH}/{made['id']}"
        answer = await client.put(url, headers=ravi.headers, json={"model": None, "maxKw": 46})
        assert answer.json() == made | {"model": None, "maxKw": 46.0}
        assert (await client.put(url, headers=ravi.headers, json={})).json() == made | {
            "model": None,
            "maxKw": 46.0,
        }
        assert await trail(world.database, made["id"]) == ["vehicle.added", "vehicle.updated"]

    async def test_a_removed_one_is_gone(
        self, client: httpx.AsyncClient, world: World, ravi: SignedIn
    ) -> None:
        made = await add(client, ravi)
        url = f"{PATH}/{made['id']}"
        assert (await client.delete(url, headers=ravi.headers)).status_code == 204
        for method in ("GET", "DELETE"):
            answer = await client.request(method, url, headers=ravi.headers)
            assert (answer.status_code, answer.json()["error"]) == (404, "VehicleNotFound")
        assert await trail(world.database, made["id"]) == ["vehicle.added", "vehicle.removed"]

    async def test_a_plate_is_there_once_for_a_driver_in_any_case(
        self, client: httpx.AsyncClient, world: World, ravi: SignedIn
    ) -> None:
        await add(client, ravi, plate="KV 7")
        other = await add(client, ravi, plate="KV 8")
        for answer in (
            await client.post(PATH, headers=ravi.headers, json={"plate": "kv 7"}),
            await client.put(f"{PATH}/{other['id']}", headers=ravi.headers, json={"plate": "kv 7"}),
        ):
            assert (answer.status_code, answer.json()["error"]) == (409, "VehicleExists")
        maya = await driver(world)  # a car may be shared
        answer = await client.post(
            f"/api/evowner/{maya.id}/vehicles", headers=maya.headers, json={"plate": "KV 7"}
        )
        assert answer.status_code == 201

    async def test_twenty_are_enough_even_when_many_come_at_once(
        self, server: RunningServer, server_world: World
    ) -> None:
        maya = await driver(server_world)
        path = f"/api/evowner/{maya.id}/vehicles"
        async with httpx.AsyncClient(
            base_url=server.http, headers=maya.headers, trust_env=False, timeout=30
        ) as http:
            answers = await asyncio.gather(*(http.post(path, json={"plate": f"KV {n}"}) for n in range(24)))
        assert sorted(answer.status_code for answer in answers) == [201] * 20 + [409] * 4

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"plate": ""}, "plate"),
            ({"plate": None}, "plate"),
            ({"plate": "x" * 21}, "plate"),
            ({"plate": "A\u0000"}, "plate"),
            ({"model": "x" * 101}, "model"),
            ({"batteryKwh": 0}, "batteryKwh"),
            ({"batteryKwh": -1}, "batteryKwh"),
            ({"batteryKwh": 1e9}, "batteryKwh"),
            ({"batteryKwh": True}, "batteryKwh"),
            ({"maxKw": "fast"}, "maxKw"),
            ({"driverId": "00000000-0000-4000-8000-000000000001"}, "driverId"),
        ],
        ids=lambda value: ascii(value)[:30],
    )
    async def test_bad_input_names_its_field(
        self, client: httpx.AsyncClient, ravi: SignedIn, body: dict[str, Any], field: str
    ) -> None:
        made = await add(client, ravi)
        for answer in (
            await client.post(PATH, headers=ravi.headers, json={"plate": "KV 7"} | body),
            await client.put(f"{PATH}/{made['id']}", headers=ravi.headers, json=body),
        ):
            assert (answer.status_code, list(answer.json()["fields"])) == (400, [field])


class TestWhoMay:
    @pytest.mark.parametrize(
        ("method", "path"),
        [("GET", ""), ("POST", ""), ("GET", "/{id}"), ("PUT", "/{id}"), ("DELETE", "/{id}")],
    )
    async def test_the_driver_and_who_knows_it(
        self, client: httpx.AsyncClient, world: World, ravi: SignedIn, method: str, path: str
    ) -> None:
        url = PATH + path.replace("{id}", (await add(client, ravi))["id"])
        assert (await client.request(method, url, json={})).status_code == 401
        business = await world.backoffice()
        boss, maya = await world.user(Role.BACKOFFICE, business), await driver(world)
        reads = method == "GET"
        body = {"plate": "KV 7"} if method in {"POST", "PUT"} else {}
        assert (await client.request(method, url, json=body, headers=maya.headers)).status_code == 404
        answer = await client.request(method, url, json=body, headers=boss.headers)
        assert answer.status_code == (404 if reads else 403)
        await charged(world, ravi, business)
        answer = await client.request(method, url, json=body, headers=boss.headers)
        assert answer.status_code == (200 if reads else 403)

    async def test_the_car_of_another_driver_is_not_found(
        self, client: httpx.AsyncClient, world: World, ravi: SignedIn
    ) -> None:
        made, maya = await add(client, ravi), await driver(world)
        url = f"/api/evowner/{maya.id}/vehicles/{made['id']}"
        for method in ("GET", "PUT", "DELETE"):
            answer = await client.request(method, url, json={}, headers=maya.headers)
            assert answer.status_code == 404
        assert (await client.get(f"{PATH}/{made['id']}", headers=ravi.headers)).status_code == 200

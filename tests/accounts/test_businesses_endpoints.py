import asyncio
from uuid import uuid4

import httpx
import pytest
from tests.running import RunningServer
from tests.world import World

from ohmstead.accounts.models import Role

PATH = "/api/admin/backoffices"


class TestCreateBusiness:
    async def test_only_a_name_is_needed(self, client: httpx.AsyncClient, world: World) -> None:
        admin = await world.admin()
        answer = await client.post(PATH, headers=admin.headers, json={"name": "VoltCo"})
        assert answer.status_code == 201
        body = answer.json()
        assert (body["name"], body["time_zone"], body["status"]) == ("VoltCo", "UTC", "Active")
        shown = await client.get(f"{PATH}/{body['id']}", headers=admin.headers)
        assert shown.json() == body

    async def test_a_name_is_taken_once_in_any_case(self, client: httpx.AsyncClient, world: World) -> None:
        admin = await world.admin()
        await client.post(PATH, headers=admin.headers, json={"name": "VoltCo"})
        again = await client.post(PATH, headers=admin.headers, json={"name": "voltco"})
        assert (again.status_code, again.json()["error"]) == (409, "BackofficeExists")

    async def test_of_fifty_at_once_with_one_name_one_is_made(
        self, server: RunningServer, server_world: World
    ) -> None:
        admin = await server_world.admin()
        name = f"VoltCo {uuid4().hex[:8]}"
        async with httpx.AsyncClient(
            base_url=server.http, headers=admin.headers, trust_env=False, timeout=30
        ) as http:
            bodies = [{"name": name if number % 2 else name.upper()} for number in range(50)]
            answers = await asyncio.gather(*(http.post(PATH, json=body) for body in bodies))
            assert sorted(answer.status_code for answer in answers) == [201] + [409] * 49
            refused = [answer.json() for answer in answers if answer.status_code == 409]
            assert {one["error"] for one in refused} == {"BackofficeExists"}
            assert refused[0]["fields"] == {"name": "is taken"}
            found = await http.get(PATH, params={"q": name})
            assert found.json()["total"] == 1

    @pytest.mark.parametrize(
        ("body", "fault"),
        [({}, "name"), ({"name": " "}, "name"), ({"name": "A", "time_zone": "Mars/Base"}, "time_zone")],
    )
    async def test_bad_input_is_refused_by_name(
        self, client: httpx.AsyncClient, world: World, body: dict[str, str], fault: str
    ) -> None:
        admin = await world.admin()
        answer = await client.post(PATH, headers=admin.headers, json=body)
        assert answer.status_code == 422
        assert set(answer.json()["fields"]) == {fault}

    @pytest.mark.parametrize("role", [Role.BACKOFFICE, Role.OPERATOR])
    async def test_no_business_makes_another(
        self, client: httpx.AsyncClient, world: World, role: Role
    ) -> None:
        user = await world.user(role)
        answer = await client.post(PATH, headers=user.headers, json={"name": "VoltCo"})
        assert answer.status_code == 403


class TestListBusinesses:
    async def test_they_come_by_name_and_can_be_searched(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        admin = await world.admin()
        for name in ("Zebra", "Antelope", "Zorilla"):
            await world.backoffice(name)
        answer = await client.get(PATH, headers=admin.headers)
        assert [one["name"] for one in answer.json()["items"]] == ["Antelope", "Zebra", "Zorilla"]
        found = await client.get(PATH, headers=admin.headers, params={"q": "z", "sort": "-name"})
        assert [one["name"] for one in found.json()["items"]] == ["Zorilla", "Zebra"]

    async def test_an_unknown_one_is_not_found(self, client: httpx.AsyncClient, world: World) -> None:
        admin = await world.admin()
        answer = await client.get(f"{PATH}/00000000-0000-0000-0000-000000000000", headers=admin.headers)
        assert (answer.status_code, answer.json()["error"]) == (404, "BackofficeNotFound")

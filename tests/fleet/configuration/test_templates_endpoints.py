import asyncio
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest
from tests.conftest import FrozenClock
from tests.fleet.configuration.conftest import Api, Attach
from tests.running import RunningServer
from tests.world import SignedIn, World

from ohmstead.accounts.models import Backoffice, Role
from ohmstead.stations.models import Charger

AsUser = Callable[[SignedIn], Api]
PATH = "/configuration-templates"
KEYS = {"MeterValueSampleInterval": "30", "HeartbeatInterval": "120"}


async def template(api: Api, owner: Backoffice | None = None, **fields: Any) -> dict[str, Any]:
    """Make a template."""
    body = {"name": f"Template {uuid4()}", "keys": KEYS, **fields}
    if owner is not None:
        body["backoffice_id"] = str(owner.id)
    made: dict[str, Any] = await api.ok("POST", PATH, body)
    return made


@pytest.fixture
async def business(world: World) -> Backoffice:
    return await world.backoffice()


class TestAccess:
    """Who has not signed in and who is a driver are in tests/test_authorization.py, for every route."""

    REQUESTS = (
        ("GET", ""),
        ("POST", ""),
        ("GET", "/{id}"),
        ("PUT", "/{id}"),
        ("DELETE", "/{id}"),
        ("GET", "/{id}/chargers"),
    )

    @pytest.mark.parametrize(("method", "path"), REQUESTS)
    async def test_an_operator_reads_and_does_not_write(
        self, *, world: World, api: Api, as_user: AsUser, business: Backoffice, method: str, path: str
    ) -> None:
        made = await template(api, business)
        operator = as_user(await world.user(Role.OPERATOR, business))
        answer = await operator.send(method, PATH + path.format(id=made["id"]), {})
        assert answer.status_code == (200 if method == "GET" else 403)

    @pytest.mark.parametrize(("method", "path"), REQUESTS[2:])
    @pytest.mark.parametrize("role", [Role.BACKOFFICE, Role.OPERATOR])
    async def test_a_template_of_another_business_does_not_exist(
        self, *, world: World, api: Api, as_user: AsUser, method: str, path: str, role: Role
    ) -> None:
        made = await template(api, await world.backoffice())
        other = as_user(await world.user(role))
        status = 403 if role is Role.OPERATOR and method != "GET" else 404
        answer = await other.send(method, PATH + path.format(id=made["id"]), {})
        assert answer.status_code == status

    async def test_the_list_is_that_of_the_own_business(
        self, world: World, api: Api, as_user: AsUser, business: Backoffice
    ) -> None:
        mine = await template(api, business)
        await template(api, await world.backoffice())
        owner = as_user(await world.user(Role.BACKOFFICE, business))
        assert [one["id"] for one in (await owner.ok("GET", PATH))["items"]] == [mine["id"]]
        of_one = await api.ok("GET", PATH, backoffice_id=str(business.id))
        assert [one["id"] for one in of_one["items"]] == [mine["id"]]

    async def test_a_template_of_another_business_is_no_measure_either(
        self, world: World, api: Api, as_user: AsUser, business: Backoffice
    ) -> None:
        strange = await template(api, await world.backoffice())
        charger = await world.charger(await world.station(business))
        owner = as_user(await world.user(Role.BACKOFFICE, business))
        path = f"/chargers/{charger.id}/configuration"
        assert (await owner.send("GET", path, template=strange["id"])).status_code == 404


class TestWriting:
    async def test_a_template_is_created_shown_changed_and_deleted(
        self, world: World, api: Api, business: Backoffice, clock: FrozenClock
    ) -> None:
        stations = [await world.station(business, name=name) for name in ("A", "B")]
        await world.charger(stations[0])
        made = await template(api, business, name="Street", station_ids=[str(stations[0].id)])
        assert made == {
            "id": made["id"],
            "backoffice_id": str(business.id),
            "name": "Street",
            "keys": KEYS,
            "station_ids": [str(stations[0].id)],
            "business": False,
            "chargers": 1,
            "created_at": "2026-05-04T12:00:00Z",
            "updated_at": "2026-05-04T12:00:00Z",
        }
        assert list(made["keys"]) == list(KEYS), "keys keep their order"
        path = f"{PATH}/{made['id']}"
        assert await api.ok("GET", path) == made
        clock.advance(60)
        change: dict[str, Any] = {
            "name": "Street 2",
            "keys": {"ConnectionTimeOut": "90"},
            "station_ids": [str(station.id) for station in stations],
            "business": True,
        }
        changed = await api.ok("PUT", path, change)
        assert changed == {**made, **change, "updated_at": "2026-05-04T12:01:00Z"}
        assert await api.ok("PUT", path, {}) == changed
        await api.ok("DELETE", path)
        assert (await api.send("GET", path)).status_code == 404
        assert (await api.send("DELETE", path)).status_code == 404

    async def test_a_business_makes_templates_for_itself_only(
        self, world: World, as_user: AsUser, business: Backoffice
    ) -> None:
        owner = as_user(await world.user(Role.BACKOFFICE, business))
        assert (await template(owner))["backoffice_id"] == str(business.id)
        other = await world.backoffice()
        body = {"name": "X", "keys": KEYS, "backoffice_id": str(other.id)}
        assert (await owner.send("POST", PATH, body)).status_code == 403

    async def test_a_system_admin_names_the_business_where_there_are_several(
        self, world: World, api: Api, business: Backoffice
    ) -> None:
        await world.backoffice()
        answer = await api.send("POST", PATH, {"name": "X", "keys": KEYS})
        assert (answer.status_code, list(answer.json()["fields"])) == (422, ["backoffice_id"])
        answer = await api.send("POST", PATH, {"name": "X", "keys": KEYS, "backoffice_id": str(uuid4())})
        assert answer.status_code == 404

    async def test_a_name_is_taken_once_in_a_business_in_any_case(
        self, world: World, api: Api, business: Backoffice
    ) -> None:
        await template(api, business, name="Street")
        other = await template(api, business, name="Depot")
        await template(api, await world.backoffice(), name="Street")
        body = {"name": "STREET", "keys": KEYS, "backoffice_id": str(business.id)}
        assert (await api.send("POST", PATH, body)).status_code == 409
        answer = await api.send("PUT", f"{PATH}/{other['id']}", {"name": "street"})
        assert (answer.status_code, answer.json()["error"]) == (409, "TemplateExists")

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"name": ""}, "name"),
            ({"name": None}, "name"),
            ({"keys": {}}, "keys"),
            ({"keys": None}, "keys"),
            ({"keys": {"A": "x" * 501}}, "keys.A"),
            ({"keys": {"A": "1", "a": "2"}}, "keys"),
            ({"keys": {"AuthorizationKey": "0123456789abcdef"}}, "keys"),
            ({"keys": {"authorizationKEY": "0123456789abcdef"}}, "keys"),
            ({"keys": {"WifiPassword": "0123456789abcdef"}}, "keys"),
            ({"station_ids": "x"}, "station_ids"),
            ({"station_ids": [str(uuid4())]}, "station_ids"),
            ({"business": None}, "business"),
            ({"more": 1}, "more"),
        ],
    )
    async def test_bad_input_is_refused(
        self, api: Api, business: Backoffice, change: dict[str, Any], field: str
    ) -> None:
        made = await template(api, business)
        path = f"{PATH}/{made['id']}"
        refused = await api.send("PUT", path, change)
        assert (refused.status_code, list(refused.json()["fields"])) == (422, [field])
        body = {"name": "X", "keys": KEYS, "backoffice_id": str(business.id), **change}
        assert (await api.send("POST", PATH, body)).status_code == 422
        assert await api.ok("GET", path) == made

    async def test_a_station_of_another_business_is_refused(
        self, world: World, api: Api, business: Backoffice
    ) -> None:
        made = await template(api, business)
        strange = await world.station()
        answer = await api.send("PUT", f"{PATH}/{made['id']}", {"station_ids": [str(strange.id)]})
        assert (answer.status_code, list(answer.json()["fields"])) == (422, ["station_ids"])


class TestAssignment:
    async def wanted(self, api: Api, charger: Charger) -> dict[str, str]:
        keys = await api.keys(charger)
        return {name: key["wanted"] for name, key in keys.items() if key["wanted"] is not None}

    async def test_nothing_is_wanted_of_a_charger_until_a_template_is_assigned(
        self, world: World, api: Api, attach: Attach, business: Backoffice
    ) -> None:
        charger = await world.charger(await world.station(business))
        link = attach(charger)
        made = await template(api, business)
        assert await self.wanted(api, charger) == {}
        await api.ok("PUT", f"{PATH}/{made['id']}", {"business": True})
        assert await self.wanted(api, charger) == KEYS
        await api.ok("DELETE", f"{PATH}/{made['id']}")
        assert await self.wanted(api, charger) == {}
        assert link.calls == [], "an assignment sends nothing"

    async def test_the_template_of_the_station_comes_over_that_of_the_business_key_by_key(
        self, world: World, api: Api, business: Backoffice
    ) -> None:
        here, there = await world.station(business), await world.station(business)
        ours = await template(api, business, business=True)
        at_station = {"heartbeatinterval": "30", "ConnectionTimeOut": "90"}
        own = await template(api, business, keys=at_station, station_ids=[str(here.id)])
        charger, other = await world.charger(here), await world.charger(there)
        stranger = await world.charger()
        assert await self.wanted(api, charger) == {"MeterValueSampleInterval": "30", **at_station}
        assert await self.wanted(api, other) == KEYS
        assert await self.wanted(api, stranger) == {}
        shown = await api.ok("GET", f"/chargers/{charger.id}/configuration")
        assert [one["id"] for one in shown["template"]["templates"]] == [ours["id"], own["id"]]

    async def test_a_station_has_one_template_and_so_has_a_business_the_last_one_counts(
        self, world: World, api: Api, business: Backoffice
    ) -> None:
        station = await world.station(business)
        first = await template(api, business, station_ids=[str(station.id)], business=True)
        second = await template(api, business, station_ids=[str(station.id)], business=True)
        for made, stations, everywhere in ((first, [], False), (second, [str(station.id)], True)):
            shown = await api.ok("GET", f"{PATH}/{made['id']}")
            assert (shown["station_ids"], shown["business"]) == (stations, everywhere)

    async def test_a_template_for_station_and_business_counts_once(
        self, world: World, api: Api, business: Backoffice
    ) -> None:
        station = await world.station(business)
        charger = await world.charger(station)
        made = await template(api, business, station_ids=[str(station.id)], business=True)
        shown = await api.ok("GET", f"/chargers/{charger.id}/configuration")
        assert [one["id"] for one in shown["template"]["templates"]] == [made["id"]]
        assert (await api.ok("GET", f"{PATH}/{made['id']}"))["chargers"] == 1

    async def test_a_station_that_moves_to_another_business_leaves_its_template(
        self, world: World, api: Api, business: Backoffice
    ) -> None:
        station = await world.station(business)
        charger = await world.charger(station)
        made = await template(api, business, station_ids=[str(station.id)])
        other = await world.backoffice()
        await api.ok("PUT", f"/stations/{station.id}", {"backoffice_id": str(other.id)})
        assert await self.wanted(api, charger) == {}
        shown = await api.ok("GET", f"{PATH}/{made['id']}")
        assert (shown["station_ids"], shown["chargers"]) == ([], 0)
        assert (await api.ok("GET", f"{PATH}/{made['id']}/chargers"))["items"] == []

    async def test_a_deleted_station_takes_its_assignment_along(
        self, world: World, api: Api, business: Backoffice
    ) -> None:
        station = await world.station(business)
        made = await template(api, business, station_ids=[str(station.id)])
        await api.ok("DELETE", f"/stations/{station.id}")
        assert (await api.ok("GET", f"{PATH}/{made['id']}"))["station_ids"] == []

    async def test_two_who_assign_at_once_leave_one_template_for_the_business(
        self, server: RunningServer, server_world: World
    ) -> None:
        business = await server_world.backoffice()
        admin = await server_world.admin()
        async with httpx.AsyncClient(base_url=server.http, trust_env=False, timeout=20) as client:
            api = Api(client, admin)
            made = [await template(api, business) for _ in range(4)]
            answers = await asyncio.gather(
                *(api.send("PUT", f"{PATH}/{one['id']}", {"business": True}) for one in made)
            )
            assert {answer.status_code for answer in answers} <= {200, 409}
            page = await api.ok("GET", PATH, backoffice_id=str(business.id))
            assert [one["business"] for one in page["items"]].count(True) == 1


class TestDifferences:
    async def test_each_key_shows_what_is_wanted_and_whether_it_differs(
        self, world: World, api: Api, attach: Attach, business: Backoffice
    ) -> None:
        charger = await world.charger(await world.station(business))
        attach(
            charger,
            {"HeartbeatInterval": "0120", "MeterValueSampleInterval": "60", "Fixed": "1", "Plain": "1"},
            readonly={"Fixed"},
        )
        wanted = {**KEYS, "Fixed": "2", "Unknown": "1"}
        made = await template(api, business, keys=wanted, business=True)
        before = await api.keys(charger)
        assert {name: key["state"] for name, key in before.items()} == dict.fromkeys(wanted, "NotRead")
        shown = await api.ok("GET", f"/chargers/{charger.id}/configuration", refresh=True)
        states = {item["key"]: (item["differs"], item["state"]) for item in shown["items"]}
        assert states == {
            "Fixed": (True, "ReadOnly"),
            "HeartbeatInterval": (False, "Same"),
            "MeterValueSampleInterval": (True, "Differs"),
            "Plain": (False, None),
            "Unknown": (True, "NotSupported"),
        }
        assert shown["template"] == {
            "templates": [{"id": made["id"], "name": made["name"]}],
            "state": "Failed",
            "due_at": None,
            "ending": None,
            "detail": None,
            "ended_at": None,
        }
        differing = await api.keys(charger, differs=True)
        assert list(differing) == ["Fixed", "MeterValueSampleInterval", "Unknown"]
        assert list(await api.keys(charger, differs=False)) == ["HeartbeatInterval", "Plain"]

    async def test_keys_may_be_held_against_any_template_of_the_caller(
        self, world: World, api: Api, attach: Attach, business: Backoffice
    ) -> None:
        charger = await world.charger(await world.station(business))
        attach(charger)
        made = await template(api, business)
        shown = await api.ok(
            "GET", f"/chargers/{charger.id}/configuration", refresh=True, template=made["id"], q="heart"
        )
        assert [(item["wanted"], item["differs"]) for item in shown["items"]] == [("120", True)]
        assert shown["template"]["state"] == "Differs"
        assert (await api.keys(charger))["HeartbeatInterval"]["wanted"] is None

    async def test_the_chargers_of_a_template_are_listed_with_how_they_stand(
        self, world: World, api: Api, as_user: AsUser, attach: Attach, business: Backoffice
    ) -> None:
        here, there = await world.station(business), await world.station(business)
        right, wrong, unread = [
            await world.charger(station, id=f"CP-{number}-{uuid4().hex[:6]}")
            for number, station in enumerate((here, here, there))
        ]
        await world.charger(here, retired_at=world.clock.now())
        attach(right, KEYS)
        attach(wrong, {**KEYS, "HeartbeatInterval": "300"})
        made = await template(api, business, business=True)
        for charger in (right, wrong):
            await api.keys(charger, refresh=True)
        path = f"{PATH}/{made['id']}/chargers"
        page = await api.ok("GET", path)
        assert [(one["charger_id"], one["state"], one["keys"]) for one in page["items"]] == [
            (right.id, "InSync", {}),
            (wrong.id, "Differs", {"HeartbeatInterval": "Differs"}),
            (unread.id, "Differs", dict.fromkeys(KEYS, "NotRead")),
        ]
        first = await api.ok("GET", path, limit=2)
        assert first["total"] == 3
        rest = await api.ok("GET", path, limit=2, cursor=first["next_cursor"])
        assert [one["charger_id"] for one in rest["items"]] == [unread.id]
        operator = as_user(await world.user(Role.OPERATOR, business, (there,)))
        assert [one["charger_id"] for one in (await operator.ok("GET", path))["items"]] == [unread.id]

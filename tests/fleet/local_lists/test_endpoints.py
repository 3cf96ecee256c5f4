"""The API of local lists: who may, what comes in, what goes out."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from fastapi import FastAPI
from tests.conftest import FrozenClock
from tests.fleet.local_lists.conftest import Keeper
from tests.world import World

from ohmstead.accounts.models import Role
from ohmstead.stations.models import Charger

Tag = Callable[..., Any]
ALL = {"tags": {"all": True}}


class TestAccess:
    async def test_who_is_not_signed_in_gets_nothing(self, keeper: Keeper) -> None:
        link = keeper.connect()
        rule = await keeper.rule()
        paths = [
            ("GET", f"/chargers/{keeper.charger.id}/local-list"),
            ("POST", f"/chargers/{keeper.charger.id}/local-list"),
            ("GET", "/local-lists"),
            ("GET", "/local-list-rules"),
            ("POST", "/local-list-rules"),
            ("GET", f"/local-list-rules/{rule['id']}"),
            ("PUT", f"/local-list-rules/{rule['id']}"),
            ("DELETE", f"/local-list-rules/{rule['id']}"),
        ]
        for method, path in paths:
            answer = await keeper.client.request(method, f"/api/admin{path}", json={})
            assert answer.status_code == 401, path
        assert link.calls == []

    @pytest.mark.parametrize(
        ("role", "seen", "changed"),
        [(Role.EV_OWNER, 403, 403), (Role.BACKOFFICE, 404, 404), (Role.OPERATOR, 404, 403)],
    )
    async def test_what_is_anothers_does_not_exist(
        self, *, keeper: Keeper, world: World, role: Role, seen: int, changed: int
    ) -> None:
        link = keeper.connect()
        rule = await keeper.rule()
        other = Keeper(keeper.app, keeper.client, await world.user(role), keeper.charger, keeper.clock)
        path = f"/chargers/{keeper.charger.id}/local-list"
        for method in ("GET", "POST"):
            assert (await other.send(method, path)).status_code == seen
        one = f"/local-list-rules/{rule['id']}"
        assert (await other.send("GET", one)).status_code == seen
        assert (await other.send("PUT", one, {"keep_up_to_date": True})).status_code == changed
        assert (await other.send("DELETE", one)).status_code == changed
        assert link.calls == []
        if seen == 404:
            assert (await other.ok("GET", "/local-list-rules"))["items"] == []
            assert (await other.ok("GET", "/local-lists"))["items"] == []

    async def test_a_business_makes_no_rules_for_others(
        self, *, keeper: Keeper, world: World, app: FastAPI, clock: FrozenClock
    ) -> None:
        business = await world.backoffice()
        mine = await world.charger(await world.station(business))
        user = Keeper(app, keeper.client, await world.user(Role.BACKOFFICE, business), mine, clock)
        for body, status in (
            ({"charger_id": keeper.charger.id}, 422),
            ({"station_id": str(keeper.charger.station_id)}, 422),
            ({"backoffice_id": str(keeper.charger.backoffice_id)}, 403),
            ({"charger_id": mine.id, "backoffice_id": str(keeper.charger.backoffice_id)}, 422),
            ({}, 201),
            ({"charger_id": mine.id}, 201),
            ({"station_id": str(mine.station_id)}, 201),
        ):
            answer = await user.send("POST", "/local-list-rules", {**ALL, **body})
            assert answer.status_code == status, (body, answer.text)
        assert (await user.ok("GET", "/local-list-rules"))["total"] == 3

    async def test_an_operator_sends_to_the_chargers_of_its_stations(
        self, *, keeper: Keeper, world: World, app: FastAPI, clock: FrozenClock
    ) -> None:
        business = await world.backoffice()
        mine, others = await world.station(business), await world.station(business)
        operator = await world.user(Role.OPERATOR, business, (mine,))
        manager = await world.user(Role.BACKOFFICE, business)
        for station, status in ((mine, 200), (others, 404)):
            charger = await world.charger(station)
            await Keeper(app, keeper.client, manager, charger, clock).rule()
            user = Keeper(app, keeper.client, operator, charger, clock)
            user.connect()
            answer = await user.send("POST", f"/chargers/{charger.id}/local-list")
            assert answer.status_code == status
            assert (await user.send("POST", "/local-list-rules", ALL)).status_code == 403


class TestRules:
    async def test_the_closest_rule_counts_alone(self, keeper: Keeper, tag: Tag) -> None:
        await tag("A")
        await tag("B")
        charger = keeper.charger

        async def wanted() -> list[str]:
            return [item["id_tag"] for item in (await keeper.shown())["items"]]

        assert await wanted() == []
        business = {"charger_id": None, "backoffice_id": str(charger.backoffice_id)}
        await keeper.rule(**business)
        assert await wanted() == ["A", "B"]
        station = {"charger_id": None, "station_id": str(charger.station_id)}
        at_station = await keeper.rule(**station, tags={"id_tags": ["b"]})
        assert await wanted() == ["B"]
        own = await keeper.rule(tags={"id_tags": ["a"]})
        assert await wanted() == ["A"]
        await keeper.ok("DELETE", f"/local-list-rules/{own['id']}")
        assert await wanted() == ["B"]
        await keeper.ok("DELETE", f"/local-list-rules/{at_station['id']}")
        assert await wanted() == ["A", "B"]

    async def test_a_rule_is_shown_changed_and_deleted(self, keeper: Keeper) -> None:
        rule = await keeper.rule(tags={"parents": ["P"], "statuses": ["Accepted"]})
        path = f"/local-list-rules/{rule['id']}"
        assert await keeper.ok("GET", path) == rule
        assert rule["tags"] == {
            "all": False,
            "id_tags": [],
            "parents": ["P"],
            "owner_prefixes": [],
            "statuses": ["Accepted"],
            "everywhere": True,
        }
        changed = await keeper.ok("PUT", path, {"keep_up_to_date": True})
        assert (changed["keep_up_to_date"], changed["tags"]) == (True, rule["tags"])
        changed = await keeper.ok("PUT", path, {"tags": {"all": True, "everywhere": False}})
        assert (changed["tags"]["all"], changed["keep_up_to_date"]) == (True, True)
        await keeper.ok("DELETE", path)
        assert (await keeper.send("GET", path)).status_code == 404

    async def test_there_is_one_rule_for_each_scope(self, keeper: Keeper) -> None:
        await keeper.rule()
        body = {**ALL, "charger_id": keeper.charger.id}
        answer = await keeper.send("POST", "/local-list-rules", body)
        assert (answer.status_code, answer.json()["error"]) == (409, "LocalListRuleExists")

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"tags": {}},
            {"tags": {"all": True, "id_tags": ["A"]}},
            {"tags": {"id_tags": ["x" * 21]}},
            {"tags": {"id_tags": [""]}},
            {"tags": {"parents": ["a\0"]}},
            {"tags": {"owner_prefixes": [""]}},
            {"tags": {"all": 1}},
            {"tags": {"all": True, "statuses": ["Fine"]}},
            {**ALL, "charger_id": "nobody"},
            {**ALL, "station_id": "5f0c6a0e-0f43-4a07-8f0f-0c2f5d3a9b11"},
            {**ALL, "charger_id": "A", "station_id": "5f0c6a0e-0f43-4a07-8f0f-0c2f5d3a9b11"},
            {**ALL, "more": 1},
        ],
        ids=str,
    )
    async def test_a_faulty_rule_is_refused(self, keeper: Keeper, body: dict[str, Any]) -> None:
        assert (await keeper.send("POST", "/local-list-rules", body)).status_code == 422

    async def test_a_business_that_is_not_there_has_no_rule(self, keeper: Keeper) -> None:
        answer = await keeper.send("POST", "/local-list-rules", {**ALL, "backoffice_id": str(uuid4())})
        assert answer.status_code == 404


class TestShow:
    async def test_what_is_wanted_stands_beside_what_was_acknowledged(self, keeper: Keeper, tag: Tag) -> None:
        await tag("A")
        await tag("B", parent_id_tag="P")
        rule = await keeper.rule()
        keeper.connect()
        await keeper.push()
        await keeper.ok("DELETE", "/id-tags/A")
        await keeper.ok("PUT", "/id-tags/B", {"status": "Blocked"})
        await tag("C", backoffice_id=None)
        shown = await keeper.shown()
        assert shown["wanted"] == {
            "rule_id": rule["id"],
            "keep_up_to_date": False,
            "version": 2,
            "entries": 2,
        }
        assert (shown["acknowledged"]["version"], shown["acknowledged"]["entries"]) == (1, 2)
        assert shown["reported"]["version"] == 0
        assert [(item["id_tag"], item["difference"]) for item in shown["items"]] == [
            ("A", "Superfluous"),
            ("B", "Changed"),
            ("C", "Missing"),
        ]
        assert shown["items"][1]["wanted"]["status"] == "Blocked"
        assert shown["items"][1]["acknowledged"] == {
            "id_tag": "B",
            "status": "Accepted",
            "expires_at": None,
            "parent_id_tag": "P",
        }
        [row] = (await keeper.ok("GET", "/local-lists", q=keeper.charger.id))["items"]
        assert (row["state"], row["wanted_entries"], row["acknowledged_version"]) == ("Outdated", 2, 1)

    async def test_it_comes_in_pages(self, keeper: Keeper, tag: Tag) -> None:
        for number in range(5):
            await tag(f"T{number}")
        await keeper.rule()
        seen: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            page = await keeper.shown(limit=2, **cursor)
            assert page["total"] == 5
            seen += [item["id_tag"] for item in page["items"]]
            if page["next_cursor"] is None:
                break
            cursor = {"cursor": page["next_cursor"]}
        assert seen == [f"T{number}" for number in range(5)]
        assert [item["id_tag"] for item in (await keeper.shown(q="t3"))["items"]] == ["T3"]
        path = f"/chargers/{keeper.charger.id}/local-list"
        for cursor in ({"cursor": "nonsense"}, {"cursor": "WyJhIl0"}):
            assert (await keeper.send("GET", path, **cursor)).status_code == 422

    async def test_only_what_differs_may_be_asked_for(self, keeper: Keeper, tag: Tag) -> None:
        await tag("A")
        await keeper.rule()
        keeper.connect()
        await keeper.push()
        await tag("B")
        for differs, tags in ((True, ["B"]), (False, ["A"])):
            shown = await keeper.shown(differs=differs)
            assert [item["id_tag"] for item in shown["items"]] == tags

    async def test_asking_now_shows_that_the_charger_has_another_version(
        self, keeper: Keeper, tag: Tag
    ) -> None:
        await tag("A")
        await keeper.rule()
        link = keeper.connect()
        await keeper.push()
        link.version = 9
        shown = await keeper.shown(refresh=True)
        assert (shown["state"], shown["reported"]["version"], shown["reported"]["agrees"]) == (
            "Unknown",
            9,
            False,
        )

    async def test_a_charger_that_is_away_cannot_be_asked(self, keeper: Keeper) -> None:
        path = f"/chargers/{keeper.charger.id}/local-list"
        assert (await keeper.send("GET", path, refresh=True)).status_code == 409

    async def test_a_charger_that_is_not_there(self, keeper: Keeper, charger: Charger) -> None:
        for method in ("GET", "POST"):
            assert (await keeper.send(method, "/chargers/nobody/local-list")).status_code == 404

    async def test_without_a_rule_nothing_is_sent(self, keeper: Keeper) -> None:
        link = keeper.connect()
        answer = await keeper.send("POST", f"/chargers/{keeper.charger.id}/local-list")
        assert (answer.status_code, answer.json()["error"]) == (409, "LocalListRuleMissing")
        assert link.calls == []

    @pytest.mark.parametrize("body", [{"update": "Some"}, {"more": 1}, [], "x"], ids=str)
    async def test_a_faulty_body_is_refused(self, keeper: Keeper, body: Any) -> None:
        answer = await keeper.send("POST", f"/chargers/{keeper.charger.id}/local-list", body)
        assert answer.status_code == 422

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncSession
from tests.conftest import FrozenClock
from tests.fleet.configuration.conftest import KEYS, Api, Attach
from tests.fleet.configuration.links import REFUSED, TIMEOUT
from tests.world import SignedIn, World

from ohmstead.accounts.models import Role
from ohmstead.core.db import Database
from ohmstead.link.links import Answer, ChargerBusy, ChargerOffline
from ohmstead.stations.models import Charger

AsUser = Callable[[SignedIn], Api]
EVERY = {
    ("GET", "configuration"): None,
    ("GET", "configuration?refresh=true"): None,
    ("PUT", "configuration"): {"keys": {"HeartbeatInterval": "60"}},
    ("GET", "configuration/history"): None,
    ("POST", "rotate-password"): None,
}
PASSWORD = "00ff" * 10
PASSWORDS = [
    ("POST", "rotate-password", None),
    ("PUT", "configuration", {"keys": {"authorizationKEY": PASSWORD}}),
    ("PUT", "configuration", {"keys": {"AuthorizationKey": PASSWORD}}),
    ("POST", "commands/ChangeConfiguration", {"key": "AuthorizationKey", "value": PASSWORD}),
    ("POST", "commands/ChangeConfiguration", {"value": PASSWORD, "key": "authorizationkey"}),
]
PASSED = [("GET", "configuration"), ("PUT", "configuration"), ("GET", "configuration/history")]


class TestAccess:
    """Who has not signed in and who is a driver are in tests/test_authorization.py, for every route."""

    @pytest.mark.parametrize(("method", "path"), EVERY)
    @pytest.mark.parametrize(("role", "status"), [(Role.BACKOFFICE, 404), (Role.OPERATOR, 404)])
    async def test_a_charger_of_another_business_does_not_exist(
        self,
        *,
        world: World,
        as_user: AsUser,
        attach: Attach,
        charger: Charger,
        method: str,
        path: str,
        role: Role,
        status: int,
    ) -> None:
        link = attach(charger)
        other = as_user(await world.user(role))
        if role is Role.OPERATOR and path == "rotate-password":
            status = 403
        answer = await other.send(method, f"/chargers/{charger.id}/{path}", EVERY[method, path])
        assert answer.status_code == status
        assert link.calls == []

    @pytest.mark.parametrize(("method", "path"), PASSED)
    async def test_an_operator_sees_and_changes_the_chargers_of_its_stations(
        self, *, world: World, as_user: AsUser, attach: Attach, method: str, path: str
    ) -> None:
        business = await world.backoffice()
        mine, other = await world.station(business), await world.station(business)
        operator = as_user(await world.user(Role.OPERATOR, business, (mine,)))
        for station, status in ((mine, 200), (other, 404)):
            charger = await world.charger(station)
            attach(charger)
            answer = await operator.send(method, f"/chargers/{charger.id}/{path}", EVERY[method, path])
            assert answer.status_code == status

    @pytest.mark.parametrize(("method", "path", "body"), PASSWORDS)
    @pytest.mark.parametrize(
        ("role", "permissions", "status"),
        [
            (Role.SYSTEM_ADMIN, (), 200),
            (Role.BACKOFFICE, (), 200),
            (Role.OPERATOR, (), 403),
            (Role.BACKOFFICE, ("chargers:command", "configuration:change", "chargers:manage"), 200),
            (Role.BACKOFFICE, ("chargers:command", "configuration:change"), 403),
        ],
    )
    async def test_who_may_not_rotate_a_password_sets_none_in_another_way(
        self,
        *,
        client: httpx.AsyncClient,
        world: World,
        as_user: AsUser,
        attach: Attach,
        method: str,
        path: str,
        body: Any,
        role: Role,
        permissions: tuple[str, ...],
        status: int,
    ) -> None:
        business = await world.backoffice()
        station = await world.station(business)
        charger = await world.charger(station)
        link = attach(charger)
        if role is Role.SYSTEM_ADMIN:
            user = await world.admin()
        else:
            user = await world.user(role, business, (station,) if role is Role.OPERATOR else ())
        headers = user.headers
        if permissions:
            wanted = {"name": "Machine", "permissions": list(permissions)}
            key = await as_user(user).ok("POST", "/api-keys", wanted)
            headers = {"X-API-Key": key["key"]}
        url = f"/api/admin/chargers/{charger.id}/{path}"
        answer = await client.request(method, url, json=body, headers=headers)
        assert answer.status_code == status, answer.text
        assert len(link.calls) == (status == 200)


class TestShow:
    async def test_a_charger_of_which_nothing_is_known_has_no_keys(self, api: Api, charger: Charger) -> None:
        shown = await api.ok("GET", f"/chargers/{charger.id}/configuration")
        assert shown == {
            "items": [],
            "next_cursor": None,
            "total": 0,
            "charger_id": charger.id,
            "template": None,
            "refreshed": None,
        }

    async def test_asking_now_brings_all_keys(self, api: Api, attach: Attach, charger: Charger) -> None:
        link = attach(charger)
        shown = await api.ok("GET", f"/chargers/{charger.id}/configuration", refresh=True, timeout=7)
        assert shown["refreshed"] == {"status": "Accepted"}
        assert {item["key"]: item["value"] for item in shown["items"]} == KEYS
        assert link.asked == [[]]
        assert link.waits == [7.0]

    async def test_without_refresh_the_charger_is_not_asked(
        self, api: Api, attach: Attach, charger: Charger
    ) -> None:
        link = attach(charger)
        await api.keys(charger)
        assert link.calls == []

    async def test_keys_that_the_list_leaves_out_are_asked_for_by_name_no_more_at_once_than_it_takes(
        self, api: Api, attach: Attach, charger: Charger, clock: FrozenClock
    ) -> None:
        keys = {"GetConfigurationMaxKeys": "3", **{f"Key{number}": "1" for number in range(7)}}
        link = attach(charger, keys)
        await api.keys(charger, refresh=True)
        clock.advance(60)
        link.calls.clear()
        link.lists_at_most = 3
        link.keys |= {f"Key{number}": "2" for number in range(7)}
        link.hidden = {"Key6"}
        known = await api.keys(charger, refresh=True)
        assert link.asked[0] == []
        assert sorted(name for names in link.asked[1:] for name in names) == [
            f"Key{number}" for number in range(2, 7)
        ]
        assert max(len(names) for names in link.asked) == 3
        assert {name: key["value"] for name, key in known.items()} == {
            "GetConfigurationMaxKeys": "3",
            **{f"Key{number}": "2" for number in range(6)},
            "Key6": None,
        }
        assert known["Key6"]["supported"] is False

    async def test_keys_that_are_passed_over_among_others_are_asked_for_alone(
        self, api: Api, attach: Attach, charger: Charger
    ) -> None:
        keys = {f"Key{number}": "1" for number in range(4)}
        link = attach(charger, keys)
        await api.keys(charger, refresh=True)
        link.calls.clear()
        link.lists_at_most = 1
        link.keys = dict.fromkeys(keys, "2")
        known = await api.keys(charger, refresh=True)
        assert {key["value"] for key in known.values()} == {"2"}
        assert link.asked == [[], ["Key1", "Key2", "Key3"], ["Key2"], ["Key3"]]

    @pytest.mark.parametrize(
        ("answer", "refreshed"),
        [
            (TIMEOUT, {"status": "Timeout"}),
            (REFUSED, {"status": "CallError", "error": {"code": "NotSupported", "description": "not here"}}),
            (Answer(response={}), {"status": "Accepted"}),
            (Answer(response={"status": "Rejected"}), {"status": "Accepted"}),
        ],
    )
    async def test_a_charger_that_gives_no_list_leaves_what_was_known(
        self, api: Api, attach: Attach, charger: Charger, answer: Answer, refreshed: Any
    ) -> None:
        link = attach(charger, {"HeartbeatInterval": "300"})
        await api.keys(charger, refresh=True)
        link.reading.append(answer)
        shown = await api.ok("GET", f"/chargers/{charger.id}/configuration", refresh=True)
        assert shown["refreshed"] == refreshed
        assert shown["items"][0]["value"] == "300"

    async def test_a_failure_after_the_list_is_told_and_the_list_is_kept(
        self, api: Api, attach: Attach, charger: Charger
    ) -> None:
        link = attach(charger, {"A": "1", "B": "1"})
        await api.keys(charger, refresh=True)
        listed = Answer(response={"configurationKey": [{"key": "A", "readonly": False, "value": "2"}]})
        link.reading += [listed, TIMEOUT]
        shown = await api.ok("GET", f"/chargers/{charger.id}/configuration", refresh=True)
        assert shown["refreshed"] == {"status": "Timeout"}
        assert [item["value"] for item in shown["items"]] == ["2", "1"]

    async def test_a_charger_that_is_away_or_leaves_is_a_conflict(
        self, api: Api, attach: Attach, charger: Charger
    ) -> None:
        path = f"/chargers/{charger.id}/configuration"
        assert (await api.send("GET", path, refresh=True)).status_code == 409
        attach(charger, reading=[ChargerOffline("It left."), ChargerBusy("Too many wait.")])
        for status, error in ((409, "ChargerOffline"), (429, "ChargerBusy")):
            answer = await api.send("GET", path, refresh=True)
            assert (answer.status_code, answer.json()["error"]) == (status, error)
        assert (await api.send("GET", path)).status_code == 200

    @pytest.mark.parametrize(
        "query", [{"cursor": "made up"}, {"cursor": "WyJhIiwiYiJd"}, {"limit": 0}, {"template": "x"}]
    )
    async def test_bad_input_is_refused(self, api: Api, charger: Charger, query: dict[str, Any]) -> None:
        answer = await api.send("GET", f"/chargers/{charger.id}/configuration", **query)
        assert answer.status_code == 422
        assert next(iter(query)) in answer.json()["fields"]

    async def test_history_comes_in_pages_newest_first(
        self, api: Api, attach: Attach, charger: Charger
    ) -> None:
        attach(charger)
        for value in ("1", "2", "3"):
            await api.change(charger, {"HeartbeatInterval": value, "MeterValueSampleInterval": value})
        path = f"/chargers/{charger.id}/configuration/history"
        first = await api.ok("GET", path, limit=2, key="heartbeatINTERVAL")
        assert ([one["to_value"] for one in first["items"]], first["total"]) == (["3", "2"], 3)
        rest = await api.ok("GET", path, limit=2, key="heartbeatINTERVAL", cursor=first["next_cursor"])
        assert [one["to_value"] for one in rest["items"]] == ["1"]


class TestChange:
    async def test_each_key_is_sent_in_order_and_answered_with_its_own_status(
        self, api: Api, attach: Attach, charger: Charger
    ) -> None:
        link = attach(
            charger,
            {"HeartbeatInterval": "300", "Fixed": "1", "Later": "1", "Broken": "1"},
            readonly={"Fixed"},
            changing={"Later": "RebootRequired", "Broken": REFUSED},
        )
        wanted = {"Later": "2", "HeartbeatInterval": "60", "Fixed": "2", "Unknown": "1", "Broken": "2"}
        assert await api.change(charger, wanted, timeout=3) == {
            "Later": {"status": "RebootRequired"},
            "HeartbeatInterval": {"status": "Accepted"},
            "Fixed": {"status": "Rejected"},
            "Unknown": {"status": "NotSupported"},
            "Broken": {"status": "CallError", "error": {"code": "NotSupported", "description": "not here"}},
        }
        assert link.changed == list(wanted.items())
        assert set(link.waits) == {3.0}
        known = await api.keys(charger)
        assert known["HeartbeatInterval"]["value"] == "60"

    @pytest.mark.parametrize(
        ("behaves", "status"),
        [
            (TIMEOUT, "Timeout"),
            (ChargerOffline("It left."), "Offline"),
            (ChargerBusy("Too many wait."), "NotSent"),
        ],
    )
    async def test_after_a_key_that_is_not_answered_nothing_more_is_sent(
        self, api: Api, attach: Attach, charger: Charger, behaves: Any, status: str
    ) -> None:
        link = attach(charger, {"A": "1", "B": "1", "C": "1"}, changing={"B": behaves})
        changed = await api.change(charger, {"A": "2", "B": "2", "C": "2"})
        assert [one["status"] for one in changed.values()] == ["Accepted", status, "NotSent"]
        assert len(link.changed) == 2

    async def test_a_charger_that_is_away_is_a_conflict(self, api: Api, charger: Charger) -> None:
        answer = await api.send("PUT", f"/chargers/{charger.id}/configuration", {"keys": {"A": "1"}})
        assert (answer.status_code, answer.json()["error"]) == (409, "ChargerOffline")

    async def test_values_go_out_as_they_are(self, api: Api, attach: Attach, charger: Charger) -> None:
        link = attach(charger, {"A": "", "B": "", "C": ""})
        wanted = {"A": "  two words ", "B": "", "C": "x" * 500}
        await api.change(charger, wanted)
        assert link.changed == list(wanted.items())

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"keys": {}},
            {"keys": []},
            {"keys": {"A": None}},
            {"keys": {"A": 300}},
            {"keys": {"A": "x" * 501}},
            {"keys": {"A" * 51: "1"}},
            {"keys": {"": "1"}},
            {"keys": {"A\0": "1"}},
            {"keys": {"A": "\0"}},
            {"keys": {"HeartbeatInterval": "1", "heartbeatinterval": "2"}},
            {"keys": {f"Key{number}": "1" for number in range(101)}},
            {"keys": {"A": "1"}, "more": 1},
            {"keys": {"A": "1", "AuthorizationKey": "short"}},
            {"keys": {"A": "1", "authorizationkey": "with a space in it"}},
            {"keys": {"A": "1", "AuthorizationKey": "x" * 129}},
        ],
    )
    async def test_bad_input_is_refused_and_nothing_is_sent(
        self, api: Api, attach: Attach, charger: Charger, body: Any
    ) -> None:
        link = attach(charger, {"A": "0", "HeartbeatInterval": "0"})
        answer = await api.send("PUT", f"/chargers/{charger.id}/configuration", body)
        assert answer.status_code == 422, answer.text
        assert answer.json()["fields"]
        assert link.calls == []

    async def test_a_secret_that_is_refused_is_not_repeated(
        self, api: Api, attach: Attach, charger: Charger
    ) -> None:
        attach(charger)
        for body in (
            {"keys": {"AuthorizationKey": "hunter2"}},
            {"keys": {"AuthorizationKey": "hunter2 x y z"}},
        ):
            answer = await api.send("PUT", f"/chargers/{charger.id}/configuration", body)
            assert answer.status_code == 422
            assert "hunter2" not in answer.text

    async def test_no_transaction_is_open_while_the_charger_is_awaited(
        self,
        *,
        api: Api,
        db: Database,
        attach: Attach,
        charger: Charger,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        link, held, seen = attach(charger), [0], list[int]()
        session, call = db.session, link.call

        @asynccontextmanager
        async def counted() -> AsyncIterator[AsyncSession]:
            async with session() as opened:
                held[0] += 1
                yield opened
            held[0] -= 1

        async def looked(action: str, payload_json: bytes, *, wait_seconds: float | None = None) -> Answer:
            seen.append(held[0])
            return await call(action, payload_json, wait_seconds=wait_seconds)

        monkeypatch.setattr(db, "session", counted)
        monkeypatch.setattr(link, "call", looked)
        await api.keys(charger, refresh=True)
        await api.change(charger, {"HeartbeatInterval": "60"})
        await api.ok("POST", f"/chargers/{charger.id}/rotate-password")
        assert seen == [0, 0, 0]

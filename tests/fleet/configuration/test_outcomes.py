"""What is kept of GetConfiguration and ChangeConfiguration, whoever sent them."""

import asyncio
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import func, select
from tests.conftest import FrozenClock
from tests.fleet.configuration.conftest import Api, Attach
from tests.fleet.configuration.links import REFUSED, TIMEOUT, KeyedLink
from tests.world import World

from ohmstead.core.db import Database
from ohmstead.fleet.configuration import keeping
from ohmstead.fleet.configuration.keys import KEYS_MAX
from ohmstead.fleet.configuration.models import ConfigurationChange, ConfigurationKey
from ohmstead.link.links import Answer, ChargerOffline
from ohmstead.stations.models import Charger
from ohmstead.stations.outcomes import Commands


@pytest.fixture
def commands(app: FastAPI) -> Commands:
    commands: Commands = app.state.commands
    return commands


async def command(api: Api, charger: Charger, action: str, body: Any = None) -> Any:
    return await api.ok("POST", f"/chargers/{charger.id}/commands/{action}", body or {})


async def read(commands: Commands, charger: Charger, *items: tuple[str, str | None], **more: Any) -> None:
    """Let a charger tell some keys."""
    listed = [{"key": key, "readonly": False, "value": value} for key, value in items]
    link = commands.links.get(charger.id)
    assert link is not None
    link.reading.append(Answer(response={"configurationKey": listed, **more}))  # type: ignore[attr-defined] # a KeyedLink
    await commands.send(charger.id, "GetConfiguration", {})


class TestReading:
    async def test_the_answer_to_an_operators_command_is_kept(
        self, api: Api, attach: Attach, charger: Charger, clock: FrozenClock
    ) -> None:
        attach(charger, readonly={"GetConfigurationMaxKeys"})
        clock.advance(60)
        await command(api, charger, "GetConfiguration")
        keys = await api.keys(charger)
        assert list(keys) == ["GetConfigurationMaxKeys", "HeartbeatInterval", "MeterValueSampleInterval"]
        assert keys["HeartbeatInterval"] == {
            "key": "HeartbeatInterval",
            "value": "300",
            "readonly": False,
            "supported": True,
            "read_at": "2026-05-04T12:01:00Z",
            "read_by": "GetConfiguration",
            "wanted": None,
            "differs": False,
            "state": None,
            "tries": 0,
            "last_change": None,
        }
        assert keys["GetConfigurationMaxKeys"]["readonly"] is True
        assert await api.history(charger) == [], "what is seen for the first time has not changed"

    async def test_an_unknown_key_is_kept_as_such(self, api: Api, attach: Attach, charger: Charger) -> None:
        attach(charger)
        await command(api, charger, "GetConfiguration", {"key": ["Nonsense", "heartbeatinterval"]})
        keys = await api.keys(charger)
        assert (keys["Nonsense"]["supported"], keys["Nonsense"]["value"]) == (False, None)
        assert keys["HeartbeatInterval"]["value"] == "300"

    async def test_two_hundred_keys_are_kept_and_listed_in_pages(
        self, api: Api, attach: Attach, charger: Charger
    ) -> None:
        attach(charger, {f"Vendor.Key{number:03d}": "x" * 500 for number in range(200)})
        await command(api, charger, "GetConfiguration")
        path = f"/chargers/{charger.id}/configuration"
        seen: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            page = await api.ok("GET", path, limit=64, **cursor)
            assert page["total"] == 200
            seen += [item["key"] for item in page["items"]]
            if page["next_cursor"] is None:
                break
            cursor = {"cursor": page["next_cursor"]}
        assert seen == [f"Vendor.Key{number:03d}" for number in range(200)]
        found = await api.ok("GET", path, q="KEY19")
        assert [item["key"] for item in found["items"]] == [f"Vendor.Key19{number}" for number in range(10)]

    async def test_a_value_that_became_another_is_in_the_history(
        self, api: Api, commands: Commands, attach: Attach, charger: Charger, clock: FrozenClock
    ) -> None:
        attach(charger)
        await read(commands, charger, ("HeartbeatInterval", "300"), ("Other", "1"))
        clock.advance(60)
        await read(commands, charger, ("heartbeatinterval", "60"), ("Other", "1"))
        clock.advance(60)
        await read(commands, charger, unknownKey=["HeartbeatInterval"])
        clock.advance(60)
        await read(commands, charger, ("HeartbeatInterval", "90"))
        changes = await api.history(charger)
        assert [(one["from_value"], one["to_value"]) for one in changes] == [
            ("300", "60"),
            ("60", None),
            (None, "90"),
        ]
        assert {(one["command"], one["status"]) for one in changes} == {("GetConfiguration", None)}
        assert changes[0]["at"] == "2026-05-04T12:01:00Z"

    @pytest.mark.parametrize(
        "answer",
        [
            REFUSED,
            TIMEOUT,
            Answer(response={}),
            Answer(response={"configurationKey": [7, {"key": None}], "unknownKey": "x"}),
        ],
        ids=["CALLERROR", "no answer", "nothing", "nonsense"],
    )
    async def test_an_answer_without_keys_changes_nothing(
        self, api: Api, commands: Commands, attach: Attach, charger: Charger, answer: Answer
    ) -> None:
        link = attach(charger)
        await command(api, charger, "GetConfiguration")
        before = await api.keys(charger)
        link.reading.append(answer)
        await command(api, charger, "GetConfiguration")
        assert await api.keys(charger) == before

    async def test_a_charger_that_leaves_changes_nothing(
        self, api: Api, attach: Attach, charger: Charger
    ) -> None:
        attach(charger, reading=[ChargerOffline("It left.")])
        answer = await api.send("POST", f"/chargers/{charger.id}/commands/GetConfiguration", {})
        assert answer.status_code == 409
        assert await api.keys(charger) == {}

    async def test_a_key_that_is_asked_for_alone_and_passed_over_is_not_supported(
        self, api: Api, attach: Attach, charger: Charger
    ) -> None:
        link = attach(charger)
        for asked, keys in ((["A", "B"], {}), (["A"], {"A": False})):
            link.reading.append(Answer(response={"configurationKey": []}))
            await command(api, charger, "GetConfiguration", {"key": asked})
            assert {name: key["supported"] for name, key in (await api.keys(charger)).items()} == keys

    async def test_an_answer_that_is_older_than_what_is_known_does_not_count(
        self, api: Api, db: Database, attach: Attach, charger: Charger, clock: FrozenClock
    ) -> None:
        attach(charger)
        await command(api, charger, "ChangeConfiguration", {"key": "HeartbeatInterval", "value": "60"})
        clock.advance(-5)
        await command(api, charger, "GetConfiguration")
        keys = await api.keys(charger)
        assert keys["HeartbeatInterval"]["read_by"] == "ChangeConfiguration"
        assert keys["MeterValueSampleInterval"]["read_by"] == "GetConfiguration"

    async def test_a_charger_that_makes_up_keys_does_not_fill_the_database(
        self, db: Database, commands: Commands, attach: Attach, charger: Charger
    ) -> None:
        attach(charger)
        for turn in range(2):
            await read(commands, charger, *((f"Key{turn}-{number}", "1") for number in range(700)))
        await read(commands, charger, ("Key0-0", "2"), unknownKey=["One more"])
        async with db.session() as session:
            count = select(func.count()).where(ConfigurationKey.charger_id == charger.id)
            assert (await session.execute(count)).scalar_one() == KEYS_MAX
            assert (await keeping.rows_of(session, charger.id, ["KEY0-0"]))["key0-0"].value == "2"

    async def test_a_charger_that_was_deleted_meanwhile_leaves_nothing_behind(
        self, db: Database, commands: Commands, attach: Attach, charger: Charger
    ) -> None:
        attach(charger)
        async with db.session() as session:
            row = await session.get(Charger, charger.id)
            await session.delete(row)
        await read(commands, charger, ("A", "1"))
        answer = await commands.send(charger.id, "ChangeConfiguration", {"key": "A", "value": "2"})
        assert answer.status == "NotSupported"
        answer = await commands.send(
            charger.id, "ChangeConfiguration", {"key": "AuthorizationKey", "value": "0123456789abcdef"}
        )
        assert answer.response is not None


class TestChanging:
    @pytest.mark.parametrize("key", ["HeartbeatInterval", "HEARTBEATINTERVAL", "heartbeatinterval"])
    async def test_an_accepted_value_is_the_known_one(
        self, api: Api, attach: Attach, charger: Charger, clock: FrozenClock, key: str
    ) -> None:
        attach(charger)
        await command(api, charger, "GetConfiguration")
        clock.advance(60)
        await command(api, charger, "ChangeConfiguration", {"key": key, "value": "120"})
        known = (await api.keys(charger))["HeartbeatInterval"]
        assert (known["value"], known["read_by"], known["read_at"]) == (
            "120",
            "ChangeConfiguration",
            "2026-05-04T12:01:00Z",
        )
        assert known["last_change"] == {"value": "120", "status": "Accepted", "at": "2026-05-04T12:01:00Z"}
        [change] = await api.history(charger, key=key)
        assert {name: change[name] for name in ("key", "from_value", "to_value", "command", "status")} == {
            "key": "HeartbeatInterval",
            "from_value": "300",
            "to_value": "120",
            "command": "ChangeConfiguration",
            "status": "Accepted",
        }

    async def test_what_wants_a_restart_is_not_the_value_yet(
        self, api: Api, attach: Attach, charger: Charger
    ) -> None:
        attach(charger, changing={"HeartbeatInterval": "RebootRequired"})
        await command(api, charger, "GetConfiguration")
        await command(api, charger, "ChangeConfiguration", {"key": "HeartbeatInterval", "value": "120"})
        known = (await api.keys(charger))["HeartbeatInterval"]
        assert known["value"] == "300"
        assert (known["last_change"]["value"], known["last_change"]["status"]) == ("120", "RebootRequired")
        [change] = await api.history(charger)
        assert (change["from_value"], change["to_value"], change["status"]) == (
            "300",
            "120",
            "RebootRequired",
        )

    @pytest.mark.parametrize(
        ("behaves", "status"),
        [
            ("Rejected", "Rejected"),
            ("NotSupported", "NotSupported"),
            (REFUSED, "CallError"),
            (TIMEOUT, "Timeout"),
            (ChargerOffline("It left."), "Offline"),
            (Answer(response={}), "CallError"),
            (Answer(response={"status": "Sure"}), "CallError"),
            (Answer(response={"status": ["Accepted"]}), "CallError"),
        ],
    )
    async def test_whatever_else_leaves_the_value_and_is_told(
        self, api: Api, attach: Attach, charger: Charger, behaves: Any, status: str
    ) -> None:
        attach(charger, changing={"HeartbeatInterval": behaves})
        await command(api, charger, "GetConfiguration")
        body = {"key": "HeartbeatInterval", "value": "120"}
        await api.send("POST", f"/chargers/{charger.id}/commands/ChangeConfiguration", body)
        known = (await api.keys(charger))["HeartbeatInterval"]
        assert (known["value"], known["supported"]) == ("300", True)
        assert (known["last_change"]["value"], known["last_change"]["status"]) == ("120", status)
        assert await api.history(charger) == []

    async def test_a_key_that_nobody_knows_is_kept_only_if_the_charger_said_something_of_it(
        self, api: Api, attach: Attach, charger: Charger
    ) -> None:
        attach(charger, changing={"A": TIMEOUT, "B": "Rejected", "C": "NotSupported", "D": "Accepted"})
        for key in "ABCD":
            await command(api, charger, "ChangeConfiguration", {"key": key, "value": "1"})
        keys = await api.keys(charger)
        assert {name: (key["value"], key["supported"]) for name, key in keys.items()} == {
            "B": (None, True),
            "C": (None, False),
            "D": ("1", True),
        }
        assert [(one["key"], one["from_value"], one["to_value"]) for one in await api.history(charger)] == [
            ("D", None, "1")
        ]

    async def test_the_same_value_again_is_no_change(
        self, api: Api, attach: Attach, charger: Charger
    ) -> None:
        attach(charger)
        for value in ("60", "60", "61"):
            await command(api, charger, "ChangeConfiguration", {"key": "HeartbeatInterval", "value": value})
        assert [one["to_value"] for one in await api.history(charger)] == ["60", "61"]

    @pytest.mark.parametrize("body", [{"key": "A\0", "value": "1"}, {"key": "", "value": "1"}])
    async def test_a_key_that_cannot_be_kept_is_passed_on_all_the_same(
        self, api: Api, attach: Attach, charger: Charger, body: dict[str, str]
    ) -> None:
        attach(charger, changing={body["key"]: "Accepted"})
        assert (await command(api, charger, "ChangeConfiguration", body))["status"] == "Accepted"
        assert await api.keys(charger) == {}

    async def test_a_nul_in_a_value_is_left_out(self, api: Api, attach: Attach, charger: Charger) -> None:
        attach(charger)
        await command(api, charger, "ChangeConfiguration", {"key": "HeartbeatInterval", "value": "6\0" + "0"})
        assert (await api.keys(charger))["HeartbeatInterval"]["value"] == "60"


class TestSecrets:
    @pytest.mark.parametrize("key", ["AuthorizationKey", "authorizationkey", "WifiPassword", "ApiToken"])
    async def test_the_value_of_a_secret_key_is_kept_nowhere(
        self, api: Api, db: Database, attach: Attach, charger: Charger, key: str
    ) -> None:
        secret = "0f" * 20
        link = attach(charger, {key: "an old secret"})
        await command(api, charger, "GetConfiguration")
        await command(api, charger, "ChangeConfiguration", {"key": key, "value": secret})
        assert link.keys[key] == secret
        shown = await api.ok("GET", f"/chargers/{charger.id}/configuration")
        assert shown["items"][0]["value"] is None
        assert shown["items"][0]["last_change"]["value"] is None
        [change] = await api.history(charger)
        assert (change["from_value"], change["to_value"], change["status"]) == (None, None, "Accepted")
        async with db.session() as session:
            row = (await keeping.rows_of(session, charger.id))[key.lower()]
        assert {row.value, row.asked_value, row.tried_value} == {None}


class TickingClock(FrozenClock):
    """A clock that is never asked twice in the same moment."""

    def now(self) -> datetime:
        self.advance(0.001)
        return self.moment


class TestAtOnce:
    async def test_many_answers_of_one_charger_at_once_are_one_row_for_each_key(
        self, own_app: FastAPI
    ) -> None:
        commands: Commands = replace(own_app.state.commands, clock=TickingClock())
        charger = await World(commands.database, own_app.state.settings, commands.clock).charger()
        keys = {f"Key{number}": "1" for number in range(30)}
        commands.links.attach(charger.id, KeyedLink(keys))
        await asyncio.gather(
            *(commands.send(charger.id, "GetConfiguration", {}) for _ in range(6)),
            *(
                commands.send(charger.id, "ChangeConfiguration", {"key": f"KEY{number}", "value": "2"})
                for number in range(6)
            ),
            commands.send(charger.id, "ChangeConfiguration", {"key": "AuthorizationKey", "value": "ab" * 10}),
        )
        async with commands.database.session() as session:
            rows = await keeping.rows_of(session, charger.id)
            changes = await session.scalars(
                select(ConfigurationChange.key).where(ConfigurationChange.charger_id == charger.id)
            )
            assert sorted(changes) == [f"Key{number}" for number in range(6)]
        assert len(rows) == 31
        assert [rows[f"key{number}"].value for number in range(8)] == ["2"] * 6 + ["1"] * 2

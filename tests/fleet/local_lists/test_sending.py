"""Sending lists: what is due, what each answer means, what is known afterwards."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import update
from tests.conftest import FrozenClock
from tests.fleet.local_lists.conftest import Keeper
from tests.world import World

from ohmstead.core.db import Database
from ohmstead.fleet.local_lists.models import LocalList
from ohmstead.link.links import Answer, ChargerOffline

Tag = Callable[..., Any]


class TestDue:
    async def test_the_first_list_is_full_and_has_a_version_above_0(self, keeper: Keeper, tag: Tag) -> None:
        await tag("A")
        await tag("B", status="Blocked")
        await keeper.rule()
        link = keeper.connect()
        assert (await keeper.shown())["state"] == "NeverSent"
        pushed = await keeper.push()
        assert pushed == {
            "status": "Accepted",
            "detail": "",
            "state": "InSync",
            "sent": [{"update_type": "Full", "version": 1, "entries": 2, "status": "Accepted"}],
        }
        assert link.list == {"A": {"status": "Accepted"}, "B": {"status": "Blocked"}}

    async def test_then_only_what_changed_is_sent(self, keeper: Keeper, tag: Tag, world: World) -> None:
        await tag("A")
        await tag("B")
        await tag("C")
        await keeper.rule()
        link = keeper.connect()
        await keeper.push()
        assert (await keeper.push())["status"] == "InSync"
        await tag("D")
        await keeper.ok("PUT", "/id-tags/B", {"status": "Blocked"})
        await keeper.ok("DELETE", "/id-tags/C")
        shown = await keeper.shown()
        assert shown["state"] == "Outdated"
        assert shown["difference"] == {"missing": 1, "changed": 1, "superfluous": 1}
        await keeper.push()
        assert link.sent[1:] == [("Differential", 2, ["-C", "B", "D"])]
        assert sorted(link.list) == ["A", "B", "D"]
        assert (await keeper.shown())["state"] == "InSync"

    async def test_the_whole_list_is_sent_when_that_is_asked_for(self, keeper: Keeper, tag: Tag) -> None:
        await tag("A")
        await keeper.rule()
        link = keeper.connect()
        await keeper.push()
        await keeper.push({"update": "Full"})
        assert link.sent == [("Full", 1, ["A"]), ("Full", 2, ["A"])]

    async def test_another_version_at_the_charger_is_repaired_by_a_full_list(
        self, keeper: Keeper, tag: Tag
    ) -> None:
        await tag("A")
        await keeper.rule()
        link = keeper.connect()
        await keeper.push()
        link.version = 40
        link.list = {"STRANGE": {"status": "Accepted"}}
        await keeper.push()
        assert link.sent[-1] == ("Full", 41, ["A"])
        assert list(link.list) == ["A"]

    async def test_a_charger_that_lost_its_list_is_given_all_again(self, keeper: Keeper, tag: Tag) -> None:
        await tag("A")
        await keeper.rule()
        link = keeper.connect()
        await keeper.push()
        link.version, link.list = 0, {}
        await keeper.command("GetLocalListVersion")
        shown = await keeper.shown()
        assert (shown["state"], shown["acknowledged"]["entries"]) == ("Outdated", 0)
        await keeper.push()
        assert list(link.list) == ["A"]
        assert link.version == 2

    async def test_after_the_last_version_a_full_list_begins_again(self, keeper: Keeper, tag: Tag) -> None:
        await tag("A")
        await keeper.rule()
        link = keeper.connect()
        link.version = 2**31 - 1
        await keeper.push()
        assert link.sent == [("Full", 1, ["A"])]
        await tag("B")
        await keeper.push()
        assert link.sent[1:] == [("Differential", 2, ["B"])]


class TestRepair:
    @pytest.mark.parametrize("word", ["VersionMismatch", "Failed"])
    async def test_a_differential_that_is_not_taken_is_followed_by_a_full_list(
        self, keeper: Keeper, tag: Tag, word: str
    ) -> None:
        for name in "ABC":
            await tag(name)
        await keeper.rule()
        link = keeper.connect()
        await keeper.push()
        await tag("D")
        link.answers["SendLocalList"] = [word]
        pushed = await keeper.push()
        assert [step["update_type"] for step in pushed["sent"]] == ["Differential", "Full"]
        assert (pushed["status"], pushed["state"]) == ("Accepted", "InSync")
        versions = [version for _, version, _ in link.sent]
        assert versions == sorted(set(versions))
        assert sorted(link.list) == ["A", "B", "C", "D"]

    async def test_a_full_list_that_fails_is_said_to_have_failed(self, keeper: Keeper, tag: Tag) -> None:
        await tag("A")
        await keeper.rule()
        link = keeper.connect()
        link.answers["SendLocalList"] = ["Failed"]
        pushed = await keeper.push()
        assert (pushed["status"], pushed["state"], len(link.sent)) == ("Failed", "Failed", 1)
        shown = await keeper.shown()
        assert shown["last_sent"]["status"] == "Failed"
        assert shown["acknowledged"]["entries"] == 0
        await tag("B")
        assert (await keeper.shown())["state"] == "Outdated", "another list may be taken"

    @pytest.mark.parametrize(
        ("action", "answer"),
        [
            ("SendLocalList", "NotSupported"),
            ("SendLocalList", Answer(error_code="NotSupported")),
            ("GetLocalListVersion", Answer(error_code="NotImplemented")),
            ("GetLocalListVersion", Answer(response={"listVersion": -1})),
        ],
        ids=["word", "CALLERROR", "unknown action", "version -1"],
    )
    async def test_a_charger_without_a_list_is_said_to_have_none(
        self, *, keeper: Keeper, tag: Tag, action: str, answer: Any
    ) -> None:
        await tag("A")
        await keeper.rule()
        link = keeper.connect()
        link.answers[action] = [answer]
        pushed = await keeper.push()
        assert (pushed["status"], pushed["state"]) == ("NotSupported", "NotSupported")
        await tag("B")
        assert (await keeper.shown())["state"] == "NotSupported"
        await keeper.push()
        assert (await keeper.shown())["state"] == "InSync", "it has been switched on meanwhile"

    async def test_a_lost_answer_is_found_out_by_the_version(self, keeper: Keeper, tag: Tag) -> None:
        await tag("A")
        await keeper.rule()
        link = keeper.connect()
        await keeper.push()
        await tag("B")
        link.answers["SendLocalList"] = [Answer()]
        assert (await keeper.push())["state"] == "Unknown"
        link.version, link.list["B"] = 2, {"status": "Accepted"}  # it has taken it all the same
        shown = await keeper.shown(refresh=True)
        assert (shown["state"], shown["refreshed"]) == ("InSync", "Accepted")
        assert shown["acknowledged"]["version"] == 2
        assert (await keeper.push())["status"] == "InSync"

    async def test_what_it_has_not_taken_is_sent_again(self, keeper: Keeper, tag: Tag) -> None:
        await tag("A")
        await tag("C")
        await keeper.rule()
        link = keeper.connect()
        await keeper.push()
        await tag("B")
        link.answers["SendLocalList"] = [Answer()]
        await keeper.push()
        await keeper.push()
        assert link.sent[1:] == [("Differential", 2, ["B"]), ("Differential", 3, ["B"])]

    @pytest.mark.parametrize("answer", [Answer(), Answer(error_code="InternalError"), Answer(response={})])
    async def test_a_charger_that_does_not_tell_its_version_is_sent_nothing(
        self, keeper: Keeper, tag: Tag, answer: Answer
    ) -> None:
        await tag("A")
        await keeper.rule()
        link = keeper.connect()
        link.answers["GetLocalListVersion"] = [answer]
        assert (await keeper.push())["status"] in {"Timeout", "CallError"}
        assert link.sent == []

    async def test_a_charger_that_is_away_answers_409(self, keeper: Keeper, tag: Tag) -> None:
        await tag("A")
        await keeper.rule()
        answer = await keeper.send("POST", f"/chargers/{keeper.charger.id}/local-list")
        assert (answer.status_code, answer.json()["error"]) == (409, "ChargerOffline")
        keeper.connect()
        assert (await keeper.push())["status"] == "Accepted", "nobody holds the list any more"


class TestLimits:
    async def test_a_list_that_is_too_long_for_the_charger_is_not_sent(
        self, keeper: Keeper, tag: Tag
    ) -> None:
        for name in "ABC":
            await tag(name)
        await keeper.rule()
        link = keeper.connect(limits={"LocalAuthListMaxLength": "2"})
        pushed = await keeper.push()
        assert (pushed["status"], pushed["state"]) == ("TooLong", "Failed")
        assert "3 tags" in pushed["detail"]
        assert link.sent == []

    async def test_a_message_has_no_more_entries_than_the_charger_takes(
        self, keeper: Keeper, tag: Tag
    ) -> None:
        for number in range(5):
            await tag(f"T{number}")
        await keeper.rule()
        link = keeper.connect(limits={"SendLocalListMaxLength": "2"})
        await keeper.push()
        assert [(kind, version, len(tags)) for kind, version, tags in link.sent] == [
            ("Full", 1, 2),
            ("Differential", 2, 2),
            ("Differential", 3, 1),
        ]
        assert len(link.list) == 5
        await keeper.push()
        asked = [action for action, _ in link.calls if action == "GetConfiguration"]
        assert len(asked) == 1, "what it told of its limits is known"

    async def test_a_list_that_breaks_off_is_known_as_far_as_it_went(self, keeper: Keeper, tag: Tag) -> None:
        for number in range(5):
            await tag(f"T{number}")
        await keeper.rule()
        link = keeper.connect(limits={"SendLocalListMaxLength": "2"})
        taken = link.take({"updateType": "Full", "listVersion": 1, "localAuthorizationList": []})
        link.version = 0
        link.answers["SendLocalList"] = [taken, ChargerOffline("It left.")]
        link.version = 0
        pushed = await keeper.push()
        assert (pushed["status"], pushed["state"]) == ("Offline", "Unknown")
        assert (await keeper.shown())["acknowledged"]["entries"] == 2


class TestRawCommands:
    async def test_what_an_operator_sends_by_hand_is_kept_too(self, keeper: Keeper, tag: Tag) -> None:
        await tag("A")
        keeper.connect()
        body = {
            "listVersion": 7,
            "updateType": "Full",
            "localAuthorizationList": [
                {"idTag": "X", "idTagInfo": {"status": "Accepted", "expiryDate": "2027-01-01T00:00:00+01:00"}}
            ],
        }
        await keeper.command("SendLocalList", body)
        shown = await keeper.shown()
        assert (shown["state"], shown["wanted"]) == ("NoRule", None)
        assert (shown["acknowledged"]["version"], shown["acknowledged"]["entries"]) == (7, 1)
        assert shown["items"][0]["acknowledged"] == {
            "id_tag": "X",
            "status": "Accepted",
            "expires_at": "2026-12-31T23:00:00.000Z",
            "parent_id_tag": None,
        }
        change = {"listVersion": 9, "updateType": "Differential", "localAuthorizationList": [{"idTag": "x"}]}
        await keeper.command("SendLocalList", change)
        shown = await keeper.shown()
        assert (shown["acknowledged"]["version"], shown["items"]) == (9, [])
        await keeper.rule()
        link = keeper.app.state.links.get(keeper.charger.id)
        await keeper.push()
        assert link.sent[-1][1] == 10

    async def test_a_differential_on_top_of_an_unknown_list_leaves_it_unknown(
        self, keeper: Keeper, tag: Tag
    ) -> None:
        await tag("A")
        await keeper.rule()
        link = keeper.connect()
        link.version = 3
        body = {"listVersion": 4, "updateType": "Differential", "localAuthorizationList": []}
        await keeper.command("SendLocalList", body)
        shown = await keeper.shown()
        assert (shown["state"], shown["acknowledged"]["entries"]) == ("Unknown", None)
        await keeper.push()
        assert link.sent[-1] == ("Full", 5, ["A"])

    @pytest.mark.parametrize("body", [{"listVersion": 2**63 - 1}, {"listVersion": -7}, {"listVersion": 0}])
    async def test_versions_out_of_all_reason_break_nothing(
        self, keeper: Keeper, body: dict[str, Any]
    ) -> None:
        link = keeper.connect()
        link.answers["SendLocalList"] = ["Accepted"]
        entry = {"idTag": "A\0", "idTagInfo": {"status": "Accepted", "parentIdTag": "\0"}}
        full = {"updateType": "Full", "localAuthorizationList": [entry], **body}
        await keeper.command("SendLocalList", full)
        assert (await keeper.shown())["acknowledged"]["entries"] == 1


class TestAtOnce:
    async def test_two_who_send_at_once_do_not_mix(self, keeper: Keeper, tag: Tag, db: Database) -> None:
        await tag("A")
        await keeper.rule()
        keeper.connect()
        await keeper.push()
        async with db.session() as session:
            held = update(LocalList).values(claimed_until=keeper.clock.now().replace(hour=13))
            await session.execute(held.where(LocalList.charger_id == keeper.charger.id))
        answer = await keeper.send("POST", f"/chargers/{keeper.charger.id}/local-list")
        assert (answer.status_code, answer.json()["error"]) == (409, "LocalListBusy")

    async def test_a_process_that_died_holds_the_list_for_a_while_only(
        self, *, keeper: Keeper, tag: Tag, db: Database, clock: FrozenClock
    ) -> None:
        await tag("A")
        await keeper.rule()
        keeper.connect()
        await keeper.push()
        async with db.session() as session:
            held = update(LocalList).values(claimed_until=clock.now())
            await session.execute(held.where(LocalList.charger_id == keeper.charger.id))
        clock.advance(1)
        assert (await keeper.push())["status"] == "InSync"

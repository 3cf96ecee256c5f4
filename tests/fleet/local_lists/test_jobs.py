"""Lists of rules that keep them up to date are sent by themselves."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import update
from tests.fleet.local_lists.conftest import Keeper

from ohmstead.core.db import Database
from ohmstead.fleet.local_lists import jobs
from ohmstead.link.links import Answer
from ohmstead.stations.models import Charger

Tag = Callable[..., Any]


class TestKept:
    async def test_lists_of_a_rule_that_keeps_them_are_sent_by_themselves(
        self, keeper: Keeper, tag: Tag
    ) -> None:
        await tag("A")
        await keeper.rule(keep_up_to_date=True)
        link = keeper.connect()
        commands = keeper.app.state.commands
        assert await jobs.send_due(commands, patience=1) == [keeper.charger.id]
        assert link.sent == [("Full", 1, ["A"])]
        assert await jobs.send_due(commands, patience=1) == []
        await tag("B")
        await jobs.send_due(commands, patience=1)
        assert sorted(link.list) == ["A", "B"]

    async def test_lists_of_other_rules_are_not(self, keeper: Keeper, tag: Tag) -> None:
        await tag("A")
        await keeper.rule()
        keeper.connect()
        assert await jobs.send_due(keeper.app.state.commands, patience=1) == []

    async def test_a_charger_that_is_away_gets_it_when_it_is_back(
        self, keeper: Keeper, tag: Tag, db: Database
    ) -> None:
        await tag("A")
        await keeper.rule(keep_up_to_date=True)
        link = keeper.connect()
        for online, sent in ((False, 0), (True, 1)):
            async with db.session() as session:
                there = update(Charger).where(Charger.id == keeper.charger.id)
                await session.execute(there.values(online=online))
            await jobs.send_due(keeper.app.state.commands, patience=1)
            assert len(link.sent) == sent

    async def test_what_was_refused_is_not_sent_again_until_the_tags_change(
        self, keeper: Keeper, tag: Tag
    ) -> None:
        await tag("A")
        await keeper.rule(keep_up_to_date=True)
        link = keeper.connect()
        link.answers["SendLocalList"] = ["Failed"]
        for _ in range(3):
            await jobs.send_due(keeper.app.state.commands, patience=1)
            keeper.clock.advance(60)
        assert len(link.sent) == 1
        await tag("B")
        await jobs.send_due(keeper.app.state.commands, patience=1)
        assert len(link.sent) == 2

    async def test_a_charger_without_an_answer_is_asked_again_after_a_while(
        self, keeper: Keeper, tag: Tag
    ) -> None:
        await tag("A")
        await keeper.rule(keep_up_to_date=True)
        link = keeper.connect()
        link.answers["SendLocalList"] = [Answer()]
        for minutes, sent in ((0, 1), (5, 1), (20, 2)):
            keeper.clock.advance(minutes * 60)
            await jobs.send_due(keeper.app.state.commands, patience=1)
            assert len(link.sent) == sent

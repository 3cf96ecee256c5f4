"""Local lists as the work of campaigns."""

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from tests.fleet.local_lists.conftest import Keeper

from ohmstead.fleet.campaigns.work import Means
from ohmstead.fleet.kinds import KINDS
from ohmstead.link.links import Answer, ChargerOffline, ChargerUnreachable

Tag = Callable[..., Any]


class TestCampaign:
    async def test_a_campaign_sends_what_is_due(self, keeper: Keeper, tag: Tag, app: FastAPI) -> None:
        await tag("A")
        await keeper.rule()
        link = keeper.connect()
        state = app.state
        means = Means(state.database, state.commands, state.settings, state.clock, state.files)
        kind = KINDS["LocalList"]
        outcome = await kind.apply(means, keeper.charger.id, {})
        assert (outcome.state, len(link.sent)) == ("Done", 1)
        assert (
            await kind.apply(means, keeper.charger.id, {})
        ).detail == "The charger holds the list already."
        assert (await kind.apply(means, keeper.charger.id, {"full": True})).state == "Done"
        assert len(link.sent) == 2
        for answer, state_of_item, again in (
            ("Failed", "Failed", False),
            ("NotSupported", "Failed", False),
            (Answer(), "Failed", True),
            (Answer(error_code="GenericError"), "Failed", True),
            (ChargerOffline("It left."), "Away", False),
            (ChargerUnreachable("Redis is away."), "Unreached", False),
        ):
            keeper.clock.advance(1)
            link.answers["SendLocalList"] = [answer]
            outcome = await kind.apply(means, keeper.charger.id, {"full": True})
            assert (outcome.state, outcome.again) == (state_of_item, again), answer

    async def test_a_charger_without_a_rule_fails_with_the_reason(self, keeper: Keeper, app: FastAPI) -> None:
        keeper.connect()
        state = app.state
        means = Means(state.database, state.commands, state.settings, state.clock, state.files)
        outcome = await KINDS["LocalList"].apply(means, keeper.charger.id, {})
        assert outcome.state == "Failed"
        assert "No rule" in outcome.detail

"""A configuration change as the work of a campaign."""

from typing import Any
from uuid import uuid4

import pytest
from fastapi import FastAPI
from pydantic import ValidationError
from tests.fleet.configuration.conftest import Api, Attach
from tests.fleet.configuration.links import REFUSED, TIMEOUT
from tests.world import World

from ohmstead.accounts.models import Role
from ohmstead.core.errors import Unavailable
from ohmstead.fleet.campaigns.work import Means, Outcome, OutcomeState
from ohmstead.fleet.configuration.apply import KIND, apply
from ohmstead.fleet.configuration.models import ConfigurationTemplate
from ohmstead.fleet.configuration.schemas import ConfigurationWork
from ohmstead.fleet.kinds import KINDS
from ohmstead.link.links import Answer, ChargerBusy, ChargerOffline, ChargerUnreachable
from ohmstead.stations.models import Charger

KEYS = {"HeartbeatInterval": "120", "MeterValueSampleInterval": "30"}


@pytest.fixture
def means(app: FastAPI) -> Means:
    state = app.state
    return Means(state.database, state.commands, state.settings, state.clock, state.files)


async def work(means: Means, charger: Charger, **parameters: Any) -> Outcome:
    """Do the work with parameters as they are kept: JSON values."""
    kept = KIND.parameters.model_validate(parameters).model_dump(mode="json", exclude_unset=True)
    return await apply(means, charger.id, kept)


async def template(world: World, charger: Charger, keys: dict[str, str]) -> ConfigurationTemplate:
    assert charger.backoffice_id is not None
    pairs = [[key, value] for key, value in keys.items()]
    row = ConfigurationTemplate(
        id=uuid4(), backoffice_id=charger.backoffice_id, name=f"T {uuid4()}", keys=pairs
    )
    await world.add(row)
    return row


def test_campaigns_know_the_kind_and_may_begin_it_anew() -> None:
    assert KINDS["Configuration"] is KIND
    assert KIND.repeatable


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"keys": {}},
        {"keys": {"A": "1"}, "template_id": str(uuid4())},
        {"keys": {"A": "x" * 501}},
        {"keys": {"AuthorizationKey": "0123456789abcdef"}},
        {"keys": {"WifiPassword": "0123456789abcdef"}},
        {"template_id": "x"},
        {"keys": {"A": "1"}, "more": 1},
    ],
)
def test_a_campaign_is_given_keys_or_a_template_and_no_secrets(parameters: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ConfigurationWork.model_validate(parameters)


class TestApply:
    async def test_keys_are_sent_and_done_when_all_are_accepted(
        self, means: Means, api: Api, attach: Attach, charger: Charger
    ) -> None:
        link = attach(charger)
        outcome = await work(means, charger, keys=KEYS)
        assert outcome.state == OutcomeState.DONE
        assert outcome.evidence == {"keys": dict.fromkeys(KEYS, "Accepted")}
        assert dict(link.changed) == KEYS
        assert link.asked == []
        assert (await api.keys(charger))["HeartbeatInterval"]["value"] == "120"

    async def test_a_template_is_sent_in_its_order_as_it_is_at_that_moment(
        self, means: Means, world: World, api: Api, attach: Attach, charger: Charger
    ) -> None:
        link = attach(charger, {"Z": "0", "HeartbeatInterval": "0", "A": "0"})
        made = await template(world, charger, KEYS)
        keys = {"Z": "1", "HeartbeatInterval": "1", "A": "1"}
        await api.ok("PUT", f"/configuration-templates/{made.id}", {"keys": keys})
        outcome = await work(means, charger, template_id=str(made.id))
        assert outcome.state == OutcomeState.DONE
        assert link.changed == list(keys.items())

    async def test_the_template_of_another_business_or_one_that_is_gone_is_not_sent(
        self, means: Means, world: World, attach: Attach, charger: Charger
    ) -> None:
        link = attach(charger)
        strange = await template(world, await world.charger(), KEYS)
        for template_id in (strange.id, uuid4()):
            outcome = await work(means, charger, template_id=str(template_id))
            assert (outcome.state, outcome.again) == (OutcomeState.FAILED, False)
        assert link.calls == []

    async def test_what_takes_effect_after_a_restart_is_done_and_says_so(
        self, means: Means, attach: Attach, charger: Charger
    ) -> None:
        attach(charger, changing={"HeartbeatInterval": "RebootRequired"})
        outcome = await work(means, charger, keys=KEYS)
        assert outcome.state == OutcomeState.DONE
        assert outcome.detail == "Takes effect after a restart: HeartbeatInterval."

    @pytest.mark.parametrize(
        ("behaves", "state", "again", "status", "sent"),
        [
            ("Rejected", OutcomeState.FAILED, False, "Rejected", 2),
            ("NotSupported", OutcomeState.FAILED, False, "NotSupported", 2),
            (REFUSED, OutcomeState.FAILED, False, "CallError", 2),
            (Answer(error_code="InternalError"), OutcomeState.FAILED, True, "CallError", 2),
            (Answer(response={}), OutcomeState.FAILED, False, "CallError", 2),
            (TIMEOUT, OutcomeState.FAILED, True, "Timeout", 1),
        ],
    )
    async def test_what_the_charger_refuses_is_a_failure_and_the_rest_is_sent(
        self,
        *,
        means: Means,
        attach: Attach,
        charger: Charger,
        behaves: Any,
        state: OutcomeState,
        again: bool,
        status: str,
        sent: int,
    ) -> None:
        link = attach(charger, changing={"HeartbeatInterval": behaves})
        outcome = await work(means, charger, keys=KEYS)
        assert (outcome.state, outcome.again) == (state, again)
        assert outcome.evidence["keys"]["HeartbeatInterval"] == status
        assert outcome.detail
        assert len(link.changed) == sent

    async def test_a_charger_that_is_away_or_leaves_is_done_when_it_returns(
        self, means: Means, attach: Attach, charger: Charger
    ) -> None:
        assert (await work(means, charger, keys=KEYS)).state == OutcomeState.AWAY
        for key in KEYS:
            attach(charger, changing={key: ChargerOffline("It left.")})
            assert (await work(means, charger, keys=KEYS)).state == OutcomeState.AWAY

    async def test_one_that_another_process_holds_which_cannot_be_asked_is_not_counted(
        self, means: Means, attach: Attach, charger: Charger
    ) -> None:
        attach(charger, changing={"HeartbeatInterval": ChargerUnreachable("Redis is away.")})
        outcome = await work(means, charger, keys=KEYS)
        assert (outcome.state, outcome.detail) == (OutcomeState.UNREACHED, "Redis is away.")
        attach(charger, changing={"MeterValueSampleInterval": ChargerUnreachable("Redis is away.")})
        outcome = await work(means, charger, keys=KEYS)
        assert outcome.state == OutcomeState.AWAY, "the first key was sent"

    async def test_a_busy_charger_is_tried_again(
        self, means: Means, attach: Attach, charger: Charger
    ) -> None:
        attach(charger, changing={"MeterValueSampleInterval": ChargerBusy("Too many wait.")})
        outcome = await work(means, charger, keys=KEYS)
        assert (outcome.state, outcome.again) == (OutcomeState.FAILED, True)

    async def test_a_database_that_is_away_is_tried_again(
        self, means: Means, attach: Attach, charger: Charger
    ) -> None:
        attach(charger, changing={"HeartbeatInterval": Unavailable("Away.")})
        outcome = await work(means, charger, keys=KEYS)
        assert (outcome.state, outcome.again) == (OutcomeState.FAILED, True)


class TestCampaign:
    async def test_a_campaign_may_name_only_templates_of_its_maker(
        self, world: World, api: Api, as_user: Any, charger: Charger
    ) -> None:
        strange = await template(world, charger, KEYS)
        business = await world.backoffice()
        mine = await world.charger(await world.station(business))
        made = await template(world, mine, KEYS)
        owner = as_user(await world.user(Role.BACKOFFICE, business))
        for row, status in ((strange, 404), (made, 201)):
            body = {
                "kind": "Configuration",
                "parameters": {"template_id": str(row.id)},
                "chargers": {"charger_ids": [mine.id]},
            }
            answer = await owner.send("POST", "/campaigns", body)
            assert answer.status_code == status, answer.text
            if status == 404:
                assert answer.json()["error"] == "TemplateNotFound"

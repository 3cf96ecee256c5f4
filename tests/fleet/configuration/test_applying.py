"""A template is held against a charger after its boot."""

from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import delete, update
from tests.conftest import FrozenClock
from tests.fleet.configuration.conftest import Api, Attach
from tests.fleet.configuration.links import REFUSED, TIMEOUT
from tests.fleet.configuration.scenes import KEYS, Scene, a_scene, template
from tests.world import World

from ohmstead.core.db import Database
from ohmstead.fleet.configuration.applying import AGAIN_AFTER, ATTEMPTS
from ohmstead.fleet.configuration.models import ConfigurationTemplate
from ohmstead.link.links import Answer, ChargerOffline, ChargerUnreachable
from ohmstead.stations.models import Charger


@pytest.fixture
async def scene(app: FastAPI, db: Database, clock: FrozenClock, world: World) -> Scene:
    return await a_scene(app, db, clock, world)


class TestBoot:
    async def test_a_charger_without_a_template_is_left_alone(
        self, scene: Scene, world: World, attach: Attach
    ) -> None:
        link = attach(scene.charger)
        await template(world, await world.charger(), KEYS)
        assert await scene.boot() is None
        assert await scene.turn() is None
        assert await scene.jobs() == []
        assert await scene.run() == 0
        assert link.calls == []

    async def test_a_boot_makes_the_turn_due_in_its_own_transaction(self, scene: Scene, world: World) -> None:
        await template(world, scene.charger, {"MeterValueSampleInterval": "30"})
        assert await scene.boot() is None
        turn = await scene.turn()
        assert turn is not None
        assert turn.due_at == scene.clock.now()
        assert await scene.jobs() == [scene.clock.now()]

    @pytest.mark.parametrize(
        ("heartbeat", "interval"), [("120", 120), (" 60 ", 60), ("soon", None), ("0", None), ("99999", None)]
    )
    async def test_the_heartbeat_of_the_template_is_told_with_the_answer_to_the_boot(
        self, scene: Scene, world: World, heartbeat: str, interval: int | None
    ) -> None:
        await template(world, scene.charger, {"heartbeatInterval": heartbeat})
        assert await scene.boot() == interval


class TestSending:
    async def test_what_differs_is_sent_and_nothing_else(
        self, scene: Scene, world: World, api: Api, attach: Attach
    ) -> None:
        wanted = {"Zeta": "1", **KEYS, "Fixed": "2", "Unknown": "1"}
        await template(world, scene.charger, wanted)
        keys = {"GetConfigurationMaxKeys": "3", "Fixed": "1", "HeartbeatInterval": "0120", "Plain": "1"}
        link = attach(
            scene.charger, {**keys, "Zeta": "0", "MeterValueSampleInterval": "60"}, readonly={"Fixed"}
        )
        await scene.boot()
        assert await scene.run() == 1
        assert link.asked == [
            ["GetConfigurationMaxKeys"],
            ["Zeta", "HeartbeatInterval", "MeterValueSampleInterval"],
            ["Fixed", "Unknown"],
        ]
        assert link.changed == [("Zeta", "1"), ("MeterValueSampleInterval", "30")]
        assert {action for action, _ in link.calls} == {"GetConfiguration", "ChangeConfiguration"}
        assert await scene.state(api) == (
            "Failed",
            {
                "Fixed": "ReadOnly",
                "HeartbeatInterval": "Same",
                "MeterValueSampleInterval": "Same",
                "Unknown": "NotSupported",
                "Zeta": "Same",
            },
        )
        turn = await scene.turn()
        assert turn is not None
        assert (turn.due_at, turn.claimed_until, turn.ending) == (None, None, "Done")
        assert await scene.run() == 0

    async def test_a_charger_that_has_everything_is_only_asked(
        self, scene: Scene, world: World, api: Api, attach: Attach
    ) -> None:
        await template(world, scene.charger, KEYS)
        link = attach(scene.charger, KEYS)
        for _ in range(2):
            await scene.boot()
            await scene.run()
        assert link.changed == []
        assert link.asked == [["GetConfigurationMaxKeys"], list(KEYS), list(KEYS)]
        assert (await scene.state(api))[0] == "InSync"

    async def test_a_charger_that_loses_a_value_is_given_it_again(
        self, scene: Scene, world: World, api: Api, attach: Attach
    ) -> None:
        await template(world, scene.charger, KEYS)
        link = attach(scene.charger)
        for _ in range(5):
            await scene.boot()
            await scene.run()
            link.keys["HeartbeatInterval"] = "300"
            scene.clock.advance(24 * 3600)
        assert [value for key, value in link.changed if key == "HeartbeatInterval"] == ["120"] * 5

    async def test_a_template_that_was_deleted_meanwhile_sends_nothing(
        self, scene: Scene, world: World, attach: Attach
    ) -> None:
        made = await template(world, scene.charger, KEYS)
        link = attach(scene.charger)
        await scene.boot()
        async with scene.db.session() as session:
            await session.execute(delete(ConfigurationTemplate).where(ConfigurationTemplate.id == made.id))
        assert await scene.run() == 1
        assert link.calls == []

    @pytest.mark.parametrize(
        "fields", [{"registration": "Pending"}, {"online": False}, {"retired_at": "now"}]
    )
    async def test_a_charger_that_may_not_be_asked_waits(
        self, scene: Scene, world: World, attach: Attach, fields: dict[str, Any]
    ) -> None:
        await template(world, scene.charger, KEYS)
        link = attach(scene.charger)
        await scene.boot()
        values = {name: scene.clock.now() if value == "now" else value for name, value in fields.items()}
        async with scene.db.session() as session:
            await session.execute(update(Charger).where(Charger.id == scene.charger.id).values(**values))
        assert await scene.run() == 0
        back = {"registration": "Accepted", "online": True, "retired_at": None}
        async with scene.db.session() as session:
            await session.execute(update(Charger).where(Charger.id == scene.charger.id).values(**back))
        assert await scene.run() == 1
        assert link.changed


class TestRestart:
    async def test_a_key_that_wants_a_restart_waits_for_one_and_is_read_again(
        self, scene: Scene, world: World, api: Api, attach: Attach
    ) -> None:
        await template(world, scene.charger, KEYS)
        link = attach(scene.charger, changing={"HeartbeatInterval": "RebootRequired"})
        await scene.boot()
        await scene.run()
        assert await scene.state(api) == (
            "RebootRequired",
            {"HeartbeatInterval": "RebootRequired", "MeterValueSampleInterval": "Same"},
        )
        link.reboot()
        await scene.boot()
        await scene.run()
        assert (await scene.state(api))[0] == "InSync"
        assert len(link.changed) == 2
        assert "Reset" not in {action for action, _ in link.calls}

    async def test_one_that_still_differs_is_sent_again_three_times_at_most(
        self, scene: Scene, world: World, api: Api, attach: Attach
    ) -> None:
        await template(world, scene.charger, {"HeartbeatInterval": "120"})
        link = attach(scene.charger, changing={"HeartbeatInterval": "RebootRequired"})
        states = []
        for _ in range(6):
            await scene.boot()
            await scene.run()
            states.append((await scene.state(api))[0])
        assert states == ["RebootRequired"] * 3 + ["Failed"] * 3
        assert await scene.state(api) == ("Failed", {"HeartbeatInterval": "GaveUp"})
        assert len(link.changed) == 3
        link.keys["HeartbeatInterval"] = "120"
        await scene.boot()
        await scene.run()
        assert (await scene.state(api))[0] == "InSync"
        link.keys["HeartbeatInterval"] = "300"
        await scene.boot()
        await scene.run()
        assert len(link.changed) == 4, "it had the value meanwhile, so it is tried anew"

    async def test_another_value_is_tried_anew(
        self, scene: Scene, world: World, api: Api, attach: Attach
    ) -> None:
        made = await template(world, scene.charger, {"HeartbeatInterval": "120"})
        link = attach(scene.charger, changing={"HeartbeatInterval": "Rejected"})
        for _ in range(4):
            await scene.boot()
            await scene.run()
        assert await scene.state(api) == ("Failed", {"HeartbeatInterval": "GaveUp"})
        await api.ok("PUT", f"/configuration-templates/{made.id}", {"keys": {"HeartbeatInterval": "90"}})
        await scene.boot()
        await scene.run()
        assert link.changed == [("HeartbeatInterval", "120")] * 3 + [("HeartbeatInterval", "90")]
        assert await scene.state(api) == ("Failed", {"HeartbeatInterval": "Refused"})

    async def test_a_charger_that_restarts_by_every_change_is_left_alone_after_three(
        self, scene: Scene, world: World, api: Api, attach: Attach
    ) -> None:
        await template(world, scene.charger, {"HeartbeatInterval": "120"})
        link = attach(scene.charger, changing={"HeartbeatInterval": ChargerOffline("It restarts.")})
        for _ in range(9):
            await scene.boot()
            await scene.run()
        assert len(link.changed) == 3
        assert await scene.state(api) == ("Failed", {"HeartbeatInterval": "GaveUp"})


class TestOddAnswers:
    @pytest.mark.parametrize("behaves", ["Rejected", "NotSupported", REFUSED, Answer(response={})])
    async def test_a_key_that_is_refused_does_not_keep_the_others_from_being_sent(
        self, scene: Scene, world: World, api: Api, attach: Attach, behaves: Any
    ) -> None:
        await template(world, scene.charger, KEYS)
        link = attach(scene.charger, changing={"HeartbeatInterval": behaves})
        await scene.boot()
        await scene.run()
        assert [key for key, _ in link.changed] == list(KEYS)
        whole, keys = await scene.state(api)
        refused = isinstance(behaves, str)
        assert (whole, keys["HeartbeatInterval"]) == (("Failed", "Refused") if refused else ("Differs",) * 2)
        assert keys["MeterValueSampleInterval"] == "Same"

    async def test_a_charger_that_refuses_to_list_is_sent_nothing(
        self, scene: Scene, world: World, attach: Attach
    ) -> None:
        await template(world, scene.charger, KEYS)
        link = attach(scene.charger, reading=[REFUSED])
        await scene.boot()
        await scene.run()
        turn = await scene.turn()
        assert turn is not None
        assert (turn.ending, turn.due_at) == ("Refused", None)
        assert turn.detail is not None
        assert "NotSupported" in turn.detail
        assert link.changed == []

    async def test_one_that_does_not_answer_is_asked_again_a_minute_later_a_few_times(
        self, scene: Scene, world: World, api: Api, attach: Attach
    ) -> None:
        await template(world, scene.charger, KEYS)
        link = attach(scene.charger, reading=[TIMEOUT] * 20)
        await scene.boot()
        for attempt in range(1, ATTEMPTS + 3):
            assert await scene.run() == (attempt <= ATTEMPTS)
            assert await scene.run() == 0
            scene.clock.advance(AGAIN_AFTER.total_seconds())
        assert len(link.calls) == ATTEMPTS
        shown = (await api.ok("GET", f"/chargers/{scene.charger.id}/configuration"))["template"]
        assert (shown["state"], shown["ending"], shown["due_at"]) == ("Differs", "Unanswered", None)
        assert shown["detail"] == "No answer to GetConfiguration."
        link.reading.clear()
        await scene.boot()
        await scene.run()
        assert (await scene.state(api))[0] == "InSync"

    async def test_a_change_that_is_not_answered_ends_the_turn(
        self, scene: Scene, world: World, api: Api, attach: Attach
    ) -> None:
        await template(world, scene.charger, KEYS)
        link = attach(scene.charger, changing={"HeartbeatInterval": TIMEOUT})
        await scene.boot()
        await scene.run()
        assert link.changed == [("HeartbeatInterval", "120")]
        turn = await scene.turn()
        assert turn is not None
        assert (turn.ending, turn.due_at) == ("Unanswered", scene.clock.now() + AGAIN_AFTER)
        link.changing.clear()
        scene.clock.advance(AGAIN_AFTER.total_seconds())
        await scene.run()
        assert (await scene.state(api))[0] == "InSync"

    async def test_one_that_leaves_in_between_goes_on_when_it_is_back(
        self, scene: Scene, world: World, api: Api, attach: Attach
    ) -> None:
        await template(world, scene.charger, KEYS)
        attach(scene.charger, changing={"MeterValueSampleInterval": ChargerOffline("It left.")})
        await scene.boot()
        await scene.run()
        turn = await scene.turn()
        assert turn is not None
        assert (turn.ending, turn.due_at) == ("Away", scene.clock.now() + AGAIN_AFTER)
        link = attach(scene.charger, {**KEYS, "MeterValueSampleInterval": "60"})
        scene.clock.advance(AGAIN_AFTER.total_seconds())
        await scene.run()
        assert link.changed == [("MeterValueSampleInterval", "30")]
        assert (await scene.state(api))[0] == "InSync"

    async def test_one_that_another_process_holds_which_cannot_be_asked_is_asked_until_it_can(
        self, scene: Scene, world: World, api: Api, attach: Attach
    ) -> None:
        await template(world, scene.charger, KEYS)
        often = ATTEMPTS + 2
        link = attach(scene.charger, reading=[ChargerUnreachable("Redis is away.")] * often)
        await scene.boot()
        for _ in range(often):
            assert await scene.run() == 1
            turn = await scene.turn()
            assert turn is not None
            assert (turn.ending, turn.due_at) == ("Away", scene.clock.now() + AGAIN_AFTER)
            scene.clock.advance(AGAIN_AFTER.total_seconds())
        await scene.run()
        assert dict(link.changed) == KEYS
        assert (await scene.state(api))[0] == "InSync"

    async def test_a_charger_that_does_not_say_how_many_keys_it_takes_is_asked_that_once(
        self, scene: Scene, world: World, attach: Attach
    ) -> None:
        await template(world, scene.charger, KEYS)
        link = attach(scene.charger, dict(KEYS))
        for _ in range(2):
            await scene.boot()
            await scene.run()
        assert link.asked == [["GetConfigurationMaxKeys"], list(KEYS), list(KEYS)]

    async def test_a_boot_in_the_midst_makes_it_begin_anew(
        self, scene: Scene, world: World, api: Api, attach: Attach, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await template(world, scene.charger, KEYS)
        link = attach(scene.charger)
        change = link._change

        def restarting(key: str, value: str) -> Answer:
            if len(link.changed) == 2:
                link.keys["HeartbeatInterval"] = "300"
            return change(key, value)

        monkeypatch.setattr(link, "_change", restarting)
        await scene.boot()
        call = link.call

        async def booting(action: str, payload_json: bytes, *, wait_seconds: float | None = None) -> Answer:
            if len(link.changed) == 1 and action == "ChangeConfiguration":
                await scene.boot()
            return await call(action, payload_json, wait_seconds=wait_seconds)

        monkeypatch.setattr(link, "call", booting)
        assert await scene.run() == 2
        assert (await scene.state(api))[0] == "InSync"

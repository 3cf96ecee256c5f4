"""Turns are taken side by side, by one runner at a time, and again where a process was killed."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import update
from tests.chargers import until
from tests.conftest import FrozenClock
from tests.fleet.configuration.conftest import Attach
from tests.fleet.configuration.links import KeyedLink
from tests.fleet.configuration.scenes import KEYS, Scene, a_scene, template
from tests.world import World

from ohmstead.core.db import Database
from ohmstead.core.errors import Unavailable
from ohmstead.fleet.configuration import applying
from ohmstead.fleet.configuration.models import ConfigurationTurn
from ohmstead.link.links import Answer
from ohmstead.stations.models import Charger


@pytest.fixture
async def scene(app: FastAPI, db: Database, clock: FrozenClock, world: World) -> Scene:
    return await a_scene(app, db, clock, world)


class TestRunner:
    async def test_a_turn_that_a_killed_process_held_is_taken_when_its_claim_has_ended(
        self, scene: Scene, world: World, attach: Attach
    ) -> None:
        await template(world, scene.charger, KEYS)
        link = attach(scene.charger)
        await scene.boot()
        until = scene.clock.now() + timedelta(minutes=2)
        async with scene.db.session() as session:
            await session.execute(update(ConfigurationTurn).values(claimed_until=until))
        assert await scene.run() == 0
        scene.clock.advance(120)
        assert await scene.run() == 1
        assert link.changed

    async def test_a_database_that_goes_away_leaves_the_turn_for_later(
        self, scene: Scene, world: World, attach: Attach
    ) -> None:
        await template(world, scene.charger, KEYS)
        link = attach(scene.charger, reading=[Unavailable("Away.")])
        await scene.boot()
        assert await scene.run() == 1
        turn = await scene.turn()
        assert turn is not None
        assert turn.due_at is not None
        assert await scene.run() == 0, "its claim has not ended"
        scene.clock.advance(3600)
        assert await scene.run() == 1
        assert dict(link.changed) == KEYS

    async def test_a_fault_of_ours_at_one_charger_is_told_and_ends_with_it(
        self, scene: Scene, world: World, attach: Attach, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await template(world, scene.charger, KEYS)
        link = attach(scene.charger, reading=[ZeroDivisionError()])
        await scene.boot()
        assert await scene.run() == 1
        turn = await scene.turn()
        assert turn is not None
        assert (turn.ending, turn.claimed_until) == ("Broken", None)
        assert link.changed == []


class TestManyAtOnce:
    async def test_a_slow_charger_holds_up_nobody_and_a_second_runner_leaves_it_alone(
        self, own_app: FastAPI, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(applying, "LOOK_EVERY", 0.02)
        database: Database = own_app.state.database
        world = World(database, own_app.state.settings, clock)
        business = await world.backoffice()
        station = await world.station(business)
        chargers = [await world.charger(station, online=True) for _ in range(40)]
        await template(world, chargers[0], KEYS)
        links, gate = {}, asyncio.Event()

        class Slow(KeyedLink):
            async def call(self, *given: Any, **more: Any) -> Answer:
                await gate.wait()
                return await super().call(*given, **more)

        for number, charger in enumerate(chargers):
            links[charger.id] = (Slow if number == 0 else KeyedLink)({"HeartbeatInterval": "300"})
            own_app.state.links.attach(charger.id, links[charger.id])
        scenes = [Scene(own_app, database, clock, charger) for charger in chargers]
        for scene in scenes[:39]:
            await scene.boot()
        running = asyncio.create_task(scenes[0].run())

        async def are_done(some: list[Charger]) -> bool:
            return all(links[charger.id].keys["HeartbeatInterval"] == "120" for charger in some)

        await until(lambda: are_done(chargers[1:39]))
        assert await scenes[0].run() == 0, "one runner at a time"
        await scenes[39].boot()
        await until(lambda: are_done(chargers[39:]))
        assert not running.done()
        gate.set()
        assert await asyncio.wait_for(running, 60) == 40
        assert all(link.keys["HeartbeatInterval"] == "120" for link in links.values())

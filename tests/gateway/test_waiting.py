"""Sockets beside the one that serves a charger: which of them takes over, and which must not."""

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

import pytest
from sqlalchemy import update
from tests.chargers import RawCharger, basic, charger, until
from tests.conftest import SECRET
from tests.gateway.admin import AdminApi
from tests.running import RunningServer
from tests.world import World
from websockets.exceptions import InvalidHandshake, InvalidStatus

from ohmstead.accounts.passwords import secret_hash
from ohmstead.gateway import door
from ohmstead.gateway.lookup import Known, look_up
from ohmstead.stations.models import Charger

NEW_PASSWORD = "another-one-long-enough"


def attached(server: RunningServer, row: Charger) -> Any:
    """The socket that serves a charger, or None."""
    return server.app.state.links.get(row.id)


async def another(server: RunningServer, row: Charger, before: Any) -> Any:
    """Wait until another socket serves a charger than before; returns that."""

    async def changed() -> bool:
        return attached(server, row) is not before

    await until(changed)
    return attached(server, row)


async def offline(server: RunningServer, row: Charger, api: AdminApi) -> None:
    async def gone() -> bool:
        return attached(server, row) is None and (await api.charger(row.id))["online"] is False

    await until(gone)


class TestTakingOver:
    async def test_of_several_silent_sockets_the_newest_that_is_open_takes_over_each_time(
        self, server: RunningServer, row: Charger, api: AdminApi
    ) -> None:
        async with AsyncExitStack() as stack:
            sockets = []
            for number in range(4):
                sockets.append(await stack.enter_async_context(charger(server.ws, row.id)))
                if number == 0:
                    await sockets[0].result("Heartbeat")
            first, second, third, fourth = sockets
            serving = attached(server, row)
            # One of those that wait may leave without anything changing.
            await third.vanish()
            await first.result("Heartbeat")
            assert attached(server, row) is serving
            for ending, following in ((first, fourth), (fourth, second)):
                await ending.vanish()
                serving = await another(server, row, serving)
                asked = asyncio.create_task(api.command(row.id, "ClearCache"))
                await following.answer(await following.next_call(), {"status": "Accepted"})
                assert (await asked).json()["status"] == "Accepted"
                assert (await api.charger(row.id))["online"] is True
            await second.vanish()
            await offline(server, row, api)

    async def test_an_older_silent_socket_takes_over_when_it_speaks(
        self, server: RunningServer, row: Charger
    ) -> None:
        async with (
            charger(server.ws, row.id) as first,
            charger(server.ws, row.id) as second,
            charger(server.ws, row.id) as third,
        ):
            await first.result("Heartbeat")
            await second.result("Heartbeat")
            assert (await first.closed())[0] == 4000
            serving = attached(server, row)
            await second.vanish()
            await another(server, row, serving)
            await third.result("Heartbeat")
            assert third.socket.close_code is None


CHANGES = {
    "retired": ({"retired": True}, "the charger is retired"),
    "rejected": ({"registration": "Rejected"}, "the charger's settings changed"),
    "pending": ({"registration": "Pending"}, "the charger's settings changed"),
    "another password": ({"password": NEW_PASSWORD}, "the charger's settings changed"),
    "another profile": ({"security_profile": 2, "password": NEW_PASSWORD}, "the charger's settings changed"),
}


class TestChanges:
    @pytest.mark.parametrize("name", CHANGES)
    async def test_every_socket_is_closed_and_none_takes_over(
        self, server: RunningServer, server_world: World, api: AdminApi, name: str
    ) -> None:
        body, reason = CHANGES[name]
        password = "the password of before"
        row = await server_world.charger(security_profile=1, password_hash=secret_hash(password, SECRET))
        known = basic(row.id.encode(), password.encode())
        async with AsyncExitStack() as stack:
            sockets = [
                await stack.enter_async_context(charger(server.ws, row.id, headers=known)) for _ in range(4)
            ]
            await sockets[0].boot()
            changed = await api.client.put(f"/api/admin/chargers/{row.id}", json=body)
            assert changed.status_code == 200, changed.text
            assert [await one.closed() for one in sockets] == [(1000, reason)] * 4
        await offline(server, row, api)
        assert all(one["close_reason"] == reason for one in await api.connections(row.id))
        assert await api.transactions(row.id) == []

    async def test_what_a_silent_socket_sends_after_the_change_is_not_served(
        self, server: RunningServer, row: Charger, api: AdminApi, tag: str
    ) -> None:
        async with charger(server.ws, row.id) as serving, charger(server.ws, row.id) as silent:
            await serving.boot()
            transport = silent.socket.transport
            transport.pause_reading()  # it does not see that it has been closed
            await api.client.put(f"/api/admin/chargers/{row.id}", json={"retired": True})
            await serving.closed()
            start = {"connectorId": 1, "idTag": tag, "meterStart": 0, "timestamp": "2026-05-04T12:00:00Z"}
            await silent.send(json.dumps([2, "s", "StartTransaction", start]))
            await offline(server, row, api)
            transport.resume_reading()
            assert (await silent.closed())[0] == 1000
            assert silent.texts == []
        assert await api.transactions(row.id) == []

    async def test_a_retirement_that_the_boot_finds_closes_the_silent_ones_too(
        self, server: RunningServer, row: Charger, api: AdminApi
    ) -> None:
        async with charger(server.ws, row.id) as serving, charger(server.ws, row.id) as silent:
            await serving.result("Heartbeat")
            async with server.database.session() as session:
                now = server.app.state.clock.now()
                await session.execute(update(Charger).where(Charger.id == row.id).values(retired_at=now))
            assert (await serving.boot())["status"] == "Rejected"
            for one in (serving, silent):
                assert await one.closed() == (1000, "the charger is retired")
        await offline(server, row, api)

    async def test_one_that_was_looked_up_before_the_change_is_not_let_in_after_it(
        self, server: RunningServer, row: Charger, api: AdminApi, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read, changed = asyncio.Event(), asyncio.Event()

        async def slow(engine: Any, identity: str) -> Known | None:
            known = await look_up(engine, identity)
            if identity == row.id:
                read.set()
                await changed.wait()
            return known

        monkeypatch.setattr(door, "look_up", slow)
        connecting = asyncio.create_task(RawCharger.connect(server.ws, row.id))
        await asyncio.wait_for(read.wait(), 60)
        assert (await api.client.put(f"/api/admin/chargers/{row.id}", json={"retired": True})).is_success
        changed.set()
        async with await connecting as raw:
            assert await raw.closed() == (1000, "the charger's settings changed")
        await offline(server, row, api)
        with pytest.raises(InvalidStatus):
            await RawCharger.connect(server.ws, row.id)

    async def test_who_comes_back_after_the_change_is_served(
        self, server: RunningServer, row: Charger, api: AdminApi
    ) -> None:
        async with charger(server.ws, row.id) as before:
            await before.boot()
            await api.client.put(f"/api/admin/chargers/{row.id}", json={"registration": "Pending"})
            await before.closed()
        async with charger(server.ws, row.id) as after:
            assert (await after.boot())["status"] == "Pending"
            assert after.socket.close_code is None


class TestBounds:
    async def test_more_than_some_do_not_wait_for_one_charger(
        self, server: RunningServer, row: Charger
    ) -> None:
        async with AsyncExitStack() as stack:
            own = await stack.enter_async_context(charger(server.ws, row.id))
            await own.result("Heartbeat")
            waiting = [await stack.enter_async_context(charger(server.ws, row.id)) for _ in range(6)]
            for oldest in waiting[:2]:
                assert (await oldest.closed())[1] == "the charger has connected again"
            await own.result("Heartbeat")
            await waiting[-1].result("Heartbeat")

    async def test_a_handshake_that_a_stop_overtakes_is_refused_and_holds_nothing_up(
        self, make_server: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with make_server() as own:
            world = World(own.database, own.settings, own.app.state.clock)
            late = await world.charger()
            reading, go_on = asyncio.Event(), asyncio.Event()

            async def slow(engine: Any, identity: str) -> Known | None:
                found = await look_up(engine, identity)
                reading.set()
                await go_on.wait()
                return found

            monkeypatch.setattr(door, "look_up", slow)
            knocking = asyncio.create_task(RawCharger.connect(own.ws, late.id))
            await reading.wait()
            own.server.stop()

            async def stopping() -> bool:
                return bool(own.server.gateway.draining)

            await until(stopping)
            go_on.set()
            with pytest.raises((InvalidHandshake, ConnectionError, EOFError)):
                await knocking
            assert len(own.server.gateway) == 0

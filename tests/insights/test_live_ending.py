"""How the live socket ends: by the client, by its rights, by the server, by being too slow."""

import asyncio
import socket
from datetime import UTC, datetime, timedelta

import pytest
from tests.insights.conftest import Listener, LiveServer, event, listening, until
from tests.world import SignedIn, World
from websockets.exceptions import ConnectionClosed

from ohmstead.accounts.access_tokens import issue
from ohmstead.accounts.models import User
from ohmstead.core.live import Topic
from ohmstead.insights import live
from ohmstead.stations.models import Charger


class TestEnding:
    async def gone(self, server: LiveServer, user: SignedIn) -> None:
        await until(lambda: not any(one.user_id == user.id for one in server.bus._subscriptions))

    async def test_who_leaves_is_forgotten(self, live_server: LiveServer, owner: SignedIn) -> None:
        async with listening(live_server) as listener:
            await listener.hello(owner, "messages")
            assert live_server.bus.watched(Topic.MESSAGES)
        await self.gone(live_server, owner)

    async def test_who_vanishes_is_forgotten(self, live_server: LiveServer, owner: SignedIn) -> None:
        async with listening(live_server) as listener:
            await listener.hello(owner, "messages")
            listener.socket.transport.abort()
            await self.gone(live_server, owner)

    async def test_a_changed_scope(self, live_server: LiveServer, owner: SignedIn) -> None:
        async with listening(live_server) as listener:
            await listener.hello(owner, "chargers")
            live_server.bus.drop_user(owner.id)
            assert await listener.closed() == (4403, "scope changed")

    async def test_a_scope_that_changed_without_a_word_is_noticed(
        self,
        live_server: LiveServer,
        live_world: World,
        owner: SignedIn,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(live, "RECHECK_SECONDS", 0.05)
        elsewhere = await live_world.backoffice()
        async with listening(live_server) as listener:
            await listener.hello(owner, "chargers")
            async with live_world.database.session() as session:
                (await session.get_one(User, owner.id)).backoffice_id = elsewhere.id
            assert await listener.closed() == (4403, "scope changed")

    async def test_a_token_that_expires(
        self, live_server: LiveServer, live_world: World, owner: SignedIn
    ) -> None:
        settings = live_world.settings
        async with live_world.database.session() as session:
            row = await session.get_one(User, owner.id)
        almost = datetime.now(UTC) - timedelta(minutes=settings.jwt_minutes) + timedelta(seconds=2)
        async with listening(live_server) as listener:
            await listener.say(token=issue(settings, row, almost), topics=["messages"])
            await listener.hear_type("welcome")
            code, reason = await listener.closed()
        assert code == 4401
        assert "expired" in reason

    async def test_a_server_that_stops(self, live_server: LiveServer, owner: SignedIn) -> None:
        async with listening(live_server) as listener:
            await listener.hello(owner, "messages")
            for one in [one for one in live_server.bus._subscriptions if one.user_id == owner.id]:
                live_server.bus.drop(one, "shutdown")
            assert (await listener.closed())[0] == 1001

    async def test_who_falls_behind_is_dropped_and_others_are_not(
        self, live_server: LiveServer, live_world: World, owner: SignedIn, charger: Charger
    ) -> None:
        calm = await live_world.admin()
        async with listening(live_server) as slow, listening(live_server) as other:
            await slow.hello(owner, "messages")
            await other.hello(calm, "chargers")
            await other.hear_type("snapshot")
            for _ in range(1001):  # in one breath: the queue holds a thousand
                live_server.bus.publish(event(charger, "flood", Topic.MESSAGES))
            assert await slow.closed() == (4408, "too slow")
            live_server.bus.publish(event(charger, "still here"))
            assert (await other.hear())["kind"] == "still here"

    async def test_who_does_not_read_is_dropped(
        self,
        live_server: LiveServer,
        owner: SignedIn,
        charger: Charger,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(live, "SEND_SECONDS", 0.2)
        monkeypatch.setattr(live, "CLOSE_SECONDS", 0.1)
        narrow = socket.socket()
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        narrow.setblocking(False)
        await asyncio.get_running_loop().sock_connect(narrow, ("127.0.0.1", live_server.port))
        async with listening(live_server, sock=narrow, max_queue=1, compression=None) as listener:
            await listener.hello(owner, "messages")
            bus = live_server.bus
            for _ in range(500):
                bus.publish(event(charger, "flood", Topic.MESSAGES, text="x" * 50_000))
            assert any(one.user_id == owner.id for one in bus._subscriptions)
            await self.gone(live_server, owner)
            listener.socket.transport.abort()
            with pytest.raises(ConnectionClosed):
                await drain(listener)


async def drain(listener: Listener) -> None:
    async with asyncio.timeout(60):
        while True:
            await listener.socket.recv()

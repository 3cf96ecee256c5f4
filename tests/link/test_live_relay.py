"""Who watches at one process hears what happens at the others."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from tests.chargers import charger, until
from tests.insights.conftest import Listener
from tests.link.conftest import Pair
from tests.running import RunningServer
from tests.world import SignedIn
from websockets.asyncio.client import connect

from ohmstead.accounts.models import Role
from ohmstead.core.live import Event, LiveBus, Topic
from ohmstead.core.redis import Redis
from ohmstead.stations.models import Charger


@asynccontextmanager
async def watching(
    server: RunningServer, user: SignedIn, *topics: str, **more: Any
) -> AsyncIterator[Listener]:
    """A listener that has had its snapshots."""
    async with connect(f"{server.ws}/api/live", proxy=None, close_timeout=1) as socket:
        listener = Listener(socket)
        await listener.hello(user, *topics, **more)
        for topic in topics:
            if topic not in {"messages", "log"}:
                await listener.hear_type("snapshot")
        yield listener


async def next_of(listener: Listener, row: Charger, kind: str) -> dict[str, Any]:
    """The next event of a charger and a kind."""
    while True:
        event = await listener.hear_type("event")
        data: dict[str, Any] = event["data"]
        if event["kind"] == kind and row.id in {data.get("id"), data.get("charger_id")}:
            return data


def bus(server: RunningServer) -> LiveBus:
    found: LiveBus = server.app.state.live
    return found


class TestEvents:
    async def test_a_charge_at_one_process_is_watched_at_the_other(
        self, pair: Pair, row: Charger, tag: str
    ) -> None:
        topics = ("chargers", "connectors", "sessions")
        async with watching(pair.two, pair.admin, *topics) as listener:
            async with charger(pair.one.ws, row.id) as raw:
                assert (await next_of(listener, row, "charger.online"))["online"] is True
                await raw.boot()
                await raw.status("Charging")
                assert (await next_of(listener, row, "connector.status"))["status"] == "Charging"
                transaction = (await raw.start(tag))["transactionId"]
                started = await next_of(listener, row, "session.started")
                assert started["ocpp_transaction_id"] == transaction
                await raw.meter("2026-05-04T12:10:00Z", "500", transaction=transaction)
                assert (await next_of(listener, row, "session.updated"))["energy_wh"] == 500
                await raw.stop(transaction, 900)
                assert (await next_of(listener, row, "session.ended"))["energy_wh"] == 900
            assert (await next_of(listener, row, "charger.offline"))["online"] is False

    async def test_each_hears_only_what_is_its_own(self, pair: Pair, row: Charger) -> None:
        owner = await pair.world.user(Role.BACKOFFICE)
        async with watching(pair.two, owner, "chargers") as listener:
            bus(pair.one).publish(Event(Topic.CHARGERS, "theirs", {"id": row.id}, row.backoffice_id))
            bus(pair.one).publish(Event(Topic.CHARGERS, "nobodys", {"id": row.id}))
            await relayed(pair)
            await listener.say(type="ping")
            assert (await listener.hear())["type"] == "pong"

    async def test_an_event_comes_once_to_each(self, pair: Pair, row: Charger) -> None:
        async with (
            watching(pair.one, pair.admin, "alerts") as here,
            watching(pair.two, pair.admin, "alerts") as there,
        ):
            for number in range(3):
                bus(pair.one).publish(Event(Topic.ALERTS, f"alert {number}", {"id": row.id}))
            for listener in (here, there):
                kinds = [(await listener.hear_type("event"))["kind"] for _ in range(3)]
                assert kinds == ["alert 0", "alert 1", "alert 2"]
            await relayed(pair)
            for listener in (here, there):
                await listener.say(type="ping")
                assert (await listener.hear())["type"] == "pong"

    async def test_a_client_that_reconnects_elsewhere_begins_anew(self, pair: Pair) -> None:
        async with connect(f"{pair.one.ws}/api/live", proxy=None) as socket:
            welcome = await Listener(socket).hello(pair.admin, "chargers")
        since = {"epoch": welcome["epoch"], "version": welcome["version"]}
        async with connect(f"{pair.two.ws}/api/live", proxy=None) as socket:
            listener = Listener(socket)
            await listener.hello(pair.admin, "chargers", since=since)
            assert (await listener.hear())["type"] == "resync"
            assert (await listener.hear())["type"] == "snapshot"

    async def test_one_that_comes_back_to_its_process_has_what_happened_at_the_other(
        self, pair: Pair, row: Charger
    ) -> None:
        async with connect(f"{pair.two.ws}/api/live", proxy=None) as socket:
            welcome = await Listener(socket).hello(pair.admin, "chargers")
        since = {"epoch": welcome["epoch"], "version": welcome["version"]}
        async with charger(pair.one.ws, row.id) as raw:
            await raw.boot()
            await relayed(pair)
        async with connect(f"{pair.two.ws}/api/live", proxy=None) as socket:
            listener = Listener(socket)
            await listener.hello(pair.admin, "chargers", since=since, charger=row.id)
            # Presence and the boot are two commits: either may be the first.
            heard = {(await listener.hear())["kind"] for _ in range(2)}
            assert heard == {"charger.online", "charger.booted"}


class TestTails:
    async def test_messages_are_carried_while_somebody_watches_them_there_and_not_longer(
        self, pair: Pair, row: Charger
    ) -> None:
        here = bus(pair.one)

        async def asked_for() -> bool:
            return here.messages_watched

        async def not_asked_for() -> bool:
            return not here.messages_watched

        await until(not_asked_for)
        async with charger(pair.one.ws, row.id) as raw:
            async with watching(pair.two, pair.admin, "messages", charger=row.id) as listener:
                await until(asked_for)
                await raw.result("Heartbeat")
                event = await listener.hear_type("event")
                assert (event["data"]["charger_id"], event["data"]["action"]) == (row.id, "Heartbeat")
                assert json.loads(event["data"]["request"])[2] == "Heartbeat"
            await until(not_asked_for)

    async def test_a_process_that_is_heard_no_more_watches_nothing(
        self, pair: Pair, monkeypatch: Any
    ) -> None:
        monkeypatch.setattr("ohmstead.core.live_relay.SILENT_SECONDS", 0.5)
        redis: Redis = pair.two.app.state.neighbours.redis
        redis.tell_all({"kind": "word", "from": "killed soon", "sent": 0, "tails": ["log"]})

        async def watched() -> bool:
            return bus(pair.one).watched(Topic.LOG)

        async def unwatched() -> bool:
            return not bus(pair.one).watched(Topic.LOG)

        await until(watched)
        await until(unwatched)


class TestRights:
    async def test_a_change_of_rights_at_one_process_ends_the_listeners_at_all(self, pair: Pair) -> None:
        business = await pair.world.backoffice()
        owner = await pair.world.user(Role.BACKOFFICE, business)
        async with (
            watching(pair.one, owner, "chargers") as here,
            watching(pair.two, owner, "chargers") as there,
            watching(pair.two, pair.admin, "chargers") as other,
        ):
            changed = await pair.api_one.client.put(
                f"/api/admin/users/{owner.id}", json={"status": "Deactivated"}
            )
            assert changed.status_code == 200, changed.text
            assert await here.closed() == (4403, "scope changed")
            assert await there.closed() == (4403, "scope changed")
            await other.say(type="ping")
            assert (await other.hear_type("pong"))["type"] == "pong"


class TestSessions:
    async def test_one_that_an_operator_ended_at_the_other_process_is_not_counted_on(
        self, pair: Pair, row: Charger, tag: str
    ) -> None:
        async with charger(pair.one.ws, row.id) as raw:
            transaction = (await raw.start(tag))["transactionId"]
            await raw.meter("2026-05-04T12:01:00Z", "100", transaction=transaction)
            stopping = asyncio.create_task(
                pair.api_two.client.post(f"/api/admin/transactions/{transaction}/force-stop", json={})
            )
            call = await raw.next_call()
            assert call[2:] == ["RemoteStopTransaction", {"transactionId": transaction}]
            await raw.answer(call, {"status": "Rejected"})
            assert (await stopping).json()["status"] == "ClosedLocally"
            link = pair.one.app.state.links.get(row.id)

            async def forgotten() -> bool:
                return transaction not in link.sessions

            await until(forgotten)


class TestGaps:
    async def test_who_watches_begins_anew_when_events_are_known_to_be_missing(
        self, pair: Pair, row: Charger
    ) -> None:
        redis: Redis = pair.one.app.state.neighbours.redis
        other = {"from": "another process", "kind": "events"}
        event = ["chargers", "charger.online", {"id": row.id}, str(row.backoffice_id), None]
        async with charger(pair.two.ws, row.id) as raw:
            tag = (await pair.world.token()).id_tag
            transaction = (await raw.start(tag))["transactionId"]
            async with watching(pair.two, pair.admin, "chargers") as listener:
                redis.tell_all({**other, "first": 0, "events": [event]})
                assert (await listener.hear_type("event"))["data"] == {"id": row.id}
                redis.tell_all({**other, "first": 1, "events": [event]})
                assert (await listener.hear())["type"] == "event"
                redis.tell_all({**other, "first": 3, "events": [event]})
                assert (await listener.hear())["type"] == "resync"
                snapshot = await listener.hear()
                assert (snapshot["type"], snapshot["topic"]) == ("snapshot", "chargers")
                assert row.id in {one["id"] for one in snapshot["items"]}
                assert (await listener.hear())["type"] == "event"
                redis.tell_all({"kind": "word", "from": "another process", "sent": 9, "tails": []})
                assert (await listener.hear())["type"] == "resync"
            # What ended elsewhere meanwhile was not heard: the next value is worked out from what is stored.
            link = pair.two.app.state.links.get(row.id)
            assert link.sessions[transaction].trusted is False
            await raw.meter("2026-05-04T12:10:00Z", "500", transaction=transaction)
            assert (await pair.api_one.transaction(transaction))["energy_wh"] == 500

    async def test_a_message_that_cannot_be_read_ends_nothing(self, pair: Pair, row: Charger) -> None:
        redis: Redis = pair.one.app.state.neighbours.redis
        for broken in (b"no json", b"[]", b'{"kind": "unknown"}', b'{"kind": "events"}', b'{"kind": "ask"}'):
            redis.send("PUBLISH", redis.key("all"), broken)
        async with watching(pair.two, pair.admin, "chargers") as listener, charger(pair.one.ws, row.id):
            assert (await next_of(listener, row, "charger.online"))["online"] is True


async def relayed(pair: Pair) -> None:
    """Wait until what was published at the first server so far has arrived at the second."""
    mark = Event(Topic.CONNECTORS, "mark", {"id": str(UUID(int=id(pair)))}, UUID(int=0))
    bus(pair.one).publish(mark)
    version = bus(pair.two).version

    async def arrived() -> bool:
        return any(one.event.kind == "mark" and one.version > version for one in bus(pair.two)._buffer)

    await until(arrived)

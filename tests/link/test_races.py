"""Two servers, and what may happen between them in an order that nobody wants."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select, update
from tests.chargers import RawCharger, charger, until
from tests.conftest import FrozenClock
from tests.link.conftest import Pair
from tests.link.test_presence import gateway, held_by, is_online
from tests.running import RunningServer
from tests.world import World

from ohmstead.core.clock import Clock
from ohmstead.core.redis import Redis
from ohmstead.gateway import presence
from ohmstead.gateway.models import Connection
from ohmstead.link import routing
from ohmstead.link.presence import Presence
from ohmstead.link.routing import Routing
from ohmstead.notifications.models import Alert, AlertKind, Severity
from ohmstead.notifications.service import raise_alert
from ohmstead.stations.models import Charger


def routing_of(server: RunningServer) -> Routing:
    found: Routing = server.app.state.neighbours._routing
    return found


def redis_of(server: RunningServer) -> Redis:
    found: Redis = server.app.state.neighbours.redis
    return found


def ago(seconds: int) -> str:
    """A time of a charger whose values are no older than they are: they need not be looked for."""
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()


class Watching:
    """What is told at each of two servers of the coming and going of one charger."""

    def __init__(self, pair: Pair, row: Charger, monkeypatch: pytest.MonkeyPatch) -> None:
        self.heard: list[list[str]] = []
        for server in (pair.one, pair.two):
            heard: list[str] = []
            bus = server.app.state.live
            monkeypatch.setattr(bus, "deliver", self._listening(heard, bus.deliver, row.id))
            self.heard.append(heard)

    @staticmethod
    def _listening(heard: list[str], deliver: Any, charger_id: str) -> Any:
        def listen(event: Any) -> None:
            if event.data.get("id") == charger_id and event.kind in {presence.ONLINE, presence.OFFLINE}:
                heard.append(event.kind)
            deliver(event)

        return listen

    async def end_with(self, *kinds: str) -> None:
        """Wait until all who watch have heard this last."""

        async def said() -> bool:
            return all(heard[-len(kinds) :] == list(kinds) for heard in self.heard)

        await until(said)


class TestCommands:
    async def test_one_that_is_asked_for_while_its_charger_comes_to_this_very_process_reaches_it(
        self, pair: Pair, row: Charger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        links = pair.two.app.state.links
        holder = Presence.holder
        moved: list[RawCharger] = []

        async def moving(self: Presence, charger_id: str) -> str | None:
            asked = asyncio.current_task()
            if asked is not None and asked.get_name() == "the command" and not moved:
                moved.append(await RawCharger.connect(pair.two.ws, row.id))
                await moved[0].boot()
                await held_by(pair, row, 2)
            return await holder(self, charger_id)

        monkeypatch.setattr(Presence, "holder", moving)
        async with charger(pair.one.ws, row.id) as old:
            await old.boot()
            await held_by(pair, row, 1)
            command = asyncio.create_task(links.call(row.id, "ClearCache", b"{}"), name="the command")

            async def come() -> bool:
                return bool(moved) or command.done()

            await until(come)
            async with moved[0] as new:
                await new.answer(await new.next_call(), {"status": "Accepted"})
                assert (await command).status == "Accepted"

    async def test_a_word_to_send_that_is_read_late_sends_nothing(
        self, pair: Pair, row: Charger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A process that stood still finds it where it lay, before it looks at the clock."""
        monkeypatch.setattr(routing, "READY_SECONDS", 0.2)
        serving = routing_of(pair.one)
        question = {
            "kind": "ask",
            "from": redis_of(pair.two).process_id,
            "number": uuid4().hex,
            "charger": row.id,
            "action": "ClearCache",
            "payload": "{}",
            "wait": None,
        }
        async with charger(pair.one.ws, row.id) as raw:
            await raw.boot()
            serving._take_ask(question)
            time.sleep(0.4)  # noqa: ASYNC251 # the whole process stands still
            serving._take_go({"kind": "go", "number": question["number"]})
            await raw.result("Heartbeat")
            assert raw.calls.empty()

    async def test_an_asker_that_stood_still_reads_what_the_holder_has_said_meanwhile(
        self, pair: Pair, row: Charger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(routing, "SIGN_SECONDS", 0.1)
        monkeypatch.setattr(routing, "SILENT_SECONDS", 0.9)
        async with charger(pair.one.ws, row.id) as raw:
            asked = asyncio.create_task(pair.api_two.command(row.id, "ClearCache"))
            call = await raw.next_call()
            time.sleep(1.2)  # noqa: ASYNC251 # the whole process stands still
            await raw.answer(call, {"status": "Accepted"})
            assert (await asked).json() == {"status": "Accepted", "response": {"status": "Accepted"}}


class TestSilentSockets:
    async def test_one_beside_a_socket_that_went_elsewhere_serves_when_that_has_left_and_knows_all(
        self, pair: Pair, row: Charger, tag: str
    ) -> None:
        async with charger(pair.one.ws, row.id) as first:
            await first.boot()
            await held_by(pair, row, 1)
            async with charger(pair.one.ws, row.id) as silent:
                elsewhere = await RawCharger.connect(pair.two.ws, row.id)
                transaction = (await elsewhere.start(tag, meter=0, at=ago(60)))["transactionId"]
                assert (await first.closed())[0] == 4000
                await held_by(pair, row, 2)
                await elsewhere.vanish()
                await held_by(pair, row, 1)
                await silent.meter(ago(0), "500")
                assert (await pair.api_one.transaction(transaction))["energy_wh"] == 500
                await silent.stop(transaction, 600, at=ago(0))

    async def test_one_that_takes_over_while_another_is_still_reading_reads_for_itself(
        self, pair: Pair, row: Charger, tag: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        door = gateway(pair, 2).door
        lookup = door.lookup
        reading, go_on = asyncio.Event(), asyncio.Event()

        async def slow(identity: str) -> Any:
            if not reading.is_set():
                reading.set()
                await go_on.wait()
            return await lookup(identity)

        async with charger(pair.one.ws, row.id) as first:
            await first.boot()
            await held_by(pair, row, 1)
            async with charger(pair.two.ws, row.id) as second, charger(pair.two.ws, row.id) as third:
                transaction = (await first.start(tag, meter=0, at=ago(60)))["transactionId"]
                monkeypatch.setattr(door, "lookup", slow)
                beat = asyncio.create_task(second.call("Heartbeat"))
                await asyncio.wait_for(reading.wait(), 60)
                await third.result("Heartbeat")
                go_on.set()
                await asyncio.gather(beat, return_exceptions=True)
                await third.meter(ago(0), "500")
                assert (await pair.api_one.transaction(transaction))["energy_wh"] == 500
                await third.stop(transaction, 600, at=ago(0))

    async def test_one_whose_charger_has_left_elsewhere_serves_though_redis_cannot_say_so(
        self, pair: Pair, row: Charger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        redis = redis_of(pair.two)
        gone = "9 00000000-0000-0000-0000-000000000000 x"
        await redis.ask("SET", redis.key("charger", row.id), gone, "PX", 600_000)
        async with charger(pair.two.ws, row.id):
            assert pair.two.app.state.links.get(row.id) is None
            monkeypatch.setattr(Redis, "connected", property(lambda self: self is not redis))
            await is_online(pair, row)
            assert pair.two.app.state.links.get(row.id) is not None


class TestStandingStill:
    async def test_a_server_that_stood_still_reads_the_pongs_before_it_misses_them(
        self, make_server: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with make_server(ocpp_ping_interval=1.0) as server:
            row = await World(server.database, server.settings, server.app.state.clock).charger()
            raw = await RawCharger.connect(server.ws, row.id)
            await raw.boot()
            protocol = server.app.state.links.get(row.id).protocol
            asked: list[float] = []
            ping = protocol._ping

            def then_stand_still() -> None:
                pinged_before = protocol.ponged
                ping()
                if pinged_before and not asked:
                    asked.append(time.monotonic())
                    time.sleep(2.5)  # the whole process stands still, with the pong on its way

            monkeypatch.setattr(protocol, "_ping", then_stand_still)

            async def stood_still() -> bool:
                return bool(asked) and not protocol.awaiting_pong

            await until(stood_still)
            await raw.result("Heartbeat")
            assert raw.socket.close_code is None
            await raw.close()


class TestNews:
    async def test_a_charger_whose_silent_socket_serves_it_now_is_told_as_online_in_the_end(
        self, pair: Pair, row: Charger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = await RawCharger.connect(pair.one.ws, row.id)
        await first.boot()
        await is_online(pair, row)
        await held_by(pair, row, 1)
        async with charger(pair.two.ws, row.id):
            watching = Watching(pair, row, monkeypatch)
            await first.vanish()
            await held_by(pair, row, 2)
            await watching.end_with(presence.ONLINE)
            await is_online(pair, row)
            await watching.end_with(presence.ONLINE)

    async def test_what_another_process_says_late_of_its_socket_is_contradicted(
        self, pair: Pair, row: Charger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with charger(pair.two.ws, row.id) as raw:
            await raw.boot()
            await is_online(pair, row)
            watching = Watching(pair, row, monkeypatch)
            shown = presence.Shown(row.id, row.backoffice_id, row.station_id, None)
            pair.one.app.state.live.publish(presence.presence_event(shown, online=False))
            await watching.end_with(presence.OFFLINE, presence.ONLINE)

    async def test_one_that_comes_back_before_the_key_of_its_dead_process_ends_is_news(
        self, pair: Pair, row: Charger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        redis = redis_of(pair.one)
        dead = "9 00000000-0000-0000-0000-000000000000 x"
        await redis.ask("SET", redis.key("charger", row.id), dead, "PX", 600_000)
        watching = Watching(pair, row, monkeypatch)
        async with charger(pair.two.ws, row.id) as raw:
            await raw.boot()
            await watching.end_with(presence.ONLINE)

    async def test_an_alert_is_cleared_whichever_way_its_charger_comes_back(
        self, pair: Pair, row: Charger
    ) -> None:
        async with pair.one.database.session() as session:
            await raise_alert(
                session,
                kind=AlertKind.CHARGER_OFFLINE,
                subject=row.id,
                severity=Severity.WARN,
                title="It is offline",
                message="It is offline.",
                backoffice_id=row.backoffice_id,
                station_id=row.station_id,
                charger_id=row.id,
                now=datetime.now(UTC),
            )
        redis = redis_of(pair.one)
        dead = "9 00000000-0000-0000-0000-000000000000 x"
        await redis.ask("SET", redis.key("charger", row.id), dead, "PX", 600_000)
        async with charger(pair.two.ws, row.id) as raw:
            await raw.boot()

            async def cleared() -> bool:
                query = select(Alert.cleared_at).where(Alert.subject == row.id)
                async with pair.one.database.session() as session:
                    return await session.scalar(query) is not None

            await until(cleared)


class TestWhatIsStored:
    async def test_a_socket_that_never_heard_of_a_later_one_is_online_when_that_has_gone(
        self, pair: Pair, row: Charger
    ) -> None:
        """As after a time without Redis, in which the later one has come and gone at another process."""
        async with charger(pair.one.ws, row.id) as raw:
            await raw.boot()
            await is_online(pair, row)
            later = datetime.now(UTC) + timedelta(hours=1)
            await change(pair, row, online=False, presence_since=later, presence_at=later)
            await is_online(pair, row)
            await raw.result("Heartbeat")
        await is_online(pair, row, False)

    async def test_a_charger_whose_last_socket_ended_unheard_is_offline(
        self, pair: Pair, row: Charger
    ) -> None:
        """The later socket was at a process that was killed, and this one has closed since."""
        await connected(pair, row, closed_at=datetime.now(UTC) - timedelta(hours=1))
        await change(pair, row, online=True, presence_since=datetime.now(UTC) + timedelta(hours=1))
        await is_online(pair, row, False)

    async def test_a_connection_of_a_process_that_was_buried_already_is_ended(
        self, pair: Pair, row: Charger
    ) -> None:
        await connected(pair, row, closed_at=None)
        await change(pair, row, online=True)
        await is_online(pair, row, False)
        [connection] = await pair.api_one.connections(row.id)
        assert connection["close_reason"] == presence.KILLED

    async def test_a_charger_that_leaves_after_the_clock_was_set_back_is_offline(
        self, pair: Pair, row: Charger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        attendance = gateway(pair, 1).attendance
        clock: Clock = FrozenClock(datetime.now(UTC) - timedelta(minutes=5))
        async with charger(pair.one.ws, row.id) as raw:
            await raw.boot()
            await is_online(pair, row)
            monkeypatch.setattr(attendance, "_clock", clock)
        await is_online(pair, row, False)


class TestOrdersThatWereMissed:
    async def test_a_socket_whose_charger_was_changed_while_redis_was_away_here_is_closed(
        self, pair: Pair, row: Charger
    ) -> None:
        """Whoever changed it could tell Redis, but Redis could not tell this process."""
        stays = await pair.world.charger()
        async with charger(pair.one.ws, row.id) as raw, charger(pair.one.ws, stays.id) as other:
            for one in (raw, other):
                await one.boot()
            await change(pair, row, retired_at=datetime.now(UTC))
            redis = redis_of(pair.one)
            connected_again = asyncio.Event()
            redis.on_back.append(connected_again.set)
            try:
                await redis.ask("CLIENT", "KILL", "TYPE", "pubsub")
                assert await raw.closed() == (1000, "the charger's settings changed")
                await asyncio.wait_for(connected_again.wait(), 60)
            finally:
                redis.on_back.remove(connected_again.set)
            await other.result("Heartbeat")
            assert other.socket.close_code is None


async def change(pair: Pair, row: Charger, **values: Any) -> None:
    async with pair.one.database.session() as session:
        await session.execute(update(Charger).where(Charger.id == row.id).values(**values))


async def connected(pair: Pair, row: Charger, *, closed_at: datetime | None) -> None:
    """A connection of a process that nobody knows any more."""
    opened_at = datetime.now(UTC) - timedelta(hours=2)
    async with pair.one.database.session() as session:
        session.add(
            Connection(
                id=uuid4(), charger_id=row.id, opened_at=opened_at, closed_at=closed_at, process_id=uuid4()
            )
        )

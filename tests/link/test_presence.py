"""Whose a charger is when its sockets are at several processes: the later one's, and nobody is misled."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from tests.chargers import RawCharger, charger, until
from tests.link.conftest import PING, Pair

from ohmstead.core.redis import Redis
from ohmstead.gateway.server import Gateway
from ohmstead.link.presence import Presence
from ohmstead.stations.models import Charger


def gateway(pair: Pair, number: int) -> Gateway:
    found: Gateway = (pair.one, pair.two)[number - 1].app.state.gateway
    return found


async def key(pair: Pair, row: Charger) -> bytes | None:
    """What Redis says of who holds the charger."""
    redis: Redis = pair.one.app.state.neighbours.redis
    value: bytes | None = await redis.ask("GET", redis.key("charger", row.id))
    return value


async def held_by(pair: Pair, row: Charger, number: int) -> None:
    """Wait until everybody can know that a process holds the charger."""
    process = str(gateway(pair, number).process_id).encode()

    async def said() -> bool:
        return process in (await key(pair, row) or b"")

    await until(said)


async def is_online(pair: Pair, row: Charger, online: bool = True) -> None:
    async def said() -> bool:
        shown = [await api.charger(row.id) for api in (pair.api_one, pair.api_two)]
        return [one["online"] for one in shown] == [online, online]

    await until(said)


class TestTakeOver:
    async def test_a_second_socket_at_another_process_wins_with_its_first_frame(
        self, pair: Pair, row: Charger
    ) -> None:
        async with charger(pair.one.ws, row.id) as old:
            await old.result("Heartbeat")
            async with charger(pair.two.ws, row.id) as new:
                await old.result("Heartbeat")
                assert old.socket.close_code is None
                await new.result("Heartbeat")
                assert await old.closed() == (4000, "the charger has connected again")
                for api in (pair.api_one, pair.api_two):
                    asked = asyncio.create_task(api.command(row.id, "ClearCache"))
                    await new.answer(await new.next_call(), {"status": "Accepted"})
                    assert (await asked).json()["status"] == "Accepted"

                async def ended() -> bool:
                    return (await pair.api_one.connections(row.id))[0]["closed_at"] is not None

                # The old one has ended, and did not mark the charger as offline.
                await until(ended)
                assert (await pair.api_one.charger(row.id))["online"] is True
        await is_online(pair, row, False)

        async def forgotten() -> bool:
            return await key(pair, row) is None

        await until(forgotten)

    async def test_the_process_that_lost_a_charger_does_not_claim_it_once_the_other_has_given_it_up(
        self, pair: Pair
    ) -> None:
        """What it holds goes with the news of the later socket, and not only at its next refresh."""
        processes = [Redis(pair.one.settings, str(uuid4())) for _ in range(2)]
        older, later = (Presence(redis, ttl_seconds=PING) for redis in processes)
        taken: list[tuple[str, str]] = []
        older.on_taken = lambda *what: taken.append(what)

        async def heard() -> bool:
            return bool(taken)

        for redis in processes:
            redis.start()
        try:
            assert all([await redis.ready(10) for redis in processes])
            older.claim("shared", "old", datetime.now(UTC))
            await processes[0].ask("PING")
            later.claim("shared", "new", datetime.now(UTC))
            await until(heard)
            assert taken == [("shared", "old")]
            later.release("shared", "new")
            await processes[1].ask("PING")
            await older.keep_all()
            assert await processes[0].ask("GET", processes[0].key("charger", "shared")) is None
        finally:
            for redis in processes:
                await redis.stop()

    async def test_and_back_again(self, pair: Pair, row: Charger) -> None:
        one = await RawCharger.connect(pair.one.ws, row.id)
        await one.boot()
        for ws in (pair.two.ws, pair.one.ws, pair.two.ws):
            other = await RawCharger.connect(ws, row.id)
            await other.boot()
            assert (await one.closed())[0] == 4000
            await one.close()
            one = other
        await is_online(pair, row)
        await one.close()
        await is_online(pair, row, False)

    async def test_a_silent_second_socket_that_closes_again_changes_nothing(
        self, pair: Pair, row: Charger
    ) -> None:
        async with charger(pair.one.ws, row.id) as first:
            await first.result("Heartbeat")
            second = await RawCharger.connect(pair.two.ws, row.id)
            await second.close()
            await first.result("Heartbeat")
            asked = asyncio.create_task(pair.api_two.command(row.id, "ClearCache"))
            await first.answer(await first.next_call(), {"status": "Rejected"})
            assert (await asked).json()["status"] == "Rejected"
            await is_online(pair, row)

    async def test_a_silent_second_socket_serves_when_the_first_has_gone_and_knows_what_it_left(
        self, pair: Pair, row: Charger, tag: str
    ) -> None:
        first = await RawCharger.connect(pair.one.ws, row.id)
        await first.boot()
        await held_by(pair, row, 1)
        async with charger(pair.two.ws, row.id) as second:
            transaction = (await first.start(tag, meter=0))["transactionId"]
            await first.vanish()
            await held_by(pair, row, 2)
            asked = asyncio.create_task(pair.api_one.command(row.id, "ClearCache"))
            await second.answer(await second.next_call(), {"status": "Accepted"})
            assert (await asked).json()["status"] == "Accepted"
            await is_online(pair, row)
            await second.meter("2026-05-04T12:10:00Z", "500")
            assert (await pair.api_one.transaction(transaction))["energy_wh"] == 500
        await is_online(pair, row, False)

    async def test_a_session_that_ended_before_the_take_over_gets_no_more_values(
        self, pair: Pair, row: Charger, tag: str
    ) -> None:
        async with charger(pair.one.ws, row.id) as first:
            transaction = (await first.start(tag))["transactionId"]
            await held_by(pair, row, 1)
            async with charger(pair.two.ws, row.id) as second:
                await first.stop(transaction, 300)
                await second.meter("2026-05-04T14:00:00Z", "900")
                assert await pair.api_two.meter_values(transaction) == []

    async def test_a_reconnect_at_the_other_process_goes_on_with_the_session(
        self, pair: Pair, row: Charger, tag: str
    ) -> None:
        async with charger(pair.one.ws, row.id) as first:
            transaction = (await first.start(tag, meter=100))["transactionId"]
            await first.meter("2026-05-04T12:10:00Z", "600", transaction=transaction)
        async with charger(pair.two.ws, row.id) as second:
            await second.meter("2026-05-04T12:20:00Z", "1100", transaction=transaction)
            await second.stop(transaction, 1600)
        session = await pair.api_one.transaction(transaction)
        assert (session["energy_wh"], session["status"]) == (1500, "Completed")
        values = await pair.api_one.meter_values(transaction)
        assert len(values) == 2

    async def test_it_ends_the_pending_command_at_once(self, pair: Pair, row: Charger) -> None:
        async with charger(pair.one.ws, row.id) as old:
            await old.result("Heartbeat")
            await held_by(pair, row, 1)
            async with charger(pair.two.ws, row.id) as new:
                asked = [
                    asyncio.create_task(api.command(row.id, "ClearCache", seconds=60))
                    for api in (pair.api_one, pair.api_two)
                ]
                await old.next_call()
                serving = pair.one.app.state.neighbours._routing._served

                async def waits() -> bool:
                    return bool(serving)

                await until(waits)
                await new.result("Heartbeat")
                answers = await asyncio.wait_for(asyncio.gather(*asked), 3)
                assert [answer.status_code for answer in answers] == [409, 409]

    async def test_two_at_the_same_moment_leave_one(self, pair: Pair) -> None:
        for _ in range(5):
            row = await pair.world.charger()
            both = await asyncio.gather(
                *(RawCharger.connect(server.ws, row.id) for server in (pair.one, pair.two))
            )
            await asyncio.gather(*(raw.call("Heartbeat") for raw in both), return_exceptions=True)

            async def one_is_left() -> bool:
                links = [server.app.state.links.get(row.id) for server in (pair.one, pair.two)]  # noqa: B023
                return sum(link is not None for link in links) == 1

            await until(one_is_left)
            await is_online(pair, row)
            for raw in both:
                await raw.close()
            await is_online(pair, row, False)

    async def test_its_news_is_none_to_who_watches(self, pair: Pair, row: Charger) -> None:
        heard: list[str] = []
        bus = pair.one.app.state.live
        deliver = bus.deliver

        def listen(event: Any) -> None:
            if event.data.get("id") == row.id:
                heard.append(event.kind)
            deliver(event)

        bus.deliver = listen
        try:
            async with charger(pair.one.ws, row.id) as first:
                await first.result("Heartbeat")
                await held_by(pair, row, 1)
                async with charger(pair.two.ws, row.id) as second:
                    await second.result("Heartbeat")
                    await first.closed()

            async def has_left() -> bool:
                return "charger.offline" in heard

            await until(has_left)
        finally:
            del bus.deliver
        assert heard == ["charger.online", "charger.offline"]


class TestTimeToLive:
    async def test_the_key_ends_by_itself_and_is_refreshed_while_the_socket_is_open(
        self, pair: Pair, row: Charger
    ) -> None:
        redis: Redis = pair.one.app.state.neighbours.redis
        name = redis.key("charger", row.id)
        async with charger(pair.one.ws, row.id) as raw:
            await raw.boot()
            await held_by(pair, row, 1)
            lives = []

            async def refreshed() -> bool:
                lives.append(await redis.ask("PTTL", name))
                return len(lives) > 1 and lives[-1] > lives[-2]

            await until(refreshed)
            assert max(lives) <= PING * 1000
            assert min(lives) > PING * 1000 / 2
            # One that Redis has lost is written again.
            await redis.ask("DEL", name)
            await held_by(pair, row, 1)

    async def test_a_silent_socket_serves_once_the_key_of_a_dead_process_has_ended(
        self, pair: Pair, row: Charger
    ) -> None:
        redis: Redis = pair.one.app.state.neighbours.redis
        dead = "9 00000000-0000-0000-0000-000000000000 x"
        await redis.ask("SET", redis.key("charger", row.id), dead, "PX", 1500)
        async with charger(pair.two.ws, row.id) as raw:
            assert pair.two.app.state.links.get(row.id) is None
            await held_by(pair, row, 2)
            asked = asyncio.create_task(pair.api_one.command(row.id, "ClearCache"))
            await raw.answer(await raw.next_call(), {"status": "Accepted"})
            assert (await asked).json()["status"] == "Accepted"

    async def test_of_two_that_hold_the_same_charger_the_later_one_keeps_it(
        self, pair: Pair, row: Charger
    ) -> None:
        """As after a time without Redis, in which the charger has gone from one to the other."""
        async with charger(pair.one.ws, row.id) as old:
            await old.boot()
            await held_by(pair, row, 1)
            later = f"{10**16} {gateway(pair, 2).process_id} x"
            redis: Redis = pair.one.app.state.neighbours.redis
            await redis.ask("SET", redis.key("charger", row.id), later, "PX", 60_000)
            assert (await old.closed())[0] == 4000
            await redis.ask("DEL", redis.key("charger", row.id))

    async def test_a_clock_that_is_behind_does_not_lose_the_charger(
        self, pair: Pair, row: Charger, monkeypatch: Any
    ) -> None:
        redis: Redis = pair.one.app.state.neighbours.redis
        ahead = f"{32_503_680_000_000_000} {gateway(pair, 1).process_id} gone"  # the year 3000
        await redis.ask("SET", redis.key("charger", row.id), ahead, "PX", 60_000)
        async with charger(pair.two.ws, row.id) as raw:
            await raw.boot()
            await held_by(pair, row, 2)
            link = pair.two.app.state.links.get(row.id)

            async def dated() -> bool:
                return bool(link.since.year == 3000)

            await until(dated)
            await is_online(pair, row)
        await is_online(pair, row, False)


class TestEvents:
    async def test_events_of_a_charger_are_json_of_the_api(self, pair: Pair, row: Charger) -> None:
        """What goes between processes is what a listener reads: nothing is lost or spelt otherwise."""
        bus = pair.two.app.state.live
        async with charger(pair.one.ws, row.id) as raw:
            await raw.boot()

            async def heard() -> list[Any]:
                return [one.event for one in bus._buffer if one.event.data.get("id") == row.id]

            async def all_heard() -> bool:
                return len(await heard()) == 2

            await until(all_heard)
            here = [
                one.event for one in pair.one.app.state.live._buffer if one.event.data.get("id") == row.id
            ]
            assert json.dumps([one.data for one in await heard()], sort_keys=True) == json.dumps(
                [one.data for one in here], sort_keys=True, default=str
            )
            assert [(one.backoffice_id, one.station_id) for one in await heard()] == [
                (row.backoffice_id, row.station_id)
            ] * 2

"""A command reaches its charger whichever process holds the socket, once, and its answer comes back."""

import asyncio
import time
from typing import Any

import httpx
import pytest
from tests.chargers import RawCharger, charger, until
from tests.link.conftest import Pair

from ohmstead.core.redis import Redis, RedisAway
from ohmstead.link import routing
from ohmstead.link.links import ChargerOffline, ChargerUnreachable, Links
from ohmstead.link.presence import Presence
from ohmstead.stations.models import Charger


def redis_of(pair: Pair, number: int) -> Redis:
    redis: Redis = (pair.one, pair.two)[number - 1].app.state.neighbours.redis
    return redis


class TestAnswers:
    async def test_the_charger_gets_the_payload_as_it_was_given_and_its_own_words_come_back(
        self, pair: Pair, row: Charger
    ) -> None:
        body = b'{"key": ["\xc3\xa9\\u0041", "b"]}'
        async with charger(pair.one.ws, row.id) as raw:
            asked = asyncio.create_task(pair.api_two.command(row.id, "GetConfiguration", body))
            call = await raw.next_call()
            assert raw.texts[-1] == f'[2,"{call[1]}","GetConfiguration",{{"key":["é\\u0041","b"]}}]'
            answer = {
                "configurationKey": [{"key": "éA", "readonly": True, "value": "1.50"}],
                "unknownKey": ["b"],
            }
            await raw.answer(call, answer)
            told = await asked
        assert (told.status_code, told.json()) == (200, {"status": "Accepted", "response": answer})
        [logged] = [one for one in await pair.api_two.messages(row.id) if one["direction"] == "out"]
        assert logged["action"] == "GetConfiguration"

    async def test_refusals_and_errors_are_the_chargers_own(self, pair: Pair, row: Charger) -> None:
        async with charger(pair.one.ws, row.id) as raw:
            asked = asyncio.create_task(pair.api_two.command(row.id, "ClearCache"))
            await raw.answer(await raw.next_call(), {"status": "Rejected"})
            assert (await asked).json()["status"] == "Rejected"

            asked = asyncio.create_task(pair.api_two.command(row.id, "ClearCache"))
            call = await raw.next_call()
            await raw.send(f'[4,"{call[1]}","NotSupported","not here",{{}}]')
            told = (await asked).json()
            assert (told["status"], told["error"]["code"]) == ("CallError", "NotSupported")
            assert told["error"]["description"] == "not here"

    async def test_a_charger_that_does_not_answer_times_out_after_the_time_that_was_asked_for(
        self, pair: Pair, row: Charger
    ) -> None:
        async with charger(pair.one.ws, row.id) as raw:
            told = await pair.api_two.command(row.id, "ClearCache", seconds=1)
            assert told.json() == {"status": "Timeout"}
            assert (await raw.next_call())[2] == "ClearCache"

    async def test_an_answer_may_take_longer_than_a_dead_process_is_waited_for(
        self, pair: Pair, row: Charger, monkeypatch: Any
    ) -> None:
        monkeypatch.setattr(routing, "SILENT_SECONDS", 0.4)
        monkeypatch.setattr(routing, "SIGN_SECONDS", 0.1)
        async with charger(pair.one.ws, row.id) as raw:
            asked = asyncio.create_task(pair.api_two.command(row.id, "ClearCache"))
            call = await raw.next_call()
            await asyncio.sleep(1.0)  # the charger thinks
            await raw.answer(call, {"status": "Accepted"})
            assert (await asked).json()["status"] == "Accepted"

    async def test_many_at_once_go_out_one_at_a_time_and_each_gets_its_own_answer(
        self, pair: Pair, row: Charger
    ) -> None:
        async with charger(pair.one.ws, row.id) as raw:
            asked = [
                asyncio.create_task(
                    (pair.api_one, pair.api_two)[number % 2].command(
                        row.id, "ChangeConfiguration", {"key": f"k{number}", "value": "v"}
                    )
                )
                for number in range(8)
            ]
            words = {}
            for _ in asked:
                call = await raw.next_call()
                assert raw.calls.empty()
                words[call[3]["key"]] = "Accepted" if call[3]["key"] < "k4" else "NotSupported"
                await raw.answer(call, {"status": words[call[3]["key"]]})
            told = [answer.json()["status"] for answer in await asyncio.gather(*asked)]
        assert told == [words[f"k{number}"] for number in range(8)]

    async def test_both_ways_at_once(self, pair: Pair) -> None:
        rows = [await pair.world.charger() for _ in range(2)]
        async with charger(pair.one.ws, rows[0].id) as first, charger(pair.two.ws, rows[1].id) as second:
            asked = [
                asyncio.create_task(pair.api_two.command(rows[0].id, "ClearCache")),
                asyncio.create_task(pair.api_one.command(rows[1].id, "ClearCache")),
            ]
            for raw in (first, second):
                await raw.answer(await raw.next_call(), {"status": "Accepted"})
            assert [one.json()["status"] for one in await asyncio.gather(*asked)] == ["Accepted"] * 2


class TestRefusals:
    async def test_a_charger_that_is_nowhere_is_offline(self, pair: Pair, row: Charger) -> None:
        told = await pair.api_two.command(row.id, "ClearCache")
        assert (told.status_code, told.json()["error"]) == (409, "ChargerOffline")

    async def test_a_charger_that_leaves_before_it_answers_ends_the_command_at_once(
        self, pair: Pair, row: Charger
    ) -> None:
        raw = await RawCharger.connect(pair.one.ws, row.id)
        asked = asyncio.create_task(pair.api_two.command(row.id, "ClearCache", seconds=60))
        await raw.next_call()
        began = time.monotonic()
        await raw.vanish()
        told = await asked
        assert time.monotonic() - began < 4
        assert (told.status_code, told.json()["error"]) == (409, "ChargerOffline")
        assert "not known" in told.json()["detail"]

    async def test_one_that_is_kept_busy_says_so(self, pair: Pair, row: Charger) -> None:
        async with charger(pair.one.ws, row.id) as raw:
            first = asyncio.create_task(pair.api_one.command(row.id, "ClearCache"))
            call = await raw.next_call()
            told = await pair.api_two.command(row.id, "GetConfiguration", seconds=1)
            assert (told.status_code, told.json()["error"]) == (429, "ChargerBusy")
            await raw.answer(call, {"status": "Accepted"})
            assert (await first).json()["status"] == "Accepted"
            assert raw.calls.empty()

    async def test_what_nobody_waits_for_any_more_is_not_sent(self, pair: Pair, row: Charger) -> None:
        async with charger(pair.one.ws, row.id) as raw:
            first = asyncio.create_task(pair.api_one.command(row.id, "ClearCache"))
            call = await raw.next_call()
            async with httpx.AsyncClient(headers=pair.admin.headers) as impatient:
                path = f"{pair.two.http}/api/admin/chargers/{row.id}/commands/GetConfiguration"
                asked = asyncio.create_task(impatient.post(path, json={}))
                serving = pair.one.app.state.gateway.neighbours._routing._served

                async def waits() -> bool:
                    return bool(serving)

                await until(waits)
                asked.cancel()
                await asyncio.gather(asked, return_exceptions=True)

            async def gone() -> bool:
                return not serving

            await until(gone)
            await raw.answer(call, {"status": "Accepted"})
            assert (await first).json()["status"] == "Accepted"
            await raw.result("Heartbeat")
            assert raw.calls.empty()


class TestOnce:
    """A command is sent once, or not at all: never again, and never late."""

    async def test_a_word_to_send_that_comes_too_late_sends_nothing(
        self, pair: Pair, row: Charger, monkeypatch: Any
    ) -> None:
        monkeypatch.setattr(routing, "READY_SECONDS", 0.3)
        held: list[Any] = []
        reach = Redis.reach

        async def hold(self: Redis, process_id: str, message: dict[str, Any]) -> bool:
            if message["kind"] == "go":
                held.append((self, process_id, message))
                return True
            return await reach(self, process_id, message)

        monkeypatch.setattr(Redis, "reach", hold)
        monkeypatch.setattr(routing, "SILENT_SECONDS", 0.6)
        async with charger(pair.one.ws, row.id) as raw:
            told = await pair.api_two.command(row.id, "ClearCache")
            assert (told.status_code, told.json()["error"]) == (409, "ChargerOffline")
            assert "not known" in told.json()["detail"]
            [(redis, process_id, message)] = held
            assert await reach(redis, process_id, message)
            await raw.result("Heartbeat")
            assert raw.calls.empty()

    async def test_a_word_that_comes_twice_sends_once(
        self, pair: Pair, row: Charger, monkeypatch: Any
    ) -> None:
        reach = Redis.reach

        async def twice(self: Redis, process_id: str, message: dict[str, Any]) -> bool:
            await reach(self, process_id, message)
            return await reach(self, process_id, message)

        monkeypatch.setattr(Redis, "reach", twice)
        async with charger(pair.one.ws, row.id) as raw:
            asked = asyncio.create_task(pair.api_two.command(row.id, "ClearCache"))
            await raw.answer(await raw.next_call(), {"status": "Accepted"})
            assert (await asked).json()["status"] == "Accepted"
            await raw.result("Heartbeat")
            assert raw.calls.empty()

    async def test_an_answer_whose_message_was_lost_comes_again(
        self, pair: Pair, row: Charger, monkeypatch: Any
    ) -> None:
        lost: list[str] = []
        tell = Redis.tell

        def lose_the_first(self: Redis, process_id: str, message: dict[str, Any]) -> None:
            if message["kind"] == "reply" and not lost:
                lost.append(message["number"])
                return
            tell(self, process_id, message)

        monkeypatch.setattr(Redis, "tell", lose_the_first)
        async with charger(pair.one.ws, row.id) as raw:
            asked = asyncio.create_task(pair.api_two.command(row.id, "ClearCache"))
            await raw.answer(await raw.next_call(), {"status": "Accepted"})
            assert (await asked).json()["status"] == "Accepted"
            assert lost

    async def test_a_process_that_does_not_listen_has_not_sent_it(self, pair: Pair, row: Charger) -> None:
        redis = redis_of(pair, 2)
        key = redis.key("charger", row.id)
        await redis.ask("SET", key, "1 00000000-0000-0000-0000-000000000000 x", "PX", 5000)
        told = await pair.api_two.command(row.id, "ClearCache")
        assert (told.status_code, told.json()["error"]) == (409, "ChargerOffline")
        assert "did not get the command" in told.json()["detail"]

    async def test_a_holder_that_does_not_have_it_any_more_says_so_and_nothing_is_sent(
        self, pair: Pair, row: Charger
    ) -> None:
        redis = redis_of(pair, 2)
        holder = redis_of(pair, 1).process_id
        await redis.ask("SET", redis.key("charger", row.id), f"1 {holder} x", "PX", 5000)
        told = await pair.api_two.command(row.id, "ClearCache")
        assert (told.status_code, told.json()["error"]) == (409, "ChargerOffline")


class TestWhatIsKnown:
    """Who asks again by itself must know whether the charger may have got the command."""

    @pytest.mark.parametrize(
        ("lost", "known"),
        [("holder", ChargerUnreachable), ("ask", ChargerUnreachable), ("go", ChargerOffline)],
    )
    async def test_what_was_surely_not_sent_is_told_from_what_may_have_been(
        self,
        *,
        pair: Pair,
        row: Charger,
        monkeypatch: pytest.MonkeyPatch,
        lost: str,
        known: type[ChargerOffline],
    ) -> None:
        links: Links = pair.two.app.state.links
        reach, holder = Redis.reach, Presence.holder

        async def lose(self: Redis, process_id: str, message: dict[str, Any]) -> bool:
            return True if message["kind"] == lost else await reach(self, process_id, message)

        async def not_known(self: Presence, charger_id: str) -> str | None:
            if lost == "holder" and charger_id == row.id:
                raise RedisAway("It was lost.")
            return await holder(self, charger_id)

        monkeypatch.setattr(Redis, "reach", lose)
        monkeypatch.setattr(Presence, "holder", not_known)
        monkeypatch.setattr(routing, "READY_SECONDS", 0.3)
        monkeypatch.setattr(routing, "SILENT_SECONDS", 0.6)
        async with charger(pair.one.ws, row.id) as raw:
            await raw.boot()  # by its answer the others know where the charger is
            with pytest.raises(ChargerOffline) as told:
                await links.call(row.id, "ClearCache", b"{}")
            assert type(told.value) is known
            await raw.result("Heartbeat")
            assert raw.calls.empty()


class TestDisconnecting:
    async def test_a_change_of_its_settings_closes_the_socket_at_the_other_process(
        self, pair: Pair, row: Charger
    ) -> None:
        async with charger(pair.one.ws, row.id) as raw:
            await raw.boot()
            changed = await pair.api_two.client.put(
                f"/api/admin/chargers/{row.id}", json={"registration": "Rejected"}
            )
            assert changed.status_code == 200
            assert await raw.closed() == (1000, "the charger's settings changed")
        async with charger(pair.two.ws, row.id) as raw:
            assert (await raw.boot())["status"] == "Rejected"

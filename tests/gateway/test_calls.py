"""Whose turn it is to ask a charger: few wait, not for long, and nothing is sent for who has gone."""

import asyncio
import time
from collections.abc import Awaitable
from typing import Any

import httpx
import pytest
from tests.chargers import RawCharger, until
from tests.gateway.admin import AdminApi
from tests.running import RunningServer

from ohmstead.gateway import calls
from ohmstead.link.links import ChargerBusy, Links, caller_left
from ohmstead.ocpp.frames import CallResult
from ohmstead.stations.models import Charger
from ohmstead.stations.outcomes import Outcomes, Told

ACCEPTED = {"status": "Accepted"}


@pytest.fixture
def links(server: RunningServer) -> Links:
    found: Links = server.app.state.links
    return found


def waiting(links: Links, charger_id: str) -> int:
    """How many commands wait for their turn at a charger."""
    return len(links.get(charger_id)._calls._waiting or ())  # type: ignore[union-attr] # the gateway's own


async def is_waiting(links: Links, charger_id: str, number: int) -> None:
    async def counted() -> bool:
        return waiting(links, charger_id) == number

    await until(counted)


async def give_up(asked: asyncio.Task[Any]) -> None:
    """Close the connection of a request, as a client does that has lost its patience."""
    asked.cancel()
    await asyncio.wait([asked])


class TestTurns:
    async def test_sixteen_wait_and_the_next_is_told_to_come_back(
        self, raw: RawCharger, row: Charger, api: AdminApi, links: Links
    ) -> None:
        asked = [asyncio.create_task(api.command(row.id, "ClearCache", seconds=60)) for _ in range(17)]
        await raw.next_call()
        await is_waiting(links, row.id, 16)
        refused = await api.command(row.id, "Reset", {"type": "Hard"})
        assert (refused.status_code, refused.json()["error"]) == (429, "ChargerBusy")
        assert "16 commands wait" in refused.json()["message"]
        assert int(refused.headers["retry-after"]) > 0
        began = time.monotonic()
        await raw.vanish()
        answers = await asyncio.gather(*asked)
        assert time.monotonic() - began < 20
        assert {(one.status_code, one.json()["error"]) for one in answers} == {(409, "ChargerOffline")}
        # Each is told whether the charger may have got it.
        unsent = [one for one in answers if "did not get the command" in one.json()["detail"]]
        assert len(unsent) == 16

    async def test_a_take_over_ends_those_that_wait_too(
        self, server: RunningServer, raw: RawCharger, row: Charger, api: AdminApi, links: Links
    ) -> None:
        asked = [asyncio.create_task(api.command(row.id, "ClearCache", seconds=60)) for _ in range(3)]
        await is_waiting(links, row.id, 2)
        async with await RawCharger.connect(server.ws, row.id) as again:
            await again.result("Heartbeat")
            answers = await asyncio.wait_for(asyncio.gather(*asked), 20)
            assert [one.status_code for one in answers] == [409] * 3
            assert again.calls.empty()

    async def test_who_does_not_get_a_turn_in_its_time_is_told_that_nothing_was_sent(
        self, raw: RawCharger, row: Charger, api: AdminApi
    ) -> None:
        first = asyncio.create_task(api.command(row.id, "ClearCache", seconds=60))
        call = await raw.next_call()
        began = time.monotonic()
        late = await api.command(row.id, "Reset", {"type": "Hard"}, seconds=1)
        assert 1 <= time.monotonic() - began < 20
        assert (late.status_code, late.json()["error"]) == (429, "ChargerBusy")
        assert "was not sent" in late.json()["message"]
        await raw.answer(call, ACCEPTED)
        assert (await first).json()["status"] == "Accepted"
        await raw.result("Heartbeat")
        assert raw.calls.empty()

    async def test_six_at_once_on_a_silent_charger_take_twice_their_limit_and_no_longer(
        self, raw: RawCharger, row: Charger, api: AdminApi
    ) -> None:
        began = time.monotonic()
        asked = [
            asyncio.create_task(api.command(row.id, "Reset", {"type": "Hard"}, seconds=1)) for _ in range(6)
        ]
        answers = await asyncio.gather(*asked)
        assert time.monotonic() - began < 5.5
        assert sorted(one.status_code for one in answers) == [200] * 2 + [429] * 4
        assert [one.json()["status"] for one in answers if one.status_code == 200] == ["Timeout"] * 2
        assert raw.calls.qsize() == 2

    async def test_the_order_is_the_one_in_which_they_were_asked(
        self, raw: RawCharger, row: Charger, links: Links, api: AdminApi
    ) -> None:
        asked = [asyncio.create_task(api.command(row.id, "UnlockConnector", {"connectorId": 0}))]
        call = await raw.next_call()
        for number in range(1, 5):
            body = {"connectorId": number}
            asked.append(asyncio.create_task(api.command(row.id, "UnlockConnector", body)))
            await is_waiting(links, row.id, number)
        for number in range(1, 5):
            await raw.answer(call, {"status": "Unlocked"})
            call = await raw.next_call()
            assert call[3] == {"connectorId": number}
        await raw.answer(call, {"status": "Unlocked"})
        assert {one.json()["status"] for one in await asyncio.gather(*asked)} == {"Unlocked"}


class TestCallersThatLeave:
    async def test_a_command_that_waits_for_its_turn_is_dropped(
        self, raw: RawCharger, row: Charger, api: AdminApi, links: Links
    ) -> None:
        first = asyncio.create_task(api.command(row.id, "ClearCache"))
        call = await raw.next_call()
        start = {"id_tag": "TAG"}
        path = f"/api/admin/chargers/{row.id}"
        gone = [
            asyncio.create_task(api.client.post(f"{path}/remote-start", json=start)),
            asyncio.create_task(api.command(row.id, "Reset", {"type": "Hard"})),
            asyncio.create_task(api.client.post(f"{path}/unlock", json={"connector_id": 1})),
        ]
        await is_waiting(links, row.id, 3)
        for one in gone:
            await give_up(one)
        await is_waiting(links, row.id, 0)
        last = asyncio.create_task(api.command(row.id, "GetConfiguration"))
        await is_waiting(links, row.id, 1)
        await raw.answer(call, ACCEPTED)
        assert (await first).json()["status"] == "Accepted"
        call = await raw.next_call()
        assert call[2] == "GetConfiguration"
        await raw.answer(call, {})
        assert (await last).status_code == 200
        assert {one["action"] for one in await api.messages(row.id)} <= {"ClearCache", "GetConfiguration"}

    async def test_they_make_room_for_others(
        self, raw: RawCharger, row: Charger, api: AdminApi, links: Links
    ) -> None:
        first = asyncio.create_task(api.command(row.id, "ClearCache"))
        call = await raw.next_call()
        gone = [asyncio.create_task(api.command(row.id, "Reset", {"type": "Soft"})) for _ in range(16)]
        await is_waiting(links, row.id, 16)
        await give_up(gone[0])
        await is_waiting(links, row.id, 15)
        more = asyncio.create_task(api.command(row.id, "GetConfiguration"))
        await is_waiting(links, row.id, 16)
        for one in gone[1:]:
            await give_up(one)
        await raw.answer(call, ACCEPTED)
        await raw.answer(await raw.next_call(), {})
        assert [(await one).status_code for one in (first, more)] == [200, 200]

    async def test_once_sent_the_answer_is_taken_and_those_that_keep_it_are_told(
        self, server: RunningServer, raw: RawCharger, row: Charger, api: AdminApi
    ) -> None:
        told: list[Told] = []

        async def keep(_: Any, outcome: Told) -> None:
            told.append(outcome)

        outcomes: Outcomes = server.app.state.commands.outcomes
        outcomes.after["ClearCache"].append(keep)
        try:
            asked = asyncio.create_task(api.command(row.id, "ClearCache"))
            call = await raw.next_call()
            await give_up(asked)
            await raw.result("Heartbeat")
            await raw.answer(call, ACCEPTED)

            async def is_told() -> bool:
                return bool(told)

            await until(is_told)
        finally:
            outcomes.after["ClearCache"].remove(keep)
        assert told[0].answer is not None
        assert told[0].answer.response == ACCEPTED

        async def logged() -> list[dict[str, Any]]:
            return [one for one in await api.messages(row.id) if one["action"] == "ClearCache"]

        [message] = await until(logged)
        assert (message["error_code"], message["response"][2]) == (None, ACCEPTED)

    async def test_those_that_keep_outcomes_hear_that_it_was_not_sent(
        self, server: RunningServer, raw: RawCharger, row: Charger, api: AdminApi, links: Links
    ) -> None:
        told: list[Told] = []

        async def keep(_: Any, outcome: Told) -> None:
            told.append(outcome)

        outcomes: Outcomes = server.app.state.commands.outcomes
        outcomes.after["GetLocalListVersion"].append(keep)
        try:
            first = asyncio.create_task(api.command(row.id, "ClearCache"))
            call = await raw.next_call()
            asked = asyncio.create_task(api.command(row.id, "GetLocalListVersion"))
            await is_waiting(links, row.id, 1)
            await give_up(asked)

            async def is_told() -> bool:
                return bool(told)

            await until(is_told)
        finally:
            outcomes.after["GetLocalListVersion"].remove(keep)
        assert told[0].answer is None
        await raw.answer(call, ACCEPTED)
        await first

    async def test_a_force_stop_goes_on_without_its_caller(
        self, raw: RawCharger, row: Charger, api: AdminApi, tag: str, links: Links
    ) -> None:
        transaction = (await raw.start(tag))["transactionId"]
        first = asyncio.create_task(api.command(row.id, "ClearCache"))
        call = await raw.next_call()
        path = f"/api/admin/transactions/{transaction}/force-stop"
        asked = asyncio.create_task(api.client.post(path))
        await is_waiting(links, row.id, 1)
        await give_up(asked)
        await raw.answer(call, ACCEPTED)
        await first
        call = await raw.next_call()
        assert call[2:] == ["RemoteStopTransaction", {"transactionId": transaction}]
        await raw.answer(call, ACCEPTED)


class Wire:
    """Stands for a charger's connection; what is sent to it waits in `sent` for an answer."""

    def __init__(self) -> None:
        self.gateway: Any = self
        self.settings: Any = self
        self.clock: Any = self
        self.writer: Any = self
        self.protocol: Any = self
        self.charger: Any = self
        self.id = self.id_text = "CP"
        self.ocpp_call_timeout = 5.0
        self.attached = True
        self.sent: list[str] = []
        self.calls = calls.Calls(self)  # type: ignore[arg-type] # all that `Calls` uses of one

    def now(self) -> Any:
        return None

    def submit(self, _: object) -> None:
        """Keep no log."""

    def send_frame(self, text: str) -> bool:
        self.sent.append(text)
        return True

    def answer(self) -> None:
        pending = self.calls._pending
        assert pending is not None
        assert self.calls.answered(CallResult(pending.message_id, {}), "[]")

    def ask(self) -> asyncio.Task[Any]:
        return asyncio.create_task(self.calls.send("ClearCache", b"{}", None))


async def settled() -> None:
    """Let everybody act who can."""
    for _ in range(10):
        await asyncio.sleep(0)


class TestAtTheSameMoment:
    """What comes together in one turn of the event loop, in both orders."""

    @pytest.fixture(autouse=True)
    def no_log(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(calls, "message_row", dict)

    @pytest.mark.parametrize("order", ["turn first", "cancelled first"])
    async def test_a_turn_that_comes_when_it_is_given_up_goes_to_the_next(self, order: str) -> None:
        wire = Wire()
        first, second, third = wire.ask(), wire.ask(), wire.ask()
        await settled()
        assert len(wire.sent) == 1
        if order == "turn first":
            wire.answer()
            for _ in range(10):
                if len(wire.calls._waiting or ()) == 1:
                    break
                await asyncio.sleep(0)
            assert len(wire.sent) == 1  # the second has its turn, and has not run yet
            second.cancel()
        else:
            second.cancel()
            wire.answer()
        await settled()
        assert second.cancelled()
        assert first.done()
        assert len(wire.sent) == 2
        wire.answer()
        await asyncio.wait_for(third, 20)
        assert wire.ask() is not None
        await settled()
        assert len(wire.sent) == 3
        wire.answer()

    async def test_a_charger_that_leaves_when_one_is_given_up_leaves_nothing_behind(self) -> None:
        wire = Wire()
        asked = [wire.ask() for _ in range(4)]
        await settled()
        asked[1].cancel()
        wire.attached = False
        wire.calls.end()
        asked[2].cancel()
        await asyncio.wait(asked)
        assert not wire.calls._waiting
        assert not wire.calls._taken
        assert len(wire.sent) == 1

    async def test_one_that_is_asked_after_the_charger_left_is_refused(self) -> None:
        wire = Wire()
        wire.attached = False
        wire.calls.end()
        outcome: Awaitable[Any] = wire.ask()
        with pytest.raises(Exception, match="left before this command was sent"):
            await outcome

    async def test_a_caller_that_has_gone_already_is_not_served(self) -> None:
        wire = Wire()
        left: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        left.set_result(None)
        before = caller_left.set(left)
        try:
            with pytest.raises(ChargerBusy, match="was not sent"):
                await wire.calls.send("ClearCache", b"{}", None)
        finally:
            caller_left.reset(before)
        assert wire.sent == []
        assert not wire.calls._taken


async def test_an_answer_to_who_is_still_there_is_not_disturbed_by_a_kept_connection(
    server: RunningServer, raw: RawCharger, row: Charger, api: AdminApi
) -> None:
    """One connection, one request after the other: the end of the first is no leaving of the second."""
    limits = httpx.Limits(max_connections=1, max_keepalive_connections=1)
    headers = api.client.headers
    async with httpx.AsyncClient(
        base_url=server.http, headers=headers, limits=limits, trust_env=False
    ) as client:
        for number in range(3):
            path = f"/api/admin/chargers/{row.id}/unlock"
            asked = asyncio.create_task(client.post(path, json={"connector_id": number}))
            await raw.answer(await raw.next_call(), {"status": "Unlocked"})
            assert (await asked).json()["status"] == "Unlocked"

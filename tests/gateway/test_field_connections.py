"""What real chargers do with their sockets and with our commands; seen on the wire and in the admin API."""

import asyncio
import json
import time
from contextlib import AsyncExitStack
from typing import Any

import pytest
from sqlalchemy import text
from tests.chargers import RawCharger, charger, until
from tests.gateway.admin import AdminApi
from tests.running import RunningServer
from tests.world import World

from ohmstead.stations.models import Charger, Registration


async def is_online(api: AdminApi, row: Charger, online: bool = True) -> None:
    """Wait until the admin API says so."""

    async def said() -> bool:
        return bool((await api.charger(row.id))["online"] is online)

    await until(said)


class TestSockets:
    async def test_a_reconnect_without_a_boot_notification_is_served(
        self, server: RunningServer, row: Charger, tag: str, api: AdminApi
    ) -> None:
        async with charger(server.ws, row.id) as first:
            await first.boot()
            transaction = (await first.start(tag))["transactionId"]
        async with charger(server.ws, row.id) as second:
            assert "currentTime" in await second.result("Heartbeat")
            await second.meter("2026-05-04T12:10:00Z", "500")
            assert await second.stop(transaction, 900) == {}
        session = await api.transaction(transaction)
        assert (session["energy_wh"], session["stop_reason"]) == (900, "Local")

    async def test_a_second_socket_takes_over_with_its_first_frame(
        self, server: RunningServer, row: Charger, api: AdminApi
    ) -> None:
        async with charger(server.ws, row.id) as old, charger(server.ws, row.id) as new:
            await old.result("Heartbeat")
            assert old.socket.close_code is None
            await new.result("Heartbeat")
            code, reason = await old.closed()
            assert (code, reason) == (4000, "the charger has connected again")
            asked = asyncio.create_task(api.command(row.id, "ClearCache"))
            await new.answer(await new.next_call(), {"status": "Accepted"})
            assert (await asked).json()["status"] == "Accepted"
            await is_online(api, row)

            async def ended() -> bool:
                return (await api.connections(row.id))[0]["closed_at"] is not None

            # The old one has ended, and did not mark the charger as offline.
            await until(ended)
            assert (await api.charger(row.id))["online"] is True

    async def test_a_silent_second_socket_that_closes_again_changes_nothing(
        self, server: RunningServer, row: Charger, api: AdminApi
    ) -> None:
        async with charger(server.ws, row.id) as first:
            await first.result("Heartbeat")
            second = await RawCharger.connect(server.ws, row.id)
            await second.close()
            await first.result("Heartbeat")
            asked = asyncio.create_task(api.command(row.id, "ClearCache"))
            await first.answer(await first.next_call(), {"status": "Rejected"})
            assert (await asked).json()["status"] == "Rejected"
            assert (await api.charger(row.id))["online"] is True

    async def test_a_silent_second_socket_serves_when_the_first_has_gone(
        self, server: RunningServer, row: Charger, tag: str, api: AdminApi
    ) -> None:
        first = await RawCharger.connect(server.ws, row.id)
        async with charger(server.ws, row.id) as second:
            transaction = (await first.start(tag, meter=0))["transactionId"]
            links, before = server.app.state.links, server.app.state.links.get(row.id)
            await first.vanish()

            async def taken_over() -> bool:
                return links.get(row.id) is not before

            await until(taken_over)
            asked = asyncio.create_task(api.command(row.id, "ClearCache"))
            await second.answer(await second.next_call(), {"status": "Accepted"})
            assert (await asked).json()["status"] == "Accepted"
            assert (await api.charger(row.id))["online"] is True
            # It knows of the session that began after it was opened.
            await second.meter("2026-05-04T12:10:00Z", "500")
            assert (await api.transaction(transaction))["energy_wh"] == 500
        await is_online(api, row, False)

    async def test_a_session_that_ended_before_the_take_over_gets_no_more_values(
        self, server: RunningServer, row: Charger, tag: str, api: AdminApi
    ) -> None:
        async with charger(server.ws, row.id) as first:
            transaction = (await first.start(tag))["transactionId"]
            async with charger(server.ws, row.id) as second:
                await first.stop(transaction, 300)
                await second.meter("2026-05-04T14:00:00Z", "900")
                assert await api.meter_values(transaction) == []

    async def test_an_abrupt_end_is_1006_and_takes_the_charger_offline(
        self, server: RunningServer, row: Charger, api: AdminApi
    ) -> None:
        raw = await RawCharger.connect(server.ws, row.id)
        await raw.boot()
        await is_online(api, row)
        await raw.vanish()
        await is_online(api, row, False)
        [connection] = await api.connections(row.id)
        assert connection["close_code"] == 1006
        assert connection["close_reason"].startswith("lost")
        assert connection["closed_at"] >= connection["opened_at"]

    async def test_a_charger_that_pings_gets_its_pongs(self, raw: RawCharger) -> None:
        for _ in range(3):
            pong = await raw.socket.ping()
            assert await asyncio.wait_for(pong, 60) >= 0
        await raw.result("Heartbeat")

    async def test_the_whole_fleet_may_come_back_in_the_same_second(
        self, server: RunningServer, server_world: World
    ) -> None:
        station = await server_world.station()
        rows = [await server_world.charger(station, connectors=1) for _ in range(80)]
        async with AsyncExitStack() as stack:

            async def come_back(row: Charger) -> list[Any]:
                raw = await stack.enter_async_context(charger(server.ws, row.id))
                return [
                    await raw.boot(),
                    await raw.status("Available", connector=0),
                    await raw.status("Available", connector=1),
                    await raw.result("Heartbeat"),
                ]

            began = time.monotonic()
            answers = await asyncio.gather(*(come_back(row) for row in rows))
            assert time.monotonic() - began < 20
            assert all(answer[0]["status"] == "Accepted" for answer in answers)
            assert sum(server.app.state.links.get(row.id) is not None for row in rows) == 80


class TestCommands:
    async def test_a_charger_that_leaves_ends_the_pending_command_at_once(
        self, server: RunningServer, row: Charger, api: AdminApi
    ) -> None:
        raw = await RawCharger.connect(server.ws, row.id)
        asked = asyncio.create_task(api.command(row.id, "ClearCache", seconds=60))
        waiting = asyncio.create_task(api.command(row.id, "GetConfiguration", seconds=60))
        await raw.next_call()
        began = time.monotonic()
        await raw.vanish()
        answers = await asyncio.gather(asked, waiting)
        assert time.monotonic() - began < 20
        assert [answer.status_code for answer in answers] == [409, 409]
        assert [answer.json()["error"] for answer in answers] == ["ChargerOffline"] * 2
        # The next connection is not held up by them.
        async with charger(server.ws, row.id) as again:
            asked = asyncio.create_task(api.command(row.id, "ClearCache"))
            await again.answer(await again.next_call(), {"status": "Accepted"})
            assert (await asked).json()["status"] == "Accepted"

    async def test_a_take_over_ends_the_pending_command_at_once(
        self, server: RunningServer, row: Charger, api: AdminApi
    ) -> None:
        async with charger(server.ws, row.id) as old, charger(server.ws, row.id) as new:
            await old.result("Heartbeat")
            asked = asyncio.create_task(api.command(row.id, "ClearCache", seconds=60))
            await old.next_call()
            await new.result("Heartbeat")
            assert (await asyncio.wait_for(asked, 20)).status_code == 409

    @pytest.mark.parametrize(
        ("command", "body", "own", "payload"),
        [
            (
                "ReserveNow",
                {"connectorId": 1, "expiryDate": "2026-05-04T12:00:00Z", "idTag": "T", "reservationId": 1},
                "Authorize",
                {"idTag": "T"},
            ),
            (
                "GetDiagnostics",
                {"location": "ftp://host/file"},
                "DiagnosticsStatusNotification",
                {"status": "Uploading"},
            ),
        ],
    )
    async def test_a_charger_may_call_before_it_answers(
        self, *, raw: RawCharger, row: Charger, api: AdminApi, command: str, body: Any, own: str, payload: Any
    ) -> None:
        asked = asyncio.create_task(api.command(row.id, command, body))
        call = await raw.next_call()
        assert await raw.result(own, payload) is not None
        assert not asked.done()
        await raw.answer(call, {"status": "Accepted"} if command == "ReserveNow" else {"fileName": "a.log"})
        assert (await asked).json()["status"] == "Accepted"

    async def test_a_command_goes_out_while_a_call_of_the_charger_is_served(
        self, raw: RawCharger, row: Charger, tag: str, api: AdminApi
    ) -> None:
        start = {"connectorId": 1, "idTag": tag, "meterStart": 0, "timestamp": "2026-05-04T12:00:00Z"}
        asked = asyncio.create_task(api.command(row.id, "ClearCache"))
        call = await raw.next_call()
        # The answer to our CALL comes behind CALLs of its own, and is not kept waiting by them.
        answers = [raw.expect(f"s{number}") for number in range(3)]
        for number in range(3):
            await raw.send(json.dumps([2, f"s{number}", "StartTransaction", start]))
        await raw.answer(call, {"status": "Accepted"})
        assert (await asked).json()["status"] == "Accepted"
        assert all(frame[0] == 3 for frame in await asyncio.wait_for(asyncio.gather(*answers), 60))

    async def test_a_command_is_answered_while_the_database_keeps_a_start_waiting(
        self, server: RunningServer, raw: RawCharger, row: Charger, tag: str, api: AdminApi
    ) -> None:
        start = {"connectorId": 1, "idTag": tag, "meterStart": 0, "timestamp": "2026-05-04T12:00:00Z"}
        async with server.database.engine.connect() as holding:
            await holding.execute(text("LOCK TABLE charging_session IN ACCESS EXCLUSIVE MODE"))
            started = raw.expect("start")
            await raw.send(json.dumps([2, "start", "StartTransaction", start]))
            waiting = (
                "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'charging_session'::regclass"
            )

            async def waits() -> bool:
                return bool(await holding.scalar(text(waiting)))

            await until(waits)
            # The start waits for us, and may do so for long; our CALL goes out, and its answer comes in.
            for _ in range(3):
                asked = asyncio.create_task(api.command(row.id, "ClearCache"))
                await raw.answer(await raw.next_call(), {"status": "Accepted"})
                assert (await asyncio.wait_for(asked, 60)).json()["status"] == "Accepted"
            assert not started.done()
            await holding.rollback()
        assert (await asyncio.wait_for(started, 60))[2]["idTagInfo"]["status"] == "Accepted"

    async def test_pipelined_calls_are_all_answered_in_their_order(
        self, raw: RawCharger, row: Charger, tag: str, api: AdminApi
    ) -> None:
        calls: list[tuple[str, Any]] = []
        for number in range(30):
            calls += [
                ("Heartbeat", {}),
                ("Authorize", {"idTag": tag}),
                ("StatusNotification", {"connectorId": 1, "errorCode": "NoError", "status": "Available"}),
                ("Nonsense", {}),
                ("MeterValues", {"connectorId": 1, "meterValue": []}),
                ("DataTransfer", {"vendorId": f"v{number}"}),
            ]
        for number, (action, payload) in enumerate(calls):
            await raw.send(json.dumps([2, f"p{number}", action, payload]))
        order = [(await asyncio.wait_for(raw.stray.get(), 60))[1] for _ in calls]
        assert order == [f"p{number}" for number in range(len(calls))]
        assert len(await api.messages(row.id)) == len(calls)

    async def test_our_calls_go_out_one_at_a_time(self, raw: RawCharger, row: Charger, api: AdminApi) -> None:
        asked = [asyncio.create_task(api.command(row.id, "ClearCache")) for _ in range(3)]
        for left in (2, 1, 0):
            call = await raw.next_call()
            await raw.result("Heartbeat")
            assert raw.calls.empty()
            await raw.answer(call, {"status": "Accepted"})
            assert sum(not one.done() for one in asked) >= left
        assert [answer.json()["status"] for answer in await asyncio.gather(*asked)] == ["Accepted"] * 3

    async def test_a_call_that_is_never_answered_times_out_and_the_next_one_goes_out(
        self, raw: RawCharger, row: Charger, api: AdminApi
    ) -> None:
        first = asyncio.create_task(api.command(row.id, "GetConfiguration", seconds=1))
        unanswered = await raw.next_call()
        second = asyncio.create_task(api.command(row.id, "ClearCache"))
        assert (await first).json() == {"status": "Timeout"}
        await raw.answer(await raw.next_call(), {"status": "Accepted"})
        assert (await second).json()["status"] == "Accepted"
        # The answer that comes too late is taken for no other, and does no harm.
        await raw.answer(unanswered, {})
        await raw.result("Heartbeat")

        async def logged() -> list[dict[str, Any]]:
            return [one for one in await api.messages(row.id) if one["error_code"] == "Timeout"]

        [timed_out] = await until(logged)
        assert (timed_out["direction"], timed_out["response"]) == ("out", None)
        [late] = [one for one in await api.messages(row.id) if one["note"] and "too late" in one["note"]]
        assert late["request"] == [3, unanswered[1], {}]


class TestRegistration:
    async def test_a_charger_that_ignores_pending_or_rejected_is_served(
        self, server: RunningServer, server_world: World, tag: str, api: AdminApi
    ) -> None:
        for registration in (Registration.PENDING, Registration.REJECTED):
            row = await server_world.charger(registration=registration)
            async with charger(server.ws, row.id) as raw:
                boot = await raw.boot()
                assert boot["status"] == registration
                assert 0 < boot["interval"] <= 60
                await raw.status("Charging")
                answer = await raw.start(tag)
                # It may do what it likes, but nobody is authorised.
                assert answer["idTagInfo"]["status"] == "Invalid"
                assert (await raw.result("Authorize", {"idTag": tag}))["idTagInfo"]["status"] == "Invalid"
                await raw.stop(answer["transactionId"], 500)
            assert (await api.connector(row.id))["status"] == "Charging"
            [session] = await api.transactions(row.id)
            assert (session["energy_wh"], session["status"]) == (500, "Completed")

    async def test_a_charger_silent_after_a_rejection_is_made_to_come_back_when_it_is_accepted(
        self, server: RunningServer, server_world: World, api: AdminApi
    ) -> None:
        row = await server_world.charger(registration=Registration.REJECTED)
        async with charger(server.ws, row.id) as raw:
            assert (await raw.boot())["status"] == "Rejected"
            # It would say nothing for ever now; the socket stays, and a command reaches it.
            asked = asyncio.create_task(
                api.command(row.id, "TriggerMessage", {"requestedMessage": "BootNotification"})
            )
            await raw.answer(await raw.next_call(), {"status": "Accepted"})
            assert (await asked).json()["status"] == "Accepted"
            changed = await api.client.put(f"/api/admin/chargers/{row.id}", json={"registration": "Accepted"})
            assert changed.status_code == 200
            await raw.closed()
        async with charger(server.ws, row.id) as raw:
            assert (await raw.boot())["status"] == "Accepted"

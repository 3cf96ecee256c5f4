"""What real chargers do with message ids, retries and late frames; seen on the wire and in the admin API."""

import asyncio
import json

from tests.chargers import RawCharger, charger, until
from tests.gateway.admin import AdminApi
from tests.running import RunningServer
from tests.world import World

from ohmstead.stations.models import Charger


class TestMessageIds:
    async def test_an_id_seen_before_the_reconnect_is_a_new_message(
        self, server: RunningServer, row: Charger, tag: str, api: AdminApi
    ) -> None:
        async with charger(server.ws, row.id) as before:
            first = await before.result("Authorize", {"idTag": tag}, message_id="1")
        async with charger(server.ws, row.id) as after:
            second = await after.result("Authorize", {"idTag": "NOBODY"}, message_id="1")
            beat = await after.result("Heartbeat", message_id="2")
        assert first["idTagInfo"]["status"] == "Accepted"
        assert second["idTagInfo"]["status"] == "Invalid"
        assert list(beat) == ["currentTime"]
        logged = await api.messages(row.id)
        assert [(one["message_id"], one["action"]) for one in logged] == [
            ("1", "Authorize"),
            ("1", "Authorize"),
            ("2", "Heartbeat"),
        ]

    async def test_an_id_that_comes_twice_on_one_socket_is_answered_twice(
        self, raw: RawCharger, tag: str
    ) -> None:
        first = await raw.result("Authorize", {"idTag": tag}, message_id="same")
        second = await raw.result("Authorize", {"idTag": "NOBODY"}, message_id="same")
        assert [first["idTagInfo"]["status"], second["idTagInfo"]["status"]] == ["Accepted", "Invalid"]

    async def test_stations_with_the_same_ids_get_their_own_answers(
        self, server: RunningServer, server_world: World, tag: str, api: AdminApi
    ) -> None:
        one, other = await server_world.charger(), await server_world.charger()
        async with charger(server.ws, one.id) as a, charger(server.ws, other.id) as b:
            payload = {"connectorId": 1, "idTag": tag, "meterStart": 0, "timestamp": "2026-05-04T12:00:00Z"}
            answers = await asyncio.gather(
                a.result("StartTransaction", payload, message_id="1"),
                b.result("StartTransaction", payload, message_id="1"),
            )
        assert answers[0]["transactionId"] != answers[1]["transactionId"]
        for charger_id, answer in zip((one.id, other.id), answers, strict=True):
            [session] = await api.transactions(charger_id)
            assert session["ocpp_transaction_id"] == answer["transactionId"]


class TestRetries:
    async def test_a_retried_start_is_the_same_session(
        self, server: RunningServer, row: Charger, tag: str, api: AdminApi
    ) -> None:
        async with charger(server.ws, row.id) as before:
            first = await before.start(tag, meter=100)
        async with charger(server.ws, row.id) as after:
            again = await after.start(tag, meter=100)
            in_other_letters = await after.start(tag.lower(), meter=100)
        assert first == again == in_other_letters
        [session] = await api.transactions(row.id)
        assert session["ocpp_transaction_id"] == first["transactionId"]
        assert session["status"] == "Active"

    async def test_a_start_whose_answer_was_lost_is_the_same_session(
        self, server: RunningServer, row: Charger, tag: str, api: AdminApi
    ) -> None:
        before = await RawCharger.connect(server.ws, row.id)
        payload = {"connectorId": 1, "idTag": tag, "meterStart": 5, "timestamp": "2026-05-04T12:00:00Z"}
        await before.send(json.dumps([2, "lost", "StartTransaction", payload]))
        await before.vanish()

        async def sessions() -> list[dict[str, object]]:
            return await api.transactions(row.id)

        await until(sessions)
        async with charger(server.ws, row.id) as after:
            answer = await after.result("StartTransaction", payload)
        [session] = await api.transactions(row.id)
        assert session["ocpp_transaction_id"] == answer["transactionId"]

    async def test_a_start_retried_while_the_first_is_still_served_is_the_same_session(
        self, server: RunningServer, row: Charger, tag: str, api: AdminApi
    ) -> None:
        async with charger(server.ws, row.id) as old, charger(server.ws, row.id) as new:
            answers = await asyncio.gather(old.start(tag), new.start(tag), return_exceptions=True)
            # The new socket takes over: the old one may or may not still get its answer.
            given = [answer for answer in answers if isinstance(answer, dict)]
            assert given
            assert len({answer["transactionId"] for answer in given}) == 1
        assert len(await api.transactions(row.id)) == 1

    async def test_retried_meter_values_are_stored_once(
        self, server: RunningServer, row: Charger, tag: str, api: AdminApi
    ) -> None:
        async with charger(server.ws, row.id) as before:
            transaction = (await before.start(tag))["transactionId"]
            first = await before.meter("2026-05-04T12:10:00Z", "500", transaction=transaction)
        async with charger(server.ws, row.id) as after:
            for _ in range(2):
                again = await after.meter("2026-05-04T12:10:00Z", "500", transaction=transaction)
                assert again[2] == first[2] == {}
            assert (await after.meter("2026-05-04T12:20:00Z", "900", transaction=transaction))[0] == 3
        values = await api.meter_values(transaction)
        assert [value["register_wh"] for value in values] == [500, 900]
        assert (await api.transaction(transaction))["energy_wh"] == 900

    async def test_a_retried_stop_is_answered_alike_and_changes_nothing(
        self, server: RunningServer, row: Charger, tag: str, api: AdminApi
    ) -> None:
        async with charger(server.ws, row.id) as before:
            transaction = (await before.start(tag))["transactionId"]
            first = await before.stop(transaction, 4200, idTag=tag, reason="Remote")
        stopped = await api.transactions(row.id)
        async with charger(server.ws, row.id) as after:
            for _ in range(2):
                assert await after.stop(transaction, 4200, idTag=tag, reason="Remote") == first
        assert first == {"idTagInfo": {"status": "Accepted"}}
        assert await api.transactions(row.id) == stopped
        [session] = stopped
        assert (session["energy_wh"], session["stop_reason"], session["unmatched"]) == (4200, "Remote", False)


class TestLateFrames:
    async def test_a_queue_of_old_frames_in_an_odd_order_lands_where_its_times_say(
        self, server: RunningServer, row: Charger, tag: str, api: AdminApi
    ) -> None:
        async with charger(server.ws, row.id) as before:
            transaction = (await before.start(tag, meter=1000, at="2026-05-04T08:00:00Z"))["transactionId"]
            await before.vanish()
        async with charger(server.ws, row.id) as after:
            await after.status("Available", timestamp="2026-05-04T10:05:00Z")
            await after.status("Finishing", timestamp="2026-05-04T10:00:00Z")
            await after.status("Charging", timestamp="2026-05-04T08:00:05Z")
            for at, register in (("09:00", "6000"), ("08:30", "3500"), ("09:30", "8500")):
                await after.meter(f"2026-05-04T{at}:00Z", register, transaction=transaction)
            await after.stop(transaction, 11_000, at="2026-05-04T10:00:00Z")
        connector = await api.connector(row.id)
        assert (connector["status"], connector["status_at"]) == ("Available", "2026-05-04T10:05:00Z")
        history = (await api.get(f"/chargers/{row.id}/status-history", connector=1))["items"]
        assert sorted(one["status"] for one in history) == ["Available", "Charging", "Finishing"]
        session = await api.transaction(transaction)
        assert session["energy_wh"] == 10_000
        assert (session["started_at"], session["stopped_at"]) == (
            "2026-05-04T08:00:00Z",
            "2026-05-04T10:00:00Z",
        )
        assert session["anomalies"] == []
        values = await api.meter_values(transaction)
        assert [value["register_wh"] for value in values] == [3500, 6000, 8500]

    async def test_live_values_before_the_old_ones_give_the_right_energy(
        self, server: RunningServer, row: Charger, tag: str, api: AdminApi
    ) -> None:
        async with charger(server.ws, row.id) as raw:
            transaction = (await raw.start(tag, meter=0, at="2026-05-04T08:00:00Z"))["transactionId"]
            await raw.meter("2026-05-04T09:00:00Z", "9000", transaction=transaction)
            live = await api.transaction(transaction)
            await raw.meter("2026-05-04T08:20:00Z", "3000", transaction=transaction)
            await raw.meter("2026-05-04T08:40:00Z", "6000", transaction=transaction)
            late = await api.transaction(transaction)
            await raw.meter("2026-05-04T09:20:00Z", "12000", transaction=transaction)
        assert (live["energy_wh"], late["energy_wh"]) == (9000, 9000)
        assert late["last_sample_at"] == "2026-05-04T09:00:00Z"
        session = await api.transaction(transaction)
        assert (session["energy_wh"], session["anomalies"]) == (12_000, [])

    async def test_values_that_come_after_the_stop_are_kept_with_their_session(
        self, raw: RawCharger, tag: str, api: AdminApi
    ) -> None:
        transaction = (await raw.start(tag))["transactionId"]
        await raw.stop(transaction, 4000)
        await raw.meter("2026-05-04T12:30:00Z", "2000", transaction=transaction)
        session = await api.transaction(transaction)
        assert (session["energy_wh"], session["status"]) == (4000, "Completed")
        assert [value["register_wh"] for value in await api.meter_values(transaction)] == [2000]

    async def test_values_without_a_transaction_id_belong_to_the_session_on_their_connector(
        self, raw: RawCharger, tag: str, api: AdminApi
    ) -> None:
        first = (await raw.start(tag, connector=1))["transactionId"]
        second = (await raw.start(tag, connector=2))["transactionId"]
        await raw.meter("2026-05-04T12:10:00Z", "700", connector=2)
        assert (await api.transaction(first))["energy_wh"] == 0
        assert (await api.transaction(second))["energy_wh"] == 700

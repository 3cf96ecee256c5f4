"""Starts that come at once or name an odd connector, and stops that are no frames."""

import asyncio
import json
from typing import Any

import pytest
from tests.chargers import RawCharger, charger
from tests.gateway.admin import AdminApi
from tests.running import RunningServer
from tests.world import World

from ohmstead.charging import counting
from ohmstead.stations.models import Charger

BEGIN = "2026-05-04T12:00:00Z"
END = "2026-05-04T13:00:00Z"


def minute(minutes: int) -> str:
    return f"2026-05-04T12:{minutes:02}:00Z"


class TestTheLimitOfATag:
    async def test_of_two_chargers_that_start_at_the_same_moment_one_is_accepted(
        self, server: RunningServer, server_world: World
    ) -> None:
        one, other = await server_world.charger(), await server_world.charger()
        async with charger(server.ws, one.id) as a, charger(server.ws, other.id) as b:
            for _ in range(12):
                limited = (await server_world.token(max_concurrent_sessions=1)).id_tag
                answers = await asyncio.gather(a.start(limited), b.start(limited))
                told = sorted(answer["idTagInfo"]["status"] for answer in answers)
                assert told == ["Accepted", "ConcurrentTx"]
                for raw, answer in zip((a, b), answers, strict=True):
                    await raw.stop(answer["transactionId"])

    async def test_many_chargers_that_replace_their_sessions_at_once_all_get_an_answer(
        self, server: RunningServer, server_world: World
    ) -> None:
        limited = (await server_world.token(max_concurrent_sessions=2)).id_tag
        rows = [await server_world.charger() for _ in range(6)]
        raws = [await RawCharger.connect(server.ws, row.id) for row in rows]
        try:
            for number in range(5):
                starts = [
                    raw.start(limited, connector=1 + place % 2, at=minute(number))
                    for place, raw in enumerate(raws)
                ]
                answers = await asyncio.wait_for(asyncio.gather(*starts), 60)
                told = [answer["idTagInfo"]["status"] for answer in answers]
                assert set(told) <= {"Accepted", "ConcurrentTx"}
            # Those that replaced their own made room for themselves or for another: never for a third.
            accepted = [one for one in told if one == "Accepted"]
            assert len(accepted) <= 2
        finally:
            for raw in raws:
                await raw.close()


class TestConnectorsThatAreNone:
    @pytest.mark.parametrize("connector", [-1, -5, -(2**31)])
    async def test_a_start_on_a_negative_connector_is_refused(
        self, raw: RawCharger, row: Charger, tag: str, api: AdminApi, connector: int
    ) -> None:
        start = {"connectorId": connector, "idTag": tag, "meterStart": 0, "timestamp": BEGIN}
        frame = await raw.call("StartTransaction", start)
        assert (frame[0], frame[2]) == (4, "PropertyConstraintViolation")
        assert f"connectorId is {connector}" in frame[3]
        assert await api.transactions(row.id) == []

    async def test_a_start_on_connector_0_is_taken_and_noted(
        self, raw: RawCharger, tag: str, api: AdminApi, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(counting, "live_meter", None)  # its values are nothing odd
        transaction = (await raw.start(tag, connector=0))["transactionId"]
        for at in (10, 20, 30):
            await raw.meter(minute(at), f"{100 * at}", transaction=transaction, connector=0)
        session = await api.transaction(transaction)
        assert (session["status"], session["connector_id"], session["energy_wh"]) == ("Active", 0, 3000)
        assert [one["kind"] for one in session["anomalies"]] == ["started_on_connector_0"]
        await raw.stop(transaction, 4000, at=END)
        session = await api.transaction(transaction)
        assert (session["status"], session["energy_wh"]) == ("Completed", 4000)
        assert [one["kind"] for one in session["anomalies"]] == ["started_on_connector_0"]


def stop(**fields: Any) -> dict[str, Any]:
    return {"transactionId": 7, "meterStop": 3000, "timestamp": END, **fields}


HUGE = 99_999_999_999_999_999_999


class TestStopsThatAreNoFrames:
    @pytest.mark.parametrize(
        ("frame", "message_id", "meter_stop"),
        [
            ([2, "s", "StopTransaction", stop(meterStop=HUGE)], "s", None),
            ([2, "s", "StopTransaction", stop(vendor={"n": HUGE})], "s", 3000),
            ([2, "s", "StopTransaction", stop(), {}], "s", 3000),
            ([2, "i" * 37, "StopTransaction", stop()], "-1", 3000),
            ([2, 77, "StopTransaction", stop()], "-1", 3000),
            ([2, None, "StopTransaction", stop()], "-1", 3000),
            ([2, "s", "StopTransaction", [7]], "s", None),
            ([2, "s", "StopTransaction", None], "s", None),
            ([2, "s", "StopTransaction"], "s", None),
        ],
    )
    async def test_each_is_refused_and_kept_once(
        self,
        *,
        raw: RawCharger,
        row: Charger,
        api: AdminApi,
        frame: Any,
        message_id: str,
        meter_stop: int | None,
    ) -> None:
        for _ in range(2):
            answer = raw.expect(message_id)
            await raw.send(json.dumps(frame))
            refused = await asyncio.wait_for(answer, 60)
            assert refused[:3] == [4, message_id, "FormationViolation"]
        [kept] = await api.transactions(row.id)
        assert (kept["unmatched"], kept["meter_stop"], kept["status"]) == (True, meter_stop, "Completed")
        if frame[3:] and isinstance(frame[3], dict):
            assert (kept["ocpp_transaction_id"], kept["stopped_at"]) == (7, END)
        logged = await api.messages(row.id)
        assert [one["note"] for one in logged] == ["kept as an unmatched transaction"] * 2
        await raw.result("Heartbeat")

    @pytest.mark.parametrize(
        ("odd", "message_id"), [("[" * 300 + "]" * 300, "s"), ('"\\ud800"', "-1"), ("NaN", "-1")]
    )
    async def test_what_cannot_be_written_is_left_out(
        self, *, raw: RawCharger, row: Charger, api: AdminApi, odd: str, message_id: str
    ) -> None:
        answer = raw.expect(message_id)
        await raw.send(f'[2,"s","StopTransaction",{{"transactionId":7,"meterStop":5,"idTag":{odd}}}]')
        assert (await asyncio.wait_for(answer, 60))[2] == "FormationViolation"
        [kept] = await api.transactions(row.id)
        assert (kept["unmatched"], kept["ocpp_transaction_id"], kept["meter_stop"]) == (True, 7, 5)

    @pytest.mark.parametrize(
        "text",
        [
            '[2,"s","StopTransaction",{"transactionId":7',
            '[3,"StopTransaction"]',
            '[4,7,"StopTransaction"]',
            '[2,"s","DataTransfer",{"vendorId":"StopTransaction"},1]',
            '["StopTransaction"]',
            '{"StopTransaction":1}',
            '[2,"s",["StopTransaction"],{}]',
        ],
    )
    async def test_what_is_no_stop_is_not_kept_as_one(
        self, raw: RawCharger, row: Charger, api: AdminApi, text: str
    ) -> None:
        await raw.send(text)
        await raw.result("Heartbeat")
        assert await api.transactions(row.id) == []

    async def test_one_that_names_an_open_transaction_leaves_it_open_and_counted(
        self, raw: RawCharger, row: Charger, tag: str, api: AdminApi
    ) -> None:
        transaction = (await raw.start(tag))["transactionId"]
        answer = raw.expect("s")
        await raw.send(json.dumps([2, "s", "StopTransaction", stop(transactionId=transaction), 1]))
        await asyncio.wait_for(answer, 60)
        # Values that name no transaction are still its own.
        await raw.meter(minute(10), "700")
        session = await api.transaction(transaction)
        assert (session["status"], session["energy_wh"]) == ("Active", 700)
        assert len(await api.transactions(row.id, unmatched="true")) == 1

"""What real chargers put into frames, right and wrong; seen on the wire and in the admin API."""

import asyncio
import json
from datetime import datetime
from typing import Any

import pytest
from tests.chargers import RawCharger, charger
from tests.gateway.admin import AdminApi
from tests.running import RunningServer
from tests.world import World

from ohmstead.stations.models import Charger

STATUS = {"connectorId": 1, "errorCode": "NoError", "status": "Available"}


async def answer_to(raw: RawCharger, text: str, message_id: str) -> list[Any]:
    """Send a frame as it is, and return what comes back under this id."""
    answer = raw.expect(message_id)
    await raw.send(text)
    return await asyncio.wait_for(answer, 60)


class TestRefusals:
    async def test_an_unknown_action_is_not_implemented(
        self, raw: RawCharger, row: Charger, api: AdminApi
    ) -> None:
        assert await raw.error("Teleport", {"to": "Mars"}) == "NotImplemented"
        await raw.result("Heartbeat")
        [logged] = await api.messages(row.id, errors="true")
        assert (logged["action"], logged["error_code"]) == ("Teleport", "NotImplemented")

    async def test_an_action_of_the_central_system_is_not_supported(self, raw: RawCharger) -> None:
        assert await raw.error("Reset", {"type": "Soft"}) == "NotSupported"

    @pytest.mark.parametrize(
        ("payload", "code"),
        [
            ({**STATUS, "colour": "red"}, "FormationViolation"),
            ({**STATUS, "connectorId": "one"}, "TypeConstraintViolation"),
            ({**STATUS, "status": "Sleeping"}, "PropertyConstraintViolation"),
            ({**STATUS, "info": "x" * 51}, "PropertyConstraintViolation"),
            ({"connectorId": 1, "status": "Available"}, "OccurenceConstraintViolation"),
        ],
    )
    async def test_a_broken_payload_has_its_own_code(
        self, raw: RawCharger, row: Charger, api: AdminApi, payload: dict[str, Any], code: str
    ) -> None:
        frame = await raw.call("StatusNotification", payload)
        assert (frame[0], frame[2]) == (4, code)
        assert frame[3]
        assert frame[4] == {}
        [logged] = await api.messages(row.id, errors="true")
        assert (logged["error_code"], logged["response"]) == (code, frame)
        assert (await api.connector(row.id))["status"] is None
        await raw.result("StatusNotification", STATUS)

    @pytest.mark.parametrize(
        ("text", "message_id"),
        [
            ("not json", "-1"),
            ("", "-1"),
            ("[", "-1"),
            ("null", "-1"),
            ("7", "-1"),
            ('"text"', "-1"),
            ("{}", "-1"),
            ("[]", "-1"),
            ("[2]", "-1"),
            ('["2","a","Heartbeat",{}]', "-1"),
            ('[2,7,"Heartbeat",{}]', "-1"),
            ('[2,null,"Heartbeat",{}]', "-1"),
            ('[2,"","Heartbeat",{}]', "-1"),
            (f'[2,"{"i" * 37}","Heartbeat",{{}}]', "-1"),
            ('[2,"few","Heartbeat"]', "few"),
            ('[2,"many","Heartbeat",{},{}]', "many"),
            ('[2,"action",7,{}]', "action"),
            ('[2,"payload","Heartbeat",null]', "payload"),
            ('[2,"array","Heartbeat",[]]', "array"),
        ],
    )
    async def test_what_is_no_ocpp_frame_is_answered_and_the_socket_goes_on(
        self, raw: RawCharger, row: Charger, api: AdminApi, text: str, message_id: str
    ) -> None:
        frame = await answer_to(raw, text, message_id)
        assert frame[:3] == [4, message_id, "FormationViolation"]
        await raw.result("Heartbeat")
        logged = await api.messages(row.id)
        assert [one["error_code"] for one in logged] == ["FormationViolation", None]

    async def test_an_id_of_36_characters_is_served(self, raw: RawCharger) -> None:
        assert "currentTime" in await raw.result("Heartbeat", message_id="i" * 36)

    @pytest.mark.parametrize(
        "text",
        [
            '[3,"nobody",{}]',
            '[4,"nobody","GenericError","",{}]',
            '[3,"nobody"]',
            "[4]",
            "[3,7,{}]",
            '[5,"x",{}]',
            '[-1,"x"]',
        ],
    )
    async def test_answers_to_nothing_and_unknown_types_are_ignored_and_logged(
        self, raw: RawCharger, row: Charger, api: AdminApi, text: str
    ) -> None:
        await raw.send(text)
        await raw.result("Heartbeat")
        assert raw.stray.empty()
        logged = await api.messages(row.id)
        assert (logged[0]["request"], logged[0]["response"]) == (json.loads(text), None)
        assert logged[0]["note"]

    async def test_an_oversized_frame_closes_the_socket_with_1009(
        self, server: RunningServer, row: Charger, api: AdminApi
    ) -> None:
        limit = server.settings.ocpp_max_frame_bytes
        async with charger(server.ws, row.id) as raw:
            fitting = json.dumps([2, "fits", "DataTransfer", {"vendorId": "v", "data": ""}])
            data = "x" * (limit - len(fitting))
            frame = json.dumps([2, "fits", "DataTransfer", {"vendorId": "v", "data": data}])
            assert len(frame) == limit
            assert (await answer_to(raw, frame, "fits"))[0] == 3
            await raw.send(frame + " ")
            assert (await raw.closed())[0] == 1009
        async with charger(server.ws, row.id) as raw:
            await raw.result("Heartbeat")
        assert (await api.connections(row.id))[0]["close_code"] == 1009


class TestVendors:
    async def test_a_vendor_field_is_refused_by_default(self, raw: RawCharger) -> None:
        frame = await raw.call("StatusNotification", {**STATUS, "vendorField": {"a": 1}})
        assert frame[2] == "FormationViolation"
        assert "vendorField" in frame[3]

    async def test_a_tolerant_charger_may_send_vendor_fields_and_it_is_noted(
        self, server: RunningServer, server_world: World, api: AdminApi
    ) -> None:
        row = await server_world.charger(tolerant=True)
        async with charger(server.ws, row.id) as raw:
            await raw.result("StatusNotification", {**STATUS, "vendorField": {"a": 1}})
            # What is missing or wrong is still refused.
            assert await raw.error("StatusNotification", {"vendorField": 1}) == "OccurenceConstraintViolation"
            assert await raw.error("Teleport", {"vendorField": 1}) == "NotImplemented"
        assert (await api.connector(row.id))["status"] == "Available"
        logged = (await api.messages(row.id))[0]
        assert "vendorField" in logged["note"]
        assert logged["request"][3]["vendorField"] == {"a": 1}

    async def test_vendor_data_is_kept_and_answered_as_unknown(
        self, raw: RawCharger, row: Charger, api: AdminApi
    ) -> None:
        payload = {"vendorId": "com.example", "messageId": "x", "data": '{"a": 1}'}
        assert await raw.result("DataTransfer", payload) == {"status": "UnknownVendorId"}
        [report] = (await api.get(f"/chargers/{row.id}/reports"))["items"]
        assert (report["action"], report["payload"]) == ("DataTransfer", payload)


class TestTimes:
    @pytest.mark.parametrize(
        ("text", "meant"),
        [
            ("2026-05-04T12:00:00Z", "2026-05-04T12:00:00Z"),
            ("2026-05-04T12:00:00+00:00", "2026-05-04T12:00:00Z"),
            ("2026-05-04T14:00:00+02:00", "2026-05-04T12:00:00Z"),
            ("2026-05-04T12:00:00.123456Z", "2026-05-04T12:00:00.123Z"),
            ("2026-05-04T12:00:00.1Z", "2026-05-04T12:00:00.100Z"),
            ("2026-05-04T12:00:00", "2026-05-04T12:00:00Z"),
        ],
    )
    async def test_every_way_to_write_a_time_is_read(
        self, raw: RawCharger, tag: str, api: AdminApi, text: str, meant: str
    ) -> None:
        transaction = (await raw.start(tag, at=text))["transactionId"]
        assert (await api.transaction(transaction))["started_at"] == meant

    async def test_a_start_retried_in_another_spelling_of_its_time_is_the_same(
        self, raw: RawCharger, row: Charger, tag: str, api: AdminApi
    ) -> None:
        first = await raw.start(tag, at="2026-05-04T12:00:00Z")
        assert await raw.start(tag, at="2026-05-04T14:00:00.000+02:00") == first
        assert len(await api.transactions(row.id)) == 1

    async def test_our_own_times_end_with_z(self, raw: RawCharger) -> None:
        for told in ((await raw.boot())["currentTime"], (await raw.result("Heartbeat"))["currentTime"]):
            assert told.endswith("Z")
            assert datetime.fromisoformat(told).tzinfo is not None


class TestAnswersOfChargers:
    @pytest.mark.parametrize(
        "schedule",
        [
            {"duration": 2**33, "chargingRateUnit": "W", "chargingSchedulePeriod": []},
            {"chargingRateUnit": "A", "chargingSchedulePeriod": [{"startPeriod": 0, "limit": -1}]},
            {
                "duration": 2**40,
                "chargingRateUnit": "A",
                "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 6.5}],
            },
        ],
    )
    async def test_an_odd_composite_schedule_is_passed_on_as_it_is(
        self, raw: RawCharger, row: Charger, api: AdminApi, schedule: dict[str, Any]
    ) -> None:
        asked = asyncio.create_task(
            api.command(row.id, "GetCompositeSchedule", {"connectorId": 1, "duration": 86400})
        )
        response = {"status": "Accepted", "connectorId": 1, "chargingSchedule": schedule}
        await raw.answer(await raw.next_call(), response)
        assert (await asked).json() == {"status": "Accepted", "response": response}

    async def test_an_answer_that_breaks_the_schema_is_passed_on_and_noted(
        self, raw: RawCharger, row: Charger, api: AdminApi
    ) -> None:
        asked = asyncio.create_task(api.command(row.id, "ClearCache"))
        await raw.answer(await raw.next_call(), {"status": "Maybe", "vendor": 1})
        assert (await asked).json() == {"status": "Maybe", "response": {"status": "Maybe", "vendor": 1}}
        await raw.result("Heartbeat")
        [logged] = [one for one in await api.messages(row.id) if one["direction"] == "out"]
        assert "breaks the schema" in logged["note"]

    @pytest.mark.parametrize(
        ("text", "status", "code"),
        [
            ('[3,"{id}",[]]', "CallError", "FormationViolation"),
            ('[3,"{id}"]', "CallError", "FormationViolation"),
            ('[3,"{id}",{{"a":99999999999999999999}}]', "CallError", "FormationViolation"),
            ('[4,"{id}","NotSupported"]', "CallError", "NotSupported"),
            ('[4,"{id}","VendorCode","why",null]', "CallError", "VendorCode"),
            ('[4,"{id}","","",{{}}]', "CallError", ""),
        ],
    )
    async def test_a_broken_answer_ends_the_command_at_once(
        self, *, raw: RawCharger, row: Charger, api: AdminApi, text: str, status: str, code: str
    ) -> None:
        asked = asyncio.create_task(api.command(row.id, "ClearCache"))
        call = await raw.next_call()
        await raw.send(text.format(id=call[1]))
        answer = (await asyncio.wait_for(asked, 3)).json()
        assert (answer["status"], answer["error"]["code"]) == (status, code)
        await raw.result("Heartbeat")

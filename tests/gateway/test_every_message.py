"""All 39 actions of OCPP 1.6, from the schemas: what is valid is served, what is not is refused by its code.

The package `ocpp` judges independently: its own validator checks the payloads that we generate and the
answers that we give.
"""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ocpp.messages import Call, CallResult, validate_payload
from tests.chargers import RawCharger, charger, until
from tests.gateway.admin import AdminApi
from tests.payloads import complete, mutations, nodes, plain, valid
from tests.running import RunningServer

from ohmstead.gateway.v16 import routes
from ohmstead.ocpp.v16.actions import ACTIONS
from ohmstead.ocpp.v16.schemas import load_schema
from ohmstead.stations.models import Charger

FROM_CHARGER = (
    "Authorize",
    "BootNotification",
    "DataTransfer",
    "DiagnosticsStatusNotification",
    "FirmwareStatusNotification",
    "Heartbeat",
    "LogStatusNotification",
    "MeterValues",
    "SecurityEventNotification",
    "SignCertificate",
    "SignedFirmwareStatusNotification",
    "StartTransaction",
    "StatusNotification",
    "StopTransaction",
)
FROM_CENTRAL = (
    "CancelReservation",
    "CertificateSigned",
    "ChangeAvailability",
    "ChangeConfiguration",
    "ClearCache",
    "ClearChargingProfile",
    "DataTransfer",
    "DeleteCertificate",
    "ExtendedTriggerMessage",
    "GetCompositeSchedule",
    "GetConfiguration",
    "GetDiagnostics",
    "GetInstalledCertificateIds",
    "GetLocalListVersion",
    "GetLog",
    "InstallCertificate",
    "RemoteStartTransaction",
    "RemoteStopTransaction",
    "ReserveNow",
    "Reset",
    "SendLocalList",
    "SetChargingProfile",
    "SignedUpdateFirmware",
    "TriggerMessage",
    "UnlockConnector",
    "UpdateFirmware",
)
"""By hand, from the tables of contents of OCPP 1.6 Edition 2 and of the security whitepaper."""

SCHEMAS = {name: plain(load_schema(name)) for name in ACTIONS}
OWN = [pytest.param(name, "charger", id=f"from_the_charger_{name}") for name in FROM_CHARGER]
OURS = [pytest.param(name, "central", id=f"to_the_charger_{name}") for name in FROM_CENTRAL]

quick = settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def judged(payload: Any) -> Any:
    """A copy: the judge puts its own number type into what it is given."""
    return json.loads(json.dumps(payload))


async def is_alive(raw: RawCharger) -> None:
    assert list(await raw.result("Heartbeat")) == ["currentTime"]


@pytest.mark.parametrize(("action", "sender"), OWN + OURS)
async def test_every_action_goes_its_way(
    *, raw: RawCharger, row: Charger, api: AdminApi, action: str, sender: str
) -> None:
    payload = complete(SCHEMAS[action])
    response = complete(plain(load_schema(f"{action}Response")))
    if sender == "charger":
        frame = await raw.call(action, payload)
        assert frame[0] == 3, frame
        await validate_payload(CallResult("1", judged(frame[2]), action=action), "1.6")
        [logged] = await api.messages(row.id)
        direction, response = "in", frame[2]
    else:
        asked = asyncio.create_task(api.command(row.id, action, payload))
        call = await raw.next_call()
        assert call[2:] == [action, payload]
        await validate_payload(Call(call[1], action, judged(call[3])), "1.6")
        await raw.answer(call, response)
        answer = await asked
        assert answer.status_code == 200, answer.text
        assert answer.json() == {"status": response.get("status", "Accepted"), "response": response}
        [logged] = await until(lambda: api.messages(row.id))
        direction = "out"
    await is_alive(raw)
    assert (logged["direction"], logged["action"], logged["error_code"]) == (direction, action, None)
    assert logged["response"][2] == response


def test_no_action_is_missing() -> None:
    assert set(FROM_CHARGER) | set(FROM_CENTRAL) == set(ACTIONS)
    assert len(ACTIONS) == 39
    assert set(routes.ROUTES) == set(FROM_CHARGER)


@pytest.mark.parametrize("action", FROM_CHARGER)
@pytest.mark.also_long(10)
@quick
@given(data=st.data())
async def test_generated_requests_are_served(
    server: RunningServer, row: Charger, action: str, data: st.DataObject
) -> None:
    payload = data.draw(valid(SCHEMAS[action], storable=True))
    await validate_payload(Call("1", action, judged(payload)), "1.6")
    async with charger(server.ws, row.id) as raw:
        frame = await raw.call(action, payload)
        assert frame[0] == 3, (payload, frame)
        await validate_payload(CallResult("1", judged(frame[2]), action=action), "1.6")
        await is_alive(raw)


@pytest.mark.parametrize("action", FROM_CHARGER)
async def test_every_fault_of_a_request_has_its_code_and_the_socket_lives(
    raw: RawCharger, action: str
) -> None:
    payload = complete(SCHEMAS[action])
    faults = [
        (broken, code)
        for path, part in nodes(SCHEMAS[action])
        for broken, code, _ in mutations(payload, path, part)
    ]
    assert faults
    # Members that are nested deep have the same faults in several places: each third of many is enough.
    for broken, code in faults if len(faults) < 60 else faults[::3]:
        frame = await raw.call(action, broken)
        assert frame[0] == 4, (broken, frame)
        assert frame[2] == code, (broken, frame)
        assert (len(frame), frame[4]) == (5, {})
    await is_alive(raw)


@pytest.mark.parametrize(
    ("action", "payload"),
    [
        ("BootNotification", {"chargePointVendor": "\0", "chargePointModel": "M"}),
        ("DataTransfer", {"vendorId": "v", "data": "\0"}),
        ("StatusNotification", {"connectorId": 1, "errorCode": "NoError", "status": "Faulted", "info": "\0"}),
        ("StatusNotification", {"connectorId": 2**31, "errorCode": "NoError", "status": "Faulted"}),
        ("StatusNotification", {"connectorId": -1, "errorCode": "NoError", "status": "Faulted"}),
        ("StatusNotification", {"connectorId": -1, "errorCode": "NoError", "status": "Available"}),
        ("StatusNotification", {"connectorId": 2**40, "errorCode": "NoError", "status": "Available"}),
        (
            "StartTransaction",
            {"connectorId": 2**31, "idTag": "T", "meterStart": 0, "timestamp": "2026-05-04T12:00:00Z"},
        ),
        (
            "StartTransaction",
            {"connectorId": 1, "idTag": "T", "meterStart": 2**62, "timestamp": "2026-05-04T12:00:00Z"},
        ),
        (
            "MeterValues",
            {
                "connectorId": 2**31,
                "meterValue": [{"timestamp": "2026-05-04T12:00:00Z", "sampledValue": [{"value": "1"}]}],
            },
        ),
        (
            "MeterValues",
            {
                "connectorId": 1,
                "transactionId": 2**31,
                "meterValue": [{"timestamp": "2026-05-04T12:00:00Z", "sampledValue": [{"value": "1"}]}],
            },
        ),
        (
            "MeterValues",
            {
                "connectorId": 1,
                "meterValue": [{"timestamp": "2026-05-04T12:00:00Z", "sampledValue": [{"value": "\0"}]}],
            },
        ),
        ("SecurityEventNotification", {"type": "\0", "timestamp": "2026-05-04T12:00:00Z"}),
    ],
)
async def test_what_passes_the_schema_and_no_database_takes_is_refused_alone(
    raw: RawCharger, action: str, payload: dict[str, Any]
) -> None:
    assert await raw.error(action, payload) == "PropertyConstraintViolation"
    await is_alive(raw)


class TestCommands:
    @pytest.mark.parametrize("action", FROM_CENTRAL)
    async def test_a_payload_goes_out_compact_with_its_order_and_literals(
        self, raw: RawCharger, row: Charger, api: AdminApi, action: str
    ) -> None:
        payload = complete(SCHEMAS[action])
        backwards = json.dumps(dict(reversed(payload.items())), indent=3)
        compact = json.dumps(dict(reversed(payload.items())), separators=(",", ":"))
        asked = asyncio.create_task(api.command(row.id, action, backwards.encode()))
        call = await raw.next_call()
        await raw.answer(call, {})
        assert (await asked).status_code == 200
        assert compact in raw.texts[-1]
        assert raw.texts[-1] == f'[2,"{call[1]}","{action}",{compact}]'

    async def test_numbers_and_escapes_go_out_as_they_were_written(
        self, raw: RawCharger, row: Charger, api: AdminApi
    ) -> None:
        body = (
            b'{"connectorId": 1, "csChargingProfiles": {"chargingProfileId": 1, "stackLevel": 0,\n'
            b' "chargingProfilePurpose": "TxProfile", "chargingProfileKind": "Absolute",\t"chargingSchedule":'
            b' {"chargingRateUnit": "A", "chargingSchedulePeriod": [{"limit": 1.10, "startPeriod": 0},'
            b' {"startPeriod": 60, "limit": 1.6e1}]}}}'
        )
        asked = asyncio.create_task(api.command(row.id, "SetChargingProfile", body))
        await raw.answer(await raw.next_call(), {"status": "Accepted"})
        assert (await asked).json()["status"] == "Accepted"
        assert '[{"limit":1.10,"startPeriod":0},{"startPeriod":60,"limit":1.6e1}]' in raw.texts[-1]
        escaped = b'{"vendorId": "a b", "data": "\\u00e9 \\" \xc3\xa9 , : "}'
        asked = asyncio.create_task(api.command(row.id, "DataTransfer", escaped))
        await raw.answer(await raw.next_call(), {"status": "Accepted"})
        await asked
        assert raw.texts[-1].endswith('{"vendorId":"a b","data":"\\u00e9 \\" é , : "}]')

    async def test_an_operator_may_address_connector_99(
        self, raw: RawCharger, row: Charger, api: AdminApi
    ) -> None:
        asked = asyncio.create_task(api.command(row.id, "UnlockConnector", {"connectorId": 99}))
        call = await raw.next_call()
        assert call[3] == {"connectorId": 99}
        await raw.answer(call, {"status": "NotSupported"})
        assert (await asked).json()["status"] == "NotSupported"

    @pytest.mark.parametrize("action", FROM_CENTRAL)
    async def test_every_fault_of_a_payload_is_422_and_nothing_is_sent(
        self, raw: RawCharger, row: Charger, api: AdminApi, action: str
    ) -> None:
        payload = complete(SCHEMAS[action])
        faults = [
            broken for path, part in nodes(SCHEMAS[action]) for broken, _, _ in mutations(payload, path, part)
        ]
        step = max(1, len(faults) // 5)
        for broken in faults[::step]:
            answer = await api.command(row.id, action, broken)
            assert answer.status_code == 422, (broken, answer.text)
            assert answer.json()["error"] == "PayloadInvalid"
        for text in (b"[]", b"{", b"null"):
            assert (await api.command(row.id, action, text)).status_code == 422
        await is_alive(raw)
        assert raw.calls.empty()

    @pytest.mark.parametrize("action", FROM_CENTRAL)
    async def test_a_call_error_is_told_with_its_code(
        self, raw: RawCharger, row: Charger, api: AdminApi, action: str
    ) -> None:
        asked = asyncio.create_task(api.command(row.id, action, complete(SCHEMAS[action])))
        call = await raw.next_call()
        await raw.send(json.dumps([4, call[1], "NotSupported", "not built in", {"why": 1}]))
        answer = await asked
        assert answer.status_code == 200
        assert answer.json() == {
            "status": "CallError",
            "error": {"code": "NotSupported", "description": "not built in"},
        }

    async def test_no_answer_is_a_timeout(self, raw: RawCharger, row: Charger, api: AdminApi) -> None:
        # They go out one after the other, and each waits from when it was sent.
        asked = [asyncio.create_task(api.command(row.id, "ClearCache", seconds=1)) for _ in range(2)]
        for answer in await asyncio.gather(*asked):
            assert (answer.status_code, answer.json()) == (200, {"status": "Timeout"})

    async def test_a_command_to_a_charger_that_is_away_is_409(self, row: Charger, api: AdminApi) -> None:
        for action in FROM_CENTRAL:
            answer = await api.command(row.id, action, complete(SCHEMAS[action]))
            assert (answer.status_code, answer.json()["error"]) == (409, "ChargerOffline"), action

    async def test_a_charger_that_leaves_ends_the_pending_command_at_once(
        self, server: RunningServer, row: Charger, api: AdminApi
    ) -> None:
        for leave in (RawCharger.vanish, RawCharger.close):
            raw = await RawCharger.connect(server.ws, row.id)
            asked = asyncio.create_task(api.command(row.id, "ClearCache", seconds=60))
            await raw.next_call()
            await leave(raw)
            answer = await asyncio.wait_for(asked, 3)
            assert (answer.status_code, answer.json()["error"]) == (409, "ChargerOffline")

    @pytest.mark.parametrize("action", sorted(set(FROM_CHARGER) - {"DataTransfer"}))
    async def test_what_only_a_charger_sends_is_not_a_command(
        self, raw: RawCharger, row: Charger, api: AdminApi, action: str
    ) -> None:
        answer = await api.command(row.id, action, complete(SCHEMAS[action]))
        assert (answer.status_code, answer.json()["error"]) == (422, "ActionNotPossible")
        assert raw.calls.empty()

"""Payload checks: every schema with generated payloads, and every kind of violation with its code."""

import copy
import subprocess
import sys
from datetime import UTC, datetime
from time import process_time
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.payloads import at, complete, mutations, nodes, plain, valid, written

from ohmstead.ocpp.errors import ErrorCode, OcppError
from ohmstead.ocpp.timestamps import format_timestamp
from ohmstead.ocpp.v16.actions import ACTIONS, FROM_CENTRAL, FROM_CHARGER
from ohmstead.ocpp.v16.schemas import (
    check_request,
    check_response,
    load_schema,
    preload,
    strip_unknown_request,
)

Sender = Literal["charger", "central"]

NAMES = sorted(name + suffix for name in ACTIONS for suffix in ("", "Response"))


def sender_of(action: str) -> Sender:
    return "charger" if action in FROM_CHARGER else "central"


def check(name: str, payload: dict[str, Any]) -> None:
    if name.endswith("Response"):
        check_response(name.removesuffix("Response"), payload)
    else:
        check_request(name, payload, sender_of(name))


def violation(name: str, payload: dict[str, Any]) -> OcppError:
    with pytest.raises(OcppError) as caught:
        check(name, payload)
    return caught.value


@pytest.mark.parametrize(
    "examples", [20, pytest.param(500, marks=[pytest.mark.prove, pytest.mark.timeout(600)])]
)
@pytest.mark.parametrize("name", NAMES)
def test_generated_payloads_of_every_schema_pass(name: str, examples: int) -> None:
    @given(valid(plain(load_schema(name))))
    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=examples == 20,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def every_payload_passes(payload: dict[str, Any]) -> None:
        check(name, payload)

    every_payload_passes()


@pytest.mark.parametrize("name", NAMES)
def test_every_broken_rule_of_every_schema_is_answered_with_its_code(name: str) -> None:
    schema = plain(load_schema(name))
    payload = complete(schema)
    check(name, payload)
    for path, part in nodes(schema):
        for broken, code, place in mutations(payload, path, part):
            error = violation(name, broken)
            assert error.code == code, (path, error)
            assert written(place) in error.description


def meter_values(**changes: object) -> dict[str, Any]:
    sampled = {"value": "1", "unit": "Wh"}
    return {
        "connectorId": 1,
        "meterValue": [{"timestamp": "2024-05-31T12:00:00Z", "sampledValue": [sampled]}],
        **changes,
    }


@pytest.mark.parametrize(
    ("payload", "code", "description"),
    [
        (
            {"meterValue": meter_values()["meterValue"], "connectorID": 1},
            "OccurenceConstraintViolation",
            "connectorId is missing, it is required (it is spelt connectorID here)",
        ),
        (
            meter_values(transactionID=1),
            "FormationViolation",
            "transactionID is not known in OCPP 1.6, did you mean transactionId?",
        ),
        (meter_values(vendor=1), "FormationViolation", "vendor is not known in OCPP 1.6, leave it out"),
        (
            meter_values(connectorId="1"),
            "TypeConstraintViolation",
            "connectorId must be an integer, not a string",
        ),
        (
            meter_values(connectorId=1.5),
            "TypeConstraintViolation",
            "connectorId must be an integer, not the number 1.5",
        ),
        (
            meter_values(connectorId=True),
            "TypeConstraintViolation",
            "connectorId must be an integer, not a boolean",
        ),
        (
            meter_values(connectorId=None),
            "TypeConstraintViolation",
            "connectorId must be an integer, not null",
        ),
        (
            meter_values(meterValue=[]),
            "OccurenceConstraintViolation",
            "meterValue must have at least 1 element(s), it has 0",
        ),
        (
            meter_values(meterValue=[{"timestamp": "noon", "sampledValue": [{"value": "1"}]}]),
            "PropertyConstraintViolation",
            'meterValue[0].timestamp is "noon", it must be a date and time such as 2024-05-31T12:00:00Z',
        ),
    ],
)
def test_the_description_says_what_to_mend(payload: dict[str, Any], code: str, description: str) -> None:
    error = violation("MeterValues", payload)
    assert (error.code, error.description) == (code, description)


def test_an_enum_violation_lists_what_is_allowed() -> None:
    error = violation("Reset", {"type": "Warm"})
    assert error.description == 'type is "Warm", it must be one of Hard, Soft'


def test_a_text_that_is_too_long_is_counted_and_not_echoed() -> None:
    error = violation("Authorize", {"idTag": "T" * 21})
    assert error.description == "idTag has 21 characters, at most 20 are allowed"


def test_the_most_telling_of_several_violations_is_reported() -> None:
    error = violation("StatusNotification", {"connectorId": "1", "status": "Busy", "extra": 1})
    assert error.code == ErrorCode.TYPE_CONSTRAINT_VIOLATION


@pytest.mark.parametrize(
    "payload",
    [
        meter_values(**{"k" * 5000: 1}),
        meter_values(meterValue=[{"timestamp": "k" * 5000, "sampledValue": [{"value": "1"}]}]),
        meter_values(
            meterValue=[
                {"timestamp": "2024-05-31T12:00:00Z", "sampledValue": [{"value": "1", "unit": "k" * 5000}]}
            ]
        ),
    ],
)
def test_no_more_than_100_characters_of_a_value_are_echoed(payload: dict[str, Any]) -> None:
    assert 90 <= violation("MeterValues", payload).description.count("k") <= 110


def test_a_location_with_a_password_is_not_echoed() -> None:
    error = violation("GetDiagnostics", {"location": "ftp:// user:hunter2@host"})
    assert error.code == ErrorCode.PROPERTY_CONSTRAINT_VIOLATION
    assert "hunter2" not in error.description


def profile(limit: float) -> dict[str, Any]:
    schedule = {"chargingRateUnit": "A", "chargingSchedulePeriod": [{"startPeriod": 0, "limit": limit}]}
    return {
        "connectorId": 1,
        "csChargingProfiles": {
            "chargingProfileId": 1,
            "stackLevel": 0,
            "chargingProfilePurpose": "TxProfile",
            "chargingProfileKind": "Absolute",
            "chargingSchedule": schedule,
        },
    }


@given(st.integers(-(10**9), 10**9))
def test_every_limit_with_at_most_one_decimal_is_accepted(tenths: int) -> None:
    check("SetChargingProfile", profile(tenths / 10))


@pytest.mark.parametrize("limit", [1.25, 16.05, 21.44, 0.30000000000000004, 1e-5])
def test_a_limit_with_more_decimals_is_refused(limit: float) -> None:
    error = violation("SetChargingProfile", profile(limit))
    assert error.code == ErrorCode.PROPERTY_CONSTRAINT_VIOLATION
    assert "limit" in error.description
    assert "multiple of 0.1" in error.description


def test_a_composite_schedule_without_periods_or_with_limit_minus_one_is_accepted() -> None:
    schedule: dict[str, Any] = {"duration": 2**33, "chargingRateUnit": "W", "chargingSchedulePeriod": []}
    check_response("GetCompositeSchedule", {"status": "Accepted", "chargingSchedule": schedule})
    schedule["chargingSchedulePeriod"] = [{"startPeriod": 0, "limit": -1}]
    check_response("GetCompositeSchedule", {"status": "Accepted", "chargingSchedule": schedule})


@pytest.mark.parametrize(
    "text",
    [
        "2024-05-31T12:00:00Z",
        "2024-05-31t12:00:00.123456z",
        "2024-05-31T12:00:00+01:00",
        "2024-05-31T12:00:00",
    ],
)
def test_timestamps_are_checked_leniently(text: str) -> None:
    check_request(
        "StatusNotification",
        {"connectorId": 0, "errorCode": "NoError", "status": "Available", "timestamp": text},
    )


@given(st.datetimes(timezones=st.just(UTC)))
def test_the_times_we_write_pass_our_own_check(moment: datetime) -> None:
    check_response("Heartbeat", {"currentTime": format_timestamp(moment)})


@pytest.mark.parametrize("action", ["Foo", "", "heartbeat", "HeartbeatResponse", "../Heartbeat", "x" * 5000])
def test_an_unknown_action_is_not_implemented(action: str) -> None:
    for checked in (check_request, check_response):
        with pytest.raises(OcppError) as caught:
            checked(action, {})
        assert caught.value.code == ErrorCode.NOT_IMPLEMENTED
        assert len(caught.value.description) < 160


@pytest.mark.parametrize("action", sorted(FROM_CENTRAL - FROM_CHARGER))
def test_an_action_of_the_central_system_is_not_supported_from_a_charger(action: str) -> None:
    with pytest.raises(OcppError) as caught:
        check_request(action, {})
    assert caught.value.code == ErrorCode.NOT_SUPPORTED


@pytest.mark.parametrize("action", sorted(FROM_CHARGER - FROM_CENTRAL))
def test_an_action_of_the_charger_is_not_supported_from_the_central_system(action: str) -> None:
    with pytest.raises(OcppError) as caught:
        check_request(action, {}, "central")
    assert caught.value.code == ErrorCode.NOT_SUPPORTED


def test_data_transfer_goes_both_ways() -> None:
    check_request("DataTransfer", {"vendorId": "x"}, "charger")
    check_request("DataTransfer", {"vendorId": "x"}, "central")


@pytest.mark.parametrize("depth", [253, 400])
def test_a_payload_nested_too_deeply_is_refused_like_any_other(depth: int) -> None:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    assert violation("MeterValues", meter_values(connectorId=value)).code in (
        ErrorCode.TYPE_CONSTRAINT_VIOLATION,
        ErrorCode.FORMATION_VIOLATION,
    )


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_unknown_members_are_left_out_at_every_depth(action: str) -> None:
    schema = plain(load_schema(action))
    payload = complete(schema)
    loaded = copy.deepcopy(payload)
    expected = []
    for path, part in nodes(schema):
        if part.get("type") == "object":
            at(loaded, path)["vendorField"] = {"a": [1]}
            expected.append(written((*path, "vendorField")))
    before = copy.deepcopy(loaded)
    stripped, removed = strip_unknown_request(action, loaded)
    assert stripped == payload
    assert sorted(removed) == sorted(expected)
    assert loaded == before
    check(action, stripped)


def test_a_payload_with_nothing_to_leave_out_is_the_same_object() -> None:
    payload = meter_values()
    assert strip_unknown_request("MeterValues", payload)[0] is payload
    unknown = {"a": 1}
    assert strip_unknown_request("Foo", unknown) == (unknown, [])


@pytest.mark.parametrize(
    "payload", [{"meterValue": 7}, {"meterValue": {"a": 1}}, {"meterValue": [1, None, [{"a": 1}]]}]
)
def test_a_payload_of_the_wrong_shape_is_left_for_the_check(payload: dict[str, Any]) -> None:
    assert strip_unknown_request("MeterValues", payload) == (payload, [])


def test_many_violations_are_answered_as_fast_as_one() -> None:
    payload = meter_values(meterValue=[{}] * 85_000)
    begin = process_time()
    error = violation("MeterValues", payload)
    assert error.description == "meterValue[0].timestamp is missing, it is required"
    # Listing all 170,000 violations takes more than a second.
    assert process_time() - begin < 0.5


def test_preloading_compiles_everything() -> None:
    preload()
    check_response("Heartbeat", {"currentTime": "2024-05-31T12:00:00Z"})


def test_the_codec_imports_neither_asyncio_nor_the_package_whose_schemas_it_reads() -> None:
    program = (
        "import sys, ohmstead.ocpp.v16.schemas as s; s.preload();"
        "print(sorted({'asyncio', 'ocpp.v16', 'websockets', 'sqlalchemy', 'jsonschema'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohmstead.core.errors import Invalid, NotFound
from ohmstead.ocpp.v16.actions import FROM_CENTRAL, FROM_CHARGER
from ohmstead.stations.commands import checked, payload_of, require_action


@pytest.mark.parametrize("action", sorted(FROM_CENTRAL))
def test_every_message_of_the_central_system_may_be_sent(action: str) -> None:
    require_action(action)


@pytest.mark.parametrize("action", sorted(FROM_CHARGER - FROM_CENTRAL))
def test_messages_of_chargers_are_refused_with_the_possible_ones(action: str) -> None:
    with pytest.raises(Invalid, match=r"Possible are: .*GetConfiguration"):
        require_action(action)


@pytest.mark.parametrize("action", ["reset", "Explode", "", "Reset/../x"])
def test_an_unknown_action_is_not_found(action: str) -> None:
    with pytest.raises(NotFound, match=r"Possible are: .*Reset"):
        require_action(action)


@pytest.mark.parametrize("empty", [b"", b"  \n"])
def test_an_empty_body_is_the_empty_object(empty: bytes) -> None:
    assert payload_of("ClearCache", empty) == b"{}"


def test_a_payload_keeps_its_order_and_every_literal() -> None:
    body = b'{ "vendorId" : "v  v",\n "data": "\\u00e9 {\\"a\\": 1.10}" , "messageId":"m" }'
    assert payload_of("DataTransfer", body) == (
        b'{"vendorId":"v  v","data":"\\u00e9 {\\"a\\": 1.10}","messageId":"m"}'
    )
    profile = (
        b'{"connectorId": 1, "csChargingProfiles": {"chargingProfileId": 1, "stackLevel": 0,'
        b' "chargingProfilePurpose": "TxProfile", "chargingProfileKind": "Absolute", "chargingSchedule":'
        b' {"chargingRateUnit": "A", "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 16.0}]}}}'
    )
    assert b'"limit":16.0}' in payload_of("SetChargingProfile", profile)


@pytest.mark.parametrize(
    ("action", "body", "said"),
    [
        ("Reset", b"{", "not valid JSON"),
        ("Reset", b'{"type":"Soft"} x', "not valid JSON"),
        ("Reset", b'{"type":"\xff"}', "not valid JSON"),
        ("Reset", b'{"type":NaN}', "not valid JSON"),
        ("Reset", b"[]", "must be a JSON object"),
        ("Reset", b"null", "must be a JSON object"),
        ("Reset", b"{}", "type is missing"),
        ("Reset", b'{"type":"Gentle"}', "must be one of Hard, Soft"),
        ("Reset", b'{"type":"Soft","now":true}', "now is not known"),
        ("UnlockConnector", b'{"connectorId":"1"}', "must be an integer"),
        ("UnlockConnector", b'{"connectorId":99999999999999999999}', "64 bits"),
        ("DataTransfer", b'{"vendorId":"v","data":' + b"[" * 300 + b"]" * 300 + b"}", "nested too deeply"),
    ],
)
def test_what_a_charger_could_not_take_is_invalid_with_the_fault(action: str, body: bytes, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        payload_of(action, body)


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("action", "body"),
    [
        ("ChangeConfiguration", b'{"key": "AuthorizationKey", "key": "Other", "value": "0123456789"}'),
        ("ChangeConfiguration", b'{"key": "Other", "value": "0123456789", "k\\u0065y": "AuthorizationKey"}'),
        (
            "SendLocalList",
            b'{"listVersion":1,"updateType":"Full","localAuthorizationList":[{"idTag":"A","idTag":"B"}]}',
        ),
    ],
)
def test_a_name_that_comes_twice_is_refused(action: str, body: bytes) -> None:
    with pytest.raises(Invalid, match="twice"):
        payload_of(action, body)


@pytest.mark.parametrize("data", ["\ud800", 10**30, nested(300)], ids=["half", "over 64 bits", "deep"])
def test_what_we_build_is_checked_like_what_is_sent(data: Any) -> None:
    with pytest.raises(Invalid, match="cannot be written as JSON") as refused:
        checked("DataTransfer", {"vendorId": "v", "data": data})
    assert refused.value.code == "PayloadInvalid"
    assert checked("DataTransfer", {"vendorId": "v", "data": "x"}) == b'{"vendorId":"v","data":"x"}'


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.sampled_from(sorted(FROM_CENTRAL)), st.binary() | JSON.map(lambda value: repr(value).encode()))
def test_whatever_the_body_is_it_is_sent_or_refused(action: str, body: bytes) -> None:
    try:
        payload = payload_of(action, body)
    except Invalid:
        return
    assert isinstance(orjson.loads(payload), dict)

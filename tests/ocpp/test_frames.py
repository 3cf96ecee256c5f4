"""OCPP-J framing: what is read, what is refused, what is written."""

import contextlib
import json

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ohmstead.ocpp.errors import ErrorCode, OcppError
from ohmstead.ocpp.frames import (
    UNKNOWN_MESSAGE_ID,
    Call,
    CallError,
    CallResult,
    FrameError,
    Ignored,
    compact,
    encode_call,
    encode_error,
    encode_result,
    parse,
)

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def refused(text: str | bytes) -> FrameError:
    with pytest.raises(FrameError) as caught:
        parse(text)
    return caught.value


def test_a_call_is_read_from_text_and_from_bytes() -> None:
    call = Call("19223201", "Heartbeat", {"a": [1, 2.5, None]})
    assert parse('[2,"19223201","Heartbeat",{"a":[1,2.5,null]}]') == call
    assert parse(b' [2, "19223201", "Heartbeat", {"a": [1, 2.5, null]}] ') == call


def test_a_result_is_read() -> None:
    assert parse('[3,"x",{"status":"Accepted"}]') == CallResult("x", {"status": "Accepted"})


def test_an_error_is_read() -> None:
    frame = '[4,"x","NotSupported","no such thing",{"why":"old"}]'
    assert parse(frame) == CallError("x", "NotSupported", "no such thing", {"why": "old"})


@pytest.mark.parametrize("rest", ["", ",null", ",null,null", ',""', ',"",null', ',"",{}'])
def test_an_error_may_lack_description_and_details(rest: str) -> None:
    assert parse(f'[4,"x","GenericError"{rest}]') == CallError("x", "GenericError", "", {})


@pytest.mark.parametrize("kind", ["0", "1", "5", "-2", "2.5", "99999999999999999999"])
def test_an_unknown_message_type_is_ignored(kind: str) -> None:
    assert isinstance(parse(f'[{kind},"x",{{}}]'), Ignored)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not valid JSON"),
        ("hello", "not valid JSON"),
        ("[2,", "not valid JSON"),
        ('[2,"x","A",{"v":NaN}]', "not valid JSON"),
        ('[2,"x","A",{"v":Infinity}]', "not valid JSON"),
        ('[2,"x","A",{"v":1e999}]', "not valid JSON"),
        ('[2,"x","A",{"v":' + "1" * 5000 + "}]", "not valid JSON"),
        ('[2,"x","A",{"v":"\\ud800"}]', "not valid JSON"),
        ('[2,"x","A",{"v":"\ud800"}]', "not valid JSON"),
        (b'[2,"x","A",{"v":"\xff\xfe"}]', "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("{}", "JSON array"),
        ("17", "JSON array"),
        ("null", "JSON array"),
        ('"[2]"', "JSON array"),
        ("[]", "empty"),
        ('["2","x","A",{}]', "message type"),
        ('[true,"x","A",{}]', "message type"),
        ('[null,"x","A",{}]', "message type"),
    ],
)
def test_what_is_no_frame_is_refused_without_an_id(text: str | bytes, words: str) -> None:
    error = refused(text)
    assert error.code == ErrorCode.FORMATION_VIOLATION
    assert words in error.description
    assert error.message_id is None
    assert error.message_type is None
    assert error.answerable
    assert json.loads(error.encode())[:3] == [4, UNKNOWN_MESSAGE_ID, "FormationViolation"]


@pytest.mark.parametrize("message_id", ["17", "null", '""', "{}", '"' + "x" * 37 + '"'])
@pytest.mark.parametrize("kind", [2, 3, 4])
def test_an_unusable_message_id_is_refused(kind: int, message_id: str) -> None:
    error = refused(f'[{kind},{message_id},"Heartbeat",{{}}]')
    assert "message id" in error.description
    assert error.message_id is None
    assert error.message_type == kind
    assert error.answerable is (kind == 2)
    assert json.loads(error.encode())[1] == "-1"


def test_a_frame_that_ends_after_its_type_lacks_a_message_id() -> None:
    assert "missing" in refused("[2]").description


def test_a_message_id_may_have_36_characters_of_any_script() -> None:
    message_id = "ж" * 36
    assert parse(f'[2,"{message_id}","Heartbeat",{{}}]') == Call(message_id, "Heartbeat", {})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[2,"x","A"]', "4 elements, this frame has 3"),
        ('[2,"x","A",{},1]', "4 elements, this frame has 5"),
        ('[3,"x"]', "3 elements, this frame has 2"),
        ('[3,"x",{},{}]', "3 elements, this frame has 4"),
        ('[4,"x"]', "5 elements, this frame has 2"),
        ('[4,"x","A","",{},1]', "5 elements, this frame has 6"),
        ('[2,"x",7,{}]', "action"),
        ('[2,"x",null,{}]', "action"),
        ('[2,"x","A",[]]', "payload"),
        ('[2,"x","A",null]', "payload"),
        ('[2,"x","A","{}"]', "payload"),
        ('[3,"x",null]', "payload"),
        ('[4,"x",1,"",{}]', "code"),
        ('[4,"x","A",1,{}]', "description"),
        ('[4,"x","A","",[]]', "details"),
    ],
)
def test_a_misshapen_frame_is_refused_under_its_own_id(text: str, words: str) -> None:
    error = refused(text)
    assert words in error.description
    assert error.message_id == "x"
    assert error.message_type == int(text[1])
    assert words in str(error)


@pytest.mark.parametrize(
    "number", ["9223372036854775808", "-9223372036854775809", "1" + "0" * 30, "1" + "0" * 300]
)
def test_an_integer_beyond_64_bits_is_refused_because_its_digits_would_be_lost(number: str) -> None:
    assert "64 bits" in refused(f'[2,"x","A",{{"v":[{number}]}}]').description


@pytest.mark.parametrize(
    "value", [2**63 - 1, -(2**63), 0.12345678901234567890123, "9" * 40, 'a\\"' + "9" * 40, 1e300]
)
def test_long_digits_that_lose_nothing_are_accepted(value: object) -> None:
    frame = parse(json.dumps([2, "x", "A", {"v": value}]))
    assert isinstance(frame, Call)
    assert frame.payload == {"v": value}


@pytest.mark.parametrize("depth", [250, 300, 1000, 5000])
@pytest.mark.parametrize(("begin", "end"), [("[", "]"), ('{"a":', "}")])
def test_deep_nesting_is_refused(depth: int, begin: str, end: str) -> None:
    error = refused('[2,"x","A",{"v":' + begin * (depth + 5) + "1" + end * (depth + 5) + "}]")
    assert "nested" in error.description or "not valid JSON" in error.description


def test_a_wide_frame_is_not_a_deep_one() -> None:
    assert isinstance(parse('[2,"x","A",{"v":[' + "[]," * 1000 + "[]]}]"), Call)


@pytest.mark.also_long(20)
@given(st.text() | st.binary())
@settings(max_examples=300)
def test_random_text_raises_nothing_but_frame_errors(text: str | bytes) -> None:
    # Random text is hardly ever a frame; behind a question mark it never is.
    with pytest.raises(FrameError):
        parse(b"?" + text if isinstance(text, bytes) else "?" + text)
    with contextlib.suppress(FrameError):
        parse(text)
    begun = '[2,"x","A",{"v":'
    with contextlib.suppress(FrameError):
        parse(begun.encode() + text if isinstance(text, bytes) else begun + text)


@pytest.mark.also_long(20)
@given(
    st.lists(JSON_VALUES, max_size=6)
    | st.tuples(st.sampled_from([2, 3, 4, 2.0, True]), st.text(), JSON_VALUES)
)
@settings(max_examples=500)
def test_random_json_raises_nothing_but_frame_errors(frame: object) -> None:
    answer = None
    try:
        parse(json.dumps(frame))
    except FrameError as error:
        answer = error.encode()
    # Whatever was refused can be answered with a frame that is valid itself.
    assert answer is None or isinstance(parse(answer), CallError)


@pytest.mark.also_long(20)
@given(
    st.text(min_size=1, max_size=36, alphabet=st.characters(exclude_categories=["Cs"])),
    st.text(alphabet=st.characters(exclude_categories=["Cs"])),
    st.dictionaries(st.text(alphabet="abc"), st.integers(-100, 100)),
)
@settings(max_examples=100)
def test_what_is_encoded_is_parsed_again(message_id: str, text: str, payload: dict[str, int]) -> None:
    assert parse(encode_call(message_id, text, orjson.dumps(payload))) == Call(message_id, text, payload)
    assert parse(encode_result(message_id, payload)) == CallResult(message_id, payload)
    assert parse(encode_error(message_id, "GenericError", text, payload)) == CallError(
        message_id, "GenericError", text[:255], payload
    )


def test_encoded_frames_are_compact() -> None:
    assert encode_call("1", "Reset", b'{"type":"Soft"}') == '[2,"1","Reset",{"type":"Soft"}]'
    assert encode_result("1", {"interval": 300}) == '[3,"1",{"interval":300}]'
    assert encode_result("1", b'{"limit":1.10}') == '[3,"1",{"limit":1.10}]'
    assert encode_error("1", ErrorCode.NOT_SUPPORTED, "no") == '[4,"1","NotSupported","no",{}]'


def test_a_long_description_is_cut_to_255_characters() -> None:
    assert json.loads(encode_error("1", "GenericError", "é" * 300))[3] == "é" * 255


def test_an_error_with_a_lone_surrogate_can_still_be_sent() -> None:
    assert json.loads(encode_error("1", "GenericError", "bad \ud800")) == [
        4,
        "1",
        "GenericError",
        "bad ?",
        {},
    ]


@pytest.mark.parametrize(
    ("loose", "tight"),
    [
        (b'{ "limit" : 1.10 ,\r\n\t"a" : [ 1 , 2e0 ] }', b'{"limit":1.10,"a":[1,2e0]}'),
        (b'{"b": 1, "a": 2, "b": 3}', b'{"b":1,"a":2,"b":3}'),
        (rb'{"a b": "x  \" y \\", "c": " "}', rb'{"a b":"x  \" y \\","c":" "}'),
        ('{"ü": "\u2003 \\n"}'.encode(), '{"ü":"\u2003 \\n"}'.encode()),
        (b"{}", b"{}"),
    ],
)
def test_compact_strips_space_outside_of_strings_only(loose: bytes, tight: bytes) -> None:
    assert compact(loose) == tight


@pytest.mark.also_long(20)
@given(st.dictionaries(st.text(), JSON_VALUES), st.sampled_from([None, 1, "\t", " \r\n"]))
@settings(max_examples=100)
def test_compact_changes_no_meaning(value: dict[str, object], indent: str | int | None) -> None:
    loose = json.dumps(value, indent=indent)
    assert compact(loose.encode()).decode() == json.dumps(value, separators=(",", ":"))


def test_error_codes_are_spelt_as_in_the_standard() -> None:
    assert set(ErrorCode) == {
        "NotImplemented",
        "NotSupported",
        "InternalError",
        "ProtocolError",
        "SecurityError",
        "FormationViolation",
        "PropertyConstraintViolation",
        "OccurenceConstraintViolation",
        "TypeConstraintViolation",
        "GenericError",
    }


def test_an_ocpp_error_carries_its_answer() -> None:
    error = OcppError(ErrorCode.INTERNAL_ERROR, "no database")
    assert (error.code, error.description, error.details) == ("InternalError", "no database", {})
    assert OcppError(ErrorCode.GENERIC_ERROR, "", {"a": 1}).details == {"a": 1}
    assert str(error) == "InternalError: no database"

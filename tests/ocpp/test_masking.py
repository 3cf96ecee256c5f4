"""No secret survives in what is logged, and nothing else is changed."""

import json
import time
import timeit
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ohmstead.ocpp.masking import mask, mask_url

METER_VALUES = json.dumps(
    [
        2,
        "a1b2c3d4-0000-1111-2222-333344445555",
        "MeterValues",
        {
            "connectorId": 1,
            "transactionId": 123456,
            "meterValue": [
                {
                    "timestamp": "2024-05-05T12:00:00.000Z",
                    "sampledValue": [
                        {"value": "15.2", "context": "Sample.Periodic", "location": "Outlet", "unit": "kWh"},
                        {"value": "7200", "measurand": "Power.Active.Import", "unit": "W"},
                        {"value": "16.0", "measurand": "Current.Import", "phase": "L1", "unit": "A"},
                    ],
                }
            ],
        },
    ],
    separators=(",", ":"),
)


def call(action: str, payload: object) -> str:
    return json.dumps([2, "1", action, payload])


@pytest.mark.parametrize(
    "text",
    [
        METER_VALUES,
        "",
        "hello",
        "[2,",
        call("ChangeConfiguration", {"key": "HeartbeatInterval", "value": "60"}),
        call("GetConfiguration", {"key": ["AuthorizationKey"]}),
        call("Authorize", {"idTag": "04A2"}),
        call("Authorize", {"idToken": {"idToken": "04A2", "type": "ISO14443"}}),
        call("GetDiagnostics", {"location": "ftp://host:21/path/a@b?x=1"}),
        call("GetDiagnostics", {"location": "ftp://user@host/path"}),
        call("DataTransfer", {"vendorId": "x", "data": '{"a": "\\u00e9", "b": [1, 2]}'}),
        '[3, "1", {"configurationKey": [{"key": "A\\/B", "readonly": true, "value": "1.10"}]}]',
    ],
)
def test_text_without_secrets_is_the_same_object(text: str) -> None:
    assert mask(None, text) is text


@pytest.mark.parametrize(
    "key",
    [
        "AuthorizationKey",
        "authorizationkey",
        "AUTHORIZATIONKEY",
        "WifiPassword",
        "X-secret-1",
        "ApiToken",
        "wifiPSK",
    ],
)
@pytest.mark.parametrize("action", ["ChangeConfiguration", None])
def test_the_value_of_a_secret_key_is_hidden_whatever_the_order(action: str | None, key: str) -> None:
    before = f'[2, "1", "ChangeConfiguration", {{"key": "{key}", "value": "hunter2"}}]'
    assert mask(action, before) == before.replace("hunter2", "***")
    turned = f'[2,"1","ChangeConfiguration",{{"value":"hunter2","key":"{key}"}}]'
    assert mask(action, turned) == turned.replace("hunter2", "***")


def test_an_answer_to_get_configuration_loses_only_its_secrets() -> None:
    text = (
        '[3,"1",{"configurationKey":[{"key":"HeartbeatInterval","readonly":false,"value":"60"},'
        '{"key":"AuthorizationKey","readonly":false,"value":"hunter2"},{"key":"X","readonly":true}]}]'
    )
    assert mask("GetConfiguration", text) == text.replace("hunter2", "***")
    assert mask(None, text) == text.replace("hunter2", "***")


def test_a_configuration_value_whose_key_is_unreadable_is_hidden() -> None:
    assert mask("ChangeConfiguration", '[2,"1","ChangeConfiguration",{"value":"hunter2"}]').endswith(
        '{"value":"***"}]'
    )


@pytest.mark.parametrize(
    "name", ["password", "clientSecret", "authorizationKey", "privateKey", "private_key", "PASSWORD"]
)
@pytest.mark.parametrize("value", ["hunter2", {"a": ["hunter2"]}, ["hunter2", 1], 42])
def test_a_member_with_a_secret_name_is_hidden_whole(name: str, value: object) -> None:
    masked = json.loads(mask(None, call("Anything", {"a": [{name: value, "b": 1}]})))
    assert masked[3] == {"a": [{name: "***", "b": 1}]}


def test_a_name_written_with_escapes_is_recognised() -> None:
    assert "hunter2" not in mask(None, '[2,"1","X",{"p\\u0061ssword":"hunter2"}]')
    assert "hunter2" not in mask(None, '[2,"1","X",{"key":"\\u0041uthorizationKey","value":"hunter2"}]')


@pytest.mark.parametrize("levels", [1, 2, 3, 7, 12])
@pytest.mark.parametrize(
    "secret", [{"password": "hunter2"}, {"u": "ftp://a:hunter2@h"}, {"value": "hunter2", "key": "PSK"}]
)
def test_json_text_inside_json_text_is_searched(levels: int, secret: dict[str, Any]) -> None:
    data: object = secret
    for _ in range(levels):
        data = {"data": json.dumps(data)}
    text = call("DataTransfer", data)
    assert "hunter2" in text
    assert "hunter2" not in mask("DataTransfer", text)
    json.loads(mask("DataTransfer", text))


def test_data_that_is_not_json_is_searched() -> None:
    masked = mask(None, call("DataTransfer", {"vendorId": "x", "data": "user=a;password=hunter2;b=c"}))
    assert json.loads(masked)[3]["data"] == 'user=a;password="***";b=c'


@pytest.mark.parametrize(
    "text",
    [
        '[2,"1","ChangeConfiguration",{"key":"AuthorizationKey","value":"hunter2',
        '[2,"1","ChangeConfiguration",{"value":"hunter2","key":"AuthorizationK',
        '[2,"1","ChangeConfiguration",{"key":"AuthorizationKey","value":"hunter2"',
        '[2,"1,"ChangeConfiguration",{"key":"AuthorizationKey","value":"hunter2"}]',
        "[2,'1','ChangeConfiguration',{'key':'AuthorizationKey','value':'hunter2'}]",
        '[2,"1","ChangeConfiguration",{key:"AuthorizationKey",value:"hunter2"}]',
        '[2,"1","ChangeConfiguration",{"key":"AuthorizationKey","value":hunter2}]',
        '[2,"1","ChangeConfiguration",{"key":"AuthorizationKey","value":"\\qhunter2"}]',
    ],
)
def test_broken_frames_lose_their_secrets_too(text: str) -> None:
    assert "hunter2" not in mask("ChangeConfiguration", text)


@pytest.mark.parametrize(
    "text",
    [
        '{"password": "hunter2',
        '{"secret": {"a": ["hunter2"',
        "{'password': 'hunter2'}",
        "password=hunter2",
        "password: hunter2 and more",
        'NaN {"token": "hunter2"}',
        '[2,"1","X",{"a":NaN,"privateKey":"hunter2"}]',
        "see ftp://user:hunter2@host/x",
        '"{\\"password\\":\\"hunter2\\"}',
    ],
)
def test_text_that_is_not_json_loses_its_secrets_too(text: str) -> None:
    assert "hunter2" not in mask(None, text)


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("ftp://user:pass@host/a", "ftp://user:***@host/a"),
        ("FTPS://user:p@ss@host:21/a?b=c", "FTPS://user:***@host:21/a?b=c"),
        ("ftp://:pass@host", "ftp://:***@host"),
        ("ftp://user:pa/ss@host/a", "ftp://user:***@host/a"),
        ("ftp://user@corp:pass@host/a", "ftp://user@corp:***@host/a"),
        ("ftp://a:b@h,ftp://c:d@h", "ftp://a:***@h,ftp://c:***@h"),
        ("try ftp://a:b@h now a@b", "try ftp://a:***@h now a@b"),
        ("https://h/f?X-Amz-Date=1&X-Amz-Signature=abc", "https://h/f?X-Amz-Date=1&X-Amz-Signature=***"),
        ("https://h/f?sv=1&sig=a%2Bb%3D&se=2", "https://h/f?sv=1&sig=***&se=2"),
        ("https://h/f?token=abc#top", "https://h/f?token=***#top"),
        ("wss://h:9000/ocpp/CP@1", "wss://h:9000/ocpp/CP@1"),
        ("ws://[::1]:80/a@b", "ws://[::1]:80/a@b"),
        ("https://h/f?design=1&sigma=2", "https://h/f?design=1&sigma=2"),
        ("mailto:a@b", "mailto:a@b"),
        ("", ""),
    ],
)
def test_urls_lose_passwords_and_signatures_only(url: str, masked: str) -> None:
    assert mask_url(url) == masked


def test_slashes_escaped_as_php_does_are_understood() -> None:
    masked = mask(None, '[2,"1","GetDiagnostics",{"location":"ftp:\\/\\/user:hunter2@host\\/x"}]')
    assert json.loads(masked)[3]["location"] == "ftp://user:***@host/x"


# Letters that occur in no other part of the frames below.
SECRETS = st.text(alphabet="QZXqzx", min_size=6, max_size=30)
NAMES = st.sampled_from(["password", "dbPassword", "secret", "authorizationKey", "PrivateKey", "api_token"])


@st.composite
def hidden(draw: st.DrawFn, secret: str) -> object:
    """A JSON value that holds the secret in one of the places where it has to be hidden."""
    value: object = draw(
        st.sampled_from(
            [
                {draw(NAMES): secret},
                {draw(NAMES): [{"a": secret}]},
                {"key": draw(NAMES), "value": secret, "readonly": False},
                {"value": secret, "key": draw(NAMES)},
                f"ftp://user:{secret}@host/file",
                f"https://host/file?a=b&X-Amz-Signature={secret}&c=d",
            ]
        )
    )
    for wrapper in draw(st.lists(st.sampled_from(["object", "array", "text"]), max_size=4)):
        if wrapper == "object":
            value = {"vendor": 1, "data": value}
        elif wrapper == "array":
            value = [None, value]
        else:
            value = {"data": json.dumps(value)}
    return value


@pytest.mark.also_long(20)
@given(st.data(), SECRETS, st.sampled_from([None, 2]), st.booleans())
@settings(max_examples=300)
def test_the_secret_never_remains(
    data: st.DataObject, secret: str, indent: int | None, ascii_only: bool
) -> None:
    payload = data.draw(hidden(secret))
    text = json.dumps(
        [2, "1", "DataTransfer", {"a": "ü", "x": payload}], indent=indent, ensure_ascii=ascii_only
    )
    masked = mask("DataTransfer", text)
    assert secret not in masked
    json.loads(masked)


@pytest.mark.also_long(20)
@given(st.data(), SECRETS)
@settings(max_examples=200)
def test_the_secret_never_remains_in_a_frame_that_is_cut_off(data: st.DataObject, secret: str) -> None:
    text = call("ChangeConfiguration", {"key": data.draw(NAMES), "value": secret})
    cut = text[: data.draw(st.integers(0, len(text)))]
    assert secret[:6] not in mask("ChangeConfiguration", cut)
    assert secret[:6] not in mask(None, cut)


@pytest.mark.also_long(20)
@given(
    st.text()
    | st.lists(st.sampled_from([*'"{}[]:,\\/@=?& ', "key", "value", "password", "://", "a", "\ud800"])).map(
        "".join
    ),
    st.sampled_from([None, "ChangeConfiguration", "DataTransfer"]),
)
@settings(max_examples=500)
def test_no_text_makes_it_raise(text: str, action: str | None) -> None:
    assert isinstance(mask(action, text), str)
    assert isinstance(mask_url(text), str)


FRAME = 262_144
HOSTILE = {
    "quotes": '"',
    "members": '{"a":',
    "urls in strings": '"://a:',
    "names": "token",
    "short names": "psk",
    "names and spaces": "token ",
    "strings without end": 'token:"',
    "urls": "://a:",
    "backslashes": "\\",
    "pairs": 'password="\\',
    "json in strings": '["{',
    "queries": "?sig=",
    "values": "value:",
    "escaped quotes": '\\"{',
    "keys in keys": '{"key":',
    "keys in lists": '[{"key":',
    "lists as keys": '{"key":[',
    "strings as keys": '{"key":"',
    "keys without colons": '{"key":k,',
    "keys in values": '{"value":{"key":',
    "values in values": '{"key":"PSK","value":',
    "secrets in secrets": '{"password":[',
    "lists": "[",
    "objects": "{",
    "closed lists": "[],",
    "ends": "}",
    "members one after the other": '{"key":"PSK","value":1},',
    "escapes": '"\\\\"',
    "data": '{"data":"{}"},',
    "letters k": "ke",
}


def seconds(text: str, action: str | None = None) -> float:
    """How long masking works on a text: processor time, so that a busy machine does not count."""
    return min(timeit.repeat(lambda: mask(action, text), timer=time.process_time, number=1, repeat=2))


@pytest.mark.parametrize("action", [None, "ChangeConfiguration"])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_frame_as_long_as_one_may_be_does_not_hold_up_the_server(
    name: str, action: str | None
) -> None:
    piece = HOSTILE[name]
    assert seconds(("secret" + piece * FRAME)[:FRAME], action) < 0.3


@pytest.mark.parametrize("head", ['{"%s":', '{"a":{"key":["%s",', '[{"key":"%s","value":', '{"data":"%s",'])
@pytest.mark.parametrize("piece", ["1 ", "[] ", '"a"', '{"b":'])
def test_much_behind_a_long_name_is_not_compared_with_it_again_and_again(head: str, piece: str) -> None:
    text = head % ("a" * (FRAME // 2)) + piece * (FRAME // 2 // len(piece))
    assert seconds("secret" + text) < 0.3


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_text_of_twice_the_length_takes_no_more_than_twice_as_long(name: str) -> None:
    half, whole = (("secret" + HOSTILE[name] * length)[:length] for length in (FRAME // 4, FRAME // 2))
    # Half as much again, and a little that does not grow, for what else the machine does.
    assert seconds(whole) < 3 * seconds(half) + 0.01


def test_what_lies_too_deep_for_any_honest_frame_is_hidden_whole() -> None:
    deep = '{"a":' * 200 + '{"password":"hunter2"}' + "}" * 200
    masked = mask(None, f'[2,"1","DataTransfer",{{"x":{deep},"y":"\\u00e4"}}]')
    assert "hunter2" not in masked
    frame = json.loads(masked)
    assert frame[3]["y"] == "ä"
    inner, levels = frame[3]["x"], 0
    while isinstance(inner, dict):
        inner, levels = inner["a"], levels + 1
    assert inner == "***"
    assert levels > 50


@pytest.mark.parametrize("depth", [63, 64, 65, 66, 1000])
@pytest.mark.parametrize("end", ["", "]", "}"])
def test_a_secret_beside_or_inside_of_what_is_too_deep_is_hidden(depth: int, end: str) -> None:
    nest = '{"a":' * depth + '"hunter2 https://a:hunter2@h"' + "}" * depth
    for text in (
        '{"password":' + nest + ',"b":1}',
        '{"value":"hunter2","key":"PSK","x":' + nest.replace("hunter2", "") + end,
        '{"key":' + nest.replace("hunter2", "") + ',"value":"hunter2"}',
        "[" * depth + '{"password":"hunter2"}' + end,
    ):
        assert "hunter2" not in mask(None, text)


@pytest.mark.parametrize("key", ['["AuthorizationKey"]', '{"name":"AuthorizationKey"}', "[]"])
def test_the_value_of_a_key_that_is_no_text_is_hidden(key: str) -> None:
    assert json.loads(mask(None, f'{{"key":{key},"value":"hunter2"}}'))["value"] == "***"


@pytest.mark.parametrize("key", ['"AuthorizationKey"', "AuthorizationKey", "authorization_key"])
def test_a_key_without_quotes_is_read_all_the_same(key: str) -> None:
    assert "hunter2" not in mask(None, f'{{"key":{key},"value":"hunter2"}}')


@pytest.mark.parametrize("slash", ["/", "\\/"])
@pytest.mark.parametrize("kind", ["files", "uploads"])
def test_the_signed_part_of_a_link_of_ours_is_hidden(kind: str, slash: str) -> None:
    token = "aB3-_" * 9 + "xyz"
    url = slash.join(["https:", "", "charge.example.com", kind, token, "fw.bin"])
    masked = mask(None, f'[2,"1","UpdateFirmware",{{"location":"{url}"}}]')
    assert token not in masked
    assert json.loads(masked)[3]["location"] == f"https://charge.example.com/{kind}/***/fw.bin"
    other = f"https://charge.example.com/{kind}/{token}too-long/fw.bin"
    assert mask_url(other) == other


def test_an_ordinary_frame_is_scanned_in_about_a_microsecond() -> None:
    best = min(timeit.repeat(lambda: mask("MeterValues", METER_VALUES), number=2000, repeat=10)) / 2000
    # Ten times the usual, for slow and busy machines; a search by regular expressions takes 20 us.
    assert best < 10e-6

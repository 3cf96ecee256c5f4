"""Times as chargers write them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohmstead.ocpp.timestamps import format_timestamp, is_timestamp, parse_timestamp

NOON = datetime(2024, 5, 31, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-05-31T12:00:00Z", NOON),
        ("2024-05-31t12:00:00z", NOON),
        ("2024-05-31T12:00:00", NOON),
        ("2024-05-31 12:00:00", NOON),
        ("2024-05-31T12:00:00+00:00", NOON),
        ("2024-05-31T13:00:00+01:00", NOON),
        ("2024-05-31T07:30:00-0430", NOON),
        ("2024-05-31T12:00:00.5Z", NOON + timedelta(microseconds=500_000)),
        ("2024-05-31T12:00:00.123Z", NOON + timedelta(microseconds=123_000)),
        ("2024-05-31T12:00:00,123456+00:00", NOON + timedelta(microseconds=123_456)),
        ("2024-05-31T12:00:00.123456789Z", NOON + timedelta(microseconds=123_456)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_a_time_is_read_in_every_form_seen_in_the_field(text: str, moment: datetime) -> None:
    parsed = parse_timestamp(text)
    assert parsed == moment
    assert parsed.tzinfo is UTC
    assert is_timestamp(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2024-05-31",
        "12:00:00",
        "20240531T120000Z",
        "2024-W22-5T12:00:00Z",
        "2024-05-31T12:00Z",
        "2024-13-01T12:00:00Z",
        "2024-02-30T12:00:00Z",
        "2024-05-31T24:00:00Z",
        "2024-05-31T12:60:00Z",
        "2024-05-31T12:00:00ZZ",
        "2024-05-31T12:00:00.Z",
        "2024-05-31T12:00:00 Z",
        " 2024-05-31T12:00:00Z",
        "2024-05-31T12:00:00Z\n",
        "2024-05-31T12:00:00\x00",
        "2024-05-31T12:00:00+99:00",
        "\uff12\uff10\uff12\uff14-05-31T12:00:00Z",
        "1717156800",
        "0000-01-01T00:00:00Z",
        "10000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-01:00",
    ],
)
def test_anything_else_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_timestamp(text)
    assert not is_timestamp(text)


@given(st.text())
def test_random_text_raises_nothing_but_value_errors(text: str) -> None:
    assert is_timestamp("2024-05-31T12:00:00" + text) in (True, False)
    assert is_timestamp(text) in (True, False)


def test_a_time_is_written_in_utc_with_milliseconds() -> None:
    assert format_timestamp(NOON) == "2024-05-31T12:00:00.000Z"
    berlin = timezone(timedelta(hours=2))
    assert format_timestamp(datetime(2024, 5, 31, 14, 0, 0, 987_999, berlin)) == "2024-05-31T12:00:00.987Z"
    assert format_timestamp(datetime(1, 1, 1, tzinfo=UTC)) == "0001-01-01T00:00:00.000Z"


def test_a_naive_time_is_not_written() -> None:
    with pytest.raises(ValueError, match="naive"):
        format_timestamp(NOON.replace(tzinfo=None))


@given(st.datetimes(timezones=st.just(UTC)))
def test_what_is_written_is_read_again(moment: datetime) -> None:
    assert abs(parse_timestamp(format_timestamp(moment)) - moment) < timedelta(milliseconds=1)

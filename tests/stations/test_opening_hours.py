from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ohmstead.stations.opening_hours import OpeningHours


def taken(hours: dict[str, Any]) -> dict[str, Any]:
    return OpeningHours.model_validate(hours).model_dump(exclude_none=True)


def test_always_open_is_one_word() -> None:
    assert taken({"always": True}) == {"always": True}


def test_a_day_may_end_at_24_00_and_a_missing_day_is_closed() -> None:
    hours = {"mon": [{"start": "00:00", "end": "24:00"}], "sun": []}
    assert taken(hours) == hours


def test_intervals_are_kept_in_their_order_and_may_touch() -> None:
    afternoon, morning = {"start": "12:00", "end": "18:30"}, {"start": "08:00", "end": "12:00"}
    assert taken({"tue": [afternoon, morning]}) == {"tue": [morning, afternoon]}


@pytest.mark.parametrize(
    ("hours", "said"),
    [
        ({}, "name at least one day"),
        ({"always": False}, "always"),
        ({"always": True, "mon": []}, "not both"),
        ({"monday": []}, "Extra inputs"),
        ({"mon": [{"start": "8:00", "end": "9:00"}]}, "must be a time"),
        ({"mon": [{"start": "08:00", "end": "24:01"}]}, "must be a time"),
        ({"mon": [{"start": "08:60", "end": "09:00"}]}, "must be a time"),
        ({"mon": [{"start": "08:00\n", "end": "09:0\u0660"}]}, "must be a time"),
        ({"mon": [{"start": "22:00", "end": "06:00"}]}, "over midnight is two intervals"),
        ({"mon": [{"start": "06:00", "end": "06:00"}]}, "must end after it starts"),
        ({"mon": [{"start": "06:00", "end": "12:00"}, {"start": "11:59", "end": "13:00"}]}, "overlap"),
        ({"mon": [{"start": "06:00"}]}, "Field required"),
        ({"mon": [{"start": "06:00", "end": "07:00", "note": "x"}]}, "Extra inputs"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(hours: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        OpeningHours.model_validate(hours)


MINUTES = st.lists(st.integers(0, 24 * 60), min_size=2, max_size=8, unique=True)


def clock_face(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


@given(MINUTES, st.randoms())
def test_any_intervals_apart_are_taken_in_any_order(minutes: list[int], chance: Any) -> None:
    ends = sorted(minutes)
    apart = [
        {"start": clock_face(start), "end": clock_face(end)}
        for start, end in zip(ends[::2], ends[1::2], strict=False)
    ]
    shuffled = apart.copy()
    chance.shuffle(shuffled)
    assert taken({"fri": shuffled}) == {"fri": apart}

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import NOW

from ohmstead.fleet.configuration.keys import (
    TRIES,
    KeyState,
    TemplateState,
    chunks,
    fold,
    heartbeat_seconds,
    is_sent,
    max_keys,
    merged,
    overall,
    read_answer,
    same,
    state_of,
    tries_of,
)


@dataclass
class Known:
    value: str | None = "60"
    readonly: bool | None = False
    supported: bool = True
    read_at: datetime | None = NOW
    asked_value: str | None = None
    asked_status: str | None = None
    asked_at: datetime | None = None
    tries: int = 0
    tried_value: str | None = None


class TestSame:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("300", "300"),
            ("300", " 300 "),
            ("300", "0300"),
            ("300", "300.0"),
            ("true", "True"),
            ("0", "-0"),
            ("Voltage,SoC", "voltage, SoC"),
            ("", ""),
            (None, None),
        ],
    )
    def test_these_are_the_same_to_a_charger(self, one: str | None, other: str | None) -> None:
        assert same(one, other)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("300", "301"),
            ("300", "3000"),
            ("true", "false"),
            ("Voltage,SoC", "SoC,Voltage"),
            ("Voltage", "Voltage,SoC"),
            ("", "0"),
            (None, ""),
            ("1.5", "1.05"),
            ("-1", "1"),
        ],
    )
    def test_these_are_not(self, one: str | None, other: str | None) -> None:
        assert not same(one, other)

    @given(st.text(max_size=30))
    def test_every_value_is_the_same_as_itself(self, value: str) -> None:
        assert same(value, value)


class TestReadAnswer:
    def test_known_and_unknown_keys_are_told_apart_without_regard_to_case(self) -> None:
        reading = read_answer(
            {
                "configurationKey": [{"key": "HeartbeatInterval", "readonly": False, "value": "300"}],
                "unknownKey": ["Nonsense"],
            }
        )
        assert reading.known[fold("HEARTBEATinterval")].value == "300"
        assert reading.unknown == {"nonsense": "Nonsense"}

    @pytest.mark.parametrize(
        "response",
        [
            {},
            {"configurationKey": None, "unknownKey": None},
            {"configurationKey": "all", "unknownKey": 7},
            {"configurationKey": {"key": "A"}},
            {"configurationKey": [None, 1, "A", [], {}, {"key": None}, {"key": ""}, {"key": "x" * 101}]},
            {"configurationKey": [{"key": "A\0B", "value": "1"}], "unknownKey": [None, "", "\0", {"a": 1}]},
            {"unknownKey": ["ß" * 80]},
        ],
    )
    def test_what_is_no_list_of_keys_says_nothing(self, response: dict[str, Any]) -> None:
        assert not read_answer(response).mentioned

    @pytest.mark.parametrize(
        ("told", "value"),
        [("1\0" + "2", "12"), (None, None), (60, "60"), (True, "true"), ("", ""), ("x" * 3000, "x" * 3000)],
    )
    def test_a_value_is_a_text_that_can_be_kept(self, told: Any, value: str | None) -> None:
        item = {"key": "A", "readonly": False, "value": told}
        assert read_answer({"configurationKey": [item]}).known["a"].value == value

    def test_a_key_that_comes_twice_counts_as_it_came_last_and_known_wins_over_unknown(self) -> None:
        items = [{"key": "Key", "readonly": True, "value": "1"}, {"key": "KEY", "value": "2"}]
        reading = read_answer({"configurationKey": items, "unknownKey": ["key"]})
        assert (reading.known["key"].value, reading.known["key"].readonly) == ("2", False)
        assert reading.unknown == {}

    @given(
        st.dictionaries(
            st.sampled_from(["configurationKey", "unknownKey"]),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.text(),
                lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["key", "value"]), inner),
                max_leaves=12,
            ),
        )
    )
    def test_nothing_that_a_charger_answers_is_too_odd_to_read(self, response: dict[str, Any]) -> None:
        for read in read_answer(response).known.values():
            assert "\0" not in read.key + (read.value or "")


class TestStateOf:
    def state(self, known: Known | None, wanted: str = "60", booted_at: datetime | None = None) -> KeyState:
        return state_of(known, wanted, booted_at=booted_at, now=NOW)

    def test_a_key_that_was_never_heard_of_is_not_read(self) -> None:
        assert self.state(None) == KeyState.NOT_READ
        assert self.state(Known(None, read_at=None)) == KeyState.NOT_READ

    def test_the_value_decides_before_anything_else(self) -> None:
        assert self.state(Known("060", readonly=True)) == KeyState.SAME
        assert self.state(Known("61")) == KeyState.DIFFERS
        assert self.state(Known(None)) == KeyState.DIFFERS

    def test_what_cannot_be_changed_is_not_sent(self) -> None:
        for known, state in (
            (Known("61", readonly=True), KeyState.READ_ONLY),
            (Known(None, supported=False), KeyState.NOT_SUPPORTED),
        ):
            assert self.state(known) == state
            assert not is_sent(state, 0)

    def test_a_refused_value_is_told_as_such_and_another_one_is_not(self) -> None:
        known = Known("61", asked_value="60", asked_status="Rejected", asked_at=NOW)
        assert self.state(known) == KeyState.REFUSED
        assert self.state(known, "62") == KeyState.DIFFERS

    def test_a_restart_is_waited_for_until_there_was_one(self) -> None:
        known = Known("61", asked_value="60", asked_status="RebootRequired", asked_at=NOW)
        assert self.state(known) == KeyState.REBOOT_REQUIRED
        assert self.state(known, booted_at=NOW - timedelta(hours=1)) == KeyState.REBOOT_REQUIRED
        assert self.state(known, booted_at=NOW + timedelta(minutes=1)) == KeyState.DIFFERS
        assert not is_sent(KeyState.REBOOT_REQUIRED, 1)

    def test_after_three_tries_a_value_is_given_up_until_another_one_is_wanted(self) -> None:
        known = Known("61", tries=TRIES, tried_value="60", asked_value="60", asked_status="Rejected")
        assert self.state(known) == KeyState.GAVE_UP
        assert not is_sent(KeyState.REFUSED, TRIES)
        assert self.state(known, "62") == KeyState.DIFFERS
        assert tries_of(known, "62", NOW) == 0

    def test_a_value_that_was_accepted_and_lost_a_day_later_is_given_anew(self) -> None:
        known = Known(
            "61", tries=TRIES, tried_value="60", asked_value="60", asked_status="Accepted", asked_at=NOW
        )
        assert tries_of(known, "60", NOW + timedelta(hours=23)) == TRIES
        assert tries_of(known, "60", NOW + timedelta(days=1)) == 0
        known.asked_status = "RebootRequired"
        assert tries_of(known, "60", NOW + timedelta(days=9)) == TRIES


class TestOverall:
    @pytest.mark.parametrize(
        ("states", "whole"),
        [
            ([], TemplateState.IN_SYNC),
            ([KeyState.SAME, KeyState.SAME], TemplateState.IN_SYNC),
            ([KeyState.SAME, KeyState.REBOOT_REQUIRED], TemplateState.REBOOT_REQUIRED),
            ([KeyState.DIFFERS, KeyState.REBOOT_REQUIRED], TemplateState.DIFFERS),
            ([KeyState.SAME, KeyState.NOT_READ], TemplateState.DIFFERS),
            ([KeyState.SAME, KeyState.NOT_SUPPORTED], TemplateState.FAILED),
            ([KeyState.DIFFERS, KeyState.GAVE_UP], TemplateState.FAILED),
            ([KeyState.REFUSED], TemplateState.FAILED),
            ([KeyState.READ_ONLY, KeyState.REBOOT_REQUIRED], TemplateState.FAILED),
        ],
    )
    def test_the_worst_key_counts(self, states: list[KeyState], whole: TemplateState) -> None:
        assert overall(states) == whole


def test_templates_lie_over_each_other_key_by_key_without_regard_to_case() -> None:
    business = [("HeartbeatInterval", "300"), ("MeterValueSampleInterval", "60")]
    station = [("metervaluesampleinterval", "10"), ("ConnectionTimeOut", "90")]
    assert merged(business, station) == {
        "heartbeatinterval": ("HeartbeatInterval", "300"),
        "metervaluesampleinterval": ("metervaluesampleinterval", "10"),
        "connectiontimeout": ("ConnectionTimeOut", "90"),
    }


def test_names_are_asked_for_in_lists_of_the_size_that_the_charger_takes() -> None:
    names = ["a", "b", "c"]
    assert chunks(names, 2) == [["a", "b"], ["c"]]
    assert chunks(names, None) == [names]
    assert chunks([], 2) == chunks([], None) == []


@pytest.mark.parametrize(
    ("told", "number"),
    [
        ("60", 60),
        (" 7 ", 7),
        ("0", None),
        ("-1", None),
        ("", None),
        (None, None),
        ("many", None),
        ("²", None),
    ],
)
def test_the_number_of_keys_at_once_is_a_number_from_1_on(told: str | None, number: int | None) -> None:
    assert max_keys(told) == number


@pytest.mark.parametrize(("told", "seconds"), [("120", 120), ("86400", 86400), ("86401", None), ("0", None)])
def test_a_heartbeat_of_more_than_a_day_is_none(told: str, seconds: int | None) -> None:
    assert heartbeat_seconds(told) == seconds

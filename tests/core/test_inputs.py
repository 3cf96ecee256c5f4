"""What JSON can say and nothing behind it can carry: found wherever it stands, named, and refused."""

import json
from decimal import Decimal
from enum import IntEnum
from typing import Annotated, Any, Literal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AliasChoices, BaseModel, Field, StrictInt

from ohmstead.core.inputs import DEEPEST, truth_for_a_number, unwritable

HALF = "\ud83d"


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


class TestUnwritable:
    @pytest.mark.parametrize(
        ("data", "at"),
        [
            ({"a": HALF}, ["a"]),
            ({"a": [1, {"b": f"x{HALF}"}]}, ["a", 1, "b"]),
            ({HALF: 1}, ["\\ud83d"]),
            ({"a": {f"x{HALF}": 1}}, ["a", "x\\ud83d"]),
            ({"a": 10**30}, ["a"]),
            ({"a": {"b": -(2**63) - 1}}, ["a", "b"]),
            ({"a": 2**64}, ["a"]),
            ({"a": nested(300)}, ["a"]),
            ({"a": 1, "b": nested(400)}, ["b"]),
        ],
        ids=lambda value: ascii(value)[:30],
    )
    def test_it_is_found_where_it_stands(self, data: Any, at: list[str | int]) -> None:
        found = unwritable(data)
        assert found is not None
        assert found[0] == at
        orjson.dumps(found)  # the refusal itself can be written

    @pytest.mark.parametrize(
        "data",
        [
            {},
            {"a": "\U0001f600", "b": 2**64 - 1, "c": -(2**63), "d": 1e308, "e": None},
            {"a": nested(100)},
            {"a": "\x00"},
            {"row": range(2), "sum": Decimal(1), 7: "a key of ours"},
        ],
        ids=lambda value: ascii(value)[:30],
    )
    def test_what_can_be_written_is_left_alone(self, data: Any) -> None:
        assert unwritable(data) is None

    def test_the_deepest_is_less_than_what_can_be_written(self) -> None:
        orjson.dumps({"a": nested(DEEPEST)})

    json_text = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
        max_leaves=20,
    ).map(json.dumps)

    @given(json_text)
    def test_whatever_is_let_through_can_be_written(self, text: str) -> None:
        data = json.loads(text)
        if unwritable(data) is None:
            orjson.dumps(data)
        else:
            with pytest.raises(TypeError):
                orjson.dumps(data)


class Size(IntEnum):
    SMALL = 1


class Thing(BaseModel):
    whole: int = 0
    maybe: Annotated[StrictInt | None, Field(ge=0)] = None
    real: float | None = None
    money: Decimal = Decimal(0)
    several: list[int] = []
    either: int | list["Thing"] = 1
    size: Size = Size.SMALL
    named: int = Field(0, validation_alias=AliasChoices("number", "no"))
    flag: bool = False
    mixed: int | bool = 0
    text: str = ""
    word: Literal[1, "x"] = 1
    free: dict[str, Any] = {}
    anything: Any = None


class TestTruthForANumber:
    @pytest.mark.parametrize("value", [True, False])
    @pytest.mark.parametrize(
        "name", ["whole", "maybe", "real", "money", "several", "either", "size", "named", "number", "no"]
    )
    def test_it_is_found_by_the_name_that_was_sent(self, name: str, value: bool) -> None:
        for sent in (value, [value]):
            found = truth_for_a_number(Thing, {"text": "x", name: sent})
            assert found is not None
            assert found[0] == [name]

    @pytest.mark.parametrize(
        "data",
        [
            {"flag": True, "mixed": True, "free": {"a": True}, "anything": True},
            {"whole": 1, "real": 0.5, "several": [1, 0]},
            {"either": [{"flag": True}]},
            {"unknown": True},
        ],
        ids=str,
    )
    def test_where_it_is_no_number_it_is_left_alone(self, data: dict[str, Any]) -> None:
        assert truth_for_a_number(Thing, data) is None

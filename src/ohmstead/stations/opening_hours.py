"""Opening hours of a week, in the station's own time zone."""

import re
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from ohmstead.core.http import Schema

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MIDNIGHT = "24:00"
_TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]|24:00")


def _time(value: str) -> str:
    if not _TIME.fullmatch(value):
        raise ValueError("must be a time such as 06:30, from 00:00 to 24:00")
    return value


TimeOfDay = Annotated[str, AfterValidator(_time)]
"""`HH:MM`. As text of this form times compare in their order, and 24:00 is the end of the day."""


class Interval(Schema):
    """From `start` to `end` of one day; over midnight it takes two, until 24:00 and from 00:00."""

    model_config = ConfigDict(json_schema_extra={"example": {"start": "06:00", "end": "22:00"}})

    start: TimeOfDay
    end: TimeOfDay

    @model_validator(mode="after")
    def _forwards(self) -> Self:
        if self.start >= self.end:
            raise ValueError(
                "must end after it starts; what goes over midnight is two intervals:"
                f" until {MIDNIGHT}, and from 00:00 on the next day"
            )
        return self


def _in_order(intervals: list[Interval]) -> list[Interval]:
    """Sort the intervals of a day and refuse overlaps; 08:00-12:00 and 12:00-18:00 only touch."""
    ordered = sorted(intervals, key=lambda interval: interval.start)
    for before, after in pairwise(ordered):
        if after.start < before.end:
            raise ValueError(
                f"{before.start}-{before.end} and {after.start}-{after.end} overlap; join them into one"
            )
    return ordered


Day = Annotated[list[Interval], Field(max_length=24), AfterValidator(_in_order)]


class OpeningHours(Schema):
    """Either `{"always": true}`, or the intervals of each day; a day that is left out is closed."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"always": True},
                {"mon": [{"start": "06:00", "end": "22:00"}], "sat": [{"start": "08:00", "end": "24:00"}]},
            ]
        }
    )

    always: Literal[True] | None = None
    mon: Day | None = None
    tue: Day | None = None
    wed: Day | None = None
    thu: Day | None = None
    fri: Day | None = None
    sat: Day | None = None
    sun: Day | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        days = [day for day in DAYS if getattr(self, day) is not None]
        if self.always and days:
            raise ValueError('give either {"always": true} or the days, not both')
        if not self.always and not days:
            raise ValueError('name at least one day ("mon" to "sun"), or give {"always": true}')
        return self

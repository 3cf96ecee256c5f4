"""Values that name no transaction: whose they are by their time."""

from datetime import UTC, datetime, timedelta

import pytest
from tests.charging.teller import minutes
from tests.conftest import NOW

from ohmstead.charging.belonging import Span, transaction_at

LATER = NOW + timedelta(days=1)


def span(number: int, begin: float, end: float | None = None, *, is_open: bool = False) -> Span:
    """A session from one minute to another; one that is over without an end was closed by us."""
    return Span(number, NOW + minutes(begin), None if end is None else NOW + minutes(end), is_open)


@pytest.mark.parametrize(
    ("spans", "minute", "expected"),
    [
        pytest.param([], 10, None, id="no session"),
        pytest.param([span(1, 0, is_open=True)], 10, 1, id="the open one"),
        pytest.param([span(2, 30, is_open=True), span(1, 0, is_open=True)], 10, 1, id="an older open one"),
        pytest.param([span(2, 30, is_open=True), span(1, 0, is_open=True)], 30, 2, id="at its very start"),
        pytest.param([span(2, 60, is_open=True), span(1, 0, 30)], 10, 1, id="one that has ended"),
        pytest.param([span(1, 0, 30)], 35, 1, id="up to five minutes after its stop"),
        pytest.param([span(1, 0, 30)], 36, None, id="later than that"),
        pytest.param([span(2, 60, is_open=True), span(1, 0, 30)], 45, 2, id="just before an open one"),
        pytest.param([span(2, 60, 90), span(1, 0, 30)], 45, None, id="between two that have ended"),
        pytest.param([span(2, 60, 90), span(1, 0)], 45, 1, id="in one that we closed"),
        pytest.param([span(2, 60, 70), span(1, 0)], 90, None, id="after what replaced one that we closed"),
        pytest.param([span(2, 60, 70), span(1, 0, is_open=True)], 90, 1, id="the older is still open"),
        pytest.param([span(1, 60 * 30, is_open=True)], 0, None, id="more than a day before"),
        pytest.param(
            [span(3, 90, is_open=True), span(2, 80, is_open=True)], 70, 2, id="before two: the next one"
        ),
    ],
)
def test_a_time_is_that_of_one_session_or_of_none(
    spans: list[Span], minute: float, expected: int | None
) -> None:
    assert transaction_at(spans, NOW + minutes(minute), LATER) == expected


def test_to_a_time_of_a_charger_without_a_clock_only_an_open_session_belongs() -> None:
    begin = datetime(1970, 1, 1, tzinfo=UTC)
    ended = Span(1, begin, begin + minutes(60), is_open=False)
    assert transaction_at([ended], begin + minutes(5), NOW) is None
    assert transaction_at([ended._replace(is_open=True)], begin + minutes(5), NOW) == 1


@pytest.mark.parametrize("at", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
def test_the_first_and_the_last_time_there_is_are_times_too(at: datetime) -> None:
    assert transaction_at([Span(1, at, at, is_open=True)], at, NOW) == 1

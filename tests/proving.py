"""The long forms of property tests, which `make prove` runs.

`@pytest.mark.also_long(20)` on a test of hypothesis gives it a second form that is marked `prove`: with
twenty times its examples, and not always the same ones.
"""

from collections.abc import Iterator

import hypothesis
import pytest
from hypothesis import HealthCheck

MINUTES = 10
"""For how long one long form may run; in all they take a few minutes."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that is marked `also_long` in both of its forms."""
    marker = metafunc.definition.get_closest_marker("also_long")
    if marker is not None:
        [times] = marker.args
        marks = [pytest.mark.prove, pytest.mark.timeout(60 * MINUTES)]
        forms = [pytest.param(1, id="short"), pytest.param(times, id="long", marks=marks)]
        metafunc.parametrize("times_its_examples", forms, indirect=True)


@pytest.fixture(autouse=True)
def times_its_examples(request: pytest.FixtureRequest) -> Iterator[None]:
    """Give a long form so many times the examples that the short one has."""
    times: int = getattr(request, "param", 1)
    if times == 1:
        yield
        return
    test = getattr(request.function, "__func__", request.function)
    short = test._hypothesis_internal_use_settings  # where hypothesis itself keeps them for each test
    test._hypothesis_internal_use_settings = hypothesis.settings(
        short,
        max_examples=times * short.max_examples,
        derandomize=False,
        # Both forms are methods of one class, each of an instance of its own.
        suppress_health_check=[*short.suppress_health_check, HealthCheck.differing_executors],
    )
    yield
    test._hypothesis_internal_use_settings = short

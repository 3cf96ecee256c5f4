"""No test may hang: what waits for ever fails with the line that waited.

uvloop swallows what a signal handler raises, so pytest-timeout's own signal never ends a waiting coroutine. A
test that is a coroutine is therefore cancelled in its loop some seconds before the time that pytest-timeout
gives it. What even that does not end (a fixture, a blocked thread) pytest-timeout ends with the process
(`timeout_method = "thread"`), after the stacks of all threads.
"""

import asyncio
import functools
import inspect
import io
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

EARLIER = 15.0
"""So many seconds before the process ends, the coroutine is cancelled; half of the time if there is less."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every test that is a coroutine its deadline."""
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
            item.obj = _until(_seconds(item), item.obj)


def _seconds(item: pytest.Item) -> float:
    marker = item.get_closest_marker("timeout")
    seconds = float(marker.args[0] if marker is not None else item.config.getini("timeout"))
    return max(seconds - EARLIER, seconds / 2)


def _until(seconds: float, test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    @functools.wraps(test)
    async def bounded(*args: Any, **kwargs: Any) -> None:
        before = asyncio.all_tasks()
        try:
            async with asyncio.timeout(seconds) as deadline:
                await test(*args, **kwargs)
        except TimeoutError:
            if deadline.expired():
                for task in asyncio.all_tasks() - before:
                    stack = io.StringIO()
                    task.print_stack(file=stack)
                    print(stack.getvalue())  # noqa: T201 pytest shows it with the failure
            raise

    return bounded

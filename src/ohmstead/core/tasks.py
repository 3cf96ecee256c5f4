"""Ending tasks of the event loop, for good."""

import asyncio
from typing import Any

AGAIN_SECONDS = 5.0
"""How long a task that was cancelled may take to clean up before it is cancelled once more."""


async def end(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel tasks and wait until they have ended; what they raise meanwhile is not looked at. None is none.

    Cancelling once is not enough: Python before 3.13 loses a cancellation that meets a failure in a
    TaskGroup, and the task goes on.
    """
    given = [task for task in tasks if task is not None]
    pending = {task for task in given if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=AGAIN_SECONDS)
    for task in given:
        if not task.cancelled():
            task.exception()  # or the event loop would complain that nobody did

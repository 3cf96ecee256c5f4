"""Periodic tasks of the fleet, run once as the queue would."""

from typing import Any
from unittest.mock import Mock

from procrastinate import JobContext
from procrastinate.tasks import Task


async def by_the_clock(task: Task[Any, Any, Any], **means: Any) -> None:
    """Run a periodic task with these means."""
    await task.func(Mock(JobContext, additional_context=means), timestamp=0)

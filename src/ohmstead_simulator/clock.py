"""Clocks. Everything that waits or reads the time does so through one of them.

`ScaledClock` runs with the real time or faster; `ManualClock` moves only when a test says so.
Waits of the network itself (answers, reconnect delays) stay in real time.
"""

import asyncio
import heapq
import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta


class Clock:
    """The time of the simulated world. `speed` is how many of its seconds fit into a real one."""

    speed: float = 1.0
    true_time: bool = False
    """Whether this clock keeps real time; only then a charge point sets its clock by the central system's."""

    def now(self) -> datetime:
        """The present moment, aware UTC."""
        raise NotImplementedError

    async def sleep(self, seconds: float) -> None:
        """Wait for that many seconds of this clock."""
        raise NotImplementedError

    @contextmanager
    def hold(self) -> Iterator[None]:
        """While held, a clock that is moved by hand does not move on: an answer is awaited."""
        yield


class ScaledClock(Clock):
    """Starts at the real time (or at `start`) and runs `speed` times as fast."""

    def __init__(self, speed: float = 1.0, start: datetime | None = None) -> None:
        if speed <= 0:
            raise ValueError("speed must be greater than 0")
        self.speed = speed
        self.true_time = speed == 1.0 and start is None
        self._start = start or datetime.now(UTC)
        self._zero = time.monotonic()

    def now(self) -> datetime:
        """The start plus the real time since then, times `speed`."""
        return self._start + timedelta(seconds=(time.monotonic() - self._zero) * self.speed)

    async def sleep(self, seconds: float) -> None:
        """Wait `seconds / speed` of real time."""
        await asyncio.sleep(max(0.0, seconds) / self.speed)


class ManualClock(Clock):
    """Stands still until `advance`, which wakes the sleepers one after the other, in their order.

    Between two wake-ups it lets every task run and waits for the answers that are outstanding
    (`hold`), so that minutes of charging take milliseconds and always happen alike.
    """

    def __init__(self, start: datetime | None = None, true_time: bool = False) -> None:
        self.true_time = true_time
        self._now = start or datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
        self._sleepers: list[tuple[datetime, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._holds = 0

    def now(self) -> datetime:
        """The moment that `advance` has come to."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Wait until `advance` has moved on by that much."""
        waker: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        wake_at = self._now + timedelta(seconds=max(0.0, seconds))
        heapq.heappush(self._sleepers, (wake_at, next(self._order), waker))
        await waker

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep `advance` from moving on while an answer is awaited."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1

    async def settle(self) -> None:
        """Return when no task of the simulator has anything left to do at this moment."""
        quiet = 0
        while quiet < 20:
            await asyncio.sleep(0 if self._holds == 0 else 0.001)
            quiet = quiet + 1 if self._holds == 0 else 0

    async def advance(self, seconds: float) -> None:
        """Move on by `seconds`, waking on the way whoever sleeps until then."""
        target = self._now + timedelta(seconds=seconds)
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= target:
            wake_at, _, waker = heapq.heappop(self._sleepers)
            if waker.done():  # its task was cancelled
                continue
            self._now = max(self._now, wake_at)
            waker.set_result(None)
            await self.settle()
        self._now = target
        await self.settle()

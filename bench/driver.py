"""The parent's side of the load processes: orders out, answers in, results merged."""

import asyncio
import os
import sys
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import orjson

from bench.histogram import Histogram
from bench.servers import SOURCE

_LONGEST_LINE = 1 << 24


@dataclass(slots=True)
class Window:
    """What was measured: answered messages, seconds, latencies, and the load's own processor seconds."""

    seconds: float
    histogram: Histogram
    cpu_seconds: float

    @property
    def rate(self) -> float:
        """Answered messages per second."""
        return self.histogram.total / self.seconds


@dataclass(slots=True)
class Counts:
    """What the load saw since it began: answers by action, errors by kind with a few in words."""

    answered: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    words: list[str] = field(default_factory=list)


class LoadError(Exception):
    """The load could not be brought up, so that its figures would mean nothing."""


class Load:
    """`processes` load processes that share the chargers between them."""

    def __init__(self, host: str, port: int, processes: int) -> None:
        self._host, self._port, self._number = host, port, processes
        self._processes: list[asyncio.subprocess.Process] = []
        self._last: list[dict[str, Any]] = []

    async def __aenter__(self) -> Self:
        for _ in range(self._number):
            self._processes.append(
                await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "bench.load",
                    env=os.environ | {"PYTHONPATH": str(SOURCE)},
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    limit=_LONGEST_LINE,
                    start_new_session=True,  # Ctrl-C is for the parent, which then ends its children in order
                )
            )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            if error is not None and process.returncode is None:
                process.kill()
            elif process.stdin is not None:
                process.stdin.close()
        await asyncio.gather(*(process.wait() for process in self._processes))

    @property
    def counts(self) -> Counts:
        """The counters as of the last order."""
        counts = Counts()
        for answer in self._last:
            counts.answered += Counter(answer["answered"])
            counts.errors += Counter(answer["errors"])
            counts.words += answer["first_errors"]
        return counts

    async def connect(
        self, n: int, *, at_once: bool = False, sessions: bool = False, first: int = 0
    ) -> float:
        """Connect and boot chargers `first` to `first + n - 1`; the seconds until the last was answered.

        Raises LoadError when one fails, but not with `at_once`: a storm's failures are counted and told.
        """
        shares = [
            {
                "first": first + n * i // self._number,
                "count": n * (i + 1) // self._number - n * i // self._number,
            }
            for i in range(self._number)
        ]
        same = {
            "do": "connect",
            "host": self._host,
            "port": self._port,
            "at_once": at_once,
            "sessions": sessions,
        }
        answers = await self._order([same | share for share in shares])
        connected = sum(int(answer["connected"]) for answer in answers)
        if connected < n and not at_once:
            raise LoadError(f"only {connected} of {n} chargers are connected: {'; '.join(self.counts.words)}")
        return max(float(answer["seconds"]) for answer in answers)

    async def run(self, seconds: float, *, warmup: float, rate: float | None = None) -> Window:
        """Load the server: closed loop, or `rate` messages/s in all."""
        each = None if rate is None else rate / self._number
        order = {"do": "run", "seconds": seconds, "warmup": warmup, "rate": each}
        answers = await self._order([order] * self._number)
        window = Window(0.0, Histogram(), 0.0)
        for answer in answers:
            window.seconds = max(window.seconds, answer["seconds"])
            window.cpu_seconds += answer["cpu_seconds"]
            window.histogram.merge(Histogram(answer["histogram"]))
        return window

    async def close(self) -> None:
        """Stop the transactions and leave."""
        await self._order([{"do": "close"}] * self._number)

    async def _order(self, orders: list[dict[str, Any]]) -> list[dict[str, Any]]:
        self._last = await asyncio.gather(
            *(self._ask(process, order) for process, order in zip(self._processes, orders, strict=True))
        )
        return self._last

    async def _ask(self, process: asyncio.subprocess.Process, order: dict[str, Any]) -> dict[str, Any]:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(orjson.dumps(order) + b"\n")
        line = await process.stdout.readline()
        if not line:
            raise LoadError("a load process ended; its error is above")
        answer: dict[str, Any] = orjson.loads(line)
        return answer

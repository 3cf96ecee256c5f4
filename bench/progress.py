"""How far the bench has come: a line for each thing that is done, and on a terminal a bar beneath them."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.measure import Plan

_BEGAN = time.monotonic()
_lines = logging.getLogger("bench")


def total(plan: Plan, *, bare: int, ohmstead: int) -> int:
    """How often `Say` is called in so many runs of each server, and in the soak where there is one."""
    run = 3 + len(plan.sizes) * (2 if plan.paced else 1)
    soak = 1 + round(plan.soak / min(60.0, plan.soak / 5)) if plan.soak and ohmstead else 0
    return bare * run + ohmstead * (run + 4) + soak


class Display:
    """Shows each line, and moves the bar with it where there is one."""

    def __init__(self, bar: Progress | None = None) -> None:
        self._bar = bar

    def say(self, text: str) -> None:
        """One line of progress."""
        line = f"{time.monotonic() - _BEGAN:6.0f} s  {text}"
        if self._bar is None:
            _lines.info("%s", line)
        else:
            self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
            self._bar.advance(self._bar.task_ids[0])

    def table(self, text: str) -> None:
        """A part of the result, to standard output; the bar makes room for it."""
        if self._bar is not None:
            self._bar.stop()
        print(text, flush=True)
        if self._bar is not None:
            self._bar.start()


@contextmanager
def display(steps: int, *, quiet: bool) -> Iterator[Display]:
    """Lines and a bar on a terminal; lines elsewhere; nothing when `quiet`."""
    if quiet or not sys.stderr.isatty():
        yield Display()
        return
    columns = (TextColumn("bench"), BarColumn(30), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(
        *columns,
        console=Console(stderr=True),
        transient=True,
        refresh_per_second=1,  # the bench's own load client runs in this process
        redirect_stdout=False,  # the table is for standard output, which may be a file
        redirect_stderr=False,
    ) as bar:
        bar.add_task("bench", total=steps)
        yield Display(bar)

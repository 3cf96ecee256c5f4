"""What the command line says: steps that take a while, and faults in words instead of tracebacks.

Reports go to standard output; progress and faults go to standard error, out of the way of pipes.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.text import Text

from ohmstead.core.config import SettingsError
from ohmstead.core.errors import DomainError, StartupError

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

FAILED, USAGE, INTERRUPTED = 1, 2, 130
"""Exit codes; 0 is done."""


@contextmanager
def readable_faults() -> Iterator[None]:
    """Turn the faults that a person can mend into a line, a hint and an exit code."""
    try:
        yield
    except SettingsError as error:
        for fault in error.faults:
            say_fault(fault)
        say_hint("Settings come from options, the environment and .env; .env.example explains each.")
        raise typer.Exit(USAGE) from None
    except StartupError as error:
        say_fault(error.message)
        say_hint(error.hint)
        raise typer.Exit(FAILED) from None
    except DomainError as error:
        say_fault(error.message)
        say_hint("\n".join([error.detail, *(f"{name}: {fault}" for name, fault in error.fields.items())]))
        raise typer.Exit(FAILED) from None


def say_fault(text: str) -> None:
    """Say what is wrong."""
    err.print(f"Error: {text}", style="bold red", markup=False, soft_wrap=True)


def say_hint(text: str) -> None:
    """Say how to mend it."""
    if text.strip():
        err.print(text.strip(), style="yellow", markup=False, soft_wrap=True)


class Progress:
    """How far a thing has come. Without a total, and before `of`, its bar only shows that it goes on."""

    def __init__(self, bar: Bar | None = None) -> None:
        self._bar = bar
        self._task = None if bar is None else bar.task_ids[0]

    def of(self, total: int) -> None:
        """Say how much there is to do."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, total=total)

    def at(self, done: int, total: int) -> None:
        """So many are done, of so many."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=max(done, total))

    def advance(self) -> None:
        """One more is done."""
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task)


def watched() -> bool:
    """Whether a person looks at standard error: elsewhere progress is silent, whatever FORCE_COLOR says."""
    return err.is_terminal and sys.stderr.isatty()


@contextmanager
def working(text: str) -> Iterator[Progress]:
    """A thing that takes a while: a bar on a terminal, gone when it is done."""
    if not watched():
        yield Progress()
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(30), MofN(), TimeElapsedColumn())
    with Bar(*columns, console=err, transient=True, redirect_stdout=False, redirect_stderr=False) as bar:
        bar.add_task(text, total=None)
        yield Progress(bar)


@contextmanager
def step(doing: str, done: str) -> Iterator[Progress]:
    """A part of what is asked for: `working`, and on a terminal then a line with how long it took."""
    begin = time.monotonic()
    with working(doing) as progress:
        yield progress
    if watched():
        err.print(f"[green]✓[/green] {done} [dim]{time.monotonic() - begin:.1f} s[/dim]")


class MofN(ProgressColumn):
    """`3/17`, and nothing while the total is not known."""

    def render(self, task: Task) -> Text:
        """The column of one bar."""
        return Text("" if task.total is None else f"{task.completed:.0f}/{task.total:.0f}")

"""What the command line says: steps that take a while, and faults in words instead of tracebacks.

Reports go to standard output; progress and faults go to standard error, out of the way of pipes.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console

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


@contextmanager
def step(text: str) -> Iterator[None]:
    """A thing that takes a while: a spinner on a terminal, then a line with how long it took."""
    begin = time.monotonic()
    with err.status(text):
        yield
    err.print(f"[green]✓[/green] {text} [dim]{time.monotonic() - begin:.1f} s[/dim]")

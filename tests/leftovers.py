"""The PostgreSQL of a test run ends with the run, whatever ends that: SIGKILL, a time limit, a lost terminal.

Beside each test process stands another one, which this file is when it is run. It is told the folders in
which databases are made, by a pipe that closes with the test process however that goes; then it ends what
still runs in them, and removes them. It needs nothing but the standard library, and stands in a session of
its own, so that what kills a whole group of processes passes it by. It looks into /proc: where there is none
it finds nothing.
"""

import atexit
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = {"postgres", "pg_ctl", "initdb"}
PATIENCE = 15.0
"""Seconds that a server of ours may take to drain, or a PostgreSQL to send its back ends home."""

_watchers: list["subprocess.Popen[str]"] = []


@contextmanager
def ending_with_us(folder: Path, *, shared: bool = False) -> Iterator[None]:
    """See to it that nothing runs in a data folder, nor is it there, when this process is gone.

    A `shared` one stays while another process uses its PostgreSQL.
    """
    name = f"{'shared' if shared else 'own'} {folder}"
    _tell(f"+{name}")
    try:
        yield
    finally:
        _tell(f"-{name}")


def _tell(line: str) -> None:
    if not _watchers:
        watcher = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,  # whoever reads the output of the run waits for the run alone
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        _watchers.append(watcher)
        atexit.register(_dismiss)
    pipe = _watchers[0].stdin
    if pipe is None:
        raise ValueError("a watcher without a pipe")
    pipe.write(f"{line}\n")
    pipe.flush()


def _dismiss() -> None:
    watcher = _watchers.pop()
    watcher.communicate()


def watch() -> None:
    """Hear of folders until the test process has gone, then clear what it left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    told: set[str] = set()
    for line in sys.stdin:
        name = line.rstrip("\n")
        (told.add if name[0] == "+" else told.discard)(name[1:])
    for name in sorted(told):
        kind, _, folder = name.partition(" ")
        clear_shared(Path(folder)) if kind == "shared" else clear(Path(folder))


def clear_shared(folder: Path) -> None:
    """Clear a folder unless somebody uses its PostgreSQL: whoever does holds a lock (`core/postgres.py`)."""
    try:
        with (folder / "postgres.lock").open("rb") as lock, (folder / "postgres.users").open("rb") as users:
            fcntl.flock(lock, fcntl.LOCK_EX)
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            clear(folder)
    except (BlockingIOError, FileNotFoundError):
        return  # somebody uses it; or nobody has yet, or another watcher was here first


def clear(folder: Path) -> None:
    """End what runs in a folder, and remove it."""
    give_up = time.monotonic() + PATIENCE
    asked: set[int] = set()
    while running := dict(_running_in(folder)):
        for pid, program in running.items():
            if time.monotonic() > give_up:
                _send(pid, signal.SIGKILL)
            elif pid not in asked:
                asked.add(pid)
                # The data goes too, so nothing has to be written down first.
                _send(pid, signal.SIGQUIT if program == "postgres" else signal.SIGTERM)
                _send(pid, signal.SIGCONT)  # a test may have stopped it
        time.sleep(0.05)
    shutil.rmtree(folder, ignore_errors=True)


def _running_in(folder: Path) -> Iterator[tuple[int, str]]:
    """Give the processes of a folder: PostgreSQL and its tools, and servers of ours with their data there."""
    inside = re.compile(re.escape(os.fsencode(folder)) + rb"(/|'|$)")
    ours = b"OHMSTEAD_DATA_DIR=" + os.fsencode(folder)
    for process in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (process / "cmdline").read_bytes().split(b"\0")
            program = Path(os.fsdecode(arguments[0])).name
            if program in PROGRAMS:
                belongs = any(map(inside.search, arguments))
            else:
                belongs = ours in (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if belongs:
            yield int(process.name), program


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


if __name__ == "__main__":
    watch()

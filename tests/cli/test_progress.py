"""Bars where a person waits for more than a second, seen through a terminal; nothing of them elsewhere."""

import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from bench.measure import Plan
from bench.progress import total
from tests.cli.running import environment, ohmstead, reachable_folder
from tests.running import free_port

from ohmstead.core import migrations
from ohmstead.core.migrations import pending
from ohmstead.demo import STEPS
from ohmstead.terminal import step

BAR = "━"
ROOT = Path(__file__).parents[2]
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def on_a_terminal(*command: str, interrupt_after: str = "", **settings: str) -> tuple[int, str]:
    """Run a program to its end on a terminal of its own; gives its exit code and all that was shown.

    Ctrl-C comes when `interrupt_after` is shown.
    """
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        command,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        cwd="/",
        env={name: value for name, value in environment(**settings).items() if name != "NO_COLOR"}
        | {"TERM": "xterm", "COLUMNS": "120"},
        start_new_session=True,
    )
    os.close(terminal)
    shown, interrupted = b"", not interrupt_after
    try:
        while part := os.read(controller, 65536):
            shown += part
            if not interrupted and interrupt_after.encode() in shown:
                interrupted = True
                process.send_signal(signal.SIGINT)
    except OSError:  # the terminal's last user has left
        pass
    finally:
        os.close(controller)
    return process.wait(180), shown.decode()


def commands(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "ohmstead.cli", *arguments)


def bars(shown: str, text: str) -> list[str]:
    """The frames of one bar."""
    frames = re.split(r"[\r\n]", CONTROL.sub("", shown))
    return [frame for frame in frames if text in frame and BAR in frame]


class TestMigrate:
    def test_a_bar_counts_the_migrations(self, empty_database: str) -> None:
        total = len(pending(empty_database))
        code, shown = on_a_terminal(*commands("migrate"), DATABASE_URL=empty_database)
        assert code == 0, shown
        frames = bars(shown, "Migrating")
        assert frames
        assert f"{total}/{total}" in frames[-1], "the last frame says that all is done"
        assert re.search(r"✓ Schema is up to date \d+\.\d s", CONTROL.sub("", shown))

    def test_each_migration_moves_it(self, empty_database: str) -> None:
        total = len(pending(empty_database))
        left: list[int] = []
        migrations.upgrade(empty_database, on_step=lambda: left.append(len(pending(empty_database))))
        assert left == list(range(total, 0, -1)), "told just before the commit"

    def test_the_first_start_of_postgresql_has_one(self) -> None:
        with reachable_folder() as folder:
            code, shown = on_a_terminal(*commands("migrate"), OHMSTEAD_DATA_DIR=str(folder))
        assert code == 0, shown
        assert bars(shown, "Starting PostgreSQL")
        assert "✓ PostgreSQL is ready" in CONTROL.sub("", shown)
        assert bars(shown, "Stopping PostgreSQL")


class TestDemo:
    def test_its_start_and_its_end_have_them(self) -> None:
        with reachable_folder() as folder:
            code, shown = on_a_terminal(
                *commands("demo", "--port", str(free_port())),
                interrupt_after="the data stays",
                OHMSTEAD_DATA_DIR=str(folder),
            )
        assert code == 0, shown
        assert bars(shown, "Starting PostgreSQL")
        assert bars(shown, "Migrating")
        assert f"{STEPS}/{STEPS}" in bars(shown, "Making the demo's world")[-1]
        assert bars(shown, "Stopping PostgreSQL")


class TestSimulate:
    def test_a_fleet_that_connects_has_one(self) -> None:
        url = f"ws://127.0.0.1:{free_port()}/ocpp"
        arguments = ("simulate", "--url", url, "--chargers", "20", "--duration", "1")
        code, shown = on_a_terminal(*commands(*arguments))
        assert code == 1, "nobody listens there"
        assert bars(shown, "Connecting")
        assert "0 of 20 connected" in shown


class TestBench:
    PROGRAM = (
        "import logging, sys\n"
        "from bench.progress import display\n"
        "logging.basicConfig(stream=sys.stderr, format='%(message)s', level=logging.INFO)\n"
        "with display(3, quiet=False) as shown:\n"
        "    for word in ('one', 'two', 'three'):\n"
        "        shown.say(word)\n"
    )

    def test_it_has_one_beneath_its_lines(self) -> None:
        code, shown = on_a_terminal(sys.executable, "-c", self.PROGRAM, PYTHONPATH=str(ROOT))
        assert code == 0, shown
        assert "3/3" in bars(shown, "bench")[-1]
        assert [word for word in ("one", "two", "three") if f" s  {word}" in shown] == ["one", "two", "three"]

    def test_elsewhere_it_has_its_lines_alone(self) -> None:
        done = subprocess.run(
            [sys.executable, "-c", self.PROGRAM],
            capture_output=True,
            text=True,
            check=True,
            env=environment(PYTHONPATH=str(ROOT)),
        )
        assert BAR not in done.stderr
        assert len(done.stderr.splitlines()) == 3

    def test_its_length_is_known_beforehand(self) -> None:
        short, long = Plan(sizes=(200, 2000), paced=0, soak=0), Plan(sizes=(200, 2000), paced=0, soak=300)
        assert total(short, bare=2, ohmstead=0) == 10, "memory, storm and each size are told, and the end"
        assert total(long, bare=0, ohmstead=1) - total(short, bare=0, ohmstead=1) == 6, "by the minute"


class TestElsewhere:
    @pytest.mark.parametrize("forced", [{}, {"FORCE_COLOR": "1", "TTY_INTERACTIVE": "1"}])
    def test_nothing_is_shown_where_nobody_looks(self, empty_database: str, forced: dict[str, str]) -> None:
        done = ohmstead("migrate", **{"DATABASE_URL": empty_database, **forced})
        assert done.returncode == 0
        assert done.stderr == ""

    def test_simulate_is_as_silent(self) -> None:
        url = f"ws://127.0.0.1:{free_port()}/ocpp"
        done = ohmstead("simulate", "--url", url, "--chargers", "3", "--duration", "0.5", FORCE_COLOR="1")
        assert BAR not in done.stderr + done.stdout
        assert "Connecting" not in done.stderr

    def test_what_goes_wrong_within_is_not_said_to_be_done(self, capfd: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(ValueError, match="broken"), step("Doing", "Done"):
            raise ValueError("broken")
        assert "Done" not in "".join(capfd.readouterr())


def test_ctrl_c_in_the_middle_of_a_bar_leaves_the_terminal_as_it_was() -> None:
    program = (
        "import time\nfrom ohmstead.terminal import working\nwith working('Long'):\n    time.sleep(60)\n"
    )
    code, shown = on_a_terminal(sys.executable, "-c", program, interrupt_after=BAR)
    assert code != 0
    hidden, visible = shown.rfind("\x1b[?25l"), shown.rfind("\x1b[?25h")
    assert -1 < hidden < visible, "the cursor is shown again"

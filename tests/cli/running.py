"""The command line as a person runs it: real processes with an environment of their own."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from pathlib import Path

from tests.leftovers import ending_with_us
from typer.testing import CliRunner

from ohmstead.cli import app
from ohmstead.core.config import known_env_names
from ohmstead.core.postgres import EmbeddedPostgres

SECRET = "a secret of the tests that is long enough"


def environment(**settings: str) -> dict[str, str]:
    """The environment of this machine without any setting of Ohmstead but the given ones."""
    ours = {name: value for name, value in os.environ.items() if name not in known_env_names()}
    return ours | {"COLUMNS": "200", "NO_COLOR": "1", "OHMSTEAD_SECRET_KEY": SECRET} | settings


def ohmstead(*arguments: str, given: str | bytes = "", **settings: str) -> "subprocess.CompletedProcess[str]":
    """Run `ohmstead` to its end, away from any `.env`; whatever happens, no traceback may show."""
    with tempfile.TemporaryDirectory() as folder:
        return ohmstead_in(Path(folder), *arguments, given=given, **settings)


def ohmstead_in(
    folder: Path, *arguments: str, given: str | bytes = "", **settings: str
) -> "subprocess.CompletedProcess[str]":
    """The same in a working folder."""
    done = subprocess.run(
        [sys.executable, "-m", "ohmstead.cli", *arguments],
        input=given if isinstance(given, bytes) else given.encode(),
        capture_output=True,
        timeout=180,
        check=False,
        cwd=folder,
        env=environment(**settings),
        start_new_session=True,  # no terminal to ask for a password
    )
    said = [text.decode() for text in (done.stdout, done.stderr)]
    assert "Traceback" not in said[1], said[1]
    return subprocess.CompletedProcess(done.args, done.returncode, *said)


def told(*arguments: str, given: str | bytes = "", **settings: str) -> "subprocess.CompletedProcess[str]":
    """As `ohmstead`, but within this process, which is faster: for what ends before anything is started."""
    ours: dict[str, str | None] = dict.fromkeys(known_env_names())
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        done = CliRunner().invoke(
            app, arguments, input=given, env=ours | environment(**settings), prog_name="ohmstead"
        )
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)


@contextmanager
def reachable_folder() -> Iterator[Path]:
    """A data folder that PostgreSQL's own OS user can reach, unlike `tmp_path`; it goes with its database."""
    path = Path(tempfile.mkdtemp(prefix="ohmstead-test-", dir="/tmp"))
    path.chmod(0o755)
    with ending_with_us(path):
        try:
            yield path
        finally:
            server = EmbeddedPostgres(path, durable=False)
            if server.pid is not None:
                with server:
                    pass
            shutil.rmtree(path)


def until(condition: Callable[[], bool], what: str, seconds: float = 180) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.02)


def healthy(port: int, host: str = "127.0.0.1") -> bool:
    try:
        with urllib.request.urlopen(f"http://{host}:{port}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def processes(pattern: str) -> list[int]:
    """The numbers of the living processes whose command line matches."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if re.search(pattern, line):
                found.append(int(folder.name))
    return found


class Running:
    """A command that runs until it is told to stop; everything it says is kept."""

    def __init__(self, *arguments: str, **settings: str) -> None:
        self.said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed in __exit__
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ohmstead.cli", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=self.said,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=environment(**settings),
        )

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.said.close()

    def text(self) -> str:
        self.said.seek(0)
        return self.said.read()

    def await_health(self, port: int, host: str = "127.0.0.1") -> None:
        def answers() -> bool:
            assert self.process.poll() is None, self.text()
            return healthy(port, host)

        until(answers, "the server answers")

    def stop(self, number: signal.Signals) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(180)

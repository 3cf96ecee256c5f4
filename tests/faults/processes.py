"""Servers of the fault tests: real processes that end with their test, whatever happens."""

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.cli.running import Running, environment

ROOT = Path(__file__).parents[2]
QUIET = {"OHMSTEAD_OCPP_REFUSALS_PER_MINUTE": "0", "OHMSTEAD_LOG_LEVEL": "WARNING"}


def serve(port: int, **settings: str) -> Running:
    """Start `ohmstead serve` on a port of this machine."""
    return Running("serve", "--host", "127.0.0.1", "--port", str(port), **{**QUIET, **settings})


class Altered(Running):
    """`ohmstead serve` as a module of the tests runs it; `words` are its name and what it is told."""

    def __init__(self, port: int, *words: str, **settings: str) -> None:
        self.said = tempfile.TemporaryFile("w+")  # noqa: SIM115 # closed in __exit__
        arguments = ["serve", "--host", "127.0.0.1", "--port", str(port)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", *words, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=self.said,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=environment(**{**QUIET, **settings}),
        )


class Failing(Altered):
    """`ohmstead serve` with a failpoint: see `tests.faults.failpoint`."""

    def __init__(self, failpoint: str, port: int, **settings: str) -> None:
        super().__init__(port, "tests.faults.failpoint", failpoint, **settings)

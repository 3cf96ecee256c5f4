"""The bare server as a fresh process, and what the kernel knows of a server under test (Linux)."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"
SOURCE = Path(__file__).resolve().parent.parent
_TICKS = os.sysconf("SC_CLK_TCK")
_START_SECONDS = 60


class ServerError(Exception):
    """A server did not start, or died; the end of its log is in the message."""


def free_port() -> int:
    """A TCP port nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    return port


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()


def _family(pid: int) -> list[int]:
    """`pid` and all its descendants that still live."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [pid, *(each for child in children for each in _family(int(child)))]


def cpu_seconds(pid: int) -> float:
    """Processor time used so far by `pid`, its living children, and those of its children that ended."""
    ticks = 0
    for member in _family(pid):
        try:
            fields = _stat(member)
        except (FileNotFoundError, ProcessLookupError):
            continue
        ticks += int(fields[11]) + int(fields[12])
        if member == pid:
            ticks += int(fields[13]) + int(fields[14])
    return ticks / _TICKS


class BareServer:
    """`bench/bare_server.py`. Also the ground that the other one stands on: process, port, log, memory."""

    name = "bare"

    def __init__(self, *, inline_validation: bool = False) -> None:
        self.port = free_port()
        self._options = ["--inline-validation"] if inline_validation else []
        self.folder = Path(tempfile.mkdtemp(prefix="ohmstead-bench-"))
        self.folder.chmod(0o711)  # under root, PostgreSQL runs as another user and must pass through
        self._process: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> Self:
        try:
            await asyncio.to_thread(self._prepare)
            await asyncio.to_thread(self._start)
            await self._listening()
            await self._ready()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    @property
    def pid(self) -> int:
        """The server's process."""
        assert self._process is not None
        if self._process.poll() is not None:
            raise ServerError(f"{self.name} server ended ({self._process.returncode}): {self._log_end()}")
        return self._process.pid

    def rss_kib(self) -> int:
        """Resident memory of the server's process and its children (PostgreSQL is none of them)."""
        pages = sum(int(_stat(pid)[21]) for pid in _family(self.pid))
        return pages * os.sysconf("SC_PAGE_SIZE") // 1024

    def cpu(self) -> dict[str, float]:
        """Processor seconds used so far, by part."""
        return {"server": cpu_seconds(self.pid)}

    def _start(self) -> None:
        with (self.folder / "server.log").open("wb") as log:
            self._process = subprocess.Popen(
                self._command(),
                env=os.environ | {"PYTHONPATH": str(SOURCE)} | self._environment(),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the parent, which then ends its children in order
            )

    def _prepare(self) -> None:
        """Make whatever the process needs before it starts."""

    def _command(self) -> list[str]:
        return [sys.executable, "-m", "bench.bare_server", "--port", str(self.port), *self._options]

    def _environment(self) -> dict[str, str]:
        return {}

    async def _ready(self) -> None:
        """Do what can be done only when it listens."""

    async def _listening(self) -> None:
        async with asyncio.timeout(_START_SECONDS):
            while self.pid:
                try:
                    _, writer = await asyncio.open_connection(HOST, self.port)
                except OSError:
                    await asyncio.sleep(0.05)
                else:
                    writer.close()
                    return

    def _log_end(self) -> str:
        return (self.folder / "server.log").read_text(errors="replace")[-2000:]

    async def _end(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                await asyncio.to_thread(self._process.wait, 30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        await asyncio.to_thread(self._tidy)

    def _tidy(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

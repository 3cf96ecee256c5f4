"""A PostgreSQL that a test ill-treats, and a server under load on it."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from tests.faults.fleet import Fleet
from tests.running import RunningServer

from ohmstead.core.postgres import EmbeddedPostgres

CHARGERS = 20
GRACE_SECONDS = 1.5
"""Instead of ten, so that the test is quick; what follows from it is the same."""


class Stopped:
    """A PostgreSQL that crashed; it must recover from its log when it starts again."""

    def __init__(self, postgres: EmbeddedPostgres) -> None:
        self.folder = postgres.data_dir
        self.postgres = postgres
        self._again: list[EmbeddedPostgres] = []

    def away(self) -> None:
        assert self.postgres.pid is not None
        os.kill(self.postgres.pid, signal.SIGQUIT)  # what `pg_ctl stop -m immediate` sends

    def back(self) -> None:
        again = EmbeddedPostgres(self.folder)
        again.start()
        self._again.append(again)

    def end(self) -> None:
        for again in self._again:
            again.stop()


class Hung:
    """A PostgreSQL that holds still in all its processes: connections stay open and nobody answers."""

    def __init__(self, postgres: EmbeddedPostgres) -> None:
        self.postgres = postgres
        self._held: list[int] = []

    def away(self) -> None:
        assert self.postgres.pid is not None
        self._hold(self.postgres.pid)
        for child in Path(f"/proc/{self.postgres.pid}/task/{self.postgres.pid}/children").read_text().split():
            self._hold(int(child))

    def _hold(self, pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)
        self._held.append(pid)

    def back(self) -> None:
        while self._held:
            os.kill(self._held.pop(), signal.SIGCONT)

    def end(self) -> None:
        self.back()


@dataclass
class Scene:
    """A server under load, and the fault that can happen to its database."""

    server: RunningServer
    url: str
    fault: Stopped | Hung
    fleet: Fleet
    http: httpx.AsyncClient
    headers: dict[str, str]
    business: str

    async def new_station(self, name: str) -> httpx.Response:
        wanted = {"name": name, "backoffice_id": self.business}
        return await self.http.post("/api/admin/stations", json=wanted, headers=self.headers)

    async def ready(self) -> tuple[int, dict[str, Any]]:
        answer = await self.http.get("/health/ready")
        checks: dict[str, Any] = answer.json()["checks"]
        return answer.status_code, checks


@contextmanager
def ending(fault: Stopped | Hung) -> Iterator[Stopped | Hung]:
    try:
        yield fault
    finally:
        fault.end()

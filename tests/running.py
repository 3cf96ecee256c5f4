"""A real server on a free port, inside the test's own event loop."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI

from ohmstead.app import create_app
from ohmstead.core.config import Settings
from ohmstead.core.db import Database
from ohmstead.server import Server


@dataclass
class RunningServer:
    """Where a server listens, and what it is made of."""

    app: FastAPI
    settings: Settings
    port: int
    server: Any

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @property
    def database(self) -> Database:
        database: Database = self.app.state.database
        return database


def free_port() -> int:
    """Return a port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def start_server(settings: Settings) -> AsyncIterator[RunningServer]:
    """Run a server until the block ends, then drain it as SIGTERM would."""
    port = free_port()
    settings = settings.model_copy(update={"port": port})
    app = create_app(settings)
    ready = asyncio.Event()
    server = Server(app, settings, host="127.0.0.1", on_ready=ready.set)
    task = asyncio.create_task(server.run())
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        waiting.cancel()
        await task
    try:
        yield RunningServer(app, settings, port, server)
    finally:
        server.stop()
        await asyncio.wait_for(task, 60)

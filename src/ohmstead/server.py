"""The server: one process with HTTP, chargers and jobs; how it starts, and how it stops."""

import asyncio
import gc
import signal
import socket
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import structlog
import uvicorn
from fastapi import FastAPI

from ohmstead.accounts.service import ensure_admin
from ohmstead.app import create_app
from ohmstead.charging.jobs import meter_values
from ohmstead.core import migrations
from ohmstead.core.config import Settings
from ohmstead.core.errors import DomainError, StartupError
from ohmstead.core.logging import setup_logging
from ohmstead.core.partitions import maintain
from ohmstead.core.processes import Processes
from ohmstead.fleet.campaigns.dispatcher import STOP_SECONDS
from ohmstead.gateway.jobs import messages
from ohmstead.gateway.neighbours import Neighbours
from ohmstead.gateway.server import Gateway
from ohmstead.insights.log_tail import LogTail
from ohmstead.listeners import listen, servers_for, tls_of
from ohmstead.ocpp.v16.schemas import preload
from ohmstead.worker import Worker

logger = structlog.stdlib.get_logger(__name__)


class Server:
    """One process: HTTP, chargers and jobs on one event loop.

    It starts in this order: ports bound, schema checked, its place among other processes taken, partitions
    made, gateway, HTTP, jobs. `_drain` says in which it stops.

    `on_ready` is called when it listens, `before_stop` when a signal has come and before the drain.
    """

    def __init__(
        self,
        app: FastAPI,
        settings: Settings,
        *,
        host: str,
        on_ready: Callable[[], None] | None = None,
        before_stop: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.app = app
        self.settings = settings
        self.host = host
        self.on_ready = on_ready
        self.before_stop = before_stop
        state = app.state
        shares = settings.redis_url is not None
        lease = settings.ocpp_ping_interval
        self.processes = Processes(settings.postgres_url, uuid4(), shares=shares, lease_seconds=lease)
        self.gateway = Gateway(
            settings,
            state.database,
            state.links,
            state.live,
            figures=state.figures,
            clock=state.clock,
            process_id=self.processes.id,
        )
        if shares:
            self.gateway.neighbours = Neighbours(self.gateway, self.processes)
            state.neighbours = self.gateway.neighbours
            state.rate_limits.redis = self.gateway.neighbours.redis
        self.worker = Worker(
            state.jobs,
            settings,
            state.database,
            state.clock,
            commands=state.commands,
            files=state.files,
            campaigns=state.campaigns,
            live=state.live,
            personal_data=state.personal_data,
        )
        state.gateway = self.gateway
        state.worker = self.worker
        self._stop = asyncio.Event()
        self._forced = False

    def stop(self) -> None:
        """Ask the server to stop; asked a second time it does not wait for anybody."""
        self._forced = self._stop.is_set()
        self._stop.set()

    async def run(self) -> None:
        """Serve until `stop`. Raises `StartupError` when it cannot begin."""
        tail = LogTail()
        setup_logging(self.settings, tail)
        tail.attach(self.app.state.live, asyncio.get_running_loop())
        listeners: list[socket.socket] = []
        try:
            tls = tls_of(self.settings)
            listeners = listen(self.settings, self.host)
            await self._prepare()
            servers = servers_for(listeners, self.app, self.gateway, self.settings, tls)
            tasks = [asyncio.create_task(server.serve(sockets=[sock])) for server, sock in servers]
            try:
                while not all(server.started for server, _ in servers):
                    self._require_running(tasks)
                    await asyncio.sleep(0.01)
                self.worker.start()
                logger.info("server.ready", host=self.host, port=self.settings.port)
                if self.on_ready is not None:
                    self.on_ready()
                stopping = asyncio.create_task(self._stop.wait())
                usurped = asyncio.create_task(self.processes.usurped.wait())
                await asyncio.wait([stopping, usurped, *tasks], return_when=asyncio.FIRST_COMPLETED)
                stopping.cancel()
                usurped.cancel()
                self._require_running(tasks)
                self._require_place()
            finally:
                if self.before_stop is not None:
                    await self.before_stop()
                await self._drain([server for server, _ in servers], tasks)
        finally:
            for sock in listeners:
                sock.close()
            tail.detach()
            if self.gateway.neighbours is not None:
                await self.gateway.neighbours.stop()
            await self.processes.leave()
            await self.app.state.database.close()

    async def _prepare(self) -> None:
        """Check and ready the database, then take the place of whatever ran before."""
        pending = await asyncio.to_thread(migrations.pending, self.settings.postgres_url)
        if pending:
            raise StartupError(f"The schema lacks {', '.join(pending)}.", "Run: ohmstead migrate")
        preload()
        _calm_the_collector()
        now = self.app.state.clock.now()
        # Before anything is changed: another process may serve this database.
        alone = await self.processes.join()
        try:
            async with self.app.state.database.session() as session:
                await ensure_admin(session, self.settings)
                await maintain(session, meter_values(self.settings.meter_value_days), now.date())
                await maintain(session, messages(self.settings.message_log_days), now.date())
            await self.gateway.start(alone=alone)
        except DomainError as error:
            raise StartupError(error.message, "Look at the database's own log.") from error
        await self.processes.started()

    def _require_place(self) -> None:
        """Raise `StartupError` when another process has taken the database while this one could not."""
        if self.processes.usurped.is_set():
            raise StartupError(
                "Another Ohmstead server has taken this database while it could not be reached from here.",
                "Stop one of the two, or give both the same REDIS_URL.",
            )

    def _require_running(self, tasks: list[asyncio.Task[None]]) -> None:
        """Raise `StartupError` when a listener has ended though nobody asked for it."""
        for task in tasks:
            if task.done() and not self._stop.is_set():
                fault = task.exception()
                logger.error("server.failed", exc_info=fault)
                raise StartupError(
                    f"The server ended by itself: {fault or 'no reason is known'}.", "Its log says more."
                ) from fault

    async def _drain(self, servers: list[uvicorn.Server], tasks: list[asyncio.Task[None]]) -> None:
        """Stop in order: no new sockets, chargers answered and closed, requests ended, jobs ended."""
        grace = 0.1 if self._forced else self.settings.shutdown_grace_seconds
        logger.info("server.stopping", connections=len(self.gateway))
        for server in servers:
            for listener in server.servers if server.started else ():
                listener.close()
        self.app.state.live.close()
        campaigns = asyncio.create_task(self.app.state.campaigns.stop(min(grace, STOP_SECONDS)))
        await self._unless_forced(campaigns)
        draining = asyncio.create_task(self.gateway.drain(grace))
        await self._unless_forced(draining)
        for server in servers:
            server.should_exit = True
        ending = asyncio.gather(*tasks, return_exceptions=True)
        await self._unless_forced(ending)
        if self._forced:
            draining.cancel()
            for server in servers:
                server.force_exit = True
        await asyncio.gather(campaigns, draining, ending, return_exceptions=True)
        await self.worker.stop()
        logger.info("server.stopped")

    async def _unless_forced(self, work: "asyncio.Future[Any]") -> None:
        """Wait for a part of the stop until it is done, or until somebody asks a second time."""
        while not work.done() and not self._forced:
            await asyncio.wait({work}, timeout=0.2)


def _calm_the_collector() -> None:
    """Let the cyclic collector leave the program itself alone and come less often.

    Messages wait together for their group and then go by their reference counts. With Python's own
    thresholds every group promotes them to older generations, and looking for cycles among them and all
    loaded modules took a quarter of the time of the hot path.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)


async def serve(
    settings: Settings,
    *,
    host: str,
    on_ready: Callable[[], None] | None = None,
    before_stop: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Run the server until SIGINT or SIGTERM; a second signal does not wait for the drain."""
    server = Server(create_app(settings), settings, host=host, on_ready=on_ready, before_stop=before_stop)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, server.stop)
    try:
        await server.run()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)

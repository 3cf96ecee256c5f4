"""The application: every domain put together, and the server that runs it."""

import asyncio
import gc
import signal
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

import structlog
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import Response
from fastapi.routing import APIRoute, APIWebSocketRoute
from starlette.types import Receive, Scope, Send
from uvicorn.config import Config

from ohmstead.accounts import api_keys_endpoints as api_keys
from ohmstead.accounts import audit_endpoints as audit
from ohmstead.accounts import businesses_endpoints as businesses
from ohmstead.accounts import businesses_requests_endpoints as businesses_requests
from ohmstead.accounts import cards_endpoints as cards
from ohmstead.accounts import drivers_endpoints as drivers
from ohmstead.accounts import endpoints as auth
from ohmstead.accounts import id_tags_endpoints as id_tags
from ohmstead.accounts import invites_endpoints as invites
from ohmstead.accounts import mail_endpoints as mail
from ohmstead.accounts import oidc_endpoints as oidc
from ohmstead.accounts import oidc_identities_endpoints as oidc_identities
from ohmstead.accounts import oidc_providers_endpoints as oidc_providers
from ohmstead.accounts import operators_endpoints as operators
from ohmstead.accounts import password_endpoints as passwords
from ohmstead.accounts import personal_data_endpoints as personal_data
from ohmstead.accounts import refresh_tokens_endpoints as sessions
from ohmstead.accounts import second_factor_endpoints as second_factor
from ohmstead.accounts import users_endpoints as users
from ohmstead.accounts import vehicles_endpoints as vehicles
from ohmstead.accounts import verification_endpoints as verification
from ohmstead.accounts.oidc_issuers import Issuers
from ohmstead.accounts.permissions import check_routes
from ohmstead.accounts.person_keys import PersonKeys
from ohmstead.accounts.personal_data import PersonalData
from ohmstead.accounts.personal_data_parts import ACCOUNTS, AUDIT, MAIL
from ohmstead.accounts.service import ensure_admin
from ohmstead.bookings import reservations_endpoints as reservations
from ohmstead.bookings import reservations_outcomes
from ohmstead.bookings.personal_data import BOOKINGS
from ohmstead.charging import endpoints as transactions
from ohmstead.charging import users_endpoints as users_sessions
from ohmstead.charging.figures import RunningFigures
from ohmstead.charging.jobs import meter_values
from ohmstead.charging.personal_data import CHARGING
from ohmstead.core import docs, downloads, migrations
from ohmstead.core.clock import Clock, SystemClock
from ohmstead.core.config import Settings
from ohmstead.core.cors import allow_origins
from ohmstead.core.db import Database
from ohmstead.core.errors import DomainError, StartupError
from ohmstead.core.files import Files
from ohmstead.core.http import error_response, install_error_handlers
from ohmstead.core.live import LiveBus, Topic
from ohmstead.core.logging import setup_logging
from ohmstead.core.middleware import RequestScope
from ohmstead.core.openapi import DocumentedApp, operation_id
from ohmstead.core.partitions import maintain
from ohmstead.core.ports import refused
from ohmstead.core.processes import Processes
from ohmstead.core.tls import server_context
from ohmstead.core.uploads import FORM_SLACK, PATH_OF_UPLOADS
from ohmstead.energy import chargers_endpoints as smart_charging
from ohmstead.energy import endpoints as profiles
from ohmstead.energy import outcomes as charging_profiles
from ohmstead.fleet.campaigns import endpoints as campaigns
from ohmstead.fleet.campaigns.dispatcher import STOP_SECONDS, Dispatcher
from ohmstead.fleet.campaigns.work import Means
from ohmstead.fleet.configuration import endpoints as configuration
from ohmstead.fleet.configuration import outcomes as configuration_outcomes
from ohmstead.fleet.configuration import templates_endpoints as configuration_templates
from ohmstead.fleet.diagnostics import endpoints as diagnostics
from ohmstead.fleet.diagnostics import uploads_endpoints as uploads
from ohmstead.fleet.firmware import endpoints as firmware
from ohmstead.fleet.firmware import updates_endpoints as firmware_updates
from ohmstead.fleet.kinds import KINDS
from ohmstead.fleet.local_lists import endpoints as local_lists
from ohmstead.fleet.local_lists import keeping as local_lists_keeping
from ohmstead.fleet.onboarding import stickers_endpoints as stickers
from ohmstead.fleet.onboarding import tables_endpoints as tables
from ohmstead.fleet.personal_data import FLEET
from ohmstead.gateway import endpoints as ocpp
from ohmstead.gateway.http_protocol import HttpProtocol
from ohmstead.gateway.jobs import messages
from ohmstead.gateway.neighbours import Neighbours
from ohmstead.gateway.personal_data import MESSAGES
from ohmstead.gateway.protocol import protocol_class
from ohmstead.gateway.server import Gateway
from ohmstead.insights import diagnosis_endpoints as diagnosis
from ohmstead.insights import health, live
from ohmstead.insights.log_tail import LogTail
from ohmstead.insights.snapshots import SNAPSHOTS
from ohmstead.link.links import Links
from ohmstead.notifications import endpoints as alerts
from ohmstead.notifications.personal_data import ALERTS
from ohmstead.notifications.queries import open_alerts
from ohmstead.ocpp.v16.schemas import preload
from ohmstead.stations import chargers_endpoints as chargers
from ohmstead.stations import commands_endpoints as commands
from ohmstead.stations import endpoints as stations
from ohmstead.stations import photos_endpoints as photos
from ohmstead.stations.outcomes import Commands, Outcomes
from ohmstead.stations.personal_data import STATIONS
from ohmstead.worker import Worker, create_jobs

logger = structlog.stdlib.get_logger(__name__)

VERSION = "0.1.0"
MAX_BODY = 1_048_576
"""In bytes. No request of ours is longer; uploads have a limit of their own."""
ROUTERS = (
    health.router,
    docs.router,
    auth.router,
    sessions.router,
    passwords.router,
    second_factor.router,
    oidc.router,
    oidc_identities.router,
    oidc_providers.router,
    users.router,
    users_sessions.router,
    businesses.router,
    businesses_requests.router,
    invites.router,
    operators.router,
    verification.router,
    cards.router,
    drivers.router,
    vehicles.router,
    id_tags.router,
    stations.router,
    photos.router,
    chargers.router,
    commands.router,
    configuration.router,
    configuration_templates.router,
    campaigns.router,
    local_lists.router,
    reservations.router,
    transactions.router,
    profiles.router,
    smart_charging.router,
    tables.router,
    stickers.router,
    ocpp.router,
    alerts.router,
    api_keys.router,
    mail.router,
    audit.router,
    personal_data.admin_router,
    personal_data.own_router,
    firmware.router,
    firmware_updates.router,
    diagnostics.router,
    diagnosis.router,
    downloads.router,
    uploads.router,
    live.router,
)
ABOUT = """\
An open charging-network platform: stations, chargers, sessions, live.

Sign in by `POST /api/auth/login` and send the `accessToken` as `Authorization: Bearer ...`.

Lists come in pages: pass `next_cursor` as `cursor` until it is null. Times are UTC, ISO 8601 with `Z`.
Every error has the one shape `{"error", "message", "detail"}`, with `fields` where input was refused.

Two addresses speak WebSocket and so are not listed below: chargers connect to `/ocpp/{id}` (OCPP 1.6J),
and `/api/live` tells what happens while it happens.
"""
TAGS = {
    "Auth": "Signing in, and who am I.",
    "Businesses": "The owners of stations, chargers and id tags.",
    "Drivers": "Registration, profiles, vehicles and cards of those who charge.",
    "Operators": "Who works at which stations of a business.",
    "Users": "Who there is, and who may act where.",
    "API keys": "What machines sign in with.",
    "Identity providers": "Where else people may sign in.",
    "Stations": "Places with chargers.",
    "Chargers": "Charging stations that speak OCPP, their connectors and what they reported.",
    "Commands": "What a charger is asked to do; the answer is the charger's own.",
    "Configuration": "What chargers are set to, and what they should be set to.",
    "Campaigns": "The same work on many chargers, in waves.",
    "Local lists": "The tags that chargers know by themselves.",
    "Reservations": "What chargers keep for a driver.",
    "Id tags": "What drivers show to chargers.",
    "Transactions": "Charging sessions with their meter values.",
    "OCPP": "What went over the wire, and who was let in or not.",
    "Audit": "Who changed what, when and why.",
    "Personal data": "All that is kept about a person: given out, and erased.",
    "Mail": "What was written to people, and whether it went out.",
    "Diagnostics": "Files that chargers were asked for: diagnostics and logs.",
    "Firmware": "Images, and the updates of chargers by them.",
    "Files": "What chargers get and leave by links that were given to them.",
    "Import and export": "Stations, chargers and id tags as tables.",
    "Smart charging": "Charging profiles, and what the limits of a charger come to.",
    "Alerts": "What an operator should look at.",
    "Operations": "How the server is: for load balancers and Prometheus.",
}

PERSONAL_DATA = (CHARGING, BOOKINGS, FLEET, STATIONS, ALERTS, MESSAGES, MAIL, AUDIT, ACCOUNTS)
"""Who has something about persons, as erased in turn: the accounts, which say what to look for, last."""


def create_app(settings: Settings, *, clock: Clock | None = None) -> FastAPI:
    """Build the application. It needs no running server: tests call it as it is."""
    app = DocumentedApp(
        title="Ohmstead",
        version=VERSION,
        description=ABOUT,
        docs_url=None,
        redirect_slashes=False,
        redoc_url=None,
        openapi_tags=[{"name": name, "description": text} for name, text in TAGS.items()],
        generate_unique_id_function=operation_id,
        license_info={"name": "MIT", "identifier": "MIT"},
    )
    bus = LiveBus()
    database = Database(settings.postgres_url, pool_size=settings.db_pool_size, on_commit=bus.publish_all)
    app.state.settings = settings
    app.state.clock = clock or SystemClock()
    app.state.live = bus
    app.state.live_snapshots = {**SNAPSHOTS, Topic.ALERTS: open_alerts}
    app.state.links = Links()
    app.state.database = database
    app.state.jobs = create_jobs(settings.postgres_url)
    app.state.commands = Commands(database, app.state.links, app.state.clock, outcomes_of_commands(settings))
    app.state.files = Files(settings, database, app.state.clock)
    app.state.kinds = dict(KINDS)
    app.state.personal_data = PersonalData([*PERSONAL_DATA])
    means = Means(database, app.state.commands, settings, app.state.clock, app.state.files)
    app.state.campaigns = Dispatcher(means, app.state.kinds)
    app.state.figures = RunningFigures()
    app.state.issuers = Issuers(settings.outbound_allow, app.state.clock)
    database.session_info.update(
        jobs=app.state.jobs,
        figures=app.state.figures,
        clock=app.state.clock,
        issuers=app.state.issuers,
        person_keys=PersonKeys(*settings.signing_keys),
    )
    install_error_handlers(app)
    check_routes(routes())
    for router in ROUTERS:
        app.include_router(router)
    app.add_api_route("/ocpp/{charge_point_id:path}", _no_upgrade, include_in_schema=False)
    longer = (PATH_OF_UPLOADS, settings.upload_max_bytes + FORM_SLACK)
    allow_origins(app, settings.cors_origins)
    https = settings.public_url.startswith("https://")
    app.add_middleware(RequestScope, max_body=MAX_BODY, uploads=longer, https=https)
    return app


def outcomes_of_commands(settings: Settings) -> Outcomes:
    """Return what each domain makes of the commands that operators and jobs send."""
    outcomes = Outcomes()
    configuration_outcomes.register(outcomes, lambda: settings.signing_key)
    charging_profiles.register(outcomes)
    local_lists_keeping.register(outcomes)
    reservations_outcomes.register(outcomes)
    return outcomes


def routes() -> Iterator[str]:
    """Give every route of the API as the table of permissions names it."""
    for route in (route for router in ROUTERS for route in router.routes):
        if isinstance(route, APIRoute):
            yield from (f"{method} {route.path}" for method in route.methods or ())
        elif isinstance(route, APIWebSocketRoute):
            yield f"WEBSOCKET {route.path}"


async def _no_upgrade(request: Request, charge_point_id: str) -> Response:
    """Tell a person with a browser what is spoken here; a proxy may also have made this of a charger."""
    gateway: Gateway | None = getattr(request.app.state, "gateway", None)
    if gateway is not None:
        gateway.door.not_upgraded(unquote(charge_point_id), request.client.host if request.client else None)
    return error_response(
        426,
        "UpgradeRequired",
        "This is the address of a charger. It speaks OCPP over WebSocket: connect with ws:// or wss://.",
        headers={"Upgrade": "websocket"},
    )


class Server:
    """One process: HTTP, chargers and jobs on one event loop.

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
        self.worker = Worker(
            app.state.jobs,
            settings,
            app.state.database,
            app.state.clock,
            commands=app.state.commands,
            files=app.state.files,
            campaigns=app.state.campaigns,
            live=app.state.live,
            personal_data=app.state.personal_data,
        )
        app.state.gateway = self.gateway
        app.state.worker = self.worker
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
            tls = self._tls()
            listeners = self._listen()
            await self._prepare()
            servers = self._servers(listeners, tls)
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

    def _tls(self) -> ssl.SSLContext | None:
        settings = self.settings
        if settings.tls_cert is None or settings.tls_key is None:
            return None
        return server_context(settings.tls_cert, settings.tls_key)

    def _listen(self) -> list[socket.socket]:
        ports = {"OHMSTEAD_PORT": self.settings.port}
        if self.settings.ocpp_port is not None:
            ports["OHMSTEAD_OCPP_PORT"] = self.settings.ocpp_port
        sockets: list[socket.socket] = []
        for setting, port in ports.items():
            try:
                sockets.append(_bind(self.host, port))
            except OSError as error:
                for sock in sockets:
                    sock.close()
                fault = (error.strerror or str(error)).lower()
                raise refused(self.host, port, fault, setting=setting) from error
        return sockets

    def _servers(
        self, listeners: list[socket.socket], tls: ssl.SSLContext | None
    ) -> list[tuple[uvicorn.Server, socket.socket]]:
        """Return a server for each listener; the second one is for chargers only, and without TLS."""
        main = self._config(self.app)
        if tls is not None:
            main.ssl_context_factory = lambda _config, _default: tls
        configs = [main, self._config(_chargers_only)][: len(listeners)]
        return [(_Quiet(config), sock) for config, sock in zip(configs, listeners, strict=True)]

    def _config(self, app: object) -> Config:
        return Config(
            app,  # type: ignore[arg-type] # uvicorn's own type of an application is narrower than ASGI's
            http=HttpProtocol,
            ws=protocol_class(self.gateway),
            loop="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=bool(self.settings.trusted_proxies),
            forwarded_allow_ips=[str(network) for network in self.settings.trusted_proxies],
            ws_max_size=self.settings.ocpp_max_frame_bytes,
            ws_per_message_deflate=False,
            timeout_graceful_shutdown=max(1, int(self.settings.shutdown_grace_seconds)),
            backlog=4096,
        )

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


class _Quiet(uvicorn.Server):
    """A uvicorn server whose signals are ours."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


def _calm_the_collector() -> None:
    """Let the cyclic collector leave the program itself alone and come less often.

    Messages wait together for their group and then go by their reference counts. With Python's own
    thresholds every group promotes them to older generations, and looking for cycles among them and all
    loaded modules took a quarter of the time of the hot path.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)


async def _chargers_only(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer 404 to all that is no charger."""
    if scope["type"] == "http":
        response = error_response(
            404, "NotFound", "This port is for chargers: connect to /ocpp/ and your identity."
        )
        await response(scope, receive, send)
    elif scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": "this port is for chargers"})


def _bind(host: str, port: int) -> socket.socket:
    family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    sock = socket.socket(family, kind, number)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.setblocking(False)
        sock.set_inheritable(True)
    except OSError:
        sock.close()
        raise
    return sock


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

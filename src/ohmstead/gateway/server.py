"""The gateway: the connections of this process, from the handshake to the drain."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from websockets.http11 import Request

from ohmstead.charging import service
from ohmstead.charging.figures import WRITE_EVERY, RunningFigures
from ohmstead.core import metrics
from ohmstead.core.clock import Clock
from ohmstead.core.config import Settings
from ohmstead.core.db import Database
from ohmstead.core.errors import Unavailable
from ohmstead.core.facts import Row
from ohmstead.core.http import utc_z
from ohmstead.core.jobs import emit
from ohmstead.core.live import Event, LiveBus, Topic
from ohmstead.gateway import presence
from ohmstead.gateway.connection import ChargerConnection
from ohmstead.gateway.handshake import (
    RateLimit,
    Refused,
    check_credentials,
    choose_subprotocol,
    client_address,
    identity_of,
    is_secure,
)
from ohmstead.gateway.lookup import Known, look_up
from ohmstead.gateway.models import Refusal
from ohmstead.gateway.protocol import PATH, ChargerProtocol
from ohmstead.gateway.transactions import Transactions
from ohmstead.gateway.writer import DatabaseAway, Entry, Fact, Writer
from ohmstead.link.links import Links
from ohmstead.ocpp.masking import mask

logger = structlog.stdlib.get_logger(__name__)

AWAY_GRACE_SECONDS = 10.0
CUT_SECONDS = 3.0
SEEN_EVERY_SECONDS = 10.0
COLD_AT_ONCE = 8
TRIM_REFUSALS_EVERY = 500
RETRY_SECONDS = 1.0


class Gateway:
    """All that the connections share. One per process, and one event loop."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        links: Links,
        live: LiveBus,
        *,
        figures: RunningFigures,
        clock: Clock,
    ) -> None:
        self.settings = settings
        self.database = database
        self.links = links
        self.live = live
        self.clock = clock
        self.writer = Writer(settings.postgres_url)
        self.figures = figures
        figures.write_by(self.writer.write)
        self._connections: set[ChargerConnection] = set()
        self._second: dict[str, ChargerConnection] = {}
        # By charger: the newest socket that waits beside the one that serves it.
        self._tasks: set[asyncio.Task[None]] = set()
        self._cold = asyncio.Semaphore(COLD_AT_ONCE)
        self.transactions = Transactions(database, self._cold, self._report_away)
        self._limit = RateLimit(settings.ocpp_refusals_per_minute)
        self._refusals_waiting = 0
        self._owed: list[tuple[list[Fact], Callable[[Exception | None], None]]] = []
        # Presence that could not be written; at most some rows for each socket that was open then.
        self._draining = False
        self._away_since: float | None = None

    # --- the life of the gateway

    async def start(self) -> None:
        """Take the place of whatever ran before on this database, and begin to write."""
        self.writer.start()
        self.database.on_commit = self._committed
        async with self.database.session() as session:
            await presence.forget_the_dead(session, self.clock.now())
            await service.mend_figures(session)
        self.spawn(self._watch())

    def _committed(self, events: list[Event]) -> None:
        """Hand on what units of work published; a session that has ended is not counted on from memory.

        Its stop does not always come over the charger's socket: an operator or a rule ends it as well.
        """
        for event in events:
            if event.kind == "session.ended":
                connection = self.links.get(event.data["charger_id"])
                if isinstance(connection, ChargerConnection):
                    connection.sessions.pop(event.data["ocpp_transaction_id"], None)
        self.live.publish_all(events)

    async def drain(self, grace_seconds: float) -> None:
        """Stop: take nothing new, answer what has arrived, close every socket, write the rest."""
        self._draining = True
        deadline = time.monotonic() + grace_seconds
        for connection in list(self._connections):
            connection.protocol.stop_reading()
        await _until(lambda: all(one.idle for one in self._connections), deadline)
        for connection in list(self._connections):
            connection.protocol.close(1001, "the server stops")
        await _until(lambda: not self._connections, deadline)
        for connection in list(self._connections):
            connection.protocol.fail("the server stops")
        await self.figures.settle()
        running = [task for task in self._tasks if task.get_name() != "gateway watch"]
        if running:
            await asyncio.wait(running, timeout=max(0.1, deadline - time.monotonic()))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.writer.stop()

    def spawn(self, work: Coroutine[Any, Any, None], name: str | None = None) -> None:
        """Run something beside the connections; what it raises is logged."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("gateway.task_failed", exc_info=task.exception())

    async def _watch(self) -> None:
        """Write who was heard and what sessions come to; close the sockets when the database stays away."""
        task = asyncio.current_task()
        if task is not None:
            task.set_name("gateway watch")
        last_seen = last_cut = last_figures = time.monotonic()
        while True:
            await asyncio.sleep(0.5)
            away = self.writer.away_since
            if away is not None and time.monotonic() - max(away, last_cut) >= CUT_SECONDS:
                # It may hang with its connections open: then whoever waits for one would wait for ever.
                last_cut = time.monotonic()
                self.database.cut()
            if self.database_away and self._connections:
                logger.warning(
                    "gateway.closing_all", why="the database is away", sockets=len(self._connections)
                )
                for connection in list(self._connections):
                    connection.protocol.close(1013, "the database is away: come back later")
            if away is None:
                self._write_owed()
                if time.monotonic() - last_figures >= WRITE_EVERY.total_seconds():
                    last_figures = time.monotonic()
                    self.figures.flush()
            if time.monotonic() - last_seen >= SEEN_EVERY_SECONDS:
                last_seen = time.monotonic()
                self._write_seen()

    def _write_seen(self) -> None:
        facts: list[Fact] = []
        for connection in self._connections:
            if connection.attached and connection.last_seen != connection.last_seen_written:
                connection.last_seen_written = connection.last_seen
                facts.append((presence.CHARGER_SEEN, _seen(connection, self.clock.now(), online=True)))
        if facts:
            self.writer.submit(Entry(facts, _nothing))

    def _write_presence(self, facts: list[Fact], written: Callable[[Exception | None], None]) -> None:
        """Write who is connected; when the database is away, later: no charger sends it again."""

        def done(error: Exception | None) -> None:
            if isinstance(error, DatabaseAway):
                self._owed.append((facts, written))
            else:
                written(error)

        self.writer.submit(Entry(facts, done))

    def _write_owed(self) -> None:
        """Write presence that is late. Who has come or gone meanwhile is told as it is now."""
        owed, self._owed = self._owed, []
        for facts, written in owed:
            for kind, row in facts:
                if kind is presence.CHARGER_SEEN:
                    row["online"] = self.links.get(row["charger_id"]) is not None
            self._write_presence(facts, written)

    @property
    def database_away(self) -> bool:
        """Whether the database has been away for so long that chargers should queue as offline."""
        since = self.writer.away_since
        return since is not None and time.monotonic() - since >= AWAY_GRACE_SECONDS

    def __len__(self) -> int:
        return len(self._connections)

    # --- the handshake

    async def handshake(self, protocol: ChargerProtocol, request: Request) -> None:
        """Let a charger in, or refuse it with a status that says why."""
        peer = protocol.client[0] if protocol.client else None
        address = client_address(peer, request.headers, self.settings.trusted_proxies)
        identity = unquote(request.path.partition("?")[0].removeprefix(PATH).removesuffix("/"))
        known: Known | None = None
        try:
            if self._draining:
                raise Refused(503, "Stopping", "The server stops.")
            identity = identity_of(request.path)
            if not self._limit.allows(address, identity):
                raise Refused(
                    429, "TooManyRefusals", "Refused too often: wait a minute, and look at the log."
                )
            if self.database_away:
                raise Refused(503, "DatabaseAway", "The database is away.")
            known = await self._lookup(identity)
            if known is None or known.retired:
                raise Refused(404, "Retired" if known else "UnknownCharger", "No charger has this identity.")
            secure = is_secure(protocol.secure, peer, request.headers, self.settings.trusted_proxies)
            check_credentials(known, request.headers, secure=secure, key=self.settings.signing_key)
        except Refused as refusal:
            self._refuse(protocol, refusal, identity, address, known)
            return
        subprotocol, served = choose_subprotocol(request.headers)
        metrics.HANDSHAKES.labels("101").inc()
        connection = ChargerConnection(
            self, protocol, uuid4(), known.ref, tolerant=known.tolerant, now=self.clock.now()
        )
        connection.told = known.told()
        connection.sessions = known.open_sessions()
        if not protocol.accept(connection, subprotocol):
            return
        self._connections.add(connection)
        metrics.CONNECTIONS.set(len(self._connections))
        connection.opened = {
            "id": connection.id_text,
            "charger_id": known.id,
            "opened_at": connection.last_seen,
            "address": address,
            "subprotocol": subprotocol,
            "security_profile": known.security_profile,
        }
        self.writer.submit(Entry([(presence.CONNECTION, connection.opened)], _nothing))
        if not served:
            protocol.close(1002, "subprotocol not supported: offer ocpp1.6")
            return
        protocol.watch(self.settings.ocpp_ping_interval, 2.0 * self.settings.ocpp_heartbeat_interval)
        if self.links.get(known.id) is None:
            self.take_over(connection, alerted=known.alerted)
        else:
            self._second[known.id] = connection

    async def _lookup(self, identity: str) -> Known | None:
        try:
            async with self._cold:
                return await look_up(self.database.engine, identity)
        except (DBAPIError, TimeoutError, OSError) as error:
            self._report_away()
            raise Refused(503, "DatabaseAway", "The database is away.") from error

    def _report_away(self) -> None:
        """Let the writer find out whether the database is away: it decides for all."""
        self.writer.submit(Entry([(presence.CHARGER_SEEN, _nobody(self.clock.now()))], _nothing))

    def _refuse(
        self,
        protocol: ChargerProtocol,
        refusal: Refused,
        identity: str,
        address: str | None,
        known: Known | None,
    ) -> None:
        headers = {}
        if refusal.status in {401, 404}:
            self._limit.refused(address, identity)
        if refusal.status == 401:
            headers["WWW-Authenticate"] = 'Basic realm="ohmstead", charset="UTF-8"'
        if refusal.status in {429, 503}:
            headers["Retry-After"] = "60" if refusal.status == 429 else "10"
        protocol.refuse(refusal.status, refusal.detail, headers)
        metrics.HANDSHAKES.labels(str(refusal.status)).inc()
        # A flood of knocks must not become a flood of rows: what is over is in the metrics.
        if refusal.status == 503 or self._refusals_waiting >= 20:
            return
        self._refusals_waiting += 1
        row = Refusal(
            at=self.clock.now(),
            charger_id=mask(None, identity).replace("\0", "")[:64],
            backoffice_id=known.backoffice_id if known else None,
            station_id=known.station_id if known else None,
            address=address,
            status=refusal.status,
            reason=refusal.reason,
            detail=refusal.detail,
        )
        self.spawn(self._keep_refusal(row))

    async def _keep_refusal(self, row: Refusal) -> None:
        try:
            async with self._cold, self.database.session() as session:
                session.add(row)
                await session.flush()
                if row.id % TRIM_REFUSALS_EVERY == 0:
                    await presence.trim_refusals(session, self.settings.refusal_log_rows)
        except Unavailable:
            logger.warning("gateway.refusal_not_kept", charger_id=row.charger_id)
        finally:
            await asyncio.sleep(0.05)
            self._refusals_waiting -= 1

    # --- presence

    def take_over(self, connection: ChargerConnection, *, alerted: bool = False) -> None:
        """Make this socket the charger's own, in place of an older one that is still open."""
        charger = connection.charger
        if self._second.get(charger.id) is connection:
            del self._second[charger.id]
        before = self.links.attach(charger.id, connection)
        connection.attached = True
        if isinstance(before, ChargerConnection):
            # What the old socket knows is newer than what was read when this one was opened.
            connection.sessions, connection.told = before.sessions, before.told
            before.replaced()

        def written(error: Exception | None) -> None:
            if error is None and before is None and connection.attached:
                self._tell(connection, "charger.online", online=True)
            if alerted:
                self.spawn(self._came_online(charger.id))

        self._write_presence(
            [(presence.CHARGER_SEEN, _seen(connection, self.clock.now(), online=True))], written
        )

    def connection_closed(self, connection: ChargerConnection, code: int, reason: str) -> None:
        """Write how a connection ended; the charger is offline unless another socket has taken over.

        One that is open and has been silent so far takes over now.
        """
        self._connections.discard(connection)
        self.figures.flush()
        second = self._second.get(connection.charger.id)
        if second is connection:
            del self._second[connection.charger.id]
        elif second is not None and connection.attached and not self._draining:
            self.take_over(second)
        metrics.CONNECTIONS.set(len(self._connections))
        was_attached = connection.attached
        connection.attached = False
        now = self.clock.now()
        closed = {
            **connection.opened,
            "closed_at": now,
            "close_code": code,
            "close_reason": reason.replace("\0", "")[:200],
        }
        facts: list[Fact] = [(presence.CONNECTION, closed)]
        gone = was_attached and self.links.detach(connection.charger.id, connection)
        if gone and not self._draining:
            # A charger that a stop sends away stays online in the database: if it does not come back to
            # the next server, that one finds it (`forget_the_dead`), and the alert follows.
            facts.append((presence.CHARGER_SEEN, _seen(connection, now, online=False)))

        def written(error: Exception | None) -> None:
            if gone and error is None and self.links.get(connection.charger.id) is None:
                self._tell(connection, "charger.offline", online=False)
            if gone and not self._draining:
                self.spawn(self._went_offline(connection, now))

        self._write_presence(facts, written)

    async def _went_offline(self, connection: ChargerConnection, now: datetime) -> None:
        await self._publish(
            lambda session: presence.went_offline(session, connection.charger.id, str(connection.id), now)
        )

    async def _came_online(self, charger_id: str) -> None:
        await self._publish(
            lambda session: emit(session, presence.CHARGER_CAME_ONLINE, charger_id=charger_id)
        )

    async def _publish(self, work: Callable[[AsyncSession], Awaitable[None]]) -> None:
        """Publish a fact that nobody tells a second time: again and again while the database is away."""
        while True:
            try:
                async with self._cold, self.database.session() as session:
                    await work(session)
            except Unavailable:
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return

    def _tell(self, connection: ChargerConnection, kind: str, *, online: bool) -> None:
        charger = connection.charger
        data = {
            "id": charger.id,
            "station_id": str(charger.station_id) if charger.station_id else None,
            "online": online,
            "last_seen": utc_z(connection.last_seen),
        }
        self.live.publish(Event(Topic.CHARGERS, kind, data, charger.backoffice_id, charger.station_id))


async def _until(condition: Callable[[], bool], deadline: float) -> None:
    """Wait for a condition of many connections, at most until `deadline`; only the drain needs it."""
    while not condition() and time.monotonic() < deadline:  # noqa: ASYNC110 # an event for each message would cost
        await asyncio.sleep(0.02)


def _seen(connection: ChargerConnection, at: datetime, *, online: bool) -> Row:
    return {
        "charger_id": connection.charger.id,
        "online": online,
        "last_seen": connection.last_seen,
        "at": at,
    }


def _nobody(now: datetime) -> Row:
    return {"charger_id": "", "online": False, "last_seen": now, "at": now}


def _nothing(error: Exception | None) -> None:
    """Nobody waits for this entry; the writer has logged what went wrong."""

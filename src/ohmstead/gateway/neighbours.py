"""The gateway among those of other processes, with which it shares chargers, commands and live events.

What must be right whatever happens to Redis is in PostgreSQL: who is online, who is dead (`core.processes`).
Over Redis go the calls, the events, and the news that a charger is somewhere else now. A frame of a charger
never waits for it; a handshake asks once whether another process holds the charger.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import structlog
from sqlalchemy.exc import DBAPIError

from ohmstead.charging.counting import mend_figures
from ohmstead.core.errors import Unavailable
from ohmstead.core.live import Event
from ohmstead.core.live_relay import LiveRelay
from ohmstead.core.processes import Processes, bury
from ohmstead.core.redis import Redis, RedisAway
from ohmstead.core.tasks import end
from ohmstead.gateway import presence
from ohmstead.gateway.connection import ChargerConnection
from ohmstead.link.presence import Presence
from ohmstead.link.routing import Routing

if TYPE_CHECKING:
    from ohmstead.gateway.server import Gateway

logger = structlog.stdlib.get_logger(__name__)

START_SECONDS = 3.0
"""A Redis that is not there by then is away: the server starts without it and goes on trying."""
HOLDER_SECONDS = 1.0


class Neighbours:
    """What connects this process with the others: made only where there may be others (REDIS_URL)."""

    def __init__(self, gateway: "Gateway", processes: Processes) -> None:
        self._gateway = gateway
        self._processes = processes
        self.redis = Redis(gateway.settings, str(processes.id))
        self._presence = Presence(self.redis, ttl_seconds=gateway.settings.ocpp_ping_interval)
        self._presence.on_dated = self._dated
        self._presence.on_taken = self._taken
        self._presence.on_left = self._left
        self._presence.on_refreshed = self._refreshed
        self._routing = Routing(self.redis, gateway.links, self._presence)
        self._relay = LiveRelay(gateway.live, self.redis)
        self._relay.heard = self._heard
        self._relay.missed = gateway.attendance.trust_nothing
        self._burying = False
        self._comparing: asyncio.Task[None] | None = None
        self.redis.on_back.append(self._back)
        gateway.links.beyond = self._routing
        processes.on_dead = self._dead
        processes.on_forgotten = gateway.attendance.come_back

    async def start(self) -> None:
        """Connect, and begin to talk; Redis may be away."""
        self.redis.start()
        self._relay.start()
        self._presence.start()
        self._comparing = asyncio.create_task(self._compare_on(), name="presence compared")
        if not await self.redis.ready(START_SECONDS):
            logger.error("redis.away_at_the_start", why=self.redis.why)

    async def stop(self) -> None:
        """Say what is still to be said, and leave."""
        await end(self._comparing)
        await self._routing.stop()
        await self._presence.stop()
        await self._relay.stop()
        await self.redis.stop()

    def fault(self) -> str | None:
        """Tell what is wrong between this process and the others; None when all is well."""
        if not self.redis.connected:
            return "away: this process works on with its own chargers"
        if self._presence.fault is not None:
            return f"refuses to keep where the chargers are: {self._presence.fault}"
        heard = self._relay.heard_from()
        unheard = [str(one) for one in self._processes.others if str(one) not in heard]
        if not unheard:
            return None
        return (
            f"not heard of others that serve this database ({len(unheard)}): give all processes the same"
            " REDIS_URL and OHMSTEAD_SECRET_KEY"
        )

    # --- sockets

    async def hold(self, charger_id: str) -> bool:
        """Whether another process holds a charger's socket; while Redis is away nobody is known to."""
        try:
            async with asyncio.timeout(HOLDER_SECONDS):
                return await self._presence.holder(charger_id) is not None
        except (RedisAway, TimeoutError):
            return False

    def attached(self, connection: ChargerConnection) -> None:
        """Tell the others that a socket has become its charger's own here."""
        self._presence.claim(connection.charger.id, connection.id_text, connection.since)

    def detached(self, connection: ChargerConnection) -> None:
        """Tell the others that a socket has ended."""
        self._presence.release(connection.charger.id, connection.id_text)

    def _connection(self, charger_id: str, connection_id: str) -> ChargerConnection | None:
        """Return the socket that serves a charger here, if it is that one."""
        connection = self._gateway.links.get(charger_id)
        if isinstance(connection, ChargerConnection) and connection.id_text == connection_id:
            return connection
        return None

    def _dated(self, charger_id: str, connection_id: str, since: datetime, moved: bool) -> None:
        connection = self._connection(charger_id, connection_id)
        if connection is not None:
            self._gateway.attendance.dated(connection, since, moved=moved)

    def _taken(self, charger_id: str, connection_id: str) -> None:
        connection = self._connection(charger_id, connection_id)
        if connection is not None:
            self._gateway.attendance.give_up(connection)

    def _left(self, charger_id: str) -> None:
        # It may be somewhere by the time that this is heard.
        if self._gateway.attendance.waiting.newest(charger_id) is not None:
            self._gateway.spawn(self._look_after(charger_id))

    def _heard(self, events: list[Event]) -> None:
        """Take the events of others before the listeners here get them."""
        gateway = self._gateway
        gateway.forget_ended(events)
        for event in events:
            if event.kind == presence.OFFLINE:
                # After it: what another process says of its socket may overtake what is said of a later one.
                asyncio.get_running_loop().call_soon(gateway.attendance.contradict, event.data["id"])

    def _refreshed(self) -> None:
        for charger_id in self._gateway.attendance.waiting_for_others():
            self._gateway.spawn(self._look_after(charger_id))

    async def _look_after(self, charger_id: str) -> None:
        """Serve a silent socket whose charger another process held, once its key has ended."""
        try:
            holder = await self._presence.holder(charger_id)
        except RedisAway:
            return
        if holder is None:
            self._gateway.attendance.serve_waiting(charger_id)

    # --- what was not heard

    def _back(self) -> None:
        """Close, when Redis is back, what others may have said in vain that it must be closed."""
        attendance = self._gateway.attendance
        if attendance:
            self._gateway.spawn(self._gateway.publish(attendance.check_who_was_let_in))

    async def _compare_on(self) -> None:
        while True:
            await asyncio.sleep(self._gateway.settings.ocpp_ping_interval / 3)
            if self._gateway.draining:
                continue
            try:
                await self.compare()
            except (Unavailable, DBAPIError) as error:
                logger.debug("gateway.not_compared", why=type(error).__name__)
            except Exception:
                # A fault of ours in one look must not end it.
                logger.exception("gateway.compare_failed")

    async def compare(self) -> None:
        """Put right who is online where what sockets said of themselves did not come out as it is.

        The last word on a charger may have been that of a socket which never knew of a later one (Redis was
        away), or of a process that was killed.
        """
        gateway = self._gateway
        now = gateway.clock.now()
        patience = timedelta(seconds=gateway.settings.ocpp_ping_interval)
        here = gateway.attendance.serving()
        if not self.redis.connected:  # nobody can tell that the socket for which they wait has ended
            here += gateway.attendance.waiting_for_others()
        async with gateway.cold, gateway.database.session() as session:
            offline = await presence.offline(session, here)
            left = await presence.forget_the_left(session, now, now - patience)
        gateway.attendance.say_again(offline)
        if left:
            logger.warning("gateway.left_without_a_word", chargers=len(left))

    # --- the dead

    def _dead(self, dead: Sequence[UUID]) -> None:
        if not self._burying:
            self._burying = True
            self._gateway.spawn(self._bury(dead))

    async def _bury(self, dead: Sequence[UUID]) -> None:
        """Take the chargers of dead processes as offline; one of the living does it, in one transaction."""
        gateway = self._gateway
        now = gateway.clock.now()
        try:
            async with gateway.database.session() as session:
                taken = await bury(session, dead)
                if not taken:
                    return
                held = await presence.forget_the_dead(session, now, taken)
            logger.warning(
                "gateway.buried", processes=[str(one) for one in taken], connections_ended=len(held)
            )
            async with gateway.database.session() as session:
                await mend_figures(session, now)
        except (Unavailable, DBAPIError) as error:
            logger.warning("gateway.not_buried", why=type(error).__name__)  # the next beat tries again
        finally:
            self._burying = False

"""The gateway among those of other processes, with which it shares chargers, commands and live events.

What must be right whatever happens to Redis is in PostgreSQL: who is online, who is dead (`core.processes`).
Over Redis go the calls, the events, and the news that a charger is somewhere else now. A frame of a charger
never waits for it; a handshake asks once whether another process holds the charger.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

import structlog
from sqlalchemy.exc import DBAPIError

from ohmstead.charging.counting import mend_figures
from ohmstead.core.errors import Unavailable
from ohmstead.core.live_relay import LiveRelay
from ohmstead.core.processes import Processes, bury
from ohmstead.core.redis import Redis, RedisAway
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
        self._presence.on_taken = self._taken
        self._presence.on_left = self._left
        self._presence.on_refreshed = self._refreshed
        self._routing = Routing(self.redis, gateway.links, self._presence)
        self._relay = LiveRelay(gateway.live, self.redis)
        self._relay.heard = gateway.forget_ended
        self._relay.missed = gateway.attendance.trust_nothing
        self._burying = False
        gateway.links.beyond = self._routing
        processes.on_dead = self._dead
        processes.on_forgotten = gateway.attendance.come_back

    async def start(self) -> None:
        """Connect, and begin to talk; Redis may be away."""
        self.redis.start()
        self._relay.start()
        self._presence.start()
        if not await self.redis.ready(START_SECONDS):
            logger.error("redis.away_at_the_start", why=self.redis.why)

    async def stop(self) -> None:
        """Say what is still to be said, and leave."""
        await self._routing.stop()
        await self._presence.stop()
        await self._relay.stop()
        await self.redis.stop()

    def fault(self) -> str | None:
        """Tell what is wrong between this process and the others; None when all is well."""
        if not self.redis.connected:
            return "away: this process works on with its own chargers"
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

        def claimed(since: datetime) -> None:
            self._gateway.attendance.dated(connection, since)

        self._presence.claim(connection.charger.id, connection.id_text, connection.since, claimed)

    def detached(self, connection: ChargerConnection) -> None:
        """Tell the others that a socket has ended."""
        self._presence.release(connection.charger.id, connection.id_text)

    def _taken(self, charger_id: str, connection_id: str) -> None:
        connection = self._gateway.links.get(charger_id)
        if isinstance(connection, ChargerConnection) and connection.id_text == connection_id:
            self._gateway.attendance.give_up(connection)

    def _left(self, charger_id: str) -> None:
        self._gateway.attendance.serve_waiting(charger_id)

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

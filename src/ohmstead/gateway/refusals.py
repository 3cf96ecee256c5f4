"""Refused handshakes: who is not looked at any more, and what is kept of each."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog
from sqlalchemy import select

from ohmstead.core import metrics
from ohmstead.core.clock import Clock
from ohmstead.core.config import Settings
from ohmstead.core.db import Database
from ohmstead.core.errors import Unavailable
from ohmstead.gateway import presence
from ohmstead.gateway.handshake import MAX_IDENTITY, RateLimit
from ohmstead.gateway.models import Refusal
from ohmstead.ocpp.masking import mask
from ohmstead.stations.models import Charger

logger = structlog.stdlib.get_logger(__name__)

TRIM_EVERY = 500
WAITING_AT_MOST = 20
"""A flood of knocks must not become a flood of rows: what is over is in the metrics."""
PAUSE_SECONDS = 0.05
LOOKED_AT = 500
"""Characters of an identity or a reason that are looked at: masking takes as long as the text is."""


class Refusals:
    """What this process refuses. `turn` bounds how many are written at once, `spawn` runs something aside."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        clock: Clock,
        turn: asyncio.Semaphore,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._keep_rows = settings.refusal_log_rows
        self._database = database
        self._clock = clock
        self._turn = turn
        self._spawn = spawn
        self._waiting = 0
        self.limit = RateLimit(settings.ocpp_refusals_per_minute)

    def note(self, identity: str, address: str | None, status: int, reason: str, detail: str) -> None:
        """Count a refusal and keep it: who it was, by what was said, from where, and why; secrets masked."""
        metrics.HANDSHAKES.labels(str(status)).inc()
        if status in {401, 404}:
            self.limit.refused(address, identity[:LOOKED_AT])
        if status == 503 or self._waiting >= WAITING_AT_MOST:
            return
        self._waiting += 1
        row = Refusal(
            at=self._clock.now(),
            charger_id=_shown(identity, 64),
            address=address,
            status=status,
            reason=reason,
            detail=_shown(detail, 300),
        )
        self._spawn(self._keep(row, identity))

    async def _keep(self, row: Refusal, identity: str) -> None:
        try:
            async with self._turn, self._database.session() as session:
                if len(identity) <= MAX_IDENTITY and "\0" not in identity:
                    # Whose charger it says it is: its business sees that somebody is refused in its name.
                    owner = select(Charger.backoffice_id, Charger.station_id).where(Charger.id == identity)
                    found = (await session.execute(owner)).one_or_none()
                    if found is not None:
                        row.backoffice_id, row.station_id = found
                session.add(row)
                await session.flush()
                if row.id % TRIM_EVERY == 0:
                    await presence.trim_refusals(session, self._keep_rows)
        except Unavailable:
            logger.warning("gateway.refusal_not_kept", charger_id=row.charger_id)
        finally:
            await asyncio.sleep(PAUSE_SECONDS)
            self._waiting -= 1


def _shown(text: str, longest: int) -> str:
    storable = text[:LOOKED_AT].encode("utf-8", "replace").decode().replace("\0", "")
    return mask(None, storable)[:longest]

"""The running figures of open sessions (energy, power, charge): each is written once a second at most.

A meter value is stored before it is answered; what it adds up to is worked out from it, and so may follow.
The first value after a second takes the figures along in its own group. Those of the values between wait
here, and are written by the clock, when the charger leaves, and before anybody reads the sessions of this
process. A server that is killed leaves sums that are a second old, and works them out anew at its next
start (`charging.counting.mend_figures`).

Figures of a meter (`OpenSession.meter`) may fall as well as rise, so it matters which are written last:
those always wait, and of one session only one write is on its way.

Watchers are told of a session once a second as well. What they were not told waits here too, so that the
last of several values is not kept from them until the next one comes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.charging.metering import FIGURES, Figures, OpenSession
from ohmstead.core.facts import FactKind, Row

logger = structlog.stdlib.get_logger(__name__)

WRITE_EVERY = timedelta(seconds=1)
AT_ONCE = 100
"""Sessions in one statement beside the chargers' own, so that none of those waits long."""

Write = Callable[..., Awaitable[None]]
"""Writes facts with the next group, and returns when it has committed."""


class RunningFigures:
    """The figures of this process that the database does not have yet."""

    def __init__(self) -> None:
        self._write: Write | None = None
        self._late: dict[UUID, Figures] = {}
        self._flying: dict[UUID, asyncio.Task[None]] = {}
        self._untold: dict[UUID, Callable[[], None]] = {}

    def write_by(self, write: Write) -> None:
        """Say who writes."""
        self._write = write

    def due(self, session: OpenSession, now: datetime) -> bool:
        """Tell whether the figures of a session go with the value that was just counted."""
        if session.meter is not None:
            session.figures_at = now
            return False
        if session.figures_at is not None and abs(now - session.figures_at) < WRITE_EVERY:
            return False
        session.figures_at = now
        return True

    def written(self, figures: Figures) -> None:
        """Forget what waited, unless it is newer: these figures have been written with a value."""
        late = self._late.get(figures.id)
        if late is not None and not late.measured and late.last_sample_at <= figures.last_sample_at:
            del self._late[figures.id]

    def forget(self, session: OpenSession) -> None:
        """Forget what waited: the session has been measured anew with all that is stored."""
        self._late.pop(session.id, None)

    def later(self, session: OpenSession) -> None:
        """Keep the figures of a session until they are written; its values are stored by now."""
        self._late[session.id] = session.figures()

    def tell_later(self, session: OpenSession, tell: Callable[[], None]) -> None:
        """Keep what watchers of a session were not told, until the second is over."""
        self._untold[session.id] = tell

    def told(self, session: OpenSession) -> None:
        """Forget what watchers were not told: they have been told what is newer."""
        self._untold.pop(session.id, None)

    def owes(self, ids: Iterable[UUID]) -> bool:
        """Tell whether any of these sessions has figures that the database may not have."""
        return any(one in self._late or one in self._flying for one in ids)

    def tick(self) -> None:
        """What the clock does each second: begin to write what waits, and tell what was not told."""
        untold, self._untold = self._untold, {}
        self.flush()
        for tell in untold.values():
            try:
                tell()
            except Exception:
                # Who watches must not keep the clock of all sessions from going on.
                logger.exception("charging.figures_untold")

    def flush(self, ids: Iterable[UUID] | None = None) -> None:
        """Begin to write what waits, of these sessions or of all."""
        wanted = self._late if ids is None else self._late.keys() & ids
        ready = [one for one in wanted if one not in self._flying]
        for start in range(0, len(ready), AT_ONCE):
            self._send({one: self._late.pop(one) for one in ready[start : start + AT_ONCE]})

    async def settle(self, ids: Iterable[UUID] | None = None) -> None:
        """Write what waits, of these sessions or of all, and return when it is there.

        What cannot be written waits on: who wanted to read finds out for himself that the database is away.
        """
        if not self._late and not self._flying:
            return
        wanted = None if ids is None else set(ids)
        if wanted is not None and not self.owes(wanted):
            return
        for _ in range(2):  # once for what is on its way, once for what waits behind it
            self.flush(wanted)
            tasks = {task for one, task in self._flying.items() if wanted is None or one in wanted}
            if not tasks:
                return
            await asyncio.wait(tasks)

    def _send(self, figures: dict[UUID, Figures]) -> None:
        task = asyncio.get_running_loop().create_task(self._deliver(figures), name="session figures")
        for one in figures:
            self._flying[one] = task

    async def _deliver(self, figures: dict[UUID, Figures]) -> None:
        if self._write is None:
            raise RuntimeError("nobody has said who writes the figures of sessions")
        facts: list[tuple[FactKind, Row]] = [(FIGURES, one.row()) for one in figures.values()]
        try:
            await self._write(*facts)
        except Exception as error:  # noqa: BLE001 # whatever it was, the figures must not be lost
            logger.warning("charging.figures_late", sessions=len(figures), why=str(error))
            for one, kept in figures.items():
                self._late.setdefault(one, kept)
        finally:
            for one in figures:
                self._flying.pop(one, None)


async def figures_written(session: AsyncSession) -> None:
    """Before sessions are read: let their rows tell all that has been answered."""
    figures: RunningFigures | None = session.info.get("figures")
    if figures is not None:
        await figures.settle()

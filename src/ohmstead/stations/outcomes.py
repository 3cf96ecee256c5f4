"""What other domains make of a command: before it goes out, and when the charger has answered.

A domain that keeps something of a command (a reservation, a configuration key, a charging profile) puts
its hooks into `Outcomes`, by the action; the application fills it once. Each runs in a short transaction
of its own: before the charger is asked, and after its answer, before the caller gets it. Nothing is held
while the charger thinks.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.core.clock import Clock
from ohmstead.core.db import Database
from ohmstead.link.links import Answer, ChargerOffline, Links
from ohmstead.stations import commands, commands_trail


@dataclass(frozen=True, slots=True)
class Asked:
    """A command that goes out: its payload as an object, to be read and not changed."""

    charger_id: str
    action: str
    payload: dict[str, Any]
    now: datetime


@dataclass(frozen=True, slots=True)
class Told:
    """A command and what came of it.

    `answer` is None when the charger left before it answered, or was so busy that it was not asked.
    """

    charger_id: str
    action: str
    payload: dict[str, Any]
    answer: Answer | None
    now: datetime


Before = Callable[[AsyncSession, Asked], Awaitable[None]]
After = Callable[[AsyncSession, Told], Awaitable[None]]


@dataclass
class Outcomes:
    """The hooks of every domain, by the action of the command."""

    before: dict[str, list[Before]] = field(default_factory=lambda: defaultdict(list))
    after: dict[str, list[After]] = field(default_factory=lambda: defaultdict(list))


@dataclass(frozen=True, slots=True)
class Commands:
    """The one way in which operators and jobs ask a charger something."""

    database: Database
    links: Links
    clock: Clock
    outcomes: Outcomes

    async def send(
        self,
        charger_id: str,
        action: str,
        body: bytes | dict[str, Any],
        *,
        wait_seconds: float | None = None,
        recorded: bool = True,
    ) -> Answer:
        """Send a command, and let the domains that care keep what it comes to. Returns the charger's answer.

        It is written into the audit trail, unless the caller has done that already (`recorded=False`).

        Raises `Invalid` for the payload before anything is kept, `ChargerOffline`, and `ChargerBusy` for
        what was not sent (see `ChargerLink.call`); a hook that refuses before the command raises its own
        error, and nothing is sent. Hold no transaction.
        """
        payload_json = commands.checked(action, body)
        payload: dict[str, Any] = orjson.loads(payload_json)
        await self._before(Asked(charger_id, action, payload, self.clock.now()))
        answer: Answer | None = None
        try:
            answer = await self.links.call(charger_id, action, payload_json, wait_seconds=wait_seconds)
        except ChargerOffline:
            await self._after(Told(charger_id, action, payload, None, self.clock.now()), recorded=recorded)
            raise
        await self._after(Told(charger_id, action, payload, answer, self.clock.now()), recorded=recorded)
        return answer

    async def _before(self, asked: Asked) -> None:
        if self.outcomes.before.get(asked.action):
            async with self.database.session() as session:
                for before in self.outcomes.before[asked.action]:
                    await before(session, asked)

    async def _after(self, told: Told, *, recorded: bool) -> None:
        hooks = self.outcomes.after.get(told.action, ())
        recorded = recorded and told.action not in commands_trail.CHANGE_NOTHING
        if hooks or recorded:
            async with self.database.session() as session:
                for after in hooks:
                    await after(session, told)
                if recorded:
                    await commands_trail.recorded(
                        session, told.charger_id, told.action, told.payload, told.answer
                    )

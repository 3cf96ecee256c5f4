"""Templates are held against chargers after their accepted boots; what differs is sent, and nothing else.

- An accepted boot of a charger with a template makes its turn due. Turns are rows: they survive a killed
  process, and wait while the charger is away.
- In its turn the charger is asked for the keys of its template, and given those that differ. Where it does
  not answer, the turn is tried again a minute later, a few times, and then at its next boot.
- A key that wants a restart waits for the next boot: nobody restarts a charger for it. Then it is read and,
  if it still differs, sent again. What the charger does not have after `keys.TRIES` times is given up.
- One runner at a time, in whichever process, works on `AT_ONCE` chargers: a slow one holds up nobody.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.core.config import Settings
from ohmstead.core.errors import Unavailable
from ohmstead.core.jobs import defer
from ohmstead.core.tasks import end
from ohmstead.fleet.configuration import keeping
from ohmstead.fleet.configuration.asking import find_max_keys, read_keys
from ohmstead.fleet.configuration.keys import (
    HEARTBEAT,
    fold,
    heartbeat_seconds,
    is_sent,
    state_of,
    tries_of,
)
from ohmstead.fleet.configuration.models import ConfigurationTurn, Ending
from ohmstead.fleet.configuration.outcomes import change_status
from ohmstead.fleet.configuration.wanted import Placed, Wanted, wanted_of
from ohmstead.link.links import Answer, ChargerOffline, ChargerUnreachable
from ohmstead.stations.models import Charger, Registration
from ohmstead.stations.outcomes import Commands

logger = structlog.stdlib.get_logger(__name__)

TASK = "configuration:apply_templates"
SETTLE = timedelta(seconds=2)
"""A charger gets the answer to its boot before it gets our questions."""
AT_ONCE = 16
ATTEMPTS = 3
AGAIN_AFTER = timedelta(minutes=1)
LOOK_EVERY = 1.0
"""Seconds after which a runner that waits for slow chargers looks for others that are due."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A charger whose turn it is; `due_at` says which boot made it so."""

    charger_id: str
    due_at: datetime


@dataclass(frozen=True, slots=True)
class End:
    """How a turn ended. `again`: it is tried once more, unless that was done often enough (and `counts`)."""

    ending: Ending
    detail: str = ""
    again: bool = False
    counts: bool = True


async def booted(session: AsyncSession, charger: Placed, now: datetime) -> int | None:
    """Make the turn of a charger due that has booted and has a template; called in the boot's transaction.

    Returns the heartbeat interval in seconds that its template wants, for the answer to its boot: the
    charger would take ours in place of it (OCPP 1.6 4.2).
    """
    wanted = await wanted_of(session, charger)
    if not wanted.keys:
        return None
    due_at = now + SETTLE
    place = insert(ConfigurationTurn).values(charger_id=charger.id, due_at=due_at, attempts=0)
    await session.execute(
        place.on_conflict_do_update(index_elements=["charger_id"], set_={"due_at": due_at, "attempts": 0})
    )
    await defer(session, TASK, run_at=due_at)
    return heartbeat_seconds(wanted.keys.get(HEARTBEAT, ("", ""))[1])


async def run_due(commands: Commands, settings: Settings) -> int:
    """Work on every charger whose turn is due until there is none; returns how many turns were taken.

    Does nothing while another runner is at work: that one takes what has become due.
    """
    runner = _Runner(commands, lease=timedelta(seconds=2 * settings.ocpp_call_timeout + 60))
    return await runner.run()


class _Runner:
    """Works on up to `AT_ONCE` chargers side by side."""

    def __init__(self, commands: Commands, lease: timedelta) -> None:
        self._commands = commands
        self._lease = lease
        self._taken = 0

    async def run(self) -> int:
        """Take turns until none is due. See `run_due`."""
        async with self._commands.database.session() as session:
            now = self._commands.clock.now()
            query = select(ConfigurationTurn.charger_id).where(ConfigurationTurn.claimed_until > now).limit(1)
            if await session.scalar(query) is not None:
                return 0
        working: set[asyncio.Task[None]] = set()
        try:
            while True:
                for turn in await self._claim(AT_ONCE - len(working)):
                    working.add(asyncio.create_task(self._take(turn)))
                    self._taken += 1
                if not working:
                    return self._taken
                waiting = asyncio.wait(working, timeout=LOOK_EVERY, return_when=asyncio.FIRST_COMPLETED)
                ended, working = await waiting
                for task in ended:
                    task.result()
        finally:
            await end(*working)

    async def _claim(self, room: int) -> Sequence[Turn]:
        """Hold some turns that are due, of chargers that are there to be asked."""
        if room <= 0:
            return ()
        now = self._commands.clock.now()
        free = (ConfigurationTurn.claimed_until.is_(None)) | (ConfigurationTurn.claimed_until <= now)
        due = (
            select(ConfigurationTurn)
            .join(Charger, Charger.id == ConfigurationTurn.charger_id)
            .where(
                ConfigurationTurn.due_at <= now,
                free,
                Charger.online,
                Charger.retired_at.is_(None),
                Charger.registration == Registration.ACCEPTED,
            )
            .order_by(ConfigurationTurn.due_at, ConfigurationTurn.charger_id)
            .limit(room)
            .with_for_update(of=ConfigurationTurn, skip_locked=True)
        )
        async with self._commands.database.session() as session:
            rows = (await session.scalars(due)).all()
            for row in rows:
                row.claimed_until = now + self._lease
        return [Turn(row.charger_id, row.due_at) for row in rows if row.due_at is not None]

    async def _take(self, turn: Turn) -> None:
        """Work on one charger. When the database is away, its turn comes again once the claim has ended."""
        try:
            end = await self._end_of(turn)
            async with self._commands.database.session() as session:
                await self._finish(session, turn, end)
        except Unavailable:
            logger.warning("configuration.template_later", charger_id=turn.charger_id)
        else:
            logger.info("configuration.template", charger_id=turn.charger_id, ending=end.ending)

    async def _end_of(self, turn: Turn) -> End:
        try:
            return await self._apply(turn)
        except ChargerUnreachable as error:
            return End(Ending.AWAY, error.message, again=True, counts=False)
        except ChargerOffline as error:
            return End(Ending.AWAY, error.message, again=True)
        except Unavailable:
            raise
        except Exception:  # one odd charger must not hold up the others
            logger.exception("configuration.template_failed", charger_id=turn.charger_id)
            return End(Ending.BROKEN, "This could not be done; it is in the server's log.", again=True)

    async def _apply(self, turn: Turn) -> End:
        """Read what the template of a charger names, and send what differs. Raises `ChargerOffline`."""
        commands, charger_id = self._commands, turn.charger_id
        async with commands.database.session() as session:
            charger = await session.get(Charger, charger_id)
            wanted = Wanted() if charger is None else await wanted_of(session, charger)
        if not wanted.keys:
            return End(Ending.DONE)
        failed = await self._read(charger_id, wanted)
        if failed is not None:
            return failed
        for key, value in wanted.keys.values():
            if not await self._is_to_be_sent(charger_id, key, value):
                continue
            answer = await commands.send(charger_id, keeping.CHANGE, {"key": key, "value": value})
            if change_status(answer) == "Timeout":
                return End(Ending.UNANSWERED, f"No answer to ChangeConfiguration of {key}.", again=True)
        return End(Ending.DONE)

    async def _read(self, charger_id: str, wanted: Wanted) -> End | None:
        names = [key for key, _ in wanted.keys.values()]
        answer: Answer | int | None = None
        if len(names) > 1:
            answer = await find_max_keys(self._commands, self._commands.database, charger_id)
        if not isinstance(answer, Answer):
            answer = await read_keys(self._commands, charger_id, names, answer)
        if answer is None or answer.response is not None:
            return None
        if answer.error_code is None:
            return End(Ending.UNANSWERED, "No answer to GetConfiguration.", again=True)
        what = f"GetConfiguration was answered with the error {answer.error_code}."
        return End(Ending.REFUSED, what.replace("\0", "")[:300])

    async def _is_to_be_sent(self, charger_id: str, key: str, value: str) -> bool:
        """Look whether a key is to be sent now; if so that is counted, and the turn held on to."""
        async with self._commands.database.session() as session:
            now = self._commands.clock.now()
            turn = await keeping.lock(session, charger_id)
            if turn is None:
                return False
            row = (await keeping.rows_of(session, charger_id, [key])).get(fold(key))
            booted_at = await session.scalar(select(Charger.last_boot_at).where(Charger.id == charger_id))
            tries = tries_of(row, value, now)
            if not is_sent(state_of(row, value, booted_at=booted_at, now=now), tries):
                return False
            await keeping.keep_try(session, charger_id, key, value, tries + 1)
            turn.claimed_until = now + self._lease
            await session.flush()
        return True

    async def _finish(self, session: AsyncSession, turn: Turn, end: End) -> None:
        """Write how a turn ended. One that a new boot has made due meanwhile stays due."""
        now = self._commands.clock.now()
        row = await keeping.lock(session, turn.charger_id)
        if row is None:
            return
        row.claimed_until = None
        row.ending, row.detail, row.ended_at = end.ending, end.detail or None, now
        if row.due_at == turn.due_at:
            row.attempts += end.counts
            again = end.again and row.attempts < ATTEMPTS
            row.due_at = now + AGAIN_AFTER if again else None
        await session.flush()

"""Sending a charger the list that its rule makes: what is due, or all of it.

1. Its limits are asked for where it never told them, and the version that it has (OCPP 1.6 5.10).
2. A Differential goes out when that is the version that it acknowledged with known content; else a Full.
3. After VersionMismatch, or a Differential that failed, the whole list is sent once (5.15).

No transaction is open while it is asked. What it acknowledges is kept by the hooks of the commands, message
by message: a list that is sent in parts and breaks off is known as far as it went.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.core.errors import Conflict
from ohmstead.fleet.configuration import keeping as configuration
from ohmstead.fleet.configuration.asking import read_keys
from ohmstead.fleet.configuration.keys import fold as fold_key
from ohmstead.fleet.configuration.keys import max_keys
from ohmstead.fleet.local_lists import keeping
from ohmstead.fleet.local_lists.entries import (
    MAX_VERSION,
    Update,
    by_tag,
    due_updates,
    full_updates,
    next_version,
)
from ohmstead.fleet.local_lists.models import Ending, LocalList
from ohmstead.fleet.local_lists.wanted import Wanted, wanted_of
from ohmstead.link.links import Answer, ChargerOffline
from ohmstead.stations.models import Charger
from ohmstead.stations.outcomes import Commands

LIST_MAX, SEND_MAX = "LocalAuthListMaxLength", "SendLocalListMaxLength"
AT_ONCE_IF_UNKNOWN = 500
"""Entries in one message to a charger that does not say how many it takes: about 60 KB."""


@dataclass(frozen=True, slots=True)
class Step:
    """One SendLocalList: how many entries it had, and the charger's word."""

    update_type: str
    version: int
    entries: int
    status: Ending


@dataclass(frozen=True, slots=True)
class Sent:
    """What came of sending; `ending` is None when nothing was due."""

    ending: Ending | None
    detail: str = ""
    steps: list[Step] = field(default_factory=list)
    answer: Answer | None = None


async def send_list(
    commands: Commands,
    charger_id: str,
    *,
    patience: float,
    full: bool = False,
    wait_seconds: float | None = None,
) -> Sent:
    """Make the list of a charger what its rule says. `patience`: seconds that it may take for an answer.

    Raises `ChargerOffline` when nothing reached it, and `Conflict` without a rule and while another one is
    sending to the same charger.
    """
    await _claim(commands, charger_id, patience, first=True)
    try:
        return await _Sender(commands, charger_id, patience, wait_seconds).send(full=full)
    finally:
        async with commands.database.session() as session:
            row = await keeping.row_of(session, charger_id, lock=True)
            if row is not None:
                row.claimed_until = None
                await session.flush()


async def _claim(commands: Commands, charger_id: str, patience: float, *, first: bool) -> None:
    """Hold the charger's list for as long as one message may take."""
    async with commands.database.session() as session:
        now = commands.clock.now()
        row = await keeping.locked(session, charger_id)
        if row is None:
            raise Conflict(f"The charger {charger_id} is not there any more.")
        if first and row.claimed_until is not None and row.claimed_until > now:
            raise Conflict(
                "The list of this charger is being sent at this moment. Look again in a minute.",
                code="LocalListBusy",
            )
        row.claimed_until = now + timedelta(seconds=2 * patience + 60)
        await session.flush()


class _Sender:
    """One sending to one charger."""

    def __init__(
        self, commands: Commands, charger_id: str, patience: float, wait_seconds: float | None
    ) -> None:
        self._commands = commands
        self._charger_id = charger_id
        self._patience = patience
        self._wait_seconds = wait_seconds
        self._steps: list[Step] = []

    async def send(self, *, full: bool) -> Sent:
        """Plan and send; see `send_list`."""
        async with self._commands.database.session() as session:
            await self._wanted(session, self._commands.clock.now())
        longest, at_once = await self._limits()
        unusable = await self._ask_version()
        if unusable is not None:
            return unusable
        async with self._commands.database.session() as session:
            now = self._commands.clock.now()
            wanted = await self._wanted(session, now)
            row = await keeping.locked(session, self._charger_id)
            if row is None:
                raise Conflict(f"The charger {self._charger_id} is not there any more.")
            row.tried = wanted.digest
            if longest is not None and len(wanted.entries) > longest:
                detail = (
                    f"The rule names {len(wanted.entries)} tags, the charger holds at most {longest}"
                    f" ({LIST_MAX}). Narrow the rule."
                )
                row.ending, row.detail, row.ended_at = Ending.TOO_LONG, detail, now
                await session.flush()
                return Sent(Ending.TOO_LONG, detail)
            updates = _due(row, wanted, at_once, full=full)
            await session.flush()
        if not updates:
            return Sent(None, "The charger holds the list already.")
        sent = await self._send_all(updates)
        if sent.ending is Ending.VERSION_MISMATCH or (
            sent.ending is Ending.FAILED and updates[0].kind == "Differential"
        ):
            unusable = await self._ask_version()
            if unusable is not None:
                return unusable
            sent = await self._send_all(full_updates(wanted.entries, at_once))
        return sent

    async def _send_all(self, updates: list[Update]) -> Sent:
        """Send messages until one is not taken."""
        full = updates[0].kind == "Full"
        async with self._commands.database.session() as session:
            row = await keeping.row_of(session, self._charger_id)
            version = next_version(row.highest_version if row is not None else 0, full=full)
        for number, update in enumerate(updates):
            await _claim(self._commands, self._charger_id, self._patience, first=False)
            try:
                answer = await self._commands.send(
                    self._charger_id,
                    keeping.SEND,
                    update.payload(version + number),
                    wait_seconds=self._wait_seconds,
                )
            except ChargerOffline:
                if not self._steps:
                    raise
                ending, detail = keeping.ending_of(None)
                return Sent(ending, detail, self._steps)
            ending, detail = keeping.ending_of(answer)
            self._steps.append(Step(update.kind, version + number, len(update.entries), ending))
            if ending is not Ending.ACCEPTED:
                said = detail or f"The charger answered SendLocalList with {ending}."
                return Sent(ending, said, self._steps, answer)
        return Sent(Ending.ACCEPTED, "", self._steps)

    async def _wanted(self, session: AsyncSession, now: datetime) -> Wanted:
        charger = await session.scalar(select(Charger).where(Charger.id == self._charger_id))
        wanted = None if charger is None else await wanted_of(session, charger, now)
        if wanted is None:
            raise Conflict(
                "No rule says which tags this charger's list should hold. Make one for it, for its station or"
                " for the business.",
                code="LocalListRuleMissing",
            )
        return wanted

    async def _limits(self) -> tuple[int | None, int]:
        """Return how many tags the list may hold, and how many one message; asked for where never told."""
        names = [LIST_MAX, SEND_MAX]
        database = self._commands.database
        async with database.session() as session:
            rows = await configuration.rows_of(session, self._charger_id, names)
        missing = [name for name in names if fold_key(name) not in rows]
        if missing:
            await read_keys(self._commands, self._charger_id, missing, None, wait_seconds=self._wait_seconds)
            async with database.session() as session:
                rows = await configuration.rows_of(session, self._charger_id, names)
        known = {folded: max_keys(row.value) for folded, row in rows.items()}
        return known.get(fold_key(LIST_MAX)), known.get(fold_key(SEND_MAX)) or AT_ONCE_IF_UNKNOWN

    async def _ask_version(self) -> Sent | None:
        """Ask which version the charger has; returns the end of it all where it has none or does not say."""
        answer = await self._commands.send(self._charger_id, keeping.ASK, {}, wait_seconds=self._wait_seconds)
        version = keeping.version_in(answer)
        if version is not None and version >= 0:
            return None
        if version is not None:
            ending, detail = Ending.NOT_SUPPORTED, keeping.NOT_SUPPORTED
        elif answer.response is not None:
            ending, detail = (
                Ending.CALL_ERROR,
                "The charger's answer to GetLocalListVersion is none of OCPP 1.6.",
            )
        else:
            ending, detail = keeping.ending_of(answer)
            if ending is Ending.TIMEOUT:
                detail = "The charger did not answer GetLocalListVersion in time; nothing was sent."
        async with self._commands.database.session() as session:
            row = await keeping.row_of(session, self._charger_id, lock=True)
            if row is not None:
                row.ending, row.detail, row.ended_at = ending, detail, self._commands.clock.now()
                await session.flush()
        return Sent(ending, detail, self._steps, answer)


def _due(row: LocalList, wanted: Wanted, at_once: int, *, full: bool) -> list[Update]:
    """Return what is to be sent to a charger that has just told its version. An empty list gets a Full."""
    if not full and row.reported_version == 0 and not wanted.entries:
        return []
    known = row.entries is not None and not keeping.contradicted(row)
    if full or not known or not row.version or row.reported_version != row.version:
        return full_updates(wanted.entries, at_once)
    updates = due_updates(wanted.entries, by_tag(row.entries or []), at_once)
    if updates and row.highest_version + len(updates) > MAX_VERSION:
        return full_updates(wanted.entries, at_once)
    return updates

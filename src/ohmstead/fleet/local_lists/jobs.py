"""What local lists do by themselves: those of rules that keep them up to date are sent when they differ.

Nothing is queued in memory: each minute it is seen anew which chargers are there and hold another list than
their rule makes. So it survives a killed process, and a charger that was away gets its list when it is back.
"""

import asyncio
from datetime import timedelta

import structlog
from procrastinate import Blueprint, JobContext
from sqlalchemy import select

from ohmstead.core.errors import DomainError
from ohmstead.fleet.local_lists.models import Ending, LocalList, LocalListRule
from ohmstead.fleet.local_lists.sending import send_list
from ohmstead.fleet.local_lists.state import ListState, state_of
from ohmstead.fleet.local_lists.wanted import lists_of, rules_of
from ohmstead.stations.models import Charger, Registration
from ohmstead.stations.outcomes import Commands

NAMESPACE = "local_lists"
AT_ONCE = 8
IN_A_TURN = 500
AGAIN_AFTER = timedelta(minutes=15)
"""A charger that gave no usable answer is asked again after so long."""
DUE = frozenset({ListState.NEVER_SENT, ListState.OUTDATED, ListState.UNKNOWN})
UNANSWERED = frozenset({Ending.TIMEOUT, Ending.OFFLINE, Ending.CALL_ERROR})

logger = structlog.stdlib.get_logger(__name__)
blueprint = Blueprint()


@blueprint.periodic(cron="* * * * *")
@blueprint.task(name="keep_local_lists", pass_context=True, queueing_lock="keep_local_lists")
async def keep_local_lists(context: JobContext, timestamp: int) -> None:
    """Send the lists that are due to the chargers that are there."""
    means = context.additional_context
    await send_due(means["commands"], patience=means["settings"].ocpp_call_timeout)


async def send_due(commands: Commands, *, patience: float) -> list[str]:
    """Send what is due by rules that keep lists up to date; returns the ids of the chargers."""
    due = await due_chargers(commands)
    room = asyncio.Semaphore(AT_ONCE)

    async def one(charger_id: str) -> None:
        async with room:
            try:
                await send_list(commands, charger_id, patience=patience)
            except DomainError as error:  # it left, somebody else is sending, the rule has gone
                logger.info("local_lists.not_sent", charger_id=charger_id, reason=error.message)

    await asyncio.gather(*(one(charger_id) for charger_id in due))
    return due


async def due_chargers(commands: Commands) -> list[str]:
    """Return the chargers that are there and hold another list than they should, by rules that keep them."""
    now = commands.clock.now()
    async with commands.database.session() as session:
        keeps = select(LocalListRule.backoffice_id).where(LocalListRule.keep_up_to_date)
        query = (
            select(Charger)
            .where(
                Charger.backoffice_id.in_(keeps),
                Charger.online,
                Charger.registration == Registration.ACCEPTED,
                Charger.retired_at.is_(None),
            )
            .order_by(Charger.id)
        )
        chargers = (await session.scalars(query)).all()
        rules = {
            charger_id: rule
            for charger_id, rule in (await rules_of(session, chargers)).items()
            if rule.keep_up_to_date
        }
        lists = await lists_of(session, rules.values(), now)
        found = await session.scalars(select(LocalList).where(LocalList.charger_id.in_(rules)))
        rows = {row.charger_id: row for row in found}
        due: list[str] = []
        for charger_id, rule in rules.items():
            row = rows.get(charger_id)
            if row is not None and row.claimed_until is not None and row.claimed_until > now:
                continue
            unanswered = row is not None and row.ending in UNANSWERED and row.ended_at is not None
            if unanswered and row is not None and row.ended_at is not None:
                if row.ended_at > now - AGAIN_AFTER:
                    continue
                if state_of(row, lists[rule.id].digest) is ListState.FAILED:
                    due.append(charger_id)
                    continue
            if state_of(row, lists[rule.id].digest) in DUE:
                due.append(charger_id)
        return due[:IN_A_TURN]

"""A charger that was adopted boots again, and so learns that it is accepted.

Where it goes on with its socket it is asked at once. One that must connect anew, or is away, is asked a
moment after it has connected, unless it boots by itself (`Charger.boot_awaited`, set by the adoption).
"""

from datetime import datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.core.errors import DomainError
from ohmstead.core.jobs import defer
from ohmstead.link.links import ChargerBusy, ChargerOffline
from ohmstead.stations.disconnecting import disconnect
from ohmstead.stations.models import Charger
from ohmstead.stations.outcomes import Commands

SECONDS = 15.0
REASON = "the charger was adopted: boot again"
TASK = "onboarding:ask_to_boot"
PATIENCE = timedelta(seconds=5)
"""Most chargers boot by themselves when they connect: those need not be asked."""


async def boot_again(commands: Commands, charger_id: str) -> None:
    """Ask a charger for its BootNotification (OCPP 1.6 5.17); one that does not want to loses its socket.

    Runs after the unit of work that adopted it. A charger that is away, or leaves, is asked when it has
    connected. Sockets that wait beside its own were let in by what is no longer true: they are closed.
    """
    commands.links.disconnect_waiting(charger_id, REASON)
    try:
        answer = await commands.send(
            charger_id,
            "TriggerMessage",
            {"requestedMessage": "BootNotification"},
            wait_seconds=SECONDS,
        )
    except ChargerBusy:
        answer = None
    except ChargerOffline:
        return
    except DomainError:
        answer = None
    async with commands.database.session() as session:
        await session.execute(
            update(Charger)
            .where(Charger.id == charger_id, Charger.boot_awaited)
            .values(boot_awaited=False, updated_at=Charger.updated_at)
        )
    if answer is None or answer.status != "Accepted":
        await disconnect(commands.links, [charger_id], REASON)


async def connected(session: AsyncSession, charger_id: str, now: datetime) -> None:
    """See to it that a charger which has connected since its adoption is asked to boot, if need be."""
    if await session.scalar(select(Charger.boot_awaited).where(Charger.id == charger_id)):
        await defer(session, TASK, run_at=now + PATIENCE, charger_id=charger_id)


async def ask_to_boot(commands: Commands, charger_id: str) -> None:
    """Ask a charger to boot that has not done so since its adoption; it is asked once.

    One that has left again is asked when it is back.
    """
    async with commands.database.session() as session:
        taken = await session.scalar(
            update(Charger)
            .where(Charger.id == charger_id, Charger.boot_awaited, Charger.online)
            .values(boot_awaited=False, updated_at=Charger.updated_at)
            .returning(Charger.id)
        )
    if taken is not None:
        await boot_again(commands, charger_id)

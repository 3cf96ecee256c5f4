"""What the log of messages says of a person: the id tags in its frames.

The log is long: it is gone through day by day, each in a unit of work of its own.
"""

from datetime import timedelta

from sqlalchemy import func, select

from ohmstead.accounts.personal_data import Contribution, Person, erasing, take_out
from ohmstead.core.clock import Clock
from ohmstead.core.db import Database
from ohmstead.gateway.models import Message, Refusal

DAY = timedelta(days=1)

_refusals = erasing(Refusal.detail)


async def _erase(database: Database, person: Person, clock: Clock) -> None:
    async with database.session() as session:
        first, last = (
            await session.execute(select(func.min(Message.received_at), func.max(Message.received_at)))
        ).one()
    while first is not None and first <= last:
        async with database.session() as session:
            window = (Message.received_at >= first, Message.received_at < first + DAY)
            for column in (Message.request, Message.response):
                await take_out(session, person, column, *window, as_sent=True)
            await take_out(session, person, Message.note, *window)
        first += DAY
    await _refusals(database, person, clock)


MESSAGES = Contribution("messages", erase=_erase)

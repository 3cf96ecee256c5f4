"""What the log of messages says of a person: the id tags in its frames.

A frame is the person's when it names a tag that was the person's at the charger's business, or belongs to one
of its sessions; one of somebody else's session is not, whatever tag it names. The log is long: it is gone
through day by day, some rows in each unit of work.
"""

import re
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta

from sqlalchemy import func, or_, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.personal_data import (
    CHUNK,
    PATIENCE,
    Contribution,
    Person,
    Query,
    Rows,
    Sheet,
    columns_of,
)
from ohmstead.accounts.personal_data_tags import escapes_a_tag, frame_without_tags, names_a_tag
from ohmstead.charging.models import Session
from ohmstead.charging.personal_data import told_of
from ohmstead.core.clock import Clock
from ohmstead.core.db import Database
from ohmstead.gateway.models import Message
from ohmstead.stations.models import Charger

DAY = timedelta(days=1)
OF_MANY = frozenset({"SendLocalList"})
"""Frames that name the tags of many: erased from, and given out by the local lists themselves."""
_TRANSACTION = re.compile(r'"transactionId"\s*:\s*(\d{1,18})(?!\d)')

Key = tuple[datetime, int]
Frames = tuple[str, str | None]
Transaction = tuple[str, int]


async def _sheets(database: Database, person: Person, _: Clock) -> AsyncIterator[Sheet]:
    yield Sheet("messages", _messages(database, person))


async def _messages(database: Database, person: Person) -> Rows:
    async for day in _days(database, person):
        last: Key | None = None
        while True:
            async with database.session() as session:
                rows = await _named(session, _candidates(person, day, last), person)
            for row, without in rows:
                last = (row.received_at, row.id)
                if without != (row.request, row.response) and row.action not in OF_MANY:
                    yield columns_of(row, "connection_id")
            if len(rows) < CHUNK:
                break


async def _erase(database: Database, person: Person, _: Clock) -> None:
    async for day in _days(database, person):
        last: Key | None = None
        while True:
            async with database.session() as session:
                rows = await _named(session, _candidates(person, day, last), person)
                for row, without in rows:
                    last = (row.received_at, row.id)
                    row.request, row.response = without
            if len(rows) < CHUNK:
                break


async def _days(database: Database, person: Person) -> AsyncIterator[datetime]:
    """Give the moments at which the days begin that the log has of the time of the person's cards."""
    if not person.cards:
        return
    async with database.session() as session:
        first = await session.scalar(select(func.min(Message.received_at)))
        last = await session.scalar(select(func.max(Message.received_at)))
    if first is None or last is None:
        return
    day = max(first, min(card.since for card in person.cards))
    while day <= last:
        yield day
        day += DAY


def _candidates(person: Person, day: datetime, last: Key | None) -> Query:
    key = (Message.received_at, Message.id)
    query = (
        select(Message, Charger.id, Charger.backoffice_id)
        .outerjoin(Charger, Charger.id == Message.charger_id)
        .where(
            Message.received_at >= day,
            Message.received_at < day + DAY,
            or_(
                names_a_tag(Message.request, person.tags),
                names_a_tag(Message.response, person.tags),
                escapes_a_tag(Message.request),
                escapes_a_tag(Message.response),
            ),
        )
    )
    if last is not None:
        query = query.where(tuple_(*key) > tuple_(*last))
    return query.order_by(*key).limit(CHUNK)


async def _named(session: AsyncSession, query: Query, person: Person) -> list[tuple[Message, Frames]]:
    """Return the messages that name a tag of the person's spelling, and their frames without the person."""
    await session.execute(text(f"SET LOCAL statement_timeout = '{PATIENCE}'"))
    found = (await session.execute(query)).all()
    sessions = await _sessions(session, [row for row, _, _ in found])
    result = []
    for row, charger_id, business in found:
        told = person.pseudonyms(business, row.received_at, known=charger_id is not None)
        for transaction in _transactions(row):
            if transaction in sessions:
                told = told_of(sessions[transaction], person)
        response = None if row.response is None else frame_without_tags(row.response, told)
        result.append((row, (frame_without_tags(row.request, told), response)))
    return result


async def _sessions(session: AsyncSession, rows: Sequence[Message]) -> dict[Transaction, Session]:
    """Return the sessions that messages name, by charger and number."""
    wanted = {one for row in rows for one in _transactions(row)}
    if not wanted:
        return {}
    query = select(Session).where(
        tuple_(Session.charger_id, Session.ocpp_transaction_id).in_(wanted), Session.unmatched.is_(False)
    )
    return {(one.charger_id, one.ocpp_transaction_id or 0): one for one in await session.scalars(query)}


def _transactions(row: Message) -> list[Transaction]:
    return [
        (row.charger_id, int(number))
        for frame in (row.request, row.response)
        if frame is not None
        for number in _TRANSACTION.findall(frame)
    ]


MESSAGES = Contribution("messages", _sheets, _erase)

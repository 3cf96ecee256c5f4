"""What sessions say of the person who charged. Erased, they keep their energy and lose whose it was.

Sessions are the person's by the card that began them (`token_id`). A tag that ended somebody else's session,
or one that fits no session, is the person's where it was so at that business.
"""

from collections.abc import AsyncIterator

from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.personal_data import (
    Contribution,
    Found,
    Person,
    Rows,
    Sheet,
    change_each,
    columns_of,
    each,
    pseudonym,
)
from ohmstead.accounts.personal_data_tags import contains_any, is_a_tag, without_tags
from ohmstead.bookings.reservations import RESERVED_FOR_OTHER, other_renamed
from ohmstead.charging.models import Session, SessionStatus
from ohmstead.charging.queries import meter_values
from ohmstead.core.clock import Clock
from ohmstead.core.db import Database


def of_person(person: Person) -> ColumnElement[bool]:
    """Return the condition for the sessions that a person began."""
    return Session.token_id.in_(person.card_ids)


def _of_nobody(person: Person) -> ColumnElement[bool]:
    """Return the condition for stops that fit no session and name a tag that the person has."""
    return and_(Session.unmatched, is_a_tag(Session.stop_id_tag, person.tags))


def told_of(row: Session, person: Person) -> dict[str, str]:
    """Return which tags are the person's in a session, and their new names."""
    told = person.pseudonyms(row.backoffice_id, row.received_at)
    own = {card.id: card for card in person.cards}
    begun = (row.id_tag or "").lower()
    if row.token_id in own:
        name = pseudonym(row.token_id)
        return {**told, begun: name, own[row.token_id].id_tag.lower(): name}
    if not row.unmatched:  # somebody else began it: a tag like this one is theirs
        told.pop(begun, None)
    return told


async def _sheets(database: Database, person: Person, clock: Clock) -> AsyncIterator[Sheet]:
    yield Sheet("sessions", _sessions(database, person))
    yield Sheet("meter_values", _values(database, person, clock))


async def _rows(database: Database, person: Person) -> AsyncIterator[Session]:
    query = select(Session).where(or_(of_person(person), _of_nobody(person)))
    async for found in each(database, query, [Session.id]):
        row: Session = found[0]
        if row.token_id is not None or (row.stop_id_tag or "").lower() in told_of(row, person):
            yield row


async def _sessions(database: Database, person: Person) -> Rows:
    async for row in _rows(database, person):
        yield columns_of(row, "fingerprint")


async def _values(database: Database, person: Person, clock: Clock) -> Rows:
    async for row in _rows(database, person):
        query = None if row.unmatched else meter_values(row, clock.now())
        if query is None:
            continue
        async with database.session() as session:
            values = (await session.scalars(query)).all()
        for value in values:
            yield {"session_id": row.id, **columns_of(value, "digest")}


async def _erase(database: Database, person: Person, _: Clock) -> None:
    def change(found: Found) -> None:
        row: Session = found[0]
        told = told_of(row, person)
        for column in ("id_tag", "stop_id_tag"):
            tag = getattr(row, column)
            setattr(row, column, None if tag is None else told.get(tag.lower(), tag))
        row.raw = without_tags(row.raw, told)
        row.anomalies = [
            {**one, "detail": other_renamed(one["detail"], told)}
            if one.get("kind") == RESERVED_FOR_OTHER
            else one
            for one in row.anomalies
        ]

    query = select(Session).where(
        or_(
            of_person(person),
            is_a_tag(Session.id_tag, person.tags),
            is_a_tag(Session.stop_id_tag, person.tags),
            and_(
                Session.anomalies.contains([{"kind": RESERVED_FOR_OTHER}]),
                contains_any(Session.anomalies, person.tags),
            ),
        )
    )
    await change_each(database, query, [Session.id], change)


async def _open_session(session: AsyncSession, person: Person) -> str | None:
    query = select(Session.charger_id).where(of_person(person), Session.status == SessionStatus.ACTIVE)
    charger_id = await session.scalar(query.limit(1))
    if charger_id is None:
        return None
    return f"The driver is charging at {charger_id}. Wait for the end of the session, or stop it first."


CHARGING = Contribution("charging", _sheets, _erase, _open_session)

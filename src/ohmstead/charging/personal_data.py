"""What sessions say of the person who charged. Erased, they keep their energy and lose whose it was."""

from collections.abc import AsyncIterator
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.personal_data import Contribution, Person, Rows, Sheet, columns_of, erasing
from ohmstead.charging.models import Session, SessionStatus
from ohmstead.charging.queries import meter_values
from ohmstead.core.clock import Clock
from ohmstead.core.db import Database

CHUNK = 500


def of_person(person: Person) -> Any:
    """Return the condition for the sessions of a person: begun or ended with one of its cards."""
    tags = [tag.lower() for tag in person.tags.values()]
    return or_(
        Session.token_id.in_(list(person.tags)),
        func.lower(Session.id_tag).in_(tags) & Session.token_id.is_(None),
    )


async def _sheets(database: Database, person: Person, clock: Clock) -> AsyncIterator[Sheet]:
    yield Sheet("sessions", _sessions(database, person))
    yield Sheet("meter_values", _values(database, person, clock))


async def _rows(database: Database, person: Person) -> AsyncIterator[list[Session]]:
    last = None
    while True:
        query = select(Session).where(of_person(person)).order_by(Session.id).limit(CHUNK)
        async with database.session() as session:
            rows = list(
                (await session.scalars(query if last is None else query.where(Session.id > last))).all()
            )
        if not rows:
            return
        yield rows
        last = rows[-1].id


async def _sessions(database: Database, person: Person) -> Rows:
    async for rows in _rows(database, person):
        for row in rows:
            yield columns_of(row, "fingerprint")


async def _values(database: Database, person: Person, clock: Clock) -> Rows:
    async for rows in _rows(database, person):
        for row in rows:
            query = meter_values(row, clock.now())
            if query is None:
                continue
            async with database.session() as session:
                values = (await session.scalars(query)).all()
            for value in values:
                yield {"session_id": row.id, **columns_of(value, "digest")}


async def _open_session(session: AsyncSession, person: Person) -> str | None:
    query = select(Session.charger_id).where(of_person(person), Session.status == SessionStatus.ACTIVE)
    charger_id = await session.scalar(query.limit(1))
    if charger_id is None:
        return None
    return f"The driver is charging at {charger_id}. Wait for the end of the session, or stop it first."


CHARGING = Contribution(
    "charging",
    _sheets,
    erasing(Session.id_tag, Session.stop_id_tag, Session.anomalies, frames=(Session.raw,)),
    _open_session,
)

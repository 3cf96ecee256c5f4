"""What is kept about a person: each domain contributes its part to exports and to erasure.

Erasure keeps the books: sessions and their sums stay, under a name that leads to nobody. The pseudonym of a
tag comes from the id of its row, so that a job which is run twice makes the same.

Only rows that are the person's are touched. The text of a tag is not enough to tell: others may have the same
one, see `Person.pseudonyms`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, and_, func, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute, aliased

from ohmstead.accounts.audit_endpoints import readable
from ohmstead.accounts.audit_models import AuditEntry
from ohmstead.accounts.id_tags_schemas import ERASED
from ohmstead.accounts.models import Token, User
from ohmstead.core.clock import Clock
from ohmstead.core.db import Database
from ohmstead.core.errors import NotFound

PATIENCE = "10min"
"""A statement over a whole table may take so long."""
CHUNK = 500
"""Rows of one unit of work."""


@dataclass(frozen=True, slots=True)
class Card:
    """A tag of a person, and since when it has it; `others` are businesses with a tag of the same text."""

    id: UUID
    id_tag: str
    since: datetime
    others: frozenset[UUID] = frozenset()


@dataclass(frozen=True, slots=True)
class Person:
    """Whose data it is, as known before anything is erased.

    `since` is when its account began. `former_emails` are addresses that it had, and that nobody has now.
    """

    user_id: UUID
    since: datetime
    email: str
    cards: tuple[Card, ...] = ()
    former_emails: tuple[str, ...] = ()

    @property
    def emails(self) -> tuple[str, ...]:
        """Every address that it has or had."""
        return (self.email, *self.former_emails)

    @property
    def card_ids(self) -> list[UUID]:
        """The ids of its cards, as sessions name them."""
        return [card.id for card in self.cards]

    @property
    def tags(self) -> list[str]:
        """The texts of its cards."""
        return [card.id_tag for card in self.cards]

    def pseudonyms(
        self, backoffice_id: UUID | None, at: datetime | None = None, *, known: bool = True
    ) -> dict[str, str]:
        """Return which tags (in small letters) are the person's at the chargers of a business, and their new
        names.

        A tag that the business has itself is the business's there, as when it is presented. What was told
        before (`at`) the person had the card is somebody else's. Whose a charger is that is there no more
        (not `known`) nobody can tell: there it counts when any business has the tag.
        """
        return {
            card.id_tag.lower(): pseudonym(card.id)
            for card in self.cards
            if backoffice_id not in card.others
            and (known or not card.others)
            and (at is None or at >= card.since)
        }


Rows = AsyncIterator[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Sheet:
    """A part of an archive: rows with the same members, in a file of JSON and in a table."""

    name: str
    rows: Rows


Export = Callable[[Database, Person, Clock], AsyncIterator[Sheet]]
Erase = Callable[[Database, Person, Clock], Awaitable[None]]
Obstacle = Callable[[AsyncSession, Person], Awaitable[str | None]]


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one domain has about persons: how it is given out, how it is erased, and what stands in the way.

    To erase twice is to erase once. `obstacle` returns in words why nothing may be erased now.
    """

    name: str
    export: Export | None = None
    erase: Erase | None = None
    obstacle: Obstacle | None = None


@dataclass(slots=True)
class PersonalData:
    """The contributions of all domains, in the order in which they are asked."""

    contributions: list[Contribution]


def pseudonym(token_id: UUID) -> str:
    """Return the tag that stands for a card of somebody who was erased: 20 characters (OCPP 1.6 7.27)."""
    return f"{ERASED}{token_id.hex[:13]}".upper()


def erased_email(user_id: UUID) -> str:
    """Return the address that stands for somebody who was erased; `.invalid` is nobody's (RFC 2606)."""
    return f"erased-{user_id.hex}@erased.invalid"


async def find_person(session: AsyncSession, user_id: UUID) -> Person:
    """Return what is to be looked for. Raises `NotFound`."""
    user = await session.get(User, user_id)
    if user is None:
        raise NotFound("There is no such user.")
    cards = await _cards(session, user_id)
    return Person(user_id, user.created_at, user.email, cards, await former_emails(session, user_id))


async def _cards(session: AsyncSession, user_id: UUID) -> tuple[Card, ...]:
    same = aliased(Token)
    others = and_(func.lower(same.id_tag) == func.lower(Token.id_tag), same.backoffice_id.is_not(None))
    query = select(Token, same.backoffice_id).outerjoin(same, others).where(Token.driver_id == user_id)
    cards: dict[UUID, Card] = {}
    for own, business in await session.execute(query.order_by(Token.id)):
        known = cards.get(own.id) or Card(own.id, own.id_tag, own.created_at)
        cards[own.id] = known if business is None else replace(known, others=known.others | {business})
    return tuple(cards.values())


async def former_emails(session: AsyncSession, user_id: UUID) -> tuple[str, ...]:
    """Return the addresses that a user had, as the audit trail tells them, and that nobody has now.

    Raises `SecretKeyMissing`.
    """
    query = select(AuditEntry).where(
        AuditEntry.person_id == user_id, AuditEntry.action.in_(("user.email_changed", "user.updated"))
    )
    rows = list(await session.scalars(query))
    if rows:  # raises when what they say cannot be read for want of a key, and would be forgotten unread
        await session.info["person_keys"].key_of(session, user_id)
    shown = await readable(session, rows)
    had = {one.personal["before"].get("email") for one in shown if one.personal and "before" in one.personal}
    had.discard(None)
    held = await session.scalars(select(User.email).where(User.email.in_(had)))
    return tuple(sorted(had - set(held)))


# --- going through tables

Query = Select[*tuple[Any, ...]]
Found = Row[*tuple[Any, ...]]
Key = Sequence[InstrumentedAttribute[Any]]


async def change_each(database: Database, query: Query, key: Key, change: Callable[[Found], None]) -> None:
    """Change the rows that a query finds, some in each unit of work. The first of a row is what is locked.

    `key` are the columns that order them.
    """
    last: tuple[Any, ...] | None = None
    while True:
        async with database.session() as session:
            chosen = _next(query, key, last).with_for_update(of=key[0].class_)
            await session.execute(text(f"SET LOCAL statement_timeout = '{PATIENCE}'"))
            rows = (await session.execute(chosen)).all()
            for row in rows:
                last = tuple(getattr(row[0], column.key) for column in key)
                change(row)
        if len(rows) < CHUNK:
            return


async def each(database: Database, query: Query, key: Key) -> AsyncIterator[Found]:
    """Give the rows that a query finds, in the order of `key`; no unit of work is open meanwhile."""
    last: tuple[Any, ...] | None = None
    while True:
        async with database.session() as session:
            await session.execute(text(f"SET LOCAL statement_timeout = '{PATIENCE}'"))
            rows = (await session.execute(_next(query, key, last))).all()
        for row in rows:
            last = tuple(getattr(row[0], column.key) for column in key)
            yield row
        if len(rows) < CHUNK:
            return


def _next(query: Query, key: Key, last: tuple[Any, ...] | None) -> Query:
    if last is not None:
        query = query.where(tuple_(*key) > tuple_(*last))
    return query.order_by(*key).limit(CHUNK)


# --- giving out


async def listed(rows: Sequence[dict[str, Any]]) -> Rows:
    """Give rows that are there already."""
    for row in rows:
        yield row


def columns_of(row: Any, *but: str) -> dict[str, Any]:
    """Return the columns of a row, save some."""
    return {one.key: getattr(row, one.key) for one in row.__mapper__.column_attrs if one.key not in but}

"""What is kept about a person: each domain contributes its part to exports and to erasure.

Erasure keeps the books: sessions and their sums stay, under a name that leads to nobody. The pseudonym of a
tag comes from the id of its row, so that a job which is run twice makes the same. Tags, the e-mail address,
the national identity card and the telephone number are taken out wherever texts hold them.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Text, cast, func, select, text, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from ohmstead.accounts.drivers_models import Driver
from ohmstead.accounts.models import Token, User
from ohmstead.core.clock import Clock
from ohmstead.core.db import Database
from ohmstead.core.errors import NotFound

GONE = "erased"
LONG_ENOUGH = 6
"""Shorter texts are no more than a number or a word: they are replaced only where they stand alone."""
PATIENCE = "10min"
"""A statement over a whole table may take so long."""


@dataclass(frozen=True, slots=True)
class Person:
    """Whose data it is, as known before anything is erased. `tags` are its cards, by their ids."""

    user_id: UUID
    email: str
    nic: str | None
    phone: str | None
    tags: dict[UUID, str]

    @property
    def needles(self) -> list[tuple[str, str]]:
        """What is looked for in texts, and what is put in its place."""
        told = [(tag, pseudonym(token_id)) for token_id, tag in self.tags.items()]
        return told + [(one, GONE) for one in (self.email, self.nic, self.phone) if one]


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
    return f"ERASED-{token_id.hex[:13]}".upper()


def erased_email(user_id: UUID) -> str:
    """Return the address that stands for somebody who was erased; `.invalid` is nobody's (RFC 2606)."""
    return f"erased-{user_id.hex}@erased.invalid"


async def find_person(session: AsyncSession, user_id: UUID) -> Person:
    """Return what is to be looked for. Raises `NotFound`."""
    query = select(User, Driver.nic).outerjoin(Driver, Driver.user_id == User.id).where(User.id == user_id)
    row = (await session.execute(query)).one_or_none()
    if row is None:
        raise NotFound("There is no such user.")
    user, nic = row
    cards = await session.execute(select(Token.id, Token.id_tag).where(Token.driver_id == user_id))
    return Person(user_id, user.email, nic, user.phone, {card.id: card.id_tag for card in cards})


# --- erasing


def erasing(*columns: InstrumentedAttribute[Any], frames: Sequence[InstrumentedAttribute[Any]] = ()) -> Erase:
    """Return how a domain erases by taking the person out of columns of texts and JSON.

    `frames` are those that hold messages of OCPP as they were sent.
    """

    async def erase(database: Database, person: Person, _: Clock) -> None:
        for one in (*columns, *frames):
            async with database.session() as session:
                await take_out(session, person, one, as_sent=one in frames)

    return erase


async def take_out(
    session: AsyncSession, person: Person, one: InstrumentedAttribute[Any], *where: Any, as_sent: bool = False
) -> None:
    """Replace what tells of a person in a column of texts or of JSON; `where` narrows the rows."""
    await session.execute(text(f"SET LOCAL statement_timeout = '{PATIENCE}'"))
    for needle, instead in person.needles:
        for fits, new in _replacements(one, needle, instead, as_sent=as_sent):
            statement = update(one.class_).where(fits, *where).values({one: new})
            await session.execute(statement.execution_options(synchronize_session=False))


def _replacements(
    one: InstrumentedAttribute[Any], needle: str, instead: str, *, as_sent: bool
) -> Iterator[tuple[Any, Any]]:
    """Give the conditions under which a column holds a text, and what it becomes then."""
    is_json, short = isinstance(one.type, JSONB), len(needle) < LONG_ENOUGH
    if short and not is_json and not as_sent:
        yield func.lower(one) == needle.lower(), instead
        return
    value = cast(one, Text) if is_json else one
    pattern, instead = _pattern(needle, instead, short=short, as_sent=as_sent)
    new: Any = func.regexp_replace(value, pattern, instead, "gi")
    if is_json:
        new = cast(new, JSONB)
    elif getattr(one.type, "length", None) is not None:
        new = func.left(new, one.type.length)
    yield value.op("~*")(pattern), new


def _pattern(needle: str, instead: str, *, short: bool, as_sent: bool) -> tuple[str, str]:
    """Return the regular expression (PostgreSQL 9.7.3) of a text within texts, and what takes its place.

    A tag that is a mere number or word (`Accepted`) may be something else in a message: there it is replaced
    where a member says that it is a tag.
    """
    written = re.sub(r"([^\w])", r"\\\1", orjson.dumps(needle).decode()[1:-1])
    if as_sent and instead != GONE and (needle.isdigit() or needle.isalpha()):
        return rf'("\w*tag\w*"\s*:\s*"){written}(?=")', rf"\1{instead}"
    if short:
        return f'"{written}"', f'"{instead}"'
    return f"(?<![[:alnum:]]){written}(?![[:alnum:]])", instead


# --- giving out


async def listed(rows: Sequence[dict[str, Any]]) -> Rows:
    """Give rows that are there already."""
    for row in rows:
        yield row


def columns_of(row: Any, *but: str) -> dict[str, Any]:
    """Return the columns of a row, save some."""
    return {one.key: getattr(row, one.key) for one in row.__mapper__.column_attrs if one.key not in but}

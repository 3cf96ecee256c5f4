"""Lists in pages: what a caller asks for, the orders that a list can have, and the page itself.

A page begins behind the last row of the page before it (a keyset), so no row is shown twice or left
out when others come and go, and the thousandth page costs as much as the first.
"""

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

import orjson
from fastapi import Query
from fastapi.responses import Response
from pydantic import BaseModel
from sqlalchemy import ColumnElement, Select, func, literal, or_, select, true, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.core.errors import Invalid
from ohmstead.core.text import Text, without_nul

COUNTED = 10_000
"""Up to here the `total` of a list is exact; it never says more."""

Row = TypeVar("Row")
Item = TypeVar("Item")


class Page(BaseModel, Generic[Item]):
    """A list: `next_cursor` is null at the end; `total` is exact up to 10,000."""

    items: list[Item]
    next_cursor: str | None
    total: int


class Paging:
    """The query parameters of every admin list: `limit` (1 to 500), `cursor`, `q`."""

    def __init__(
        self,
        limit: Annotated[int, Query(ge=1, le=500, description="How many items at most.")] = 50,
        cursor: Annotated[
            str | None, Query(max_length=400, description="`next_cursor` of the page before.")
        ] = None,
        q: Annotated[Text | None, Query(max_length=200, description="Free text search.")] = None,
    ) -> None:
        self.limit = limit
        self.q = q.strip() if q and q.strip() else None
        self.after: list[Any] | None = decode_cursor(cursor) if cursor else None


def encode_cursor(*keys: Any) -> str:
    """Write the place of the last item as an opaque cursor."""
    return base64.urlsafe_b64encode(orjson.dumps(keys, default=str)).decode().rstrip("=")


def decode_cursor(cursor: str) -> list[Any]:
    """Read a cursor back; a made-up one is the caller's mistake, not a crash."""
    try:
        keys = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, binascii.Error):
        keys = None
    if not isinstance(keys, list):
        raise _not_ours()
    return keys


def _not_ours() -> Invalid:
    return Invalid(
        "The cursor is not one of this list in this order. Leave it out to begin at the first page.",
        fields={"cursor": "not a cursor of this list"},
    )


async def count(session: AsyncSession, query: Select[Any]) -> int:
    """Count the rows of a filtered query, and stop counting at 10,000."""
    limited = query.with_only_columns(1, maintain_column_froms=True).order_by(None).limit(COUNTED).subquery()
    return int((await session.execute(select(func.count()).select_from(limited))).scalar_one())


def containing(q: str | None, *columns: Any) -> ColumnElement[bool]:
    """Return the condition of a free text search: one of the columns contains `q`, in any case."""
    if q is None:
        return true()
    return or_(*(column.icontains(q, autoescape=True) for column in columns))


@dataclass(frozen=True, slots=True)
class Key:
    """A column or expression that is never null, and how its value is read back from a cursor."""

    expression: Any
    read: Callable[[Any], Any]


def text_key(expression: Any) -> Key:
    """Return the key of a text."""
    return Key(expression, _text)


def time_key(expression: Any) -> Key:
    """Return the key of a time."""
    return Key(expression, _time)


def number_key(expression: Any) -> Key:
    """Return the key of a whole number of 64 bits."""
    return Key(expression, _number)


def uuid_key(expression: Any) -> Key:
    """Return the key of a UUID."""
    return Key(expression, lambda value: UUID(_text(value)))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return without_nul(value)


def _time(value: Any) -> datetime:
    moment = datetime.fromisoformat(_text(value))
    if moment.tzinfo is None:
        raise ValueError("not an aware time")
    return moment.astimezone(UTC)


def _number(value: Any) -> int:
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise ValueError("not a number of 64 bits")
    return value


@dataclass(frozen=True, slots=True)
class Slice(Generic[Row]):
    """The rows of one page, the cursor of the next one (None at the end), and how many there are."""

    rows: list[Row]
    next_cursor: str | None
    total: int

    def page(self, items: Iterable[Item]) -> Page[Item]:
        """Return the page with the rows in the form in which they go out."""
        return Page(items=list(items), next_cursor=self.next_cursor, total=self.total)

    def array(self, response: Response, items: Iterable[Item]) -> list[Item]:
        """Return the rows as the plain array of the booking family; the rest of the page is in headers.

        `X-Next-Cursor` is absent at the end; `X-Total-Count` counts as `total` does.
        """
        if self.next_cursor is not None:
            response.headers["X-Next-Cursor"] = self.next_cursor
        response.headers["X-Total-Count"] = str(self.total)
        return list(items)


@dataclass(frozen=True, slots=True)
class Order:
    """The orders that a list can have: `keys` by their names in `sort=`, `tie` is unique among equals.

    A name with `-` before it is the falling order. A cursor holds the order that it was made in.
    """

    keys: Mapping[str, Key]
    tie: Key
    default: str

    async def slice(
        self, session: AsyncSession, query: Select[Row], paging: Paging, sort: str | None = None
    ) -> Slice[Row]:
        """Read one page of a query that selects one entity.

        Raises `Invalid` for an unknown `sort`, and for a cursor that is made up or of another order.
        """
        chosen = sort or self.default
        key = self.keys.get(chosen.removeprefix("-"))
        if key is None:
            names = ", ".join(name for each in self.keys for name in (each, f"-{each}"))
            raise Invalid(f"This list can be sorted by: {names}.", fields={"sort": f"must be one of {names}"})
        falling = chosen.startswith("-")
        wanted = query
        if paging.after is not None:
            wanted = query.where(*self._behind(key, chosen, paging.after, falling=falling))
        ends = [one.expression.desc() if falling else one.expression.asc() for one in (key, self.tie)]
        wanted = wanted.order_by(*ends).limit(paging.limit + 1)
        found = (await session.execute(wanted.add_columns(key.expression, self.tie.expression))).all()
        page = found[: paging.limit]
        more = len(found) > paging.limit
        return Slice(
            rows=[row[0] for row in page],
            next_cursor=encode_cursor(chosen, *page[-1][1:]) if more else None,
            total=await count(session, query),
        )

    def _behind(
        self, key: Key, chosen: str, after: list[Any], *, falling: bool
    ) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
        """Return the conditions of the rows behind a cursor."""
        try:
            made_for, value, tie = after
            if made_for != chosen:
                raise ValueError("the cursor of another order")
            places = (
                literal(key.read(value), key.expression.type),
                literal(self.tie.read(tie), self.tie.expression.type),
            )
        except (ValueError, TypeError, OverflowError) as error:
            raise _not_ours() from error
        row, last = tuple_(key.expression, self.tie.expression), tuple_(*places)
        # The row comparison alone does not tell the planner which days of a partitioned table to leave out.
        if falling:
            return key.expression <= places[0], row < last
        return key.expression >= places[0], row > last

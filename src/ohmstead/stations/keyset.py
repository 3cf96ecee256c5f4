"""Lists in pages by keyset: a fixed table of sort keys, with the row's id as the tie break."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, literal, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.core.errors import Invalid
from ohmstead.core.http import Paging, encode_cursor


@dataclass(frozen=True, slots=True)
class Key:
    """A column or expression that is never null, and how its value is read back from a cursor."""

    expression: Any
    read: Callable[[Any], Any]


def read_text(value: Any) -> str:
    """Read a text of a cursor; one with NUL, which PostgreSQL cannot compare, is not ours."""
    if not isinstance(value, str) or "\x00" in value:
        raise ValueError("not a text")
    return value


def read_time(value: Any) -> datetime:
    """Read a time of a cursor; it must be aware."""
    moment = datetime.fromisoformat(read_text(value))
    if moment.tzinfo is None:
        raise ValueError("not an aware time")
    return moment


def read_uuid(value: Any) -> UUID:
    """Read a UUID of a cursor."""
    return UUID(read_text(value))


def read_number(value: Any) -> int:
    """Read a 64 bit integer of a cursor."""
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise ValueError("not a number")
    return value


@dataclass(frozen=True, slots=True)
class Order:
    """The orders that a list may have: `keys` by their names in `sort=`, `tie` is the unique id."""

    keys: Mapping[str, Key]
    tie: Key
    default: str

    async def page(
        self, session: AsyncSession, query: Select[Any], paging: Paging, sort: str | None = None
    ) -> tuple[Sequence[Row[Any]], str | None]:
        """Run the query for one page; returns its rows and the cursor of the next page, if there is one.

        `sort` is a name of `keys`, `-name` for falling order. A cursor belongs to the order that it was
        made in; with another one, or made up, it is refused.
        """
        chosen = sort or self.default
        falling = chosen.startswith("-")
        key = self.keys.get(chosen.removeprefix("-"))
        if key is None:
            names = ", ".join(name for each in self.keys for name in (each, f"-{each}"))
            raise Invalid(f"The list can be sorted by: {names}.", fields={"sort": f"must be one of {names}"})
        if paging.after is not None:
            query = query.where(self._beyond(key, chosen, paging.after, falling=falling))
        order = [expression.desc() if falling else expression.asc() for expression in self._pair(key)]
        query = query.add_columns(key.expression.label("sort_key"), self.tie.expression.label("tie_key"))
        rows = (await session.execute(query.order_by(*order).limit(paging.limit + 1))).all()
        if len(rows) <= paging.limit:
            return rows, None
        rows = rows[: paging.limit]
        return rows, encode_cursor(chosen, rows[-1].sort_key, rows[-1].tie_key)

    def _pair(self, key: Key) -> tuple[Any, Any]:
        return key.expression, self.tie.expression

    def _beyond(self, key: Key, chosen: str, after: list[Any], *, falling: bool) -> ColumnElement[bool]:
        try:
            made_for, value, tie = after
            if made_for != chosen:
                raise ValueError("the cursor of another order")
            place = (key.read(value), self.tie.read(tie))
        except (ValueError, TypeError) as error:
            raise Invalid(
                "The cursor does not belong to this list and order. Leave it out to begin at the first page.",
                fields={"cursor": "not a cursor of this list"},
            ) from error
        row = tuple_(*self._pair(key))
        types = [expression.type for expression in self._pair(key)]
        beyond = tuple_(*(literal(part, kind) for part, kind in zip(place, types, strict=True)))
        return row < beyond if falling else row > beyond

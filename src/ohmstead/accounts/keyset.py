"""One page of a list, in a stable order that survives rows coming and going."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, Select, or_, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.core.errors import Invalid
from ohmstead.core.http import Paging, count, encode_cursor

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class SortKey:
    """A way to order a list: what is compared (never null), and how a cursor's JSON is read back."""

    column: Any
    read: Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Slice(Generic[Row]):
    """The rows of one page, the cursor of the next one (None at the end), and how many there are."""

    rows: list[Row]
    next_cursor: str | None
    total: int


def text_key(column: Any) -> SortKey:
    """Return the sort key of a text column."""
    return SortKey(column, _text)


def time_key(column: Any) -> SortKey:
    """Return the sort key of a column of times."""
    return SortKey(column, datetime.fromisoformat)


def _text(value: Any) -> str:
    if not isinstance(value, str) or "\x00" in value:
        raise ValueError("not a text that the database can hold")
    return value


def searched(q: str | None, *columns: Any) -> list[ColumnElement[bool]]:
    """Return the conditions of a free text search: one of the columns contains it, in any case."""
    if q is None:
        return []
    if "\x00" in q:
        raise Invalid(
            "The search text has a NUL character. Take it out.", fields={"q": "has a NUL character"}
        )
    return [or_(*(column.icontains(q, autoescape=True) for column in columns))]


async def slice_of(
    session: AsyncSession,
    query: Select[Row],
    *,
    key: Any,
    sorts: Mapping[str, SortKey],
    sort: str,
    paging: Paging,
) -> Slice[Row]:
    """Read one page of `query`, which selects one entity whose primary key (a UUID) is `key`.

    `sort` is a name of `sorts`, with `-` before it for the other direction. Raises `Invalid` for an
    unknown sort, and for a cursor that belongs to another list or order.
    """
    chosen = sorts.get(sort.removeprefix("-"))
    if chosen is None:
        names = ", ".join(sorts)
        raise Invalid(f"This list can be sorted by {names}, each also with '-'.", fields={"sort": "unknown"})
    total = await count(session, query)
    descending = sort.startswith("-")
    order = tuple_(chosen.column, key)
    if paging.after is not None:
        last = _last_seen(paging.after, sort, chosen)
        query = query.where(order < last if descending else order > last)
    ends = [column.desc() if descending else column.asc() for column in (chosen.column, key)]
    numbered = query.add_columns(chosen.column, key).order_by(*ends).limit(paging.limit + 1)
    found = (await session.execute(numbered)).all()
    page = found[: paging.limit]
    more = len(found) > paging.limit
    cursor = encode_cursor(sort, page[-1][1], page[-1][2]) if more else None
    return Slice([row[0] for row in page], cursor, total)


def _last_seen(after: list[Any], sort: str, chosen: SortKey) -> tuple[Any, UUID]:
    try:
        of_sort, value, key = after
        if of_sort != sort:
            raise ValueError("a cursor of another order")
        last = (chosen.read(value), UUID(key))
    except (ValueError, TypeError, AttributeError) as error:
        raise Invalid(
            "The cursor is not one of this list in this order. Leave it out to begin at the first page.",
            fields={"cursor": "not a cursor of this list"},
        ) from error
    return last

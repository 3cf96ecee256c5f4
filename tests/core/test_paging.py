"""Lists in pages, over a table with ties, odd names and rows that come and go."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.models import Role, User, UserStatus
from ohmstead.core.errors import Invalid
from ohmstead.core.paging import (
    Order,
    Paging,
    Slice,
    containing,
    encode_cursor,
    number_key,
    text_key,
    time_key,
    uuid_key,
)

MAY = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
ORDER = Order(
    keys={"email": text_key(func.lower(User.email)), "created_at": time_key(User.created_at)},
    tie=uuid_key(User.id),
    default="email",
)
NAMES = ["a", "B", "c", "D%", "e_", "ü", "zz"]


def users() -> Any:
    return select(User).where(User.email.endswith("@paging"))


@pytest.fixture
async def rows(session: AsyncSession) -> list[User]:
    """Seven users; all but the first were created at the same moment."""
    made = [
        User(
            id=UUID(int=7 - number),
            email=f"{name}@paging",
            role=Role.EV_OWNER,
            status=UserStatus.ACTIVE,
            created_at=MAY.replace(day=1) if number == 0 else MAY,
        )
        for number, name in enumerate(NAMES)
    ]
    session.add_all(made)
    await session.flush()
    return made


async def walk(session: AsyncSession, sort: str | None, limit: int = 2) -> list[Slice[User]]:
    """Read a list page by page to its end."""
    pages = [await ORDER.slice(session, users(), Paging(limit=limit), sort)]
    while (cursor := pages[-1].next_cursor) is not None:
        pages.append(await ORDER.slice(session, users(), Paging(limit=limit, cursor=cursor), sort))
    return pages


def emails(pages: Sequence[Slice[User]]) -> list[str]:
    return [user.email for page in pages for user in page.rows]


@pytest.mark.parametrize("sort", [None, "email", "-email", "created_at", "-created_at"])
async def test_every_row_is_on_one_page_and_in_its_place(
    session: AsyncSession, rows: list[User], sort: str | None
) -> None:
    whole = emails(await walk(session, sort, limit=500))
    assert emails(await walk(session, sort)) == whole
    assert sorted(whole) == sorted(row.email for row in rows)


async def test_the_falling_order_is_the_other_one_turned_round(
    session: AsyncSession, rows: list[User]
) -> None:
    for sort in ORDER.keys:
        assert emails(await walk(session, f"-{sort}")) == emails(await walk(session, sort))[::-1]


async def test_the_total_is_that_of_the_list_and_not_of_the_page(
    session: AsyncSession, rows: list[User]
) -> None:
    assert {page.total for page in await walk(session, "email")} == {len(rows)}


async def test_a_last_page_that_is_full_has_no_cursor(session: AsyncSession, rows: list[User]) -> None:
    assert [len(page.rows) for page in await walk(session, None, limit=7)] == [7]


async def test_rows_that_go_and_come_between_two_pages_move_nothing_else(
    session: AsyncSession, rows: list[User]
) -> None:
    before = emails(await walk(session, "email"))
    first = await ORDER.slice(session, users(), Paging(limit=3), "email")
    await session.execute(delete(User).where(User.id.in_([first.rows[0].id, first.rows[-1].id])))
    early = User(id=UUID(int=99), email="aa@paging", role=Role.EV_OWNER, created_at=MAY)
    session.add(early)
    await session.flush()
    second = await ORDER.slice(session, users(), Paging(cursor=first.next_cursor), "email")
    assert emails([second]) == before[3:]


async def test_an_unknown_order_is_refused_with_those_there_are(session: AsyncSession) -> None:
    for sort in ("password_hash", "--email", "-", "email,id", "email; DROP TABLE"):
        with pytest.raises(Invalid, match="-created_at") as refused:
            await ORDER.slice(session, users(), Paging(), sort)
        assert set(refused.value.fields) == {"sort"}


async def test_a_cursor_belongs_to_the_order_that_it_was_made_in(
    session: AsyncSession, rows: list[User]
) -> None:
    cursor = (await ORDER.slice(session, users(), Paging(limit=1), "email")).next_cursor
    for other in ("-email", "created_at"):
        with pytest.raises(Invalid) as refused:
            await ORDER.slice(session, users(), Paging(cursor=cursor), other)
        assert set(refused.value.fields) == {"cursor"}


@pytest.mark.parametrize(
    ("sort", "value", "tie"),
    [
        ("email", 7, str(UUID(int=1))),
        ("email", "a\x00", str(UUID(int=1))),
        ("email", "a", "no id"),
        ("email", "a", 7),
        ("email", "a", None),
        ("created_at", "yesterday", str(UUID(int=1))),
        ("created_at", "2026-05-04T12:00:00", str(UUID(int=1))),
        ("created_at", "0001-01-01T00:00:00+14:00", str(UUID(int=1))),
        ("created_at", {}, str(UUID(int=1))),
    ],
)
async def test_a_cursor_with_keys_of_another_kind_is_refused(
    session: AsyncSession, sort: str, value: Any, tie: Any
) -> None:
    with pytest.raises(Invalid):
        await ORDER.slice(session, users(), Paging(cursor=encode_cursor(sort, value, tie)), sort)


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, True, 1.5, "1", None])
def test_a_number_that_the_database_has_not_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="64 bits"):
        number_key(User.id).read(value)


@pytest.mark.parametrize("value", [2**63 - 1, -(2**63), 0])
def test_a_number_of_64_bits_is_read(value: int) -> None:
    assert number_key(User.id).read(value) == value


@pytest.mark.parametrize(
    ("q", "found"),
    [
        ("D%", {"D%"}),
        ("d", {"D%"}),
        ("%", {"D%"}),
        ("_", {"e_"}),
        ("Ü", {"ü"}),
        ("\\", set()),
        (None, set(NAMES)),
    ],
)
async def test_a_search_takes_every_character_as_it_is_and_ignores_case(
    session: AsyncSession, rows: list[User], q: str | None, found: set[str]
) -> None:
    local = func.split_part(User.email, "@", 1)
    names = await session.scalars(select(local).where(User.email.endswith("@paging"), containing(q, local)))
    assert set(names) == found

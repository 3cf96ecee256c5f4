"""What a dry run says of any table is what the import does with it, and all that there is to be said."""

import csv
import io
from collections import Counter
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncConnection
from tests.fleet.onboarding.bringing import bring, kept
from tests.fleet.onboarding.town import NOBODY, Town, build
from tests.world import SignedIn, World

from ohmstead.core.config import Settings
from ohmstead.core.db import Database

Row = dict[str, str]

BUSINESSES = (["", "{own}"], ["{other}", "{gone}", NOBODY, "me"])
LONG = "x" * 201
NUMBER = "1" + "0" * 30
"""More than 64 bits."""

TABLES: dict[str, dict[str, tuple[list[str], list[str]]]] = {
    "stations": {
        "id": (["", "", "{harbour}", "{bare}", "{twin}"], ["{theirs}", NOBODY, "X1"]),
        "name": (["Harbour", "HARBOUR", "Bare", "New", "new", "Older"], ["", "Twin", "Theirs", LONG]),
        "country": (["", "PT"], ["Atlantis"]),
        "latitude": (["", "1.5", "-2,5"], ["95", "nan", "north", "", "3"]),
        "longitude": (["", "1.5", "-2,5"], ["195", "inf", "east", "", "3"]),
        "time_zone": (["", "Europe/Lisbon"], ["Moon"]),
        "amenities": (["", "toilet | café"], [LONG, f"a | {LONG} | {LONG}y"]),
        "photo_url": (["", "https://example.com/p.jpg"], ["ftp://example.com", "p.jpg"]),
        "opening_hours": (["", '{"always": true}'], ["{", '{"mon": 1}', "[" * 300 + "]" * 300, "{}"]),
        "status": (["", "Active"], ["Sleeping"]),
        "backoffice_id": BUSINESSES,
    },
    "chargers": {
        "id": (["HAVE", "LOOSE", "RETIRED", "N-1", "N-2", "n-1"], ["TAKEN", "WAITING", "", "a b", "c%"]),
        "name": (["", "One"], [LONG]),
        "station": (["", "Harbour", "{harbour}", "bare"], ["Nowhere", "Twin", "Theirs", "{theirs}", NOBODY]),
        "status": (["", "Active"], ["Sleeping"]),
        "connectors": (
            ["", "2", "3", "2:CCS:DC::150", "1: | 2:"],
            ["1", "0", "101", "two", "1:CCS:XX:four | 1:a:b:c:d:e", "1:CCS:AC:9 | 2:Type 2:XX", f"{NUMBER}:"],
        ),
        "registration": (["", "Accepted", "Pending"], ["Perhaps"]),
        "security_profile": (["", "0", "1", "2"], ["9", "one", NUMBER]),
        "password": (["", "s3cret-of-c9-x"], ["short", "näh-näh-näh-näh"]),
        "tolerant": (["", "yes"], ["maybe"]),
        "backoffice_id": BUSINESSES,
    },
    "id-tags": {
        "id_tag": (["TAG", "tag", "N1", "n1", "N2", "İ", "i̇"], ["", "x" * 21, "a\tb"]),
        "status": (["", "Blocked"], ["Lost"]),
        "expires_at": (["", "2027-01-01T00:00:00Z"], ["tomorrow", "2027-01-01", "0001-01-01T00:00:00+14:00"]),
        "parent_id_tag": (["", "P"], ["x" * 21]),
        "owner": (["", "Ravi"], [LONG]),
        "max_concurrent_sessions": (["", "2"], ["0", "many", NUMBER]),
        "backoffice_id": BUSINESSES,
    },
}
"""The cells of each column that may be right, and those that are wrong for somebody, or with something."""

KEYS = {"stations": {"id", "name"}, "chargers": {"id"}, "id-tags": {"id_tag"}}
"""The columns that tell what a line is about."""

MORE = "more"
"""Cells that the heading does not name."""


def rows(what: str) -> st.SearchStrategy[list[Row]]:
    columns = TABLES[what]
    right = {name: st.sampled_from(cells) for name, (cells, _) in columns.items()}
    wrong = {name: st.sampled_from(cells) for name, (_, cells) in columns.items()} | {MORE: st.just("x")}
    spoiled = st.lists(st.sampled_from(list(wrong)), unique=True, max_size=4).flatmap(
        lambda names: st.fixed_dictionaries({name: wrong[name] for name in names})
    )
    good = st.fixed_dictionaries(right)
    faulty = st.builds(lambda row, faults: row | faults, good, spoiled)
    return st.lists(good, min_size=1, max_size=3) | st.lists(faulty, min_size=1, max_size=4)


def written(what: str, table: list[Row], town: Town) -> bytes:
    text = io.StringIO()
    names = list(TABLES[what])
    writer = csv.writer(text)
    writer.writerow(names)
    writer.writerows(
        [town.line(row.get(name, "")) for name in names]
        + [cell for name, cell in row.items() if name == MORE]
        for row in table
    )
    return text.getvalue().encode()


@pytest.fixture
async def town(app: FastAPI, world: World, settings: Settings) -> Town:
    app.state.settings = settings.model_copy(update={"rate_limit_command": 0})  # files that adopt count
    return await build(world)


class Rehearsal:
    """Brings a table in, in a unit of work of its own for each example."""

    def __init__(self, client: httpx.AsyncClient, db: Database, town: Town, what: str) -> None:
        self.client, self.db, self.town, self.what = client, db, town, what

    async def dry(self, user: SignedIn, table: list[Row]) -> dict[str, Any]:
        answer = await self.bring(user, table, dry_run=True)
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    async def bring(self, user: SignedIn, table: list[Row], *, dry_run: bool) -> httpx.Response:
        content = written(self.what, table, self.town)
        return await bring(self.client, user, self.what, content=content, dry_run=dry_run)


some = hypothesis_settings(
    max_examples=25,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.also_long(10)
@pytest.mark.parametrize("what", TABLES)
@some
@given(data=st.data(), as_admin=st.booleans())
async def test_what_it_calls_good_is_taken_and_of_anything_else_nothing_is(
    client: httpx.AsyncClient, db: Database, town: Town, what: str, *, data: st.DataObject, as_admin: bool
) -> None:
    rehearsal = Rehearsal(client, db, town, what)
    user = town.admin if as_admin else town.manager
    table = data.draw(rows(what))
    before = await kept(db)
    told = await rehearsal.dry(user, table)
    assert await kept(db) == before
    assert isinstance(db.bind, AsyncConnection)
    example = await db.bind.begin_nested()
    answer = await rehearsal.bring(user, table, dry_run=False)
    if told["faults"]:
        assert answer.status_code == 422, answer.text
        assert await kept(db) == before
    else:
        assert answer.status_code == 200, answer.text
        for name in ("lines", "created", "changed"):
            assert answer.json()[name] == told[name]
    await example.rollback()


@pytest.mark.also_long(10)
@pytest.mark.parametrize("what", TABLES)
@some
@given(data=st.data(), as_admin=st.booleans())
async def test_the_faults_of_a_line_do_not_become_more_when_one_of_them_is_mended(
    client: httpx.AsyncClient, db: Database, town: Town, what: str, *, data: st.DataObject, as_admin: bool
) -> None:
    rehearsal = Rehearsal(client, db, town, what)
    user = town.admin if as_admin else town.manager
    table = data.draw(rows(what))
    faults = (await rehearsal.dry(user, table))["faults"]
    if not faults:
        return
    fault = data.draw(st.sampled_from(faults))
    left = (await rehearsal.dry(user, mended(what, table, fault)))["faults"]
    before, after = by_column(faults, fault["line"]), by_column(left, fault["line"])
    assert after.total() <= before.total(), (fault, faults, left)
    # Which row a line is about may be known only now: then so is whether another line is about it.
    assert set(after) <= set(before) | KEYS[what], (fault, faults, left)
    for line in range(2, len(table) + 2):
        told = set(by_column(left, line)) - set(by_column(faults, line))
        assert line == fault["line"] or told <= KEYS[what], (fault, faults, left)


def by_column(faults: list[dict[str, Any]], line: int) -> Counter[str | None]:
    return Counter(fault["column"] for fault in faults if fault["line"] == line)


def mended(what: str, table: list[Row], fault: dict[str, Any]) -> list[Row]:
    """Do what a fault says is to be done."""
    at, column, message = fault["line"] - 2, fault["column"], fault["message"]
    row = dict(table[at])
    if "leave one of them out" in message:
        row = dict.fromkeys(row, "")
        row.pop(MORE, None)
    elif column is None:
        del row[MORE]
    elif "is needed too" in message:
        row[column] = "1.0"
    elif "name it by its id" in message:
        row["id" if what == "stations" else column] = "{twin}"
    elif column in KEYS[what] and (what, column) != ("stations", "id"):
        row[column] = f"Fresh-{at}"
    else:
        row[column] = ""
    return [*table[:at], row, *table[at + 1 :]]

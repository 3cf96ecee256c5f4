"""Reading tables: what spreadsheets write is taken, and what cannot be read hides nothing else."""

import httpx
import pytest
from tests.fleet.onboarding.bringing import CSV, bring, places
from tests.world import SignedIn, World

from ohmstead.accounts.models import Role


@pytest.fixture
async def manager(world: World) -> SignedIn:
    return await world.user(Role.BACKOFFICE)


class TestReading:
    @pytest.mark.parametrize(
        ("content", "fault"),
        [
            (b"", "empty"),
            (b"  \n ", "empty"),
            (b"\xff\xfe\x00", "UTF-8"),
            ("naïve;ü".encode("latin-1"), "UTF-8"),
            (b"id,colour\nC,red", "colour"),
            (b"name\nC", "no column id"),
            (
                b"name,name\nC,C",
                "no column id: the first line names the columns. The column 'name' is there 2 times",
            ),
            (b"name,colour\nC,red", "'colour' is not known"),
            (b'id\n"C', "cannot be read"),
            (b"id\nC\x00D", "NUL"),
            (b"PK\x03\x04\x14\x00", ""),
            (b"id\n" + b"C\n" * 5001, "more than 5000 lines"),
        ],
    )
    async def test_what_is_no_such_table_is_refused_with_the_reason(
        self, client: httpx.AsyncClient, manager: SignedIn, content: bytes, fault: str
    ) -> None:
        answer = await client.post(
            "/api/admin/chargers.csv", content=content, headers={**manager.headers, **CSV}
        )
        assert answer.status_code == 422, answer.text
        assert fault in answer.text

    async def test_a_mark_at_the_beginning_and_tabs_are_understood(
        self, client: httpx.AsyncClient, manager: SignedIn
    ) -> None:
        answer = await bring(client, manager, "id-tags", content="\ufeffid_tag\towner\nT7\tRavi\n".encode())
        assert answer.json()["created"] == 1

    async def test_a_line_with_more_cells_than_the_heading_is_looked_at_all_the_same(
        self, client: httpx.AsyncClient, manager: SignedIn
    ) -> None:
        lines = ("id_tag,status", "T1,Lost,x", "T1,Accepted")
        rehearsal = (await bring(client, manager, "id-tags", *lines, dry_run=True)).json()
        assert places(rehearsal) == [
            (2, None),
            (2, "status"),
            (3, "id_tag"),
        ]

    async def test_what_is_wrong_with_the_heading_hides_no_line(
        self, client: httpx.AsyncClient, manager: SignedIn
    ) -> None:
        lines = ("id,colour,status,id", "C-1,red,Sleeping,C-2")
        rehearsal = (await bring(client, manager, "chargers", *lines, dry_run=True)).json()
        assert places(rehearsal) == [(1, "colour"), (1, "id"), (2, "status")]

    async def test_a_table_of_something_else_has_no_end_of_faults(
        self, client: httpx.AsyncClient, manager: SignedIn
    ) -> None:
        lines = [",".join(["id", *(f"column {number}" for number in range(3000))]), *['"a"b'] * 3000]
        rehearsal = (await bring(client, manager, "chargers", *lines, dry_run=True)).json()
        assert [line for line, _ in places(rehearsal)] == [1] * 100 + [*range(2, 102)]
        assert "nor was what follows looked at" in rehearsal["faults"][-1]["message"]

    async def test_a_quote_that_is_forgotten_hides_no_other_line(
        self, client: httpx.AsyncClient, manager: SignedIn
    ) -> None:
        lines = (
            "id,name,status",
            'C-1,"Depot, north,Sleeping',
            "C-2,One,Sleeping",
            'C-3,"a"b,',
            "C-4,,Sleeping",
        )
        rehearsal = (await bring(client, manager, "chargers", *lines, dry_run=True)).json()
        assert places(rehearsal) == [
            (2, None),
            (3, "status"),
            (4, None),
            (5, "status"),
        ]

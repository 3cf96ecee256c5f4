"""Stations, chargers and id tags by tables: all or nothing, faults by line, there and back the same."""

from typing import Any

import httpx
import pytest
from tests.world import SignedIn, World

from ohmstead.accounts.models import Role
from ohmstead.fleet.onboarding.sheets import connectors, written_connectors
from ohmstead.stations.models import Connector

CSV = {"Content-Type": "text/csv"}


@pytest.fixture
async def manager(world: World) -> SignedIn:
    return await world.user(Role.BACKOFFICE)


async def bring(
    client: httpx.AsyncClient, user: SignedIn, what: str, *lines: str, dry_run: bool = False, **options: Any
) -> httpx.Response:
    content = options.get("content") or "\r\n".join(lines).encode()
    path = f"/api/admin/{what}.csv" + ("?dry_run=true" if dry_run else "")
    return await client.post(path, content=content, headers={**user.headers, **CSV})


async def listed(client: httpx.AsyncClient, user: SignedIn, what: str) -> list[dict[str, Any]]:
    answer = await client.get(f"/api/admin/{what}?limit=500", headers=user.headers)
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


class TestBringing:
    async def test_stations_chargers_and_tags_come_in_and_come_again_as_changes(
        self, client: httpx.AsyncClient, manager: SignedIn
    ) -> None:
        stations = (
            "name;city;latitude;longitude;time_zone;amenities",
            "Harbour;Singapore;1,29;103,85;Asia/Singapore;toilet | café",
            '"Depot; north";;;;;',
        )
        first = await bring(client, manager, "stations", *stations)
        assert first.json() == {
            "dry_run": False,
            "lines": 2,
            "created": 2,
            "changed": 0,
            "faults": [],
            "passwords": {},
        }
        again = await bring(client, manager, "stations", *stations)
        assert (again.json()["created"], again.json()["changed"]) == (0, 2)
        chargers = (
            "id,station,connectors,security_profile,vendor",
            "CSV-1,harbour,2,0,Acme",
            'CSV-2,"Depot; north",1:Type 2:AC:3:22 | 2:CCS:DC::150,1,',
        )
        brought = (await bring(client, manager, "chargers", *chargers)).json()
        assert (brought["created"], list(brought["passwords"])) == (2, ["CSV-2"])
        rows = {row["id"]: row for row in await listed(client, manager, "chargers")}
        assert (rows["CSV-1"]["station"]["name"], rows["CSV-1"]["vendor"]) == ("Harbour", "Acme")
        plugs = rows["CSV-2"]["connectors"]
        assert [(one["type"], one["current"], one["phases"], one["max_power_kw"]) for one in plugs] == [
            ("Type 2", "AC", 3, 22.0),
            ("CCS", "DC", None, 150.0),
        ]
        tags = ("id_tag,status,expires_at,owner", "T1,Blocked,2027-01-01T00:00:00Z,Ravi", "T2,,,")
        assert (await bring(client, manager, "id-tags", *tags)).json()["created"] == 2
        changed = await bring(client, manager, "id-tags", "id_tag,status", "t1,Accepted")
        assert changed.json()["changed"] == 1
        found = {row["id_tag"]: row for row in await listed(client, manager, "id-tags")}
        assert (found["T1"]["status"], found["T1"]["owner"], found["T2"]["owner"]) == (
            "Accepted",
            "Ravi",
            None,
        )

    @pytest.mark.parametrize("what", ["stations", "chargers", "id-tags"])
    async def test_what_was_exported_comes_in_again_and_changes_nothing(
        self, client: httpx.AsyncClient, world: World, manager: SignedIn, what: str
    ) -> None:
        await bring(
            client, manager, "stations",
            "name,city,latitude,longitude,amenities,opening_hours",
            '=HYPERLINK("x"),"Two\nlines",1.5,2.5,a | b,'
            '"{""mon"": [{""start"": ""06:00"", ""end"": ""22:00""}]}"',
            "-minus,,,,,",
        )  # fmt: skip
        await bring(
            client, manager, "chargers", "id,station,connectors,name", "C-1,-minus,3,+plus", "C-2,,1:CCS,"
        )
        await bring(client, manager, "id-tags", "id_tag,owner", "@home,'quoted", "T2,")
        before = await listed(client, manager, what)
        assert before
        exported = await client.get(f"/api/admin/{what}.csv", headers=manager.headers)
        assert exported.headers["content-type"].startswith("text/csv")
        for line in exported.text.splitlines():
            assert not line.startswith(("=", "+", "-", "@"))
        back = await bring(client, manager, what, content=exported.content)
        assert back.status_code == 200, back.text
        assert (back.json()["created"], back.json()["changed"]) == (0, len(before))
        times = {"updated_at"}
        after = await listed(client, manager, what)
        assert [{k: v for k, v in row.items() if k not in times} for row in after] == [
            {k: v for k, v in row.items() if k not in times} for row in before
        ]

    async def test_passwords_are_taken_and_never_given(
        self, client: httpx.AsyncClient, manager: SignedIn
    ) -> None:
        await bring(client, manager, "chargers", "id,security_profile,password", "C-9,1,s3cret-of-c9-x")
        [row] = await listed(client, manager, "chargers")
        assert row["has_password"] is True
        exported = (await client.get("/api/admin/chargers.csv", headers=manager.headers)).text
        assert "s3cret" not in exported
        assert "password" in exported.splitlines()[0]

    async def test_thousands_of_rows_are_exported_whole(
        self, client: httpx.AsyncClient, manager: SignedIn
    ) -> None:
        lines = ["id_tag", *(f"TAG{number:05}" for number in range(1201))]
        assert (await bring(client, manager, "id-tags", *lines)).json()["created"] == 1201
        exported = (await client.get("/api/admin/id-tags.csv", headers=manager.headers)).text.splitlines()
        assert len(exported) == 1202
        assert {line.partition(",")[0] for line in exported[1:]} == set(lines[1:])


class TestFaults:
    async def test_each_is_told_by_its_line_and_nothing_is_written(
        self, client: httpx.AsyncClient, manager: SignedIn
    ) -> None:
        await bring(client, manager, "stations", "name", "Twin", content=b"name\nHarbour\n")
        lines = (
            "id,station,connectors,security_profile,tolerant",
            "OK-1,Harbour,1,0,no",
            "BAD-1,Nowhere,1,0,no",
            "BAD-2,Harbour,two,0,no",
            "BAD-3,Harbour,1,9,maybe",
            "",
            "OK-1,Harbour,1,0,no",
            "BAD-4,Harbour,1,0,no,what,is this",
            ",Harbour,1,0,no",
        )
        rehearsal = (await bring(client, manager, "chargers", *lines, dry_run=True)).json()
        told = [(one["line"], one["column"]) for one in rehearsal["faults"]]
        assert told == [
            (3, "station"),
            (4, "connectors"),
            (5, "tolerant"),
            (5, "security_profile"),
            (7, "id"),
            (8, None),
            (9, "id"),
        ]
        assert "there is no station 'Nowhere'" in rehearsal["faults"][0]["message"]
        assert "line 2" in rehearsal["faults"][4]["message"]
        refused = await bring(client, manager, "chargers", *lines)
        assert (refused.status_code, refused.json()["error"]) == (422, "TableInvalid")
        assert "line 4, connectors" in refused.json()["fields"]
        assert await listed(client, manager, "chargers") == []

    async def test_a_rehearsal_tells_what_would_happen_and_changes_nothing(
        self, client: httpx.AsyncClient, manager: SignedIn
    ) -> None:
        told = await bring(client, manager, "chargers", "id,security_profile", "C-1,1", dry_run=True)
        assert (told.json()["created"], told.json()["passwords"]) == (1, {})
        assert await listed(client, manager, "chargers") == []

    @pytest.mark.parametrize(
        ("content", "fault"),
        [
            (b"", "empty"),
            (b"  \n ", "empty"),
            (b"\xff\xfe\x00", "UTF-8"),
            ("naïve;ü".encode("latin-1"), "UTF-8"),
            (b"id,colour\nC,red", "colour"),
            (b"name\nC", "no column id"),
            (b"id,id\nC,C", "twice"),
            (b'id\n"C', "cannot be read"),
            (b"id\nC\x00D", "NUL"),
            (b"PK\x03\x04\x14\x00", ""),
            (b"id\n" + b"C\n" * 5001, "5000"),
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


class TestWhose:
    async def test_a_business_changes_and_exports_its_own_alone(
        self, client: httpx.AsyncClient, world: World, manager: SignedIn
    ) -> None:
        theirs = await world.charger()
        tag = await world.token(backoffice_id=theirs.backoffice_id)
        taken = await bring(client, manager, "chargers", "id,name", f"{theirs.id},Mine now")
        assert (taken.status_code, "is taken" in taken.text) == (422, True)
        station = await bring(client, manager, "chargers", "id,station", f"C-1,{theirs.station_id}")
        assert station.status_code == 422
        assert (await bring(client, manager, "id-tags", "id_tag", tag.id_tag)).json()["created"] == 1
        for what in ("stations", "chargers", "id-tags"):
            exported = (await client.get(f"/api/admin/{what}.csv", headers=manager.headers)).text
            assert str(theirs.station_id) not in exported
            assert theirs.id not in exported

    @pytest.mark.parametrize("what", ["stations", "chargers", "id-tags"])
    async def test_who_may(self, client: httpx.AsyncClient, world: World, what: str) -> None:
        path = f"/api/admin/{what}.csv"
        assert (await client.get(path)).status_code == 401
        assert (await client.post(path, content=b"id\nX")).status_code == 401
        driver, operator = await world.user(Role.EV_OWNER), await world.user(Role.OPERATOR)
        for method, user, status in (
            ("GET", driver, 403),
            ("POST", driver, 403),
            ("POST", operator, 403),
            ("GET", operator, 200),
        ):
            answer = await client.request(method, path, content=b"id\nX", headers={**user.headers, **CSV})
            assert answer.status_code == status, (method, user.role)


class TestConnectors:
    @pytest.mark.parametrize("text", ["1:", "1:Type 2:AC:3:22 | 2:CCS:DC::150", "3::::7.4"])
    def test_they_are_written_as_they_are_read(self, text: str) -> None:
        rows = [Connector(charger_id="C", **one) for one in connectors(text)]
        assert written_connectors(rows) == text

    def test_a_number_alone_is_how_many_there_are(self) -> None:
        assert connectors("3") == 3

    @pytest.mark.parametrize("text", ["one:Type 2", "1:a:b:c:d:e", "1:x:AC:three", "1:x:AC:3:much"])
    def test_what_is_neither_is_told(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"no|form"):
            connectors(text)

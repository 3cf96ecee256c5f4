"""Stations, chargers and id tags by tables: all or nothing, there and back the same."""

import csv
import io
import re
from datetime import timedelta
from typing import Any

import httpx
import pytest
from tests.fleet.onboarding.bringing import CSV, bring, kept, listed, without_times
from tests.world import SignedIn, World

from ohmstead.accounts.models import Role, TokenStatus
from ohmstead.core.db import Database
from ohmstead.stations.models import Charger, Connector


@pytest.fixture
async def manager(world: World) -> SignedIn:
    return await world.user(Role.BACKOFFICE)


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
    async def test_what_a_system_admin_exported_of_all_businesses_changes_nothing_either(
        self, client: httpx.AsyncClient, world: World, db: Database, what: str
    ) -> None:
        admin = await world.admin()
        for charger_id in ("TWIN-1", "twin-1"):
            station = await world.station(name="Harbour" if charger_id == "TWIN-1" else "HARBOUR")
            row = await world.charger(station, charger_id, connectors=0, free_vend=charger_id == "TWIN-1")
            await world.add(Connector(charger_id=row.id, connector_id=1, type="CCS", max_power_kw=12345.678))
            await world.add(Charger(id=f"{charger_id}-NOWHERE", backoffice_id=row.backoffice_id))
            expires = world.clock.now() + timedelta(microseconds=123_456)
            await world.token(row.backoffice_id, "Tag 1" if row.free_vend else "TAG 1", expires_at=expires)
        await world.token(None, "tag 1", status=TokenStatus.BLOCKED)
        came = {"registration": "Pending", "unregistered_since": world.clock.now()}
        await world.add(Charger(id="NOBODYS"), Charger(id="UNKNOWN", **came))
        before = await kept(db)
        exported = await client.get(f"/api/admin/{what}.csv", headers=admin.headers)
        back = await bring(client, admin, what, content=exported.content)
        assert back.status_code == 200, back.text
        assert (back.json()["created"], back.json()["passwords"]) == (0, {})
        assert back.json()["changed"] == {"stations": 2, "chargers": 6, "id-tags": 3}[what]
        assert await kept(db) == before

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
        assert without_times(await listed(client, manager, what)) == without_times(before)

    async def test_a_charger_charges_without_a_tag_where_its_line_says_so(
        self, client: httpx.AsyncClient, manager: SignedIn
    ) -> None:
        await bring(client, manager, "chargers", "id,free_vend", "C-1,yes", "C-2,")
        assert [row["free_vend"] for row in await listed(client, manager, "chargers")] == [True, False]
        exported = (await client.get("/api/admin/chargers.csv", headers=manager.headers)).text
        assert [row["free_vend"] for row in csv.DictReader(io.StringIO(exported))] == ["true", "false"]
        await bring(client, manager, "chargers", "id,free_vend", "C-1,no")
        assert [row["free_vend"] for row in await listed(client, manager, "chargers")] == [False, False]

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


def twice(rehearsal: dict[str, Any]) -> tuple[int, str, str]:
    """The line of the only fault, its column, and the line that is about the same."""
    [fault] = rehearsal["faults"]
    found = re.fullmatch(r"is in (line \d+) too: leave one of them out", fault["message"])
    assert found is not None, fault
    return fault["line"], fault["column"], found[1]


class TestTwice:
    async def test_a_station_is_in_a_file_once_by_its_id_or_by_its_name_and_business(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        admin, one, two = await world.admin(), await world.backoffice(), await world.backoffice()
        lines = ["name,city,backoffice_id", f"Harbour,Lisbon,{one.id}", f"harbour,Porto,{two.id}"]
        assert (await bring(client, admin, "stations", *lines)).json()["created"] == 2
        again = (await bring(client, admin, "stations", *lines)).json()
        assert (again["created"], again["changed"]) == (0, 2)
        rows = await listed(client, admin, "stations")
        assert {(row["city"], row["backoffice_id"]) for row in rows} == {
            ("Lisbon", str(one.id)),
            ("Porto", str(two.id)),
        }
        lines.append(f"HARBOUR,Faro,{two.id}")
        rehearsal = (await bring(client, admin, "stations", *lines, dry_run=True)).json()
        assert rehearsal["faults"] == [
            {"line": 4, "column": "name", "message": "is in line 3 too: leave one of them out"}
        ]
        lines = ["id,name", f"{rows[0]['id']},One", f"{rows[0]['id'].upper()},Other"]
        rehearsal = (await bring(client, admin, "stations", *lines, dry_run=True)).json()
        assert rehearsal["faults"] == [
            {"line": 3, "column": "id", "message": "is in line 2 too: leave one of them out"}
        ]
        for what, column, *lines in (
            ("stations", "name", "name", "harbour"),
            ("chargers", "station", "id,station", "C-1,harbour"),
        ):
            which = (await bring(client, admin, what, *lines, dry_run=True)).json()
            [fault] = which["faults"]
            assert (fault["column"], "name it by its id" in fault["message"]) == (column, True)

    async def test_a_charger_by_its_exact_id(self, client: httpx.AsyncClient, manager: SignedIn) -> None:
        lines = ("id", "TWIN-1", "twin-1", "TWIN-1")
        rehearsal = (await bring(client, manager, "chargers", *lines, dry_run=True)).json()
        assert rehearsal["faults"] == [
            {"line": 4, "column": "id", "message": "is in line 2 too: leave one of them out"}
        ]
        assert (await bring(client, manager, "chargers", *lines[:3])).json()["created"] == 2

    async def test_an_id_tag_in_any_case_within_its_business(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        admin, one, two = await world.admin(), await world.backoffice(), await world.backoffice()
        lines = ["id_tag,backoffice_id", f"T1,{one.id}", f"t1,{two.id}", "T1,"]
        assert (await bring(client, admin, "id-tags", *lines)).json()["created"] == 3
        lines.append(f"t1,{one.id}")
        rehearsal = (await bring(client, admin, "id-tags", *lines, dry_run=True)).json()
        assert rehearsal["faults"] == [
            {"line": 5, "column": "id_tag", "message": "is in line 2 too: leave one of them out"}
        ]
        manager = await world.user(Role.BACKOFFICE, one)
        own = ("id_tag,backoffice_id", "T1,", f"t1,{one.id}")
        rehearsal = (await bring(client, manager, "id-tags", *own, dry_run=True)).json()
        assert [fault["line"] for fault in rehearsal["faults"]] == [3]


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
            content = b"id\nX" if method == "POST" else None
            answer = await client.request(method, path, content=content, headers={**user.headers, **CSV})
            assert answer.status_code == status, (method, user.role)

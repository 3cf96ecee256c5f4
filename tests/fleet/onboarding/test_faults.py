"""What is wrong with the lines of a table: all of it is told at once."""

from uuid import uuid4

import httpx
import pytest
from sqlalchemy import update
from tests.fleet.onboarding.bringing import bring, listed, places
from tests.fleet.onboarding.town import build
from tests.world import SignedIn, World

from ohmstead.accounts.models import Backoffice, BackofficeStatus, Role
from ohmstead.core.db import Database


@pytest.fixture
async def manager(world: World) -> SignedIn:
    return await world.user(Role.BACKOFFICE)


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
        told = places(rehearsal)
        assert told == [
            (3, "station"),
            (4, "connectors"),
            (5, "security_profile"),
            (5, "tolerant"),
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

    @pytest.mark.parametrize(
        ("what", "lines", "columns"),
        [
            (
                "chargers",
                (
                    "id,station,security_profile,status,backoffice_id,tolerant",
                    f"N-1,Nowhere,9,Sleeping,{uuid4()},maybe",
                ),
                ["station", "status", "security_profile", "tolerant", "backoffice_id"],
            ),
            (
                "chargers",
                ("id,station,security_profile,status", f"THERE,{uuid4()},9,Sleeping"),
                ["station", "status", "security_profile"],
            ),
            (
                "chargers",
                ("id,station,security_profile,status", "TAKEN,Twin,9,Sleeping"),
                ["id", "station", "status", "security_profile"],
            ),
            (
                "stations",
                ("name,status,time_zone,latitude,backoffice_id", f"Twin,Sleeping,Moon,x,{uuid4()}"),
                ["name", "latitude", "longitude", "time_zone", "status", "backoffice_id"],
            ),
            (
                "stations",
                ("id,name,status,backoffice_id", f"{uuid4()},New,Sleeping,{uuid4()}"),
                ["id", "status", "backoffice_id"],
            ),
            (
                "id-tags",
                ("id_tag,status,max_concurrent_sessions,backoffice_id", f"TAG,Lost,0,{uuid4()}"),
                ["status", "max_concurrent_sessions", "backoffice_id"],
            ),
        ],
    )
    async def test_every_one_of_a_line_is_told(
        self,
        *,
        client: httpx.AsyncClient,
        world: World,
        what: str,
        lines: tuple[str, ...],
        columns: list[str],
    ) -> None:
        business = await world.backoffice()
        manager = await world.user(Role.BACKOFFICE, business)
        for _ in range(2):
            await world.station(business, name="Twin")
        await world.charger(await world.station(business), id="THERE")
        await world.charger(id="TAKEN")
        rehearsal = (await bring(client, manager, what, *lines, dry_run=True)).json()
        told = [one["column"] for one in rehearsal["faults"]]
        assert told == columns, rehearsal

    async def test_what_belongs_to_a_business_that_is_not_at_work_any_more_may_stay_as_it_is(
        self, client: httpx.AsyncClient, world: World, db: Database
    ) -> None:
        admin = await world.admin()
        row = await world.charger()
        async with db.session() as session:
            await session.execute(update(Backoffice).values(status=BackofficeStatus.REJECTED))
        lines = ("id,backoffice_id", f"{row.id},{row.backoffice_id}")
        assert (await bring(client, admin, "chargers", *lines)).status_code == 200

    async def test_every_one_of_many_is_told(self, client: httpx.AsyncClient, manager: SignedIn) -> None:
        lines = ["id_tag,status", *(f"TAG{number:05},Lost" for number in range(801))]
        rehearsal = (await bring(client, manager, "id-tags", *lines, dry_run=True)).json()
        assert places(rehearsal) == [(number, "status") for number in range(2, 803)]
        refused = (await bring(client, manager, "id-tags", *lines)).json()
        assert "has 801 faults" in refused["message"]
        assert len(refused["fields"]) == 801

    async def test_two_in_one_cell_are_both_told(self, client: httpx.AsyncClient, manager: SignedIn) -> None:
        lines = ("id,connectors", "C-1,1:CCS:XX | 2:CCS:DC:9")
        rehearsal = (await bring(client, manager, "chargers", *lines, dry_run=True)).json()
        told = [one["message"] for one in rehearsal["faults"]]
        assert len(told) == 2
        refused = (await bring(client, manager, "chargers", *lines)).json()
        assert refused["fields"] == {"line 2, connectors": "; ".join(told)}

    async def test_a_rehearsal_tells_what_would_happen_and_changes_nothing(
        self, client: httpx.AsyncClient, manager: SignedIn
    ) -> None:
        told = await bring(client, manager, "chargers", "id,security_profile", "C-1,1", dry_run=True)
        assert (told.json()["created"], told.json()["passwords"]) == (1, {})
        assert await listed(client, manager, "chargers") == []


class TestAtOnce:
    """Every fault of a line, whoever finds it: the reader, the schema, the service, or another line."""

    @pytest.mark.parametrize(
        ("who", "what", "heading", "line", "told"),
        [
            (
                "admin",
                "chargers",
                "id,station,status,connectors,security_profile,backoffice_id",
                "HAVE,{harbour},Sleeping,1,9,{other}",
                {
                    "status": "Input should be 'Active'",
                    "connectors": "connectors above 1 had sessions",
                    "security_profile": "less than or equal to 3",
                    "backoffice_id": "is not the business of the station: leave it out",
                },
            ),
            (
                "admin",
                "chargers",
                "id,station,status,backoffice_id",
                "HAVE,,Sleeping,{other}",
                {"status": "Input should be", "backoffice_id": "is not the business of the station"},
            ),
            (
                "admin",
                "chargers",
                "id,status,backoffice_id",
                "LOOSE,Sleeping,{gone}",
                {"status": "Input should be", "backoffice_id": "is not active: name one that is"},
            ),
            (
                "admin",
                "chargers",
                "id,station,tolerant,backoffice_id",
                "WAITING,Nowhere,maybe,{gone}",
                {
                    "station": "import it first",
                    "tolerant": "neither true nor false",
                    "backoffice_id": "active",
                },
            ),
            (
                "admin",
                "chargers",
                "id,station,status,backoffice_id",
                "a b,{theirs},Sleeping,{own}",
                {"id": "without spaces", "status": "Input should be", "backoffice_id": "of the station"},
            ),
            (
                "manager",
                "chargers",
                "id,station,connectors,backoffice_id",
                "TAKEN,{theirs},1:CCS:XX:four | 1:a:b:c:d:e | 2:CCS:YY,{other}",
                {
                    "id": "choose another one",
                    "station": "there is no station",
                    "connectors": "'1:CCS:XX:four': 'four' is no whole number",
                    "backoffice_id": "is not your business: leave it out",
                },
            ),
            (
                "manager",
                "chargers",
                "id,status,connectors,backoffice_id",
                "HAVE,Sleeping,1,{other}",
                {"status": "Input should be", "connectors": "larger number", "backoffice_id": "not your"},
            ),
            (
                "manager",
                "chargers",
                "id,status,security_profile",
                "WAITING,Sleeping,1" + "0" * 30,
                {
                    "id": "a SystemAdmin gives it to you",
                    "status": "Input should be",
                    "security_profile": "64 bits",
                },
            ),
            (
                "admin",
                "stations",
                "name,latitude,status,backoffice_id",
                "New,1.5,Sleeping,{gone}",
                {"longitude": "is needed too", "status": "Input should be", "backoffice_id": "is not active"},
            ),
            (
                "admin",
                "stations",
                "id,name,longitude,country,backoffice_id",
                "{bare}," + "x" * 201 + ",1.5,Atlantis,{gone}",
                {
                    "name": "at most 200",
                    "country": "ISO 3166",
                    "latitude": "is needed too",
                    "backoffice_id": "is not active",
                },
            ),
            (
                "manager",
                "stations",
                "id,name,latitude,opening_hours,backoffice_id",
                "{theirs},New,north," + "[" * 300 + "]" * 300 + ",{other}",
                {
                    "id": "leave the id out for a new one",
                    "latitude": "'north' is no number",
                    "longitude": "is needed too",
                    "opening_hours": "nested too deeply",
                    "backoffice_id": "is not your business",
                },
            ),
            (
                "manager",
                "id-tags",
                "id_tag,status,expires_at,max_concurrent_sessions,backoffice_id",
                "a\tb,Lost,tomorrow,1" + "0" * 30 + ",{other}",
                {
                    "id_tag": "printable",
                    "status": "Input should be",
                    "expires_at": "must be a time such as",
                    "max_concurrent_sessions": "64 bits",
                    "backoffice_id": "is not your business",
                },
            ),
        ],
    )
    async def test_each_is_told_with_what_to_do(
        self,
        *,
        client: httpx.AsyncClient,
        world: World,
        who: str,
        what: str,
        heading: str,
        line: str,
        told: dict[str, str],
    ) -> None:
        town = await build(world)
        user = town.admin if who == "admin" else town.manager
        rehearsal = (await bring(client, user, what, heading, town.line(line), dry_run=True)).json()
        messages: dict[str, str] = {}
        for fault in rehearsal["faults"]:
            messages[fault["column"]] = f"{messages.get(fault['column'], '')}{fault['message']}; "
        assert messages.keys() == told.keys()
        for column, part in told.items():
            assert part in messages[column]

    async def test_a_line_that_is_there_twice_is_looked_at_all_the_same(
        self, client: httpx.AsyncClient, manager: SignedIn
    ) -> None:
        lines = ("id,status,station", "C-1,Sleeping,", "C-1,Sleeping,Nowhere")
        rehearsal = (await bring(client, manager, "chargers", *lines, dry_run=True)).json()
        assert places(rehearsal) == [
            (2, "status"),
            (3, "id"),
            (3, "station"),
            (3, "status"),
        ]

    async def test_what_a_faulty_line_would_change_does_not_matter_to_others(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        town = await build(world)
        lines = ("id,name,status", "{harbour},Bare,Sleeping", ",Bare,Lost", "{bare},,Active")
        told = []
        for mended in (lines[1], "{harbour},Bare,Active"):
            content = "\n".join([lines[0], mended, *lines[2:]])
            answer = await bring(
                client, town.manager, "stations", content=town.line(content).encode(), dry_run=True
            )
            told.append(places(answer.json()))
        assert told == [[(2, "status"), (3, "status"), (4, "id")], [(3, "status"), (4, "id")]]

    async def test_a_name_that_another_line_gives_to_a_station_makes_no_second_one(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        town = await build(world)
        lines = [town.line(line) for line in ("id,name", ",NEW", "{harbour},New")]
        rehearsal = (await bring(client, town.manager, "stations", *lines, dry_run=True)).json()
        [fault] = rehearsal["faults"]
        assert (fault["line"], fault["column"]) == (2, "name")
        assert fault["message"].startswith("is what line 3 calls another one")

"""The audit trail: what it holds, who may read it, and that nobody changes it unseen."""

import asyncio
import csv
import io
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import orjson
import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from tests.conftest import NOW, FrozenClock
from tests.running import RunningServer
from tests.world import World

from ohmstead.accounts.audit import record, record_row, state
from ohmstead.accounts.audit_models import AuditEntry
from ohmstead.accounts.audit_seals import seal_next, verify
from ohmstead.accounts.models import Role
from ohmstead.accounts.person_keys import forget
from ohmstead.charging.models import ClosedBy
from ohmstead.charging.service import close_session
from ohmstead.core.acting import Acting, acting_as
from ohmstead.core.db import Database
from ohmstead.core.spreadsheets import cell_text, safe_cell
from ohmstead.stations import credentials

MAYA = Acting(
    kind="user",
    id="maya",
    role="Operator",
    person_id=UUID(int=1),
    email="maya@volt.example",
    station_ids=frozenset({UUID(int=7)}),
    request_id="request-1",
    address="192.0.2.7",
)


async def write(db: Database, action: str = "station.updated", who: Acting = MAYA, **fields: Any) -> None:
    values: dict[str, Any] = {"entity": "station", "entity_id": "S1", **fields}
    with acting_as(who):
        async with db.session() as session:
            await record(session, action, **values)


async def entries(db: Database) -> list[AuditEntry]:
    async with db.session() as session:
        return list((await session.scalars(select(AuditEntry).order_by(AuditEntry.id))).all())


class TestRecording:
    async def test_an_entry_says_who_did_what_to_what_from_where_and_why(self, db: Database) -> None:
        before = {"name": "A", "status": "Active", "at": NOW}
        await write(db, before=before, after={**before, "status": "Inactive"}, reason="renovation")
        [entry] = await entries(db)
        assert (entry.action, entry.entity, entry.entity_id) == ("station.updated", "station", "S1")
        assert (entry.before, entry.after) == ({"status": "Active"}, {"status": "Inactive"})
        assert (entry.actor_kind, entry.actor_id, entry.actor_role) == ("user", "maya", "Operator")
        assert (entry.reason, entry.request_id, entry.at) == ("renovation", "request-1", NOW)
        assert entry.operator_station_ids == [UUID(int=7)]

    async def test_it_exists_exactly_when_the_change_does(self, db: Database) -> None:
        async def undone() -> None:
            async with db.session() as session:
                await record(session, "station.deleted", entity="station", entity_id="S1")
                raise ValueError("undone")

        with pytest.raises(ValueError, match="undone"):
            await undone()
        assert await entries(db) == []

    async def test_what_tells_of_a_person_lies_encrypted(self, db: Database) -> None:
        driver = uuid4()
        await write(db, person_id=driver, personal={"phone": "+94771234567"}, entity="driver")
        async with db.session() as session:
            row = (await session.execute(text("SELECT entry::text FROM accounts_audit_entry entry"))).scalar()
        assert row is not None
        for told in ("maya@volt.example", "192.0.2.7", "+94771234567", "6d617961"):
            assert told not in row

    async def test_secrets_are_never_written(self, db: Database) -> None:
        await write(
            db,
            before={"password_hash": "h1", "name": "x"},
            after={"password_hash": "h2", "name": "y", "nested": {"token": "t0ken"}},
        )
        [entry] = await entries(db)
        assert entry.before == {"name": "x", "password_hash": "***"}
        assert entry.after == {"name": "y", "password_hash": "***", "nested": {"token": "***"}}

    async def test_nobody_in_particular_is_the_system(self, db: Database) -> None:
        await write(db, who=Acting())
        [entry] = await entries(db)
        assert (entry.actor_kind, entry.actor_id, entry.actor_personal) == ("system", None, None)


class TestRows:
    async def test_a_row_that_changed_says_what_was_and_what_is(self, db: Database, world: World) -> None:
        station = await world.station(name="A", city="Kandy")
        async with db.session() as session:
            session.add(station)
            before = state(station)
            station.name = "B"
            await record_row(session, "station.updated", station, before)
        [entry] = await entries(db)
        assert (entry.entity, entry.entity_id) == ("station", str(station.id))
        assert (entry.before, entry.after) == ({"name": "A"}, {"name": "B"})
        assert (entry.backoffice_id, entry.station_id) == (station.backoffice_id, station.id)

    async def test_one_that_did_not_change_is_not_worth_an_entry_unless_there_is_more_to_say(
        self, db: Database, world: World
    ) -> None:
        station = await world.station()
        async with db.session() as session:
            await record_row(session, "station.updated", station, state(station))
        assert await entries(db) == []
        async with db.session() as session:
            await record_row(session, "station.updated", station, state(station), also={"chargers": 2})
        [entry] = await entries(db)
        assert (entry.before, entry.after) == ({}, {"chargers": 2})

    async def test_one_that_is_made_or_deleted_is_there_whole_without_what_is_empty(
        self, db: Database, world: World
    ) -> None:
        charger = await world.charger(password_hash="HASH")
        async with db.session() as session:
            await record_row(session, "charger.created", charger)
            await record_row(session, "charger.deleted", charger, gone=True)
        made, deleted = await entries(db)
        assert made.before is None
        assert deleted.after is None
        assert made.after == deleted.before
        assert made.after is not None
        assert (made.after["id"], made.after["password_hash"]) == (charger.id, "***")
        assert "vendor" not in made.after

    async def test_what_tells_of_a_person_goes_under_its_key(
        self, db: Database, client: httpx.AsyncClient, world: World
    ) -> None:
        admin = await world.admin()
        made = {"id_tag": "MARKERTAG", "owner": "Asha Markerson"}
        assert (await client.post("/api/admin/id-tags", json=made, headers=admin.headers)).is_success
        change = {"owner": "Ravi Markerson", "status": "Blocked"}
        path = "/api/admin/id-tags/MARKERTAG"
        assert (await client.put(path, json=change, headers=admin.headers)).is_success
        async with db.session() as session:
            query = text("SELECT string_agg(entry::text, '') FROM accounts_audit_entry entry")
            assert "Marker" not in str(await session.scalar(query))
        shown = (await client.get("/api/admin/audit", headers=admin.headers)).json()["items"]
        assert [one["personal"] for one in shown] == [
            {"before": {"owner": "Asha Markerson"}, "after": {"owner": "Ravi Markerson"}},
            {"after": made},
        ]
        assert (shown[0]["before"], shown[0]["after"]) == ({"status": "Accepted"}, {"status": "Blocked"})


class TestWhoDidIt:
    async def test_a_session_that_a_rule_closed_was_closed_by_the_job_of_that_rule(
        self, db: Database, world: World
    ) -> None:
        row = await world.session(await world.charger())
        with acting_as(Acting(kind="system", id="charging:close_stale")):
            async with db.session() as session:
                await close_session(
                    session, row.id, reason="ConnectorAvailable", closed_by=ClosedBy.RULE, now=NOW
                )
        [entry] = await entries(db)
        assert (entry.action, entry.entity_id, entry.reason) == (
            "session.closed",
            str(row.id),
            "ConnectorAvailable",
        )
        assert (entry.actor_kind, entry.actor_id) == ("system", "charging:close_stale")
        assert entry.before is not None
        assert entry.after is not None
        assert (entry.before["status"], entry.after["status"]) == ("Active", "Completed")
        assert (entry.after["closed_by"], entry.station_id) == ("rule", row.station_id)

    async def test_a_password_that_a_charger_took_over_was_changed_by_the_charger(
        self, db: Database, world: World
    ) -> None:
        charger = await world.charger(password_hash="old")
        async with db.session() as session:
            await credentials.offer(session, charger.id, "new", NOW)
            await credentials.accepted(session, charger.id, "new", NOW)
        [entry] = await entries(db)
        assert (entry.action, entry.entity_id) == ("charger.password_changed", charger.id)
        assert (entry.actor_kind, entry.actor_id) == ("charger", charger.id)
        assert (entry.before, entry.after) == (None, None)

    async def test_what_is_done_in_the_name_of_another_keeps_the_request(self, db: Database) -> None:
        with acting_as(MAYA):
            async with db.session() as session:
                by = Acting(kind="charger", id="CP1")
                await record(session, "diagnostics.received", entity="diagnostics", entity_id=1, by=by)
        [entry] = await entries(db)
        assert (entry.actor_kind, entry.actor_id, entry.request_id) == ("charger", "CP1", "request-1")


class TestAppendOnly:
    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE accounts_audit_entry SET action = 'nothing'",
            "UPDATE accounts_audit_entry SET seal_id = NULL",
            "DELETE FROM accounts_audit_entry",
            "TRUNCATE accounts_audit_entry",
            "TRUNCATE accounts_audit_seal CASCADE",
            "UPDATE accounts_audit_seal SET digest = ''",
            "DELETE FROM accounts_audit_seal",
        ],
    )
    async def test_the_database_refuses_to_change_or_remove_what_was_written(
        self, db: Database, statement: str
    ) -> None:
        await write(db)
        async with db.session() as session:
            await seal_next(session, NOW)
        with pytest.raises(DBAPIError, match="append-only"):
            async with db.session() as session:
                await session.execute(text(statement))
        assert len(await entries(db)) == 1


async def sealed(db: Database, *batches: int) -> None:
    for number, size in enumerate(batches):
        for one in range(size):
            await write(db, entity_id=f"S{number}-{one}", person_id=UUID(int=9), personal={"n": one})
        async with db.session() as session:
            assert await seal_next(session, NOW + timedelta(minutes=number, microseconds=123_456)) == size


async def tamper(session: AsyncSession, *statements: str) -> None:
    """Change what the trigger protects, as somebody who owns the database could."""
    await session.execute(text("SET LOCAL session_replication_role = replica"))
    for statement in statements:
        await session.execute(text(statement))


class TestTheChain:
    async def test_it_holds_over_batches_and_tells_what_is_not_sealed_yet(self, db: Database) -> None:
        await sealed(db, 3, 1, 2)
        await write(db)
        async with db.session() as session:
            verdict = await verify(session)
        assert (verdict.seals, verdict.entries, verdict.unsealed, verdict.faults) == (3, 6, 1, ())
        assert len(verdict.head) == 64

    async def test_there_is_nothing_to_seal_twice(self, db: Database) -> None:
        await sealed(db, 2)
        async with db.session() as session:
            assert await seal_next(session, NOW) == 0

    @pytest.mark.parametrize(
        ("statement", "fault"),
        [
            ("UPDATE accounts_audit_entry SET reason = 'none' WHERE entity_id = 'S1-0'", "entry of seal 2"),
            ("UPDATE accounts_audit_entry SET at = at + interval '1 us' WHERE entity_id = 'S0-2'", "seal 1"),
            ("UPDATE accounts_audit_entry SET personal = ''::bytea WHERE entity_id = 'S0-0'", "seal 1"),
            ("DELETE FROM accounts_audit_entry WHERE entity_id = 'S0-1'", "seal 1 covers 3 entries, 2"),
            ("UPDATE accounts_audit_entry SET seal_id = 2 WHERE entity_id = 'S0-1'", "seal 1 covers 3"),
            ("DELETE FROM accounts_audit_seal WHERE id = 2", "seal 2 is missing"),
            ("UPDATE accounts_audit_seal SET sealed_at = sealed_at + interval '1 s' WHERE id = 1", "seal 1"),
            ("UPDATE accounts_audit_seal SET digest = decode('00', 'hex') WHERE id = 1", "seal 1"),
        ],
    )  # fmt: skip
    async def test_what_somebody_changed_behind_it_is_found(
        self, db: Database, statement: str, fault: str
    ) -> None:
        await sealed(db, 3, 1, 2)
        async with db.session() as session:
            await tamper(session, *statement.split("; "))
        async with db.session() as session:
            verdict = await verify(session)
        assert any(fault in one for one in verdict.faults), verdict.faults

    async def test_it_holds_when_a_person_is_forgotten(
        self, db: Database, client: httpx.AsyncClient, world: World
    ) -> None:
        await sealed(db, 2)
        admin = await world.admin()
        path = "/api/admin/audit?entity=station"
        shown = (await client.get(path, headers=admin.headers)).json()["items"]
        assert [one["personal"] for one in shown] == [{"n": 1}, {"n": 0}]
        async with db.session() as session:
            await forget(session, UUID(int=9))
        async with db.session() as session:
            assert (await verify(session)).faults == ()
        shown = (await client.get(path, headers=admin.headers)).json()["items"]
        assert [one["personal"] for one in shown] == [None, None]
        assert {one["actor_email"] for one in shown} == {"maya@volt.example"}


class TestSealingBesideWriters:
    async def test_a_writer_that_commits_late_is_sealed_later_and_waits_for_nobody(
        self, server: RunningServer
    ) -> None:
        database = server.database
        mark = f"L{uuid4().hex[:8]}"
        async with database.session() as late:
            await record(late, "late", entity="test", entity_id=mark)
            await late.flush()
            with acting_as(MAYA):
                async with database.session() as session:
                    await record(session, "early", entity="test", entity_id=mark)
            async with database.session() as session:
                assert await seal_next(session, NOW) >= 1
        while True:
            async with database.session() as session:
                if not await seal_next(session, NOW):
                    break
        async with database.session() as session:
            rows = (
                await session.execute(
                    select(AuditEntry.action, AuditEntry.seal_id)
                    .where(AuditEntry.entity_id == mark)
                    .order_by(AuditEntry.seal_id)
                )
            ).all()
            assert [row.action for row in rows] == ["early", "late"]
            assert (await verify(session)).faults == ()

    async def test_many_writers_and_two_that_seal_make_one_chain(self, server: RunningServer) -> None:
        database = server.database
        mark = f"M{uuid4().hex[:8]}"

        async def writes(number: int) -> None:
            for one in range(10):
                async with database.session() as session:
                    await record(session, "busy", entity=mark, entity_id=f"{number}-{one}")
                    await asyncio.sleep(0.001 * (number % 3))

        async def seals() -> None:
            for _ in range(15):
                async with database.session() as session:
                    await seal_next(session, NOW)

        await asyncio.gather(*(writes(number) for number in range(6)), seals(), seals())
        async with database.session() as session:
            await seal_next(session, NOW)
        async with database.session() as session:
            count = await session.scalar(
                select(func.count()).where(AuditEntry.entity == mark, AuditEntry.seal_id.is_not(None))
            )
            assert count == 60
            assert (await verify(session)).faults == ()


class TestReading:
    async def test_a_backoffice_sees_its_own_entries_alone_and_an_operator_none(
        self, db: Database, client: httpx.AsyncClient, world: World
    ) -> None:
        ours, theirs = await world.backoffice(), await world.backoffice()
        for business in (ours, theirs, None):
            await write(
                db, backoffice_id=business.id if business else None, entity_id=str(business and business.id)
            )
        manager = await world.user(Role.BACKOFFICE, ours)
        found = (await client.get("/api/admin/audit", headers=manager.headers)).json()
        assert [one["entity_id"] for one in found["items"]] == [str(ours.id)]
        exported = await client.get("/api/admin/audit/export?format=ndjson", headers=manager.headers)
        assert [orjson.loads(line)["entity_id"] for line in exported.text.splitlines()] == [str(ours.id)]
        for role in (Role.OPERATOR, Role.EV_OWNER):
            user = await world.user(role)
            for path in ("/api/admin/audit", "/api/admin/audit/export"):
                assert (await client.get(path, headers=user.headers)).status_code == 403
        assert (await client.get("/api/admin/audit")).status_code == 401

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("entity=charger", ["C1"]),
            ("entity_id=S1", ["S1"]),
            ("actor=ravi", ["C1"]),
            ("action=station.", ["S2", "S1"]),
            ("q=renov", ["S1"]),
            (f"station={UUID(int=5)}", ["S2"]),
            (f"person={UUID(int=6)}", ["S2"]),
            ("from=2026-05-04T12:00:30Z", ["C1", "S2"]),
            ("to=2026-05-04T12:00:30Z", ["S1"]),
            ("limit=1", ["C1"]),
        ],
    )
    async def test_it_is_searched_by_what_an_auditor_asks_for(
        self, db: Database, client: httpx.AsyncClient, world: World, *, query: str, expected: list[str]
    ) -> None:
        await write(db, reason="renovation")
        clock = world.clock
        assert isinstance(clock, FrozenClock)
        clock.advance(60)
        await write(db, "station.deleted", entity_id="S2", station_id=UUID(int=5), person_id=UUID(int=6))
        await write(db, "charger.created", Acting(kind="user", id="ravi"), entity="charger", entity_id="C1")
        admin = await world.admin()
        found = await client.get(f"/api/admin/audit?{query}", headers=admin.headers)
        assert [one["entity_id"] for one in found.json()["items"]] == expected

    async def test_the_export_is_a_table_whose_cells_no_spreadsheet_runs(
        self, db: Database, client: httpx.AsyncClient, world: World
    ) -> None:
        await write(db, reason='=HYPERLINK("http://evil.example")', after={"name": 'Süd, "1"\nzwei'})
        admin = await world.admin()
        answer = await client.get("/api/admin/audit/export", headers=admin.headers)
        assert answer.headers["content-type"].startswith("text/csv")
        assert "attachment" in answer.headers["content-disposition"]
        [row] = list(csv.DictReader(io.StringIO(answer.text)))
        assert row["reason"] == '\'=HYPERLINK("http://evil.example")'
        assert orjson.loads(row["after"]) == {"name": 'Süd, "1"\nzwei'}

    @pytest.mark.parametrize(
        "value", ["=1", "+1", "-1", "@x", "'quoted", "''=", "plain", "", "\t=1", -5, 1.5]
    )
    def test_a_cell_reads_back_as_it_was(self, value: Any) -> None:
        cell = safe_cell(value)
        assert cell_text(cell) == value if isinstance(value, str) else cell == value
        assert not (isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t")))

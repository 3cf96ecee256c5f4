"""All that is kept about a person: given out as one archive, and erased so that none of it is found again."""

import csv
import io
import zipfile
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import httpx
import orjson
import pytest
from fastapi import FastAPI
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError
from structlog.testing import capture_logs
from tests.conftest import NOW, FrozenClock
from tests.world import SignedIn, World

from ohmstead.accounts.audit import record
from ohmstead.accounts.audit_seals import seal_next, verify
from ohmstead.accounts.authorization import authorize_token
from ohmstead.accounts.drivers_models import Driver, Vehicle
from ohmstead.accounts.models import Role, User
from ohmstead.accounts.personal_data import Contribution, Person, PersonalData
from ohmstead.accounts.personal_data_jobs import RequestWork, expire, work
from ohmstead.accounts.personal_data_models import PersonalDataRequest
from ohmstead.accounts.sign_in_models import SignInSession
from ohmstead.bookings.reservations_models import Reservation
from ohmstead.charging.models import MeterValue, Session, SessionStatus
from ohmstead.core.clock import Clock
from ohmstead.core.db import Database
from ohmstead.core.errors import Unavailable
from ohmstead.fleet.local_lists.models import LocalList, LocalListRule
from ohmstead.gateway.models import Message
from ohmstead.mail.models import Mail
from ohmstead.notifications.models import Alert
from ohmstead.stations.models import ChargerReport

ADMIN, OWN = "/api/admin/personal-data", "/api/auth/me/personal-data"
EMAIL, NIC, PHONE, NAME = "asha.marker@volt.example", "199012345678", "+94 77 123 4567", "Asha Markerson"
TAG, SHORT, PLATE = "04MARKERTAG9", "A1", "WP MARK-77"
DEVICE, ADDRESS = "Markerphone", "192.0.2.77"
MARKERS = (EMAIL, NIC, PHONE, NAME, TAG, PLATE, DEVICE, ADDRESS)


def work_of(app: FastAPI, parts: PersonalData | None = None) -> RequestWork:
    state = app.state
    return RequestWork(state.database, parts or state.personal_data, state.files, state.settings, state.clock)


async def asked(
    client: httpx.AsyncClient, by: SignedIn, kind: str, user: UUID, status: int = 202, **body: Any
) -> dict[str, Any]:
    path = OWN if by.id == user else f"/api/admin/users/{user}/personal-data"
    answer = await client.post(path, json={"kind": kind, **body}, headers=by.headers)
    assert answer.status_code == status, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def found_in_the_database(db: Database, *markers: str) -> list[str]:
    """Where a text stands in any column of any table, in whatever case, in texts of bytes too."""
    found = []
    async with db.session() as session:
        tables = await session.scalars(
            text("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename")
        )
        for table in tables.all():
            for marker in markers:
                for needle in (marker, marker.encode().hex()):
                    query = text(f"SELECT count(*) FROM {table} t WHERE strpos(lower(t::text), :needle) > 0")  # noqa: S608
                    if await session.scalar(query, {"needle": needle.lower()}):
                        found.append(f"{marker} in {table}")
    return found


def taken(by: str, of: str, more: str = "", **members: Any) -> dict[str, Any]:
    """The note of a connector that somebody took who had it not reserved."""
    detail = f"the charger let {by} start where connector 1 was reserved for {of}{more}"
    return {"kind": "reserved_for_other", "at": NOW.isoformat(), "detail": detail, **members}


@pytest.fixture
async def driver(world: World) -> SignedIn:
    """A driver of whom every domain has something."""
    driver = await world.user(Role.EV_OWNER, email=EMAIL, name=NAME, phone=PHONE)
    await world.add(Driver(user_id=driver.id, nic=NIC), Vehicle(driver_id=driver.id, plate=PLATE))
    had: dict[str, Any] = {"driver_id": driver.id, "created_at": NOW - timedelta(days=30)}
    card = await world.token(id_tag=TAG, owner=NAME, label=f"{NAME}'s card", **had)
    short = await world.token(id_tag=SHORT, **had)
    station = await world.station()
    charger = await world.charger(station)
    ended = {"status": SessionStatus.COMPLETED, "stopped_at": NOW, "energy_wh": 7000}
    session = await world.session(
        charger,
        ocpp_transaction_id=4711,
        token_id=card.id,
        id_tag=TAG.lower(),
        stop_id_tag=TAG,
        raw={"idTag": TAG, "meterStop": 7, "reason": "A1 is free"},
        anomalies=[taken(TAG, "OTHER", " (reservation 1)")],
        **ended,
    )
    await world.session(charger, token_id=short.id, id_tag=SHORT, raw={"idTag": SHORT, "x": "A10"}, **ended)
    await world.add(
        SignInSession(
            user_id=driver.id, seed=b"seed", generation=1, device=DEVICE, address=ADDRESS,
            created_at=NOW, used_at=NOW, expires_at=NOW + timedelta(days=9),
        ),
        MeterValue(
            charger_id=charger.id, connector_id=1, transaction_id=4711, sampled_at=NOW, digest=1,
            received_at=NOW, register_wh=7, sampled_values=[{"value": "7"}],
        ),
        Reservation(
            charger_id=charger.id, reservation_id=1, connector_id=1, id_tag=TAG, expires_at=NOW,
            status="Used", created_at=NOW, session_id=session.id,
            notes=[taken("OTHER", TAG, session_id=str(uuid4()), id_tag="OTHER")],
        ),
        Alert(
            kind="SessionClosedByRule", subject=str(session.id), severity="INFO", title="without a stop",
            message="its charger sent no stop", raised_at=NOW, data={"session_id": str(session.id)},
        ),
        Message(
            received_at=NOW, charger_id=charger.id, direction="in", action="StartTransaction",
            request=f'[2,"1","StartTransaction",{{"idTag":"{TAG}","meterStart":0}}]',
            response=f'[3,"1",{{"idTagInfo":{{"status":"Accepted","parentIdTag":"{TAG.lower()}"}}}}]',
        ),
        Message(
            received_at=NOW - timedelta(days=2), charger_id=charger.id, direction="in", action="Authorize",
            request='[2,"A1x","Authorize",{"idTag":"A1","n":"A10"}]',
        ),
        ChargerReport(
            charger_id=charger.id, received_at=NOW, action="DataTransfer",
            payload={"vendorId": "v", "data": {"idTag": TAG}},
        ),
        LocalList(charger_id=charger.id, version=3, digest="d", entries=[{"idTag": TAG}], highest_version=3),
        LocalListRule(
            backoffice_id=station.backoffice_id, tags={"id_tags": [TAG, "OTHER"]},
            created_at=NOW, updated_at=NOW,
        ),
        Mail(recipient=EMAIL, template="verify_email", subject=f"Hello {NAME}", text=NAME, status="Sent"),
    )  # fmt: skip
    return driver


async def write_trail(db: Database, driver: SignedIn) -> None:
    async with db.session() as session:
        await record(
            session, "driver.updated", entity="user", entity_id=driver.id, person_id=driver.id,
            personal={"name": NAME, "nic": NIC},
        )  # fmt: skip
        await session.flush()
        await seal_next(session, NOW)


class TestErasing:
    async def test_nothing_of_the_person_is_found_anywhere_and_the_books_stay(
        self, app: FastAPI, client: httpx.AsyncClient, world: World, db: Database, driver: SignedIn
    ) -> None:
        admin = await world.admin()
        await write_trail(db, driver)
        assert set(MARKERS) == {
            one.rpartition(" in ")[0] for one in await found_in_the_database(db, *MARKERS)
        }
        begun = await asked(client, admin, "Erasure", driver.id, confirm=EMAIL.upper())
        await work_of(app).run(UUID(begun["id"]))
        assert await found_in_the_database(db, *MARKERS) == []
        done = (await client.get(f"{ADMIN}/{begun['id']}", headers=admin.headers)).json()
        assert (done["state"], done["parts"], done["detail"]) == ("Done", done["of"], None)
        async with db.session() as session:
            sessions = (await session.scalars(select(Session).order_by(Session.ocpp_transaction_id))).all()
            assert [row.energy_wh for row in sessions] == [7000, 7000]
            assert all(str(row.id_tag).startswith("ERASED-") for row in sessions)
            assert all(row.token_id is not None for row in sessions)
            assert await session.scalar(select(MeterValue.register_wh)) == 7
            assert (await verify(session)).faults == ()
            user = await session.get(User, driver.id)
            assert user is not None
            assert (user.status, user.role, user.password_hash) == ("Deactivated", "EvOwner", None)

    async def test_addresses_that_it_had_or_only_wished_to_have_are_gone_too(
        self, app: FastAPI, client: httpx.AsyncClient, world: World, db: Database, driver: SignedIn
    ) -> None:
        admin, url = await world.admin(), f"/api/admin/users/{driver.id}"
        await client.put(url, json={"email": "second@volt.example"}, headers=admin.headers)
        wish = {"email": "wished@volt.example"}
        assert (await client.post("/api/auth/email", json=wish, headers=driver.headers)).status_code == 202
        begun = await asked(client, admin, "Erasure", driver.id, confirm="second@volt.example")
        await work_of(app).run(UUID(begun["id"]))
        assert await found_in_the_database(db, EMAIL, "second@volt.example", "wished@volt.example") == []

    async def test_a_tag_as_short_as_a_word_is_taken_out_where_it_stands_alone(
        self, app: FastAPI, client: httpx.AsyncClient, world: World, db: Database, driver: SignedIn
    ) -> None:
        begun = await asked(client, await world.admin(), "Erasure", driver.id, confirm=EMAIL)
        await work_of(app).run(UUID(begun["id"]))
        async with db.session() as session:
            rows = (await session.scalars(select(Session.raw).where(Session.raw.is_not(None)))).all()
            shortened = next(raw for raw in rows if raw and "x" in raw)
            assert shortened["idTag"].startswith("ERASED-")
            assert shortened["x"] == "A10"
            assert any(raw and raw.get("reason") == "A1 is free" for raw in rows)
            frame = await session.scalar(select(Message.request).where(Message.action == "Authorize"))
        assert frame is not None
        assert frame.startswith('[2,"A1x","Authorize",{"idTag":"ERASED-')
        assert frame.endswith('"n":"A10"}]')

    @pytest.mark.parametrize("tag", ["Accepted", "7000123"])
    async def test_a_tag_that_is_a_word_or_a_number_leaves_the_others_alone(
        self, app: FastAPI, client: httpx.AsyncClient, world: World, db: Database, tag: str
    ) -> None:
        driver = await world.user(Role.EV_OWNER)
        await world.token(id_tag=tag, driver_id=driver.id, created_at=NOW)
        frame = f'[2,"1","X",{{"idTag": "{tag}","parentIdTag":"{tag}8","value":"{tag}"}}]'
        await world.add(Message(received_at=NOW, charger_id="C", direction="in", action="X", request=frame))
        begun = await asked(client, await world.admin(), "Erasure", driver.id, confirm=driver.email)
        await work_of(app).run(UUID(begun["id"]))
        async with db.session() as session:
            kept = await session.scalar(select(Message.request))
        assert kept is not None
        told = orjson.loads(kept)[3]
        assert told.pop("idTag").startswith("ERASED-")
        assert told == {"parentIdTag": f"{tag}8", "value": tag}

    async def test_what_chargers_hold_goes_out_whole_the_next_time(
        self, app: FastAPI, client: httpx.AsyncClient, world: World, db: Database, driver: SignedIn
    ) -> None:
        begun = await asked(client, await world.admin(), "Erasure", driver.id, confirm=EMAIL)
        await work_of(app).run(UUID(begun["id"]))
        async with db.session() as session:
            kept = (await session.scalars(select(LocalList))).one()
            rule = (await session.scalars(select(LocalListRule))).one()
        assert (kept.entries, kept.digest, kept.version) == (None, None, 3)
        assert rule.tags["id_tags"][1] == "OTHER"

    async def test_another_driver_keeps_everything(
        self, app: FastAPI, client: httpx.AsyncClient, world: World, db: Database, driver: SignedIn
    ) -> None:
        other = await world.user(Role.EV_OWNER, email="ravi@volt.example", name="Ravi Other")
        await world.token(id_tag=f"{TAG}8", driver_id=other.id)
        await world.add(Mail(recipient="ravi@volt.example", template="x", subject="s", status="Sent"))
        begun = await asked(client, await world.admin(), "Erasure", driver.id, confirm=EMAIL)
        await work_of(app).run(UUID(begun["id"]))
        found = await found_in_the_database(db, "ravi@volt.example", "Ravi Other", f"{TAG}8")
        assert found == [
            f"{TAG}8 in accounts_token",
            "ravi@volt.example in accounts_user",
            "Ravi Other in accounts_user",
            "ravi@volt.example in mail_mail",
        ]

    async def test_a_job_that_was_cut_off_goes_on_where_it_was(
        self, app: FastAPI, client: httpx.AsyncClient, world: World, db: Database, driver: SignedIn
    ) -> None:
        ran: list[str] = []

        def part(name: str) -> Contribution:
            async def erase(_: Database, person: Person, __: Clock) -> None:
                assert person.email == EMAIL
                ran.append(name)
                if ran == ["one", "two"]:
                    raise Unavailable("The database has gone.")

            return Contribution(name, erase=erase)

        parts = PersonalData([part("one"), part("two"), part("three")])
        begun = await asked(client, await world.admin(), "Erasure", driver.id, confirm=EMAIL)
        with pytest.raises(Unavailable):
            await work_of(app, parts).run(UUID(begun["id"]))
        async with db.session() as session:
            row = (await session.scalars(select(PersonalDataRequest))).one()
            assert (row.state, row.parts) == ("Running", ["one"])
        await work_of(app, parts).run(UUID(begun["id"]))
        await work_of(app, parts).run(UUID(begun["id"]))
        assert ran == ["one", "two", "two", "three"]

    async def test_a_part_that_fails_is_told_and_logged_and_can_be_asked_for_again_when_it_failed_for_good(
        self, app: FastAPI, client: httpx.AsyncClient, world: World, db: Database, driver: SignedIn
    ) -> None:
        async def break_off(database: Database, person: Person, __: Clock) -> None:
            async with database.session() as session:
                await session.execute(text("SELECT CAST(:email AS int)"), {"email": person.email})

        class Context:
            additional_context = {
                "database": app.state.database,
                "personal_data": PersonalData([Contribution("one", erase=break_off)]),
                "files": app.state.files,
                "settings": app.state.settings,
                "clock": app.state.clock,
            }

            def __init__(self, attempts: int) -> None:
                self.job = SimpleNamespace(attempts=attempts)

        admin = await world.admin()
        begun = await asked(client, admin, "Erasure", driver.id, confirm=EMAIL)
        with capture_logs() as logs, pytest.raises(DBAPIError):
            await work(Context(0), begun["id"])  # type: ignore[arg-type] # of a job, what it needs
        failed = {"request": begun["id"], "part": "one", "error": "DataError 22P02", "log_level": "warning"}
        assert logs == [{"event": "personal_data.part_failed", **failed}]
        told = (await client.get(f"{ADMIN}/{begun['id']}", headers=admin.headers)).json()
        assert told["state"] == "Running"
        assert told["detail"] == "The part one has failed (DataError 22P02). It is tried again."
        await asked(client, admin, "Erasure", driver.id, 409, confirm=EMAIL)
        with pytest.raises(DBAPIError):
            await work(Context(9), begun["id"])  # type: ignore[arg-type] # as above
        told = (await client.get(f"{ADMIN}/{begun['id']}", headers=admin.headers)).json()
        assert (told["state"], told["parts"]) == ("Failed", 0)
        again = await asked(client, admin, "Erasure", driver.id, confirm=EMAIL)
        await work_of(app).run(UUID(again["id"]))
        assert await found_in_the_database(db, *MARKERS) == []

    async def test_who_was_erased_or_is_about_to_be_stays_so(
        self, app: FastAPI, client: httpx.AsyncClient, world: World, driver: SignedIn
    ) -> None:
        admin = await world.admin()
        begun = await asked(client, admin, "Erasure", driver.id, confirm=EMAIL)
        for _ in range(2):
            for method, path, body in (
                ("PUT", f"/api/admin/users/{driver.id}", {"status": "Active"}),
                ("PUT", f"/api/admin/users/{driver.id}", {"email": "new@volt.example"}),
                ("PUT", f"/api/evowner/{driver.id}/reactivate", {}),
            ):
                told = await client.request(method, path, json=body, headers=admin.headers)
                assert (told.status_code, told.json()["error"]) == (409, "UserErased"), path
            await work_of(app).run(UUID(begun["id"]))

    async def test_when_it_failed_for_good_the_driver_can_be_let_in_again_and_its_cards_work(
        self, app: FastAPI, client: httpx.AsyncClient, world: World, db: Database, driver: SignedIn
    ) -> None:
        async def card() -> str:
            async with db.session() as session:
                return (await authorize_token(session, id_tag=TAG, backoffice_id=None, now=NOW)).status

        admin = await world.admin()
        begun = await asked(client, admin, "Erasure", driver.id, confirm=EMAIL)
        assert await card() == "Blocked"
        await work_of(app).failed(UUID(begun["id"]), "It failed.")
        path = f"/api/admin/users/{driver.id}"
        assert (await client.put(path, json={"status": "Active"}, headers=admin.headers)).status_code == 200
        assert await card() == "Accepted"

    async def test_it_waits_for_nobody_who_is_charging(
        self, client: httpx.AsyncClient, world: World, driver: SignedIn
    ) -> None:
        card = await world.token(driver_id=driver.id)
        running = await world.session(await world.charger(), token_id=card.id, id_tag=card.id_tag)
        told = await asked(client, await world.admin(), "Erasure", driver.id, 409, confirm=EMAIL)
        assert told["error"] == "ErasureBlocked"
        assert running.charger_id in told["message"]

    async def test_it_is_confirmed_and_only_for_drivers(
        self, client: httpx.AsyncClient, world: World, driver: SignedIn
    ) -> None:
        admin, operator = await world.admin(), await world.user(Role.OPERATOR)
        for wrong in ({}, {"confirm": None}, {"confirm": "somebody@else.example"}):
            told = await asked(client, admin, "Erasure", driver.id, 422, **wrong)
            assert list(told["fields"]) == ["confirm"]
        told = await asked(client, admin, "Erasure", operator.id, 409, confirm=operator.email)
        assert told["error"] == "NotADriver"


class TestExporting:
    async def test_the_archive_has_it_all_as_json_and_as_tables(
        self, app: FastAPI, client: httpx.AsyncClient, world: World, db: Database, driver: SignedIn
    ) -> None:
        await write_trail(db, driver)
        other = await world.user(Role.EV_OWNER, email="ravi@volt.example")
        away = await world.charger()
        await world.session(away, token_id=(await world.token(driver_id=other.id)).id)
        lists = {"received_at": NOW, "charger_id": away.id, "direction": "out", "action": "SendLocalList"}
        entries = f'[{{"idTag":"{TAG}"}},{{"idTag":"RAVISTAG"}}]'
        sent = f'[2,"1","SendLocalList",{{"localAuthorizationList":{entries}}}]'
        await world.add(
            Message(**lists, request=sent),
            Alert(
                kind="StopUnmatched", subject="x", severity="WARN", title="t", message="m", raised_at=NOW,
                data={"session_id": str(uuid4())},
            ),
        )  # fmt: skip
        begun = await asked(client, driver, "Export", driver.id)
        assert (begun["state"], begun["downloadUrl"]) == ("Queued", None)
        await work_of(app).run(UUID(begun["id"]))
        done = (await client.get(f"{OWN}/{begun['id']}", headers=driver.headers)).json()
        assert (done["state"], done["parts"]) == ("Done", done["of"])
        link = done["downloadUrl"].removeprefix(app.state.settings.public_url)
        fetched = await client.get(link)
        assert fetched.status_code == 200
        archive = zipfile.ZipFile(io.BytesIO(fetched.content))
        held = {name: archive.read(name).decode() for name in archive.namelist()}
        everything = "".join(held.values())
        assert all(marker in everything for marker in MARKERS)
        assert "ravi@volt.example" not in everything
        assert "RAVISTAG" not in everything
        sessions = orjson.loads(held["sessions.json"])
        rows = list(csv.DictReader(io.StringIO(held["sessions.csv"])))
        assert len(sessions) == len(rows) == 2
        assert {one["id_tag"].upper() for one in sessions} == {TAG, SHORT}
        assert orjson.loads(held["meter_values.json"])[0]["register_wh"] == "7.000"
        told = [one["personal"] for one in orjson.loads(held["audit_trail.json"])]
        assert {"name": NAME, "nic": NIC} in told
        assert orjson.loads(held["reservations.json"])[0]["id_tag"] == TAG
        assert orjson.loads(held["local_lists.json"])[0]["entry"] == {"idTag": TAG}
        assert orjson.loads(held["local_list_rules.json"])[0]["id_tag"] == TAG
        assert orjson.loads(held["reports.json"])[0]["payload"]["data"] == {"idTag": TAG}
        assert [one["kind"] for one in orjson.loads(held["alerts.json"])] == ["SessionClosedByRule"]
        messages = orjson.loads(held["messages.json"])
        assert [one["action"] for one in messages] == ["Authorize", "StartTransaction"]
        assert "password_hash" not in everything
        assert "seed" not in orjson.loads(held["sign_in_session.json"])[0]
        asked_for = orjson.loads(held["personal_data.json"])
        assert [(one["id"], one["kind"]) for one in asked_for] == [(begun["id"], "Export")]

    async def test_it_goes_after_a_week_and_with_the_person(
        self, app: FastAPI, client: httpx.AsyncClient, world: World, clock: FrozenClock, driver: SignedIn
    ) -> None:
        admin = await world.admin()

        async def exported() -> tuple[str, str]:
            begun = await asked(client, admin, "Export", driver.id)
            await work_of(app).run(UUID(begun["id"]))
            done = (await client.get(f"{ADMIN}/{begun['id']}", headers=admin.headers)).json()
            return begun["id"], done["download_url"].removeprefix(app.state.settings.public_url)

        first, link = await exported()

        class Context:
            additional_context = {"database": app.state.database, "clock": app.state.clock}

        await expire(Context(), 0)  # type: ignore[arg-type] # of a job, what it needs
        assert (await client.get(link)).status_code == 200
        clock.advance(timedelta(days=7).total_seconds())
        assert (await client.get(link)).status_code == 410
        await expire(Context(), 0)  # type: ignore[arg-type] # as above
        over = (await client.get(f"{ADMIN}/{first}", headers=(await world.admin()).headers)).json()
        assert (over["state"], over["download_url"]) == ("Expired", None)
        admin = await world.admin()
        _, link = await exported()
        begun = await asked(client, admin, "Erasure", driver.id, confirm=EMAIL)
        await work_of(app).run(UUID(begun["id"]))
        assert (await client.get(link)).status_code == 410

    async def test_one_at_a_time(self, client: httpx.AsyncClient, world: World, driver: SignedIn) -> None:
        await asked(client, driver, "Export", driver.id)
        told = await asked(client, await world.admin(), "Export", driver.id, 409)
        assert told["error"] == "RequestOpen"


class TestAccess:
    @pytest.mark.parametrize("role", [Role.BACKOFFICE, Role.OPERATOR, Role.EV_OWNER])
    async def test_only_a_system_admin_handles_that_of_others(
        self, client: httpx.AsyncClient, world: World, driver: SignedIn, role: Role
    ) -> None:
        user = await world.user(role)
        begun = await asked(client, driver, "Export", driver.id)
        calls = (
            ("POST", f"/api/admin/users/{driver.id}/personal-data"),
            ("GET", ADMIN),
            ("GET", f"{ADMIN}/{begun['id']}"),
        )
        for method, path in calls:
            assert (await client.request(method, path, headers=user.headers, json={})).status_code == 403
            assert (await client.request(method, path, json={})).status_code == 401

    async def test_a_driver_sees_its_own_requests_alone(
        self, client: httpx.AsyncClient, world: World, driver: SignedIn
    ) -> None:
        other, admin = await world.user(Role.EV_OWNER), await world.admin()
        begun = await asked(client, admin, "Export", driver.id)
        assert (await client.get(f"{OWN}/{begun['id']}", headers=other.headers)).status_code == 404
        assert (await client.get(OWN, headers=other.headers)).json() == []
        assert [one["id"] for one in (await client.get(OWN, headers=driver.headers)).json()] == [begun["id"]]
        assert (await client.get(OWN, headers=admin.headers)).json() == []
        operator = await world.user(Role.OPERATOR)
        assert (await client.get(OWN, headers=operator.headers)).status_code == 403
        assert (await client.get(OWN)).status_code == 401

    @pytest.mark.parametrize("body", [{}, {"kind": "Everything"}, {"kind": "Export", "x": 1}, []], ids=str)
    async def test_input_that_makes_no_sense_is_refused(
        self, client: httpx.AsyncClient, world: World, driver: SignedIn, body: Any
    ) -> None:
        assert (await client.post(OWN, json=body, headers=driver.headers)).status_code == 400
        path = f"/api/admin/users/{driver.id}/personal-data"
        admin = await world.admin()
        assert (await client.post(path, json=body, headers=admin.headers)).status_code == 422
        path = f"/api/admin/users/{uuid4()}/personal-data"
        nobody = await client.post(path, json={"kind": "Export"}, headers=admin.headers)
        assert nobody.status_code == 404

    async def test_the_list_is_narrowed(
        self, client: httpx.AsyncClient, world: World, driver: SignedIn
    ) -> None:
        admin = await world.admin()
        await asked(client, admin, "Export", driver.id)
        await asked(client, admin, "Erasure", driver.id, confirm=EMAIL)
        for query, number in (("", 2), ("?kind=Erasure", 1), ("?state=Done", 0), (f"?user={uuid4()}", 0)):
            shown = (await client.get(f"{ADMIN}{query}", headers=admin.headers)).json()
            assert len(shown["items"]) == number, query

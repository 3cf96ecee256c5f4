"""An erasure touches the person's own rows only, whatever texts others have in common with it.

Anybody may register with a card that says `300` or `detail`: what others wrote stays byte for byte.
"""

from collections import Counter
from datetime import timedelta
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import select, text
from tests.accounts.test_personal_data import asked, found_in_the_database, taken, work_of
from tests.conftest import NOW
from tests.world import SignedIn, World

from ohmstead.accounts.drivers_models import Driver, Vehicle
from ohmstead.accounts.models import Role
from ohmstead.bookings.reservations_models import Reservation
from ohmstead.charging.models import Session, SessionStatus
from ohmstead.core.db import Database
from ohmstead.fleet.campaigns.models import Campaign
from ohmstead.fleet.local_lists.models import LocalList, LocalListRule
from ohmstead.gateway.models import Message
from ohmstead.mail.models import Mail
from ohmstead.notifications.models import Alert
from ohmstead.stations.models import ChargerReport, Observation

EMAIL = "asha@volt.example"
ENDED = {"status": SessionStatus.COMPLETED, "stopped_at": NOW, "energy_wh": 7000}
HOSTILE = [
    "300",
    "detail",
    "123456",
    "Accepted",
    "04ABCDEF99",
    "idTag",
    "kind",
    "a",
    "ERASED",
    "%",
    "_1",
    "x.y\\",
]

Snapshot = Counter[tuple[str, str]]


async def everything(db: Database) -> Snapshot:
    """Every row of every table, as PostgreSQL writes it; not those that any work adds to or counts on."""
    held: Snapshot = Counter()
    async with db.session() as session:
        tables = await session.scalars(
            text("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename")
        )
        for table in tables.all():
            if not table.startswith(("procrastinate_", "core_")):
                rows = await session.scalars(text(f"SELECT t::text FROM {table} t"))  # noqa: S608 - names of tables
                held.update((table, row) for row in rows)
    return held


def frame(action: str, tag: str) -> str:
    return f'[2, "{tag.strip(chr(92))}", "{action}", {{"idTag": "{escaped(tag)}", "n": 1.50}}]'


def escaped(tag: str) -> str:
    return tag.replace("\\", "\\\\")


async def others(world: World, said: str) -> None:
    """A business with a tag that says so, a driver that is called so, and all that is kept of them."""
    business = await world.backoffice(contact_email=EMAIL, contact_phone=said, contact_name=said)
    charger = await world.charger(await world.station(business))
    elsewhere = await world.charger()
    before = NOW - timedelta(days=60)
    token = await world.token(business.id, id_tag=said, owner=said, created_at=before)
    ravi = await world.user(Role.EV_OWNER, email="ravi@volt.example", name=said, phone=said)
    card = await world.token(
        id_tag="RAVI1", driver_id=ravi.id, label=said, parent_id_tag=said, created_at=before
    )
    await world.add(Driver(user_id=ravi.id, nic="200012345678"), Vehicle(driver_id=ravi.id, plate=said))
    odd = taken(said, said, " (reservation 1)")
    raw = {"idTag": said, said: said, "n": [said, {"value": said}]}
    own = {"id_tag": said, "stop_id_tag": said, "raw": raw, "anomalies": [odd]}
    await world.session(charger, ocpp_transaction_id=11, token_id=token.id, **own, **ENDED)
    await world.session(charger, ocpp_transaction_id=12, **own, **ENDED)  # of a tag that was deleted
    await world.session(
        elsewhere,
        ocpp_transaction_id=13,
        token_id=card.id,
        id_tag="RAVI1",
        raw={"idTag": "RAVI1", said: "x", "v": said},
        **ENDED,
    )
    await world.session(charger, ocpp_transaction_id=11, unmatched=True, fingerprint="f", **own, **ENDED)
    await world.session(elsewhere, ocpp_transaction_id=14, **own, **ENDED)  # of a business that had it before
    early = {"direction": "in", "received_at": before}
    now = {"direction": "in", "received_at": NOW}
    response = f'[3,"1",{{"idTagInfo":{{"status":"Accepted","parentIdTag":"{escaped(said)}"}}}}]'
    await world.add(
        Message(
            charger_id=charger.id, action="Authorize", request=frame("Authorize", said),
            response=response, **now,
        ),
        Message(charger_id="GONE", action="Authorize", request=frame("Authorize", said), **now),
        Message(charger_id=elsewhere.id, action="Authorize", request=frame("Authorize", said), **early),
        Message(
            charger_id=elsewhere.id, action="StartTransaction", request=frame("StartTransaction", said),
            response='[3,"1",{"transactionId":14}]', note=said, **now,
        ),
        Message(
            charger_id=elsewhere.id, action="DataTransfer",
            request=f'[2,"1","X",{{"{escaped(said)}":"x","v":"{escaped(said)}","d":"idTag={escaped(said)}"}}]',
            **now,
        ),
        ChargerReport(charger_id=charger.id, received_at=NOW, action="DataTransfer", payload=raw),
        ChargerReport(charger_id=elsewhere.id, received_at=NOW, action="X", payload={said: "x", "v": said}),
        Observation(
            charger_id=elsewhere.id, kind="RepeatedIds", day=NOW.date(), count=1, first_at=NOW, last_at=NOW,
            examples=[{"id": said, "detail": said}],
        ),
        Alert(
            kind="SecurityEvent", subject=said, severity="INFO", title=said, message=said, raised_at=NOW,
            data={"type": said, said: said},
        ),
        Reservation(
            charger_id=charger.id, reservation_id=1, connector_id=1, id_tag=said, parent_id_tag=said,
            detail=said, expires_at=NOW, status="Used", created_at=NOW,
            notes=[taken(said, said, id_tag=said)],
        ),
        LocalList(charger_id=charger.id, version=3, digest="d", entries=[{"idTag": said}], highest_version=3),
        LocalListRule(
            backoffice_id=business.id, tags={"id_tags": [said], "parents": [said], "owner_prefixes": [said]},
            created_at=NOW, updated_at=NOW,
        ),
        Campaign(
            backoffice_id=business.id, name=said, kind="Configuration", selection={"q": said}, at_once=1,
            parameters={"HeartbeatInterval": said, said: said}, tries=1, retry_seconds=1, stop_after_items=1,
            judged_from=NOW, state_at=NOW,
        ),
        Mail(recipient="ravi@volt.example", template="verify_email", subject=f"Hello {said}", text=EMAIL),
        Mail(recipient=EMAIL, template="business_rejected", subject="Your request", text=said),
        Mail(recipient=EMAIL, template="email_changed", subject="of one before", created_at=before),
    )  # fmt: skip


async def the_person(world: World, said: str) -> SignedIn:
    """A driver who registers with these texts."""
    driver = await world.user(Role.EV_OWNER, email=EMAIL, name=said, phone=said)
    await world.add(Driver(user_id=driver.id, nic=said.upper()))
    return driver


@pytest.mark.parametrize("said", HOSTILE)
async def test_what_others_have_stays_byte_for_byte_though_it_says_the_same(
    app: FastAPI, client: httpx.AsyncClient, world: World, db: Database, said: str
) -> None:
    await others(world, said)
    admin = await world.admin()
    before = await everything(db)
    driver = await the_person(world, said)
    await world.token(id_tag=said, driver_id=driver.id, label=said, created_at=NOW - timedelta(days=1))
    begun = await asked(client, admin, "Erasure", driver.id, confirm=EMAIL)
    await work_of(app).run(UUID(begun["id"]))
    told = (await client.get(f"/api/admin/personal-data/{begun['id']}", headers=admin.headers)).json()
    assert told["state"] == "Done"
    assert list((before - await everything(db)).elements()) == []


async def test_what_the_person_left_where_a_business_has_the_same_tag_by_now_is_erased(
    app: FastAPI, client: httpx.AsyncClient, world: World, db: Database
) -> None:
    driver = await the_person(world, "04ABCDEF99")
    card = await world.token(id_tag="04ABCDEF99", driver_id=driver.id, created_at=NOW - timedelta(days=1))
    charger = await world.charger()
    await world.session(
        charger, ocpp_transaction_id=77, token_id=card.id, id_tag="04abcdef99",
        raw={"idTag": "04abcdef99", "meterStop": 7}, **ENDED,
    )  # fmt: skip
    start = '[2,"1","StartTransaction",{"idTag":"04abcdef99","meterStart":0,"v":1.50}]'
    await world.add(
        Message(
            received_at=NOW, charger_id=charger.id, direction="in", action="StartTransaction", request=start,
            response='[3,"1",{"transactionId":77,"idTagInfo":{"status":"Accepted"}}]',
        )
    )  # fmt: skip
    token = await world.token(charger.backoffice_id, id_tag="04ABCDEF99")
    begun = await asked(client, await world.admin(), "Erasure", driver.id, confirm=EMAIL)
    await work_of(app).run(UUID(begun["id"]))
    assert await found_in_the_database(db, "04abcdef99") == ["04abcdef99 in accounts_token"]
    async with db.session() as session:
        row = (await session.scalars(select(Session))).one()
        assert row.raw is not None
        assert row.raw["idTag"] == row.id_tag != token.id_tag
        kept = (await session.scalars(select(Message))).one()
    assert kept.request == start.replace("04abcdef99", str(row.id_tag))


async def test_a_stop_that_fits_no_session_and_one_of_somebody_else_lose_the_tag_alone(
    app: FastAPI, client: httpx.AsyncClient, world: World, db: Database
) -> None:
    driver = await the_person(world, "04ABCDEF99")
    await world.token(id_tag="04ABCDEF99", driver_id=driver.id, created_at=NOW - timedelta(days=1))
    charger, other = await world.charger(), await world.token(id_tag="OTHER")
    lost = {"id_tag": "04ABCDEF99", "stop_id_tag": "04ABCDEF99", "raw": {"idTag": "04ABCDEF99"}}
    await world.session(charger, unmatched=True, fingerprint="f", token_id=None, **lost, **ENDED)
    await world.session(charger, **{**lost, "id_tag": "OTHER"}, token_id=other.id, **ENDED)
    begun = await asked(client, await world.admin(), "Erasure", driver.id, confirm=EMAIL)
    await work_of(app).run(UUID(begun["id"]))
    assert await found_in_the_database(db, "04ABCDEF99") == []
    async with db.session() as session:
        stays = (await session.scalars(select(Session).where(Session.unmatched.is_(False)))).one()
    assert stays.id_tag == "OTHER"
    assert str(stays.stop_id_tag).startswith("ERASED-")


async def test_a_wish_for_an_address_that_another_wishes_for_too_leaves_the_mail_of_the_other(
    app: FastAPI, client: httpx.AsyncClient, world: World, db: Database
) -> None:
    driver, ravi = await the_person(world, "1"), await world.user(Role.EV_OWNER)
    for one in (driver, ravi):
        wish = {"email": "wished@volt.example"}
        assert (await client.post("/api/auth/email", json=wish, headers=one.headers)).status_code == 202
    begun = await asked(client, await world.admin(), "Erasure", driver.id, confirm=EMAIL)
    await work_of(app).run(UUID(begun["id"]))
    assert "wished@volt.example in mail_mail" in await found_in_the_database(db, "wished@volt.example")

"""A tag is found however it was written: with escapes, in another case, with letters beyond ASCII."""

import json
from datetime import timedelta
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import select
from tests.accounts.test_personal_data import asked, work_of
from tests.conftest import NOW
from tests.world import World

from ohmstead.accounts.models import Role, Token
from ohmstead.accounts.personal_data_tags import frame_without_tags, without_tags
from ohmstead.bookings.reservations_models import Reservation
from ohmstead.charging.models import Session
from ohmstead.core.db import Database
from ohmstead.gateway.models import Message
from ohmstead.stations.models import ChargerReport


def frame(written: str) -> str:
    return f'[2,"1","Authorize",{{"idTag":{written}}}]'


@pytest.mark.parametrize(
    ("tag", "written"),
    [
        ("AB/CD", r'"AB\/CD"'),  # as PHP writes it
        ("ÜBER1", json.dumps("ÜBER1")),  # as Python writes it
        ("ÜBER1", r'"\u00dcber1"'),
        ("ÜBER1", '"ÜBER1"'),
        ('A"B\\C', r'"A\"B\\C"'),
        ("a/ü", r'"a\/\u00fc"'),
        ("A<B>&'C", r'"A\u003cB\u003e\u0026\u0027C"'),  # as Gson and Go write it
        ("04AB", '"\\u0030\\u0034AB"'),
    ],
)
async def test_an_escape_hides_it_neither_from_an_erasure_nor_from_an_export(
    *, app: FastAPI, client: httpx.AsyncClient, world: World, db: Database, tag: str, written: str
) -> None:
    driver, admin = await world.user(Role.EV_OWNER), await world.admin()
    card = await world.token(id_tag=tag, driver_id=driver.id, created_at=NOW - timedelta(days=1))
    charger = await world.charger()
    sent = {"received_at": NOW, "charger_id": charger.id, "direction": "in", "action": "Authorize"}
    await world.add(Message(**sent, request=frame(written)), Message(**sent, request=frame('"OTHER"')))
    begun = await asked(client, admin, "Erasure", driver.id, confirm=driver.email)
    await work_of(app).run(UUID(begun["id"]))
    async with db.session() as session:
        name = (await session.get_one(Token, card.id)).id_tag
        frames = set(await session.scalars(select(Message.request)))
    assert frames == {frame(f'"{name}"'), frame('"OTHER"')}


async def test_letters_beyond_ascii_are_compared_as_the_database_does(
    app: FastAPI, client: httpx.AsyncClient, world: World, db: Database
) -> None:
    tag = "ÜBER-1"
    driver, admin = await world.user(Role.EV_OWNER), await world.admin()
    await world.token(id_tag=tag, driver_id=driver.id, created_at=NOW - timedelta(days=1))
    charger, theirs = await world.charger(), await world.charger()
    await world.token(theirs.backoffice_id, id_tag=tag)
    await world.add(
        *(
            Reservation(
                charger_id=one.id, reservation_id=number, connector_id=1, id_tag=tag, expires_at=NOW,
                status="Used", created_at=NOW, notes=[],
            )
            for number, one in enumerate((charger, theirs), 1)
        )
    )  # fmt: skip
    await world.session(
        charger, unmatched=True, fingerprint="f", token_id=None, id_tag=tag, stop_id_tag=tag,
        status="Completed", raw={"idTag": tag},
    )  # fmt: skip
    begun = await asked(client, admin, "Erasure", driver.id, confirm=driver.email)
    await work_of(app).run(UUID(begun["id"]))
    async with db.session() as session:
        row = (await session.scalars(select(Session))).one()
        assert tag not in (row.id_tag, row.stop_id_tag)
        kept = {one.charger_id: one.id_tag for one in await session.scalars(select(Reservation))}
    assert kept[charger.id] != tag
    assert kept[theirs.id] == tag, "it is the business's there"


async def test_a_member_that_holds_a_tag_is_known_in_any_case(
    app: FastAPI, client: httpx.AsyncClient, world: World, db: Database
) -> None:
    driver, admin = await world.user(Role.EV_OWNER), await world.admin()
    await world.token(id_tag="04AB", driver_id=driver.id, created_at=NOW - timedelta(days=1))
    payload = {"data": {"IDTAG": "04ab", "idtag": "04AB", "parentidtag": "OTHER", "idTags": "04AB"}}
    charger = await world.charger()
    await world.add(ChargerReport(charger_id=charger.id, received_at=NOW, action="X", payload=payload))
    begun = await asked(client, admin, "Erasure", driver.id, confirm=driver.email)
    await work_of(app).run(UUID(begun["id"]))
    async with db.session() as session:
        kept = (await session.scalars(select(ChargerReport.payload))).one()["data"]
    assert kept["IDTAG"] == kept["idtag"] != "04AB"
    assert kept["idtag"].startswith("ERASED-")
    assert (kept["parentidtag"], kept["idTags"]) == ("OTHER", "04AB")


def test_what_is_no_tag_stays_as_it_is() -> None:
    told = {"04ab": "ERASED-1"}
    for text in ('[2,"04AB","X",{"n":"04AB"}]', "04AB", '{"idTag":"04AB', '{"x":"\\"idTag\\":\\"04AB\\""}'):
        assert frame_without_tags(text, told) == text
    value = {"n": "04AB", "idTag": ["04ABC", 4]}
    assert without_tags(value, told) is value

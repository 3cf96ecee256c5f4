"""What a SystemAdmin may do to a driver's card as an id tag: it stays its driver's, and its history too."""

import asyncio
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI
from tests.accounts.people import charged, driver, trail
from tests.accounts.test_personal_data import asked, found_in_the_database, work_of
from tests.running import RunningServer
from tests.world import SignedIn, World

from ohmstead.accounts.models import Token
from ohmstead.core.db import Database

TAG = "04A2B3C4D5E680"


@pytest.fixture
async def ravi(world: World) -> SignedIn:
    return await driver(world)


async def card_of(client: httpx.AsyncClient, ravi: SignedIn) -> str:
    [card] = (await client.get(f"/api/evowner/{ravi.id}/cards", headers=ravi.headers)).json()
    return str(card["id"])


@pytest.mark.parametrize("change", [{"id_tag": "OTHER"}, {"backoffice_id": True}], ids=str)
async def test_it_keeps_its_tag_and_works_everywhere(
    client: httpx.AsyncClient, world: World, ravi: SignedIn, change: dict[str, Any]
) -> None:
    business, admin = await world.backoffice(), await world.admin()
    await charged(world, ravi, business, TAG)
    path = f"/api/admin/id-tags/{await card_of(client, ravi)}"
    body = {"backoffice_id": str(business.id)} if "backoffice_id" in change else change
    told = await client.put(path, json=body, headers=admin.headers)
    assert (told.status_code, told.json()["error"]) == (409, "CardOfDriver")
    same = {"id_tag": TAG, "backoffice_id": None, "parent_id_tag": "FAMILY"}
    changed = await client.put(path, json=same, headers=admin.headers)
    assert changed.status_code == 200, changed.text
    assert (changed.json()["id_tag"], changed.json()["parent_id_tag"]) == (TAG, "FAMILY")


async def test_one_that_is_deleted_after_it_has_charged_still_leads_to_its_driver(
    client: httpx.AsyncClient, world: World, db: Database, ravi: SignedIn
) -> None:
    admin = await world.admin()
    await charged(world, ravi, await world.backoffice(), TAG)
    card = await card_of(client, ravi)
    assert (await client.delete(f"/api/admin/id-tags/{card}", headers=admin.headers)).status_code == 204
    assert (await client.get(f"/api/evowner/{ravi.id}/cards", headers=ravi.headers)).json() == []
    sessions = await client.get(f"/api/evowner/{ravi.id}/sessions", headers=ravi.headers)
    assert len(sessions.json()) == 1
    assert await trail(db, card) == ["id_tag.deleted"]


async def test_what_it_charged_before_it_was_deleted_is_erased_with_its_driver(
    app: FastAPI, client: httpx.AsyncClient, world: World, db: Database, ravi: SignedIn
) -> None:
    admin = await world.admin()
    card = await world.token(id_tag=TAG, driver_id=ravi.id, card_status="Active")
    ended = {"status": "Completed", "raw": {"idTag": TAG}}
    await world.session(await world.charger(), token_id=card.id, id_tag=TAG, **ended)
    assert (await client.delete(f"/api/admin/id-tags/{TAG}", headers=admin.headers)).status_code == 204
    begun = await asked(client, admin, "Erasure", ravi.id, confirm=ravi.email)
    await work_of(app).run(UUID(begun["id"]))
    assert await found_in_the_database(db, TAG) == []


async def test_that_of_somebody_who_was_erased_stays_as_it_is(
    app: FastAPI, client: httpx.AsyncClient, world: World, db: Database, ravi: SignedIn
) -> None:
    admin = await world.admin()
    card = await world.token(id_tag=TAG, driver_id=ravi.id, card_status="Active")
    path = f"/api/admin/id-tags/{card.id}"
    begun = await asked(client, admin, "Erasure", ravi.id, confirm=ravi.email)
    await work_of(app).run(UUID(begun["id"]))
    told = await client.put(path, json={"owner": "Ravi Zebra"}, headers=admin.headers)
    assert (told.status_code, told.json()["error"]) == (409, "UserErased")
    assert await found_in_the_database(db, "Ravi Zebra") == []
    assert (await client.delete(path, headers=admin.headers)).status_code == 409


async def test_it_is_in_no_table_of_id_tags_and_a_table_changes_nothing_of_it(
    client: httpx.AsyncClient, world: World, db: Database, ravi: SignedIn
) -> None:
    """One that comes back as it went out would stop, as by staff, what only waits or its driver blocked."""
    admin, url = await world.admin(), "/api/admin/id-tags.csv"
    card = await world.token(id_tag=TAG, driver_id=ravi.id, card_status="Pending", status="Invalid")
    await world.token(id_tag="WORLD")
    table = (await client.get(url, headers=admin.headers)).text
    assert [line.partition(",")[0] for line in table.splitlines()] == ["id_tag", "WORLD"]
    headers = {**admin.headers, "Content-Type": "text/csv"}
    sent = await client.post(url, content=f"id_tag,status\n{TAG.lower()},Blocked\n", headers=headers)
    assert "exists already" in sent.text
    async with db.session() as session:
        kept = await session.get_one(Token, card.id)
        assert (kept.status, kept.stopped_as) == ("Invalid", None)


@pytest.mark.parametrize("of_a_driver", [True, False])
async def test_what_several_do_with_a_tag_at_once_is_done_or_refused(
    server: RunningServer, server_world: World, *, of_a_driver: bool
) -> None:
    admin, ravi = await server_world.admin(), await driver(server_world)
    for _ in range(5):
        owner: dict[str, Any] = {"driver_id": ravi.id, "card_status": "Active"} if of_a_driver else {}
        tag = await server_world.token(**owner)
        path, own = f"/api/admin/id-tags/{tag.id}", f"/api/evowner/{ravi.id}/cards/{tag.id}"
        async with httpx.AsyncClient(base_url=server.http, headers=admin.headers, timeout=60) as client:
            answers = await asyncio.gather(
                client.delete(path),
                client.delete(path),
                client.put(path, json={"status": "Blocked"}),
                client.put(path, json={"owner": "Ravi"}),
                client.delete(own, headers=ravi.headers),
            )
        assert {one.status_code for one in answers} <= {200, 204, 404, 409}, [one.text for one in answers]
        assert [one.status_code for one in answers].count(204) == 1


@pytest.mark.parametrize("text", ["ERASED-0123456789ABC", "erased-x"])
async def test_nobody_takes_a_name_that_stands_for_somebody_who_was_erased(
    client: httpx.AsyncClient, world: World, ravi: SignedIn, text: str
) -> None:
    """Else the erasure of the card with that id would come to nothing: the name were taken."""
    admin = await world.admin()
    own = await client.post(f"/api/evowner/{ravi.id}/cards", json={"idTag": text}, headers=ravi.headers)
    assert own.status_code == 400, own.text
    made = await client.post("/api/admin/id-tags", json={"id_tag": text}, headers=admin.headers)
    assert made.status_code == 422, made.text

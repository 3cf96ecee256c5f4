"""What the audit trail says of commands: who asked for what, what came of it, and no secret and no tag."""

from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import select
from tests.stations.links import FakeLink
from tests.world import World

from ohmstead.accounts.audit_models import AuditEntry
from ohmstead.accounts.models import Role
from ohmstead.core.acting import Acting, acting_as
from ohmstead.core.db import Database
from ohmstead.link.links import Answer, ChargerOffline
from ohmstead.stations.commands_trail import shown

ACCEPTED = Answer(response={"status": "Accepted"})


async def entries(db: Database) -> list[AuditEntry]:
    async with db.session() as session:
        return list((await session.scalars(select(AuditEntry).order_by(AuditEntry.id))).all())


async def test_it_says_who_asked_which_charger_for_what_and_what_it_answered(
    app: FastAPI, client: httpx.AsyncClient, world: World, db: Database
) -> None:
    business = await world.backoffice()
    station = await world.station(business)
    charger = await world.charger(station)
    maya = await world.user(Role.OPERATOR, business, (station,))
    app.state.links.attach(charger.id, FakeLink(Answer(response={"status": "Rejected"})))
    path = f"/api/admin/chargers/{charger.id}/reset"
    await client.post(path, json={"type": "Hard"}, headers=maya.headers | {"X-Request-ID": "reset-it"})
    [entry] = await entries(db)
    assert (entry.action, entry.entity, entry.entity_id) == ("charger.command.Reset", "charger", charger.id)
    assert entry.after == {"payload": {"type": "Hard"}, "answer": "Rejected"}
    assert (entry.actor_kind, entry.actor_id, entry.actor_role) == ("user", str(maya.id), "Operator")
    assert (entry.backoffice_id, entry.station_id) == (business.id, station.id)
    assert (entry.operator_station_ids, entry.request_id) == ([station.id], "reset-it")


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (ChargerOffline("It left."), {"answer": "NotAnswered"}),
        (Answer(), {"answer": "Timeout"}),
        (Answer(error_code="InternalError"), {"answer": "CallError", "error": "InternalError"}),
    ],
    ids=["left", "silent", "error"],
)
async def test_what_went_wrong_is_told_too(
    *, app: FastAPI, world: World, db: Database, answer: Any, told: dict[str, str]
) -> None:
    charger = await world.charger()
    app.state.links.attach(charger.id, FakeLink(answer))
    try:
        await app.state.commands.send(charger.id, "ClearCache", {})
    except ChargerOffline:
        assert told["answer"] == "NotAnswered"
    [entry] = await entries(db)
    assert entry.after == {"payload": {}, **told}


async def test_a_tag_is_told_only_with_the_key_of_its_owner(
    app: FastAPI, client: httpx.AsyncClient, world: World, db: Database
) -> None:
    admin, charger = await world.admin(), await world.charger()
    driver = await world.user(Role.EV_OWNER)
    await world.token(id_tag="MARKER-TAG", driver_id=driver.id)
    app.state.links.attach(charger.id, FakeLink(ACCEPTED, ACCEPTED))
    for tag in ("marker-tag", "NOBODYS"):
        payload = {"idTag": tag, "connectorId": 1}
        await app.state.commands.send(charger.id, "RemoteStartTransaction", payload)
    known, unknown = await entries(db)
    for entry in (known, unknown):
        assert entry.after is not None
        assert entry.after["payload"] == {"idTag": "***", "connectorId": 1}
    assert (known.person_id, unknown.person_id, unknown.personal) == (driver.id, None, None)
    shown_to = f"/api/admin/audit?person={driver.id}"
    [told] = (await client.get(shown_to, headers=admin.headers)).json()["items"]
    assert told["personal"] == {"id_tag": "marker-tag"}


def test_secrets_are_hidden_and_what_is_long_is_cut_short() -> None:
    secret = shown("ChangeConfiguration", {"key": "AuthorizationKey", "value": "s3cret"})
    assert secret == {"key": "AuthorizationKey", "value": "***"}
    entries = [{"idTag": f"T{number}"} for number in range(21)]
    listed = shown("SendLocalList", {"listVersion": 1, "localAuthorizationList": entries})
    assert listed == {"listVersion": 1, "localAuthorizationList": "21 items"}
    assert len(shown("DataTransfer", {"vendorId": "x", "data": "y" * 1000})["data"]) == 200


@pytest.mark.parametrize("action", ["GetConfiguration", "GetLocalListVersion"])
async def test_questions_that_change_nothing_are_left_out(
    app: FastAPI, world: World, db: Database, action: str
) -> None:
    charger = await world.charger()
    app.state.links.attach(charger.id, FakeLink(Answer(response={})))
    await app.state.commands.send(charger.id, action, {})
    assert await entries(db) == []


async def test_a_job_that_commands_stands_under_its_name(app: FastAPI, world: World, db: Database) -> None:
    charger = await world.charger()
    app.state.links.attach(charger.id, FakeLink(ACCEPTED))
    with acting_as(Acting(kind="system", id="campaigns:Reset")):
        await app.state.commands.send(charger.id, "Reset", {"type": "Soft"})
    [entry] = await entries(db)
    assert (entry.actor_kind, entry.actor_id, entry.actor_personal) == ("system", "campaigns:Reset", None)

"""Businesses change what is known of them."""

from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import select
from tests.accounts.people import trail
from tests.world import World

from ohmstead.accounts.audit_models import AuditEntry
from ohmstead.accounts.models import Backoffice, Role
from ohmstead.core.db import Database

PATH = "/api/backoffice"
CONTACT = {"name": "Asha", "email": "ops@volt.example", "phone": "+65 6123 4567"}


async def volt(world: World, **fields: Any) -> Backoffice:
    """A business with a contact and a billing address."""
    contact = {f"contact_{name}": value for name, value in CONTACT.items()}
    billing = {"legalName": "VoltCo Pte Ltd", "taxId": "SG-1"}
    fields = {"billing": billing, "time_zone": "Asia/Singapore"} | contact | fields
    return await world.backoffice("VoltCo", **fields)


class TestChange:
    async def test_what_is_absent_stays(self, client: httpx.AsyncClient, world: World, db: Database) -> None:
        made, admin = (await volt(world)).id, await world.admin()
        url = f"{PATH}/{made}"
        before = (await client.get(url, headers=admin.headers)).json()
        change: dict[str, Any] = {
            "businessName": "Volt & Co",
            "contact": {"phone": "+65 6123 9999"},
            "billingInfo": {"taxId": None, "notes": "by post"},
            "timeZone": "Asia/Colombo",
        }
        answer = await client.put(url, headers=admin.headers, json=change)
        assert answer.status_code == 200, answer.text
        assert answer.json() == before | {
            "businessName": "Volt & Co",
            "contact": CONTACT | {"phone": "+65 6123 9999"},
            "billingInfo": {"legalName": "VoltCo Pte Ltd", "notes": "by post"},
            "timeZone": "Asia/Colombo",
        }
        nothing: tuple[dict[str, Any], ...] = ({}, change, {"contact": {}, "billingInfo": {}})
        for same in nothing:
            assert (await client.put(url, headers=admin.headers, json=same)).json() == answer.json()
        assert await trail(db, made) == ["backoffice.updated"]

    async def test_the_trail_tells_what_was_and_keeps_nothing_of_the_contact_in_clear(
        self, client: httpx.AsyncClient, world: World, db: Database
    ) -> None:
        made, admin = (await volt(world)).id, await world.admin()
        body = {"businessName": "Volt & Co", "contact": {"name": "Bo"}}
        await client.put(f"{PATH}/{made}", headers=admin.headers, json=body)
        url = f"/api/admin/audit?entity_id={made}&action=backoffice.updated"
        [entry] = (await client.get(url, headers=admin.headers)).json()["items"]
        assert (entry["before"], entry["after"]) == ({"name": "VoltCo"}, {"name": "Volt & Co"})
        assert entry["personal"] == {"before": {"contact_name": "Asha"}, "after": {"contact_name": "Bo"}}
        async with db.session() as session:
            rows = (await session.execute(select(AuditEntry.__table__))).all()
        assert "Asha" not in str(rows)

    async def test_a_business_changes_itself_and_no_other(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        own, other = await world.backoffice(), await world.backoffice()
        boss = await world.user(Role.BACKOFFICE, own)
        body = {"contact": CONTACT}
        answer = await client.put(f"{PATH}/{own.id}", headers=boss.headers, json=body)
        assert (answer.status_code, answer.json()["contact"]) == (200, CONTACT)
        answer = await client.put(f"{PATH}/{other.id}", headers=boss.headers, json=body)
        assert (answer.status_code, answer.json()["error"]) == (404, "BackofficeNotFound")
        for who in (await world.user(Role.OPERATOR, own), await world.user(Role.EV_OWNER)):
            assert (await client.put(f"{PATH}/{own.id}", headers=who.headers, json=body)).status_code == 403
        assert (await client.put(f"{PATH}/{own.id}", json=body)).status_code == 401

    async def test_a_name_is_taken_once_in_any_case(self, client: httpx.AsyncClient, world: World) -> None:
        await volt(world)
        own = await world.backoffice("Amp")
        boss, url = await world.user(Role.BACKOFFICE, own), f"{PATH}/{own.id}"
        answer = await client.put(url, headers=boss.headers, json={"businessName": "voltco"})
        assert (answer.status_code, answer.json()["error"]) == (409, "BackofficeExists")
        assert answer.json()["fields"] == {"businessName": "is taken"}
        assert (await client.get(url, headers=boss.headers)).json()["businessName"] == "Amp"
        answer = await client.put(url, headers=boss.headers, json={"businessName": "AMP"})
        assert (answer.status_code, answer.json()["businessName"]) == (200, "AMP")

    async def test_one_that_waits_can_be_put_right_before_it_is_approved(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        made, admin = (await volt(world, status="PendingApproval")).id, await world.admin()
        right = {"contact": {"email": "asha@volt.example"}}
        answer = await client.put(f"{PATH}/{made}", headers=admin.headers, json=right)
        assert answer.json()["contact"]["email"] == "asha@volt.example"
        body = {"adminEmail": "asha@volt.example"}
        answer = await client.put(f"{PATH}/{made}/approve", headers=admin.headers, json=body)
        assert (answer.status_code, answer.json()["status"]) == (200, "Active")

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"businessName": None}, "businessName"),
            ({"businessName": " "}, "businessName"),
            ({"businessName": "x" * 201}, "businessName"),
            ({"timeZone": "Mars/Base"}, "timeZone"),
            ({"timeZone": None}, "timeZone"),
            ({"contact": None}, "contact"),
            ({"contact": {"email": "ops@volt"}}, "contact.email"),
            ({"contact": {"phone": None}}, "contact.phone"),
            ({"contact": {"password": "x"}}, "contact.password"),
            ({"billingInfo": None}, "billingInfo"),
            ({"billingInfo": {"iban": "x"}}, "billingInfo.iban"),
            ({"status": "Active"}, "status"),
            ({"id": "x"}, "id"),
        ],
        ids=lambda value: str(value)[:30],
    )
    async def test_bad_input_names_its_field_and_changes_nothing(
        self, client: httpx.AsyncClient, world: World, body: dict[str, Any], field: str
    ) -> None:
        made, admin = (await volt(world)).id, await world.admin()
        before = (await client.get(f"{PATH}/{made}", headers=admin.headers)).json()
        answer = await client.put(f"{PATH}/{made}", headers=admin.headers, json=body)
        assert (answer.status_code, list(answer.json()["fields"])) == (400, [field])
        assert (await client.get(f"{PATH}/{made}", headers=admin.headers)).json() == before

    async def test_one_that_is_not_there_is_not_found(self, client: httpx.AsyncClient, world: World) -> None:
        answer = await client.put(f"{PATH}/{uuid4()}", headers=(await world.admin()).headers, json={})
        assert (answer.status_code, answer.json()["error"]) == (404, "BackofficeNotFound")

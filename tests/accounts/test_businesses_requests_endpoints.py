"""Businesses ask for an account, and a SystemAdmin decides."""

import asyncio
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import func, select, text
from tests.accounts.people import PASSWORD, link, mails, trail
from tests.conftest import FrozenClock
from tests.running import RunningServer
from tests.world import World

from ohmstead.accounts.businesses import first_business
from ohmstead.accounts.models import Backoffice, BackofficeStatus, Role, User
from ohmstead.accounts.passwords import hash_password
from ohmstead.accounts.sign_in_jobs import send_reset_link
from ohmstead.core.config import Settings
from ohmstead.core.db import Database

PATH = "/api/backoffice"
CONTACT = {"name": "Asha", "email": "ops@volt.example", "phone": "+65 6123 4567"}


def wish(name: str = "VoltCo", **changes: Any) -> dict[str, Any]:
    return {"businessName": name, "contact": CONTACT, "timeZone": "Asia/Singapore", **changes}


async def ask(client: httpx.AsyncClient, name: str = "VoltCo", **changes: Any) -> str:
    answer = await client.post(f"{PATH}/request", json=wish(name, **changes))
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


class TestRequest:
    async def test_it_is_kept_and_answered_as_pending_and_the_contact_gets_a_mail(
        self, client: httpx.AsyncClient, world: World, db: Database
    ) -> None:
        billing = {"legalName": "VoltCo Pte Ltd", "taxId": "SG-1"}
        answer = await client.post(
            "/api/Backoffice/request", json=wish(timeZone="Asia/Singapore", billingInfo=billing)
        )
        assert answer.status_code == 202
        assert answer.json() == {"id": answer.json()["id"], "status": "PendingApproval"}
        shown = await client.get(f"{PATH}/{answer.json()['id']}", headers=(await world.admin()).headers)
        assert shown.json() == {
            "id": answer.json()["id"],
            "businessName": "VoltCo",
            "status": "PendingApproval",
            "timeZone": "Asia/Singapore",
            "contact": CONTACT,
            "billingInfo": billing,
            "rejectionReason": None,
            "createdAt": "2026-05-04T12:00:00Z",
            "decidedAt": None,
        }
        [mail] = await mails(db, "ops@volt.example")
        assert mail.template == "business_requested"
        assert await trail(db, answer.json()["id"]) == ["backoffice.requested"]

    async def test_the_time_zone_may_stand_with_the_contact_as_in_the_document(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        contact = CONTACT | {"timeZone": "Asia/Colombo"}
        answer = await client.post(f"{PATH}/request", json={"businessName": "VoltCo", "contact": contact})
        assert answer.status_code == 202, answer.text
        made = answer.json()["id"]
        shown = await client.get(f"{PATH}/{made}", headers=(await world.admin()).headers)
        assert shown.json()["timeZone"] == "Asia/Colombo"

    async def test_asked_twice_by_the_same_contact_it_is_one_request(
        self, client: httpx.AsyncClient, db: Database
    ) -> None:
        assert await ask(client) == await ask(client, "VOLTCO")
        assert len(await mails(db, "ops@volt.example")) == 1

    @pytest.mark.parametrize(
        "other",
        [
            {"contact": CONTACT | {"phone": "+65 6123 9999"}},
            {"contact": CONTACT | {"name": "Asha P."}},
            {"timeZone": "Asia/Colombo"},
            {"billingInfo": {"taxId": "SG-1"}},
        ],
        ids=lambda value: next(iter(value)),
    )
    async def test_asked_again_with_other_data_while_it_waits_is_not_taken_in_silence(
        self, client: httpx.AsyncClient, world: World, other: dict[str, Any]
    ) -> None:
        made = await ask(client)
        admin = await world.admin()
        before = (await client.get(f"{PATH}/{made}", headers=admin.headers)).json()
        answer = await client.post(f"{PATH}/request", json=wish(**other))
        assert (answer.status_code, answer.json()["error"]) == (409, "RequestWaiting")
        assert (await client.get(f"{PATH}/{made}", headers=admin.headers)).json() == before
        await client.put(f"{PATH}/{made}/reject", headers=admin.headers, json={"reason": "wrong phone"})
        assert await ask(client, **other) != made

    async def test_a_name_that_waits_is_nobody_s_yet(self, client: httpx.AsyncClient) -> None:
        other = CONTACT | {"name": "Eve", "email": "eve@evil.example"}
        assert await ask(client) != await ask(client, contact=other)

    async def test_a_name_at_work_is_taken(self, client: httpx.AsyncClient, world: World) -> None:
        await world.backoffice("VoltCo")
        answer = await client.post(f"{PATH}/request", json=wish("voltco"))
        assert (answer.status_code, answer.json()["error"]) == (409, "BackofficeExists")
        assert answer.json()["fields"] == {"businessName": "is taken"}

    async def test_of_ten_at_once_one_is_kept(self, server: RunningServer, server_world: World) -> None:
        name = f"Volt {uuid4().hex[:8]}"
        async with httpx.AsyncClient(base_url=server.http, trust_env=False, timeout=30) as http:
            ids = await asyncio.gather(*(ask(http, name) for _ in range(10)))
        assert len(set(ids)) == 1

    async def test_a_business_that_waits_is_not_the_one_that_a_new_station_belongs_to(
        self, client: httpx.AsyncClient, world: World, db: Database
    ) -> None:
        waiting = await ask(client)
        admin = await world.admin()
        refused = await client.post(
            "/api/admin/stations", json={"name": "A", "backoffice_id": waiting}, headers=admin.headers
        )
        assert refused.status_code == 404
        async with db.session() as session:
            first = await session.get(Backoffice, await first_business(session, world.clock.now()))
        assert first is not None
        assert first.status == BackofficeStatus.ACTIVE

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({}, "businessName"),
            (wish(" "), "businessName"),
            (wish("x" * 201), "businessName"),
            (wish("A\u0000B"), "businessName"),
            (wish(status="Active"), "status"),
            (wish(timeZone="Mars/Base"), "timeZone"),
            (wish(contact=CONTACT | {"timeZone": "Asia/Singapore"}, timeZone="UTC"), "timeZone"),
            (wish(contact=CONTACT | {"email": "no address"}), "contact.email"),
            (wish(contact=CONTACT | {"email": "\u0430dmin@volt.example"}), "contact.email"),
            (wish(contact=CONTACT | {"email": "x" * 250 + "@volt.example"}), "contact.email"),
            (wish(contact=CONTACT | {"email": "ops@volt"}), "contact.email"),
            (wish(contact=CONTACT | {"phone": "call me"}), "contact.phone"),
            (wish(contact={"name": "Asha", "email": "ops@volt.example"}), "contact.phone"),
            ({"businessName": "VoltCo", "contact": CONTACT}, "timeZone"),
            (wish(timeZone=None), "timeZone"),
            (wish(contact="Asha"), "contact"),
            (wish(billingInfo={"iban": 1}), "billingInfo.iban"),
            (wish(billingInfo={"taxId": 12}), "billingInfo.taxId"),
        ],
        ids=lambda value: str(value)[:30],
    )
    async def test_bad_input_names_its_field_and_keeps_nothing(
        self, client: httpx.AsyncClient, db: Database, body: dict[str, Any], field: str
    ) -> None:
        answer = await client.post(f"{PATH}/request", json=body)
        assert answer.status_code == 400, answer.text
        assert field in answer.json()["fields"]
        async with db.session() as session:
            assert await session.scalar(select(func.count()).select_from(Backoffice)) == 0

    async def test_too_many_from_one_address_are_asked_to_wait(self, client: httpx.AsyncClient) -> None:
        answers = [await client.post(f"{PATH}/request", json=wish()) for _ in range(25)]
        assert answers[-1].status_code == 429
        assert int(answers[-1].headers["Retry-After"]) > 0


class TestList:
    async def test_they_are_told_apart_by_status_searched_and_paged(
        self, client: httpx.AsyncClient, world: World, clock: FrozenClock
    ) -> None:
        admin = await world.admin()
        await world.backoffice("At work", created_at=clock.now())
        ids = []
        for name in ("One", "Two", "Three"):
            clock.advance(1)
            ids.append(await ask(client, name))
        first = await client.get(
            PATH, headers=admin.headers, params={"status": "PendingApproval", "limit": 2}
        )
        assert [one["id"] for one in first.json()] == ids[:2]
        assert first.headers["X-Total-Count"] == "3"
        more: dict[str, Any] = {
            "status": "PendingApproval",
            "limit": 2,
            "cursor": first.headers["X-Next-Cursor"],
        }
        last = await client.get(PATH, headers=admin.headers, params=more)
        assert [one["id"] for one in last.json()] == ids[2:]
        assert "X-Next-Cursor" not in last.headers
        found = await client.get(PATH, headers=admin.headers, params={"q": "thr"})
        assert [one["businessName"] for one in found.json()] == ["Three"]

    @pytest.mark.parametrize("params", [{"status": "Asleep"}, {"limit": 0}, {"cursor": "x"}])
    async def test_filters_that_make_no_sense_are_refused(
        self, client: httpx.AsyncClient, world: World, params: dict[str, Any]
    ) -> None:
        answer = await client.get(PATH, headers=(await world.admin()).headers, params=params)
        assert answer.status_code == 400

    async def test_a_backoffice_sees_its_own_business_and_no_other(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        own, other = await world.backoffice(), await world.backoffice()
        boss = await world.user(Role.BACKOFFICE, own)
        shown = await client.get(f"{PATH}/{own.id}", headers=boss.headers)
        assert (shown.status_code, shown.json()["businessName"]) == (200, own.name)
        assert (await client.get(f"{PATH}/{other.id}", headers=boss.headers)).status_code == 404
        assert (await client.get(PATH, headers=boss.headers)).status_code == 403


class TestApprove:
    async def test_with_a_temporary_password_the_first_thing_to_do_is_to_change_it(
        self, client: httpx.AsyncClient, world: World, db: Database
    ) -> None:
        made, admin = await ask(client), await world.admin()
        answer = await client.put(
            f"{PATH}/{made}/approve",
            headers=admin.headers,
            json={"adminEmail": "asha@volt.example", "temporaryPassword": "Init#123"},
        )
        assert (answer.status_code, answer.json()) == (200, {"id": made, "status": "Active"})
        [mail] = await mails(db, "asha@volt.example")
        assert mail.template == "business_approved"
        assert "Init#123" not in str(mail.text)
        signed = await client.post(
            "/api/auth/login", json={"username": "asha@volt.example", "password": "Init#123"}
        )
        assert signed.status_code == 200, signed.text
        assert (signed.json()["mustChangePassword"], signed.json()["backofficeId"]) == (True, made)
        headers = {"Authorization": f"Bearer {signed.json()['accessToken']}"}
        refused = await client.get("/api/admin/stations", headers=headers)
        assert (refused.status_code, refused.json()["error"]) == (403, "MustChangePassword")
        own = {"current": "Init#123", "new": PASSWORD}
        assert (await client.put("/api/auth/password", headers=headers, json=own)).status_code == 204
        assert (await client.get("/api/admin/stations", headers=headers)).status_code == 200
        assert await trail(db, made) == ["backoffice.requested", "backoffice.approved"]

    async def test_without_one_an_invitation_is_mailed_to_the_contact_by_its_name(
        self, client: httpx.AsyncClient, world: World, db: Database
    ) -> None:
        made, admin = await ask(client), await world.admin()
        body = {"adminEmail": "Ops@Volt.example"}
        answer = await client.put(f"{PATH}/{made}/approve", headers=admin.headers, json=body)
        assert answer.status_code == 200
        invited = await client.get(f"/api/auth/invite/{await link(db, 'ops@volt.example', '/invite/')}")
        assert invited.json() == {"email": "ops@volt.example", "name": "Asha", "role": "Backoffice"}

    async def test_what_was_decided_stays(self, client: httpx.AsyncClient, world: World) -> None:
        admin = await world.admin()
        yes, no = {"adminEmail": "asha@volt.example"}, {"reason": "no documents"}
        for name, first in (("One", "approve"), ("Two", "reject")):
            made = await ask(client, name)
            body = yes if first == "approve" else no
            assert (
                await client.put(f"{PATH}/{made}/{first}", headers=admin.headers, json=body)
            ).status_code == 200
            for again, sent in (("approve", yes), ("reject", no)):
                answer = await client.put(f"{PATH}/{made}/{again}", headers=admin.headers, json=sent)
                assert (answer.status_code, answer.json()["error"]) == (409, "BackofficeNotPending")

    async def test_of_two_with_one_name_the_second_cannot_be_approved(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        admin = await world.admin()
        first = await ask(client)
        second = await ask(client, contact=CONTACT | {"name": "Eve", "email": "eve@evil.example"})
        for made, email, status in ((first, "a@volt.example", 200), (second, "b@volt.example", 409)):
            answer = await client.put(
                f"{PATH}/{made}/approve", headers=admin.headers, json={"adminEmail": email}
            )
            assert answer.status_code == status
        assert answer.json()["error"] == "BackofficeExists"

    async def test_an_address_with_an_account_changes_nothing(
        self, client: httpx.AsyncClient, world: World, db: Database
    ) -> None:
        made, admin = await ask(client), await world.admin()
        await world.user(Role.EV_OWNER, email="asha@volt.example")
        answer = await client.put(
            f"{PATH}/{made}/approve", headers=admin.headers, json={"adminEmail": "ASHA@volt.example"}
        )
        assert (answer.status_code, answer.json()["error"]) == (409, "EmailTaken")
        assert list(answer.json()["fields"]) == ["adminEmail"]
        shown = await client.get(f"{PATH}/{made}", headers=admin.headers)
        assert shown.json()["status"] == "PendingApproval"
        assert await mails(db, "asha@volt.example") == []

    async def test_of_two_at_once_one_decides(self, server: RunningServer, server_world: World) -> None:
        admin = await server_world.admin()
        async with httpx.AsyncClient(
            base_url=server.http, headers=admin.headers, trust_env=False, timeout=30
        ) as http:
            made = await ask(http, f"Volt {uuid4().hex[:8]}")
            bodies = [{"adminEmail": f"a-{uuid4().hex[:8]}@volt.example"} for _ in range(5)]
            answers = await asyncio.gather(
                *(http.put(f"{PATH}/{made}/approve", json=body) for body in bodies)
            )
        assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409]
        async with server.database.session() as session:
            users = select(func.count()).where(User.backoffice_id == made)
            assert await session.scalar(users) == 1

    async def test_a_link_that_was_lost_is_mailed_anew_and_the_old_one_is_void(
        self, client: httpx.AsyncClient, world: World, db: Database, clock: FrozenClock
    ) -> None:
        made, admin = await ask(client), await world.admin()
        body = {"adminEmail": "asha@volt.example"}
        await client.put(f"{PATH}/{made}/approve", headers=admin.headers, json=body)
        old = await link(db, "asha@volt.example", "/invite/")
        clock.advance(8 * 86400)
        admin = await world.admin()
        answer = await client.post(f"{PATH}/{made}/invite", headers=admin.headers)
        assert answer.status_code == 202
        new = await link(db, "asha@volt.example", "/invite/")
        assert (await client.get(f"/api/auth/invite/{old}")).status_code == 410
        chosen = await client.post(f"/api/auth/invite/{new}", json={"password": PASSWORD})
        assert chosen.status_code == 204
        answer = await client.post(f"{PATH}/{made}/invite", headers=admin.headers)
        assert (answer.status_code, answer.json()["error"]) == (409, "AlreadyAccepted")

    async def test_who_was_not_approved_has_nobody_to_invite_and_that_is_said(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        made, admin = await ask(client), await world.admin()
        answer = await client.post(f"{PATH}/{made}/invite", headers=admin.headers)
        assert (answer.status_code, answer.json()["error"]) == (409, "BackofficeNotActive")
        assert "PendingApproval" in answer.json()["message"]
        await client.put(f"{PATH}/{made}/reject", headers=admin.headers, json={"reason": "no"})
        answer = await client.post(f"{PATH}/{made}/invite", headers=admin.headers)
        assert (answer.status_code, answer.json()["error"]) == (409, "BackofficeNotActive")
        assert "Rejected" in answer.json()["message"]

    @pytest.mark.parametrize(
        ("move", "body", "field"),
        [
            ("approve", {}, "adminEmail"),
            ("approve", {"adminEmail": "a@volt.example", "temporaryPassword": ""}, "temporaryPassword"),
            ("approve", {"adminEmail": ["a@volt.example"]}, "adminEmail"),
            ("approve", {"adminEmail": "a@volt.example", "role": "SystemAdmin"}, "role"),
            ("reject", {}, "reason"),
            ("reject", {"reason": "  "}, "reason"),
            ("reject", {"reason": "x" * 501}, "reason"),
        ],
    )
    async def test_bad_input_names_its_field_and_decides_nothing(
        self, client: httpx.AsyncClient, world: World, move: str, body: dict[str, Any], field: str
    ) -> None:
        made, admin = await ask(client), await world.admin()
        answer = await client.put(f"{PATH}/{made}/{move}", headers=admin.headers, json=body)
        assert answer.status_code == 400
        assert list(answer.json()["fields"]) == [field]
        shown = await client.get(f"{PATH}/{made}", headers=admin.headers)
        assert shown.json()["status"] == "PendingApproval"


class TestReject:
    async def test_the_reason_is_mailed_and_kept_and_the_name_is_free_again(
        self, client: httpx.AsyncClient, world: World, db: Database
    ) -> None:
        made, admin = await ask(client), await world.admin()
        body = {"reason": "Insufficient documents"}
        answer = await client.put(f"{PATH}/{made}/reject", headers=admin.headers, json=body)
        assert (answer.status_code, answer.json()) == (200, {"id": made, "status": "Rejected"})
        told = await mails(db, "ops@volt.example", "business_rejected")
        assert "Insufficient documents" in str(told[0].text)
        shown = (await client.get(f"{PATH}/{made}", headers=admin.headers)).json()
        assert (shown["rejectionReason"], shown["decidedAt"]) == (
            "Insufficient documents",
            "2026-05-04T12:00:00Z",
        )
        assert await ask(client) != made


class TestWhoMay:
    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", ""),
            ("GET", "/{id}"),
            ("PUT", "/{id}/approve"),
            ("PUT", "/{id}/reject"),
            ("POST", "/{id}/invite"),
        ],
    )
    async def test_only_a_system_admin_decides(
        self, client: httpx.AsyncClient, world: World, method: str, path: str
    ) -> None:
        made = await ask(client)
        url = PATH + path.replace("{id}", made)
        assert (await client.request(method, url, json={})).status_code == 401
        for role in (Role.BACKOFFICE, Role.OPERATOR, Role.EV_OWNER):
            answer = await client.request(method, url, json={}, headers=(await world.user(role)).headers)
            assert answer.status_code in {403, 404}

    @pytest.mark.parametrize("status", ["PendingApproval", "Rejected"])
    async def test_who_belongs_to_a_business_that_is_not_at_work_is_told_which(
        self, client: httpx.AsyncClient, world: World, status: str
    ) -> None:
        business = await world.backoffice(status=status)
        hashed = await hash_password(PASSWORD)
        boss = await world.user(Role.BACKOFFICE, business, password_hash=hashed)
        answer = await client.post("/api/auth/login", json={"username": boss.email, "password": PASSWORD})
        code = {"PendingApproval": "BusinessPendingApproval", "Rejected": "BusinessRejected"}[status]
        assert (answer.status_code, answer.json()["error"]) == (401, code)

    async def test_a_contact_that_wants_in_too_early_is_mailed_which_and_why(
        self, client: httpx.AsyncClient, world: World, db: Database, settings: Settings, clock: FrozenClock
    ) -> None:
        business_id = await ask(client)

        async def forgotten() -> list[str]:
            asked = await client.post("/api/auth/password-reset", json={"email": CONTACT["email"]})
            assert (asked.status_code, asked.text) == (202, '{"status":"Accepted"}')
            query = text(
                "SELECT args FROM procrastinate_jobs WHERE task_name = :name ORDER BY id DESC LIMIT 1"
            )
            async with db.session() as session:
                args = (await session.execute(query, {"name": "accounts:send_reset_link"})).scalar_one()
            means = {"database": db, "settings": settings, "clock": clock}
            context: Any = SimpleNamespace(additional_context=means)
            await send_reset_link.func(context, **args)
            return [mail.template for mail in await mails(db, CONTACT["email"])]

        assert await forgotten() == ["business_requested"] * 2
        reject = f"{PATH}/{business_id}/reject"
        admin = await world.admin()
        await client.put(reject, json={"reason": "No tax number"}, headers=admin.headers)
        assert await forgotten() == ["business_requested"] * 2 + ["business_rejected"] * 2
        assert "No tax number" in str((await mails(db, CONTACT["email"]))[-1].text)
        approved = await ask(client, "Volt Two")
        body = {"adminEmail": CONTACT["email"]}
        await client.put(f"{PATH}/{approved}/approve", json=body, headers=admin.headers)
        assert (await forgotten())[-2:] == ["invite", "password_reset"], "who has an account gets its link"

    async def test_an_unknown_business_is_not_found(self, client: httpx.AsyncClient, world: World) -> None:
        admin = await world.admin()
        bodies = {"approve": {"adminEmail": "a@volt.example"}, "reject": {"reason": "no"}}
        for move, body in bodies.items():
            answer = await client.put(f"{PATH}/{uuid4()}/{move}", headers=admin.headers, json=body)
            assert (answer.status_code, answer.json()["error"]) == (404, "BackofficeNotFound")
        assert (await client.get(f"{PATH}/x", headers=admin.headers)).status_code == 400

"""Drivers register, keep their profile, verify their address, and are deactivated and reactivated."""

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import func, select
from tests.accounts.people import PASSWORD, charged, driver, link, mails, trail
from tests.conftest import FrozenClock
from tests.running import RunningServer
from tests.world import SignedIn, World

from ohmstead.accounts.access import authenticate, require_active
from ohmstead.accounts.drivers_queries import find_by_nic, nic_of
from ohmstead.accounts.models import Role, User
from ohmstead.accounts.passwords import hash_password
from ohmstead.core.config import Settings, SettingsError
from ohmstead.core.db import Database
from ohmstead.core.errors import Forbidden

PATH = "/api/evowner"
NIC = "200212345679"
RAVI = {
    "nic": NIC,
    "name": "Ravi",
    "email": "ravi@ex.example",
    "phone": "+94 77 123 4567",
    "password": PASSWORD,
}


async def set_up(app: FastAPI, **settings: Any) -> None:
    """Change settings of the application of this test."""
    app.state.settings = app.state.settings.model_copy(update=settings)


async def login(client: httpx.AsyncClient, name: str) -> httpx.Response:
    return await client.post("/api/auth/login", json={"username": name, "password": PASSWORD})


class TestRegister:
    async def test_it_is_active_at_once_and_signs_in_by_nic_or_address(
        self, client: httpx.AsyncClient, db: Database
    ) -> None:
        answer = await client.post("/api/EvOwner", json=RAVI)
        assert answer.status_code == 201, answer.text
        owner = answer.json()["ownerId"]
        assert answer.json() == {"ownerId": owner, "status": "Active"}
        for name in (NIC, "RAVI@ex.example"):
            signed = (await login(client, name)).json()
            assert (signed["role"], signed["status"], signed["ownerNIC"]) == ("EvOwner", "Active", NIC)
            assert signed["driverId"] == owner
        assert "driver.registered" in await trail(db, owner)

    async def test_the_profile_is_as_it_was_told(self, client: httpx.AsyncClient, world: World) -> None:
        owner = (await client.post(PATH, json=RAVI | {"plate": "wp cab-1234"})).json()["ownerId"]
        signed = (await login(client, NIC)).json()
        headers = {"Authorization": f"Bearer {signed['accessToken']}"}
        for name in (NIC, owner):
            shown = await client.get(f"{PATH}/{name}", headers=headers)
            assert shown.json() == {
                "ownerId": owner,
                "nic": NIC,
                "name": "Ravi",
                "email": "ravi@ex.example",
                "emailVerified": False,
                "phone": "+94 77 123 4567",
                "status": "Active",
                "createdAt": "2026-05-04T12:00:00Z",
            }
        cars = await client.get(f"{PATH}/{NIC}/vehicles", headers=headers)
        assert [car["plate"] for car in cars.json()] == ["WP CAB-1234"]

    @pytest.mark.parametrize("typed", ["881234567v", " 88 1234567 V ", "881234567V"])
    async def test_a_nic_is_kept_in_one_spelling(
        self, client: httpx.AsyncClient, db: Database, typed: str
    ) -> None:
        answer = await client.post(PATH, json=RAVI | {"nic": typed})
        async with db.session() as session:
            found = await find_by_nic(session, "881234567v")
            assert found is not None
            assert str(found.id) == answer.json()["ownerId"]
            assert await nic_of(session, found.id) == "881234567V"

    async def test_a_nic_and_an_address_are_taken_once(self, client: httpx.AsyncClient, db: Database) -> None:
        await client.post(PATH, json=RAVI)
        answer = await client.post(PATH, json=RAVI | {"email": "other@ex.example"})
        assert (answer.status_code, answer.json()["error"]) == (409, "NicTaken")
        answer = await client.post(PATH, json=RAVI | {"nic": "881234567V", "email": "RAVI@EX.example"})
        assert (answer.status_code, answer.json()["error"]) == (409, "EmailTaken")
        async with db.session() as session:
            assert await session.scalar(select(func.count()).select_from(User)) == 1
        assert await mails(db, "other@ex.example") == []

    async def test_of_several_at_once_one_is_made(self, server: RunningServer) -> None:
        nic = f"{uuid4().int % 10**12:012}"
        bodies = [RAVI | {"nic": nic, "email": f"{uuid4().hex[:8]}@ex.example"} for _ in range(5)]
        async with httpx.AsyncClient(base_url=server.http, trust_env=False, timeout=30) as http:
            answers = await asyncio.gather(*(http.post(PATH, json=body) for body in bodies))
        assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409]
        async with server.database.session() as session:
            emails = select(func.count()).where(User.email.in_([body["email"] for body in bodies]))
            assert await session.scalar(emails) == 1

    async def test_the_form_of_a_nic_is_a_setting(self, app: FastAPI, client: httpx.AsyncClient) -> None:
        await set_up(app, nic_pattern="[STFG][0-9]{7}[A-Z]")
        assert (await client.post(PATH, json=RAVI)).status_code == 400
        assert (await client.post(PATH, json=RAVI | {"nic": "s1234567d"})).status_code == 201

    def test_a_setting_that_is_no_pattern_is_refused_at_the_start(self) -> None:
        with pytest.raises(SettingsError, match="OHMSTEAD_NIC_PATTERN"):
            Settings.load(nic_pattern="[0-9")

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"nic": ""}, "nic"),
            ({"nic": "12345"}, "nic"),
            ({"nic": "8812345678V"}, "nic"),
            ({"nic": "88123456\u0667V"}, "nic"),
            ({"nic": 200212345679}, "nic"),
            ({"nic": "9" * 41}, "nic"),
            ({"name": ""}, "name"),
            ({"name": "R\u202eavi"}, "name"),
            ({"email": "ravi"}, "email"),
            ({"email": "ravi@1.2.3.4"}, "email"),
            ({"email": "r\u0430vi@ex.example"}, "email"),
            ({"email": "\uff52avi@ex.example"}, "email"),
            ({"phone": "x" * 41}, "phone"),
            ({"phone": None}, "phone"),
            ({"password": "Ravi2002"}, "password"),
            ({"password": NIC}, "password"),
            ({"plate": "\ufb00" * 20}, "plate"),
            ({"role": "SystemAdmin"}, "role"),
            ({"status": "Active"}, "status"),
        ],
        ids=lambda value: ascii(value)[:30],
    )
    async def test_bad_input_names_its_field_and_makes_nobody(
        self, client: httpx.AsyncClient, db: Database, body: dict[str, Any], field: str
    ) -> None:
        answer = await client.post(PATH, json=RAVI | body)
        assert answer.status_code == 400, answer.text
        assert list(answer.json()["fields"]) == [field]
        async with db.session() as session:
            assert await session.scalar(select(func.count()).select_from(User)) == 0

    async def test_only_the_plate_may_be_left_out(self, client: httpx.AsyncClient) -> None:
        for name in RAVI:
            answer = await client.post(PATH, json={one: RAVI[one] for one in RAVI if one != name})
            assert answer.status_code == 400, name
            assert list(answer.json()["fields"]) == [name]
        assert (await client.post(PATH, json=RAVI)).status_code == 201

    async def test_too_many_from_one_address_are_asked_to_wait(self, client: httpx.AsyncClient) -> None:
        answers = [await client.post(PATH, json=RAVI | {"nic": "x"}) for _ in range(25)]
        assert answers[-1].status_code == 429


class TestVerifyEmail:
    async def test_the_mailed_link_verifies_once(self, client: httpx.AsyncClient, db: Database) -> None:
        owner = (await client.post(PATH, json=RAVI)).json()["ownerId"]
        token = await link(db, "ravi@ex.example", "/verify-email/")
        answer = await client.post("/api/auth/verify-email", json={"token": token})
        assert (answer.status_code, answer.json()) == (200, {"email": "ravi@ex.example"})
        headers = {"Authorization": f"Bearer {(await login(client, NIC)).json()['accessToken']}"}
        shown = await client.get(f"{PATH}/{owner}", headers=headers)
        assert shown.json()["emailVerified"] is True
        again = await client.post("/api/auth/verify-email", json={"token": token})
        assert (again.status_code, again.json()["error"]) == (410, "LinkOver")
        assert "user.email_verified" in await trail(db, owner)

    async def test_a_link_is_good_for_three_days_and_is_mailed_anew(
        self, client: httpx.AsyncClient, db: Database, clock: FrozenClock
    ) -> None:
        await client.post(PATH, json=RAVI)
        old = await link(db, "ravi@ex.example", "/verify-email/")
        clock.advance(3 * 86400)
        assert (await client.post("/api/auth/verify-email", json={"token": old})).status_code == 410
        wish = {"email": " Ravi@ex.example "}
        for _ in range(3):  # once a minute, and no more
            answer = await client.post("/api/auth/verify-email/resend", json=wish)
            assert (answer.status_code, answer.json()) == (202, {"email": "ravi@ex.example"})
        assert len(await mails(db, "ravi@ex.example", "verify_email")) == 2
        new = await link(db, "ravi@ex.example", "/verify-email/")
        assert (await client.post("/api/auth/verify-email", json={"token": new})).status_code == 200

    async def test_who_is_unknown_or_verified_is_answered_alike_and_gets_no_mail(
        self, client: httpx.AsyncClient, db: Database
    ) -> None:
        await client.post(PATH, json=RAVI)
        token = await link(db, "ravi@ex.example", "/verify-email/")
        await client.post("/api/auth/verify-email", json={"token": token})
        for email in ("ravi@ex.example", "nobody@ex.example"):
            answer = await client.post("/api/auth/verify-email/resend", json={"email": email})
            assert (answer.status_code, answer.json()) == (202, {"email": email})
        assert len(await mails(db, "ravi@ex.example")) == 1
        assert await mails(db, "nobody@ex.example") == []

    @pytest.mark.parametrize("verified", [True, False])
    async def test_by_setting_it_is_needed_to_sign_in(
        self, app: FastAPI, client: httpx.AsyncClient, db: Database, verified: bool
    ) -> None:
        await client.post(PATH, json=RAVI)
        if verified:
            token = await link(db, "ravi@ex.example", "/verify-email/")
            await client.post("/api/auth/verify-email", json={"token": token})
        await set_up(app, require_verified_email=True)
        answer = await login(client, NIC)
        assert (answer.status_code, answer.json().get("error")) == (
            (200, None) if verified else (401, "EmailNotVerified")
        )

    async def test_staff_never_needs_it(self, app: FastAPI, client: httpx.AsyncClient, world: World) -> None:
        await set_up(app, require_verified_email=True)
        boss = await world.user(Role.BACKOFFICE, password_hash=await hash_password(PASSWORD))
        assert (await login(client, boss.email)).status_code == 200

    @pytest.mark.parametrize(
        ("path", "body", "status"),
        [
            ("", {}, 400),
            ("", {"token": "x"}, 404),
            ("", {"token": ""}, 400),
            ("", {"token": "x" * 201}, 400),
            ("", {"token": None}, 400),
            ("/resend", {"email": "nobody"}, 400),
            ("/resend", {"email": 1}, 400),
        ],
    )
    async def test_bad_input_is_refused(
        self, client: httpx.AsyncClient, path: str, body: dict[str, Any], status: int
    ) -> None:
        answer = await client.post(f"/api/auth/verify-email{path}", json=body)
        assert answer.status_code == status


class TestProfile:
    async def test_what_is_absent_stays(self, client: httpx.AsyncClient, world: World) -> None:
        ravi = await driver(world, NIC, name="Ravi", phone="123")
        url = f"{PATH}/{NIC}"
        answer = await client.put(url, headers=ravi.headers, json={"name": "Ravindra"})
        assert (answer.json()["name"], answer.json()["phone"]) == ("Ravindra", "123")
        answer = await client.put(url, headers=ravi.headers, json={"phone": None, "nic": NIC})
        assert (answer.json()["name"], answer.json()["phone"]) == ("Ravindra", None)
        await client.put(url, headers=ravi.headers, json={})
        assert await trail(world.database, ravi.id) == ["driver.updated"] * 2

    async def test_who_came_without_a_nic_gives_it_once(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        await driver(world, "881234567V")
        ravi = await driver(world)
        url = f"{PATH}/{ravi.id}"
        assert (await client.get(url, headers=ravi.headers)).json()["nic"] is None
        taken = await client.put(url, headers=ravi.headers, json={"nic": "881234567v"})
        assert (taken.status_code, taken.json()["error"]) == (409, "NicTaken")
        given = await client.put(url, headers=ravi.headers, json={"nic": NIC})
        assert (given.status_code, given.json()["nic"]) == (200, NIC)
        other = await client.put(url, headers=ravi.headers, json={"nic": "901234567V"})
        assert (other.status_code, other.json()["error"]) == (409, "NicStays")

    async def test_only_the_driver_and_a_system_admin_change_it(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        ravi, business = await driver(world, name="Ravi"), await world.backoffice()
        await charged(world, ravi, business)
        boss, url = await world.user(Role.BACKOFFICE, business), f"{PATH}/{ravi.id}"
        for body in ({"name": "Not Ravi"}, {"nic": NIC}):
            assert (await client.put(url, headers=boss.headers, json=body)).status_code == 403
        shown = (await client.get(url, headers=boss.headers)).json()
        assert (shown["name"], shown["nic"]) == ("Ravi", None)
        admin = await world.admin()
        assert (await client.put(url, headers=admin.headers, json={"name": "R."})).json()["name"] == "R."

    async def test_an_app_may_send_the_address_along_that_it_has_and_is_told_how_to_change_it(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        ravi = await driver(world, NIC, name="Ravi", phone="123", email="ravi@ex.example")
        whole = {"nic": NIC, "name": "Ravindra", "email": " Ravi@ex.example", "phone": "123"}
        answer = await client.put(f"{PATH}/{NIC}", headers=ravi.headers, json=whole)
        assert (answer.status_code, answer.json()["name"]) == (200, "Ravindra")
        whole["email"] = "new@ex.example"
        other = await client.put(f"{PATH}/{NIC}", headers=ravi.headers, json=whole)
        assert (other.status_code, list(other.json()["fields"])) == (400, ["email"])
        assert "POST /api/auth/email" in other.json()["message"]

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"name": None}, "name"),
            ({"name": ""}, "name"),
            ({"nic": None}, "nic"),
            ({"nic": "x"}, "nic"),
            ({"email": "new@ex.example"}, "email"),
            ({"email": None}, "email"),
            ({"email": "no address"}, "email"),
            ({"status": "Active"}, "status"),
            ({"phone": 5}, "phone"),
        ],
    )
    async def test_bad_input_names_its_field(
        self, client: httpx.AsyncClient, world: World, body: dict[str, Any], field: str
    ) -> None:
        ravi = await driver(world, NIC)
        answer = await client.put(f"{PATH}/{NIC}", headers=ravi.headers, json=body)
        assert (answer.status_code, list(answer.json()["fields"])) == (400, [field])

    async def test_a_business_sees_a_driver_that_charged_with_it_and_no_other(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        ravi, own, other = await driver(world, NIC), await world.backoffice(), await world.backoffice()
        boss, stranger = await world.user(Role.BACKOFFICE, own), await world.user(Role.BACKOFFICE, other)
        assert (await client.get(f"{PATH}/{NIC}", headers=boss.headers)).status_code == 404
        await charged(world, ravi, own)
        assert (await client.get(f"{PATH}/{NIC}", headers=boss.headers)).status_code == 200
        for name in (NIC, ravi.id, NIC.lower(), "nobody"):
            answer = await client.get(f"{PATH}/{name}", headers=stranger.headers)
            assert (answer.status_code, answer.json()["error"]) == (404, "OwnerNotFound")

    async def test_a_start_that_was_refused_makes_nobody_known(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        ravi, business = await driver(world, NIC), await world.backoffice()
        token = await world.token(driver_id=ravi.id, card_status="Pending", status="Invalid")
        charger = await world.charger(await world.station(business))
        await world.session(charger, token_id=token.id, id_tag_status="Invalid")
        boss = await world.user(Role.BACKOFFICE, business)
        assert (await client.get(f"{PATH}/{NIC}", headers=boss.headers)).status_code == 404

    async def test_somebody_who_is_no_driver_is_not_found(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        admin = await world.admin()
        assert (await client.get(f"{PATH}/{admin.id}", headers=admin.headers)).status_code == 404


class TestStatus:
    @pytest.fixture
    async def ravi(self, world: World) -> SignedIn:
        return await driver(world, NIC, password_hash=await hash_password(PASSWORD))

    async def test_a_deactivated_driver_signs_in_is_told_and_may_not_act(
        self, client: httpx.AsyncClient, world: World, db: Database, ravi: SignedIn
    ) -> None:
        for _ in range(2):
            answer = await client.put(f"{PATH}/{NIC}/deactivate", headers=ravi.headers)
            assert (answer.status_code, answer.json()["status"]) == (200, "Deactivated")
        signed = await login(client, NIC)
        assert (signed.status_code, signed.json()["status"]) == (200, "Deactivated")
        assert (await client.get(f"{PATH}/{NIC}", headers=ravi.headers)).status_code == 200
        async with db.session() as session:
            known = await authenticate(session, world.settings, ravi.token, world.clock.now())
        with pytest.raises(Forbidden, match="deactivated"):
            require_active(known)
        assert (await trail(db, ravi.id))[0] == "driver.deactivated"

    async def test_it_does_not_reactivate_itself(self, client: httpx.AsyncClient, ravi: SignedIn) -> None:
        await client.put(f"{PATH}/{NIC}/deactivate", headers=ravi.headers)
        answer = await client.put(f"{PATH}/{NIC}/reactivate", headers=ravi.headers)
        assert answer.status_code == 403
        assert (await login(client, NIC)).json()["status"] == "Deactivated"

    async def test_a_business_that_knows_it_does_both_with_a_reason(
        self, client: httpx.AsyncClient, world: World, ravi: SignedIn
    ) -> None:
        business = await world.backoffice()
        boss = await world.user(Role.BACKOFFICE, business)
        for move in ("deactivate", "reactivate"):
            assert (await client.put(f"{PATH}/{NIC}/{move}", headers=boss.headers)).status_code == 404
        await charged(world, ravi, business)
        body = {"reason": "never shows up"}
        answer = await client.put(f"{PATH}/{NIC}/deactivate", headers=boss.headers, json=body)
        assert answer.json()["status"] == "Deactivated"
        answer = await client.put(f"{PATH}/{NIC}/reactivate", headers=boss.headers)
        assert answer.json()["status"] == "Active"
        assert await trail(world.database, ravi.id) == ["driver.deactivated", "driver.reactivated"]

    async def test_a_system_admin_reactivates_anybody(
        self, client: httpx.AsyncClient, world: World, ravi: SignedIn
    ) -> None:
        await client.put(f"{PATH}/{NIC}/deactivate", headers=ravi.headers)
        admin = await world.admin()
        answer = await client.put(f"{PATH}/{ravi.id}/reactivate", headers=admin.headers)
        assert answer.json()["status"] == "Active"

    @pytest.mark.parametrize("body", [{"reason": ""}, {"reason": "x" * 501}, {"status": "Active"}, []])
    async def test_bad_input_changes_nothing(
        self, client: httpx.AsyncClient, ravi: SignedIn, body: Any
    ) -> None:
        answer = await client.put(f"{PATH}/{NIC}/deactivate", headers=ravi.headers, json=body)
        assert answer.status_code == 400
        assert (await login(client, NIC)).json()["status"] == "Active"


class TestWhoMay:
    @pytest.mark.parametrize(
        ("method", "path"),
        [("GET", ""), ("PUT", ""), ("PUT", "/deactivate"), ("PUT", "/reactivate")],
    )
    async def test_nobody_else(self, client: httpx.AsyncClient, world: World, method: str, path: str) -> None:
        await driver(world, NIC)
        url = f"{PATH}/{NIC}{path}"
        assert (await client.request(method, url, json={})).status_code == 401
        other, operator = await driver(world), await world.user(Role.OPERATOR)
        boss = await world.user(Role.BACKOFFICE)
        theirs = 403 if (method, path) == ("PUT", "") else 404
        for user, status in ((other, 403 if path == "/reactivate" else 404), (operator, 403), (boss, theirs)):
            answer = await client.request(method, url, json={}, headers=user.headers)
            assert answer.status_code == status

    @pytest.mark.parametrize("name", ["%00", "x" * 65, "200212345679%20OR%201", "%E2%80%AE"])
    async def test_names_that_nobody_has_are_refused(
        self, client: httpx.AsyncClient, world: World, name: str
    ) -> None:
        answer = await client.get(f"{PATH}/{name}", headers=(await world.admin()).headers)
        assert answer.status_code in {400, 404}

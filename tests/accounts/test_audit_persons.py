"""What the trail says of persons and businesses: to whom, and for how long."""

from typing import Any
from uuid import UUID

import httpx
from fastapi import FastAPI
from sqlalchemy import select
from structlog.testing import capture_logs
from tests.accounts.test_audit import MAYA, tamper, write
from tests.accounts.test_personal_data import asked, found_in_the_database, work_of
from tests.world import SignedIn, World

from ohmstead.accounts.models import Backoffice, Role, User
from ohmstead.core.acting import Acting
from ohmstead.core.db import Database

TRAIL = "/api/admin/audit"
ADDRESS = "192.0.2.7"
DRIVER = {
    "nic": "200212345679",
    "name": "Asha Markerson",
    "email": "asha@volt.example",
    "phone": "0771234567",
    "password": "blue-lagoon-kettle-42",
}


async def trail(client: httpx.AsyncClient, who: SignedIn, action: str = "") -> list[dict[str, Any]]:
    """The entries, the newest first."""
    answer = await client.get(TRAIL, params={"action": action}, headers=who.headers)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def business_of(world: World, user: SignedIn) -> Backoffice:
    async with world.database.session() as session:
        row = await session.scalar(
            select(Backoffice).join(User, User.backoffice_id == Backoffice.id).where(User.id == user.id)
        )
    assert row is not None
    return row


class TestReasons:
    async def test_one_about_a_person_is_shown_until_the_person_is_erased(
        self, app: FastAPI, client: httpx.AsyncClient, world: World, db: Database
    ) -> None:
        admin = await world.admin()
        driver = await world.user(Role.EV_OWNER, email="asha@volt.example")
        why = {"reason": "Asha Markerson moved to Kandy"}
        path = f"/api/evowner/{driver.id}/deactivate"
        assert (await client.put(path, json=why, headers=admin.headers)).status_code == 200
        assert [one["reason"] for one in await trail(client, admin, "driver.")] == [why["reason"]]
        assert await found_in_the_database(db, why["reason"]) == []
        begun = await asked(client, admin, "Erasure", driver.id, confirm=driver.email)
        await work_of(app).run(UUID(begun["id"]))
        assert [one["reason"] for one in await trail(client, admin, "driver.")] == [None]

    async def test_one_about_no_person_is_found_by_its_words(
        self, client: httpx.AsyncClient, world: World, db: Database
    ) -> None:
        await write(db, reason="renovation")
        found = await client.get(TRAIL, params={"q": "renov"}, headers=(await world.admin()).headers)
        assert [one["reason"] for one in found.json()["items"]] == ["renovation"]


class TestUnreadable:
    async def test_an_entry_that_no_key_opens_keeps_nobody_from_reading_the_others(
        self, client: httpx.AsyncClient, world: World, db: Database
    ) -> None:
        """Whoever owns the database may have touched it, which `verify` finds."""
        admin, driver = await world.admin(), await world.user(Role.EV_OWNER)
        for number in range(2):
            await write(db, entity_id=f"S{number}", person_id=driver.id, personal={"name": f"Asha {number}"})
        async with db.session() as session:
            await tamper(
                session,
                "UPDATE accounts_audit_entry SET personal = decode('00', 'hex'), actor_personal = ''::bytea"
                " WHERE entity_id = 'S0'",
            )
        with capture_logs() as logs:
            shown = await trail(client, admin)
            exported = await client.get(f"{TRAIL}/export?format=ndjson", headers=admin.headers)
        assert [one["personal"] for one in shown] == [{"name": "Asha 1"}, None]
        assert [one["actor_email"] for one in shown] == [MAYA.email, None]
        assert len(exported.text.splitlines()) == 2
        told = [one["entry"] for one in logs if one["event"] == "audit.unreadable"]
        assert set(told) == {shown[1]["id"]}


class TestWhereFrom:
    async def test_of_somebody_who_has_not_signed_in_the_address_is_kept_and_goes_with_the_person(
        self, app: FastAPI, client: httpx.AsyncClient, world: World
    ) -> None:
        admin = await world.admin()
        made = await client.post("/api/evowner", json=DRIVER)
        assert made.status_code == 201, made.text
        [entry] = await trail(client, admin, "driver.registered")
        assert entry["actor_kind"] == "anonymous"
        assert entry["actor_address"] is not None
        begun = await asked(client, admin, "Erasure", UUID(entry["entity_id"]), confirm=DRIVER["email"])
        await work_of(app).run(UUID(begun["id"]))
        [entry] = await trail(client, admin, "driver.registered")
        assert entry["actor_address"] is None

    async def test_of_who_asks_for_a_business_it_is_kept_too(
        self, client: httpx.AsyncClient, world: World, db: Database
    ) -> None:
        business = await world.backoffice()
        nobody = Acting(kind="anonymous", address=ADDRESS)
        await write(db, who=nobody, backoffice_id=business.id)
        [entry] = await trail(client, await world.admin())
        assert (entry["actor_kind"], entry["actor_address"]) == ("anonymous", ADDRESS)
        assert await found_in_the_database(db, ADDRESS) == []

    async def test_of_an_api_key_the_address_is_kept(
        self, client: httpx.AsyncClient, world: World, db: Database
    ) -> None:
        key = Acting(kind="api_key", id=str(UUID(int=5)), role="Backoffice", address=ADDRESS)
        await write(db, who=key)
        [entry] = await trail(client, await world.admin())
        assert (entry["actor_kind"], entry["actor_address"]) == ("api_key", ADDRESS)
        assert await found_in_the_database(db, ADDRESS) == []

    async def test_of_who_guesses_at_an_account_that_there_is_not_it_is_kept_and_not_what_was_typed(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        """That may be somebody's who was erased, or a password in the wrong field: no key would ever go."""
        for _ in range(10):
            body = {"username": "gone@volt.example", "password": "wrong"}
            assert (await client.post("/api/auth/login", json=body)).status_code == 401
        [entry] = await trail(client, await world.admin(), "user.locked_out")
        assert list(entry["personal"]) == ["address"]
        assert "gone@volt.example" not in str(entry)


class TestWhoseTrail:
    async def test_what_a_business_does_to_a_driver_is_in_its_own(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        boss, driver = await world.user(Role.BACKOFFICE), await world.user(Role.EV_OWNER)
        charger = await world.charger(await world.station(await business_of(world, boss)))
        card = await world.token(driver_id=driver.id)
        await world.session(charger, token_id=card.id, id_tag_status="Accepted")
        path = f"/api/admin/users/{driver.id}"
        done = await client.put(path, json={"status": "Deactivated"}, headers=boss.headers)
        assert done.status_code == 200, done.text
        [entry] = await trail(client, boss)
        assert (entry["entity_id"], entry["after"]["status"]) == (str(driver.id), "Deactivated")

    async def test_who_moves_is_in_both_each_with_its_own_side_only(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        admin = await world.admin()
        old, new = await world.user(Role.BACKOFFICE), await world.user(Role.BACKOFFICE)
        here, there = await business_of(world, old), await business_of(world, new)
        from_here, to_there = await world.station(here), await world.station(there)
        for path, body in (
            ("/api/operator/{}", {"backofficeId": str(there.id), "stationIds": [str(to_there.id)]}),
            (
                "/api/admin/users/{}",
                {"backoffice_id": str(there.id), "operator_station_ids": [str(to_there.id)]},
            ),
        ):
            operator = await world.user(Role.OPERATOR, here, (from_here,))
            moved = await client.put(path.format(operator.id), json=body, headers=admin.headers)
            assert moved.status_code == 200, moved.text
            for boss, own, other in (
                (old, (here.id, from_here.id), (there.id, to_there.id)),
                (new, (there.id, to_there.id), (here.id, from_here.id)),
            ):
                told = [one for one in await trail(client, boss) if one["entity_id"] == str(operator.id)]
                assert len(told) == 1, path
                assert all(str(one) in str(told) for one in own)
                assert not any(str(one) in str(told) for one in other)

    async def test_of_a_system_admin_a_business_sees_the_role_alone(
        self, client: httpx.AsyncClient, world: World, db: Database
    ) -> None:
        boss = await world.user(Role.BACKOFFICE)
        business = await business_of(world, boss)
        above = Acting(
            kind="user", id="root", role="SystemAdmin", person_id=UUID(int=9), email="root@volt.example",
            address=ADDRESS,
        )  # fmt: skip
        await write(db, who=above, backoffice_id=business.id)
        await write(db, who=MAYA, backoffice_id=business.id)
        second, first = await trail(client, boss)
        assert (first["actor_role"], first["actor_email"], first["actor_address"]) == (
            "SystemAdmin",
            None,
            None,
        )
        assert second["actor_email"] == MAYA.email
        exported = await client.get(f"{TRAIL}/export", headers=boss.headers)
        assert "root@volt.example" not in exported.text
        [_, first] = await trail(client, await world.admin())
        assert (first["actor_email"], first["actor_address"]) == ("root@volt.example", ADDRESS)

"""Once an erasure has begun the account is over: nothing is written about the person, nor given out."""

import asyncio
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import select
from tests.accounts.people import PASSWORD, link, mails
from tests.accounts.test_personal_data import asked, found_in_the_database, work_of
from tests.conftest import NOW
from tests.running import RunningServer
from tests.world import SignedIn, World

from ohmstead.accounts import mailed_tokens
from ohmstead.accounts.audit import record
from ohmstead.accounts.audit_models import AuditEntry, PersonKey
from ohmstead.accounts.drivers_models import Driver
from ohmstead.accounts.mailed_tokens import Purpose
from ohmstead.accounts.models import Role, User
from ohmstead.accounts.oidc_sign_in import enter
from ohmstead.accounts.password_change import send_link
from ohmstead.accounts.passwords import hash_password
from ohmstead.accounts.person_keys import PersonKeys
from ohmstead.accounts.personal_data import Contribution, Person, PersonalData, Sheet, listed
from ohmstead.accounts.personal_data_jobs import work
from ohmstead.accounts.personal_data_models import PersonalDataRequest
from ohmstead.accounts.refresh_tokens import Client
from ohmstead.charging.models import Session
from ohmstead.core.acting import Acting, acting_as
from ohmstead.core.clock import Clock
from ohmstead.core.db import Database
from ohmstead.core.errors import Unauthenticated
from ohmstead.core.files import StoredFile

EMAIL, NIC = "asha@volt.example", "199012345678"


@pytest.fixture
async def asha(world: World) -> SignedIn:
    driver = await world.user(Role.EV_OWNER, email=EMAIL, password_hash=await hash_password(PASSWORD))
    await world.add(Driver(user_id=driver.id, nic=NIC))
    return driver


WRITES: list[tuple[str, str, dict[str, Any]]] = [
    ("PUT", "/api/evowner/{}", {"name": "Zoe Zebra"}),
    ("PUT", "/api/evowner/{}", {"nic": "200012345678"}),
    ("POST", "/api/evowner/{}/vehicles", {"plate": "ZEBRA 1"}),
    ("POST", "/api/evowner/{}/cards", {"idTag": "ZEBRA2"}),
]
OWN_WRITES: list[tuple[str, str, dict[str, Any]]] = [
    *WRITES,
    ("POST", "/api/auth/email", {"email": "zebra@volt.example", "password": PASSWORD}),
    ("PUT", "/api/auth/password", {"current": PASSWORD, "new": f"{PASSWORD} zebra"}),
    ("POST", "/api/auth/second-factor", {}),
    ("POST", "/api/auth/me/personal-data", {"kind": "Export"}),
]


class TestAskingForOnesOwn:
    @pytest.mark.parametrize("password", [{}, {"password": "somebody else's guess"}], ids=["none", "wrong"])
    async def test_who_only_has_the_token_ends_no_account(
        self, client: httpx.AsyncClient, asha: SignedIn, password: dict[str, str]
    ) -> None:
        told = await asked(client, asha, "Erasure", asha.id, 400, confirm=EMAIL, **password)
        assert (told["error"], told["fields"]) == ("WrongPassword", {"password": "is wrong"})
        assert (await client.get("/api/auth/me/personal-data", headers=asha.headers)).json() == []

    async def test_an_account_without_a_password_is_asked_for_its_address_alone(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        driver = await world.user(Role.EV_OWNER)
        assert (await asked(client, driver, "Erasure", driver.id, confirm=driver.email))["state"] == "Queued"


class TestWhileItIsAtWork:
    @pytest.mark.parametrize(("method", "path", "body"), OWN_WRITES, ids=lambda one: str(one)[:30])
    async def test_the_person_changes_nothing_any_more(
        self, *, client: httpx.AsyncClient, db: Database, asha: SignedIn, method: str, path: str, body: Any
    ) -> None:
        await asked(client, asha, "Erasure", asha.id, confirm=EMAIL, password=PASSWORD)
        told = await client.request(method, path.format(asha.id), json=body, headers=asha.headers)
        assert (told.status_code, told.json()["error"]) == (403, "UserErased"), told.text
        assert await found_in_the_database(db, "zebra", "200012345678") == []

    async def test_it_sees_how_far_that_is_and_signs_out(
        self, client: httpx.AsyncClient, asha: SignedIn
    ) -> None:
        begun = await asked(client, asha, "Erasure", asha.id, confirm=EMAIL, password=PASSWORD)
        path = f"/api/auth/me/personal-data/{begun['id']}"
        assert (await client.get(path, headers=asha.headers)).json()["state"] == "Queued"
        assert (await client.get(f"/api/evowner/{asha.id}", headers=asha.headers)).status_code == 200
        everywhere = await client.post("/api/auth/sign-out-everywhere", headers=asha.headers)
        assert everywhere.is_success, everywhere.text

    async def test_nobody_signs_in_as_the_person(self, client: httpx.AsyncClient, asha: SignedIn) -> None:
        body = {"username": EMAIL, "password": PASSWORD}
        assert (await client.post("/api/auth/login", json=body)).status_code == 200
        await asked(client, asha, "Erasure", asha.id, confirm=EMAIL, password=PASSWORD)
        told = await client.post("/api/auth/login", json=body)
        assert (told.status_code, told.json()["error"]) == (401, "UserErased")
        wrong = await client.post("/api/auth/login", json={**body, "password": "not it at all"})
        assert wrong.json()["error"] == "WrongCredentials"

    async def test_nor_does_whom_a_provider_confirms(
        self, app: FastAPI, client: httpx.AsyncClient, db: Database, asha: SignedIn
    ) -> None:
        await asked(client, asha, "Erasure", asha.id, confirm=EMAIL, password=PASSWORD)
        with pytest.raises(Unauthenticated) as refused:
            async with db.session() as session:
                await enter(session, app.state.settings, asha.id, client=Client(None, None), now=NOW)
        assert refused.value.code == "UserErased"

    async def test_links_that_were_mailed_are_over_and_no_new_one_goes_out(
        self, app: FastAPI, client: httpx.AsyncClient, db: Database, asha: SignedIn
    ) -> None:
        settings = app.state.settings
        async with db.session() as session:
            await send_link(session, settings, asha.id, NOW)
            made = await mailed_tokens.make(
                session, settings, await session.get_one(User, asha.id), Purpose.VERIFY_EMAIL, NOW
            )
        reset = await link(db, EMAIL, "/reset-password/")
        await asked(client, asha, "Erasure", asha.id, confirm=EMAIL, password=PASSWORD)
        for path, body in (
            (f"/api/auth/password-reset/{reset}", {"password": f"{PASSWORD} zebra"}),
            ("/api/auth/verify-email", {"token": made.token}),
        ):
            told = await client.post(path, json=body)
            assert (told.status_code, told.json()["error"]) == (410, "LinkOver"), path
        before = len(await mails(db, EMAIL))
        async with db.session() as session:
            await send_link(session, settings, asha.id, NOW)
        again = await client.post("/api/auth/verify-email/resend", json={"email": EMAIL})
        assert again.status_code == 202
        assert len(await mails(db, EMAIL)) == before

    async def test_when_it_has_failed_for_good_all_that_works_again(
        self, app: FastAPI, client: httpx.AsyncClient, world: World, asha: SignedIn
    ) -> None:
        begun = await asked(client, asha, "Erasure", asha.id, confirm=EMAIL, password=PASSWORD)
        await work_of(app).failed(UUID(begun["id"]), "It failed.")
        admin, path = await world.admin(), f"/api/evowner/{asha.id}"
        assert (await client.put(f"{path}/reactivate", json={}, headers=admin.headers)).status_code == 200
        body = {"username": EMAIL, "password": PASSWORD}
        assert (await client.post("/api/auth/login", json=body)).status_code == 200
        assert (await client.put(path, json={"name": "Asha"}, headers=asha.headers)).status_code == 200

    async def test_who_has_begun_to_charge_since_is_not_erased_in_the_midst_of_it(
        self, app: FastAPI, client: httpx.AsyncClient, world: World, db: Database, asha: SignedIn
    ) -> None:
        """A charger may start for a card that it was told is blocked: its stop would bring the tag again."""
        admin, card = await world.admin(), await world.token(id_tag="04ASHA", driver_id=asha.id)

        async def starts(_: Database, __: Person, ___: Clock) -> None:
            await world.session(await world.charger(), token_id=card.id, id_tag="04ASHA")

        begun = await asked(client, admin, "Erasure", asha.id, confirm=EMAIL)
        parts = PersonalData([Contribution("slow", erase=starts), *app.state.personal_data.contributions])
        await work(Context(app, parts), begun["id"])  # type: ignore[arg-type] # of a job, what it needs
        told = (await client.get(f"/api/admin/personal-data/{begun['id']}", headers=admin.headers)).json()
        assert told["state"] == "Failed"
        assert "is charging at" in told["detail"]
        async with db.session() as session:
            assert (await session.get_one(User, asha.id)).email == EMAIL
            assert await session.scalar(select(Session.id_tag)) == "04ASHA"

    async def test_without_the_key_to_what_is_written_of_the_person_nothing_is_erased(
        self, app: FastAPI, client: httpx.AsyncClient, world: World, db: Database, asha: SignedIn
    ) -> None:
        """Addresses that it had before would not be known, and stay."""
        admin = await world.admin()
        change = {"email": "second@volt.example"}
        path = f"/api/admin/users/{asha.id}"
        assert (await client.put(path, json=change, headers=admin.headers)).status_code == 200
        begun = await asked(client, admin, "Erasure", asha.id, confirm="second@volt.example")
        right = db.session_info["person_keys"]
        db.session_info["person_keys"] = PersonKeys("another secret of the server, as long as one is")
        await work(Context(app), begun["id"])  # type: ignore[arg-type] # as above
        db.session_info["person_keys"] = right
        told = (await client.get(f"/api/admin/personal-data/{begun['id']}", headers=admin.headers)).json()
        assert (told["state"], told["parts"]) == ("Failed", 0)
        assert "secret key" in told["detail"]
        again = await asked(client, admin, "Erasure", asha.id, confirm="second@volt.example")
        await work_of(app).run(UUID(again["id"]))
        assert await found_in_the_database(db, EMAIL, "second@volt.example") == []


class TestAfterwards:
    @pytest.mark.parametrize("done", [False, True])
    @pytest.mark.parametrize(("method", "path", "body"), WRITES, ids=lambda one: str(one)[:30])
    async def test_nobody_else_gives_the_account_anything(
        self,
        *,
        app: FastAPI,
        client: httpx.AsyncClient,
        world: World,
        db: Database,
        asha: SignedIn,
        method: str,
        path: str,
        body: Any,
        done: bool,
    ) -> None:
        admin = await world.admin()
        begun = await asked(client, admin, "Erasure", asha.id, confirm=EMAIL)
        if done:
            await work_of(app).run(UUID(begun["id"]))
        told = await client.request(method, path.format(asha.id), json=body, headers=admin.headers)
        assert (told.status_code, told.json()["error"]) == (409, "UserErased"), told.text
        assert await found_in_the_database(db, "zebra", "200012345678") == []

    async def test_the_trail_keeps_nothing_more_of_the_person_whatever_is_written_late(
        self, app: FastAPI, client: httpx.AsyncClient, world: World, db: Database, asha: SignedIn
    ) -> None:
        admin = await world.admin()
        card = await world.token(driver_id=asha.id)
        begun = await asked(client, admin, "Erasure", asha.id, confirm=EMAIL)
        await work_of(app).run(UUID(begun["id"]))
        late = Acting(kind="user", id=str(asha.id), role="EvOwner", person_id=asha.id, email=EMAIL)
        async with db.session() as session:
            for one in (asha.id, card.id):
                with acting_as(late):
                    await record(
                        session, "driver.updated", entity="user", entity_id=one, person_id=one,
                        reason="Asha moved", personal={"name": "Asha"},
                    )  # fmt: skip
        async with db.session() as session:
            query = select(AuditEntry).where(AuditEntry.action == "driver.updated")
            for entry in await session.scalars(query):
                assert (entry.personal, entry.actor_personal, entry.reason) == (None, None, None)
            keys = select(PersonKey.wrapped).where(PersonKey.person_id.in_([asha.id, card.id]))
            assert set(await session.scalars(keys)) == {None}


class TestTwice:
    async def test_a_job_that_was_taken_for_dead_and_its_successor_are_one(
        self, server: RunningServer, server_world: World
    ) -> None:
        """The server's own worker is at it, too."""
        admin, asha = await server_world.admin(), await server_world.user(Role.EV_OWNER)
        async with httpx.AsyncClient(base_url=server.http, timeout=60) as client:
            begun = await asked(client, admin, "Erasure", asha.id, confirm=asha.email)
            await asyncio.gather(*(work_of(server.app).run(UUID(begun["id"])) for _ in range(3)))
            path = f"/api/admin/personal-data/{begun['id']}"
            done = (await client.get(path, headers=admin.headers)).json()
            assert (done["state"], done["parts"]) == ("Done", done["of"])
            params = {"entity_id": str(asha.id), "action": "personal_data.erased"}
            told = (await client.get("/api/admin/audit", params=params, headers=admin.headers)).json()
            assert len(told["items"]) == 1


class Context:
    """Of the job that works on a request, what it needs."""

    def __init__(self, app: FastAPI, parts: PersonalData | None = None) -> None:
        names = ("database", "files", "settings", "clock")
        self.additional_context = {name: getattr(app.state, name) for name in names}
        self.additional_context["personal_data"] = parts or app.state.personal_data
        self.job = SimpleNamespace(attempts=0)


class TestExports:
    @pytest.mark.parametrize("done", [False, True])
    async def test_none_begins_any_more(
        self, app: FastAPI, client: httpx.AsyncClient, world: World, asha: SignedIn, *, done: bool
    ) -> None:
        admin = await world.admin()
        begun = await asked(client, admin, "Erasure", asha.id, confirm=EMAIL)
        if done:
            await work_of(app).run(UUID(begun["id"]))
        told = await asked(client, admin, "Export", asha.id, 409)
        assert told["error"] == "UserErased"

    async def test_one_that_was_at_work_meanwhile_gives_nothing_out(
        self, app: FastAPI, client: httpx.AsyncClient, world: World, db: Database, asha: SignedIn
    ) -> None:
        admin = await world.admin()
        export = await asked(client, admin, "Export", asha.id)

        async def erased_meanwhile(_: Database, person: Person, __: Clock) -> Any:
            yield Sheet("account", listed([{"email": person.email}]))
            begun = await asked(client, admin, "Erasure", asha.id, confirm=EMAIL)
            await work_of(app).run(UUID(begun["id"]))

        parts = PersonalData([Contribution("slow", export=erased_meanwhile)])
        await work(Context(app, parts), export["id"])  # type: ignore[arg-type] # of a job, what it needs
        told = (await client.get(f"/api/admin/personal-data/{export['id']}", headers=admin.headers)).json()
        assert (told["state"], told["download_url"]) == ("Failed", None)
        assert "erased" in told["detail"]
        async with db.session() as session:
            row = await session.get_one(PersonalDataRequest, UUID(export["id"]))
            assert row.file_id is None
            files = (await session.scalars(select(StoredFile))).all()
            assert [one for one in files if one.kept_at is not None] == []
            assert all(one.dropped_at is not None for one in files)

    async def test_one_that_waited_for_its_turn_meanwhile_is_not_begun(
        self, app: FastAPI, client: httpx.AsyncClient, world: World, db: Database, asha: SignedIn
    ) -> None:
        admin = await world.admin()
        export = await asked(client, admin, "Export", asha.id)
        await asked(client, admin, "Erasure", asha.id, confirm=EMAIL)
        await work(Context(app), export["id"])  # type: ignore[arg-type] # as above
        told = (await client.get(f"/api/admin/personal-data/{export['id']}", headers=admin.headers)).json()
        assert (told["state"], told["parts"]) == ("Failed", 0)
        async with db.session() as session:
            assert (await session.scalars(select(StoredFile))).all() == []

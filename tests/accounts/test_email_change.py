"""Another e-mail address: asked for by oneself and confirmed by a mailed link, or set by an administrator."""

from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import func, select
from tests.accounts.people import driver, link, mails, trail
from tests.accounts.signing_in import PASSWORD, bearer, login, person, status_of_me
from tests.conftest import FrozenClock
from tests.world import SignedIn, World

from ohmstead.accounts.audit_models import AuditEntry
from ohmstead.accounts.mailed_tokens_models import MailedToken
from ohmstead.accounts.models import Role, User, UserStatus
from ohmstead.accounts.password_change import send_link
from ohmstead.accounts.personal_data import find_person
from ohmstead.accounts.personal_data_models import PersonalDataRequest, RequestKind, RequestState
from ohmstead.core.config import Settings
from ohmstead.core.db import Database
from ohmstead.core.live import LiveBus, Scope, Topic

URL = "/api/auth/email"
USERS = "/api/admin/users"
OLD, NEW = "ravi@ex.example", "ravi@new.example"


async def ask(
    client: httpx.AsyncClient, headers: dict[str, str], email: Any = NEW, password: Any = PASSWORD
) -> httpx.Response:
    return await client.post(URL, json={"email": email, "password": password}, headers=headers)


async def use(client: httpx.AsyncClient, token: str) -> httpx.Response:
    return await client.post(f"{URL}/confirm", json={"token": token})


async def email_of(db: Database, who: SignedIn) -> tuple[str, bool]:
    async with db.session() as session:
        user = await session.get_one(User, who.id, populate_existing=True)
        return user.email, user.email_verified_at is not None


@pytest.fixture
async def ravi(world: World) -> SignedIn:
    return await person(world, email=OLD)


class TestAsking:
    async def test_nothing_changes_before_the_link_is_used(
        self, client: httpx.AsyncClient, db: Database, ravi: SignedIn
    ) -> None:
        answer = await ask(client, ravi.headers, " RAVI@New.example ")
        assert (answer.status_code, answer.json()) == (202, {"status": "Accepted"})
        assert await email_of(db, ravi) == (OLD, False)
        assert [mail.template for mail in await mails(db, NEW)] == ["email_change"]
        [told] = await mails(db, OLD)
        assert told.template == "email_change_asked"
        assert NEW in (told.text or "")
        assert "/change-email/" not in (told.text or "")
        assert await trail(db, ravi.id) == ["user.email_change_asked"]

    async def test_of_an_address_that_is_taken_its_owner_is_told_and_nobody_else(
        self, client: httpx.AsyncClient, world: World, db: Database, ravi: SignedIn
    ) -> None:
        await world.user(Role.EV_OWNER, email="taken@ex.example")
        free, taken = await ask(client, ravi.headers), await ask(client, ravi.headers, "Taken@ex.example")
        assert (free.status_code, free.text) == (taken.status_code, taken.text)
        [told] = await mails(db, "taken@ex.example")
        assert told.template == "email_change_taken"
        assert "/change-email/" not in (told.text or "") + (told.html or "")
        assert OLD not in (told.text or "") + (told.html or "")
        assert [mail.template for mail in await mails(db, OLD)] == ["email_change_asked"] * 2

    async def test_the_password_is_asked_for_and_guesses_are_counted_with_the_sign_ins(
        self, client: httpx.AsyncClient, db: Database, ravi: SignedIn
    ) -> None:
        for guess in (None, *["guess"] * 9):
            wrong = await ask(client, ravi.headers, password=guess)
            assert wrong.status_code == 400
        assert await mails(db, NEW) == []
        assert (await ask(client, ravi.headers)).status_code == 429
        assert (await login(client, ravi)).status_code == 429

    async def test_who_has_no_password_needs_none(
        self, client: httpx.AsyncClient, world: World, db: Database
    ) -> None:
        asha = await driver(world)
        answer = await client.post(URL, json={"email": NEW}, headers=asha.headers)
        assert answer.status_code == 202
        assert len(await mails(db, NEW)) == 1

    @pytest.mark.parametrize(
        "email",
        [OLD, "ravi", "", None, 5, "r\u0430vi@ex.example", "\uff52avi@ex.example", "x" * 250 + "@ex.example"],
        ids=ascii,
    )
    async def test_the_present_address_a_bad_one_and_a_look_alike_are_refused(
        self, client: httpx.AsyncClient, db: Database, ravi: SignedIn, email: Any
    ) -> None:
        answer = await ask(client, ravi.headers, email)
        assert (answer.status_code, list(answer.json()["fields"])) == (400, ["email"])
        assert await trail(db, ravi.id) == []

    async def test_it_needs_somebody_who_is_signed_in(self, client: httpx.AsyncClient) -> None:
        assert (await ask(client, {})).status_code == 401

    async def test_too_many_from_one_address_are_asked_to_wait(
        self, client: httpx.AsyncClient, ravi: SignedIn
    ) -> None:
        answers = [await ask(client, ravi.headers, "nothing") for _ in range(25)]
        assert answers[-1].status_code == 429
        assert int(answers[-1].headers["Retry-After"]) > 0


class TestTheLink:
    async def test_it_changes_the_address_signs_the_others_out_and_tells_the_old_one(
        self, app: FastAPI, client: httpx.AsyncClient, db: Database, ravi: SignedIn
    ) -> None:
        here, other = await login(client, ravi), await login(client, ravi, refreshToken="body")
        live: LiveBus = app.state.live
        connected = live.subscribe(ravi.id, [Topic.ALERTS], Scope())
        await ask(client, bearer(here))
        still = connected.closed is None
        answer = await use(client, await link(db, NEW, "/change-email/"))
        assert (answer.status_code, answer.json()) == (200, {"email": NEW})
        assert (still, connected.closed) == (True, "scope")
        assert await email_of(db, ravi) == (NEW, True)
        assert (await status_of_me(client, here), await status_of_me(client, other)) == (200, 401)
        assert (await login(client, OLD)).status_code == 401
        assert (await login(client, NEW)).status_code == 200
        [told] = await mails(db, OLD, "email_changed")
        assert NEW in (told.text or "")
        assert "user.email_changed" in await trail(db, ravi.id)

    async def test_the_trail_tells_both_addresses_and_keeps_neither_in_clear(
        self, client: httpx.AsyncClient, world: World, db: Database, ravi: SignedIn
    ) -> None:
        await ask(client, ravi.headers)
        await use(client, await link(db, NEW, "/change-email/"))
        admin = await world.admin()
        shown = await client.get(
            f"/api/admin/audit?entity_id={ravi.id}&action=user.email_changed", headers=admin.headers
        )
        [entry] = shown.json()["items"]
        assert entry["personal"] == {"before": {"email": OLD}, "after": {"email": NEW}}
        async with db.session() as session:
            rows = (await session.execute(select(AuditEntry.__table__))).all()
        assert rows
        assert not [row for row in rows if OLD in str(row) or NEW in str(row)]

    async def test_it_works_once_and_for_a_day_and_a_newer_one_makes_it_void(
        self, client: httpx.AsyncClient, db: Database, clock: FrozenClock, ravi: SignedIn
    ) -> None:
        await ask(client, ravi.headers)
        first = await link(db, NEW, "/change-email/")
        clock.advance(1)
        await ask(client, ravi.headers)
        assert (await use(client, first)).status_code == 410
        token = await link(db, NEW, "/change-email/")
        clock.advance(86399)
        assert (await use(client, token)).status_code == 200
        again = await use(client, token)
        assert (again.status_code, again.json()["error"]) == (410, "LinkOver")

    async def test_after_a_day_it_is_over(
        self, client: httpx.AsyncClient, db: Database, clock: FrozenClock, ravi: SignedIn
    ) -> None:
        await ask(client, ravi.headers)
        token = await link(db, NEW, "/change-email/")
        clock.advance(86400)
        assert (await use(client, token)).status_code == 410
        assert await email_of(db, ravi) == (OLD, False)

    async def test_a_new_password_makes_it_void(
        self, client: httpx.AsyncClient, db: Database, ravi: SignedIn
    ) -> None:
        """Who only knew the old password keeps no way in."""
        await ask(client, ravi.headers)
        token = await link(db, NEW, "/change-email/")
        body = {"current": PASSWORD, "new": "copper lantern 77"}
        assert (await client.put("/api/auth/password", json=body, headers=ravi.headers)).status_code == 204
        assert (await use(client, token)).status_code == 410
        assert await email_of(db, ravi) == (OLD, False)

    async def test_links_that_went_to_the_old_address_are_void_then(
        self, client: httpx.AsyncClient, db: Database, settings: Settings, clock: FrozenClock, ravi: SignedIn
    ) -> None:
        async with db.session() as session:
            await send_link(session, settings, ravi.id, clock.now())
        reset = await link(db, OLD, "/reset-password/")
        await ask(client, ravi.headers)
        await use(client, await link(db, NEW, "/change-email/"))
        answer = await client.post(
            f"/api/auth/password-reset/{reset}", json={"password": "copper lantern 77"}
        )
        assert answer.status_code == 410

    async def test_an_address_that_was_taken_meanwhile_stays_with_its_owner(
        self, client: httpx.AsyncClient, world: World, db: Database, ravi: SignedIn
    ) -> None:
        before = await login(client, ravi)
        await ask(client, ravi.headers)
        await world.user(Role.EV_OWNER, email=NEW)
        token = await link(db, NEW, "/change-email/")
        answer = await use(client, token)
        assert (answer.status_code, answer.json()["error"]) == (409, "EmailTaken")
        assert await email_of(db, ravi) == (OLD, False)
        assert await status_of_me(client, before) == 200
        assert (await use(client, token)).status_code == 409

    async def test_a_deactivated_driver_may_and_a_deactivated_member_of_staff_may_not(
        self, client: httpx.AsyncClient, world: World, db: Database, ravi: SignedIn
    ) -> None:
        maya = await person(world, Role.OPERATOR, email="maya@ex.example")
        await ask(client, ravi.headers)
        await ask(client, maya.headers, "maya@new.example")
        async with db.session() as session:
            for one in (ravi, maya):
                (await session.get_one(User, one.id)).status = UserStatus.DEACTIVATED
        assert (await use(client, await link(db, NEW, "/change-email/"))).status_code == 200
        refused = await use(client, await link(db, "maya@new.example", "/change-email/"))
        assert refused.status_code == 410

    @pytest.mark.parametrize("token", ["x", "x" * 43, "\x00", "é"])
    async def test_what_is_no_link_is_unknown(self, client: httpx.AsyncClient, token: str) -> None:
        assert (await use(client, token)).status_code in {400, 404}

    async def test_a_link_of_another_purpose_changes_nothing(
        self, client: httpx.AsyncClient, db: Database, settings: Settings, clock: FrozenClock, ravi: SignedIn
    ) -> None:
        async with db.session() as session:
            await send_link(session, settings, ravi.id, clock.now())
        assert (await use(client, await link(db, OLD, "/reset-password/"))).status_code == 404

    async def test_what_the_database_keeps_of_it_opens_nothing(
        self, client: httpx.AsyncClient, db: Database, ravi: SignedIn
    ) -> None:
        await ask(client, ravi.headers)
        async with db.session() as session:
            kept = await session.scalar(select(MailedToken.token_hash))
        assert kept is not None
        assert (await use(client, kept)).status_code == 404


class TestByAnAdministrator:
    async def test_it_holds_at_once_and_a_driver_verifies_it_anew(
        self, client: httpx.AsyncClient, world: World, db: Database, ravi: SignedIn, clock: FrozenClock
    ) -> None:
        admin, before = await world.admin(), await login(client, ravi)
        async with db.session() as session:
            (await session.get_one(User, ravi.id)).email_verified_at = clock.now()
        answer = await client.put(
            f"{USERS}/{ravi.id}", json={"email": "RAVI@new.example"}, headers=admin.headers
        )
        assert (answer.status_code, answer.json()["email"]) == (200, NEW)
        assert await email_of(db, ravi) == (NEW, False)
        assert await status_of_me(client, before) == 401
        assert [mail.template for mail in await mails(db, OLD)] == ["email_changed"]
        verified = await client.post(
            "/api/auth/verify-email", json={"token": await link(db, NEW, "/verify-email/")}
        )
        assert verified.status_code == 200
        assert await email_of(db, ravi) == (NEW, True)
        shown = await client.get(f"{USERS}/{ravi.id}/history", headers=admin.headers)
        [entry] = [one for one in shown.json()["items"] if one["action"] == "user.updated"]
        assert entry["personal"] == {"before": {"email": OLD}, "after": {"email": NEW}}
        assert "email" not in entry["before"]

    async def test_a_business_does_it_for_its_staff_and_not_for_drivers(
        self, client: httpx.AsyncClient, world: World, db: Database, ravi: SignedIn
    ) -> None:
        ours = await world.backoffice()
        boss, maya = await world.user(Role.BACKOFFICE, ours), await world.user(Role.OPERATOR, ours)
        answer = await client.put(f"{USERS}/{maya.id}", json={"email": NEW}, headers=boss.headers)
        assert (answer.status_code, answer.json()["email"]) == (200, NEW)
        assert [mail.template for mail in await mails(db, maya.email)] == ["email_changed"]
        assert await mails(db, NEW) == []
        token = await world.token(driver_id=ravi.id)
        charger = await world.charger(await world.station(ours))
        await world.session(charger, token_id=token.id, id_tag=token.id_tag, id_tag_status="Accepted")
        refused = await client.put(f"{USERS}/{ravi.id}", json={"email": "x@y.example"}, headers=boss.headers)
        assert refused.status_code == 403
        assert await email_of(db, ravi) == (OLD, False)

    async def test_an_administrator_changes_its_own_as_everybody_does(
        self, client: httpx.AsyncClient, world: World, db: Database
    ) -> None:
        admin = await world.user(Role.SYSTEM_ADMIN, email="ada@ex.example", password_hash="x")
        path = f"{USERS}/{admin.id}"
        refused = await client.put(path, json={"email": NEW, "name": "Ada"}, headers=admin.headers)
        assert (refused.status_code, list(refused.json()["fields"])) == (422, ["email"])
        assert "/api/auth/email" in refused.json()["message"]
        assert (await email_of(db, admin))[0] == "ada@ex.example"
        same = await client.put(path, json={"email": "ADA@ex.example", "name": "Ada"}, headers=admin.headers)
        assert (same.status_code, same.json()["name"]) == (200, "Ada")

    async def test_a_taken_address_is_told_and_changes_nothing_else(
        self, client: httpx.AsyncClient, world: World, db: Database, ravi: SignedIn
    ) -> None:
        admin, before = await world.admin(), await login(client, ravi)
        await world.user(Role.EV_OWNER, email=NEW)
        answer = await client.put(
            f"{USERS}/{ravi.id}", json={"email": "RAVI@NEW.example", "name": "Other"}, headers=admin.headers
        )
        assert (answer.status_code, answer.json()["error"]) == (409, "EmailTaken")
        assert await email_of(db, ravi) == (OLD, False)
        assert await status_of_me(client, before) == 200
        assert await mails(db, OLD) == []
        async with db.session() as session:
            assert await session.scalar(select(User.name).where(User.id == ravi.id)) is None

    @pytest.mark.parametrize("email", [None, "", "ravi", "r\u0430vi@ex.example"], ids=ascii)
    async def test_bad_addresses_and_look_alikes_are_refused(
        self, client: httpx.AsyncClient, world: World, ravi: SignedIn, email: Any
    ) -> None:
        admin = await world.admin()
        answer = await client.put(f"{USERS}/{ravi.id}", json={"email": email}, headers=admin.headers)
        assert (answer.status_code, list(answer.json()["fields"])) == (422, ["email"])

    async def test_the_same_address_is_no_change(
        self, client: httpx.AsyncClient, world: World, db: Database, ravi: SignedIn
    ) -> None:
        admin, before = await world.admin(), await login(client, ravi)
        answer = await client.put(f"{USERS}/{ravi.id}", json={"email": OLD.upper()}, headers=admin.headers)
        assert answer.status_code == 200
        assert await status_of_me(client, before) == 200
        assert await mails(db, OLD) == []

    async def test_a_link_that_was_asked_for_before_is_void(
        self, client: httpx.AsyncClient, world: World, db: Database, ravi: SignedIn
    ) -> None:
        await ask(client, ravi.headers)
        token, admin = await link(db, NEW, "/change-email/"), await world.admin()
        await client.put(f"{USERS}/{ravi.id}", json={"email": "third@ex.example"}, headers=admin.headers)
        assert (await use(client, token)).status_code == 410
        assert (await email_of(db, ravi))[0] == "third@ex.example"


class TestForgetting:
    async def test_an_address_that_a_person_had_is_looked_for_too_unless_somebody_else_has_it_now(
        self, client: httpx.AsyncClient, world: World, db: Database, ravi: SignedIn
    ) -> None:
        admin = await world.admin()
        for email in ("second@ex.example", "third@ex.example"):
            await client.put(f"{USERS}/{ravi.id}", json={"email": email}, headers=admin.headers)
        await ask(client, ravi.headers)
        await use(client, await link(db, NEW, "/change-email/"))
        await world.user(Role.EV_OWNER, email="second@ex.example")
        async with db.session() as session:
            found = await find_person(session, ravi.id)
        assert found.emails == (NEW, OLD, "third@ex.example")


class TestDeactivated:
    """A driver who is deactivated may sign in, so it gets its links; staff may not."""

    @pytest.mark.parametrize(
        ("role", "sent"), [(Role.EV_OWNER, 1), (Role.OPERATOR, 0), (Role.SYSTEM_ADMIN, 0)]
    )
    async def test_a_driver_gets_a_link_to_a_new_password_and_staff_gets_none(
        self, world: World, db: Database, role: Role, sent: int
    ) -> None:
        who = await person(world, role, status=UserStatus.DEACTIVATED)
        async with db.session() as session:
            await send_link(session, world.settings, who.id, world.clock.now())
        assert len(await mails(db, who.email, "password_reset")) == sent

    async def test_the_driver_chooses_a_new_password_signs_in_and_stays_deactivated(
        self, client: httpx.AsyncClient, world: World, db: Database, settings: Settings, clock: FrozenClock
    ) -> None:
        who = await person(world, status=UserStatus.DEACTIVATED)
        async with db.session() as session:
            await send_link(session, settings, who.id, clock.now())
        token = await link(db, who.email, "/reset-password/")
        new = "copper lantern 77"
        answer = await client.post(f"/api/auth/password-reset/{token}", json={"password": new})
        assert answer.status_code == 204
        signed = await login(client, who, new)
        assert (signed.status_code, signed.json()["status"]) == (200, "Deactivated")

    async def test_a_link_of_staff_that_was_deactivated_meanwhile_is_over(
        self, client: httpx.AsyncClient, world: World, db: Database, settings: Settings, clock: FrozenClock
    ) -> None:
        who = await person(world, Role.OPERATOR)
        async with db.session() as session:
            await send_link(session, settings, who.id, clock.now())
            (await session.get_one(User, who.id)).status = UserStatus.DEACTIVATED
        token = await link(db, who.email, "/reset-password/")
        answer = await client.post(
            f"/api/auth/password-reset/{token}", json={"password": "copper lantern 77"}
        )
        assert answer.status_code == 410

    async def test_who_was_erased_is_sent_nothing(
        self, world: World, db: Database, settings: Settings, clock: FrozenClock
    ) -> None:
        who = await world.user(Role.EV_OWNER, email="erased-1@erased.invalid", status=UserStatus.DEACTIVATED)
        await world.add(
            PersonalDataRequest(
                user_id=who.id, kind=RequestKind.ERASURE, state=RequestState.DONE, created_at=clock.now()
            )
        )
        async with db.session() as session:
            await send_link(session, settings, who.id, clock.now())
        assert await mails(db, who.email) == []

    @pytest.mark.parametrize(("role", "sent"), [(Role.EV_OWNER, 1), (Role.OPERATOR, 0)])
    async def test_a_driver_gets_another_link_to_verify_its_address_and_staff_gets_none(
        self, client: httpx.AsyncClient, world: World, db: Database, role: Role, sent: int
    ) -> None:
        who = await person(world, role, status=UserStatus.DEACTIVATED)
        answer = await client.post("/api/auth/verify-email/resend", json={"email": who.email})
        assert (answer.status_code, answer.json()) == (202, {"email": who.email})
        assert len(await mails(db, who.email, "verify_email")) == sent
        if sent:
            token = await link(db, who.email, "/verify-email/")
            assert (await client.post("/api/auth/verify-email", json={"token": token})).status_code == 200
        async with db.session() as session:
            verified = select(func.count()).where(User.id == who.id, User.email_verified_at.is_not(None))
            assert await session.scalar(verified) == sent

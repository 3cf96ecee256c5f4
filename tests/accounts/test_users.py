"""Who may do what to whom: inviting, roles, second factors, and what is shown of a user."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import select
from tests.conftest import NOW
from tests.running import RunningServer
from tests.world import SignedIn, World

from ohmstead.accounts.audit_models import AuditEntry
from ohmstead.accounts.drivers_models import Driver
from ohmstead.accounts.models import Role, User, UserStatus
from ohmstead.accounts.oidc_models import Identity, IdentityProvider
from ohmstead.accounts.principal import Principal
from ohmstead.accounts.sign_in_models import SecondFactor, SignInSession
from ohmstead.accounts.users import change_user
from ohmstead.core.db import Database
from ohmstead.core.errors import Conflict
from ohmstead.core.live import LiveBus, Scope, Topic
from ohmstead.mail.models import Mail

URL = "/api/admin/users"
PARTS = ("", "/sign-ins", "/cards", "/sessions", "/history")
POSTS = ("/invite", "/reset-second-factor")


async def charged(world: World, driver: SignedIn, at: Any) -> Any:
    """A session of a driver with a card at a business."""
    station = await world.station(at)
    card = await world.token(driver_id=driver.id)
    charger = await world.charger(station)
    return await world.session(charger, token_id=card.id, id_tag=card.id_tag, id_tag_status="Accepted")


class TestWhoIsSeen:
    async def test_a_business_sees_the_drivers_that_charged_with_it_and_no_others(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        ours, theirs = await world.backoffice(), await world.backoffice()
        boss = await world.user(Role.BACKOFFICE, ours, email="boss@x.de")
        known = await world.user(Role.EV_OWNER, email="known@x.de")
        strange = await world.user(Role.EV_OWNER, email="strange@x.de")
        await charged(world, known, ours)
        await charged(world, strange, theirs)
        listed = (await client.get(URL, headers=boss.headers)).json()
        assert [one["email"] for one in listed["items"]] == ["boss@x.de", "known@x.de"]
        for part in PARTS:
            answer = await client.get(f"{URL}/{strange.id}{part}", headers=boss.headers)
            assert answer.status_code == 404, part
        seen = {part: await client.get(f"{URL}/{known.id}{part}", headers=boss.headers) for part in PARTS}
        assert seen["/sign-ins"].status_code == 403
        assert {answer.status_code for part, answer in seen.items() if part != "/sign-ins"} == {200}

    async def test_of_a_driver_who_charged_elsewhere_too_only_the_own_sessions_are_shown(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        ours, theirs = await world.backoffice(), await world.backoffice()
        driver, boss = await world.user(Role.EV_OWNER), await world.user(Role.BACKOFFICE, ours)
        here, there = await charged(world, driver, ours), await charged(world, driver, theirs)
        shown = (await client.get(f"{URL}/{driver.id}/sessions", headers=boss.headers)).json()["items"]
        assert [one["id"] for one in shown] == [str(here.id)]
        admin = await world.admin()
        shown = (await client.get(f"{URL}/{driver.id}/sessions", headers=admin.headers)).json()["items"]
        assert {one["id"] for one in shown} == {str(here.id), str(there.id)}
        cards = (await client.get(f"{URL}/{driver.id}/cards", headers=admin.headers)).json()
        assert {one["id_tag"] for one in cards["items"]} == {here.id_tag, there.id_tag}

    @pytest.mark.parametrize("q", ["901234567v", "ASHA", "asha@", "1234567"])
    async def test_a_driver_is_found_by_nic_name_and_address(
        self, client: httpx.AsyncClient, world: World, q: str
    ) -> None:
        admin = await world.admin()
        driver = await world.user(Role.EV_OWNER, email="asha@x.de", name="Asha Perera")
        await world.user(Role.EV_OWNER, email="ravi@x.de", name="Ravi")
        await world.add(Driver(user_id=driver.id, nic="901234567V"))
        [found] = (await client.get(URL, params={"q": q}, headers=admin.headers)).json()["items"]
        assert (found["id"], found["nic"], found["name"]) == (str(driver.id), "901234567V", "Asha Perera")

    @pytest.mark.parametrize("role", [Role.OPERATOR, Role.EV_OWNER])
    async def test_others_see_nobody(self, client: httpx.AsyncClient, world: World, role: Role) -> None:
        user = await world.user(role)
        for part in PARTS:
            assert (await client.get(f"{URL}/{user.id}{part}", headers=user.headers)).status_code == 403
            assert (await client.get(f"{URL}/{user.id}{part}")).status_code == 401
        for part in POSTS:
            answer = await client.post(f"{URL}/{user.id}{part}", headers=user.headers)
            assert answer.status_code == 403
            assert (await client.post(f"{URL}/{user.id}{part}")).status_code == 401

    async def test_the_history_tells_what_was_done_to_somebody_and_by_whom(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        admin, operator = await world.admin(), await world.user(Role.OPERATOR)
        await client.put(f"{URL}/{operator.id}", json={"name": "Maya"}, headers=admin.headers)
        for one in (operator, admin):
            [entry] = (await client.get(f"{URL}/{one.id}/history", headers=admin.headers)).json()["items"]
            assert (entry["action"], entry["actor_email"]) == ("user.updated", admin.email)
            assert entry["personal"] == {"after": {"name": "Maya"}}
            assert (entry["before"], entry["after"]) == ({}, {})

    async def test_where_somebody_is_signed_in_is_shown(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        admin, operator = await world.admin(), await world.user(Role.OPERATOR)
        values = {"seed": b"x", "generation": 1, "created_at": NOW, "used_at": NOW}
        await world.add(
            *(
                SignInSession(user_id=operator.id, device=device, expires_at=until, **values)
                for device, until in (("Firefox", NOW.replace(year=2030)), ("Old", NOW))
            )
        )
        shown = (await client.get(f"{URL}/{operator.id}/sign-ins", headers=admin.headers)).json()["items"]
        assert [one["device"] for one in shown] == ["Firefox"]
        assert "seed" not in shown[0]


class TestInviting:
    async def test_a_mail_with_a_link_goes_out_and_the_account_waits_for_its_password(
        self, client: httpx.AsyncClient, world: World, db: Database
    ) -> None:
        business = await world.backoffice()
        boss = await world.user(Role.BACKOFFICE, business)
        body = {"email": "New@Volt.example", "role": "Operator", "name": "Maya"}
        answer = await client.post(URL, json=body, headers=boss.headers)
        assert answer.status_code == 201, answer.text
        made = answer.json()
        assert (made["role"], made["backoffice_id"], made["invited"]) == ("Operator", str(business.id), True)
        again = await client.post(f"{URL}/{made['id']}/invite", headers=boss.headers)
        assert again.status_code == 204
        async with db.session() as session:
            mails = (await session.scalars(select(Mail).where(Mail.recipient == made["email"]))).all()
        assert [mail.template for mail in mails] == ["invite", "invite"]
        assert (await client.post(URL, json=body, headers=boss.headers)).status_code == 409

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            ({"role": "SystemAdmin"}, 403),
            ({"role": "Operator", "backoffice_id": "00000000-0000-4000-8000-000000000001"}, 403),
            ({"role": "EvOwner"}, 422),
            ({"role": "King"}, 422),
            ({"role": "Backoffice", "operator_station_ids": ["00000000-0000-4000-8000-000000000001"]}, 422),
            ({"role": "Operator", "email": "not an address"}, 422),
            ({"role": "Operator", "password": "x"}, 422),
        ],
        ids=str,
    )
    async def test_what_a_business_may_not_make_is_refused(
        self, client: httpx.AsyncClient, world: World, db: Database, *, body: dict[str, Any], status: int
    ) -> None:
        boss = await world.user(Role.BACKOFFICE)
        answer = await client.post(URL, json={"email": "new@x.de"} | body, headers=boss.headers)
        assert answer.status_code == status, answer.text
        async with db.session() as session:
            assert await session.scalar(select(User.id).where(User.email == "new@x.de")) is None

    async def test_a_system_admin_names_the_business(self, client: httpx.AsyncClient, world: World) -> None:
        admin, business = await world.admin(), await world.backoffice()
        waiting = await world.backoffice(status="PendingApproval")
        body = {"email": "new@x.de", "role": "Backoffice"}
        for wrong in (None, waiting.id, uuid4()):
            told = body | {"backoffice_id": str(wrong) if wrong else None}
            assert (await client.post(URL, json=told, headers=admin.headers)).status_code == 422
        right = body | {"backoffice_id": str(business.id)}
        assert (await client.post(URL, json=right, headers=admin.headers)).status_code == 201


class TestRoles:
    async def test_a_new_role_counts_at_once_and_closes_live_connections(
        self, app: FastAPI, client: httpx.AsyncClient, world: World
    ) -> None:
        business = await world.backoffice()
        boss, operator = (
            await world.user(Role.BACKOFFICE, business),
            await world.user(Role.OPERATOR, business),
        )
        live: LiveBus = app.state.live
        watching = live.subscribe(operator.id, [Topic.CHARGERS], Scope())
        assert (await client.get(URL, headers=operator.headers)).status_code == 403
        raised = await client.put(f"{URL}/{operator.id}", json={"role": "Backoffice"}, headers=boss.headers)
        assert raised.status_code == 200, raised.text
        assert (await client.get(URL, headers=operator.headers)).status_code == 200
        assert watching.closed == "scope"

    async def test_nobody_raises_a_role_above_its_own(self, client: httpx.AsyncClient, world: World) -> None:
        business = await world.backoffice()
        boss, operator = (
            await world.user(Role.BACKOFFICE, business),
            await world.user(Role.OPERATOR, business),
        )
        for user, body in (
            (operator, {"role": "SystemAdmin"}),
            (operator, {"role": "EvOwner"}),
            (operator, {"backoffice_id": str((await world.backoffice()).id)}),
            (boss, {"name": "Boss"}),
        ):
            answer = await client.put(f"{URL}/{user.id}", json=body, headers=boss.headers)
            assert answer.status_code == 403, answer.text

    async def test_of_a_driver_a_business_changes_the_status_alone(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        business = await world.backoffice()
        boss, driver = await world.user(Role.BACKOFFICE, business), await world.user(Role.EV_OWNER)
        await charged(world, driver, business)
        path = f"{URL}/{driver.id}"
        refused = await client.put(path, json={"name": "X"}, headers=boss.headers)
        assert refused.status_code == 403
        refused = await client.post(f"{path}/reset-second-factor", headers=boss.headers)
        assert refused.status_code == 403
        done = await client.put(path, json={"status": "Deactivated"}, headers=boss.headers)
        assert (done.status_code, done.json()["status"]) == (200, "Deactivated")

    async def test_who_becomes_a_system_admin_belongs_to_no_business_any_more(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        admin, operator = await world.admin(), await world.user(Role.OPERATOR)
        answer = await client.put(f"{URL}/{operator.id}", json={"role": "SystemAdmin"}, headers=admin.headers)
        assert answer.status_code == 200, answer.text
        assert (answer.json()["backoffice_id"], answer.json()["operator_station_ids"]) == (None, [])

    async def test_who_is_deactivated_is_signed_out_everywhere(
        self, client: httpx.AsyncClient, world: World, db: Database
    ) -> None:
        admin, operator = await world.admin(), await world.user(Role.OPERATOR)
        values = {"seed": b"x", "generation": 1, "created_at": NOW, "used_at": NOW}
        await world.add(SignInSession(user_id=operator.id, expires_at=NOW.replace(year=2030), **values))
        await client.put(f"{URL}/{operator.id}", json={"status": "Deactivated"}, headers=admin.headers)
        async with db.session() as session:
            found = select(SignInSession.id).where(SignInSession.user_id == operator.id)
            assert await session.scalar(found) is None

    async def test_the_reason_of_a_change_is_in_the_audit_trail(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        admin, operator = await world.admin(), await world.user(Role.OPERATOR)
        url = f"{URL}/{operator.id}"
        body = {"status": "Deactivated", "reason": "left the company"}
        assert (await client.put(url, json=body, headers=admin.headers)).status_code == 200
        shown = await client.get(
            "/api/admin/audit", params={"entity_id": str(operator.id)}, headers=admin.headers
        )
        [entry] = shown.json()["items"]
        assert (entry["action"], entry["reason"]) == ("user.updated", "left the company")
        for reason in ("", "x" * 501, 1):
            answer = await client.put(url, json={"name": "X", "reason": reason}, headers=admin.headers)
            assert (answer.status_code, list(answer.json()["fields"])) == (422, ["reason"])

    async def test_a_change_that_changes_nothing_leaves_no_entry(
        self, client: httpx.AsyncClient, world: World, db: Database
    ) -> None:
        admin, operator = await world.admin(), await world.user(Role.OPERATOR)
        body = {"status": "Active", "role": "Operator"}
        assert (await client.put(f"{URL}/{operator.id}", json=body, headers=admin.headers)).status_code == 200
        async with db.session() as session:
            assert await session.scalar(select(AuditEntry.id)) is None


class TestTheLastSystemAdmin:
    async def test_nobody_takes_its_own_role_away(self, client: httpx.AsyncClient, world: World) -> None:
        admin, _ = await world.admin(), await world.admin()
        answer = await client.put(f"{URL}/{admin.id}", json={"role": "EvOwner"}, headers=admin.headers)
        assert answer.status_code == 409

    async def test_two_who_take_each_others_role_at_once_leave_one(self, server: RunningServer) -> None:
        database = server.database
        async with database.session() as session:
            there = (await session.scalars(select(User).where(User.role == Role.SYSTEM_ADMIN))).all()
            for one in there:
                one.status = UserStatus.DEACTIVATED
            users = [
                User(id=uuid4(), email=f"{uuid4().hex}@x.de", role=Role.SYSTEM_ADMIN, password_hash="x")
                for _ in range(2)
            ]
            session.add_all(users)
        left, right = (Principal(user_id=user.id, email=user.email, role=Role.SYSTEM_ADMIN) for user in users)

        async def demote(by: Principal, whom: UUID) -> str:
            try:
                async with database.session() as session:
                    await change_user(session, server.settings, by, whom, {"role": Role.EV_OWNER}, now=NOW)
            except Conflict as error:
                return error.code
            return "done"

        ended = await asyncio.gather(demote(left, right.user_id), demote(right, left.user_id))
        assert sorted(ended) == ["LastSystemAdmin", "done"]
        async with database.session() as session:
            for one in there:
                user = await session.get(User, one.id)
                assert user is not None
                user.status = UserStatus.ACTIVE

    async def test_one_who_has_not_accepted_its_invitation_is_none_who_can_sign_in(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        there, by = await world.user(Role.SYSTEM_ADMIN, password_hash="x"), await world.admin()
        body = {"email": "ada@volt.example", "role": "SystemAdmin"}
        assert (await client.post(URL, json=body, headers=there.headers)).status_code == 201
        change = {"status": "Deactivated"}
        refused = await client.put(f"{URL}/{there.id}", json=change, headers=by.headers)
        assert (refused.status_code, refused.json()["error"]) == (409, "LastSystemAdmin")
        # Neither is `by`, which has no password: one that signs in elsewhere needs none.
        provider = IdentityProvider(
            id=uuid4(),
            name="Acme",
            issuer="https://id.example",
            client_id="x",
            scopes="openid",
            allow_system_admin=False,
            make_users=False,
            require_verified_email=True,
            enabled=True,
        )
        identity = Identity(
            id=uuid4(),
            provider_id=provider.id,
            issuer=provider.issuer,
            subject="1",
            user_id=by.id,
            made=False,
        )
        await world.add(provider, identity)
        assert (await client.put(f"{URL}/{there.id}", json=change, headers=by.headers)).status_code == 200


class TestTheSecondFactor:
    async def test_who_lost_it_is_freed_of_it_by_somebody_above(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        business = await world.backoffice()
        boss, operator = (
            await world.user(Role.BACKOFFICE, business),
            await world.user(Role.OPERATOR, business),
        )
        await world.add(SecondFactor(user_id=operator.id, secret=b"x", confirmed_at=NOW))
        path = f"{URL}/{operator.id}"
        assert (await client.get(path, headers=boss.headers)).json()["second_factor"] is True
        lost = {"reason": "lost the phone"}
        done = await client.post(f"{path}/reset-second-factor", json=lost, headers=boss.headers)
        assert done.json() == {"removed": True}
        assert (await client.get(path, headers=boss.headers)).json()["second_factor"] is False
        trail = (await client.get(f"{path}/history", headers=boss.headers)).json()["items"]
        assert [entry["reason"] for entry in trail] == ["lost the phone"]
        again = await client.post(f"{path}/reset-second-factor", headers=boss.headers)
        assert again.json() == {"removed": False}
        equal = await world.user(Role.BACKOFFICE, business)
        refused = await client.post(f"{URL}/{equal.id}/reset-second-factor", headers=boss.headers)
        assert refused.status_code == 403

    async def test_nobody_takes_its_own_away_without_the_password_and_a_code(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        admin = await world.admin()
        await world.add(SecondFactor(user_id=admin.id, secret=b"x", confirmed_at=NOW))
        refused = await client.post(f"{URL}/{admin.id}/reset-second-factor", headers=admin.headers)
        assert refused.status_code == 403
        assert "/api/auth/second-factor/disable" in refused.json()["message"]
        shown = await client.get(f"{URL}/{admin.id}", headers=admin.headers)
        assert shown.json()["second_factor"] is True

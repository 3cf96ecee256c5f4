import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from tests.accounts.conftest import OpenSessions
from tests.accounts.people import trail
from tests.conftest import FrozenClock
from tests.world import SignedIn, World

from ohmstead.accounts import access_tokens, passwords
from ohmstead.accounts.drivers_models import Driver
from ohmstead.accounts.models import Backoffice, BackofficeStatus, Role, User, UserStatus
from ohmstead.accounts.passwords import HashingThread, hash_password
from ohmstead.core.config import Settings
from ohmstead.core.db import Database

PASSWORD = "Secret123"

MakeUser = Callable[..., Awaitable[SignedIn]]


@pytest.fixture
def with_password(world: World) -> MakeUser:
    async def make(role: Role = Role.SYSTEM_ADMIN, **fields: Any) -> SignedIn:
        return await world.user(role, password_hash=await hash_password(PASSWORD), **fields)

    return make


async def login(client: httpx.AsyncClient, username: Any, password: Any = PASSWORD) -> httpx.Response:
    return await client.post("/api/auth/login", json={"username": username, "password": password})


class TestLogin:
    async def test_the_answer_is_a_token_that_works_and_what_it_opens(
        self, client: httpx.AsyncClient, world: World, with_password: MakeUser, settings: Settings
    ) -> None:
        business = await world.backoffice()
        station = await world.station(business)
        user = await with_password(Role.OPERATOR, backoffice=business, stations=(station,))
        answer = await login(client, user.email)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        body = answer.json()
        token = body.pop("accessToken")
        body.pop("sessionId")
        assert body.pop("refreshToken")
        assert body == {
            "tokenType": "Bearer",
            "expiresIn": settings.jwt_minutes * 60,
            "expiresAt": "2026-05-04T14:00:00Z",
            "userId": str(user.id),
            "email": user.email,
            "role": "Operator",
            "backofficeId": str(business.id),
            "operatorStationIds": [str(station.id)],
            "status": "Active",
            "driverId": None,
            "ownerNIC": None,
            "mustChangePassword": False,
            "secondFactorMissing": False,
            "refreshExpiresAt": "2026-05-18T12:00:00Z",
        }
        me = await client.get("/api/auth/me", headers={"Authorization": f"Bearer {token}"})
        assert me.json()["userId"] == str(user.id)

    async def test_a_system_admin_has_no_business_and_no_stations(
        self, client: httpx.AsyncClient, with_password: MakeUser
    ) -> None:
        body = (await login(client, (await with_password()).email)).json()
        assert (body["role"], body["backofficeId"], body["operatorStationIds"]) == ("SystemAdmin", None, [])

    async def test_the_address_counts_in_any_case_with_blanks_around(
        self, client: httpx.AsyncClient, with_password: MakeUser
    ) -> None:
        await with_password(email="maya@volt.co")
        assert (await login(client, "  MAYA@Volt.co ")).status_code == 200

    async def test_blanks_belong_to_a_password(self, client: httpx.AsyncClient, world: World) -> None:
        user = await world.user(Role.SYSTEM_ADMIN, password_hash=await hash_password(" with blanks "))
        assert (await login(client, user.email, " with blanks ")).status_code == 200
        assert (await login(client, user.email, "with blanks")).status_code == 401

    async def test_unknown_and_wrong_and_without_password_are_one_answer(
        self, client: httpx.AsyncClient, world: World, with_password: MakeUser
    ) -> None:
        known = await with_password()
        invited = await world.user(Role.SYSTEM_ADMIN)
        off = await with_password(status=UserStatus.DEACTIVATED)
        answers = [
            await login(client, known.email, "wrong password"),
            await login(client, "nobody@example.com"),
            await login(client, "no address at all"),
            await login(client, "nul\x00@example.com"),
            await login(client, invited.email),
            await login(client, off.email, "wrong password"),
        ]
        assert {answer.status_code for answer in answers} == {401}
        assert {answer.text for answer in answers} == {answers[0].text}
        assert {answer.headers["www-authenticate"] for answer in answers} == {"Bearer"}
        assert answers[0].json()["error"] == "WrongCredentials"

    async def test_the_same_work_is_done_for_an_unknown_address(
        self, client: httpx.AsyncClient, with_password: MakeUser, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        known = await with_password()
        verified: list[str] = []
        real = passwords._argon2

        class Spy:
            def verify(self, password: str, stored: str) -> bool:
                verified.append(stored[:30])
                return real.verify(password, stored)

        monkeypatch.setattr(passwords, "_argon2", Spy())
        for name in (known.email, "nobody@example.com", "no address"):
            await login(client, name, "wrong password")
        assert len(verified) == 3
        assert len(set(verified)) == 1

    async def test_only_the_right_password_is_told_why_the_account_may_not_act(
        self, client: httpx.AsyncClient, world: World, with_password: MakeUser
    ) -> None:
        pending = await world.backoffice(status=BackofficeStatus.PENDING_APPROVAL)
        rejected = await world.backoffice(status=BackofficeStatus.REJECTED)
        cases = {
            "AccountDeactivated": await with_password(status=UserStatus.DEACTIVATED),
            "BusinessPendingApproval": await with_password(Role.BACKOFFICE, backoffice=pending),
            "BusinessRejected": await with_password(Role.OPERATOR, backoffice=rejected),
        }
        for code, user in cases.items():
            right, wrong = await login(client, user.email), await login(client, user.email, "wrong")
            assert (right.status_code, right.json()["error"]) == (401, code)
            assert wrong.json()["error"] == "WrongCredentials"

    async def test_the_time_of_the_last_sign_in_is_kept(
        self, client: httpx.AsyncClient, with_password: MakeUser, db: Database, clock: FrozenClock
    ) -> None:
        user = await with_password()

        async def last() -> Any:
            async with db.session() as session:
                return await session.scalar(select(User.last_login_at).where(User.id == user.id))

        await login(client, user.email, "wrong password")
        assert await last() is None
        await login(client, user.email)
        assert await last() == clock.now()

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"password": "x"}, "username"),
            ({"username": "a@b.de"}, "password"),
            ({"username": "a@b.de", "password": ""}, "password"),
            ({"username": "", "password": "x"}, "username"),
            ({"username": "a" * 255, "password": "x"}, "username"),
            ({"username": "a@b.de", "password": "x" * 1025}, "password"),
            ({"username": ["a@b.de"], "password": "x"}, "username"),
            ({"username": "a@b.de", "password": None}, "password"),
            ({"username": "a@b.de", "password": "x", "admin": True}, "admin"),
        ],
        ids=str,
    )
    async def test_input_that_is_no_sign_in_names_its_fault(
        self, client: httpx.AsyncClient, body: dict[str, Any], field: str
    ) -> None:
        answer = await client.post("/api/auth/login", json=body)
        assert (answer.status_code, answer.json()["error"]) == (400, "ValidationError")
        assert list(answer.json()["fields"]) == [field]

    async def test_the_password_is_not_repeated_in_a_refusal(self, client: httpx.AsyncClient) -> None:
        answer = await client.post("/api/auth/login", json={"password": "hunter2hunter2"})
        assert "hunter2" not in answer.text

    async def test_guessing_is_slowed_down_for_that_account_and_address_only(
        self, app: FastAPI, client: httpx.AsyncClient, with_password: MakeUser, clock: FrozenClock
    ) -> None:
        user, other = await with_password(), await with_password()
        for _ in range(10):
            assert (await login(client, user.email, "wrong password")).status_code == 401
        refused = await login(client, user.email.upper())
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "300"
        assert refused.json()["error"] == "TooManyAttempts"
        assert (await login(client, other.email)).status_code == 200
        elsewhere = httpx.ASGITransport(app=app, client=("198.51.100.7", 1234))
        async with httpx.AsyncClient(transport=elsewhere, base_url="http://test") as from_elsewhere:
            assert (await login(from_elsewhere, user.email)).status_code == 200
        clock.advance(300)
        assert (await login(client, user.email)).status_code == 200

    async def test_a_driver_signs_in_by_its_nic_in_any_case_and_is_told_who_it_is(
        self, client: httpx.AsyncClient, world: World, with_password: MakeUser
    ) -> None:
        user = await with_password(Role.EV_OWNER)
        await world.add(Driver(user_id=user.id, nic="861234567V"))
        body = (await login(client, " 861234567v ")).json()
        assert (body["ownerNIC"], body["driverId"], body["status"]) == ("861234567V", str(user.id), "Active")
        for unknown in ("861234567X", "8" * 200, "nul\x00"):
            assert (await login(client, unknown)).json()["error"] == "WrongCredentials"

    async def test_a_lock_is_written_down_and_tells_nobody_which_names_are_of_one_account(
        self, client: httpx.AsyncClient, world: World, with_password: MakeUser, db: Database
    ) -> None:
        user = await with_password(Role.EV_OWNER)
        await world.add(Driver(user_id=user.id, nic="861234568V"))
        for _ in range(10):
            assert (await login(client, "861234568V", "wrong password")).status_code == 401
            assert (await login(client, "nobody@example.com", "wrong password")).status_code == 401
        assert (await login(client, "861234568v")).status_code == 429
        assert (await login(client, user.email)).status_code == 200
        assert await trail(db, "unknown") == ["user.locked_out"]
        assert await trail(db, user.id) == ["user.locked_out", "user.signed_in"]

    async def test_a_password_that_changes_while_it_is_checked_lets_nobody_in(
        self,
        client: httpx.AsyncClient,
        with_password: MakeUser,
        db: Database,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        user = await with_password()

        async def verify(password: str, stored: str | None) -> bool:
            async with db.session() as session:
                await session.execute(update(User).where(User.id == user.id).values(password_hash="new"))
            return True

        monkeypatch.setattr(passwords, "verify", verify)
        assert (await login(client, user.email)).json()["error"] == "WrongCredentials"

    async def test_a_right_password_forgets_the_wrong_ones(
        self, client: httpx.AsyncClient, with_password: MakeUser
    ) -> None:
        user = await with_password()
        for _ in range(3):
            for _ in range(9):
                await login(client, user.email, "wrong password")
            assert (await login(client, user.email)).status_code == 200

    async def test_too_many_sign_ins_at_once_are_told_to_come_back_and_are_not_failures(
        self, client: httpx.AsyncClient, with_password: MakeUser, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        user = await with_password()
        monkeypatch.setattr(passwords, "_hashing", HashingThread(limit=0))
        for _ in range(12):
            answer = await login(client, user.email)
            assert answer.status_code == 503
            assert "retry-after" in answer.headers
        monkeypatch.undo()
        assert (await login(client, user.email)).status_code == 200

    async def test_no_connection_of_the_database_is_held_while_a_password_waits(
        self,
        client: httpx.AsyncClient,
        with_password: MakeUser,
        open_sessions: OpenSessions,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        user = await with_password()
        seen: list[int] = []
        real = passwords.verify

        async def verify(password: str, stored: str | None) -> bool:
            seen.append(open_sessions.now)
            return await real(password, stored)

        monkeypatch.setattr(passwords, "verify", verify)
        assert (await login(client, user.email)).status_code == 200
        assert seen == [0]
        assert open_sessions.ever > 1

    async def test_a_hundred_guesses_at_once_are_ten(
        self, app: FastAPI, client: httpx.AsyncClient, db: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def slow_and_wrong(password: str, stored: str | None) -> bool:
            await asyncio.sleep(0)
            return False

        monkeypatch.setattr(passwords, "verify", slow_and_wrong)
        lock = asyncio.Lock()  # the tests have one connection, which answers one question at a time
        real_session = db.session

        @asynccontextmanager
        async def one_at_a_time() -> AsyncIterator[AsyncSession]:
            async with lock, real_session() as session:
                yield session

        monkeypatch.setattr(db, "session", one_at_a_time)
        answers = await asyncio.gather(*(login(client, "victim@example.com", str(n)) for n in range(100)))
        assert sorted(answer.status_code for answer in answers) == [401] * 10 + [429] * 90


class TestMe:
    async def test_without_a_token_one_is_asked_to_sign_in(self, client: httpx.AsyncClient) -> None:
        answer = await client.get("/api/auth/me")
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["error"] == "Unauthorized"

    @pytest.mark.parametrize(
        "header", ["Bearer", "Bearer ", "Bearer x.y.z", "Basic YTpi", "Token abc", "bearer\tnone", "Bearer é"]
    )
    async def test_a_header_that_is_no_token_is_refused(self, client: httpx.AsyncClient, header: str) -> None:
        answer = await client.get("/api/auth/me", headers={b"Authorization": header.encode()})
        assert answer.status_code == 401

    async def test_it_says_who_one_is(self, client: httpx.AsyncClient, world: World) -> None:
        business = await world.backoffice("VoltCo", time_zone="Asia/Singapore")
        user = await world.user(Role.BACKOFFICE, business)
        body = (await client.get("/api/auth/me", headers=user.headers)).json()
        assert body.pop("createdAt").endswith("Z")
        assert body == {
            "userId": str(user.id),
            "email": user.email,
            "role": "Backoffice",
            "status": "Active",
            "backofficeId": str(business.id),
            "backofficeName": "VoltCo",
            "timeZone": "Asia/Singapore",
            "operatorStationIds": [],
            "lastLoginAt": None,
        }

    @pytest.mark.parametrize("role", list(Role))
    async def test_every_role_may_ask(self, client: httpx.AsyncClient, world: World, role: Role) -> None:
        user = await world.user(role)
        body = (await client.get("/api/auth/me", headers=user.headers)).json()
        assert body["role"] == role


class TestRightsAreReadFromTheRow:
    async def test_the_role_of_the_row_counts_not_that_of_the_token(
        self, client: httpx.AsyncClient, world: World, db: Database
    ) -> None:
        user = await world.user(Role.SYSTEM_ADMIN)
        business = await world.backoffice()
        assert (await client.get("/api/admin/users", headers=user.headers)).status_code == 200
        async with db.session() as session:
            change = update(User).where(User.id == user.id)
            await session.execute(change.values(role=Role.OPERATOR, backoffice_id=business.id))
        refused = await client.get("/api/admin/users", headers=user.headers)
        assert refused.status_code == 403
        assert refused.json()["error"] == "Forbidden"

    async def test_a_deactivated_user_is_out_at_once(
        self, client: httpx.AsyncClient, world: World, db: Database
    ) -> None:
        user = await world.user(Role.OPERATOR)
        async with db.session() as session:
            await session.execute(
                update(User).where(User.id == user.id).values(status=UserStatus.DEACTIVATED)
            )
        answer = await client.get("/api/auth/me", headers=user.headers)
        assert (answer.status_code, answer.json()["error"]) == (401, "AccountDeactivated")

    async def test_a_deleted_user_is_out_at_once(
        self, client: httpx.AsyncClient, world: World, db: Database
    ) -> None:
        user = await world.user(Role.EV_OWNER)
        async with db.session() as session:
            await session.execute(delete(User).where(User.id == user.id))
        assert (await client.get("/api/auth/me", headers=user.headers)).status_code == 401

    @pytest.mark.parametrize("status", [BackofficeStatus.PENDING_APPROVAL, BackofficeStatus.REJECTED])
    @pytest.mark.parametrize("role", [Role.BACKOFFICE, Role.OPERATOR])
    async def test_a_business_that_is_not_at_work_is_out_at_once(
        self, client: httpx.AsyncClient, world: World, db: Database, status: BackofficeStatus, role: Role
    ) -> None:
        business = await world.backoffice()
        user = await world.user(role, business)
        async with db.session() as session:
            await session.execute(
                update(Backoffice).where(Backoffice.id == business.id).values(status=status)
            )
        assert (await client.get("/api/auth/me", headers=user.headers)).status_code == 401

    async def test_an_operator_without_a_business_may_nothing(
        self, client: httpx.AsyncClient, world: World, settings: Settings, clock: FrozenClock
    ) -> None:
        row = User(id=uuid4(), email="lost@example.com", role=Role.OPERATOR, operator_station_ids=[])
        await world.add(row)
        token = access_tokens.issue(settings, row, clock.now())
        answer = await client.get("/api/auth/me", headers={"Authorization": f"Bearer {token}"})
        assert (answer.status_code, answer.json()["error"]) == (401, "BusinessMissing")

    async def test_a_token_ends_by_the_clock_of_the_application(
        self, client: httpx.AsyncClient, world: World, clock: FrozenClock, settings: Settings
    ) -> None:
        user = await world.user(Role.EV_OWNER)
        clock.advance(settings.jwt_minutes * 60 - 1)
        assert (await client.get("/api/auth/me", headers=user.headers)).status_code == 200
        clock.advance(1)
        assert (await client.get("/api/auth/me", headers=user.headers)).status_code == 401


class TestDocumentation:
    async def test_the_documentation_has_an_authorize_button(self, app: FastAPI) -> None:
        schema = app.openapi()
        assert schema["components"]["securitySchemes"]["AccessToken"]["scheme"] == "bearer"
        assert schema["paths"]["/api/auth/me"]["get"]["security"] == [{"AccessToken": []}, {"ApiKey": []}]
        assert "security" not in schema["paths"]["/api/auth/login"]["post"]

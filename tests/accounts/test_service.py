import asyncio
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from tests.world import World

from ohmstead.accounts.models import Role, User
from ohmstead.accounts.passwords import verify
from ohmstead.accounts.service import create_user, ensure_admin
from ohmstead.core.config import Settings, SettingsError
from ohmstead.core.db import Database
from ohmstead.core.errors import Conflict, Invalid

PASSWORD = "brass-kettle-9"


def with_admin(email: str = "Root@Example.com", password: str = PASSWORD) -> Settings:
    return Settings.load(environment="test", secret_key="k" * 40, admin_email=email, admin_password=password)


async def users(session: AsyncSession) -> int:
    return int((await session.execute(select(func.count()).select_from(User))).scalar_one())


class TestCreateUser:
    async def test_a_user_is_active_with_its_address_normalised_and_its_password_hashed(
        self, session: AsyncSession
    ) -> None:
        user = await create_user(session, email=" Maya@Volt.CO ", password=PASSWORD, role=Role.SYSTEM_ADMIN)
        assert (user.email, user.status, user.role) == ("maya@volt.co", "Active", "SystemAdmin")
        assert user.password_hash is not None
        assert PASSWORD not in user.password_hash
        assert await verify(PASSWORD, user.password_hash)

    async def test_an_operator_has_a_business_and_each_station_once(
        self, session: AsyncSession, world: World
    ) -> None:
        business = await world.backoffice()
        one, other = [(await world.station(business)).id for _ in range(2)]
        user = await create_user(
            session, email="op@volt.co", password=PASSWORD, role=Role.OPERATOR,
            backoffice_id=business.id, station_ids=[one, other, one],
        )  # fmt: skip
        assert (user.backoffice_id, user.operator_station_ids) == (business.id, [one, other])
        strange = (await world.station()).id
        with pytest.raises(Invalid) as refused:
            await create_user(
                session, email="no@volt.co", password=PASSWORD, role=Role.OPERATOR,
                backoffice_id=business.id, station_ids=[one, strange],
            )  # fmt: skip
        assert list(refused.value.fields) == ["operator_station_ids"]

    async def test_an_address_has_one_account_in_any_case(self, session: AsyncSession) -> None:
        await create_user(session, email="maya@volt.co", password=PASSWORD, role=Role.EV_OWNER)
        with pytest.raises(Conflict) as refused:
            await create_user(session, email="MAYA@volt.co", password=PASSWORD, role=Role.EV_OWNER)
        assert "maya@volt.co" in refused.value.message
        await create_user(session, email="other@volt.co", password=PASSWORD, role=Role.EV_OWNER)
        assert await users(session) == 2

    @pytest.mark.parametrize("role", [Role.BACKOFFICE, Role.OPERATOR])
    async def test_who_works_for_a_business_needs_one(self, session: AsyncSession, role: Role) -> None:
        with pytest.raises(Invalid) as refused:
            await create_user(session, email="a@b.de", password=PASSWORD, role=role)
        assert list(refused.value.fields) == ["backoffice_id"]

    @pytest.mark.parametrize("role", [Role.SYSTEM_ADMIN, Role.EV_OWNER])
    async def test_the_other_roles_have_no_business(
        self, session: AsyncSession, world: World, role: Role
    ) -> None:
        business = await world.backoffice()
        with pytest.raises(Invalid) as refused:
            await create_user(
                session, email="a@b.de", password=PASSWORD, role=role, backoffice_id=business.id
            )
        assert list(refused.value.fields) == ["backoffice_id"]

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"email": "no address"}, "email"),
            ({"password": "1234567"}, "password"),
            ({"password": "12345678"}, "password"),
            ({"station_ids": [uuid4()]}, "operator_station_ids"),
            ({"backoffice_id": uuid4()}, "backoffice_id"),
        ],
    )
    async def test_a_faulty_input_is_named(
        self, session: AsyncSession, world: World, change: dict[str, Any], field: str
    ) -> None:
        good: dict[str, Any] = {
            "email": "a@b.de", "password": PASSWORD, "role": Role.BACKOFFICE,
            "backoffice_id": (await world.backoffice()).id,
        }  # fmt: skip
        with pytest.raises(Invalid) as refused:
            await create_user(session, **{**good, **change})
        assert list(refused.value.fields) == [field]
        await create_user(session, **good)

    async def test_a_constraint_without_a_refusal_is_not_hidden(
        self, session: AsyncSession, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("ohmstead.accounts.service.hash_new_password", _no_hash)
        with pytest.raises(IntegrityError):
            await create_user(session, email="a@b.de", password=PASSWORD, role=None)  # type: ignore[arg-type] # on purpose


async def _no_hash(*_: str) -> str:
    return "hash"


class TestEnsureAdmin:
    async def test_without_settings_there_is_none(self, session: AsyncSession, settings: Settings) -> None:
        assert await ensure_admin(session, settings) is None
        assert await users(session) == 0

    async def test_the_first_system_admin_is_made_once(self, session: AsyncSession) -> None:
        admin = await ensure_admin(session, with_admin())
        assert admin is not None
        assert (admin.email, admin.role, admin.backoffice_id) == ("root@example.com", "SystemAdmin", None)
        assert await ensure_admin(session, with_admin()) is None
        assert await users(session) == 1

    async def test_a_password_that_was_changed_stays(self, session: AsyncSession) -> None:
        admin = await ensure_admin(session, with_admin())
        assert admin is not None
        await session.execute(update(User).values(password_hash="changed"))
        assert await ensure_admin(session, with_admin(password="another password")) is None
        assert await session.scalar(select(User.password_hash)) == "changed"

    async def test_an_admin_who_took_another_address_is_not_made_again(self, session: AsyncSession) -> None:
        await ensure_admin(session, with_admin())
        await session.execute(update(User).values(email="renamed@example.com"))
        assert await ensure_admin(session, with_admin()) is None
        assert await users(session) == 1

    async def test_an_account_of_another_role_with_that_address_stays_as_it_is(
        self, session: AsyncSession
    ) -> None:
        owner = await create_user(session, email="root@example.com", password=PASSWORD, role=Role.EV_OWNER)
        before = owner.password_hash
        assert await ensure_admin(session, with_admin()) is None
        row = (await session.execute(select(User.role, User.password_hash))).one()
        assert row == ("EvOwner", before)

    @pytest.mark.parametrize(
        ("settings_of_admin", "name"),
        [
            ({"password": "short"}, "OHMSTEAD_ADMIN_PASSWORD"),
            ({"email": "root@x.invalid"}, "OHMSTEAD_ADMIN_EMAIL"),
        ],
    )
    async def test_settings_that_break_the_rules_are_named(
        self, session: AsyncSession, settings_of_admin: dict[str, str], name: str
    ) -> None:
        with pytest.raises(SettingsError) as refused:
            await ensure_admin(session, with_admin(**settings_of_admin))
        assert refused.value.faults[0].startswith(name)
        assert "short" not in str(refused.value)

    async def test_two_processes_that_start_at_once_make_one(self, database_factory: Any) -> None:
        database = Database(database_factory("two_starts"))

        async def start() -> bool:
            async with database.session() as session:
                return await ensure_admin(session, with_admin()) is not None

        try:
            made = await asyncio.gather(*(start() for _ in range(4)))
            async with database.session() as session:
                assert await users(session) == 1
            assert sum(made) == 1
        finally:
            await database.close()

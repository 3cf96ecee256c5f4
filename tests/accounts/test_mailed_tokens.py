"""Links that are used at the very moment at which what they are good for changes."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from tests.chargers import until
from tests.running import RunningServer
from tests.world import SignedIn, World

from ohmstead.accounts import mailed_tokens
from ohmstead.accounts.drivers import verify_email
from ohmstead.accounts.mailed_tokens import LinkOver, Purpose
from ohmstead.accounts.models import Role, User, UserStatus
from ohmstead.accounts.sign_in import load

Change = Callable[[AsyncSession, User], Coroutine[Any, Any, None]]


async def sent(world: World, who: SignedIn, purpose: Purpose) -> str:
    async with world.database.session() as session:
        user = await session.get_one(User, who.id)
        made = await mailed_tokens.make(session, world.settings, user, purpose, world.clock.now())
    return made.token


async def refused_while(world: World, who: SignedIn, change: Change, use: Coroutine[Any, Any, None]) -> str:
    """Begin to use a link while a change waits for its commit; returns why that is refused in the end."""

    async def waits_for_it() -> bool:
        async with world.database.session() as session:
            query = (
                "SELECT 1 FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event IN ('transactionid', 'tuple')"
            )
            return (await session.execute(text(query))).first() is not None

    async with world.database.session() as session:
        user, _, _ = await load(session, who.id)
        await change(session, user)
        await session.flush()
        using = asyncio.create_task(use)
        await until(waits_for_it)
    with pytest.raises(LinkOver) as refused:
        await using
    return refused.value.message


@pytest.fixture
async def driver(server: RunningServer, server_world: World) -> SignedIn:
    return await server_world.user(Role.EV_OWNER, password_hash="x")


async def test_an_address_that_is_replaced_meanwhile_is_not_verified_by_the_link_to_the_old_one(
    server_world: World, driver: SignedIn
) -> None:
    world = server_world
    token = await sent(world, driver, Purpose.VERIFY_EMAIL)

    async def use() -> None:
        async with world.database.session() as session:
            await verify_email(session, world.settings, token, world.clock.now())

    async def move(_: AsyncSession, user: User) -> None:
        user.email = f"{uuid4().hex[:8]}@new.example"

    assert "not valid any more" in await refused_while(world, driver, move, use())
    async with world.database.session() as session:
        assert (await session.get_one(User, driver.id)).email_verified_at is None


async def test_who_is_disabled_meanwhile_gets_no_password_by_it(server_world: World) -> None:
    world = server_world
    maya = await world.user(Role.OPERATOR)
    token = await sent(world, maya, Purpose.INVITE)

    async def use() -> None:
        async with world.database.session() as session:
            user = await mailed_tokens.use(session, world.settings, Purpose.INVITE, token, world.clock.now())
            user.password_hash = "x"

    async def disable(_: AsyncSession, user: User) -> None:
        user.status = UserStatus.DEACTIVATED

    assert "not valid any more" in await refused_while(world, maya, disable, use())
    async with world.database.session() as session:
        assert (await session.get_one(User, maya.id)).password_hash is None


async def test_one_that_is_taken_back_meanwhile_is_void(server_world: World, driver: SignedIn) -> None:
    world = server_world
    token = await sent(world, driver, Purpose.PASSWORD_RESET)

    async def use() -> None:
        async with world.database.session() as session:
            await mailed_tokens.use(session, world.settings, Purpose.PASSWORD_RESET, token, world.clock.now())

    async def take_back(session: AsyncSession, user: User) -> None:
        await mailed_tokens.void(session, user.id, Purpose.PASSWORD_RESET)

    assert "void" in await refused_while(world, driver, take_back, use())

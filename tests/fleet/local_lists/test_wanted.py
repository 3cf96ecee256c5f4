"""Which tags a list should hold."""

from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI
from tests.accounts.test_personal_data import asked, found_in_the_database, work_of
from tests.conftest import NOW
from tests.fleet.local_lists.conftest import Keeper
from tests.world import World

from ohmstead.accounts.models import Role
from ohmstead.core.db import Database


@pytest.mark.parametrize("done", [False, True])
async def test_the_cards_of_somebody_who_is_being_erased_are_taken_out_of_lists_and_never_sent_again(
    app: FastAPI, client: httpx.AsyncClient, world: World, db: Database, keeper: Keeper, *, done: bool
) -> None:
    driver, other = await world.user(Role.EV_OWNER), await world.user(Role.EV_OWNER, status="Deactivated")
    await world.token(id_tag="04ERIN", driver_id=driver.id, created_at=NOW)
    await world.token(id_tag="04OMAR", driver_id=other.id, created_at=NOW)
    link = keeper.connect()
    await keeper.rule()
    await keeper.push()
    assert list(link.list) == ["04ERIN", "04OMAR"]
    begun = await asked(client, await world.admin(), "Erasure", driver.id, confirm=driver.email)
    if done:
        await work_of(app).run(UUID(begun["id"]))
    await keeper.push()
    assert list(link.list) == ["04OMAR"]
    if done:
        assert await found_in_the_database(db, "04ERIN") == []

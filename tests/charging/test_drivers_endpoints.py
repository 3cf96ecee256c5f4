"""What a driver has charged, as the driver's own API tells it."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
from tests.accounts.people import driver
from tests.conftest import FrozenClock
from tests.world import SignedIn, World

from ohmstead.accounts.models import Role
from ohmstead.charging.models import SessionStatus

NIC = "200212345679"
PATH = f"/api/evowner/{NIC}/sessions"


@pytest.fixture
async def ravi(world: World) -> SignedIn:
    return await driver(world, NIC)


async def charged(world: World, who: SignedIn, business: Any = None, **fields: Any) -> Any:
    """A session of a driver with a card of its own, at a business."""
    card = await world.token(driver_id=who.id, card_status="Active")
    charger = await world.charger(await world.station(business))
    fields = {"token_id": card.id, "id_tag": card.id_tag, "id_tag_status": "Accepted"} | fields
    return await world.session(charger, **fields)


async def test_a_driver_sees_when_where_and_how_much(
    client: httpx.AsyncClient, world: World, clock: FrozenClock, ravi: SignedIn
) -> None:
    business = await world.backoffice()
    station = await world.station(business, name="Deck 1")
    charger, card = await world.charger(station), await world.token(driver_id=ravi.id, card_status="Active")
    made = await world.session(
        charger,
        token_id=card.id,
        id_tag=card.id_tag,
        id_tag_status="Accepted",
        connector_id=2,
        status=SessionStatus.COMPLETED,
        stopped_at=clock.now() + timedelta(hours=1),
        energy_wh=Decimal(7200),
        stop_reason="Local",
    )
    answer = await client.get(PATH, headers=ravi.headers)
    assert answer.status_code == 200, answer.text
    assert answer.json() == [
        {
            "id": str(made.id),
            "status": "Completed",
            "stationId": str(station.id),
            "stationName": "Deck 1",
            "chargerId": charger.id,
            "connectorId": 2,
            "idTag": card.id_tag,
            "startedAt": "2026-05-04T12:00:00Z",
            "stoppedAt": "2026-05-04T13:00:00Z",
            "energyWh": 7200.0,
            "powerW": None,
            "socPercent": None,
            "stopReason": "Local",
        }
    ]
    by_id = await client.get(f"/api/evowner/{ravi.id}/sessions", headers=ravi.headers)
    assert by_id.json() == answer.json()


async def test_a_deactivated_driver_still_sees_it(
    client: httpx.AsyncClient, world: World, ravi: SignedIn
) -> None:
    made = await charged(world, ravi)
    await client.put(f"/api/evowner/{NIC}/deactivate", headers=ravi.headers)
    answer = await client.get(PATH, headers=ravi.headers)
    assert (answer.status_code, [one["id"] for one in answer.json()]) == (200, [str(made.id)])


async def test_it_comes_newest_first_in_pages(
    client: httpx.AsyncClient, world: World, clock: FrozenClock, ravi: SignedIn
) -> None:
    made = []
    for _ in range(3):
        clock.advance(60)
        made.append(str((await charged(world, ravi)).id))
    ravi = SignedIn(ravi.id, ravi.email, None, ravi.role, ravi.token)
    first = await client.get(PATH, headers=ravi.headers, params={"limit": 2})
    assert [one["id"] for one in first.json()] == [made[2], made[1]]
    assert first.headers["X-Total-Count"] == "3"
    rest = await client.get(
        PATH, headers=ravi.headers, params={"limit": 2, "cursor": first.headers["X-Next-Cursor"]}
    )
    assert [one["id"] for one in rest.json()] == made[:1]
    assert "X-Next-Cursor" not in rest.headers


async def test_a_business_sees_what_was_charged_with_it_and_a_system_admin_all(
    client: httpx.AsyncClient, world: World, ravi: SignedIn
) -> None:
    ours, theirs = await world.backoffice(), await world.backoffice()
    here, there = await charged(world, ravi, ours), await charged(world, ravi, theirs)
    boss = await world.user(Role.BACKOFFICE, ours)

    async def seen(who: SignedIn) -> set[str]:
        return {one["id"] for one in (await client.get(PATH, headers=who.headers)).json()}

    assert await seen(boss) == {str(here.id)}
    assert await seen(await world.admin()) == await seen(ravi) == {str(here.id), str(there.id)}


async def test_nobody_else_sees_it(client: httpx.AsyncClient, world: World, ravi: SignedIn) -> None:
    await charged(world, ravi)
    assert (await client.get(PATH)).status_code == 401
    for who, status in (
        (await driver(world), 404),
        (await world.user(Role.BACKOFFICE), 404),
        (await world.user(Role.OPERATOR), 403),
    ):
        assert (await client.get(PATH, headers=who.headers)).status_code == status


async def test_what_others_charged_is_not_among_it(
    client: httpx.AsyncClient, world: World, ravi: SignedIn
) -> None:
    await charged(world, await driver(world))
    charger = await world.charger()
    await world.session(charger, token_id=None, id_tag="TAG")
    assert (await client.get(PATH, headers=ravi.headers)).json() == []


@pytest.mark.parametrize("params", [{"limit": 0}, {"limit": 501}, {"cursor": "x"}, {"limit": "many"}])
async def test_pages_that_make_no_sense_are_refused(
    client: httpx.AsyncClient, ravi: SignedIn, params: dict[str, Any]
) -> None:
    assert (await client.get(PATH, headers=ravi.headers, params=params)).status_code == 400

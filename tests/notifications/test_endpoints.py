"""Alerts in the admin API."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest
from tests.conftest import FrozenClock
from tests.world import SignedIn, World

from ohmstead.accounts.models import Role
from ohmstead.core.db import Database
from ohmstead.core.live import Event
from ohmstead.notifications.models import Alert, AlertKind, Severity
from ohmstead.stations.models import Charger

URL = "/api/admin/alerts"
Raise = Callable[..., Awaitable[Alert]]


@pytest.fixture
async def admin(world: World) -> SignedIn:
    return await world.admin()


@pytest.fixture
def raised(world: World, clock: FrozenClock) -> Raise:
    async def make(charger: Charger | None, **fields: Any) -> Alert:
        row = Alert(
            **{
                "id": uuid4(),
                "kind": AlertKind.CHARGER_OFFLINE,
                "subject": uuid4().hex,
                "severity": Severity.WARN,
                "title": "Away",
                "message": "It is away.",
                "backoffice_id": charger.backoffice_id if charger else None,
                "station_id": charger.station_id if charger else None,
                "charger_id": charger.id if charger else None,
                "raised_at": clock.now(),
                "data": {},
                **fields,
            }
        )
        await world.add(row)
        clock.advance(1)
        return row

    return make


async def ids(client: httpx.AsyncClient, user: SignedIn, **params: Any) -> list[str]:
    answer = await client.get(URL, headers=user.headers, params=params)
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["items"]]


class TestListAlerts:
    async def test_anonymous(self, client: httpx.AsyncClient) -> None:
        assert (await client.get(URL)).status_code == 401

    async def test_a_driver_may_not(self, client: httpx.AsyncClient, world: World) -> None:
        driver = await world.user(Role.EV_OWNER)
        assert (await client.get(URL, headers=driver.headers)).status_code == 403

    async def test_shows_what_is_the_matter(
        self, client: httpx.AsyncClient, world: World, admin: SignedIn, raised: Raise
    ) -> None:
        charger = await world.charger()
        row = await raised(charger, data={"since": "12:00"}, subject="it")
        page = (await client.get(URL, headers=admin.headers)).json()
        assert page == {
            "items": [
                {
                    "id": str(row.id),
                    "kind": "ChargerOffline",
                    "subject": "it",
                    "severity": "WARN",
                    "title": "Away",
                    "message": "It is away.",
                    "backoffice_id": str(charger.backoffice_id),
                    "station_id": str(charger.station_id),
                    "charger_id": charger.id,
                    "raised_at": "2026-05-04T12:00:00Z",
                    "cleared_at": None,
                    "data": {"since": "12:00"},
                }
            ],
            "next_cursor": None,
            "total": 1,
        }

    async def test_newest_first_in_pages(
        self, client: httpx.AsyncClient, world: World, admin: SignedIn, raised: Raise
    ) -> None:
        charger = await world.charger()
        made = [str((await raised(charger)).id) for _ in range(3)]
        page = (await client.get(f"{URL}?limit=2", headers=admin.headers)).json()
        assert [item["id"] for item in page["items"]] == [made[2], made[1]]
        assert page["total"] == 3
        assert await ids(client, admin, cursor=page["next_cursor"]) == [made[0]]

    async def test_each_filter_narrows(
        self, client: httpx.AsyncClient, world: World, admin: SignedIn, raised: Raise, clock: FrozenClock
    ) -> None:
        charger = await world.charger()
        still_open = str((await raised(charger, kind=AlertKind.SECURITY_EVENT, title="Tampered")).id)
        cleared = str((await raised(await world.charger(), severity="INFO", cleared_at=clock.now())).id)
        assert await ids(client, admin) == [cleared, still_open]
        assert await ids(client, admin, open="true") == [still_open]
        assert await ids(client, admin, open="false") == [cleared]
        assert await ids(client, admin, charger=charger.id) == [still_open]
        assert await ids(client, admin, kind="SecurityEvent") == [still_open]
        assert await ids(client, admin, severity="INFO") == [cleared]
        assert await ids(client, admin, q="tamp") == [still_open]

    async def test_others_are_not_seen(
        self, client: httpx.AsyncClient, world: World, admin: SignedIn, raised: Raise
    ) -> None:
        business = await world.backoffice()
        place = await world.station(business)
        mine = str((await raised(await world.charger(place))).id)
        beside = str((await raised(await world.charger(await world.station(business)))).id)
        theirs = str((await raised(await world.charger())).id)
        nobodys = str((await raised(None)).id)
        assert await ids(client, admin) == [nobodys, theirs, beside, mine]
        assert await ids(client, await world.user(Role.BACKOFFICE, business)) == [beside, mine]
        assert await ids(client, await world.user(Role.OPERATOR, business, (place,))) == [mine]

    @pytest.mark.parametrize("params", [{"kind": "Odd"}, {"open": "perhaps"}, {"q": "\x00"}, {"cursor": "x"}])
    async def test_bad_input_is_refused(
        self, client: httpx.AsyncClient, admin: SignedIn, params: dict[str, str]
    ) -> None:
        assert (await client.get(URL, headers=admin.headers, params=params)).status_code == 422


class TestClearAlert:
    async def test_anonymous(self, client: httpx.AsyncClient) -> None:
        assert (await client.post(f"{URL}/{uuid4()}/clear")).status_code == 401

    async def test_a_driver_may_not(self, client: httpx.AsyncClient, world: World) -> None:
        driver = await world.user(Role.EV_OWNER)
        assert (await client.post(f"{URL}/{uuid4()}/clear", headers=driver.headers)).status_code == 403

    async def test_is_told_live_and_twice_is_once(
        self, client: httpx.AsyncClient, world: World, raised: Raise, db: Database, clock: FrozenClock
    ) -> None:
        business = await world.backoffice()
        place = await world.station(business)
        row = await raised(await world.charger(place))
        operator = await world.user(Role.OPERATOR, business, (place,))
        told: list[Event] = []
        db.on_commit = told.extend
        first = await client.post(f"{URL}/{row.id}/clear", headers=operator.headers)
        clock.advance(60)
        second = await client.post(f"{URL}/{row.id}/clear", headers=operator.headers)
        assert (first.status_code, second.status_code) == (200, 200)
        assert first.json()["cleared_at"] == "2026-05-04T12:00:01Z"
        assert second.json() == first.json()
        assert [event.kind for event in told] == ["alert.cleared"]

    async def test_outside_of_the_scope_is_not_found(
        self, client: httpx.AsyncClient, world: World, admin: SignedIn, raised: Raise
    ) -> None:
        row = await raised(await world.charger())
        stranger = await world.user(Role.BACKOFFICE)
        assert (await client.post(f"{URL}/{row.id}/clear", headers=stranger.headers)).status_code == 404
        assert (await client.post(f"{URL}/{uuid4()}/clear", headers=admin.headers)).status_code == 404
        assert await ids(client, admin, open="true") == [str(row.id)]

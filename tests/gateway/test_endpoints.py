"""The message log, refused handshakes and connections in the admin API."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text
from tests.conftest import FrozenClock
from tests.world import SignedIn, World

from ohmstead.accounts.models import Role
from ohmstead.accounts.principal import Principal
from ohmstead.core.db import Database
from ohmstead.gateway.models import Connection, Message, Refusal
from ohmstead.gateway.queries import MessageFilter, messages

URL = "/api/admin/ocpp"
LISTS = ("messages", "refusals", "connections")
Log = Callable[..., Awaitable[Message]]


@pytest.fixture
async def admin(world: World) -> SignedIn:
    return await world.admin()


@pytest.fixture
def log(world: World, clock: FrozenClock) -> Log:
    """Write one row of the message log."""
    number = 0

    async def write(charger_id: str, **fields: Any) -> Message:
        nonlocal number
        number += 1
        row = Message(
            **{
                "id": number,
                "received_at": clock.now(),
                "charger_id": charger_id,
                "direction": "in",
                "message_id": f"m{number}",
                "action": "Heartbeat",
                "request": f'[2,"m{number}","Heartbeat",{{}}]',
                "response": f'[3,"m{number}",{{"currentTime":"2026-05-04T12:00:00Z"}}]',
                "duration_ms": 1.5,
                **fields,
            }
        )
        await world.add(row)
        return row

    return write


async def ids(client: httpx.AsyncClient, user: SignedIn, name: str = "messages", **params: Any) -> list[Any]:
    answer = await client.get(f"{URL}/{name}", headers=user.headers, params=params)
    assert answer.status_code == 200, answer.text
    page = answer.json()
    assert page["total"] >= len(page["items"])
    return [item["id"] for item in page["items"]]


@pytest.mark.parametrize("name", LISTS)
class TestEveryList:
    async def test_anonymous(self, client: httpx.AsyncClient, name: str) -> None:
        assert (await client.get(f"{URL}/{name}")).status_code == 401

    async def test_a_driver_may_not(self, client: httpx.AsyncClient, world: World, name: str) -> None:
        driver = await world.user(Role.EV_OWNER)
        assert (await client.get(f"{URL}/{name}", headers=driver.headers)).status_code == 403

    @pytest.mark.parametrize(
        ("params", "field"),
        [
            ({"from": "soon"}, "from"),
            ({"from": "2026-02-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, "from"),
            ({"charger": "a\x00"}, "charger"),
            ({"q": "\x00"}, "q"),
            ({"cursor": "WzFd"}, "cursor"),
            ({"limit": "501"}, "limit"),
        ],
    )
    async def test_bad_input_is_refused_by_name(
        self, client: httpx.AsyncClient, admin: SignedIn, name: str, params: dict[str, str], field: str
    ) -> None:
        answer = await client.get(f"{URL}/{name}", headers=admin.headers, params=params)
        assert answer.status_code == 422
        assert field in answer.json()["fields"]


class TestMessages:
    async def test_shows_both_frames(self, client: httpx.AsyncClient, admin: SignedIn, log: Log) -> None:
        await log("CP-1", note="stripped: vendorField")
        page = (await client.get(f"{URL}/messages", headers=admin.headers)).json()
        assert page == {
            "items": [
                {
                    "id": 1,
                    "received_at": "2026-05-04T12:00:00Z",
                    "charger_id": "CP-1",
                    "direction": "in",
                    "message_id": "m1",
                    "action": "Heartbeat",
                    "request": [2, "m1", "Heartbeat", {}],
                    "response": [3, "m1", {"currentTime": "2026-05-04T12:00:00Z"}],
                    "error_code": None,
                    "note": "stripped: vendorField",
                    "duration_ms": 1.5,
                }
            ],
            "next_cursor": None,
            "total": 1,
        }

    async def test_what_is_no_json_is_shown_as_text(
        self, client: httpx.AsyncClient, admin: SignedIn, log: Log
    ) -> None:
        await log("CP-1", request="[2,broken", response=None)
        [item] = (await client.get(f"{URL}/messages", headers=admin.headers)).json()["items"]
        assert (item["request"], item["response"]) == ("[2,broken", None)

    async def test_pages_go_from_new_to_old_and_miss_nothing(
        self, client: httpx.AsyncClient, admin: SignedIn, log: Log, clock: FrozenClock
    ) -> None:
        for number in range(7):
            # Pairs share a moment, and the log spans a midnight: the id decides between them.
            await log("CP-1", received_at=clock.now() - timedelta(hours=5 * (number // 2)))
        seen: list[int] = []
        cursor = None
        while True:
            params = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
            page = (await client.get(f"{URL}/messages", headers=admin.headers, params=params)).json()
            assert page["total"] == 7
            seen += [item["id"] for item in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert seen == [2, 1, 4, 3, 6, 5, 7]

    async def test_each_filter_narrows(
        self, client: httpx.AsyncClient, admin: SignedIn, log: Log, clock: FrozenClock
    ) -> None:
        await log("CP-1")
        clock.advance(60)
        await log(
            "CP-2",
            direction="out",
            action="Reset",
            request='[2,"x-77","Reset",{"type":"Soft"}]',
            message_id="x-77",
            response=None,
            error_code="Timeout",
        )
        clock.advance(60)
        await log("CP-3", action="Authorize")
        for params in (
            {"charger": "CP-2"},
            {"action": "Reset"},
            {"direction": "out"},
            {"errors": "true"},
            {"from": "2026-05-04T12:00:30Z", "to": "2026-05-04T12:01:30Z"},
            {"q": "soft"},
            {"q": "x-77"},
            {"q": "timeout"},
        ):
            assert await ids(client, admin, **params) == [2], params
        assert await ids(client, admin, q="%oft") == []

    async def test_an_unknown_direction_is_refused(self, client: httpx.AsyncClient, admin: SignedIn) -> None:
        answer = await client.get(f"{URL}/messages?direction=up", headers=admin.headers)
        assert answer.status_code == 422

    async def test_looks_back_a_day_unless_told_where_to_look(
        self, client: httpx.AsyncClient, admin: SignedIn, log: Log, clock: FrozenClock
    ) -> None:
        old = clock.now() - timedelta(days=2)
        await log("CP-1", received_at=old)
        await log("CP-1")
        assert await ids(client, admin) == [2]
        assert await ids(client, admin, charger="CP-1") == [2, 1]
        assert await ids(client, admin, **{"from": "2026-05-01T00:00:00Z"}) == [2, 1]
        assert await ids(client, admin, to="2026-05-03T00:00:00Z") == [1]

    async def test_the_year_one_is_no_crash(self, client: httpx.AsyncClient, admin: SignedIn) -> None:
        assert await ids(client, admin, to="0001-01-01T00:00:00Z") == []

    async def test_another_business_and_unknown_chargers_are_not_seen(
        self, client: httpx.AsyncClient, world: World, admin: SignedIn, log: Log
    ) -> None:
        business = await world.backoffice()
        place, other_place = await world.station(business), await world.station(business)
        mine, beside = await world.charger(place), await world.charger(other_place)
        theirs = await world.charger()
        for charger_id in (mine.id, beside.id, theirs.id, "CP-nobody-knows"):
            await log(charger_id)
        assert await ids(client, admin) == [4, 3, 2, 1]
        assert await ids(client, await world.user(Role.BACKOFFICE, business)) == [2, 1]
        operator = await world.user(Role.OPERATOR, business, (place,))
        assert await ids(client, operator) == [1]
        assert await ids(client, operator, charger=theirs.id) == []

    async def test_the_log_is_read_through_its_index_of_time(self, db: Database, clock: FrozenClock) -> None:
        principal = Principal(uuid4(), "a@example.com", Role.SYSTEM_ADMIN)
        query = messages(principal, MessageFilter(), clock.now())
        query = query.order_by(Message.received_at.desc(), Message.id.desc()).limit(51)
        async with db.session() as session:
            for day in ("20260501", "20260504"):
                at = datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC)
                await session.execute(
                    text(
                        f"CREATE TABLE IF NOT EXISTS gateway_message_p_{day} PARTITION OF gateway_message"
                        f" FOR VALUES FROM ('{at:%Y-%m-%d}') TO ('{at + timedelta(days=1):%Y-%m-%d}')"
                    )
                )
            # On empty tables sorting is cheap; what counts is that it can be left out.
            for way in ("seqscan", "bitmapscan", "sort"):
                await session.execute(text(f"SET LOCAL enable_{way} = off"))
            sql = query.compile(session.get_bind(), compile_kwargs={"literal_binds": True})
            plan = "\n".join(line for (line,) in await session.execute(text(f"EXPLAIN {sql}")))
        assert "gateway_message_p_20260504" in plan
        assert "gateway_message_p_20260501" not in plan
        assert "Index Scan Backward" in plan
        assert "->  Sort" not in plan


class TestRefusals:
    def refusal(self, clock: FrozenClock, **fields: Any) -> Refusal:
        return Refusal(
            **{"at": clock.now(), "charger_id": "CP-X", "status": 401, "reason": "wrong password", **fields}
        )

    async def test_shows_who_was_refused_and_why(
        self, client: httpx.AsyncClient, world: World, admin: SignedIn, clock: FrozenClock
    ) -> None:
        await world.add(self.refusal(clock, address="192.0.2.7", detail="user ***"))
        [item] = (await client.get(f"{URL}/refusals", headers=admin.headers)).json()["items"]
        assert item.pop("id") > 0
        assert item == {
            "at": "2026-05-04T12:00:00Z",
            "charger_id": "CP-X",
            "address": "192.0.2.7",
            "status": 401,
            "reason": "wrong password",
            "detail": "user ***",
        }

    async def test_newest_first_in_pages_and_filtered(
        self, client: httpx.AsyncClient, world: World, admin: SignedIn, clock: FrozenClock
    ) -> None:
        rows = []
        for number in range(3):
            rows.append(self.refusal(clock, charger_id=f"CP-{number}", address=f"10.0.0.{number}"))
            clock.advance(60)
        await world.add(*rows)
        first, second, third = (row.id for row in rows)
        page = (await client.get(f"{URL}/refusals?limit=2", headers=admin.headers)).json()
        assert [item["id"] for item in page["items"]] == [third, second]
        assert await ids(client, admin, "refusals", limit=2, cursor=page["next_cursor"]) == [first]
        assert await ids(client, admin, "refusals", charger="CP-1") == [second]
        assert await ids(client, admin, "refusals", q="10.0.0.2") == [third]
        assert await ids(client, admin, "refusals", to="2026-05-04T12:00:30Z") == [first]

    async def test_others_see_those_of_their_chargers_only(
        self, client: httpx.AsyncClient, world: World, admin: SignedIn, clock: FrozenClock
    ) -> None:
        place = await world.station()
        business = {"backoffice_id": place.backoffice_id}
        rows = [
            self.refusal(clock),
            self.refusal(clock, **business, station_id=place.id),
            self.refusal(clock, **business, station_id=uuid4()),
        ]
        await world.add(*rows)
        unknown, mine, beside = (row.id for row in rows)
        owner = await world.user(Role.BACKOFFICE)
        assert await ids(client, owner, "refusals") == []
        assert sorted(await ids(client, admin, "refusals")) == sorted([unknown, mine, beside])


class TestConnections:
    def connection(self, charger_id: str, clock: FrozenClock, **fields: Any) -> Connection:
        return Connection(
            **{"id": uuid4(), "charger_id": charger_id, "opened_at": clock.now(), "security_profile": 0}
            | fields
        )

    async def test_shows_from_to_and_why(
        self, client: httpx.AsyncClient, world: World, admin: SignedIn, clock: FrozenClock
    ) -> None:
        charger = await world.charger()
        row = self.connection(
            charger.id,
            clock,
            closed_at=clock.now() + timedelta(seconds=90),
            address="192.0.2.7",
            subprotocol="ocpp1.6",
            security_profile=1,
            close_code=1006,
            close_reason="no pong",
        )
        await world.add(row)
        [item] = (await client.get(f"{URL}/connections", headers=admin.headers)).json()["items"]
        assert item == {
            "id": str(row.id),
            "charger_id": charger.id,
            "opened_at": "2026-05-04T12:00:00Z",
            "closed_at": "2026-05-04T12:01:30Z",
            "address": "192.0.2.7",
            "close_code": 1006,
            "close_reason": "no pong",
            "subprotocol": "ocpp1.6",
            "security_profile": 1,
            "duration_seconds": 90,
        }

    async def test_an_open_one_lasts_until_now(
        self, client: httpx.AsyncClient, world: World, admin: SignedIn, clock: FrozenClock
    ) -> None:
        await world.add(self.connection((await world.charger()).id, clock))
        clock.advance(5)
        [item] = (await client.get(f"{URL}/connections", headers=admin.headers)).json()["items"]
        assert (item["closed_at"], item["duration_seconds"]) == (None, 5)

    async def test_newest_first_and_of_one_charger(
        self, client: httpx.AsyncClient, world: World, admin: SignedIn, clock: FrozenClock
    ) -> None:
        one, other = await world.charger(), await world.charger()
        old = self.connection(one.id, clock)
        new = self.connection(one.id, clock, opened_at=clock.now() + timedelta(hours=1))
        await world.add(old, new, self.connection(other.id, clock))
        assert await ids(client, admin, "connections", charger=one.id) == [str(new.id), str(old.id)]
        page = (await client.get(f"{URL}/connections?limit=1", headers=admin.headers)).json()
        following = await ids(client, admin, "connections", cursor=page["next_cursor"], charger=one.id)
        assert following == [str(old.id)]

    async def test_another_business_is_not_seen(
        self, client: httpx.AsyncClient, world: World, clock: FrozenClock
    ) -> None:
        business = await world.backoffice()
        place, other_place = await world.station(business), await world.station(business)
        mine = self.connection((await world.charger(place)).id, clock)
        beside = self.connection((await world.charger(other_place)).id, clock)
        await world.add(mine, beside, self.connection((await world.charger()).id, clock))
        owner = await world.user(Role.BACKOFFICE, business)
        assert sorted(await ids(client, owner, "connections")) == sorted([str(mine.id), str(beside.id)])
        operator = await world.user(Role.OPERATOR, business, (place,))
        assert await ids(client, operator, "connections") == [str(mine.id)]

"""The transactions of the admin API."""

from decimal import Decimal
from uuid import uuid4

import httpx
import pytest
from tests.conftest import FrozenClock
from tests.world import SignedIn, World

from ohmstead.accounts.models import Role
from ohmstead.charging.models import SessionStatus

URL = "/api/admin/transactions"


@pytest.fixture
async def admin(world: World) -> SignedIn:
    return await world.admin()


class TestListTransactions:
    async def test_anonymous(self, client: httpx.AsyncClient) -> None:
        assert (await client.get(URL)).status_code == 401

    async def test_a_driver_may_not(self, client: httpx.AsyncClient, world: World) -> None:
        driver = await world.user(Role.EV_OWNER)
        assert (await client.get(URL, headers=driver.headers)).status_code == 403

    async def test_shows_what_a_session_is(
        self, client: httpx.AsyncClient, world: World, admin: SignedIn
    ) -> None:
        charger = await world.charger()
        row = await world.session(
            charger,
            ocpp_transaction_id=77,
            energy_wh=Decimal("1234.567"),
            id_tag="ABC",
            id_tag_status="Accepted",
            power_w=7400.0,
            soc_percent=41.5,
            anomalies=[{"kind": "unit_mix"}],
        )
        [item] = (await client.get(URL, headers=admin.headers)).json()["items"]
        assert item == {
            "id": str(row.id),
            "ocpp_transaction_id": 77,
            "charger_id": charger.id,
            "connector_id": 1,
            "station_id": str(charger.station_id),
            "backoffice_id": str(charger.backoffice_id),
            "id_tag": "ABC",
            "id_tag_status": "Accepted",
            "status": "Active",
            "started_at": "2026-05-04T12:00:00Z",
            "stopped_at": None,
            "meter_start": 0,
            "meter_stop": None,
            "energy_wh": 1234.567,
            "stop_reason": None,
            "unmatched": False,
            "power_w": 7400.0,
            "soc_percent": 41.5,
            "last_sample_at": None,
            "anomalies": [{"kind": "unit_mix"}],
            "closed_by": None,
            "simulated": False,
        }

    async def test_pages_go_from_new_to_old_and_miss_nothing(
        self, client: httpx.AsyncClient, world: World, admin: SignedIn, clock: FrozenClock
    ) -> None:
        charger = await world.charger()
        made = []
        for _ in range(3):
            # Two sessions of the same moment: the id decides between them.
            made += [await world.session(charger, connector_id=number) for number in (1, 2)]
            clock.advance(60)
        expected = [
            str(row.id) for row in sorted(made, key=lambda row: (row.occurred_at, row.id), reverse=True)
        ]
        seen: list[str] = []
        cursor = None
        while True:
            params = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
            page = (await client.get(URL, headers=admin.headers, params=params)).json()
            assert page["total"] == 6
            seen += [item["id"] for item in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert seen == expected

    async def test_another_business_is_not_seen(self, client: httpx.AsyncClient, world: World) -> None:
        ours, theirs = await world.backoffice(), await world.backoffice()
        mine = await world.session(await world.charger(await world.station(ours)))
        await world.session(await world.charger(await world.station(theirs)))
        user = await world.user(Role.BACKOFFICE, ours)
        page = (await client.get(URL, headers=user.headers)).json()
        assert [item["id"] for item in page["items"]] == [str(mine.id)]
        assert page["total"] == 1

    async def test_an_operator_sees_its_stations_only(self, client: httpx.AsyncClient, world: World) -> None:
        business = await world.backoffice()
        place, other = await world.station(business), await world.station(business)
        mine = await world.session(await world.charger(place))
        await world.session(await world.charger(other))
        user = await world.user(Role.OPERATOR, business, (place,))
        page = (await client.get(URL, headers=user.headers)).json()
        assert [item["id"] for item in page["items"]] == [str(mine.id)]

    async def test_each_filter_narrows(
        self, client: httpx.AsyncClient, world: World, admin: SignedIn, clock: FrozenClock
    ) -> None:
        charger = await world.charger(id="CP-filter-1")
        wanted = await world.session(
            charger, ocpp_transaction_id=4711, id_tag="Alpha", status=SessionStatus.COMPLETED, connector_id=2
        )
        clock.advance(3600)
        await world.session(await world.charger(id="CP-other"), id_tag="BETA")
        stop = await world.session(charger, unmatched=True, ocpp_transaction_id=9, status="Completed")
        for params in (
            {"charger": "CP-filter-1", "unmatched": "false"},
            {"station": str(charger.station_id), "unmatched": "false"},
            {"status": "Completed", "unmatched": "false"},
            {"connector": "2"},
            {"id_tag": "alpha"},
            {"to": "2026-05-04T13:00:00Z"},
            {"from": "2026-05-04T12:00:00Z", "to": "2026-05-04T12:00:01"},
            {"q": "LPH"},
            {"q": "4711"},
            {"q": "filter", "connector": "2"},
        ):
            page = (await client.get(URL, headers=admin.headers, params=params)).json()
            assert [item["id"] for item in page["items"]] == [str(wanted.id)], params
        page = (await client.get(URL, headers=admin.headers, params={"unmatched": "true"})).json()
        assert [item["id"] for item in page["items"]] == [str(stop.id)]

    async def test_simulated_ones_can_be_left_out_or_picked(
        self, client: httpx.AsyncClient, world: World, admin: SignedIn
    ) -> None:
        real = await world.session(await world.charger())
        simulated = await world.session(await world.charger(simulated=True))
        both = {str(real.id), str(simulated.id)}
        wanted = {None: both, "true": {str(simulated.id)}, "false": {str(real.id)}}
        for value, ids in wanted.items():
            params = {} if value is None else {"simulated": value}
            page = (await client.get(URL, headers=admin.headers, params=params)).json()
            assert {item["id"] for item in page["items"]} == ids
            assert page["total"] == len(ids)
            assert all(item["simulated"] is (item["id"] == str(simulated.id)) for item in page["items"])

    async def test_search_takes_wildcards_as_they_are(
        self, client: httpx.AsyncClient, world: World, admin: SignedIn
    ) -> None:
        await world.session(await world.charger(), id_tag="ABC")
        for q in ("%", "_", "A%C"):
            page = (await client.get(URL, headers=admin.headers, params={"q": q})).json()
            assert page["total"] == 0, q

    @pytest.mark.parametrize(
        ("params", "field"),
        [
            ({"status": "Odd"}, "status"),
            ({"station": "1"}, "station"),
            ({"from": "yesterday"}, "from"),
            ({"from": "2026-02-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, "from"),
            ({"from": "0001-01-01T00:00:00+14:00"}, "from"),
            ({"connector": "9999999999"}, "connector"),
            ({"charger": "a\x00b"}, "charger"),
            ({"id_tag": "\x00"}, "id_tag"),
            ({"q": "a\x00b"}, "q"),
            ({"limit": "0"}, "limit"),
            ({"simulated": "maybe"}, "simulated"),
            ({"cursor": "nonsense"}, "cursor"),
            ({"cursor": "WzFd"}, "cursor"),
            ({"cursor": "WyIyMDI2LTAxLTAxVDAwOjAwOjAwWiIsIDFd"}, "cursor"),
        ],
    )
    async def test_bad_input_is_refused_by_name(
        self, client: httpx.AsyncClient, admin: SignedIn, params: dict[str, str], field: str
    ) -> None:
        answer = await client.get(URL, headers=admin.headers, params=params)
        assert answer.status_code == 422
        assert field in answer.json()["fields"]


class TestGetTransaction:
    async def test_anonymous(self, client: httpx.AsyncClient) -> None:
        assert (await client.get(f"{URL}/{uuid4()}")).status_code == 401

    async def test_by_id_and_by_transaction_id(
        self, client: httpx.AsyncClient, world: World, admin: SignedIn
    ) -> None:
        row = await world.session(await world.charger(), ocpp_transaction_id=123456)
        for key in (row.id, 123456):
            answer = await client.get(f"{URL}/{key}", headers=admin.headers)
            assert answer.json()["id"] == str(row.id)

    async def test_an_unmatched_stop_is_not_found_by_the_number_it_named(
        self, client: httpx.AsyncClient, world: World, admin: SignedIn
    ) -> None:
        row = await world.session(
            await world.charger(), ocpp_transaction_id=5, unmatched=True, status="Completed"
        )
        assert (await client.get(f"{URL}/5", headers=admin.headers)).status_code == 404
        assert (await client.get(f"{URL}/{row.id}", headers=admin.headers)).json()["unmatched"] is True

    async def test_outside_of_the_scope_is_not_found(self, client: httpx.AsyncClient, world: World) -> None:
        row = await world.session(await world.charger())
        stranger = await world.user(Role.BACKOFFICE)
        assert (await client.get(f"{URL}/{row.id}", headers=stranger.headers)).status_code == 404

    @pytest.mark.parametrize("key", ["nonsense", "99999999999999999999", str(2**63), "-1", "a%00b"])
    async def test_what_is_no_id_is_not_found(
        self, client: httpx.AsyncClient, admin: SignedIn, key: str
    ) -> None:
        assert (await client.get(f"{URL}/{key}", headers=admin.headers)).status_code == 404


class TestDetail:
    async def test_an_unmatched_stop_is_shown_as_it_was_sent(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        charger, admin = await world.charger(), await world.admin()
        raw = {"transactionId": 7, "meterStop": "not a number", "vendorNote": "kept"}
        row = await world.session(
            charger, unmatched=True, status="Completed", started_at=None, raw=raw, stop_id_tag="TAG7"
        )
        shown = (await client.get(f"/api/admin/transactions/{row.id}", headers=admin.headers)).json()
        assert shown["raw"] == raw
        assert shown["stop_id_tag"] == "TAG7"
        assert shown["unmatched"] is True

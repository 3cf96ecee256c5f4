"""The transactions of the admin API."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import httpx
import orjson
import pytest
from fastapi import FastAPI
from procrastinate import Blueprint
from sqlalchemy import text
from tests.conftest import FrozenClock
from tests.running import RunningServer
from tests.world import SignedIn, World

from ohmstead.accounts.models import Role
from ohmstead.charging.models import ClosedBy, MeterValue, Session, SessionStatus
from ohmstead.charging.queries import meter_values
from ohmstead.core.config import Settings
from ohmstead.core.db import Database
from ohmstead.core.jobs import Jobs
from ohmstead.link.links import Answer, ChargerOffline

URL = "/api/admin/transactions"
STAFF = (Role.SYSTEM_ADMIN, Role.BACKOFFICE, Role.OPERATOR)


class FakeCharger:
    """A charger's socket that answers what it is told to, and keeps what it was asked."""

    def __init__(self, answer: Answer | Exception) -> None:
        self.answer = answer
        self.asked: list[tuple[str, Any]] = []

    async def call(self, action: str, payload_json: bytes, *, wait_seconds: float | None = None) -> Answer:
        self.asked.append((action, orjson.loads(payload_json)))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def sample(row: Session, seconds: float, register: float | None, **fields: Any) -> MeterValue:
    assert row.started_at is not None
    assert row.connector_id is not None
    at = row.started_at + timedelta(seconds=seconds)
    return MeterValue(
        **{
            "charger_id": row.charger_id,
            "connector_id": row.connector_id,
            "transaction_id": row.ocpp_transaction_id,
            "sampled_at": at,
            "digest": uuid4().int % 2**62,
            "received_at": at,
            "register_wh": None if register is None else Decimal(str(register)),
            "sampled_values": [{"value": str(register)}],
            **fields,
        }
    )


@pytest.fixture(autouse=True)
def nobody_hears_facts(db: Database, settings: Settings) -> None:
    """What other domains do about a session that ends is theirs to test."""
    db.session_info["jobs"] = Jobs(settings.postgres_url, Blueprint(), {})


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


class TestMeterValues:
    async def test_anonymous(self, client: httpx.AsyncClient) -> None:
        assert (await client.get(f"{URL}/1/meter-values")).status_code == 401

    async def test_outside_of_the_scope_is_not_found(self, client: httpx.AsyncClient, world: World) -> None:
        row = await world.session(await world.charger())
        stranger = await world.user(Role.BACKOFFICE)
        answer = await client.get(f"{URL}/{row.id}/meter-values", headers=stranger.headers)
        assert answer.status_code == 404

    async def test_raw_values_are_as_sent_with_the_defaults_of_the_standard(
        self, client: httpx.AsyncClient, world: World, admin: SignedIn
    ) -> None:
        row = await world.session(await world.charger())
        sent = [
            {"value": "1.5", "unit": "kWh"},
            {"value": "7.4", "measurand": "Power.Active.Import", "unit": "kW", "phase": "L1"},
            {"value": "AB12", "format": "SignedData"},
        ]
        await world.add(sample(row, 60, 1500, power_w=7400.0, soc_percent=50.0, sampled_values=sent))
        page = (await client.get(f"{URL}/{row.id}/meter-values", headers=admin.headers)).json()
        place = {"location": "Outlet", "context": "Sample.Periodic"}
        register = "Energy.Active.Import.Register"
        assert page["items"] == [
            {
                "sampled_at": "2026-05-04T12:01:00Z",
                "received_at": "2026-05-04T12:01:00Z",
                "connector_id": 1,
                "register_wh": 1500.0,
                "power_w": 7400.0,
                "soc_percent": 50.0,
                "values": [
                    {"measurand": register, "value": 1500.0, "unit": "Wh", "phase": None, **place},
                    {
                        "measurand": "Power.Active.Import",
                        "value": 7400.0,
                        "unit": "W",
                        "phase": "L1",
                        **place,
                    },
                    {"measurand": register, "value": None, "unit": "Wh", "phase": None, **place},
                ],
            }
        ]

    async def test_pages_go_from_old_to_new_and_miss_nothing(
        self, client: httpx.AsyncClient, world: World, admin: SignedIn
    ) -> None:
        row = await world.session(await world.charger())
        # Pairs share a moment: the digest decides between them.
        await world.add(*(sample(row, 60 * (number // 2), number) for number in range(7)))
        seen: list[float] = []
        times: list[str] = []
        cursor = None
        while True:
            params = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
            page = (
                await client.get(f"{URL}/{row.id}/meter-values", headers=admin.headers, params=params)
            ).json()
            assert page["total"] == 7
            seen += [item["register_wh"] for item in page["items"]]
            times += [item["sampled_at"] for item in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert sorted(seen) == list(range(7))
        assert times == sorted(times)

    async def test_another_connector_and_another_transaction_are_left_out(
        self, client: httpx.AsyncClient, world: World, admin: SignedIn
    ) -> None:
        row = await world.session(await world.charger())
        await world.add(
            sample(row, 1, 1),
            sample(row, 2, 2, connector_id=2),
            sample(row, 3, 3, transaction_id=None),
            sample(row, 4, 4, charger_id="CP-else"),
        )
        page = (await client.get(f"{URL}/{row.id}/meter-values", headers=admin.headers)).json()
        assert [item["register_wh"] for item in page["items"]] == [1]

    async def test_an_unmatched_stop_has_none(
        self, client: httpx.AsyncClient, world: World, admin: SignedIn
    ) -> None:
        row = await world.session(await world.charger(), unmatched=True, status="Completed")
        await world.add(sample(row, 1, 1))
        page = (await client.get(f"{URL}/{row.id}/meter-values", headers=admin.headers)).json()
        assert (page["items"], page["total"]) == ([], 0)
        plot = await client.get(f"{URL}/{row.id}/meter-values?points=10", headers=admin.headers)
        assert plot.json() == {"points": [], "bucket_seconds": 0.0, "samples": 0}

    async def test_a_session_that_began_in_1970_has_its_values(
        self, client: httpx.AsyncClient, world: World, admin: SignedIn
    ) -> None:
        row = await world.session(await world.charger(), started_at=datetime(1970, 1, 1, tzinfo=UTC))
        await world.add(sample(row, 1, 1), sample(row, 2, 2, sampled_at=datetime(2026, 5, 4, 12, tzinfo=UTC)))
        page = (await client.get(f"{URL}/{row.id}/meter-values", headers=admin.headers)).json()
        assert page["total"] == 2

    async def test_a_plot_has_at_most_the_points_asked_for_and_keeps_the_end(
        self, client: httpx.AsyncClient, world: World, admin: SignedIn
    ) -> None:
        row = await world.session(await world.charger(), meter_start=1000)
        await world.add(
            *(sample(row, 30 * number, 1000 + 10 * number, power_w=1200.0) for number in range(101))
        )
        answer = await client.get(f"{URL}/{row.id}/meter-values?points=10", headers=admin.headers)
        plot = answer.json()
        assert plot["samples"] == 101
        assert plot["bucket_seconds"] == pytest.approx(300, abs=0.001)
        assert len(plot["points"]) == 10
        times = [point["at"] for point in plot["points"]]
        assert times == sorted(times)
        last = plot["points"][-1]
        assert last == {
            "at": "2026-05-04T12:50:00Z",
            "register_wh": 2000.0,
            "energy_wh": 1000.0,
            "power_w": 1200.0,
            "soc_percent": None,
        }

    async def test_a_plot_of_few_samples_has_them_all(
        self, client: httpx.AsyncClient, world: World, admin: SignedIn
    ) -> None:
        row = await world.session(await world.charger())
        await world.add(sample(row, 0, 0), sample(row, 60, 100), sample(row, 120, 200))
        plot = (await client.get(f"{URL}/{row.id}/meter-values?points=3", headers=admin.headers)).json()
        assert [point["register_wh"] for point in plot["points"]] == [0, 100, 200]

    async def test_a_plot_takes_the_last_known_value_of_each_measure(
        self, client: httpx.AsyncClient, world: World, admin: SignedIn
    ) -> None:
        row = await world.session(await world.charger())
        await world.add(
            sample(row, 0, 100, soc_percent=20.0),
            sample(row, 1, 110, power_w=5000.0),
            sample(row, 2, None, power_w=6000.0),
            sample(row, 1000, 200),
        )
        plot = (await client.get(f"{URL}/{row.id}/meter-values?points=2", headers=admin.headers)).json()
        first = plot["points"][0]
        assert (first["register_wh"], first["power_w"], first["soc_percent"]) == (110, 6000, 20)
        assert first["at"] == "2026-05-04T12:00:02Z"

    async def test_the_energy_of_a_plot_does_not_fall_when_the_meter_begins_again(
        self, client: httpx.AsyncClient, world: World, admin: SignedIn
    ) -> None:
        row = await world.session(await world.charger(), meter_start=50_000)
        registers = [50_000, 51_000, 52_000, 0, 1000, 2000]
        await world.add(*(sample(row, 600 * n, register) for n, register in enumerate(registers)))
        plot = (await client.get(f"{URL}/{row.id}/meter-values?points=100", headers=admin.headers)).json()
        assert [point["energy_wh"] for point in plot["points"]] == [0, 1000, 2000, 2000, 3000, 4000]

    @pytest.mark.parametrize("points", ["1", "2001", "many"])
    async def test_an_odd_number_of_points_is_refused(
        self, client: httpx.AsyncClient, world: World, admin: SignedIn, points: str
    ) -> None:
        row = await world.session(await world.charger())
        answer = await client.get(f"{URL}/{row.id}/meter-values?points={points}", headers=admin.headers)
        assert answer.status_code == 422

    async def test_only_the_days_of_the_session_are_read(
        self, client: httpx.AsyncClient, world: World, admin: SignedIn, db: Database, clock: FrozenClock
    ) -> None:
        row = await world.session(await world.charger())
        async with db.session() as session:
            for day in ("20260501", "20260504"):
                at = datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC)
                await session.execute(
                    text(
                        f"CREATE TABLE IF NOT EXISTS charging_meter_value_p_{day} PARTITION OF"
                        f" charging_meter_value FOR VALUES FROM ('{at:%Y-%m-%d}')"
                        f" TO ('{at + timedelta(days=1):%Y-%m-%d}')"
                    )
                )
        query = meter_values(row, clock.now())
        assert query is not None
        async with db.session() as session:
            sql = query.compile(session.get_bind(), compile_kwargs={"literal_binds": True})
            plan = "\n".join(line for (line,) in await session.execute(text(f"EXPLAIN {sql}")))
        assert "charging_meter_value_p_20260504" in plan
        assert "charging_meter_value_p_20260501" not in plan


class TestForceStop:
    @pytest.fixture
    async def row(self, world: World) -> Session:
        charger = await world.charger(online=True)
        return await world.session(charger, ocpp_transaction_id=991, meter_start=100, energy_wh=Decimal(0))

    async def test_anonymous(self, client: httpx.AsyncClient) -> None:
        assert (await client.post(f"{URL}/1/force-stop")).status_code == 401

    async def test_a_driver_may_not(self, client: httpx.AsyncClient, world: World) -> None:
        driver = await world.user(Role.EV_OWNER)
        assert (await client.post(f"{URL}/1/force-stop", headers=driver.headers)).status_code == 403

    async def test_outside_of_the_scope_nothing_is_sent(
        self, app: FastAPI, client: httpx.AsyncClient, world: World, row: Session
    ) -> None:
        charger = FakeCharger(Answer({"status": "Accepted"}))
        app.state.links.attach(row.charger_id, charger)
        stranger = await world.user(Role.BACKOFFICE)
        answer = await client.post(f"{URL}/{row.id}/force-stop", headers=stranger.headers)
        assert answer.status_code == 404
        assert charger.asked == []

    async def test_an_operator_may_at_its_station(self, client: httpx.AsyncClient, world: World) -> None:
        business = await world.backoffice()
        place = await world.station(business)
        row = await world.session(await world.charger(place))
        user = await world.user(Role.OPERATOR, business, (place,))
        answer = await client.post(f"{URL}/{row.id}/force-stop", headers=user.headers)
        assert answer.status_code == 200

    async def test_a_charger_that_accepts_will_send_its_stop_itself(
        self, app: FastAPI, client: httpx.AsyncClient, admin: SignedIn, row: Session
    ) -> None:
        charger = FakeCharger(Answer({"status": "Accepted"}))
        app.state.links.attach(row.charger_id, charger)
        answer = await client.post(f"{URL}/991/force-stop", headers=admin.headers)
        assert answer.status_code == 200
        body = answer.json()
        assert (body["status"], body["answer"]) == ("Accepted", "Accepted")
        assert body["transaction"]["status"] == "Active"
        assert charger.asked == [("RemoteStopTransaction", {"transactionId": 991})]

    @pytest.mark.parametrize(
        ("told", "word"),
        [
            (Answer({"status": "Rejected"}), "Rejected"),
            (Answer(error_code="InternalError"), "CallError"),
            (Answer(), "Timeout"),
            (ChargerOffline("gone"), "Offline"),
            (None, "Offline"),
        ],
    )
    async def test_a_charger_that_does_not_is_overruled(
        self,
        *,
        clock: FrozenClock,
        app: FastAPI,
        client: httpx.AsyncClient,
        world: World,
        admin: SignedIn,
        row: Session,
        told: Answer | Exception | None,
        word: str,
    ) -> None:
        await world.add(sample(row, 600, 1600))
        clock.advance(660)
        if told is not None:
            app.state.links.attach(row.charger_id, FakeCharger(told))
        answer = await client.post(f"{URL}/{row.id}/force-stop", headers=admin.headers)
        assert answer.status_code == 200
        body = answer.json()
        assert (body["status"], body["answer"]) == ("ClosedLocally", word)
        closed = body["transaction"]
        assert (closed["status"], closed["closed_by"]) == ("Completed", "operator")
        assert (closed["stop_reason"], closed["energy_wh"]) == ("ForceStopped", 1500)
        shown = (await client.get(f"{URL}/{row.id}", headers=admin.headers)).json()
        assert shown == closed

    async def test_the_reason_given_is_kept(
        self, client: httpx.AsyncClient, admin: SignedIn, row: Session
    ) -> None:
        body = {"reason": "Car towed away"}
        answer = await client.post(f"{URL}/{row.id}/force-stop", headers=admin.headers, json=body)
        assert answer.json()["transaction"]["stop_reason"] == "Car towed away"

    @pytest.mark.parametrize("reason", ["", "x" * 41, "a\x00b", 5])
    async def test_an_odd_reason_is_refused(
        self, client: httpx.AsyncClient, admin: SignedIn, row: Session, reason: Any
    ) -> None:
        body = {"reason": reason}
        answer = await client.post(f"{URL}/{row.id}/force-stop", headers=admin.headers, json=body)
        assert answer.status_code == 422

    async def test_what_has_ended_is_a_conflict(
        self, client: httpx.AsyncClient, world: World, admin: SignedIn
    ) -> None:
        row = await world.session(await world.charger(), status=SessionStatus.COMPLETED)
        answer = await client.post(f"{URL}/{row.id}/force-stop", headers=admin.headers)
        assert answer.status_code == 409
        assert answer.json()["error"] == "TransactionEnded"

    async def test_a_stop_that_comes_while_the_charger_is_asked_counts(
        self, app: FastAPI, client: httpx.AsyncClient, admin: SignedIn, row: Session, db: Database
    ) -> None:
        class Stopping(FakeCharger):
            async def call(self, *args: Any, **kwargs: Any) -> Answer:
                async with db.session() as session:
                    known = await session.get_one(Session, row.id)
                    known.status, known.closed_by = SessionStatus.COMPLETED, ClosedBy.CHARGER
                    known.stop_reason = "Local"
                return Answer({"status": "Rejected"})

        app.state.links.attach(row.charger_id, Stopping(Answer()))
        body = (await client.post(f"{URL}/{row.id}/force-stop", headers=admin.headers)).json()
        assert (body["status"], body["answer"]) == ("Completed", "Rejected")
        assert (body["transaction"]["status"], body["transaction"]["stop_reason"]) == ("Completed", "Local")

    async def test_nothing_is_held_in_the_database_while_the_charger_thinks(
        self, server: RunningServer, server_world: World
    ) -> None:
        held = text(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND state = 'idle in transaction' AND pid <> pg_backend_pid()"
        )

        class Thinking(FakeCharger):
            async def call(self, *args: Any, **kwargs: Any) -> Answer:
                # Others may be at work for a moment; what this request held would be held for good.
                async with asyncio.timeout(5):
                    while True:
                        async with server.database.session() as session:
                            if await session.scalar(held) == 0:
                                return Answer({"status": "Accepted"})

        admin = await server_world.admin()
        row = await server_world.session(await server_world.charger())
        server.app.state.links.attach(row.charger_id, Thinking(Answer()))
        async with httpx.AsyncClient(base_url=server.http, headers=admin.headers) as client:
            answer = await client.post(f"{URL}/{row.id}/force-stop")
        assert answer.json()["status"] == "Accepted"

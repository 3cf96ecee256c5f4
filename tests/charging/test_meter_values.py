"""The meter values of a transaction, one by one or thinned out for a plot."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest
from sqlalchemy import text
from tests.chargers import RawCharger
from tests.charging.samples import sample
from tests.conftest import FrozenClock
from tests.running import RunningServer
from tests.world import SignedIn, World

from ohmstead.accounts.models import Role
from ohmstead.charging.queries import meter_values
from ohmstead.core.db import Database

URL = "/api/admin/transactions"


@pytest.fixture
async def admin(world: World) -> SignedIn:
    return await world.admin()


class TestMeterValues:
    async def test_anonymous(self, client: httpx.AsyncClient) -> None:
        assert (await client.get(f"{URL}/1/meter-values")).status_code == 401

    async def test_outside_of_the_scope_is_not_found(self, client: httpx.AsyncClient, world: World) -> None:
        row = await world.session(await world.charger())
        stranger = await world.user(Role.BACKOFFICE)
        answer = await client.get(f"{URL}/{row.id}/meter-values", headers=stranger.headers)
        assert answer.status_code == 404

    async def test_values_are_shown_as_they_were_sent_and_with_the_defaults_of_the_standard(
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
                "sampled_values": sent,
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

    async def test_what_a_charger_sent_comes_back_to_the_letter(
        self, server: RunningServer, server_world: World
    ) -> None:
        user, charger = await server_world.admin(), await server_world.charger()
        tag = (await server_world.token()).id_tag
        signed = "OCMF|" + '{"RD":[{"RV":"1.50","RU":"kWh"}]}|' + '{"SD":"' + "3045" * 400 + '"}'
        sent = [
            {"value": "0.15003999999999998", "unit": "kWh", "context": "Sample.Periodic"},
            {"value": signed, "format": "SignedData", "measurand": "Energy.Active.Import.Register"},
            {"value": "07.40", "measurand": "Power.Active.Import", "unit": "kW", "phase": "L1-N"},
        ]
        async with await RawCharger.connect(server.ws, charger.id) as raw:
            transaction = (await raw.start(tag))["transactionId"]
            payload = {
                "connectorId": 1,
                "transactionId": transaction,
                "meterValue": [{"timestamp": "2026-05-04T12:10:00Z", "sampledValue": sent}],
            }
            assert await raw.result("MeterValues", payload) == {}
            # At the end they come within the stop, as its transaction data.
            ending = [{"value": "0.5", "unit": "kWh", "context": "Transaction.End"}, sent[1]]
            data = [{"timestamp": "2026-05-04T12:20:00Z", "sampledValue": ending}]
            await raw.stop(transaction, 500, "2026-05-04T12:20:00Z", transactionData=data)
        async with httpx.AsyncClient(base_url=server.http, headers=user.headers, trust_env=False) as http:
            page = (await http.get(f"{URL}/{transaction}/meter-values")).json()
        assert [one["sampled_values"] for one in page["items"]] == [sent, ending]
        assert [one["value"] for one in page["items"][0]["values"]] == [150.04, None, 7400.0]

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

"""The demo's world in a real database, and its chargers against a real server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import delete, func, select, text, update
from tests.cli.certificates import pair
from tests.conftest import SECRET
from tests.running import RunningServer

from ohmstead import demo
from ohmstead.accounts.models import Backoffice, Token, User
from ohmstead.core.clock import SystemClock
from ohmstead.core.config import Settings
from ohmstead.core.db import Database
from ohmstead.core.errors import StartupError
from ohmstead.core.tls import own_certificate
from ohmstead.demo_chargers import ChargerProcess, Work
from ohmstead.fleet.onboarding import unknown
from ohmstead.stations.models import Charger, Connector, Station
from ohmstead_simulator import life
from ohmstead_simulator.fleet import FleetStats, demo_fleet


@pytest.fixture
def settings(database_factory: Any, tmp_path: Path) -> Settings:
    """An empty database with the schema of today."""
    return Settings.load(database_url=database_factory("demo"), secret_key=SECRET, data_dir=tmp_path)


@asynccontextmanager
async def unit(settings: Settings) -> AsyncIterator[Any]:
    """A unit of work in the database of these settings."""
    database = Database(settings.postgres_url, pool_size=1)
    try:
        async with database.session() as session:
            yield session
    finally:
        await database.close()


async def counts(settings: Settings) -> dict[str, int]:
    async with unit(settings) as session:
        return {
            model.__name__: (await session.execute(select(func.count()).select_from(model))).scalar_one()
            for model in (Backoffice, Station, Charger, Connector, Token, User)
        }


async def signed_in(http: httpx.AsyncClient) -> None:
    login = {"username": "admin@ohmstead.example", "password": demo.PASSWORD}
    answer = await http.post("/api/auth/login", json=login)
    http.headers["Authorization"] = f"Bearer {answer.json()['accessToken']}"


class TestSeed:
    async def test_it_is_two_businesses_with_four_stations_and_twelve_chargers(
        self, settings: Settings
    ) -> None:
        await demo.seed(settings)
        found = await counts(settings)
        assert (found["Backoffice"], found["Station"], found["Charger"]) == (2, 4, 12)
        async with unit(settings) as session:
            per_business = (
                await session.execute(
                    select(func.count(Station.id.distinct()), func.count(Charger.id.distinct()))
                    .join(Charger, Charger.station_id == Station.id)
                    .group_by(Station.backoffice_id)
                )
            ).all()
            plugs = (
                await session.execute(
                    select(func.count()).select_from(Connector).group_by(Connector.charger_id)
                )
            ).scalars()
            assert {tuple(row) for row in per_business} == {(2, 5), (2, 7)}
            assert set(plugs) == {1, 2}
            assert set(await session.scalars(select(Charger.simulated))) == {True}

    async def test_its_stations_are_in_real_places(self, settings: Settings) -> None:
        await demo.seed(settings)
        cities = {
            "Colombo": (6.93, 79.85, "LK", "Asia/Colombo"),
            "Kandy": (7.29, 80.63, "LK", "Asia/Colombo"),
            "Hamburg": (53.55, 10.00, "DE", "Europe/Berlin"),
            "Tromsø": (69.65, 18.96, "NO", "Europe/Oslo"),
        }
        async with unit(settings) as session:
            stations = list(await session.scalars(select(Station)))
        assert {station.city for station in stations} == set(cities)
        for station in stations:
            latitude, longitude, country, zone = cities[station.city]
            assert abs(station.latitude - latitude) < 0.05, station.name
            assert abs(station.longitude - longitude) < 0.05, station.name
            assert (station.country, station.time_zone) == (country, zone)
            assert station.address
            assert station.support_phone
            assert station.amenities
            assert set(station.opening_hours) == {"mon", "tue", "wed", "thu", "fri", "sat", "sun"}

    async def test_a_second_start_changes_nothing_of_what_is_there(self, settings: Settings) -> None:
        first = await demo.seed(settings)
        before = await counts(settings)
        async with unit(settings) as session:
            await session.execute(update(Station).where(Station.city == "Kandy").values(name="Renamed"))
            await session.execute(update(Charger).where(Charger.id == "KDY-LAKE-01").values(name="Mine"))
            await session.execute(update(Backoffice).values(name=Backoffice.name + " Ltd"))
        assert await demo.seed(settings) == first
        assert await counts(settings) == before
        async with unit(settings) as session:
            assert await session.scalar(select(Station.name).where(Station.city == "Kandy")) == "Renamed"
            assert await session.scalar(select(Charger.name).where(Charger.id == "KDY-LAKE-01")) == "Mine"

    async def test_what_was_deleted_comes_back_at_the_next_start(
        self, settings: Settings, make_server: Any
    ) -> None:
        first = await demo.seed(settings)
        before = await counts(settings)
        async with (
            make_server(database_url=settings.database_url) as server,
            httpx.AsyncClient(base_url=server.http) as http,
        ):
            await signed_in(http)
            answer = await http.delete("/api/admin/chargers", params={"simulated": "true"})
            assert answer.status_code == 200, answer.text
        assert (await counts(settings))["Charger"] == 0
        assert await demo.seed(settings) == first
        assert await counts(settings) == before

    async def test_a_charger_that_was_deleted_while_connected_and_came_back_as_nobodys_is_the_demos_again(
        self, settings: Settings
    ) -> None:
        first = await demo.seed(settings)
        before = await counts(settings)
        async with unit(settings) as session:
            await session.execute(delete(Charger).where(Charger.id == "HH-HAFEN-01"))
            await unknown.admit(
                session,
                "HH-HAFEN-01",
                address="127.0.0.1",
                password_hash=None,
                now=SystemClock().now(),
                at_most=20,
            )
            session.add(Connector(charger_id="HH-HAFEN-01", connector_id=1))
        assert await demo.seed(settings) == first
        assert await counts(settings) == before
        async with unit(settings) as session:
            charger = await session.get_one(Charger, "HH-HAFEN-01")
            assert (charger.simulated, charger.registration) == (True, "Accepted")
            assert charger.unregistered_since is None
            assert charger.station_id is not None
            assert (await session.get_one(Connector, ("HH-HAFEN-01", 1))).type == "CCS"

    @pytest.mark.parametrize(
        "change",
        [
            "simulated = false",
            "retired_at = now()",
            "password_hash = 'of another password'",
            "password_hash = NULL",
        ],
    )
    async def test_a_charger_that_became_something_else_is_left_alone(
        self, settings: Settings, change: str
    ) -> None:
        await demo.seed(settings)
        async with unit(settings) as session:
            await session.execute(text(f"UPDATE stations_charger SET {change} WHERE id = 'HH-HAFEN-01'"))  # noqa: S608 # one of four
        world = await demo.seed(settings)
        assert world.changed == ["HH-HAFEN-01"]
        assert len(world.chargers) == 11
        assert "HH-HAFEN-01" not in {charger_id for charger_id, *_ in world.chargers}

    async def test_a_business_of_others_with_its_name_is_told(self, settings: Settings) -> None:
        async with unit(settings) as session:
            session.add(Backoffice(name="voltco lanka"))
        with pytest.raises(StartupError, match="VoltCo Lanka that is not the demo's") as caught:
            await demo.seed(settings)
        assert "OHMSTEAD_DATA_DIR" in caught.value.hint
        assert (await counts(settings))["Station"] == 0, "nothing is left half done"

    async def test_it_tells_each_of_its_steps(self, settings: Settings) -> None:
        for _ in range(2):
            told: list[None] = []
            await demo.seed(settings, lambda told=told: told.append(None))  # type: ignore[misc] # bound now
            assert len(told) == demo.STEPS

    async def test_its_logins_sign_in_with_the_roles_that_are_printed(
        self, settings: Settings, make_server: Any
    ) -> None:
        world = await demo.seed(settings)
        assert [role for role, _, _ in world.logins] == [
            "SystemAdmin",
            "Backoffice",
            "Backoffice",
            "Operator",
        ]
        async with (
            make_server(database_url=settings.database_url) as server,
            httpx.AsyncClient(base_url=server.http) as http,
        ):
            for role, email, password in world.logins:
                login = {"username": email, "password": password}
                answer = await http.post("/api/auth/login", json=login)
                assert (answer.status_code, answer.json()["role"]) == (200, role)


class TestLife:
    """Its incidents come every few minutes in the demo; here they come at once."""

    async def seen(self, server: RunningServer, query: str) -> set[str]:
        async with server.database.session() as session:
            return set((await session.execute(text(query))).scalars())

    async def test_its_chargers_boot_charge_fault_and_go_offline(
        self, settings: Settings, make_server: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world = await demo.seed(settings)
        monkeypatch.setattr(life, "BETWEEN_INCIDENTS", 40.0)  # minutes, which pass 600 times as fast
        monkeypatch.setattr(life, "OFFLINE_SECONDS", (0.2, 0.5))
        monkeypatch.setattr(life, "DARK_SECONDS", (0.2, 0.5))
        monkeypatch.setattr(life, "FAULT_SECONDS", (0.2, 0.5))
        everybody = {charger_id for charger_id, *_ in world.chargers}
        stop, stats = asyncio.Event(), FleetStats()
        missing = ["nothing was looked at"]
        async with make_server(database_url=settings.database_url) as server:
            running = asyncio.create_task(
                demo_fleet(
                    f"{server.ws}/ocpp",
                    world.chargers,
                    world.id_tags,
                    seed=7,
                    speed=600,
                    stop=stop,
                    stats=stats,
                )
            )
            try:
                async with asyncio.timeout(45):
                    while missing:
                        await asyncio.sleep(0.2)
                        booted = await self.seen(
                            server, "SELECT id FROM stations_charger WHERE last_boot_at IS NOT NULL"
                        )
                        charged = await self.seen(
                            server, "SELECT status FROM charging_session WHERE energy_wh > 0"
                        )
                        told = await self.seen(server, "SELECT DISTINCT status FROM stations_status_event")
                        left = await self.seen(
                            server,
                            "SELECT charger_id FROM gateway_connection WHERE closed_at IS NOT NULL",
                        )
                        missing = [
                            what
                            for what, there in (
                                ("boots", booted == everybody),
                                ("a session that ended", "Completed" in charged),
                                ("charging", "Charging" in told),
                                ("faults", "Faulted" in told),
                                ("going offline", bool(left)),
                            )
                            if not there
                        ]
            finally:
                stop.set()
                await running
        assert not missing, stats

    async def test_the_first_session_moves_within_seconds(self, settings: Settings, make_server: Any) -> None:
        world = await demo.seed(settings)
        stop = asyncio.Event()
        async with (
            make_server(database_url=settings.database_url) as server,
            httpx.AsyncClient(base_url=server.http) as http,
        ):
            await signed_in(http)
            fleet = demo_fleet(f"{server.ws}/ocpp", world.chargers, world.id_tags, stop=stop)
            running = asyncio.create_task(fleet)
            try:
                async with asyncio.timeout(180):  # about 6 on a machine that has nothing else to do
                    moved = False
                    while not moved:
                        await asyncio.sleep(0.2)
                        page = (await http.get("/api/admin/transactions")).json()
                        moved = any(session["energy_wh"] for session in page["items"])
            finally:
                stop.set()
                await running


class TestTls:
    async def online(self, server: RunningServer, charger_id: str) -> bool:
        async with server.database.session() as session:
            return bool(await session.scalar(select(Charger.online).where(Charger.id == charger_id)))

    async def test_its_chargers_trust_the_servers_own_certificate_whoever_made_it(
        self, settings: Settings, make_server: Any, tmp_path: Path
    ) -> None:
        await demo.seed(settings)
        certificate, key = pair(tmp_path, "own")
        async with make_server(
            database_url=settings.database_url, tls_cert=certificate, tls_key=key
        ) as server:
            url = f"wss://127.0.0.1:{server.port}/ocpp"
            charger = ("KDY-LAKE-02", 1, 50.0, "DC", None)
            with ChargerProcess(Work(url, [charger], ["DEMO0001"], own_certificate(certificate))) as process:
                process.start()
                async with asyncio.timeout(180):
                    there = False
                    while not there:
                        await asyncio.sleep(0.1)
                        there = await self.online(server, "KDY-LAKE-02")
                await asyncio.to_thread(process.stop)

    async def test_they_do_not_trust_another_one_and_say_so_once(
        self, settings: Settings, make_server: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        await demo.seed(settings)
        certificate, key = pair(tmp_path, "own")
        other, _ = pair(tmp_path, "other")
        async with make_server(
            database_url=settings.database_url, tls_cert=certificate, tls_key=key
        ) as server:
            url = f"wss://127.0.0.1:{server.port}/ocpp"
            chargers = [("KDY-LAKE-01", 2, 11.0, "AC", None), ("KDY-LAKE-02", 1, 50.0, "DC", None)]
            with ChargerProcess(Work(url, chargers, ["DEMO0001"], own_certificate(other))) as process:
                process.start()
                said = ""
                async with asyncio.timeout(180):
                    while "certificate verify failed" not in said:
                        await asyncio.sleep(0.1)
                        said += capfd.readouterr().err
                await asyncio.sleep(1)  # the second charger and the next attempt of the first come meanwhile
                await asyncio.to_thread(process.stop)
        said += capfd.readouterr().err
        assert said.count("cannot connect") == 1
        assert "KDY-LAKE-0" in said

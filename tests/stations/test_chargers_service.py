from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import select
from tests.conftest import FrozenClock
from tests.stations.links import FakeLink
from tests.world import World

from ohmstead.accounts.models import Role
from ohmstead.accounts.passwords import secret_matches
from ohmstead.core.config import Settings
from ohmstead.core.db import Database
from ohmstead.stations.models import Charger, Connector, StatusEvent

PATH = "/api/admin/chargers"


async def password_hash(db: Database, charger_id: str) -> str | None:
    async with db.session() as session:
        query = select(Charger.password_hash).where(Charger.id == charger_id)
        return (await session.execute(query)).scalar_one()


class TestChangeCharger:
    async def put(
        self,
        client: httpx.AsyncClient,
        headers: dict[str, str],
        charger_id: str,
        body: Any,
        status: int = 200,
    ) -> Any:
        answer = await client.put(f"{PATH}/{charger_id}", headers=headers, json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def test_what_is_left_out_stays_and_null_clears(
        self, client: httpx.AsyncClient, world: World, clock: FrozenClock
    ) -> None:
        station, admin = await world.station(), await world.admin()
        body = {"id": "CP", "station_id": str(station.id), "name": "Gate", "tolerant": True, "connectors": 2}
        created = (await client.post(PATH, headers=admin.headers, json=body)).json()
        clock.advance(60)
        change = {"registration": "Pending", "status": "Maintenance"}
        changed = await self.put(client, admin.headers, "CP", change)
        assert changed == {**created, **change, "updated_at": "2026-05-04T12:01:00Z"}
        cleared = await self.put(client, admin.headers, "CP", {"name": None})
        assert cleared == {**changed, "name": None}
        assert await self.put(client, admin.headers, "CP", {}) == cleared
        assert (await client.get(f"{PATH}/CP", headers=admin.headers)).json() == cleared

    @pytest.mark.parametrize(
        "body",
        [
            {"registration": None},
            {"tolerant": None},
            {"connectors": None},
            {"retired": None},
            {"security_profile": None},
            {"id": "OTHER"},
            {"online": True},
            {"ocpp_version": "1.5"},
            {"simulated": None},
            {"simulated": 1},
            {"retired": "yes"},
            {"new_password": 1},
            {"firmware_version": "1.2"},
            {"vendor": ""},
        ],
    )
    async def test_what_cannot_be_is_refused(
        self, client: httpx.AsyncClient, world: World, body: dict[str, Any]
    ) -> None:
        charger, admin = await world.charger(), await world.admin()
        refused = await self.put(client, admin.headers, charger.id, body, 422)
        assert any(field.split(".")[0] in body for field in refused["fields"])

    async def test_a_list_of_connectors_is_merged_by_number(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        admin = await world.admin()
        await world.backoffice()
        listed = [{"number": 1, "type": "Type 2", "max_power_kw": 22}, {"number": 2, "type": "CCS"}]
        await client.post(PATH, headers=admin.headers, json={"id": "CP", "connectors": listed})
        change = {"connectors": [{"number": 3}, {"connector_id": 1, "max_power_kw": 11, "type": None}]}
        changed = await self.put(client, admin.headers, "CP", change)
        kept = [(one["connector_id"], one["type"], one["max_power_kw"]) for one in changed["connectors"]]
        assert kept == [(1, None, 11.0), (2, "CCS", None), (3, None, None)]

    async def test_a_number_of_connectors_adds_and_removes_the_unused(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        charger, admin = await world.charger(connectors=2), await world.admin()
        for number in (4, 1, 2):
            changed = await self.put(client, admin.headers, charger.id, {"connectors": number})
            assert [one["connector_id"] for one in changed["connectors"]] == list(range(1, number + 1))

    async def test_a_connector_that_only_told_a_status_is_removed_and_its_history_stays(
        self, client: httpx.AsyncClient, world: World, db: Database
    ) -> None:
        charger, admin = await world.charger(connectors=3), await world.admin()
        async with db.session() as session:
            (await session.get_one(Connector, (charger.id, 2))).status = "Available"
        await add_event(world, charger.id, connector_id=2)
        await world.session(charger, connector_id=1)
        smaller = await self.put(client, admin.headers, charger.id, {"connectors": 1})
        assert [one["connector_id"] for one in smaller["connectors"]] == [1]
        told = await client.get(f"{PATH}/{charger.id}/status-history", headers=admin.headers)
        assert [one["connector_id"] for one in told.json()["items"]] == [2]

    async def test_a_connector_with_a_session_is_not_removed(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        charger, admin = await world.charger(connectors=3), await world.admin()
        await world.session(charger, connector_id=2)
        refused = await self.put(client, admin.headers, charger.id, {"connectors": 1}, 409)
        assert refused["error"] == "ConnectorInUse"
        assert len((await self.put(client, admin.headers, charger.id, {}))["connectors"]) == 3
        smaller = await self.put(client, admin.headers, charger.id, {"connectors": 2})
        assert len(smaller["connectors"]) == 2

    async def test_a_profile_with_password_makes_one_when_there_is_none(
        self, client: httpx.AsyncClient, world: World, db: Database, settings: Settings
    ) -> None:
        charger, admin = await world.charger(), await world.admin()
        made = await self.put(client, admin.headers, charger.id, {"security_profile": 1})
        first = await password_hash(db, charger.id)
        assert secret_matches(made["password"], first, settings.signing_key)
        again = await self.put(client, admin.headers, charger.id, {"security_profile": 2})
        assert "password" not in again
        assert await password_hash(db, charger.id) == first
        renewed = await self.put(client, admin.headers, charger.id, {"new_password": True})
        second = await password_hash(db, charger.id)
        assert second != first
        assert secret_matches(renewed["password"], second, settings.signing_key)
        given = await self.put(client, admin.headers, charger.id, {"password": "chosen-by-us"})
        assert "password" not in given
        assert secret_matches("chosen-by-us", await password_hash(db, charger.id), settings.signing_key)

    async def test_a_needed_password_cannot_be_cleared(
        self, client: httpx.AsyncClient, world: World, db: Database
    ) -> None:
        charger, admin = await world.charger(), await world.admin()
        await self.put(client, admin.headers, charger.id, {"security_profile": 1})
        refused = await self.put(client, admin.headers, charger.id, {"password": None}, 422)
        assert "password" in refused["fields"]
        both = {"password": "chosen-by-us", "new_password": True}
        await self.put(client, admin.headers, charger.id, both, 422)
        freed = await self.put(client, admin.headers, charger.id, {"password": None, "security_profile": 0})
        assert freed["has_password"] is False
        assert await password_hash(db, charger.id) is None

    async def test_a_retired_charger_can_come_back(
        self, client: httpx.AsyncClient, world: World, clock: FrozenClock
    ) -> None:
        charger, admin = await world.charger(), await world.admin()
        retired = await self.put(client, admin.headers, charger.id, {"retired": True})
        assert retired["retired_at"] == "2026-05-04T12:00:00Z"
        clock.advance(60)
        again = await self.put(client, admin.headers, charger.id, {"retired": True})
        assert again["retired_at"] == "2026-05-04T12:00:00Z"
        back = await self.put(client, admin.headers, charger.id, {"retired": False})
        assert back["retired_at"] is None

    @pytest.mark.parametrize(
        ("body", "reconnects"),
        [
            ({"retired": True}, True),
            ({"registration": "Rejected"}, True),
            ({"security_profile": 1}, True),
            ({"password": "chosen-by-us"}, True),
            ({"new_password": True}, True),
            ({"station_id": None}, True),
            ({"tolerant": True}, True),
            ({"registration": "Accepted", "retired": False}, False),
            ({"simulated": True}, True),
            ({"name": "Gate", "status": "Inactive", "connectors": 3}, False),
            ({"vendor": "Volta", "model": "X1", "serial_number": "S"}, False),
        ],
    )
    async def test_a_connection_does_not_outlive_what_it_was_admitted_by(
        self, client: httpx.AsyncClient, world: World, app: FastAPI, body: dict[str, Any], reconnects: bool
    ) -> None:
        charger, admin = await world.charger(), await world.admin()
        link = FakeLink()
        app.state.links.attach(charger.id, link)
        await self.put(client, admin.headers, charger.id, body)
        assert len(link.disconnected) == (1 if reconnects else 0)

    async def test_a_refused_change_leaves_the_charger_connected(
        self, client: httpx.AsyncClient, world: World, app: FastAPI
    ) -> None:
        charger, admin = await world.charger(), await world.admin()
        await world.session(charger, connector_id=2)
        link = FakeLink()
        app.state.links.attach(charger.id, link)
        await self.put(client, admin.headers, charger.id, {"retired": True, "connectors": 1}, 409)
        assert link.disconnected == []
        shown = await client.get(f"{PATH}/{charger.id}", headers=admin.headers)
        assert shown.json()["retired_at"] is None

    async def test_the_socket_is_closed_after_the_commit(
        self,
        client: httpx.AsyncClient,
        world: World,
        app: FastAPI,
        db: Database,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        charger, admin = await world.charger(), await world.admin()
        seen: list[str] = []
        session = db.session

        class Watched:
            def __init__(self, context: Any, log: list[str]) -> None:
                self.context, self.log = context, log

            async def __aenter__(self) -> Any:
                return await self.context.__aenter__()

            async def __aexit__(self, *why: Any) -> Any:
                result = await self.context.__aexit__(*why)
                self.log.append("committed")
                return result

        class Link(FakeLink):
            def disconnect(self, reason: str) -> None:
                seen.append("disconnected")

        app.state.links.attach(charger.id, Link())
        monkeypatch.setattr(db, "session", lambda: Watched(session(), seen))
        await self.put(client, admin.headers, charger.id, {"retired": True})
        assert "committed" in seen
        assert seen.index("disconnected") == len(seen) - 1

    async def test_a_charger_moves_between_stations(self, client: httpx.AsyncClient, world: World) -> None:
        business = await world.backoffice()
        here, there, foreign = (
            await world.station(business),
            await world.station(business),
            await world.station(),
        )
        charger = await world.charger(here)
        user, admin = await world.user(Role.BACKOFFICE, business), await world.admin()
        moved = await self.put(client, user.headers, charger.id, {"station_id": str(there.id)})
        assert moved["station"]["id"] == str(there.id)
        await self.put(client, user.headers, charger.id, {"station_id": str(foreign.id)}, 404)
        free = await self.put(client, user.headers, charger.id, {"station_id": None})
        assert (free["station"], free["backoffice_id"]) == (None, str(business.id))
        owner = {"backoffice_id": str(foreign.backoffice_id)}
        await self.put(client, user.headers, charger.id, owner, 403)
        given = await self.put(client, admin.headers, charger.id, {"station_id": str(foreign.id)})
        assert given["backoffice_id"] == str(foreign.backoffice_id)
        await self.put(client, user.headers, charger.id, {"name": "Mine"}, 404)
        await self.put(client, admin.headers, charger.id, {"backoffice_id": str(business.id)}, 422)

    async def test_a_system_admin_gives_a_charger_without_station_to_a_business(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        admin = await world.admin()
        businesses = [await world.backoffice() for _ in range(2)]
        await client.post(PATH, headers=admin.headers, json={"id": "CP"})
        body = {"backoffice_id": str(businesses[1].id)}
        assert (await self.put(client, admin.headers, "CP", body))["backoffice_id"] == str(businesses[1].id)
        await self.put(client, admin.headers, "CP", {"backoffice_id": str(uuid4())}, 404)
        assert (await self.put(client, admin.headers, "CP", {"backoffice_id": None}))["backoffice_id"] is None


async def add_event(world: World, charger_id: str, connector_id: int = 1, **fields: Any) -> None:
    now = world.clock.now()
    values = {"at": now, "received_at": now, "status": "Available", "error_code": "NoError", **fields}
    await world.add(StatusEvent(charger_id=charger_id, connector_id=connector_id, **values))

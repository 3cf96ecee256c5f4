from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import TableClause, func, select
from tests.conftest import FrozenClock
from tests.stations.links import FakeLink
from tests.world import World

from ohmstead.accounts.models import Backoffice, Role
from ohmstead.charging.models import MeterValue, Session
from ohmstead.core.db import Base, Database
from ohmstead.gateway.models import Connection, Message
from ohmstead.stations import history
from ohmstead.stations.models import Charger, ChargerReport, Connector, StatusEvent

PATH = "/api/admin/chargers"
TRACES = (Session, MeterValue, Message, Connection, StatusEvent, ChargerReport, Connector)


async def used_charger(world: World, *, session: bool = True, **fields: Any) -> Charger:
    """Make a charger that has left something in every table."""
    charger, now = await world.charger(**fields), world.clock.now()
    if session:
        await world.session(charger)
    event = {"charger_id": charger.id, "received_at": now}
    await world.add(
        MeterValue(**event, connector_id=1, transaction_id=1, sampled_at=now, digest=1, sampled_values=[]),
        Message(**event, id=1, direction="in", request="[]"),
        Connection(charger_id=charger.id, opened_at=now),
        StatusEvent(**event, connector_id=1, at=now, status="Available", error_code="NoError"),
        ChargerReport(**event, action="DataTransfer", payload={}),
    )
    return charger


async def traces(db: Database, charger_id: str) -> dict[str, int]:
    async with db.session() as session:
        counted = {}
        for model in TRACES:
            query = select(func.count()).select_from(model).where(model.charger_id == charger_id)
            counted[model.__name__] = (await session.execute(query)).scalar_one()
        return {name: number for name, number in counted.items() if number}


@pytest.mark.parametrize("known", [history.SESSIONS, *history.KEPT_BY_ID])
def test_the_tables_of_others_are_as_we_name_them(known: TableClause) -> None:
    assert set(known.columns.keys()) <= set(Base.metadata.tables[known.name].columns.keys())


def test_no_table_keeps_what_a_deleted_charger_said() -> None:
    cleared = {table.name for table in (history.SESSIONS, *history.KEPT_BY_ID)}
    refused_handshakes = {"gateway_refusal"}  # rows of the business that owned the id at that moment
    for table in Base.metadata.tables.values():
        if "charger_id" in table.columns and table.name not in cleared | refused_handshakes:
            (key,) = table.columns["charger_id"].foreign_keys
            assert (key.target_fullname, key.ondelete) == ("stations_charger.id", "CASCADE"), table.name


class TestDeleteCharger:
    async def test_one_with_sessions_is_refused_with_the_number(
        self, client: httpx.AsyncClient, world: World, db: Database, app: FastAPI
    ) -> None:
        charger, admin = await used_charger(world), await world.admin()
        before = await traces(db, charger.id)
        await world.session(charger, connector_id=2)
        link = FakeLink()
        app.state.links.attach(charger.id, link)
        answer = await client.delete(f"{PATH}/{charger.id}", headers=admin.headers)
        assert answer.status_code == 409
        assert answer.json()["error"] == "ChargerInUse"
        assert "2 sessions" in answer.json()["message"]
        assert '{"retired": true}' in answer.json()["message"]
        assert await traces(db, charger.id) == {**before, "Session": 2}
        assert link.disconnected == []

    async def test_one_without_sessions_goes_with_all_that_was_logged(
        self, client: httpx.AsyncClient, world: World, db: Database, app: FastAPI
    ) -> None:
        charger, other = await used_charger(world, session=False), await used_charger(world)
        admin = await world.admin()
        kept = await traces(db, other.id)
        link = FakeLink()
        app.state.links.attach(charger.id, link)
        answer = await client.delete(f"{PATH}/{charger.id}", headers=admin.headers)
        assert (answer.status_code, answer.content) == (204, b"")
        assert await traces(db, charger.id) == {}
        assert await traces(db, other.id) == kept
        assert len(link.disconnected) == 1
        assert (await client.delete(f"{PATH}/{charger.id}", headers=admin.headers)).status_code == 404

    async def test_what_the_next_one_with_the_id_says_is_kept(
        self, client: httpx.AsyncClient, world: World, db: Database, clock: FrozenClock
    ) -> None:
        """Frames of a deleted charger may be written while somebody takes the id anew."""
        old, admin = await used_charger(world, session=False), await world.admin()
        assert (await client.delete(f"{PATH}/{old.id}", headers=admin.headers)).status_code == 204
        late = {"charger_id": old.id, "direction": "in", "request": "[]"}
        await world.add(Message(**late, id=2, received_at=clock.now()))
        clock.advance(1)
        created = await client.post(PATH, headers=admin.headers, json={"id": old.id})
        assert created.status_code == 201
        await world.add(Message(**late, id=3, received_at=clock.now()))
        async with db.session() as session:
            await history.forget_traces(session, [old.id])
        async with db.session() as session:
            kept = await session.scalars(select(Message.id).where(Message.charger_id == old.id))
            assert kept.all() == [3]


class TestDeleteSimulated:
    async def test_all_simulated_go_with_everything_and_no_real_one(
        self, client: httpx.AsyncClient, world: World, db: Database, app: FastAPI
    ) -> None:
        simulated = [await used_charger(world, simulated=True) for _ in range(2)]
        real, admin = await used_charger(world), await world.admin()
        kept = await traces(db, real.id)
        assert set(kept) == {model.__name__ for model in TRACES}
        links = {charger.id: FakeLink() for charger in (*simulated, real)}
        for charger_id, link in links.items():
            app.state.links.attach(charger_id, link)
        answer = await client.delete(PATH, headers=admin.headers, params={"simulated": "true"})
        assert (answer.status_code, answer.json()) == (200, {"deleted": 2})
        for charger in simulated:
            assert await traces(db, charger.id) == {}
        assert await traces(db, real.id) == kept
        assert [len(link.disconnected) for link in links.values()] == [1, 1, 0]
        again = await client.delete(PATH, headers=admin.headers, params={"simulated": "true"})
        assert again.json() == {"deleted": 0}

    async def test_a_business_deletes_its_own(
        self, client: httpx.AsyncClient, world: World, db: Database
    ) -> None:
        business = await world.backoffice()
        mine = await world.charger(await world.station(business), simulated=True)
        other = await world.charger(simulated=True)
        user = await world.user(Role.BACKOFFICE, business)
        answer = await client.delete(PATH, headers=user.headers, params={"simulated": "true"})
        assert answer.json() == {"deleted": 1}
        async with db.session() as session:
            assert await session.get(Charger, mine.id) is None
            assert await session.get(Charger, other.id) is not None

    @pytest.mark.parametrize("query", [{}, {"simulated": "false"}, {"simulated": "1"}, {"simulated": ""}])
    async def test_nothing_but_true_deletes(
        self, client: httpx.AsyncClient, world: World, query: dict[str, str]
    ) -> None:
        charger, admin = await world.charger(simulated=True), await world.admin()
        assert (await client.delete(PATH, headers=admin.headers, params=query)).status_code == 422
        assert (await client.get(f"{PATH}/{charger.id}", headers=admin.headers)).status_code == 200

    async def test_one_with_a_session_that_was_real_stays(
        self, client: httpx.AsyncClient, world: World, db: Database
    ) -> None:
        simulated, mixed = [await used_charger(world, simulated=True) for _ in range(2)]
        await world.session(mixed, connector_id=2, simulated=False)
        kept, admin = await traces(db, mixed.id), await world.admin()
        answer = await client.delete(PATH, headers=admin.headers, params={"simulated": "true"})
        assert answer.json() == {"deleted": 1}
        assert await traces(db, simulated.id) == {}
        assert await traces(db, mixed.id) == kept

    async def test_a_single_one_goes_with_its_sessions_when_that_is_asked_for(
        self, client: httpx.AsyncClient, world: World, db: Database, app: FastAPI
    ) -> None:
        one, other = [await used_charger(world, simulated=True) for _ in range(2)]
        kept, admin = await traces(db, other.id), await world.admin()
        link = FakeLink()
        app.state.links.attach(one.id, link)
        refused = await client.delete(f"{PATH}/{one.id}", headers=admin.headers)
        assert (refused.status_code, refused.json()["error"]) == (409, "ChargerInUse")
        assert "?simulated=true" in refused.json()["message"]
        assert link.disconnected == []
        gone = await client.delete(f"{PATH}/{one.id}", headers=admin.headers, params={"simulated": "true"})
        assert gone.status_code == 204
        assert await traces(db, one.id) == {}
        assert await traces(db, other.id) == kept
        assert len(link.disconnected) == 1

    async def test_a_real_one_never_does(self, client: httpx.AsyncClient, world: World, db: Database) -> None:
        admin, params = await world.admin(), {"simulated": "true"}
        real, empty = await used_charger(world), await world.charger()
        mixed = await used_charger(world, simulated=True)
        await world.session(mixed, connector_id=2, simulated=False)
        for charger, error in (
            (real, "NotSimulated"),
            (empty, "NotSimulated"),
            (mixed, "ChargerInUse"),
        ):
            before = await traces(db, charger.id)
            answer = await client.delete(f"{PATH}/{charger.id}", headers=admin.headers, params=params)
            assert (answer.status_code, answer.json()["error"]) == (409, error)
            assert await traces(db, charger.id) == before


class TestChangeOfSimulated:
    """Real sessions must not be deleted as simulated ones, nor simulated ones stay among real ones."""

    async def test_a_charger_with_real_sessions_cannot_become_simulated_and_be_deleted(
        self, client: httpx.AsyncClient, world: World, db: Database, app: FastAPI
    ) -> None:
        charger = await used_charger(world)
        admin = await world.user(Role.BACKOFFICE, await owner(db, charger))
        before, link = await traces(db, charger.id), FakeLink()
        app.state.links.attach(charger.id, link)
        body = {"simulated": True, "name": "A trick"}
        refused = await client.put(f"{PATH}/{charger.id}", headers=admin.headers, json=body)
        assert (refused.status_code, refused.json()["error"]) == (409, "ChargerInUse")
        assert "1 real session" in refused.json()["message"]
        assert list(refused.json()["fields"]) == ["simulated"]
        shown = (await client.get(f"{PATH}/{charger.id}", headers=admin.headers)).json()
        assert (shown["simulated"], shown["name"]) == (False, None)
        deleted = await client.delete(PATH, headers=admin.headers, params={"simulated": "true"})
        assert deleted.json() == {"deleted": 0}
        assert await traces(db, charger.id) == before
        assert link.disconnected == []

    async def test_an_unmatched_stop_is_a_session_too(self, client: httpx.AsyncClient, world: World) -> None:
        charger, admin = await world.charger(), await world.admin()
        await world.session(charger, unmatched=True, status="Completed", started_at=None)
        refused = await client.put(f"{PATH}/{charger.id}", headers=admin.headers, json={"simulated": True})
        assert refused.status_code == 409

    async def test_a_charger_with_simulated_sessions_cannot_become_real(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        charger, admin = await world.charger(id="SIM/1", simulated=True), await world.admin()
        await world.session(charger)
        path = f"{PATH}/SIM%2F1"
        refused = await client.put(path, headers=admin.headers, json={"simulated": False})
        assert (refused.status_code, refused.json()["error"]) == (409, "ChargerInUse")
        # The way out that the message names is one.
        assert f"DELETE {path}?simulated=true" in refused.json()["message"]
        gone = await client.delete(path, headers=admin.headers, params={"simulated": "true"})
        assert gone.status_code == 204
        again = await client.post(PATH, headers=admin.headers, json={"id": "SIM/1", "simulated": False})
        assert (again.status_code, again.json()["simulated"]) == (201, False)

    @pytest.mark.parametrize("simulated", [True, False])
    async def test_without_sessions_it_may_be_changed_and_said_again_always(
        self, client: httpx.AsyncClient, world: World, simulated: bool
    ) -> None:
        charger, admin = await used_charger(world, session=False), await world.admin()
        path = f"{PATH}/{charger.id}"
        for value in (True, False, simulated):
            changed = await client.put(path, headers=admin.headers, json={"simulated": value})
            assert (changed.status_code, changed.json()["simulated"]) == (200, value)
        await world.session(charger, simulated=simulated)
        same = await client.put(path, headers=admin.headers, json={"simulated": simulated, "name": "Gate"})
        assert (same.status_code, same.json()["name"]) == (200, "Gate")


async def owner(db: Database, charger: Charger) -> Backoffice:
    async with db.session() as session:
        return await session.get_one(Backoffice, charger.backoffice_id)


class TestStatusHistory:
    async def test_the_newest_by_the_chargers_clock_is_first_and_pages_join(
        self, client: httpx.AsyncClient, world: World, clock: FrozenClock
    ) -> None:
        charger, other, admin = await world.charger(), await world.charger(), await world.admin()
        start = clock.now()
        for seconds, connector in ((20, 1), (0, 1), (10, 2), (10, 1)):
            clock.moment = start
            clock.advance(seconds)
            at = clock.now()
            clock.advance(100)
            fields = {"at": at, "received_at": clock.now(), "status": "Faulted", "error_code": "WeakSignal"}
            await world.add(StatusEvent(charger_id=charger.id, connector_id=connector, **fields))
        now = clock.now()
        event = {"at": now, "received_at": now, "status": "Available", "error_code": "NoError"}
        await world.add(StatusEvent(charger_id=other.id, connector_id=1, **event))
        clock.moment = start
        path = f"{PATH}/{charger.id}/status-history"
        cursor: str | None = ""
        told = []
        while cursor is not None:
            query = {"limit": "1", **({"cursor": cursor} if cursor else {})}
            page = (await client.get(path, headers=admin.headers, params=query)).json()
            assert page["total"] == 4
            told += page["items"]
            cursor = page["next_cursor"]
        assert [(one["at"][17:19], one["connector_id"]) for one in told] == [
            ("20", 1),
            ("10", 1),
            ("10", 2),
            ("00", 1),
        ]
        assert told[0]["received_at"] == "2026-05-04T12:02:00Z"
        assert told[0]["error_code"] == "WeakSignal"
        only = await client.get(path, headers=admin.headers, params={"connector_id": "2"})
        assert [one["connector_id"] for one in only.json()["items"]] == [2]

    @pytest.mark.parametrize(
        "query", [{"cursor": "W10"}, {"connector_id": "-1"}, {"connector_id": "99999999999"}]
    )
    async def test_a_query_that_makes_no_sense_is_invalid(
        self, client: httpx.AsyncClient, world: World, query: dict[str, str]
    ) -> None:
        charger, admin = await world.charger(), await world.admin()
        path = f"{PATH}/{charger.id}/status-history"
        assert (await client.get(path, headers=admin.headers, params=query)).status_code == 422


class TestReports:
    async def test_the_last_to_arrive_is_first_and_actions_can_be_picked(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        charger, other, admin = await world.charger(), await world.charger(), await world.admin()
        now = world.clock.now()
        for charger_id, action, payload in (
            (charger.id, "DataTransfer", {"vendorId": "v", "data": None}),
            (charger.id, "SecurityEventNotification", {"type": "InvalidFirmwareSignature"}),
            (other.id, "DataTransfer", {}),
        ):
            await world.add(
                ChargerReport(charger_id=charger_id, received_at=now, action=action, payload=payload)
            )
        path = f"{PATH}/{charger.id}/reports"
        page = (await client.get(path, headers=admin.headers, params={"limit": "1"})).json()
        assert [item["action"] for item in page["items"]] == ["SecurityEventNotification"]
        query = {"limit": "1", "cursor": page["next_cursor"]}
        page = (await client.get(path, headers=admin.headers, params=query)).json()
        assert [item["payload"] for item in page["items"]] == [{"vendorId": "v", "data": None}]
        assert page["next_cursor"] is None
        picked = await client.get(path, headers=admin.headers, params={"action": "DataTransfer"})
        assert picked.json()["total"] == 1
        nul = await client.get(path, headers=admin.headers, params={"action": "\x00"})
        assert nul.status_code == 422

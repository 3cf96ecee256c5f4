"""Campaigns on the real server: HTTP on one side, chargers on the other."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import text
from tests.chargers import RawCharger, until
from tests.fleet.campaigns.kinds import SETTING
from tests.gateway.admin import admin_client
from tests.running import RunningServer
from tests.world import World

from ohmstead.accounts.models import Role
from ohmstead.fleet.campaigns import service
from ohmstead.fleet.campaigns.mending import mend_all
from ohmstead.stations.models import Charger, Station

ACCEPTED = {"status": "Accepted"}


@dataclass
class Operation:
    """A business with a station, its manager, and its chargers on the wire."""

    server: RunningServer
    world: World
    station: Station
    headers: dict[str, str]
    sockets: AsyncExitStack

    async def charger(self) -> Charger:
        return await self.world.charger(self.station, connectors=1)

    async def connect(self, charger: Charger) -> RawCharger:
        """Connect a charger, and wait until the database knows."""
        raw = await self.sockets.enter_async_context(await RawCharger.connect(self.server.ws, charger.id))

        async def online() -> bool:
            shown = await self.get(f"/chargers/{charger.id}")
            return bool(shown["online"])

        await until(online)
        return raw

    async def fleet(self, number: int) -> dict[str, RawCharger]:
        chargers = [await self.charger() for _ in range(number)]
        return {charger.id: await self.connect(charger) for charger in chargers}

    async def get(self, path: str, **params: Any) -> Any:
        async with admin_client(self.server.http, self.headers) as client:
            answer = await client.get(f"/api/admin{path}", params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def begin(self, **fields: Any) -> str:
        """Make a campaign for all chargers of the business; returns its id."""
        body = {
            "kind": "Setting",
            "parameters": {"value": "60"},
            "chargers": {"all": True},
            "retry_seconds": 0,
            "stop_at_error_percent": None,
            **fields,
        }
        async with admin_client(self.server.http, self.headers) as client:
            answer = await client.post("/api/admin/campaigns", json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def tell(self, campaign: str, change: str) -> dict[str, Any]:
        async with admin_client(self.server.http, self.headers) as client:
            answer = await client.post(f"/api/admin/campaigns/{campaign}/{change}")
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    async def reach(self, campaign: str, state: str = "Running", /, **counts: int) -> dict[str, Any]:
        """Wait until a campaign is in a state and so many of its items in each; returns the items."""

        async def reached() -> bool:
            shown = await self.get(f"/campaigns/{campaign}")
            there = {name: number for name, number in shown["counts"].items() if number}
            return shown["state"] == state and there == counts

        await until(reached)
        page = await self.get(f"/campaigns/{campaign}/items", limit=500)
        return {item["charger_id"]: item for item in page["items"]}


async def operate(server: RunningServer, world: World, sockets: AsyncExitStack) -> Operation:
    business = await world.backoffice()
    user = await world.user(Role.BACKOFFICE, business)
    return Operation(server, world, await world.station(business), user.headers, sockets)


@pytest.fixture
async def operation(server: RunningServer, server_world: World) -> AsyncIterator[Operation]:
    server.app.state.kinds["Setting"] = SETTING
    async with AsyncExitStack() as sockets:
        yield await operate(server, server_world, sockets)
    del server.app.state.kinds["Setting"]


async def asked(chargers: dict[str, RawCharger], number: int) -> list[str]:
    """Wait until so many chargers have been asked something and have not answered; returns their ids."""

    async def are() -> list[str] | None:
        ids = [name for name, raw in chargers.items() if not raw.calls.empty()]
        return ids if len(ids) == number else None

    ids: list[str] = await until(are)
    return ids


async def answer(raw: RawCharger, payload: dict[str, Any] | None = None) -> list[Any]:
    """Answer the next CALL; returns it."""
    frame = await raw.next_call()
    await raw.answer(frame, ACCEPTED if payload is None else payload)
    return frame


class TestOnTheWire:
    async def test_a_wave_is_as_large_as_was_said_and_each_charger_is_asked_once(
        self, operation: Operation
    ) -> None:
        chargers = await operation.fleet(5)
        campaign = await operation.begin(at_once=2)
        todo = 5
        while todo:
            ids = await asked(chargers, min(2, todo))
            await operation.reach(
                campaign, **_counts(Running=len(ids), Queued=todo - len(ids), Done=5 - todo)
            )
            frame = await answer(chargers[ids[0]])
            assert frame[2:] == ["ChangeConfiguration", {"key": "HeartbeatInterval", "value": "60"}]
            todo -= 1
        items = await operation.reach(campaign, "Finished", Done=5)
        assert {item["tries"] for item in items.values()} == {1}
        assert all(item["evidence"] == {"response": ACCEPTED} for item in items.values())
        assert all(item["begun_at"] <= item["ended_at"] for item in items.values())
        assert all(raw.calls.empty() for raw in chargers.values())

    async def test_a_pause_lets_who_was_asked_answer_and_asks_nobody_else_until_the_resume(
        self, operation: Operation
    ) -> None:
        chargers = await operation.fleet(3)
        campaign = await operation.begin(at_once=1)
        (first,) = await asked(chargers, 1)
        assert (await operation.tell(campaign, "pause"))["state"] == "Paused"
        await answer(chargers[first])
        await operation.reach(campaign, "Paused", Done=1, Queued=2)
        assert all(raw.calls.empty() for raw in chargers.values())
        await operation.tell(campaign, "resume")
        for _ in range(2):
            (name,) = await asked(chargers, 1)
            await answer(chargers[name])
        await operation.reach(campaign, "Finished", Done=3)

    async def test_a_cancel_while_it_runs_writes_what_the_charger_says(self, operation: Operation) -> None:
        chargers = await operation.fleet(3)
        campaign = await operation.begin(at_once=2)
        first, second = await asked(chargers, 2)
        await operation.tell(campaign, "cancel")
        await operation.reach(campaign, "Cancelled", Running=2, Cancelled=1)
        await answer(chargers[first])
        await answer(chargers[second], {"status": "Rejected"})
        items = await operation.reach(campaign, "Cancelled", Done=1, Failed=1, Cancelled=1)
        assert items[second]["detail"] == "The charger answered Rejected."

    async def test_chargers_that_refuse_stop_it(self, operation: Operation) -> None:
        chargers = await operation.fleet(4)
        campaign = await operation.begin(at_once=1, stop_at_error_percent=50, stop_after_items=2)
        for _ in range(2):
            (name,) = await asked(chargers, 1)
            await answer(chargers[name], {"status": "Rejected"})
        await operation.reach(campaign, "Stopped", Failed=2, Queued=2)
        assert "2 of 2 chargers failed" in (await operation.get(f"/campaigns/{campaign}"))["reason"]
        assert all(raw.calls.empty() for raw in chargers.values())

    async def test_one_that_has_stopped_is_an_alert_until_somebody_looks_after_it(
        self, operation: Operation
    ) -> None:
        chargers = await operation.fleet(4)

        async def alert(open_: str) -> Any:
            found = await operation.get("/alerts", kind="CampaignStopped", open=open_)
            return [(one["subject"], one["message"]) for one in found["items"]]

        campaign = await operation.begin(at_once=1, stop_at_error_percent=50, stop_after_items=1)
        (name,) = await asked(chargers, 1)
        await answer(chargers[name], {"status": "Rejected"})
        [(subject, message)] = await until(lambda: alert("true"))
        assert (subject, message[:23]) == (campaign, "1 of 1 chargers failed,")
        await operation.tell(campaign, "resume")
        (name,) = await asked(chargers, 1)

        async def over() -> bool:
            return await alert("true") == [] and len(await alert("false")) == 1

        await until(over)
        await answer(chargers[name], {"status": "Rejected"})
        await until(lambda: alert("true"))
        assert len(await alert("false")) == 1, "it is told again, of its own"

    async def test_who_is_away_is_done_on_return(
        self, operation: Operation, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(service, "PATIENCE", service.PATIENCE * 0)
        (here,) = (await operation.fleet(1)).values()
        gone = await operation.charger()
        campaign = await operation.begin()
        await answer(here)
        items = await operation.reach(campaign, Done=1, Away=1)
        assert items[gone.id]["tries"] == 0
        back = await operation.connect(gone)
        await answer(back)
        await operation.reach(campaign, "Finished", Done=2)

    async def test_who_leaves_in_the_midst_of_it_is_asked_again_on_return(
        self, operation: Operation, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(service, "PATIENCE", service.PATIENCE * 0)
        charger = await operation.charger()
        raw = await operation.connect(charger)
        campaign = await operation.begin()
        await raw.next_call()
        await raw.vanish()
        items = await operation.reach(campaign, Away=1)
        assert items[charger.id]["detail"] == f"Charger {charger.id} left before it answered."
        await answer(await operation.connect(charger))
        items = await operation.reach(campaign, "Finished", Done=1)
        assert items[charger.id]["tries"] == 2

    async def test_an_error_that_may_pass_is_asked_again_and_one_that_lasts_is_not(
        self, operation: Operation
    ) -> None:
        chargers = await operation.fleet(2)
        campaign = await operation.begin()
        passing, lasting = await asked(chargers, 2)
        for name, code in ((passing, "InternalError"), (lasting, "NotImplemented")):
            frame = await chargers[name].next_call()
            await chargers[name].send(f'[4,"{frame[1]}","{code}","not now",{{}}]')
        await answer(chargers[passing])
        items = await operation.reach(campaign, "Finished", Done=1, Failed=1)
        assert (items[passing]["tries"], items[lasting]["tries"]) == (2, 1)
        error = {"code": "NotImplemented", "description": "not now"}
        assert items[lasting]["evidence"] == {"error": error}
        assert "NotImplemented" in items[lasting]["detail"]

    async def test_an_end_that_the_charger_tells_later_makes_room_for_the_next(
        self, operation: Operation
    ) -> None:
        chargers = await operation.fleet(2)
        campaign = await operation.begin(at_once=1, parameters={"value": "60", "waits": True})
        for number in range(2):
            (name,) = await asked(chargers, 1)
            await answer(chargers[name])
            await operation.reach(campaign, **_counts(Waiting=1, Queued=1 - number, Done=number))
            async with operation.server.database.session() as session:
                now = operation.world.clock.now()
                assert await service.item_ended(
                    session, name, "Setting", ok=True, detail="It is in.", now=now
                )
        items = await operation.reach(campaign, "Finished", Done=2)
        assert {item["detail"] for item in items.values()} == {"It is in."}

    async def test_a_process_that_was_killed_leaves_nothing_stuck(self, operation: Operation) -> None:
        """Its lease is over; the clock gives the work to whoever is alive, and its late answer counts not."""
        chargers = await operation.fleet(1)
        (name, raw), *_ = chargers.items()
        campaign = await operation.begin()
        lost = await raw.next_call()
        async with operation.server.database.session() as session:
            await session.execute(
                text(
                    "UPDATE fleet_campaign_item SET lease_until = now() - interval '1 second',"
                    " lease = gen_random_uuid() WHERE charger_id = :id"
                ),
                {"id": name},
            )
        app = operation.server.app
        await mend_all(operation.server.database, app.state.kinds, operation.world.clock.now())
        await raw.answer(lost, {"status": "Rejected"})
        app.state.campaigns.wake()
        await answer(raw)
        items = await operation.reach(campaign, "Finished", Done=1)
        assert items[name]["tries"] == 2

    async def test_a_charger_that_is_retired_or_deleted_ends_nothing_else(self, operation: Operation) -> None:
        retired, deleted, kept = [await operation.charger() for _ in range(3)]
        raw = await operation.connect(kept)
        campaign = await operation.begin()
        await answer(raw)
        await operation.reach(campaign, Done=1, Away=2)
        async with admin_client(operation.server.http, operation.headers) as client:
            path = "/api/admin/chargers/"
            assert (await client.put(path + retired.id, json={"retired": True})).status_code == 200
            assert (await client.delete(path + deleted.id)).status_code == 204
        app = operation.server.app
        await mend_all(operation.server.database, app.state.kinds, operation.world.clock.now())
        items = await operation.reach(campaign, "Finished", Done=1, Skipped=1)
        assert items[retired.id]["detail"] == "The charger was retired."


async def test_a_campaign_goes_on_when_the_server_has_stopped_and_started(
    make_server: Any, database_factory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "PATIENCE", service.PATIENCE * 0)
    url = database_factory("campaign_restart")
    async with make_server(database_url=url) as first, AsyncExitStack() as sockets:
        first.app.state.kinds["Setting"] = SETTING
        world = World(first.database, first.settings, first.app.state.clock)
        operation = await operate(first, world, sockets)
        chargers = await operation.fleet(3)
        campaign = await operation.begin(at_once=1)
        (name,) = await asked(chargers, 1)
        await answer(chargers[name])
        await asked(chargers, 1)
    async with make_server(database_url=url) as second, AsyncExitStack() as sockets:
        second.app.state.kinds["Setting"] = SETTING
        operation.server, operation.sockets = second, sockets
        back = {one: await operation.connect(Charger(id=one)) for one in chargers}
        for _ in range(2):
            (name,) = await asked(back, 1)
            await answer(back[name])
        items = await operation.reach(campaign, "Finished", Done=3)
        assert sorted(item["tries"] for item in items.values()) == [1, 1, 2]


def _counts(**counts: int) -> dict[str, int]:
    return dict(+Counter(counts))

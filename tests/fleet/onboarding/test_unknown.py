"""Chargers that nobody registered: Pending for a day, adopted with one PUT; and charging without a tag."""

import csv
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import select, text, update
from tests.chargers import RawCharger, basic, charger, until
from tests.gateway.admin import AdminApi, admin_client
from tests.gateway.knocking import knock
from tests.running import RunningServer
from tests.world import World
from websockets.exceptions import InvalidStatus

from ohmstead.accounts.models import Role, TokenStatus
from ohmstead.core.db import Database
from ohmstead.core.http import utc_z
from ohmstead.core.jobs import defer
from ohmstead.fleet.onboarding import unknown
from ohmstead.notifications.models import Alert
from ohmstead.stations import adoption
from ohmstead.stations.models import Charger


@asynccontextmanager
async def open_door(
    make_server: Any, **settings: Any
) -> AsyncIterator[tuple[RunningServer, World, AdminApi]]:
    async with make_server(ocpp_accept_unknown=True, **settings) as server:
        world = World(server.database, server.settings, server.app.state.clock)
        async with admin_client(server.http, (await world.admin()).headers) as client:
            yield server, world, AdminApi(client)


async def pending(api: AdminApi) -> list[str]:
    return [one["id"] for one in (await api.get("/chargers", registration="Pending"))["items"]]


class TestComing:
    async def test_without_the_setting_its_handshake_is_refused(self, server: RunningServer) -> None:
        with pytest.raises(InvalidStatus, match="404"):
            await RawCharger.connect(server.ws, "NOBODY-KNOWS")

    async def test_it_is_pending_and_only_a_system_admin_sees_it(self, make_server: Any) -> None:
        async with open_door(make_server) as (server, world, api), charger(server.ws, "NEW-1") as raw:
            boot = await raw.boot()
            assert (boot["status"], boot["interval"]) == ("Pending", 60)
            tag = (await world.token()).id_tag
            assert (await raw.result("Authorize", {"idTag": tag}))["idTagInfo"]["status"] == "Invalid"
            assert await pending(api) == ["NEW-1"]
            row = await api.charger("NEW-1")
            assert (row["backoffice_id"], row["unregistered_from"]) == (None, "127.0.0.1")
            assert row["unregistered_since"] is not None
            manager = await world.user(Role.BACKOFFICE)
            async with admin_client(server.http, manager.headers) as client:
                listed = (await client.get("/api/admin/chargers?registration=Pending")).json()
                assert listed["items"] == []
                for method in ("GET", "PUT", "DELETE"):
                    body = {"name": "Mine"} if method == "PUT" else {}
                    answer = await client.request(method, "/api/admin/chargers/NEW-1", json=body)
                    assert answer.status_code == 404

    @pytest.mark.parametrize(
        "path", ["..", "%2E%2E", ".", "%C3%A4", "%F0%9F%94%8C", "A%20B", "A%3FB", "%2FA"]
    )
    async def test_an_identity_that_no_charger_can_have_is_refused(self, make_server: Any, path: str) -> None:
        async with open_door(make_server) as (server, _, api):
            assert (await knock(server.port, f"/ocpp/{path}")).status == 404

            async def noted() -> Any:
                return [one for one in await api.refusals() if "can have this identity" in one["detail"]]

            assert [one["reason"] for one in await until(noted)] == ["UnknownCharger"]
            assert await pending(api) == []

    async def test_one_address_brings_no_more_than_it_may(self, make_server: Any) -> None:
        async with open_door(make_server, ocpp_unknown_per_address=2) as (server, _, api):
            for number in (1, 2):
                async with charger(server.ws, f"MANY-{number}"):
                    pass
            with pytest.raises(InvalidStatus, match="429"):
                await RawCharger.connect(server.ws, "MANY-3")
            async with charger(server.ws, "MANY-1"):
                pass
            assert await pending(api) == ["MANY-1", "MANY-2"]

            async def noted() -> Any:
                return [one for one in await api.refusals() if one["reason"] == "TooManyUnknown"]

            assert await until(noted)

    async def test_it_raises_no_alert_when_it_leaves(self, make_server: Any) -> None:
        async with open_door(make_server) as (server, _, _):
            async with charger(server.ws, "QUIET-1") as raw:
                await raw.boot()
            async with server.database.session() as session:
                await session.execute(
                    update(Charger).values(last_seen=server.app.state.clock.now() - timedelta(minutes=5))
                )
            async with server.database.session() as session:
                assert (await session.scalars(select(Alert))).all() == []


class TestAdopting:
    @pytest.mark.parametrize("whose", ["station", "business"])
    async def test_one_put_gives_it_to_somebody_and_makes_it_boot(self, make_server: Any, whose: str) -> None:
        async with open_door(make_server) as (server, world, api), charger(server.ws, "NEW-2") as raw:
            await raw.boot()
            station = await world.station()
            body = {"station_id": str(station.id)} if whose == "station" else {
                "backoffice_id": str(station.backoffice_id)}  # fmt: skip
            adopted = await api.client.put("/api/admin/chargers/NEW-2", json=body)
            assert (adopted.status_code, adopted.json()["registration"]) == (200, "Accepted")
            assert adopted.json()["unregistered_since"] is None
            frame = await raw.next_call()
            assert frame[2:] == ["TriggerMessage", {"requestedMessage": "BootNotification"}]
            await raw.answer(frame, {"status": "Accepted"})
            assert (await raw.boot())["status"] == "Accepted"
            tag = (await world.token(backoffice_id=station.backoffice_id)).id_tag
            transaction = (await raw.start(tag))["transactionId"]
            session = await api.transaction(transaction)
            assert session["charger_id"] == "NEW-2"
            manager = await world.user(Role.BACKOFFICE, await world_business(world, station))
            async with admin_client(server.http, manager.headers) as client:
                assert (await client.get(f"/api/admin/transactions/{transaction}")).status_code == 200

    async def test_one_that_does_not_want_to_boot_loses_its_socket_and_comes_back_accepted(
        self, make_server: Any
    ) -> None:
        async with open_door(make_server) as (server, world, api):
            station = await world.station()
            async with charger(server.ws, "NEW-3") as raw:
                await raw.boot()
                await api.client.put("/api/admin/chargers/NEW-3", json={"station_id": str(station.id)})
                await raw.answer(await raw.next_call(), {"status": "NotImplemented"})
                assert (await raw.closed())[1] == "the charger was adopted: boot again"
            async with charger(server.ws, "NEW-3") as raw:
                assert (await raw.boot())["status"] == "Accepted"

    async def test_a_line_of_a_table_adopts_it_and_makes_it_boot(self, make_server: Any) -> None:
        async with open_door(make_server) as (server, world, api), charger(server.ws, "NEW-7") as raw:
            await raw.boot()
            station = await world.station()
            exported = (await api.client.get("/api/admin/chargers.csv")).text
            [heading, row] = csv.reader(io.StringIO(exported))
            assert (row[0], "Pending" in row) == ("NEW-7", True)
            row[heading.index("station")] = station.name
            content = "\n".join(map(",".join, (heading, row)))
            for query, registration in (("?dry_run=true", "Pending"), ("", "Accepted")):
                answer = await api.client.post(f"/api/admin/chargers.csv{query}", content=content)
                assert (answer.status_code, answer.json()["changed"]) == (200, 1), answer.text
                assert (await api.charger("NEW-7"))["registration"] == registration
            frame = await raw.next_call()
            assert frame[2:] == ["TriggerMessage", {"requestedMessage": "BootNotification"}]
            await raw.answer(frame, {"status": "Accepted"})
            assert (await raw.boot())["status"] == "Accepted"
            adopted = await api.charger("NEW-7")
            assert (adopted["station_id"], adopted["unregistered_since"]) == (str(station.id), None)
            assert raw.calls.empty()

    async def test_a_table_may_also_reject_it(self, make_server: Any) -> None:
        async with open_door(make_server) as (server, _, api), charger(server.ws, "NEW-8") as raw:
            await raw.boot()
            content = "id,registration\nNEW-8,Rejected"
            assert (await api.client.post("/api/admin/chargers.csv", content=content)).status_code == 200
            await raw.answer(await raw.next_call(), {"status": "NotSupported"})
            assert (await raw.closed())[1] == "the charger was adopted: boot again"

    async def test_one_whose_line_changes_what_it_was_let_in_by_connects_anew(self, make_server: Any) -> None:
        async with open_door(make_server) as (server, world, api):
            owner = (await world.backoffice()).id
            async with charger(server.ws, "NEW-9") as raw:
                await raw.boot()
                content = f"id,backoffice_id,tolerant\nNEW-9,{owner},yes"
                assert (await api.client.post("/api/admin/chargers.csv", content=content)).status_code == 200
                assert (await raw.closed())[1] == "the charger's settings changed"
            async with charger(server.ws, "NEW-9") as raw:
                assert (await raw.boot())["status"] == "Accepted"

    async def test_the_password_that_it_sent_can_be_kept(self, make_server: Any) -> None:
        async with open_door(make_server) as (server, world, api):
            station = await world.station()
            headers = basic(b"NEW-4", b"s3cret-of-new-4")
            async with charger(server.ws, "NEW-4", headers=headers) as raw:
                await raw.boot()
            body = {"station_id": str(station.id), "security_profile": 1}
            adopted = (await api.client.put("/api/admin/chargers/NEW-4", json=body)).json()
            assert "password" not in adopted
            async with charger(server.ws, "NEW-4", headers=headers) as raw:
                assert (await raw.boot())["status"] == "Accepted"
            with pytest.raises(InvalidStatus, match="401"):
                await RawCharger.connect(server.ws, "NEW-4", headers=basic(b"NEW-4", b"another"))

    @pytest.mark.parametrize("sent", ["s3cret-of-new-10", None])
    async def test_one_that_connects_anew_for_its_adoption_is_asked_to_boot_then(
        self, make_server: Any, monkeypatch: pytest.MonkeyPatch, sent: str | None
    ) -> None:
        monkeypatch.setattr(adoption, "PATIENCE", timedelta(0))
        async with open_door(make_server) as (server, world, api):
            headers = {} if sent is None else basic(b"NEW-10", sent.encode())
            async with charger(server.ws, "NEW-10", headers=headers) as raw:
                await raw.boot()
                body = {"station_id": str((await world.station()).id), "security_profile": 1}
                adopted = (await api.client.put("/api/admin/chargers/NEW-10", json=body)).json()
                assert (await raw.closed())[1] == "the charger's settings changed"
                assert raw.calls.empty()
            headers = basic(b"NEW-10", (sent or adopted["password"]).encode())
            async with charger(server.ws, "NEW-10", headers=headers) as raw:
                frame = await raw.next_call()
                assert frame[2:] == ["TriggerMessage", {"requestedMessage": "BootNotification"}]
                await raw.answer(frame, {"status": "Accepted"})
                assert (await raw.boot())["status"] == "Accepted"

    @pytest.mark.parametrize("answer", ["Rejected", "Accepted"])
    async def test_one_that_was_away_is_asked_once_and_not_after_its_boot(
        self, make_server: Any, monkeypatch: pytest.MonkeyPatch, answer: str
    ) -> None:
        monkeypatch.setattr(adoption, "PATIENCE", timedelta(0))
        async with open_door(make_server) as (server, world, api):
            async with charger(server.ws, "NEW-11") as raw:
                await raw.boot()
            await until(lambda: _offline(api, "NEW-11"))
            body = {"station_id": str((await world.station()).id)}
            await api.client.put("/api/admin/chargers/NEW-11", json=body)
            async with charger(server.ws, "NEW-11") as raw:
                frame = await raw.next_call()
                assert frame[2:] == ["TriggerMessage", {"requestedMessage": "BootNotification"}]
                await raw.answer(frame, {"status": answer})
                if answer == "Rejected":
                    assert (await raw.closed())[1] == "the charger was adopted: boot again"
            async with charger(server.ws, "NEW-11") as raw:
                assert (await raw.boot())["status"] == "Accepted"
                async with server.database.session() as session:
                    await defer(session, adoption.TASK, charger_id="NEW-11")
                await until(lambda: _no_jobs(server.database))
                assert raw.calls.empty()

    async def test_one_that_boots_by_itself_is_not_asked(
        self, make_server: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(adoption, "PATIENCE", timedelta(seconds=1))
        async with open_door(make_server) as (server, world, api):
            async with charger(server.ws, "NEW-12") as raw:
                await raw.boot()
            await until(lambda: _offline(api, "NEW-12"))
            body = {"station_id": str((await world.station()).id)}
            await api.client.put("/api/admin/chargers/NEW-12", json=body)
            async with charger(server.ws, "NEW-12") as raw:
                assert (await raw.boot())["status"] == "Accepted"
                await until(lambda: _no_jobs(server.database))
                assert raw.calls.empty()

    async def test_a_password_asked_for_by_the_adoption_ends_the_socket_that_has_none(
        self, make_server: Any
    ) -> None:
        async with open_door(make_server) as (server, world, api):
            station = await world.station()
            async with charger(server.ws, "NEW-7") as raw:
                await raw.boot()
                body = {"station_id": str(station.id), "security_profile": 1}
                adopted = (await api.client.put("/api/admin/chargers/NEW-7", json=body)).json()
                assert (await raw.closed())[1] == "the charger's settings changed"
            with pytest.raises(InvalidStatus, match="401"):
                await RawCharger.connect(server.ws, "NEW-7")
            headers = basic(b"NEW-7", adopted["password"].encode())
            async with charger(server.ws, "NEW-7", headers=headers) as raw:
                assert (await raw.boot())["status"] == "Accepted"

    async def test_a_silent_second_socket_does_not_go_on_as_pending(self, make_server: Any) -> None:
        async with open_door(make_server) as (server, world, api):
            station = await world.station()
            async with charger(server.ws, "NEW-8") as raw, charger(server.ws, "NEW-8") as silent:
                await raw.boot()
                await api.client.put("/api/admin/chargers/NEW-8", json={"station_id": str(station.id)})
                assert (await silent.closed())[1] == "the charger was adopted: boot again"
                await raw.answer(await raw.next_call(), {"status": "Accepted"})
                assert (await raw.boot())["status"] == "Accepted"

    async def test_it_may_also_be_rejected(self, make_server: Any) -> None:
        async with open_door(make_server) as (server, _, api), charger(server.ws, "NEW-5") as raw:
            await raw.boot()
            body = {"registration": "Rejected"}
            assert (await api.client.put("/api/admin/chargers/NEW-5", json=body)).status_code == 200
            await raw.answer(await raw.next_call(), {"status": "Accepted"})
            assert (await raw.boot())["status"] == "Rejected"

    @pytest.mark.parametrize("role", [Role.SYSTEM_ADMIN, Role.BACKOFFICE])
    async def test_who_makes_it_anew_is_told_how_it_is_adopted(self, make_server: Any, role: Role) -> None:
        async with open_door(make_server) as (server, world, _), charger(server.ws, "NEW%2F13") as raw:
            await raw.boot()
            user = await world.user(role)
            said = "a SystemAdmin gives it to you" if role is Role.BACKOFFICE else "with its station"
            async with admin_client(server.http, user.headers) as client:
                answer = await client.post("/api/admin/chargers", json={"id": "NEW/13"})
                assert (answer.status_code, answer.json()["error"]) == (409, "ChargerExists")
                for text in ("waits to be adopted", said, "PUT /api/admin/chargers/NEW%2F13"):
                    assert text in answer.json()["message"]
                    assert text in answer.json()["fields"]["id"]
                if role is Role.BACKOFFICE:
                    table = await client.post("/api/admin/chargers.csv?dry_run=true", content="id\nNEW/13")
                    [fault] = table.json()["faults"]
                    assert (fault["line"], fault["column"]) == (2, "id")
                    assert said in fault["message"]

    async def test_a_change_of_its_name_alone_adopts_nobody(self, make_server: Any) -> None:
        async with open_door(make_server) as (server, _, api), charger(server.ws, "NEW-6") as raw:
            await raw.boot()
            await api.client.put("/api/admin/chargers/NEW-6", json={"name": "By the door"})
            assert await pending(api) == ["NEW-6"]


async def world_business(world: World, station: Any) -> Any:
    async with world.database.session() as session:
        return await session.get(type(await world.backoffice()), station.backoffice_id)


async def _offline(api: AdminApi, charger_id: str) -> bool:
    return not (await api.charger(charger_id))["online"]


async def _no_jobs(database: Database) -> bool:
    """Whether everybody who was to be asked for a boot has been."""
    query = text(
        "SELECT count(*) FROM procrastinate_jobs WHERE task_name = :task AND status IN ('todo', 'doing')"
    )
    async with database.session() as session:
        return bool((await session.execute(query, {"task": adoption.TASK})).scalar_one() == 0)


class TestForgetting:
    async def test_who_is_not_adopted_within_a_day_goes_unless_it_has_sessions(
        self, db: Database, world: World
    ) -> None:
        now = world.clock.now()
        day, hour = timedelta(hours=24, seconds=1), timedelta(hours=23)
        for name, age in (("OLD", day), ("USED", day), ("YOUNG", hour)):
            row = Charger(id=name, registration="Pending", unregistered_since=now - age)
            await world.add(row)
            if name == "USED":
                await world.session(row)
        await world.charger(id="ADOPTED")
        async with db.session() as session:
            assert list(await unknown.forget_unadopted(session, now)) == ["OLD"]
        async with db.session() as session:
            left = set(await session.scalars(select(Charger.id)))
        assert left == {"USED", "YOUNG", "ADOPTED"}

    async def test_those_that_stay_do_not_stand_in_the_way_of_those_that_go(
        self, db: Database, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(unknown, "PIECE", 2)
        now = world.clock.now()
        names = ("A-USED", "B-USED", "C-OLD", "D-OLD", "E-OLD")
        for name in names:
            row = Charger(id=name, registration="Pending", unregistered_since=now - timedelta(hours=25))
            await world.add(row)
            if name.endswith("USED"):
                await world.session(row)
        gone = []
        for _ in range(3):
            async with db.session() as session:
                gone.append(list(await unknown.forget_unadopted(session, now)))
        assert gone == [["C-OLD", "D-OLD"], ["E-OLD"], []]

    async def test_the_job_of_every_hour_closes_its_socket_and_it_comes_back_as_a_new_one(
        self, make_server: Any
    ) -> None:
        async with open_door(make_server) as (server, _, api):
            async with charger(server.ws, "STALE-1") as raw, charger(server.ws, "FRESH-1") as fresh:
                await raw.boot(firmwareVersion="1.0")
                await fresh.boot()
                assert (await api.charger("STALE-1"))["firmware_version"] == "1.0"
                came = server.app.state.clock.now() - timedelta(hours=24, seconds=1)
                async with server.database.session() as session:
                    aged = update(Charger).where(Charger.id == "STALE-1")
                    await session.execute(aged.values(unregistered_since=came))
                    await defer(session, "onboarding:forget_unadopted", timestamp=0)
                assert (await raw.closed())[1] == "nobody has adopted this charger"
                assert await pending(api) == ["FRESH-1"]
                assert (await fresh.boot())["status"] == "Pending"
            async with charger(server.ws, "STALE-1") as raw:
                again = await api.charger("STALE-1")
                assert again["unregistered_since"] > utc_z(came + timedelta(hours=24))
                assert again["firmware_version"] is None
                assert (await raw.boot())["status"] == "Pending"
                assert await pending(api) == ["FRESH-1", "STALE-1"]


class TestFreeVend:
    async def test_anybody_charges_but_who_is_blocked(
        self, server: RunningServer, server_world: World
    ) -> None:
        row = await server_world.charger(free_vend=True)
        blocked = await server_world.token(status=TokenStatus.BLOCKED)
        async with charger(server.ws, row.id) as raw:
            for tag, status in ((f"X{uuid4().hex[:10]}", "Accepted"), (blocked.id_tag, "Blocked")):
                assert (await raw.result("Authorize", {"idTag": tag}))["idTagInfo"]["status"] == status
                assert (await raw.start(tag))["idTagInfo"]["status"] == status

    async def test_it_is_a_setting_of_the_charger(self, client: httpx.AsyncClient, world: World) -> None:
        admin, row = await world.admin(), await world.charger()
        path = f"/api/admin/chargers/{row.id}"
        assert (await client.get(path, headers=admin.headers)).json()["free_vend"] is False
        changed = await client.put(path, json={"free_vend": True}, headers=admin.headers)
        assert changed.json()["free_vend"] is True
        wrong = await client.put(path, json={"free_vend": "yes"}, headers=admin.headers)
        assert wrong.status_code == 422

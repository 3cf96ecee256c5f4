"""What a real charger does over the wire, and what the diagnosis then says of it."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import select
from tests.chargers import RawCharger, basic, charger, until
from tests.conftest import SECRET
from tests.gateway.knocking import knock
from tests.running import RunningServer
from tests.world import World
from websockets.exceptions import InvalidStatus

from ohmstead.accounts.passwords import secret_hash
from ohmstead.core.clock import SystemClock
from ohmstead.core.http import utc_z
from ohmstead.stations.models import Charger, Observation


class Doctor:
    """Asks for the diagnosis of a charger until it has a finding of a kind."""

    def __init__(self, server: RunningServer, headers: dict[str, str]) -> None:
        self.server, self.headers = server, headers

    async def finds(self, charger_id: str, kind: str) -> dict[str, Any]:
        gateway = self.server.app.state.gateway
        async with httpx.AsyncClient(base_url=self.server.http, headers=self.headers) as client:

            async def found() -> dict[str, Any] | None:
                gateway.write_observed()
                answer = await client.get(f"/api/admin/chargers/{charger_id}/diagnosis")
                assert answer.status_code == 200, answer.text
                return next((one for one in answer.json()["findings"] if one["kind"] == kind), None)

            return dict(await until(found))


@pytest.fixture
async def doctor(server: RunningServer, server_world: World) -> Doctor:
    return Doctor(server, (await server_world.admin()).headers)


async def test_a_charger_that_offers_another_version_is_told_with_what_it_offered(
    server: RunningServer, row: Charger, doctor: Doctor
) -> None:
    for _ in range(2):
        # It is let in without a subprotocol, which this client does not mind, and is closed.
        async with charger(server.ws, row.id, subprotocols=["ocpp2.0.1", "ocpp2.1"]) as raw:
            assert (await raw.closed())[0] == 1002

    async def both() -> dict[str, Any] | None:
        found = await doctor.finds(row.id, "WrongSubprotocol")
        return found if found["evidence"]["count"] == 2 else None

    found = await until(both)
    assert found["severity"] == "CRITICAL"
    assert "ocpp2.0.1, ocpp2.1" in found["summary"]
    assert len(found["evidence"]["examples"]) == 2


async def test_a_password_that_is_wrong_is_told(
    server: RunningServer, server_world: World, doctor: Doctor
) -> None:
    row = await server_world.charger(security_profile=1, password_hash=secret_hash("right" * 4, SECRET))
    for _ in range(3):
        with pytest.raises(InvalidStatus):
            await RawCharger.connect(server.ws, row.id, headers=basic(row.id.encode(), b"wrong" * 4))

    async def all_three() -> dict[str, Any] | None:
        found = await doctor.finds(row.id, "BadAuth")
        return found if found["evidence"]["count"] == 3 else None

    found = await until(all_three)
    assert found["severity"] == "WARN"
    assert "rotate-password" in found["mend"]


async def test_a_proxy_that_leaves_out_the_upgrade_is_told(
    server: RunningServer, row: Charger, doctor: Doctor
) -> None:
    assert (await knock(server.port, f"/ocpp/{row.id}", upgrade=False)).status == 426
    found = await doctor.finds(row.id, "BadHandshake")
    assert "Upgrade" in found["mend"]


async def test_a_charger_whose_messages_have_all_one_id_is_told_and_served(
    row: Charger, raw: RawCharger, doctor: Doctor
) -> None:
    for _ in range(11):
        await raw.result("Heartbeat", message_id="1")
    await raw.result("Heartbeat", message_id="2")
    found = await doctor.finds(row.id, "RepeatedIds")
    assert (found["severity"], found["evidence"]["count"]) == ("WARN", 10)
    assert {(one["id"], one["detail"]) for one in found["evidence"]["examples"]} == {("1", "Heartbeat")}


async def test_ids_that_differ_and_begin_anew_with_the_connection_are_none(
    server: RunningServer, row: Charger
) -> None:
    for _ in range(2):
        async with charger(server.ws, row.id) as raw:
            for number in range(3):
                await raw.result("Heartbeat", message_id=str(number))
    assert [one for one in server.app.state.gateway.observed.take() if one["charger_id"] == row.id] == []


async def test_a_clock_that_is_ahead_is_told(row: Charger, raw: RawCharger, doctor: Doctor) -> None:
    ahead = SystemClock().now() + timedelta(hours=5)
    await raw.status("Available", timestamp=utc_z(ahead))
    found = await doctor.finds(row.id, "ClockDrift")
    assert "5 hours ahead" in found["summary"]


async def test_a_clock_without_a_battery_is_told_by_its_sessions_too(
    row: Charger, raw: RawCharger, doctor: Doctor, tag: str
) -> None:
    await raw.start(tag, at="2000-01-01T00:00:07Z")
    found = await doctor.finds(row.id, "ClockDrift")
    assert found["severity"] == "CRITICAL"
    assert found["evidence"]["examples"][0]["of"] == "session"


async def test_messages_that_break_the_schema_are_told_with_their_answers(
    row: Charger, raw: RawCharger, doctor: Doctor
) -> None:
    await raw.error("StatusNotification", {"connectorId": "one"})
    found = await doctor.finds(row.id, "SchemaFaults")
    assert "StatusNotification" in found["summary"]
    assert found["evidence"]["examples"][0]["detail"].startswith("StatusNotification ")


async def test_a_start_that_takes_the_place_of_a_session_is_a_missing_stop(
    row: Charger, raw: RawCharger, doctor: Doctor, tag: str
) -> None:
    now = SystemClock().now()
    for minutes in (30, 20):
        await raw.start(tag, at=utc_z(now - timedelta(minutes=minutes)))
    found = await doctor.finds(row.id, "MissingStops")
    assert found["evidence"]["count"] == 1
    assert "closed as ReplacedByNewStart" in found["evidence"]["examples"][0]["detail"]


async def test_a_register_that_jumps_is_told(row: Charger, raw: RawCharger, doctor: Doctor, tag: str) -> None:
    now = SystemClock().now()
    answer = await raw.start(tag, meter=1000, at=utc_z(now - timedelta(minutes=10)))
    await raw.stop(answer["transactionId"], meter=900_000_000, at=utc_z(now))
    found = await doctor.finds(row.id, "RegisterJumps")
    assert "register_jump" in found["summary"]


async def test_a_charger_that_comes_and_goes_is_told(
    server: RunningServer, row: Charger, doctor: Doctor
) -> None:
    for _ in range(7):
        async with charger(server.ws, row.id) as raw:
            await raw.vanish()
    found = await doctor.finds(row.id, "Flapping")
    assert "1006" in found["summary"]


async def observations(server: RunningServer) -> dict[str, int]:
    async with server.database.session() as session:
        return {one.charger_id: one.count for one in await session.scalars(select(Observation))}


async def test_what_was_seen_is_written_by_itself_and_when_the_server_stops(
    make_server: Any, database_factory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = database_factory("observed")
    monkeypatch.setattr("ohmstead.gateway.server.SEEN_EVERY_SECONDS", 0.1)
    async with make_server(database_url=url) as first:
        world = World(first.database, first.settings, first.app.state.clock)
        row = await world.charger()
        async with charger(first.ws, row.id, subprotocols=["ocpp2.0.1"]) as raw:
            await raw.closed()
        assert await until(lambda: observations(first)) == {row.id: 1}
        monkeypatch.setattr("ohmstead.gateway.server.SEEN_EVERY_SECONDS", 1000)
        async with charger(first.ws, row.id, subprotocols=["ocpp2.0.1"]) as raw:
            await raw.closed()
        assert await observations(first) == {row.id: 1}
    async with make_server(database_url=url) as second:
        assert await observations(second) == {row.id: 2}

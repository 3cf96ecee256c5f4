"""What a charger with a template sees on the wire when it boots."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select
from tests.chargers import RawCharger, charger, until
from tests.fleet.configuration.scenes import KEYS, template
from tests.gateway.admin import AdminApi, admin_client
from tests.running import RunningServer
from tests.world import World

from ohmstead.fleet.configuration import applying
from ohmstead.fleet.configuration.models import ConfigurationTurn
from ohmstead.stations.models import Charger

KNOWN = {"GetConfigurationMaxKeys": "10", "HeartbeatInterval": "120", "MeterValueSampleInterval": "60"}


async def turn(server: RunningServer, row: Charger) -> ConfigurationTurn | None:
    async with server.database.session() as session:
        query = select(ConfigurationTurn).where(ConfigurationTurn.charger_id == row.id)
        return (await session.scalars(query)).one_or_none()


async def run_now(server: RunningServer, row: Charger) -> None:
    """Let the job run as soon as the charger counts as online, and not seconds later."""

    async def is_online() -> bool:
        async with server.database.session() as session:
            return bool(await session.scalar(select(Charger.online).where(Charger.id == row.id)))

    await until(is_online)
    async with server.database.session() as session:
        await server.app.state.jobs.defer(session, applying.TASK)


async def serve(raw: RawCharger, keys: dict[str, str], commands: int) -> list[Any]:
    """Answer so many commands as a charger with these keys; returns them."""
    seen = []
    for _ in range(commands):
        frame = await raw.next_call()
        seen.append(frame[2:])
        if frame[2] == "GetConfiguration":
            listed = [{"key": key, "readonly": False, "value": keys[key]} for key in frame[3]["key"]]
            await raw.answer(frame, {"configurationKey": listed})
        else:
            keys[frame[3]["key"]] = frame[3]["value"]
            await raw.answer(frame, {"status": "Accepted"})
    return seen


async def test_the_template_is_applied_after_the_boot_was_answered(
    server: RunningServer, server_world: World
) -> None:
    row = await server_world.charger()
    await template(server_world, row, KEYS)
    user = await server_world.admin()
    async with charger(server.ws, row.id) as raw:
        answer = await raw.boot()
        assert (answer["status"], answer["interval"]) == ("Accepted", 120)
        assert raw.calls.empty()
        keys = dict(KNOWN)
        assert await serve(raw, keys, 3) == [
            ["GetConfiguration", {"key": ["GetConfigurationMaxKeys"]}],
            ["GetConfiguration", {"key": list(KEYS)}],
            ["ChangeConfiguration", {"key": "MeterValueSampleInterval", "value": "30"}],
        ]

        async def ended() -> bool:
            found = await turn(server, row)
            return found is not None and found.ending == "Done"

        await until(ended)
        assert raw.calls.empty()
    async with admin_client(server.http, user.headers) as client:
        shown = await AdminApi(client).get(f"/chargers/{row.id}/configuration")
        assert shown["template"]["state"] == "InSync"


async def test_a_charger_that_is_away_when_its_turn_comes_is_asked_when_it_is_back(
    server: RunningServer, server_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(applying, "SETTLE", timedelta(0))
    row = await server_world.charger()
    await template(server_world, row, KEYS)
    async with charger(server.ws, row.id) as raw:
        await raw.boot()
        await run_now(server, row)
        assert (await raw.next_call())[2] == "GetConfiguration"
        await raw.vanish()

    async def waits() -> bool:
        found = await turn(server, row)
        return found is not None and found.ending == "Away" and found.due_at is not None

    await until(waits)
    monkeypatch.setattr(applying, "AGAIN_AFTER", timedelta(0))
    async with server.database.session() as session:
        found = await session.get(ConfigurationTurn, row.id)
        assert found is not None
        found.due_at = server.app.state.clock.now()
    async with charger(server.ws, row.id) as raw:
        await raw.result("Heartbeat")

        await run_now(server, row)
        keys = dict(KNOWN)
        seen = await serve(raw, keys, 3)
        assert seen[-1] == ["ChangeConfiguration", {"key": "MeterValueSampleInterval", "value": "30"}]


@pytest.mark.parametrize("registration", ["Pending", "Rejected"])
async def test_a_charger_that_is_not_accepted_is_asked_nothing(
    server: RunningServer, server_world: World, registration: str
) -> None:
    row = await server_world.charger(registration=registration)
    await template(server_world, row, KEYS)
    async with charger(server.ws, row.id) as raw:
        answer = await raw.boot()
        assert (answer["status"], answer["interval"]) == (registration, 60)
    assert await turn(server, row) is None


async def test_a_charger_without_a_template_gets_the_servers_own_heartbeat_and_no_question(
    server: RunningServer, server_world: World
) -> None:
    row = await server_world.charger()
    async with charger(server.ws, row.id) as raw:
        assert (await raw.boot())["interval"] == server.settings.ocpp_heartbeat_interval
    assert await turn(server, row) is None


async def test_a_reconnect_without_a_boot_asks_nothing(server: RunningServer, server_world: World) -> None:
    row = await server_world.charger()
    await template(server_world, row, KEYS)
    async with charger(server.ws, row.id) as raw:
        await raw.result("Heartbeat")
    assert await turn(server, row) is None

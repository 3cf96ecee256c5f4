"""Nothing is ever sent to a charger that nobody asked for, whatever runs by itself."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from tests.chargers import RawCharger, charger, until
from tests.fleet.configuration.scenes import KEYS, template
from tests.gateway.admin import AdminApi, admin_client
from tests.running import RunningServer
from tests.world import World

from ohmstead.fleet.configuration import applying

BY_THE_MINUTE = {
    "configuration:apply_templates_again",
    "local_lists:keep_local_lists",
    "campaigns:mend",
}
ASKED_FOR = {"GetConfiguration", "ChangeConfiguration", "GetLocalListVersion", "SendLocalList"}


async def minutes_pass(server: RunningServer) -> None:
    """Have the server run whatever it runs every few minutes, once, and wait until it has."""
    jobs = server.app.state.jobs
    turns = jobs.app.periodic_registry.periodic_tasks.values()
    tasks = sorted(turn.task.name for turn in turns if turn.cron.startswith("*"))
    assert set(tasks) >= BY_THE_MINUTE
    async with server.database.session() as session:
        last = await session.scalar(text("SELECT coalesce(max(id), 0) FROM procrastinate_jobs"))
        for task in tasks:
            await jobs.defer(session, task, timestamp=0)
    query = text(
        "SELECT task_name FROM procrastinate_jobs"
        " WHERE id > :last AND args ->> 'timestamp' = '0' AND status = 'succeeded'"
    )

    async def all_ran() -> bool:
        async with server.database.session() as session:
            return sorted(await session.scalars(query, {"last": last})) == tasks

    await until(all_ran)


@asynccontextmanager
async def obeying(raw: RawCharger) -> AsyncIterator[set[str]]:
    """Let a charger do as it is told; gives the names of what it was asked."""
    asked: set[str] = set()

    async def obey() -> None:
        while True:
            frame = await raw.calls.get()
            asked.add(frame[2])
            answers: dict[str, Any] = {
                "GetConfiguration": {"configurationKey": [], "unknownKey": []},
                "GetLocalListVersion": {"listVersion": 0},
            }
            await raw.answer(frame, answers.get(frame[2], {"status": "Accepted"}))

    task = asyncio.create_task(obey())
    try:
        yield asked
    finally:
        task.cancel()
        await asyncio.wait({task})


async def ask_for_everything(server: RunningServer, world: World, charger_id: str) -> None:
    """Ask for all that a business can have done by itself, at one charger: template, local list, campaign."""
    admin = await world.admin()
    async with admin_client(server.http, admin.headers) as client:
        rule = {"charger_id": charger_id, "tags": {"all": True}, "keep_up_to_date": True}
        made = await client.post("/api/admin/local-list-rules", json=rule)
        assert made.status_code == 201, made.text
        campaign = {
            "kind": "Configuration",
            "parameters": {"keys": {"HeartbeatInterval": "60"}},
            "chargers": {"charger_ids": [charger_id]},
        }
        made = await client.post("/api/admin/campaigns", json=campaign)
        assert made.status_code == 201, made.text


async def test_a_charger_without_a_template_that_boots_and_charges_is_asked_nothing(
    server: RunningServer, server_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A neighbour, for which everything was asked, shows that the jobs did their work meanwhile."""
    monkeypatch.setattr(applying, "SETTLE", timedelta(0))
    ours, theirs = await server_world.charger(), await server_world.charger()
    tag = (await server_world.token()).id_tag
    await template(server_world, theirs, KEYS)
    admin = await server_world.admin()
    async with charger(server.ws, ours.id) as raw, charger(server.ws, theirs.id) as neighbour:
        async with obeying(neighbour) as asked:
            await neighbour.boot()
            await ask_for_everything(server, server_world, theirs.id)
            await raw.boot()
            for number in (0, 1, 2):
                await raw.status("Available", number)
            await raw.result("Authorize", {"idTag": tag})
            await raw.status("Preparing")
            started = await raw.start(tag)
            assert started["idTagInfo"]["status"] == "Accepted"
            transaction = started["transactionId"]
            await raw.status("Charging")
            await raw.meter("2026-05-04T12:10:00Z", "500", transaction=transaction)
            await minutes_pass(server)
            await raw.stop(transaction, 900)
            await raw.status("Faulted", errorCode="GroundFailure")
            await raw.status("Available")
            await raw.boot()

            async def done() -> bool:
                await minutes_pass(server)
                return asked >= ASKED_FOR

            await until(done)
        await raw.result("Heartbeat")
        assert raw.calls.empty()
        assert raw.stray.empty()
    async with charger(server.ws, ours.id) as raw:  # it comes back, and does not boot
        await minutes_pass(server)
        await raw.result("Heartbeat")
        assert raw.calls.empty()
    async with admin_client(server.http, admin.headers) as client:
        log = await AdminApi(client).messages(ours.id)
    assert {one["direction"] for one in log} == {"in"}

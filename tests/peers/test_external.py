"""A simulator from elsewhere, by the command in OHMSTEAD_PEER_COMMAND (docs/simulators.md has some).

`{url}` is the address without the identity, `{id}`, `{password}` and `{tag}` are what they say. Without
the variable the npm package `ocpp-rpc` plays the part, so that the test is never without somebody.
"""

import asyncio
import os
import shlex
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tests.chargers import until
from tests.gateway.admin import AdminApi, admin_client
from tests.nodejs import BIN, installed
from tests.running import RunningServer
from tests.world import World

from ohmstead.accounts.passwords import secret_hash

COMMAND = os.environ.get("OHMSTEAD_PEER_COMMAND")
SECONDS = float(os.environ.get("OHMSTEAD_PEER_SECONDS", "60"))
PASSWORD = "correct-horse-9"
NODE = Path(__file__).parent / "node"
OURS = ("env", "URL_BASE={url}", "IDENTITY={id}", "PASSWORD={password}", "TAG={tag}", str(BIN / "node"))


def command_line(**values: str) -> list[str]:
    """Return the program to run, each placeholder filled in; values are never split."""
    words = shlex.split(COMMAND) if COMMAND else [*OURS, str(installed(NODE) / "ocpp_rpc.mjs")]
    for name, value in values.items():
        words = [word.replace(f"{{{name}}}", value) for word in words]
    return words


@pytest.mark.timeout(SECONDS * 3 + 30)
async def test_a_simulator_from_elsewhere_boots_reports_and_charges(
    server: RunningServer, server_world: World
) -> None:
    charger = await server_world.charger(
        id=f"EXT-{uuid4().hex[:8]}",
        security_profile=1,
        password_hash=secret_hash(PASSWORD, key=server.settings.signing_key),
    )
    tag = (await server_world.token()).id_tag
    admin = await server_world.admin()
    words = command_line(url=f"{server.ws}/ocpp", id=charger.id, password=PASSWORD, tag=tag)
    process = await asyncio.create_subprocess_exec(*words, stdin=asyncio.subprocess.DEVNULL)
    try:
        async with admin_client(server.http, admin.headers) as client:
            api = AdminApi(client)

            async def booted() -> Any:
                return (await api.charger(charger.id))["model"]

            async def reported() -> Any:
                return (await api.connector(charger.id))["status"]

            async def charging() -> Any:
                sessions = await api.transactions(charger.id)
                if sessions:
                    return sessions[0]
                await client.post(
                    f"/api/admin/chargers/{charger.id}/remote-start",
                    json={"id_tag": tag, "connector_id": 1},
                )
                return None

            async def ended() -> Any:
                session = await api.transaction(started["id"])
                if session["status"] == "Completed":
                    return session
                await client.post(
                    f"/api/admin/chargers/{charger.id}/remote-stop",
                    json={"transaction_id": session["ocpp_transaction_id"]},
                )
                return None

            assert await until(booted, SECONDS)
            assert await until(reported, SECONDS)
            started = await until(charging, SECONDS)
            session = await until(ended, SECONDS)
            assert session["unmatched"] is False
            assert session["energy_wh"] >= 0
            refused = await api.messages(charger.id, direction="in", errors="true")
            assert refused == [], "a frame of the simulator was refused"
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()

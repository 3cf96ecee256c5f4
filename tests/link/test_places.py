"""One server without Redis serves a database alone, and says so to the next one."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.chargers import charger
from tests.conftest import SECRET
from tests.faults.proof import rows
from tests.running import free_port
from tests.world import World

from ohmstead.app import create_app
from ohmstead.core import processes
from ohmstead.core.config import Settings
from ohmstead.core.errors import StartupError
from ohmstead.server import Server


def settings_of(url: str, folder: Path, **more: Any) -> Settings:
    values = {"environment": "test", "secret_key": SECRET, "log_level": "ERROR", "port": free_port()}
    return Settings.load(**{**values, "database_url": url, "data_dir": folder, **more})


async def test_a_second_server_is_refused_before_it_changes_anything(
    *,
    make_server: Any,
    database_factory: Any,
    redis_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processes, "WAIT_SECONDS", 0.2)
    url = database_factory("place")
    admin = {"admin_email": "late@example.com", "admin_password": "a-long-enough-password"}
    async with make_server(database_url=url) as server:
        world = World(server.database, server.settings, server.app.state.clock)
        known = await world.charger(connectors=0)
        async with charger(server.ws, known.id) as raw:
            await raw.boot()
            for more in ({}, {"redis_url": redis_url}):
                settings = settings_of(url, tmp_path, **admin, **more)
                with pytest.raises(StartupError, match="Another Ohmstead server"):
                    await Server(create_app(settings), settings, host="127.0.0.1").run()
            await raw.result("Heartbeat")
        assert await rows(url, "SELECT 1 FROM accounts_user WHERE email = 'late@example.com'") == []
        ended = await rows(url, "SELECT close_reason FROM gateway_connection WHERE close_code = 1006")
        assert ended == []


async def test_a_server_whose_database_was_taken_by_another_one_ends_in_order(
    database_factory: Any, tmp_path: Path
) -> None:
    settings = settings_of(database_factory("place"), tmp_path)
    ready = asyncio.Event()
    server = Server(create_app(settings), settings, host="127.0.0.1", on_ready=ready.set)
    task = asyncio.create_task(server.run())
    await asyncio.wait_for(ready.wait(), 60)
    server.processes.usurped.set()
    with pytest.raises(StartupError, match="has taken this database") as told:
        await asyncio.wait_for(task, 60)
    assert "REDIS_URL" in told.value.hint

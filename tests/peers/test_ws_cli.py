"""npm `ocpp-ws-cli` against the real server: its compliance suite, its fuzzer, its charge point.

It draws on a terminal, so it gets one.
"""

import asyncio
import fcntl
import json
import os
import pty
import re
import struct
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tests.chargers import RawCharger, until
from tests.gateway.admin import AdminApi, admin_client
from tests.nodejs import BIN, environment, installed
from tests.running import RunningServer
from tests.world import World

from ohmstead.core.http import utc_z

FOLDER = Path(__file__).parent / "node"
CLI = "node_modules/ocpp-ws-cli/dist/index.js"
BEGAN = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")

OTHERWISE = {
    "Server requires subprotocol": "none offered is taken as ocpp1.6: chargers in the field forget it",
    "Server rejects oversized frames (>128KB)": "frames of 256 KiB are taken, larger ones close with 1009",
    "Server enforces MessageId is a string": "1.6 names the code FormationViolation, 2.0.1 FormatViolation",
    "Server rejects missing payload in CALL": "as above",
    "Server rejects non-object payload in CALL": "as above",
}
"""Checks of the suite that Ohmstead decides otherwise, and why; every other one must pass."""


class Terminal:
    """A program on a terminal of its own; `text` is all that it has drawn."""

    def __init__(self, process: asyncio.subprocess.Process, screen: int) -> None:
        self.process = process
        self._screen = screen
        self._drawn = b""
        asyncio.get_running_loop().add_reader(screen, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._screen, 65_536)
        except OSError:  # the program has closed its side
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._screen)
        self._drawn += data

    @property
    def text(self) -> str:
        return ESCAPES.sub(b"", self._drawn).decode(errors="replace")


@asynccontextmanager
async def ws_cli(*arguments: str) -> AsyncIterator[Terminal]:
    """Run the program until the block ends."""
    folder = installed(FOLDER)
    screen, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 160, 0, 0))
    process = await asyncio.create_subprocess_exec(
        BIN / "node",
        CLI,
        *arguments,
        stdin=other,
        stdout=other,
        stderr=other,
        cwd=folder,
        env=environment(TERM="xterm", COLUMNS="160"),
        start_new_session=True,
    )
    os.close(other)
    terminal = Terminal(process, screen)
    try:
        yield terminal
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        asyncio.get_running_loop().remove_reader(screen)
        os.close(screen)


def report(folder: Path) -> dict[str, Any]:
    [file] = folder.glob("*.json")
    said: dict[str, Any] = json.loads(file.read_text())
    return said


async def fuzz(server: RunningServer, world: World, *, workers: int, seconds: float) -> None:
    """Let the fuzzer run for so long: what it sends is answered, nobody is thrown out, others are served."""
    bystander, admin = await world.charger(), await world.admin()
    prefix = uuid4().hex[:8]
    chargers = [(await world.charger(id=f"{prefix}/Fuzzer-{one}")).id for one in range(1, workers + 1)]
    async with (
        admin_client(server.http, admin.headers) as client,
        await RawCharger.connect(server.ws, bystander.id) as raw,
        ws_cli(
            *("fuzz", "-e", f"{server.ws}/ocpp/{prefix}", "-w", str(workers), "--flood"),
            *("--report", "json"),  # or it would ask
        ),
    ):
        api = AdminApi(client)

        async def begun() -> bool:
            return len(await api.connections(chargers[-1])) > 0

        await until(begun)
        for _ in range(max(1, int(seconds / 0.25))):
            assert "currentTime" in await raw.result("Heartbeat")
            await asyncio.sleep(0.25)
        for charger in chargers:
            [connection] = await api.connections(charger)
            assert connection["closed_at"] is None, "its socket goes on"
            heard = await api.get("/ocpp/messages", charger=charger, limit=1)
            refused = await api.get("/ocpp/messages", charger=charger, limit=1, errors="true")
            assert heard["total"] > 10 * seconds
            # Some of what it sends is right, and what is no CALL has no answer; the rest is told its fault.
            assert refused["total"] > heard["total"] / 3


async def comply(server: RunningServer, world: World, folder: Path) -> None:
    """Run the compliance suite: what it finds is only what is decided otherwise."""
    await asyncio.to_thread(folder.mkdir)
    charger = await world.charger(id=f"SUITE-{uuid4().hex[:8]}")
    async with ws_cli(
        *("test", "-e", f"{server.ws}/ocpp", "-i", charger.id, "-p", "ocpp1.6", "--suite", "all"),
        *("--report", "json", "--report-dir", str(folder)),
    ) as terminal:
        await asyncio.wait_for(terminal.process.wait(), 100)
    results = report(folder)["testResults"]
    assert len(results) == 21
    failed = {one["name"]: one.get("issue") for one in results if not one["passed"]}
    assert set(failed) == set(OTHERWISE), failed
    assert all("FormationViolation" in (failed[name] or "") for name in list(OTHERWISE)[2:])


async def test_its_compliance_suite_finds_only_what_is_decided_otherwise(
    server: RunningServer, server_world: World, tmp_path: Path
) -> None:
    await comply(server, server_world, tmp_path / "report")


async def meter_until(server: RunningServer, world: World, ended: asyncio.Event) -> tuple[int, int]:
    """Charge at 7.2 kW, a value for each second and five of them in one; gives the transaction and its Wh."""
    charger, tag = await world.charger(), (await world.token()).id_tag
    register = 0
    async with await RawCharger.connect(server.ws, charger.id) as raw:
        await raw.boot()
        transaction = (await raw.start(tag, at=utc_z(BEGAN)))["transactionId"]
        while not ended.is_set():
            register += 2
            at = utc_z(BEGAN + timedelta(seconds=register / 2))
            answer = await raw.meter(at, str(register), transaction=transaction)
            assert answer[0] == 3, answer
            await asyncio.sleep(0.2)
        await raw.stop(transaction, register, at=utc_z(BEGAN + timedelta(seconds=register / 2 + 1)))
    return transaction, register


@pytest.mark.prove
async def test_its_compliance_suite_finds_the_same_again_and_again_while_many_charge(
    server: RunningServer, server_world: World, tmp_path: Path
) -> None:
    ended = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        charging = [group.create_task(meter_until(server, server_world, ended)) for _ in range(50)]
        for turn in range(2):
            await comply(server, server_world, tmp_path / str(turn))
        ended.set()
    admin = await server_world.admin()
    async with admin_client(server.http, admin.headers) as client:
        for task in charging:
            transaction, register = task.result()
            row = await AdminApi(client).transaction(transaction)
            assert (row["status"], row["energy_wh"], row["anomalies"]) == ("Completed", register, [])


async def test_its_fuzzer_is_answered_and_disturbs_nobody(server: RunningServer, server_world: World) -> None:
    await fuzz(server, server_world, workers=3, seconds=3)


@pytest.mark.prove
async def test_its_fuzzer_is_answered_for_a_minute(server: RunningServer, server_world: World) -> None:
    await fuzz(server, server_world, workers=20, seconds=60)


async def charge(server: RunningServer, world: World, *, seconds: float) -> None:
    """Let its charge point run a session that is started and stopped by the admin API."""
    charger = await world.charger(id=f"SIM-{uuid4().hex[:8]}")
    tag = (await world.token()).id_tag
    admin = await world.admin()
    async with (
        admin_client(server.http, admin.headers) as client,
        ws_cli(
            *("simulate", "-e", f"{server.ws}/ocpp", "-i", charger.id, "-t", tag, "-p", "ocpp1.6"),
            *("--report", "json"),  # or it would ask
        ),
    ):
        api = AdminApi(client)

        async def ready() -> bool:
            return bool((await api.connector(charger.id))["status"] == "Available")

        await until(ready)
        started = await client.post(
            f"/api/admin/chargers/{charger.id}/remote-start", json={"id_tag": tag, "connector_id": 1}
        )
        assert started.json()["status"] == "Accepted", started.text

        async def metered() -> dict[str, Any] | None:
            sessions = await api.transactions(charger.id, status="Active")
            return sessions[0] if sessions and (sessions[0]["energy_wh"] or 0) > 0 else None

        session = await until(metered)
        await asyncio.sleep(seconds)
        stopped = await client.post(
            f"/api/admin/chargers/{charger.id}/remote-stop",
            json={"transaction_id": session["ocpp_transaction_id"]},
        )
        assert stopped.json()["status"] == "Accepted", stopped.text

        async def completed() -> dict[str, Any] | None:
            row = await api.transaction(session["id"])
            return row if row["status"] == "Completed" else None

        ended = await until(completed)
        refused = await api.messages(charger.id, direction="in", errors="true")
    assert ended["energy_wh"] > 0
    assert ended["unmatched"] is False
    assert refused == []


async def test_its_charge_point_is_started_metered_and_stopped_from_here(
    server: RunningServer, server_world: World
) -> None:
    await charge(server, server_world, seconds=0)


@pytest.mark.prove
async def test_its_charge_point_charges_for_a_minute(server: RunningServer, server_world: World) -> None:
    await charge(server, server_world, seconds=60)

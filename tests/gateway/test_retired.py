"""A charger that is retired between its handshake and its boot, when nobody could close its socket."""

import asyncio
import json

import pytest
from sqlalchemy import update
from tests.chargers import RawCharger, until
from tests.gateway.admin import AdminApi
from tests.running import RunningServer
from websockets.exceptions import InvalidStatus

from ohmstead.stations.models import Charger

BOOT = {"chargePointVendor": "Test", "chargePointModel": "Raw"}


async def retire(server: RunningServer, row: Charger) -> None:
    """Retire a charger as another process does: its socket is not closed by it."""
    async with server.database.session() as session:
        retired = update(Charger).where(Charger.id == row.id).values(retired_at=server.app.state.clock.now())
        await session.execute(retired)


async def test_its_boot_is_rejected_and_then_its_socket_is_closed(
    server: RunningServer, api: AdminApi, row: Charger, raw: RawCharger
) -> None:
    await retire(server, row)
    answer = await raw.boot()
    assert answer["status"] == "Rejected"
    assert await raw.closed() == (1000, "the charger is retired")
    assert row.registration == "Accepted", "retiring is not registering: it may be taken back"

    async def offline() -> bool:
        return not (await api.charger(row.id))["online"]

    await until(offline)
    with pytest.raises(InvalidStatus) as refused:
        await RawCharger.connect(server.ws, row.id)
    assert refused.value.response.status_code == 404


async def test_what_it_sends_right_behind_its_boot_starts_nothing(
    server: RunningServer, api: AdminApi, row: Charger, raw: RawCharger, tag: str
) -> None:
    await retire(server, row)
    start = {"connectorId": 1, "idTag": tag, "meterStart": 0, "timestamp": "2026-05-04T12:00:00Z"}
    booted = raw.expect("boot")
    await raw.send(json.dumps([2, "boot", "BootNotification", BOOT]))
    await raw.send(json.dumps([2, "start", "StartTransaction", start]))
    assert (await asyncio.wait_for(booted, 60))[2]["status"] == "Rejected"
    await raw.closed()

    async def answered() -> bool:
        return any(message["action"] == "StartTransaction" for message in await api.messages(row.id))

    await until(answered)
    (session,) = await api.transactions(row.id)
    assert session["id_tag_status"] != "Accepted"


async def test_one_that_is_back_in_service_boots_as_before(
    server: RunningServer, row: Charger, raw: RawCharger
) -> None:
    await retire(server, row)
    async with server.database.session() as session:
        await session.execute(update(Charger).where(Charger.id == row.id).values(retired_at=None))
    assert (await raw.boot())["status"] == "Accepted"
    assert (await raw.call("Heartbeat"))[0] == 3

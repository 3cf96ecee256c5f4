"""What our CALLs come to is counted by names that we know; what chargers make up is one of them."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from tests.chargers import RawCharger, charger, until
from tests.gateway.admin import AdminApi
from tests.running import RunningServer

from ohmstead.ocpp.errors import ErrorCode
from ohmstead.stations.models import Charger


async def counted(server: RunningServer) -> dict[str, float]:
    """How often ClearCache came to each result."""
    async with httpx.AsyncClient(trust_env=False) as client:
        token = {"Authorization": "Bearer metrics-token"}
        lines = (await client.get(f"{server.http}/metrics", headers=token)).text.splitlines()
    start = 'ohmstead_ocpp_messages_total{action="ClearCache",direction="out",result="'
    found = (line.removeprefix(start).partition('"} ') for line in lines if line.startswith(start))
    return {result: float(count) for result, _, count in found}


async def one_more(server: RunningServer, result: str, before: dict[str, float]) -> None:
    async def more() -> bool:
        return (await counted(server)).get(result, 0) == before.get(result, 0) + 1

    await until(more)
    assert set(await counted(server)) <= {*ErrorCode, "ok", "other", "Timeout", "Disconnected", "Cancelled"}


@pytest.mark.parametrize(
    ("code", "result"),
    [
        ("NotSupported", "NotSupported"),
        ("OccurenceConstraintViolation", "OccurenceConstraintViolation"),
        ("", "other"),
        ("ok", "other"),
        ("Timeouts", "other"),
        ("Vendor-4711", "other"),
        ("x" * 5000, "other"),
        ('quo"te\n', "other"),
        ("a\0b", "other"),
    ],
)
async def test_a_callerror_is_counted_by_its_code_if_the_standard_has_it(
    *, server: RunningServer, raw: RawCharger, row: Charger, api: AdminApi, code: str, result: str
) -> None:
    before = await counted(server)
    asked = asyncio.create_task(api.command(row.id, "ClearCache"))
    call = await raw.next_call()
    await raw.send(json.dumps([4, call[1], code, "", {}]))
    assert (await asked).json()["status"] == "CallError"
    await one_more(server, result, before)


async def test_what_ends_without_an_answer_is_counted_as_that(
    server: RunningServer, row: Charger, api: AdminApi
) -> None:
    before = await counted(server)
    async with charger(server.ws, row.id) as raw:
        asked = asyncio.create_task(api.command(row.id, "ClearCache", seconds=1))
        await raw.next_call()
        await asked
        await one_more(server, "Timeout", before)
        asked = asyncio.create_task(api.command(row.id, "ClearCache"))
        await raw.next_call()
        await raw.vanish()
        assert (await asked).status_code == 409
        await one_more(server, "Disconnected", before)


async def test_an_answer_is_ok_whatever_it_says(
    server: RunningServer, raw: RawCharger, row: Charger, api: AdminApi
) -> None:
    before = await counted(server)
    asked = asyncio.create_task(api.command(row.id, "ClearCache"))
    payload: Any = {"status": "Rejected"}
    await raw.answer(await raw.next_call(), payload)
    await asked
    await one_more(server, "ok", before)

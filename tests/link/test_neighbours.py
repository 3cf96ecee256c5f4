"""What /health/ready says of the other processes."""

from typing import Any
from uuid import uuid4

import httpx
import pytest
from tests.chargers import until
from tests.link.conftest import Pair
from tests.running import RunningServer


async def ready(server: RunningServer) -> tuple[int, dict[str, Any]]:
    async with httpx.AsyncClient(base_url=server.http, timeout=20) as http:
        answer = await http.get("/health/ready")
    return answer.status_code, answer.json()


async def test_servers_that_hear_each_other_are_ready(pair: Pair) -> None:
    async def both() -> bool:
        return all([(await ready(one))[1]["status"] == "ready" for one in (pair.one, pair.two)])

    await until(both)
    status, body = await ready(pair.one)
    assert status == 200
    assert (body["checks"]["redis"]["ok"], body["checks"]["redis"]["detail"]) == (True, "answers")


async def test_one_that_serves_the_database_and_cannot_be_heard_is_told(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with another REDIS_URL, or another secret key."""
    processes = pair.one.server.processes

    async def told() -> str | None:
        # Again and again: with its next sign of life the process looks itself who the others are.
        monkeypatch.setattr(processes, "others", [*processes.others, uuid4()])
        status, body = await ready(pair.one)
        assert status == 200
        return str(body["checks"]["redis"]["detail"]) if body["status"] == "degraded" else None

    assert "OHMSTEAD_SECRET_KEY" in await until(told)

"""A campaign goes on, and no charger fails, while Redis is lost between two servers."""

from datetime import timedelta
from typing import Any

import pytest
from tests.chargers import charger, until
from tests.link.conftest import Pair

from ohmstead.core.redis import RedisAway
from ohmstead.fleet.campaigns import progress
from ohmstead.fleet.campaigns.dispatcher import Dispatcher
from ohmstead.link.presence import Presence
from ohmstead.stations.models import Charger


async def test_a_charger_at_the_other_process_is_asked_when_redis_is_back_and_has_lost_no_try(
    pair: Pair, row: Charger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "UNREACHED_AGAIN", timedelta(seconds=0.1))
    dispatcher: Dispatcher = pair.one.app.state.campaigns
    monkeypatch.setattr(pair.two.app.state.campaigns, "wake", dispatcher.wake)  # one does all the work
    asked_in_vain: list[str] = []

    async def away(_: Presence, charger_id: str) -> str | None:
        asked_in_vain.append(charger_id)
        raise RedisAway("It was lost.")

    async with charger(pair.two.ws, row.id) as raw:
        await raw.boot()

        async def online() -> bool:
            return bool((await pair.api_one.charger(row.id))["online"])

        await until(online)
        with monkeypatch.context() as lost:
            lost.setattr(Presence, "holder", away)
            body = {
                "kind": "Configuration",
                "parameters": {"keys": {"HeartbeatInterval": "60"}},
                "chargers": {"charger_ids": [row.id]},
                "tries": 1,
            }
            made = await pair.api_one.client.post("/api/admin/campaigns", json=body)
            assert made.status_code == 201, made.text
            path = f"/campaigns/{made.json()['id']}"

            async def item() -> dict[str, Any]:
                [found] = (await pair.api_one.get(f"{path}/items"))["items"]
                return dict(found)

            async def waits() -> bool:
                dispatcher.wake()  # sooner than the queue looks for jobs whose time has come
                shown = await item()
                return asked_in_vain.count(row.id) >= 3 and shown["state"] == "Queued"

            await until(waits)
            waiting = await item()
            assert "Redis is away" in waiting["detail"]
            assert raw.calls.empty()

        async def asked() -> bool:
            dispatcher.wake()
            return not raw.calls.empty()

        await until(asked)
        frame = await raw.next_call()
        assert frame[2:] == ["ChangeConfiguration", {"key": "HeartbeatInterval", "value": "60"}]
        await raw.answer(frame, {"status": "Accepted"})

        async def finished() -> bool:
            return bool((await pair.api_one.get(path))["state"] == "Finished")

        await until(finished)
        through = await item()
        assert (through["state"], through["tries"]) == ("Done", 1)
        assert raw.calls.empty()

"""A configuration change of a whole fleet by a campaign, while its chargers charge and report."""

import asyncio
import time
from dataclasses import dataclass, field

from bench.api import Api, ApiError
from bench.driver import Load
from bench.histogram import Histogram

_LOAD_SECONDS = 1.0
_LOOK_SECONDS = 0.25
_LONGEST_SECONDS = 300.0


@dataclass(slots=True)
class Rollout:
    """How long the campaign took, how many chargers it failed at, and the other messages meanwhile."""

    seconds: float = 0.0
    failed: int = 0
    messages: Histogram = field(default_factory=Histogram)


async def roll_out(api: Api, load: Load, *, chargers: int, wave: int, rate: float) -> Rollout:
    """Change a key of every connected charger, `wave` at once, while they send `rate` messages/s in all.

    Raises ApiError when it takes in other than `chargers` chargers, or does not come to its end.
    """
    result, over = Rollout(), asyncio.Event()
    loading = asyncio.create_task(_load(load, rate, result.messages, over))
    try:
        began = time.perf_counter()
        shown = await api.post(
            "/api/admin/campaigns",
            {
                "kind": "Configuration",
                "parameters": {"keys": {"MeterValueSampleInterval": "30"}},
                "chargers": {"online": True},
                "at_once": wave,
            },
        )
        if shown["chargers"] != chargers:
            raise ApiError(f"the campaign is of {shown['chargers']} chargers, not of {chargers}")
        while shown["state"] == "Running":
            await asyncio.sleep(_LOOK_SECONDS)
            shown = await api.get(f"/api/admin/campaigns/{shown['id']}")
            result.seconds = time.perf_counter() - began
            if result.seconds > _LONGEST_SECONDS:
                raise ApiError(f"the campaign is at {shown['counts']} after {result.seconds:.0f} s")
    finally:
        over.set()
        await loading
    if shown["state"] != "Finished":
        raise ApiError(f"the campaign is {shown['state']}: {shown['reason']}")
    result.failed = chargers - shown["counts"]["Done"]
    return result


async def _load(load: Load, rate: float, messages: Histogram, over: asyncio.Event) -> None:
    while not over.is_set():
        messages.merge((await load.run(_LOAD_SECONDS, warmup=0, rate=rate)).histogram)

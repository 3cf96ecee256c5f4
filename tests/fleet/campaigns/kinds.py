"""Kinds of work for tests: one that asks a charger, and one that does as it is told without any."""

import asyncio
from collections import defaultdict

from ohmstead.core.http import Schema
from ohmstead.fleet.campaigns.work import (
    Kind,
    Means,
    Outcome,
    Parameters,
    away,
    done,
    failed,
    unanswered,
    waiting,
)
from ohmstead.link.links import ChargerOffline


class Setting(Schema):
    """A configuration key; with `waits` the charger is to tell the end later."""

    key: str = "HeartbeatInterval"
    value: str
    waits: bool = False


async def apply(means: Means, charger_id: str, parameters: Parameters) -> Outcome:
    """Send ChangeConfiguration, and take the charger at its word."""
    payload = {"key": parameters.get("key", "HeartbeatInterval"), "value": parameters["value"]}
    try:
        answer = await means.commands.send(charger_id, "ChangeConfiguration", payload)
    except ChargerOffline as error:
        return away(error.message)
    if answer.response is None:
        return unanswered("ChangeConfiguration", answer)
    if answer.status != "Accepted":
        return failed(f"The charger answered {answer.status}.", response=answer.response)
    if parameters.get("waits"):
        return waiting("The charger has begun.", response=answer.response)
    return done("The charger accepted.", response=answer.response)


SETTING = Kind("Setting", Setting, apply, repeatable=True)


class Nothing(Schema):
    """No parameters."""


class Scripted:
    """Work whose outcomes a test decides, and which notes who was worked on, and how many at once."""

    def __init__(self, *, repeatable: bool = True) -> None:
        self.kind = Kind("Scripted", Nothing, self.apply, repeatable=repeatable)
        self.outcomes: dict[str, list[Outcome | Exception]] = defaultdict(list)
        self.begun: list[str] = []
        self.at_work: set[str] = set()
        self.most = 0
        self.twice: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def apply(self, means: Means, charger_id: str, parameters: Parameters) -> Outcome:
        if charger_id in self.at_work:
            self.twice.append(charger_id)
        self.begun.append(charger_id)
        self.at_work.add(charger_id)
        self.most = max(self.most, len(self.at_work))
        try:
            await asyncio.sleep(0)
            await self.gate.wait()
        finally:
            self.at_work.discard(charger_id)
        script = self.outcomes[charger_id]
        outcome = script.pop(0) if script else done("It is done.")
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

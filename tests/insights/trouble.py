"""Rows that chargers with troubles of every kind leave behind, and the queue that looks at them."""

from datetime import timedelta
from itertools import count
from typing import Any

from fastapi import FastAPI
from procrastinate import JobContext
from procrastinate.jobs import Job
from tests.conftest import FrozenClock
from tests.world import World

from ohmstead.charging.models import ClosedBy, SessionStatus
from ohmstead.core.db import Database, raw_connection
from ohmstead.core.facts import write_facts
from ohmstead.gateway.models import Connection, Message, Refusal
from ohmstead.stations.models import Charger, Connector, StatusEvent
from ohmstead.stations.observations import OBSERVATION, REPEATED_ID, WRONG_SUBPROTOCOL, Observed

NUMBERS = count(1)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)


class Trouble:
    """Makes the rows that a charger with some trouble leaves behind, all of the last half an hour."""

    def __init__(self, world: World, clock: FrozenClock) -> None:
        self.world, self.clock = world, clock

    async def refused(self, charger: Charger, reason: str, status: int, times: int = 3) -> None:
        for number in range(times):
            await self.world.add(
                Refusal(
                    at=self.clock.now() - number * MINUTE,
                    charger_id=charger.id,
                    backoffice_id=charger.backoffice_id,
                    station_id=charger.station_id,
                    address="192.0.2.7",
                    status=status,
                    reason=reason,
                )
            )

    async def message(self, charger: Charger, **fields: Any) -> Message:
        number = next(NUMBERS)
        row = Message(
            **{
                "id": number,
                "received_at": self.clock.now() - MINUTE,
                "charger_id": charger.id,
                "direction": "in",
                "message_id": f"m{number}",
                "action": "StatusNotification",
                "request": "[]",
                **fields,
            }
        )
        await self.world.add(row)
        return row

    async def ended(self, charger: Charger, reason: str = "", times: int = 6, **fields: Any) -> None:
        for number in range(times):
            at = self.clock.now() - (number + 2) * MINUTE
            values = {"subprotocol": "ocpp1.6", "close_code": 1006, **fields}
            row = Connection(
                charger_id=charger.id, opened_at=at, closed_at=at + MINUTE, close_reason=reason, **values
            )
            await self.world.add(row)

    async def observed(self, charger: Charger, kind: str, times: int, detail: str) -> None:
        seen = Observed()
        for number in range(times):
            seen.note(charger.id, kind, self.clock.now() - number * SECOND, f"id{number}", detail)
        await write(self.world.database, seen)

    # --- one way to make each finding

    async def BadAuth(self, charger: Charger) -> None:  # noqa: N802 # named as its kind
        await self.refused(charger, "WrongPassword", 401)

    async def BadHandshake(self, charger: Charger) -> None:  # noqa: N802
        await self.refused(charger, "NoUpgrade", 426)

    async def WrongSubprotocol(self, charger: Charger) -> None:  # noqa: N802
        await self.observed(charger, WRONG_SUBPROTOCOL, 1, "ocpp2.0.1")

    async def RepeatedIds(self, charger: Charger) -> None:  # noqa: N802
        await self.observed(charger, REPEATED_ID, 12, "Heartbeat")

    async def SchemaFaults(self, charger: Charger) -> None:  # noqa: N802
        for _ in range(3):
            await self.message(charger, error_code="TypeConstraintViolation", response='[4,"m","T","no",{}]')

    async def Flapping(self, charger: Charger) -> None:  # noqa: N802
        await self.ended(charger)

    async def MissingStops(self, charger: Charger) -> None:  # noqa: N802
        for _ in range(3):
            await self.world.session(
                charger,
                status=SessionStatus.COMPLETED,
                closed_by=ClosedBy.RULE,
                closed_at=self.clock.now() - MINUTE,
                stop_reason="ReplacedByNewStart",
            )

    async def RegisterJumps(self, charger: Charger) -> None:  # noqa: N802
        for _ in range(3):
            await self.world.session(
                charger,
                status=SessionStatus.COMPLETED,
                closed_by=ClosedBy.CHARGER,
                anomalies=[{"kind": "register_jump", "at": None, "detail": ""}],
            )

    async def ClockDrift(self, charger: Charger) -> None:  # noqa: N802
        now = self.clock.now()
        await self.world.add(
            StatusEvent(
                charger_id=charger.id,
                connector_id=1,
                at=now + 3 * HOUR,
                received_at=now - MINUTE,
                status="Available",
                error_code="NoError",
            )
        )

    async def SilentConnectors(self, charger: Charger) -> None:  # noqa: N802
        booted = self.clock.now() - HOUR
        async with self.world.database.session() as session:
            row = await session.get_one(Charger, charger.id)
            row.online, row.last_boot_at, row.presence_since = True, booted, booted
            first = await session.get_one(Connector, (charger.id, 1))
            first.status, first.status_received_at = "Available", booted + SECOND


KINDS = [name for name in vars(Trouble) if name[0].isupper()]
OF = {
    "BadAuth": "refusal",
    "BadHandshake": "refusal",
    "WrongSubprotocol": "connection",
    "RepeatedIds": "message id",
    "SchemaFaults": "message",
    "Flapping": "connection",
    "MissingStops": "session",
    "RegisterJumps": "session",
    "ClockDrift": "status event",
    "SilentConnectors": "connector",
}


async def write(database: Database, seen: Observed) -> None:
    async with database.session() as session:
        await write_facts(await raw_connection(session), OBSERVATION, seen.take())


async def run(app: FastAPI, name: str, db: Database, clock: FrozenClock, **means: Any) -> None:
    """Run a periodic task as the queue would."""
    jobs = app.state.jobs
    job = Job(
        id=1, queue="default", lock=None, queueing_lock=None, task_name=name, task_kwargs={"timestamp": 0}
    )
    context = JobContext(
        app=jobs.app,
        job=job,
        start_timestamp=0,
        abort_reason=lambda: None,
        additional_context={"database": db, "clock": clock, **means},
    )
    await jobs.app.tasks[name](context, timestamp=0)

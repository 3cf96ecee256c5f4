"""The OCPP endpoint of a charge point: the `ocpp` package's ChargePoint with a route for every command."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ocpp import messages
from ocpp.charge_point import remove_nones, snake_to_camel_case
from ocpp.v16 import ChargePoint
from websockets.asyncio.client import ClientConnection

from ohmstead_simulator.commands.charging import ChargingCommands
from ohmstead_simulator.commands.maintenance import MaintenanceCommands
from ohmstead_simulator.commands.operation import OperationCommands
from ohmstead_simulator.commands.security import SecurityCommands

if TYPE_CHECKING:
    from ohmstead_simulator.station import SimulatedStation

# A thread for each schema check costs more than the check itself.
messages.ASYNC_VALIDATION = False

WIRE_LOGGER = logging.getLogger("ohmstead_simulator.wire")
# A central system that answers with a CALLERROR is an event of the station, not a traceback on stderr.
WIRE_LOGGER.addHandler(logging.NullHandler())
WIRE_LOGGER.propagate = False


class StationEndpoint(
    OperationCommands,
    ChargingCommands,
    MaintenanceCommands,
    SecurityCommands,
    ChargePoint,  # type: ignore[misc]  # the ocpp package has no types, so its class is Any
):
    """One connection's endpoint. Handlers answer at once; what takes time runs as a task of the station.

    The reader of the `ocpp` package handles a CALL before it reads on, so a handler that awaited an
    answer would wait for ever.
    """

    def __init__(self, station: "SimulatedStation", connection: ClientConnection) -> None:
        self.station = station
        self.follow_ups = []
        super().__init__(
            station.charger_id, connection, response_timeout=station.response_timeout, logger=WIRE_LOGGER
        )
        self._unique_id_generator = station.next_message_id

    async def _handle_call(self, msg: Any) -> None:
        """Answer a command, and only then begin what follows from it."""
        self.station.commands.append(str(msg.action))
        self.station.emit("command", detail=str(msg.action))
        self.follow_ups.clear()
        await super()._handle_call(msg)
        for work in self.follow_ups:
            self.station.spawn(work())

    async def pipeline(self, payloads: Sequence[Any]) -> list[Any]:
        """Send several CALLs without waiting between them; answers their answers, in the order of the CALLs.

        Against OCPP-J 4.1.1 (one outstanding CALL), but some firmware does so. A CALLERROR is raised
        after every answer has come.
        """
        calls = [
            messages.Call(
                self.station.next_message_id(),
                type(payload).__name__,
                snake_to_camel_case(remove_nones(asdict(payload))),
            )
            for payload in payloads
        ]
        answers: dict[str, Any] = {}
        async with self._call_lock:
            for one in calls:
                await self._send(one.to_json())
            async with asyncio.timeout(self._response_timeout):
                while len(answers) < len(calls):
                    answer = await self._response_queue.get()
                    answers[answer.unique_id] = answer
        for answer in answers.values():
            if isinstance(answer, messages.CallError):
                raise answer.to_exception()
        return [answers[one.unique_id].payload for one in calls]

"""The state of a simulated charge point, and how it speaks: the base that its behaviour stands on."""

import asyncio
import random
from collections import Counter
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

from ocpp.v16 import call

from ohmstead_simulator.certificates import CertificateStore
from ohmstead_simulator.clock import Clock
from ohmstead_simulator.configuration import Configuration
from ohmstead_simulator.connector import Connector
from ohmstead_simulator.errors import CallFailed, NoAnswer, NotPossible, Offline
from ohmstead_simulator.events import Event, EventKind, OnEvent
from ohmstead_simulator.link import LOGGER, Link
from ohmstead_simulator.profiles import ChargingProfiles
from ohmstead_simulator.spec import ChargerSpec
from ohmstead_simulator.transactions import TransactionQueue


def wire_time(moment: datetime) -> str:
    """A time as it goes over the wire: UTC, milliseconds, `Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def status_text(status: str, error_code: str) -> str:
    """A status for people: with its error code when there is one."""
    return status if error_code == "NoError" else f"{status} {error_code}"


class StationState:
    """All that a charge point knows. What a power cut forgets is set again in `forget`."""

    def __init__(self, spec: ChargerSpec, clock: Clock, rng: random.Random, on_event: OnEvent | None) -> None:
        self.spec = spec
        self.clock = clock
        self.rng = rng
        self.link: Link | None = None
        self.accepted = asyncio.Event()
        """Set from an Accepted BootNotification until the next power-up."""
        self.configuration = Configuration(spec.connectors, spec.configuration)
        self.profiles = ChargingProfiles()
        self.certificates = CertificateStore(spec.charger_id)
        self.queue = TransactionQueue()
        self.local_list: dict[str, dict[str, Any]] = {}
        self.local_list_version = 0
        self.auth_cache: dict[str, dict[str, Any]] = {}
        self.firmware = spec.firmware
        self.firmware_status = "Idle"
        self.diagnostics_status = "Idle"
        self.log_status = "Idle"
        self.log_request = 0
        self.news: Counter[str] = Counter()
        """What has ended and no scenario has waited for yet: `updated`, `uploaded`, and their failures."""
        self.born = clock.now()
        self.commands: list[str] = []
        """Actions that the central system asked for, oldest first."""
        phases = spec.phases if spec.current == "AC" else 3
        self.connectors = {
            number: Connector(
                connector_id=number,
                max_w=spec.max_kw * 1000,
                current=spec.current,
                phases=phases,
                register_wh=float(rng.randrange(10_000, 5_000_000)),
                moved_at=clock.now(),
            )
            for number in range(1, spec.connectors + 1)
        }
        self.operative = True
        """Availability of the whole charge point (connector 0)."""
        self.reported: tuple[str, str] | None = None
        self.error_code = "NoError"
        self._offset = spec.clock_start - clock.now() if spec.clock_start is not None else timedelta()
        self._on_event = on_event
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def charger_id(self) -> str:
        """The OCPP identity."""
        return self.spec.charger_id

    @property
    def registered(self) -> bool:
        """True when the central system accepted the BootNotification of this power-up."""
        return self.accepted.is_set()

    @property
    def connected(self) -> bool:
        """True while the WebSocket is open."""
        return self.link is not None and self.link.is_open

    @property
    def usable(self) -> bool:
        """True when messages of its own may be sent: connected and accepted (OCPP 1.6 4.2)."""
        return self.connected and self.registered

    def now(self) -> datetime:
        """What the charge point's own clock shows; it may be wrong."""
        return self.clock.now() + self._offset

    def drift(self, seconds: float) -> None:
        """Move the charge point's own clock by that much."""
        self._offset += timedelta(seconds=seconds)

    def set_clock(self, moment: datetime) -> None:
        """Set the charge point's own clock."""
        self._offset = moment - self.clock.now()

    def sync_clock(self, current_time: str) -> None:
        """Take over the central system's time, unless time is compressed or this charger never does so."""
        if self.spec.sync_clock and self.clock.true_time:
            moment = datetime.fromisoformat(current_time)
            self.set_clock(moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC))

    def connector(self, connector_id: int) -> Connector:
        """The connector with that number; raises NotPossible when there is none."""
        found = self.connectors.get(connector_id)
        if found is None:
            raise NotPossible(f"{self.charger_id} has no connector {connector_id}")
        return found

    def emit(self, kind: EventKind, connector: int = 0, detail: str = "") -> None:
        """Tell those who watch."""
        if self._on_event is not None:
            self._on_event(Event(kind, self.charger_id, self.clock.now(), connector, detail))

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something beside the reader, which must never wait; ends with the power of the charge point."""
        task = asyncio.create_task(self._guard(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Offline:
            return  # the connection ended; who depends on it begins again after the reconnect
        except (CallFailed, NoAnswer, NotPossible) as error:
            self.emit("error", detail=str(error))
        except Exception as error:  # noqa: BLE001  # a fault of ours must be seen, not lost in a task
            LOGGER.exception("%s: a task of the simulator failed", self.charger_id)
            self.emit("error", detail=f"{type(error).__name__}: {error}")

    async def cancel_tasks(self) -> None:
        """End everything that `spawn` started, except the caller."""
        current = asyncio.current_task()
        others = [task for task in self._tasks if task is not current]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def call(self, payload: Any) -> Any:
        """Send a CALL now; raises Offline, CallFailed or NoAnswer."""
        if self.link is None:
            raise Offline("not connected")
        return await self.link.call(payload)

    # --- status

    async def set_status(self, connector: Connector, status: str, error_code: str = "NoError") -> None:
        """Put a connector into a state and report it when that is possible now."""
        changed = (connector.status, connector.error_code) != (status, error_code)
        connector.status, connector.error_code = status, error_code
        if changed:
            self.emit("status", connector.connector_id, status_text(status, error_code))
        if self.usable and connector.reported != (status, error_code):
            await self.report(connector)

    async def report(self, connector: Connector | None) -> None:
        """Send StatusNotification for a connector, or for the charge point itself (None = connector 0).

        A connection that ends meanwhile is no error: the state is reported after the reconnect. A
        CALLERROR is told as an event; the charge point goes on.
        """
        state = (connector.status, connector.error_code) if connector is not None else self._own_state()
        try:
            await self.call(self.status_payload(connector))
        except Offline:
            return
        except (CallFailed, NoAnswer) as error:
            self.emit(
                "error",
                connector.connector_id if connector is not None else 0,
                f"StatusNotification: {error}",
            )
            return
        if connector is not None:
            connector.reported = state
        else:
            self.reported = state

    def status_payload(self, connector: Connector | None, info: str | None = None) -> Any:
        """A StatusNotification of the present state."""
        status, error_code = self._own_state()
        if connector is not None:
            status, error_code = connector.status, connector.error_code
        return call.StatusNotification(
            connector_id=connector.connector_id if connector is not None else 0,
            error_code=error_code,
            status=status,
            timestamp=None if "no_timestamp" in self.spec.quirks else wire_time(self.now()),
            info=info,
        )

    def _own_state(self) -> tuple[str, str]:
        if self.error_code != "NoError":
            return "Faulted", self.error_code
        return ("Available" if self.operative else "Unavailable"), "NoError"

    def forget(self) -> None:
        """What a loss of power wipes: what was reported, the tags and the remote starts that wait."""
        self.accepted.clear()
        self.reported = None
        for connector in self.connectors.values():
            connector.reported = None
            connector.awaited_tag = None
            connector.tag = None

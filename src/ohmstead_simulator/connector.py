"""One connector: its state, the car at it, the energy that flows."""

from dataclasses import dataclass
from datetime import datetime

from ohmstead_simulator.car import Car
from ohmstead_simulator.meter import Reading
from ohmstead_simulator.spec import Current
from ohmstead_simulator.transactions import Transaction


@dataclass(frozen=True, slots=True)
class Reservation:
    """A ReserveNow that was accepted."""

    reservation_id: int
    id_tag: str
    parent_id_tag: str | None
    expires_at: datetime


@dataclass(slots=True)
class Connector:
    """The physical connector. `status` is what StatusNotification would say now."""

    connector_id: int
    max_w: float
    current: Current
    phases: int
    register_wh: float
    moved_at: datetime
    """Until when the energy has been counted, by the simulator's clock."""
    status: str = "Available"
    error_code: str = "NoError"
    reported: tuple[str, str] | None = None
    """The last status and error code that reached the central system."""
    operative: bool = True
    scheduled: bool | None = None
    """An availability that takes effect when the running transaction ends."""
    car: Car | None = None
    transaction: Transaction | None = None
    reservation: Reservation | None = None
    tag: str | None = None
    """The tag that was last accepted here and not yet used."""
    awaited_tag: str | None = None
    """A remote start waits for the car of this tag."""
    power_w: float = 0.0
    offered_w: float = 0.0

    @property
    def charging(self) -> bool:
        """True while a transaction runs and nothing forbids the flow."""
        transaction = self.transaction
        return (
            transaction is not None
            and not transaction.stopped
            and self.car is not None
            and self.status in ("Charging", "SuspendedEV", "SuspendedEVSE")
        )

    def advance(self, now: datetime, limit_w: float | None) -> None:
        """Let the energy flow until `now` under `limit_w` (None = only the connector's own limit)."""
        seconds = (now - self.moved_at).total_seconds()
        self.moved_at = now
        self.offered_w = self.max_w if limit_w is None else max(0.0, min(self.max_w, limit_w))
        if not self.charging or self.car is None:
            self.power_w = 0.0
            return
        if seconds > 0:
            self.register_wh += self.car.charge(seconds, self.current, self.offered_w, self.phases)
        self.power_w = min(self.offered_w, self.car.wanted_w(self.current, self.phases))

    def rest_status(self) -> str:
        """The status of the connector when no transaction runs and no fault is there."""
        if self.error_code != "NoError":
            return "Faulted"
        if not self.operative:
            return "Unavailable"
        if self.tag is not None or self.awaited_tag is not None:
            return "Preparing"
        if self.reservation is not None:
            return "Reserved"
        return "Preparing" if self.car is not None else "Available"

    def reading(self) -> Reading:
        """What the meter would show now."""
        soc = self.car.soc if self.car is not None and self.current == "DC" else None
        return Reading(self.register_wh, self.power_w, self.offered_w, self.current, self.phases, soc)

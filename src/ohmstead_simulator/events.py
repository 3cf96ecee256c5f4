"""What a simulated charge point tells those who watch it (progress displays, the fleet, tests)."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

EventKind = Literal[
    "connected",
    "disconnected",
    "connect_failed",
    "booted",
    "boot_refused",
    "status",
    "authorized",
    "refused_tag",
    "car_wanted",
    "started",
    "stopped",
    "offline",
    "online",
    "power_cut",
    "command",
    "error",
]


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. `connector` is 0 when it concerns the whole charge point."""

    kind: EventKind
    charger_id: str
    at: datetime
    connector: int = 0
    detail: str = ""


OnEvent = Callable[[Event], None]

"""What a simulated charge point is: its plate, its plugs, its odd habits."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, get_args

Current = Literal["AC", "DC"]

Quirk = Literal[
    "float_noise",
    "unit_mix",
    "unit_lie",
    "repeated_ids",
    "pipelined",
    "status_before_boot",
    "status_before_start",
    "no_timestamp",
    "register_reset",
]
"""Habits of real firmware (each one seen in the field):

- `float_noise`: meter values such as "0.15003999999999998"
- `unit_mix`: every other sample in kWh, rightly labelled
- `unit_lie`: every other sample in kWh but labelled Wh
- `repeated_ids`: message ids count from 1 again after each reboot
- `pipelined`: sends several CALLs without waiting for the answers
- `status_before_boot`: StatusNotification before the BootNotification is answered
- `status_before_start`: StatusNotification Charging before the StartTransaction is answered
- `no_timestamp`: StatusNotification without a timestamp
- `register_reset`: after a power cut the meter begins at 0 and the transaction goes on
"""

QUIRKS: tuple[str, ...] = get_args(Quirk)


@dataclass(frozen=True, slots=True)
class ChargerSpec:
    """One charge point. `max_kw` is per connector; AC connectors are three-phase unless `phases` says 1."""

    charger_id: str
    connectors: int = 1
    max_kw: float = 22.0
    current: Current = "AC"
    phases: int = 3
    password: str | bytes | None = None
    vendor: str = "Ohmstead"
    model: str = "Simulator"
    firmware: str = "1.0.0"
    quirks: frozenset[str] = frozenset()
    configuration: dict[str, str] = field(default_factory=dict)
    clock_start: datetime | None = None
    """What the charger's own clock shows when it gets power; None = the right time."""
    sync_clock: bool = True
    """Whether the clock is set from the answers to BootNotification and Heartbeat."""

    def __post_init__(self) -> None:
        if not self.charger_id:
            raise ValueError("a charger needs an identity")
        if self.connectors < 1:
            raise ValueError("a charger needs at least one connector")
        if self.max_kw <= 0:
            raise ValueError("max_kw must be greater than 0")
        unknown = self.quirks - set(QUIRKS)
        if unknown:
            raise ValueError(f"unknown quirk {sorted(unknown)[0]!r}; allowed: {', '.join(QUIRKS)}")

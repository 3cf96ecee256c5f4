"""The car: a battery that takes power as real ones do.

Units: kWh for the capacity, per cent for the state of charge (0..100), W for power, Wh for energy.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

# Share of the greatest DC power over the state of charge: cold-start rise, plateau, then the fall
# that protects the cells; nearly nothing is left at the end.
DC_CURVE: tuple[tuple[float, float], ...] = (
    (0.0, 0.65),
    (6.0, 1.0),
    (55.0, 1.0),
    (65.0, 0.82),
    (80.0, 0.48),
    (90.0, 0.25),
    (97.0, 0.12),
    (100.0, 0.05),
)

# The on-board charger is far weaker than the battery, so it only tapers while the cells balance.
AC_CURVE: tuple[tuple[float, float], ...] = ((0.0, 1.0), (96.0, 1.0), (100.0, 0.25))


def share_at(curve: tuple[tuple[float, float], ...], soc: float) -> float:
    """The share (0..1) of the greatest power at `soc` per cent, straight between the points of `curve`."""
    for (left, low), (right, high) in pairwise(curve):
        if soc <= right:
            return low + (high - low) * (max(soc, left) - left) / (right - left)
    return curve[-1][1]


@dataclass(slots=True)
class Car:
    """A car at the plug. It stops taking power at `target_soc`."""

    capacity_kwh: float = 60.0
    soc: float = 20.0
    ac_max_kw: float = 11.0
    ac_phases: int = 3
    dc_max_kw: float = 130.0
    target_soc: float = 100.0
    ac_efficiency: float = 0.90
    dc_efficiency: float = 0.95

    def __post_init__(self) -> None:
        if self.capacity_kwh <= 0:
            raise ValueError("capacity_kwh must be greater than 0")
        if not 0 <= self.soc <= 100 or not 0 <= self.target_soc <= 100:
            raise ValueError("soc and target_soc are per cent, 0 to 100")
        if self.ac_max_kw < 0 or self.dc_max_kw < 0 or self.ac_phases not in (1, 2, 3):
            raise ValueError("power must not be negative; ac_phases is 1, 2 or 3")

    @property
    def full(self) -> bool:
        """True when the car asks for no more."""
        return self.soc >= self.target_soc - 1e-9

    def efficiency(self, current: Literal["AC", "DC"]) -> float:
        """The part of the metered energy that reaches the battery."""
        return self.dc_efficiency if current == "DC" else self.ac_efficiency

    def wanted_w(self, current: Literal["AC", "DC"], phases: int = 3) -> float:
        """The power in W that the car would take now from a plug with that many phases."""
        if self.full:
            return 0.0
        if current == "DC":
            return self.dc_max_kw * 1000 * share_at(DC_CURVE, self.soc)
        used = min(phases, self.ac_phases)
        return self.ac_max_kw * 1000 * used / self.ac_phases * share_at(AC_CURVE, self.soc)

    def charge(self, seconds: float, current: Literal["AC", "DC"], limit_w: float, phases: int = 3) -> float:
        """Let the car charge for `seconds` under `limit_w`; answers the energy in Wh that the meter saw.

        Never more than limit x time, never beyond the target. The curve is followed in steps of at
        most 10 s.
        """
        taken = 0.0
        efficiency = self.efficiency(current)
        while seconds > 0 and not self.full:
            step = min(seconds, 10.0)
            power = min(limit_w, self.wanted_w(current, phases))
            if power <= 0:
                break
            room_wh = (self.target_soc - self.soc) / 100 * self.capacity_kwh * 1000 / efficiency
            energy = power * step / 3600
            if energy >= room_wh:
                self.soc = self.target_soc
                return taken + room_wh
            taken += energy
            self.soc += energy * efficiency / (self.capacity_kwh * 10)
            seconds -= step
        return taken

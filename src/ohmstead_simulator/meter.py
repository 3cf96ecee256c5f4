"""What the meter of a connector says: sampled values with the noise and the habits of real meters."""

import math
import random
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

VOLTAGE_AC = 230.0
VOLTAGE_DC = 400.0


@dataclass(frozen=True, slots=True)
class Reading:
    """The physical state of a connector at one moment."""

    register_wh: float
    power_w: float
    offered_w: float
    current: str
    phases: int
    soc: float | None


def sampled_values(
    reading: Reading,
    measurands: Iterable[str],
    *,
    context: str,
    quirks: Collection[str],
    turn: int,
    rng: random.Random,
) -> list[dict[str, Any]]:
    """The `sampled_value` list of one MeterValue (OCPP 1.6 7.43), in the order of `measurands`.

    `turn` counts the samples of a transaction: the unit quirks strike at every other one. Voltage
    wanders by some volts and power by half a per cent; the register is exact to the Wh.
    SoC appears only where the car tells it, which is on DC.
    """
    power = max(0.0, reading.power_w * rng.gauss(1, 0.005)) if reading.power_w > 0 else 0.0
    values: list[dict[str, Any]] = []

    def add(measurand: str, value: str, unit: str | None, **more: str) -> None:
        entry = {"value": value, "context": context, "measurand": measurand, **more}
        values.append(entry if unit is None else {**entry, "unit": unit})

    for measurand in measurands:
        match measurand:
            case "Energy.Active.Import.Register":
                text, unit = register_text(reading.register_wh, quirks, turn)
                add(measurand, text, unit, location="Outlet")
            case "Power.Active.Import":
                add(measurand, f"{power:.0f}", "W")
            case "Power.Offered":
                add(measurand, f"{reading.offered_w:.0f}", "W")
            case "Current.Import" if reading.current == "AC":
                for phase in range(1, reading.phases + 1):
                    amps = power / reading.phases / VOLTAGE_AC * rng.gauss(1, 0.004)
                    add(measurand, f"{amps:.1f}", "A", phase=f"L{phase}")
            case "Current.Import":
                add(measurand, f"{power / VOLTAGE_DC:.1f}", "A")
            case "Voltage" if reading.current == "AC":
                for phase in range(1, reading.phases + 1):
                    add(measurand, f"{rng.gauss(VOLTAGE_AC, 1.2):.1f}", "V", phase=f"L{phase}-N")
            case "Voltage":
                add(measurand, f"{rng.gauss(VOLTAGE_DC, 2.0):.1f}", "V")
            case "SoC" if reading.soc is not None:
                add(measurand, f"{reading.soc:.0f}", "Percent", location="EV")
    return values


def register_text(wh: float, quirks: Collection[str], turn: int) -> tuple[str, str]:
    """The energy register as text and unit, with the quirks `float_noise`, `unit_mix` and `unit_lie`."""
    odd = turn % 2 == 1
    if "float_noise" in quirks:
        # The neighbour of the right number: what sums of tenths come to in firmware.
        return repr(math.nextafter(round(wh) / 1000, 0)), "kWh"
    if odd and "unit_lie" in quirks:
        return f"{wh / 1000:.3f}", "Wh"
    if odd and "unit_mix" in quirks:
        return f"{wh / 1000:.3f}", "kWh"
    return f"{wh:.0f}", "Wh"

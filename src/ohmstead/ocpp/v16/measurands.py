"""What the sampled values of a meter value say (OCPP 1.6, types MeterValue and SampledValue).

All results are in base units (Wh, W, A, V, percent) and rounded to three decimals, since chargers send
float noise such as "0.15003999999999998". A value that is signed data, unparsable, not finite or in a unit of
another quantity is as good as absent.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

ENERGY_REGISTER: Final = "Energy.Active.Import.Register"
_POWER: Final = "Power.Active.Import"
_CURRENT: Final = "Current.Import"
_VOLTAGE: Final = "Voltage"
_SOC: Final = "SoC"

_THOUSANDTH: Final = Decimal("0.001")
_ONE: Final = Decimal(1)
_THOUSAND: Final = Decimal(1000)
# 10^15 Wh is a thousand terawatt hours: what is larger is garbage, and would not fit a column either.
_MOST_DIGITS: Final = 15
_LONGEST_TEXT: Final = 64

# Unit -> (base unit, factor). "Celcius" is the misspelling of OCPP 1.6's first edition.
_UNITS: Final[dict[str, tuple[str, Decimal]]] = {
    "Wh": ("Wh", _ONE),
    "kWh": ("Wh", _THOUSAND),
    "varh": ("varh", _ONE),
    "kvarh": ("varh", _THOUSAND),
    "W": ("W", _ONE),
    "kW": ("W", _THOUSAND),
    "VA": ("VA", _ONE),
    "kVA": ("VA", _THOUSAND),
    "var": ("var", _ONE),
    "kvar": ("var", _THOUSAND),
    "A": ("A", _ONE),
    "V": ("V", _ONE),
    "K": ("K", _ONE),
    "Celcius": ("Celsius", _ONE),
    "Celsius": ("Celsius", _ONE),
    "Fahrenheit": ("Fahrenheit", _ONE),
    "Percent": ("Percent", _ONE),
    "Hertz": ("Hertz", _ONE),
}
# The unit that is meant when none is sent: OCPP 1.6 names Wh for energy and leaves the rest open.
_DEFAULT_UNITS: Final = {
    "Energy.Active": "Wh",
    "Energy.Reactive": "varh",
    "Power.Active": "W",
    "Power.Offered": "W",
    "Power.Reactive": "var",
    "Current": "A",
    "Voltage": "V",
    "Frequency": "Hertz",
    "Temperature": "Celsius",
    "SoC": "Percent",
}
_READ: Final = {ENERGY_REGISTER: "Wh", _POWER: "W", _CURRENT: "A", _VOLTAGE: "V", _SOC: "Percent"}

# The same quantity measured at several places: what the driver gets counts. Absent means Outlet.
_LOCATIONS: Final = {"Outlet": 0, "Cable": 1, "EV": 2, "Body": 3, "Inlet": 4}
_PHASES: Final = {"L1": "L1", "L2": "L2", "L3": "L3", "L1-N": "L1", "L2-N": "L2", "L3-N": "L3"}
# The values at the begin of something are older than the other values that came with them.
_EARLIER: Final = frozenset({"Transaction.Begin", "Interruption.Begin"})


class Reading(NamedTuple):
    """The five quantities that matter while charging; None for what was not measured."""

    register_wh: Decimal | None
    power_w: Decimal | None
    soc: Decimal | None
    current_a: Decimal | None
    voltage_v: Decimal | None


class _Best:
    """The values of one measurand from the best place: the one without phase, or those of the phases."""

    __slots__ = ("phases", "rank", "total")

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.total: Decimal | None = None
        self.phases: dict[str, Decimal] = {}

    def values(self) -> list[Decimal]:
        return [self.total] if self.total is not None else list(self.phases.values())


def summarise(sampled_values: Iterable[dict[str, Any]]) -> Reading:
    """Read a `sampledValue` list in one pass.

    Of several places Outlet (or none given) comes first, then Cable, EV, Body, Inlet. A value without phase
    stands for the whole; else energy and power are the sum of the phases, current is the highest phase (the
    one that meets a limit), voltage the mean of the phases to neutral. A state of charge outside 0..100 is
    dropped.
    """
    best = _collect(sampled_values, _READ)
    return Reading(
        _sum(best.get(ENERGY_REGISTER)),
        _sum(best.get(_POWER)),
        _share(best.get(_SOC)),
        _highest(best.get(_CURRENT)),
        _mean(best.get(_VOLTAGE)),
    )


def energy_register_wh(sampled_values: Iterable[dict[str, Any]]) -> Decimal | None:
    """The total of Energy.Active.Import.Register in Wh; see `summarise` for the rules."""
    return _sum(_collect(sampled_values, (ENERGY_REGISTER,)).get(ENERGY_REGISTER))


def power_w(sampled_values: Iterable[dict[str, Any]]) -> Decimal | None:
    """Power.Active.Import in W; the sum of the phases when only they are given."""
    return _sum(_collect(sampled_values, (_POWER,)).get(_POWER))


def soc_percent(sampled_values: Iterable[dict[str, Any]]) -> Decimal | None:
    """The car's state of charge, 0..100."""
    return _share(_collect(sampled_values, (_SOC,)).get(_SOC))


def current_a(sampled_values: Iterable[dict[str, Any]]) -> Decimal | None:
    """Current.Import in A; the highest of the phases when only they are given."""
    return _highest(_collect(sampled_values, (_CURRENT,)).get(_CURRENT))


def voltage_v(sampled_values: Iterable[dict[str, Any]]) -> Decimal | None:
    """Voltage in V, phase to neutral; the mean of the phases when only they are given."""
    return _mean(_collect(sampled_values, (_VOLTAGE,)).get(_VOLTAGE))


def normalise(sampled_values: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every sampled value for display, in the order sent, with the defaults of OCPP 1.6 filled in.

    Each has measurand, value (Decimal in the base unit, or None), unit (None if unknown), phase (or None),
    location and context.
    """
    return [_normalised(sampled) for sampled in sampled_values]


def _collect(sampled_values: Iterable[dict[str, Any]], wanted: Iterable[str]) -> dict[str, _Best]:
    best: dict[str, _Best] = {}
    for sampled in sampled_values:
        measurand = sampled.get("measurand", ENERGY_REGISTER)
        if measurand not in wanted:
            continue
        phase = sampled.get("phase")
        if phase is not None:
            phase = _PHASES.get(phase)
            if phase is None:
                continue
        value = _value(sampled, _READ[measurand])
        if value is None:
            continue
        rank = 2 * _LOCATIONS.get(sampled.get("location", "Outlet"), 5) + (sampled.get("context") in _EARLIER)
        held = best.get(measurand)
        if held is None or rank < held.rank:
            held = best[measurand] = _Best(rank)
        elif rank > held.rank:
            continue
        if phase is not None:
            held.phases.setdefault(phase, value)
        elif held.total is None:
            held.total = value
    return best


def _value(sampled: dict[str, Any], base_unit: str) -> Decimal | None:
    """The value in its base unit, not yet rounded."""
    if sampled.get("format") == "SignedData":
        return None
    number = _number(sampled.get("value"))
    if number is None:
        return None
    unit = sampled.get("unit")
    if unit is None:
        return number
    known = _UNITS.get(unit)
    if known is None or known[0] != base_unit:
        return None
    return number if known[1] is _ONE else number * known[1]


def _number(text: object) -> Decimal | None:
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        return None
    try:
        written = str(text)
        # Decimal itself also reads "1_000", which nobody means.
        if len(written) > _LONGEST_TEXT or "_" in written:
            return None
        number = Decimal(written)
    except (ArithmeticError, ValueError):  # ValueError: Python does not write integers of 4,300 digits
        return None
    return number if number.is_finite() and number.adjusted() < _MOST_DIGITS else None


def _rounded(value: Decimal) -> Decimal:
    return value.quantize(_THOUSANDTH)


def _sum(best: _Best | None) -> Decimal | None:
    return None if best is None else _rounded(sum(best.values(), Decimal(0)))


def _highest(best: _Best | None) -> Decimal | None:
    return None if best is None else _rounded(max(best.values()))


def _mean(best: _Best | None) -> Decimal | None:
    if best is None:
        return None
    values = best.values()
    return _rounded(sum(values, Decimal(0)) / len(values))


def _share(best: _Best | None) -> Decimal | None:
    if best is None:
        return None
    value = best.values()[0]
    return _rounded(value) if 0 <= value <= 100 else None


def _normalised(sampled: dict[str, Any]) -> dict[str, Any]:
    measurand = sampled.get("measurand", ENERGY_REGISTER)
    unit = sampled.get("unit") or _default_unit(measurand)
    base, factor = _UNITS.get(unit, (unit, _ONE)) if unit else (None, _ONE)
    number = None if sampled.get("format") == "SignedData" else _number(sampled.get("value"))
    return {
        "measurand": measurand,
        "value": None if number is None else _rounded(number * factor),
        "unit": base,
        "phase": sampled.get("phase"),
        "location": sampled.get("location", "Outlet"),
        "context": sampled.get("context", "Sample.Periodic"),
    }


def _default_unit(measurand: str) -> str | None:
    for prefix, unit in _DEFAULT_UNITS.items():
        if measurand.startswith(prefix):
            return unit
    return None

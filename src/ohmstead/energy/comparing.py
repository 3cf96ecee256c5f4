"""What a charger says of its composite schedule, beside what we expect of it.

Chargers answer oddly: periods that are empty, a limit of -1 for none, a duration of more than 32 bits, a
start of its own. All of it is shown, nothing of it is taken for more than it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from typing import Any

from ohmstead.energy.composite import VOLTAGE, Limit
from ohmstead.ocpp.timestamps import parse_timestamp

THINKING = 60
"""Seconds: a schedule that begins a little after the question begins with the answer."""

TOLERANCE = 0.02
"""Chargers round, and know the voltage of their grid."""


@dataclass(frozen=True, slots=True)
class Difference:
    """From `start` seconds on the charger says another limit than we expect; None is no limit."""

    start: int
    charger: float | None
    expected: float | None


def told_limits(answer: dict[str, Any], asked_at: datetime, unit: str, phases: int) -> list[Limit] | None:
    """Read the schedule of a GetCompositeSchedule.conf (OCPP 1.6 6.22) in `unit`, from `asked_at` on.

    None when there is none in it, or none that can be read. A negative limit is none; a schedule that begins
    later, or earlier, is moved to where it belongs.
    """
    schedule = answer.get("chargingSchedule")
    if not isinstance(schedule, dict):
        return None
    told = schedule.get("chargingRateUnit")
    periods = schedule.get("chargingSchedulePeriod", [])
    if told not in ("A", "W") or not isinstance(periods, list):
        return None
    begins = schedule.get("startSchedule") or answer.get("scheduleStart")
    offset = 0
    if isinstance(begins, str):
        try:
            offset = round((parse_timestamp(begins) - asked_at).total_seconds())
        except (ValueError, OverflowError):
            offset = 0
    if 0 < offset <= THINKING:
        offset = 0
    read = [_period(one, told, unit, phases) for one in periods]
    if None in read:
        return None
    found: list[Limit] = []
    for start, limit in sorted((one for one in read if one is not None), key=lambda one: one[0]):
        if start + offset <= 0:
            found = [Limit(0, limit)]
        else:
            found.append(Limit(start + offset, limit))
    return found


def _period(period: Any, told: str, unit: str, phases: int) -> tuple[int, float | None] | None:
    """Read one period: from when on, and its limit in `unit`; None when it is no period."""
    if not isinstance(period, dict):
        return None
    start, limit = _number(period.get("startPeriod")), _number(period.get("limit"))
    if start is None or limit is None or start != int(start):
        return None
    if limit < 0:
        return int(start), None
    number = period.get("numberPhases")
    limit = _converted(limit, told, unit, number if number in (1, 2, 3) else phases)
    return (int(start), limit) if isfinite(limit) else None


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and isfinite(value) else None


def _converted(limit: float, told: str, unit: str, phases: int) -> float:
    if told == unit:
        return limit
    return limit * VOLTAGE * phases if unit == "W" else limit / (VOLTAGE * phases)


def differences(
    told: Sequence[Limit], expected: Sequence[Limit], *, most: float | None, duration: int
) -> list[Difference]:
    """Return where the two differ by more than rounding. `most` is what the connector can give at all, in the
    same unit: no limit and that much are the same.
    """
    found: list[Difference] = []
    for start in sorted({one.start for one in told} | {one.start for one in expected} | {0}):
        if start >= max(1, duration):
            break
        ours, theirs = _at(expected, start), _at(told, start)
        if _same(ours, theirs, most):
            continue
        if not found or (found[-1].charger, found[-1].expected) != (theirs, ours):
            found.append(Difference(start, theirs, ours))
    return found


def _at(limits: Sequence[Limit], start: int) -> float | None:
    said = [one for one in limits if one.start <= start]
    return said[-1].limit if said else None


def _same(ours: float | None, theirs: float | None, most: float | None) -> bool:
    one, other = (_capped(limit, most) for limit in (ours, theirs))
    if one is None or other is None:
        return one is other
    return abs(one - other) <= max(0.1, TOLERANCE * max(one, other))


def _capped(limit: float | None, most: float | None) -> float | None:
    if most is None:
        return limit
    return most if limit is None else min(limit, most)

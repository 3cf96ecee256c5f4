"""The composite schedule that follows from charging profiles (OCPP 1.6 3.13), as a pure function.

The rules, with their clauses:
- A TxProfile overrules TxDefaultProfiles while it says something; a TxDefaultProfile of the connector
  overrules one of connector 0 (3.13.2).
- Among profiles of one purpose the highest stack level that is valid and says something at that moment
  counts (3.13.3). One whose duration is over, or whose schedule has not begun, says nothing.
- ChargePointMaxProfile caps the whole charge point: the least of the limits counts (3.13.2).
- Validity: `validFrom` is included, `validTo` is not. Absolute and Recurring schedules begin at
  `startSchedule` (Recurring again each day or week, 3.13.1); Relative ones, and Absolute ones without a
  start, begin with charging.

Limits are in W or A. Between the two stands what a phase carries: W = A x 230 V x phases.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

VOLTAGE = 230.0
PHASES = 3
CYCLES = {"Daily": timedelta(days=1), "Weekly": timedelta(days=7)}


class Purpose(StrEnum):
    """What a profile is for (OCPP 1.6 7.11)."""

    CHARGE_POINT_MAX = "ChargePointMaxProfile"
    TX_DEFAULT = "TxDefaultProfile"
    TX = "TxProfile"


class Kind(StrEnum):
    """When its schedule begins (OCPP 1.6 7.10)."""

    ABSOLUTE = "Absolute"
    RECURRING = "Recurring"
    RELATIVE = "Relative"


class Period(NamedTuple):
    """From `start` seconds on: at most `limit`, by `phases` phases (None: as many as there are)."""

    start: int
    limit: float
    phases: int | None = None


@dataclass(frozen=True, slots=True)
class Profile:
    """A charging profile on a connector (OCPP 1.6 7.8, 7.13). `duration` in seconds, `unit` W or A."""

    connector_id: int
    purpose: Purpose
    stack_level: int
    kind: Kind
    unit: str
    periods: tuple[Period, ...]
    start: datetime | None = None
    duration: int | None = None
    recurrency: str | None = None
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    transaction_id: int | None = None


@dataclass(frozen=True, slots=True)
class Limit:
    """From `start` seconds after the beginning on: at most `limit` (None: no profile says anything)."""

    start: int
    limit: float | None


def composite_schedule(
    profiles: Sequence[Profile],
    *,
    connector_id: int,
    start: datetime,
    duration: int,
    unit: str,
    charging_since: datetime | None = None,
    transaction_id: int | None = None,
    phases: int = PHASES,
) -> list[Limit]:
    """Return the limits of a connector from `start` for `duration` seconds, each with where it begins.

    `connector_id` 0 asks for the charge point as a whole: only ChargePointMaxProfiles count. `charging_since`
    and `transaction_id` are of the session that runs; without one no TxProfile counts, and relative
    schedules are taken to begin at `start`, as the next session might. `unit` is that of the answer.
    """
    own = _relevant(profiles, connector_id, transaction_id, running=charging_since is not None)
    began = charging_since or start
    found: list[Limit] = []
    for second in _marks(own, start, duration, began):
        limit = _limit_at(own, connector_id, start + timedelta(seconds=second), began, phases)
        shown = None if limit is None else limit if unit == "W" else limit / (VOLTAGE * phases)
        if not found or found[-1].limit != shown:
            found.append(Limit(second, shown))
    return found


def _relevant(
    profiles: Iterable[Profile], connector_id: int, transaction_id: int | None, *, running: bool
) -> list[Profile]:
    """Return the profiles that can matter, the highest stack level first."""
    kept = []
    for one in profiles:
        if one.purpose is Purpose.CHARGE_POINT_MAX:
            kept.append(one)
        elif connector_id == 0:
            continue
        elif one.purpose is Purpose.TX_DEFAULT:
            if one.connector_id in {0, connector_id}:
                kept.append(one)
        elif (
            running
            and one.connector_id == connector_id
            and (one.transaction_id is None or one.transaction_id == transaction_id)
        ):
            kept.append(one)
    return sorted(kept, key=lambda one: -one.stack_level)


def _marks(profiles: Iterable[Profile], start: datetime, duration: int, began: datetime) -> list[int]:
    """Return every second at which a limit may change, the first one first."""
    end = start + timedelta(seconds=max(1, duration))
    marks = {0}
    for profile in profiles:
        for moment in _changes(profile, start, end, began):
            if start < moment < end:
                # Chargers count whole seconds: what begins within one counts from the next.
                marks.add(-((start - moment) // timedelta(seconds=1)))
    return sorted(mark for mark in marks if mark < max(1, duration))


def _changes(profile: Profile, start: datetime, end: datetime, began: datetime) -> Iterator[datetime]:
    for moment in (profile.valid_from, profile.valid_to):
        if moment is not None:
            yield moment
    for begin in _begins(profile, start, end, began):
        yield begin
        for period in profile.periods:
            yield begin + timedelta(seconds=period.start)
        if profile.duration is not None:
            yield begin + timedelta(seconds=profile.duration)


def _begins(profile: Profile, start: datetime, end: datetime, began: datetime) -> Iterator[datetime]:
    """Give each moment at which the schedule begins, as far as it can matter between `start` and `end`."""
    if profile.kind is Kind.RELATIVE or profile.start is None:
        yield began
        return
    if profile.kind is Kind.ABSOLUTE:
        yield profile.start
        return
    cycle = CYCLES[profile.recurrency or "Daily"]
    turn = max(0, (start - profile.start) // cycle)
    while (begin := profile.start + turn * cycle) < end:
        yield begin
        turn += 1


def _limit_at(
    profiles: Sequence[Profile], connector_id: int, at: datetime, began: datetime, phases: int
) -> float | None:
    """Return what counts at one moment, in W; None when no profile says anything."""

    def best(purpose: Purpose, connector: int) -> float | None:
        for one in profiles:
            if one.purpose is purpose and one.connector_id == connector:
                limit = limit_of(one, at, began, phases)
                if limit is not None:
                    return limit
        return None

    own: float | None = None
    if connector_id != 0:
        own = best(Purpose.TX, connector_id)
        if own is None:
            own = best(Purpose.TX_DEFAULT, connector_id)
        if own is None:
            own = best(Purpose.TX_DEFAULT, 0)
    whole = best(Purpose.CHARGE_POINT_MAX, 0)
    said = [limit for limit in (own, whole) if limit is not None]
    return min(said) if said else None


def limit_of(profile: Profile, at: datetime, began: datetime, phases: int = PHASES) -> float | None:
    """Return what one profile says at a moment, in W; None while it says nothing."""
    if profile.valid_from is not None and at < profile.valid_from:
        return None
    if profile.valid_to is not None and at >= profile.valid_to:
        return None
    begin = began if profile.kind is Kind.RELATIVE or profile.start is None else profile.start
    if profile.kind is Kind.RECURRING and profile.start is not None and at >= begin:
        cycle = CYCLES[profile.recurrency or "Daily"]
        begin += ((at - begin) // cycle) * cycle
    elapsed = (at - begin).total_seconds()
    if elapsed < 0 or (profile.duration is not None and elapsed >= profile.duration):
        return None
    number = bisect_right(profile.periods, elapsed, key=lambda one: one.start) - 1
    if number < 0:
        return None
    period = profile.periods[number]
    if profile.unit == "W":
        return period.limit
    return period.limit * VOLTAGE * min(phases, period.phases or phases)

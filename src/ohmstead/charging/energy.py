"""The energy of a session from the readings of its import register: a pure function, no I/O.

A charger reports a register that only ever counts up (Wh). The energy of a session is the register at
the stop minus the register at the start (OCPP 1.6 6.45 and 6.49: both in Wh), to 1/1000 Wh. Registers
restart, chargers send stray values and mix up units, so the rule is:

    **of all stories that explain the readings, the one with the fewest faults is believed.**

Readings are put in order: the start, the samples by their own time (equal ones count once), the stop. A
story reads them from first to last. Between two readings that follow each other in it the register

- *went on*: it rose by no more than was possible, `max_power x 1.25 x elapsed + 1 kWh` (elapsed counts
  for one day at most; power 400 kW if unknown), or fell by 1 Wh at most (rounding). The difference
  counts. This is no fault;
- *restarted*: it fell to at most half and shows no more than was possible since the last reading. What
  was counted is kept and all that it shows now is added. Unknowable: what flowed between the last
  reading and the restart; a restart is not seen if the register has already passed its old value;
- *moved*: any other change. The difference does not count, the register goes on from its new base.
  Unknowable: what flowed between the two readings.

A sample may also be *dropped*, or *converted*: its value times 1000 or divided by 1000 goes on where the
value itself does not. Start and stop are in Wh by the standard and are neither dropped nor converted.
No story drops a sample that lies between the two readings around it only to gain the time for a rise that
was not possible: a jump that stays is one, even if two intervals would have been long enough for it.

The weights: a dropped sample 4, a restart or a move 6, a change of unit 1 (7 if the converted value is
over four times the last one: then it is no evidence for a factor of "about 1000"). So one stray sample is
dropped whichever way it strays, and two samples in a row, or one stop, that agree on a new register are
believed. One forward scan finds the best story: for each of the last four samples and each of three units
it keeps the cheapest way to it.

A stop far below the samples is a restart if it is low. If it equals a register already seen it is an
old one, and the samples up to `stopped_at` decide; so they do if it is not low. Samples after the stop do
not count; without a `meter_stop` those up to 5 minutes after `stopped_at` do, and the last trusted one
decides. Samples more than a day before the start or after the stop come from a wrong clock: nothing
says where they belong, so they are left out and noted, as are samples before the start with a register
below it. A `stopped_at` before the start is no time: the stop then simply comes last.
"""

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from operator import itemgetter
from typing import NamedTuple

DEFAULT_POWER_W = 400_000
GRACE = timedelta(minutes=5)
DAY = timedelta(days=1)
KEPT_SAMPLES = 128
MAX_FAULTS = 20  # a broken meter would otherwise note one fault for each sample

_DROP, _BREAK, _UNIT, _WIDE_UNIT = 4, 6, 1, 7
_HOPELESS = _BREAK + _UNIT  # a story this much worse than the best can never win: the best could just move
_LOOK_BACK = 4  # three dropped samples in a row cost as much as moving away and back
_ROUNDING, _SLACK = 1_000, 1_000_000  # 1 Wh and 1 kWh in mWh
_MILLI, _ABSURD_WH = Decimal("0.001"), Decimal(10) ** 15
_AS_SENT, _SENT_KWH, _SENT_MWH = range(3)


@dataclass(frozen=True, slots=True)
class Sample:
    """One reading of the cumulative import register: `at` aware UTC, `wh` in Wh."""

    at: datetime
    wh: Decimal


class AnomalyKind(StrEnum):
    """What can be odd in the readings of a session."""

    REGISTER_RESET = "register_reset"
    REGISTER_JUMP = "register_jump"
    REGISTER_BACKWARDS = "register_backwards"
    REGISTER_UNREADABLE = "register_unreadable"
    UNIT_MIX = "unit_mix"
    START_MISSING = "start_missing"
    START_ABOVE_SAMPLES = "start_above_samples"
    SAMPLE_BEFORE_START = "sample_before_start"
    SAMPLE_AFTER_STOP = "sample_after_stop"
    SAMPLE_TOO_LATE = "sample_too_late"
    STOP_BELOW_SAMPLES = "stop_below_samples"
    STOP_IS_OLD = "stop_is_old"
    CLOCK_OUT_OF_RANGE = "clock_out_of_range"


_NOTES = {
    AnomalyKind.REGISTER_UNREADABLE: "a register that is negative, absurd or no number was left out",
    AnomalyKind.START_MISSING: "no start register: counted from the first trusted sample",
    AnomalyKind.SAMPLE_BEFORE_START: "samples before the start with a register below it were left out",
    AnomalyKind.SAMPLE_AFTER_STOP: "samples more than 5 minutes after the stop were left out",
    AnomalyKind.SAMPLE_TOO_LATE: "samples older than those still kept were left out of the live value",
    AnomalyKind.STOP_IS_OLD: "the stop is older than the newest samples: the register up to its time decides",
    AnomalyKind.CLOCK_OUT_OF_RANGE: "times more than a day outside of the session were not used",
}


@dataclass(frozen=True, slots=True)
class Anomaly:
    """What was odd, when (the charger's time; None if it has none), and what was done about it."""

    kind: AnomalyKind
    at: datetime | None
    detail: str


@dataclass(frozen=True, slots=True)
class Energy:
    """`wh` is never negative; `register_wh` is the last trusted register, None if there was none."""

    wh: Decimal
    anomalies: tuple[Anomaly, ...]
    register_wh: Decimal | None


class _Reading(NamedTuple):
    at: datetime | None  # only a stop may have no time
    mwh: int


class _Node(NamedTuple):
    """The cheapest story that ends with one reading in one unit; `register` is None only for no start."""

    cost: int
    energy: int
    register: int | None
    unit: int
    at: datetime | None
    faults: tuple[Anomaly, ...]
    broke: AnomalyKind | None  # how the register came here, if it did not go on
    is_start: bool = False


_End = tuple[int, int, _Node]  # cost, samples dropped after it, story
_Way = tuple[int, int, _Node, int, AnomalyKind | None]  # the same, what counts from there, how it broke


class _Scan:
    """The forward scan: the last columns of (reading, cheapest story for each unit)."""

    def __init__(self, start: _Node, max_power_w: int) -> None:
        first = _Reading(start.at, start.register or 0)
        self._columns: deque[tuple[_Reading, list[_Node]]] = deque([(first, [start])], maxlen=_LOOK_BACK)
        self._power = max_power_w

    def copy(self) -> "_Scan":
        """A scan that goes on by itself from here."""
        twin = object.__new__(_Scan)
        twin._columns, twin._power = self._columns.copy(), self._power  # finished columns do not change
        return twin

    def step(self, reading: _Reading) -> None:
        """Go on with the next reading in order of time."""
        ends = self._ends()
        nodes = [self._reach(ends, reading, unit) for unit in (_AS_SENT, _SENT_KWH, _SENT_MWH)]
        self._columns.append((reading, nodes))
        floor = min(cost for cost, _, _ in self._ends())
        nodes[:] = [node for node in nodes if node.cost < floor + _HOPELESS]

    def last(self) -> _Node:
        """The best story of all readings so far; what it drops at the end is noted, not counted."""
        _, dropped, node = min(self._ends(), key=itemgetter(0))
        return node._replace(faults=(node.faults + self._dropped(node, dropped))[:MAX_FAULTS])

    def stop(self, reading: _Reading) -> _Node:
        """The best story that ends with this very reading, in Wh."""
        return self._reach(self._ends(), reading, _AS_SENT)

    def _newest(self, count: int) -> list[_Reading]:
        return [reading for reading, _ in self._columns][len(self._columns) - count :]

    def _ends(self) -> list[_End]:
        newest_first = enumerate(reversed(self._columns))
        return [(n.cost + back * _DROP, back, n) for back, (_, nodes) in newest_first for n in nodes]

    def _dropped(self, node: _Node, count: int) -> tuple[Anomaly, ...]:
        below = node.register or 0
        return tuple(
            Anomaly(
                AnomalyKind.REGISTER_BACKWARDS if r.mwh < below else AnomalyKind.REGISTER_JUMP,
                r.at,
                f"{_wh(r.mwh)} Wh does not fit the readings around it and was dropped",
            )
            for r in self._newest(count)
        )

    def _reach(self, ends: list[_End], reading: _Reading, unit: int) -> _Node:
        """The cheapest story that ends with `reading` in `unit`."""
        value = (reading.mwh, reading.mwh * 1000, (reading.mwh + 500) // 1000)[unit]
        best = self._way(ends[0], reading.at, value, unit)
        for end in ends[1:]:
            if end[0] < best[0]:
                best = min(best, self._way(end, reading.at, value, unit), key=itemgetter(0))
        cost, dropped, node, counted, broke = best
        faults = node.faults
        if dropped or broke or unit != node.unit:
            faults += self._dropped(node, dropped)
            if broke:
                done = f"{_wh(counted)} Wh of it counted"
                text = f"{_wh(node.register or 0)} Wh, then {_wh(value)} Wh: {done}"
                faults += (Anomaly(broke, reading.at, text),)
            if unit != _AS_SENT and all(fault.kind is not AnomalyKind.UNIT_MIX for fault in faults):
                text = f"{_wh(reading.mwh)} Wh stands for {_wh(value)} Wh; such samples were converted"
                faults += (Anomaly(AnomalyKind.UNIT_MIX, reading.at, text),)
        return _Node(cost, node.energy + counted, value, unit, reading.at, faults[:MAX_FAULTS], broke)

    def _way(self, end: _End, at: datetime | None, value: int, unit: int) -> _Way:
        """What it costs and counts to go on from one story to `value`, and how the register broke."""
        cost, dropped, node = end
        if unit != node.unit:
            cost += _WIDE_UNIT if unit != _AS_SENT and value > 4 * (node.register or 0) else _UNIT
        if node.register is None:
            return cost, dropped, node, 0, None
        rise = value - node.register
        elapsed = min(abs(at - node.at), DAY) if at and node.at else DAY  # samples may precede the start
        possible = self._power * 1_250 * int(elapsed.total_seconds() * 1000) // 3_600_000 + _SLACK
        passed = dropped and any(node.register < r.mwh <= value for r in self._newest(dropped))
        if -_ROUNDING <= rise <= possible and not passed:
            return cost, dropped, node, rise, None
        counted, broke = 0, AnomalyKind.REGISTER_BACKWARDS
        if rise > 0:
            broke = AnomalyKind.REGISTER_JUMP
        elif value * 2 <= node.register and value <= possible:
            counted, broke = value, AnomalyKind.REGISTER_RESET
        elif node.is_start:
            broke = AnomalyKind.START_ABOVE_SAMPLES
        return cost + _BREAK, dropped, node, counted, broke


class EnergyMeter:
    """The live energy of one open session. `start` first, then `add` samples in any order of arrival.

    `energy` equals `session_energy` without a stop, over all samples added. State is bounded: at least
    the newest `kept` samples (or all: None), the scan (at most 12 stories) over all before them, and a
    mark of it for every few samples. A sample older than those can no longer be placed: it is noted and
    left out (it may be a repeated one), and `session_energy` over the stored samples gives the full
    answer. A sample in order costs one step of the scan; a late one is followed, at the next `energy`, by
    a scan of what came after it, from the mark before it.
    """

    def __init__(self, max_power_w: int | None = None, *, kept: int | None = KEPT_SAMPLES) -> None:
        self._power = max_power_w if max_power_w and max_power_w > 0 else DEFAULT_POWER_W
        self._kept = kept
        # One that keeps all is given them in order and needs no marks: they would hold on to every story.
        self._stride = 0 if kept is None else max(1, kept // 16)
        self._readings: list[_Reading] = []
        self._notes: dict[AnomalyKind, datetime] = {}

    def start(self, meter_start: Decimal | None, at: datetime) -> None:
        """Begin (again) at this register and time; forgets everything added before."""
        self._readings, self._notes = [], {}
        self._started_at, self._meter_start = at, _mwh(meter_start)
        if self._meter_start is None:
            self.note(AnomalyKind.START_MISSING, at)
            if meter_start is not None:
                self.note(AnomalyKind.REGISTER_UNREADABLE, at)
        start = _Node(0, 0, self._meter_start, _AS_SENT, at, (), None, is_start=True)
        # The scan as it was after a reading; the first mark is that over all which are no longer kept.
        self._marks: list[tuple[_Reading | None, _Scan]] = [(None, _Scan(start, self._power))]
        self._scan: _Scan | None = self._marks[0][1].copy()
        self._unmarked = 0

    def note(self, kind: AnomalyKind, at: datetime) -> None:
        """Note a kind once, at the earliest time it was seen: so repeats and their order change nothing."""
        self._notes[kind] = min(at, self._notes.get(kind, at))

    def add(self, sample: Sample) -> None:
        """Take one sample; one that was added before changes nothing."""
        mwh = _mwh(sample.wh)
        if mwh is None:
            return self.note(AnomalyKind.REGISTER_UNREADABLE, sample.at)
        if self._started_at - sample.at > DAY:
            return self.note(AnomalyKind.CLOCK_OUT_OF_RANGE, sample.at)
        if sample.at < self._started_at and mwh < (self._meter_start or 0):
            return self.note(AnomalyKind.SAMPLE_BEFORE_START, sample.at)
        reading = _Reading(sample.at, mwh)
        forgotten_to = self._marks[0][0]
        if forgotten_to is not None and reading <= forgotten_to:
            return None if reading == forgotten_to else self.note(AnomalyKind.SAMPLE_TOO_LATE, sample.at)
        place = bisect_left(self._readings, reading)
        if place == len(self._readings):
            self._readings.append(reading)
            if self._scan is not None:
                self._step(self._scan, reading)
        elif self._readings[place] == reading:
            return None
        else:
            self._readings.insert(place, reading)
            self._scan = None
            while (marked := self._marks[-1][0]) is not None and marked > reading:
                self._marks.pop()
        if self._kept is not None and len(self._readings) >= self._kept + self._stride:
            self._forget()
        return None

    @property
    def energy(self) -> Energy:
        """The energy up to the last trusted sample."""
        return self._result(self._scanned().last())

    def _energy_at_stop(self, mwh: int, stopped_at: datetime | None) -> Energy:
        newest, stop = self._scanned().last(), self._scanned().stop(_Reading(stopped_at, mwh))
        if stop.broke in (None, AnomalyKind.REGISTER_JUMP):
            return self._result(stop)
        if mwh == self._meter_start or any(reading.mwh == mwh for reading in self._readings):
            self.note(AnomalyKind.STOP_IS_OLD, stopped_at or self._started_at)
            return self._result(newest)
        below = Anomaly(AnomalyKind.STOP_BELOW_SAMPLES, stopped_at, f"the stop says {_wh(mwh)} Wh")
        return self._result(stop._replace(faults=(*stop.faults[: MAX_FAULTS - 1], below)))

    def _scanned(self) -> _Scan:
        """The scan over all; after a late sample it goes on from the mark before that one."""
        if self._scan is None:
            marked, scan = self._marks[-1]
            self._scan, self._unmarked = scan.copy(), 0
            for reading in self._readings[self._place_after(marked) :]:
                self._step(self._scan, reading)
        return self._scan

    def _step(self, scan: _Scan, reading: _Reading) -> None:
        """Go on with a reading; each `stride` of them is followed by a mark."""
        scan.step(reading)
        self._unmarked += 1
        if self._unmarked == self._stride:
            self._unmarked = 0
            self._marks.append((reading, scan.copy()))

    def _forget(self) -> None:
        """Let the oldest samples go: the next mark stands for them."""
        self._scanned()
        del self._marks[0]
        del self._readings[: self._place_after(self._marks[0][0])]

    def _place_after(self, reading: _Reading | None) -> int:
        return 0 if reading is None else bisect_right(self._readings, reading)

    def _result(self, node: _Node) -> Energy:
        notes = tuple(Anomaly(kind, self._notes[kind], _NOTES[kind]) for kind in sorted(self._notes))
        register = None if node.register is None else _wh(node.register)
        return Energy(_wh(max(node.energy, 0)), notes + node.faults, register)


def session_energy(
    *,
    meter_start: Decimal | None,
    started_at: datetime,
    samples: Iterable[Sample],
    meter_stop: Decimal | None,
    stopped_at: datetime | None,
    max_power_w: int | None,
) -> Energy:
    """The energy of a session by the rule of this module; samples in any order, repeats count once."""
    meter = EnergyMeter(max_power_w, kept=None)
    meter.start(meter_start, started_at)
    if stopped_at is not None and stopped_at < started_at:
        meter.note(AnomalyKind.CLOCK_OUT_OF_RANGE, stopped_at)
        stopped_at = None
    stop = _mwh(meter_stop)
    if stop is None and meter_stop is not None:
        meter.note(AnomalyKind.REGISTER_UNREADABLE, stopped_at or started_at)
    for sample in sorted(samples, key=lambda s: s.at):
        if stopped_at is None or sample.at <= stopped_at:
            meter.add(sample)
        elif sample.at - stopped_at > DAY:
            meter.note(AnomalyKind.CLOCK_OUT_OF_RANGE, sample.at)
        elif sample.at - stopped_at > GRACE:
            meter.note(AnomalyKind.SAMPLE_AFTER_STOP, sample.at)
        elif stop is None:
            meter.add(sample)
        elif (_mwh(sample.wh) or 0) > stop + _ROUNDING:
            meter.note(AnomalyKind.STOP_IS_OLD, sample.at)
    return meter.energy if stop is None else meter._energy_at_stop(stop, stopped_at)


def _mwh(wh: Decimal | None) -> int | None:
    """Wh as whole mWh; None for what no import register can show."""
    if wh is None or not wh.is_finite() or not 0 <= wh < _ABSURD_WH:
        return None
    return int((wh / _MILLI).to_integral_value())


def _wh(mwh: int) -> Decimal:
    return mwh * _MILLI

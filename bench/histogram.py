"""Latencies in buckets whose width grows with the value, so that millions of samples take a few kilobytes."""

from array import array
from collections.abc import Sequence

_PRECISION_BITS = 9  # 512 buckets for each doubling: a value is known to 0.2 %
_LINEAR = 1 << (_PRECISION_BITS + 1)
_LARGEST_US = 120_000_000
_BUCKETS = ((_LARGEST_US.bit_length() - _PRECISION_BITS) << _PRECISION_BITS) + _LINEAR


class Histogram:
    """Counts of durations in microseconds: exact below 1,024 us, to 0.2 % above, cut at 120 s."""

    __slots__ = ("counts",)

    def __init__(self, counts: Sequence[Sequence[int]] = ()) -> None:
        """`counts` is what `sparse()` gave, for a histogram that crossed a process border."""
        self.counts = array("Q", bytes(8 * _BUCKETS))
        for index, count in counts:
            self.counts[index] = count

    def add(self, us: int) -> None:
        """Count one duration."""
        if us >= _LINEAR:
            us = min(us, _LARGEST_US)
            shift = us.bit_length() - _PRECISION_BITS - 1
            us = (shift << _PRECISION_BITS) + (us >> shift)
        self.counts[us] += 1

    def merge(self, other: "Histogram") -> None:
        """Add all of `other` to this one."""
        for index, count in other.sparse():
            self.counts[index] += count

    def sparse(self) -> list[tuple[int, int]]:
        """The non-empty buckets as (index, count), for JSON."""
        return [(index, count) for index, count in enumerate(self.counts) if count]

    @property
    def total(self) -> int:
        """How many durations were counted."""
        return sum(self.counts)

    def percentile(self, share: float) -> float:
        """The duration in milliseconds under which `share` (0..1) of all lie; NaN when there are none."""
        rank = share * self.total
        seen = 0
        for index, count in self.sparse():
            seen += count
            if seen >= rank:
                return _middle_us(index) / 1000
        return float("nan")


def _middle_us(index: int) -> float:
    if index < _LINEAR:
        return index
    shift = (index >> _PRECISION_BITS) - 1
    return ((index - (shift << _PRECISION_BITS)) << shift) + (1 << shift) / 2

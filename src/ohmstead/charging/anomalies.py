"""The notes of a session: what was odd, as `Session.anomalies` keeps it.

Those of `charging.energy` come out of the samples and are made anew whenever these are measured. All
others say how the session was started or closed, and stay.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from ohmstead.charging.energy import Anomaly, AnomalyKind

Note = dict[str, Any]
"""`kind`, `at` (ISO 8601, or None) and `detail`."""

_MEASURED = frozenset(AnomalyKind)


def measured(notes: Iterable[Note]) -> list[Note]:
    """Return those that came out of the samples."""
    return [note for note in notes if note["kind"] in _MEASURED]


def lasting(notes: Iterable[Note]) -> list[Note]:
    """Return those that no sample changes."""
    return [note for note in notes if note["kind"] not in _MEASURED]


def as_notes(anomalies: Iterable[Anomaly]) -> list[Note]:
    """Return anomalies as notes."""
    return [
        {"kind": str(one.kind), "at": one.at.isoformat() if one.at else None, "detail": one.detail}
        for one in anomalies
    ]


def stray_times(notes: Iterable[Note]) -> list[datetime]:
    """Return when samples were noted that no clock of their session can have shown."""
    return [
        datetime.fromisoformat(note["at"])
        for note in notes
        if note["kind"] == AnomalyKind.CLOCK_OUT_OF_RANGE and note["at"]
    ]

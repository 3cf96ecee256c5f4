"""Clocks of chargers: how far one can be believed, and when a session ended that nobody stopped."""

from datetime import UTC, datetime, timedelta

from ohmstead.charging.models import Session

BELIEVABLE_PAST = timedelta(days=5 * 365)
BELIEVABLE_FUTURE = timedelta(days=1)
BEGIN_OF_TIME = datetime.min.replace(tzinfo=UTC)
END_OF_TIME = datetime.max.replace(tzinfo=UTC)


def replaces(started_at: datetime, known: Session, now: datetime) -> bool:
    """Tell whether a new start ends an open one on its connector.

    An older start that was queued while offline does not end the newer, live one. A charger without a
    clock cannot say which is older: then the one that arrives last is the new one.
    """
    return not believable(started_at, now) or known.started_at is None or known.started_at <= started_at


def believable(started_at: datetime, now: datetime) -> bool:
    """Tell whether a charger's time can be one of a clock that was set."""
    return now - BELIEVABLE_PAST <= started_at <= now + BELIEVABLE_FUTURE


def latest_time(started_at: datetime, received_at: datetime, now: datetime) -> datetime:
    """Return the latest time that a value of a session can have, by our clock and by its charger's.

    That one should show what it showed at the start, and the time that has gone by here since.
    """
    by_charger = shift(started_at, max(now - received_at, timedelta()))
    return shift(max(now, by_charger), BELIEVABLE_FUTURE)


def shift(moment: datetime, by: timedelta) -> datetime:
    """Return a moment earlier or later, at most the first or the last that there is."""
    if by < timedelta():
        return moment + max(by, BEGIN_OF_TIME - moment)
    return moment + min(by, END_OF_TIME - moment)

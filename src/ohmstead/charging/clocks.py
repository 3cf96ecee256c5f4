"""Clocks of chargers: how far one can be believed, and when a session ended that nobody stopped."""

from datetime import UTC, datetime, timedelta

from ohmstead.charging.models import Session

BELIEVABLE_PAST = timedelta(days=5 * 365)
BELIEVABLE_FUTURE = timedelta(days=1)
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


def last_sign(row: Session, now: datetime) -> datetime:
    """Return when a session ended whose stop never came: the time of its last value.

    One stray value from years ahead does not count: then it is as long after the start as by our clock.
    """
    if row.last_sample_at is None or row.last_sample_at <= latest_time(row, now):
        return row.last_sample_at or now
    return _by_our_clock(row, now)


def latest_time(row: Session, now: datetime) -> datetime:
    """Return the latest time that a value of a session can have, by our clock and by its charger's."""
    latest = max(now, _by_our_clock(row, now))
    return latest + BELIEVABLE_FUTURE if latest < END_OF_TIME - BELIEVABLE_FUTURE else latest


def _by_our_clock(row: Session, now: datetime) -> datetime:
    """Return what the charger's clock should show now, if it goes on as ours does since the start came."""
    started_at = row.started_at or row.received_at
    return started_at + min(max(now - row.received_at, timedelta()), END_OF_TIME - started_at)

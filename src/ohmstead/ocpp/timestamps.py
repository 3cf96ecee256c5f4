"""Times on the wire: read leniently, written in one form (OCPP 1.6, "Time notations")."""

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

# RFC 3339 5.6, with a zone that may be absent or without colon, a comma as decimal sign (ISO 8601) and a
# space for the T. `fromisoformat` alone would also take bare dates, week dates and a NUL at the end.
_DATE_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:[.,][0-9]+)?"
    r"(?:[Zz]|[+-][0-9]{2}:?[0-9]{2})?"
)


@lru_cache(maxsize=4096)
def parse_timestamp(text: str) -> datetime:
    """The instant that a charger means, aware and in UTC; digits beyond microseconds are cut off.

    A time without a zone is UTC, as OCPP 1.6 ("Time notations") recommends it.
    Raises ValueError for any other text and for instants outside the years 1 to 9999 of UTC.
    """
    if _DATE_TIME.fullmatch(text) is None:
        raise ValueError("not an ISO 8601 date and time")
    try:
        moment = datetime.fromisoformat(text.upper())
        if moment.tzinfo is UTC:
            return moment
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("the year is outside 1 to 9999") from None


def is_timestamp(text: str) -> bool:
    """Whether `parse_timestamp` can read the text: the `date-time` format of the schemas."""
    try:
        parse_timestamp(text)
    except ValueError:
        return False
    return True


def format_timestamp(moment: datetime) -> str:
    """The instant as `2024-05-31T12:00:00.000Z`: the form that every charger seen so far can read.

    Microseconds are cut off, not rounded. Raises ValueError for a naive datetime.
    """
    if moment.tzinfo is None:
        raise ValueError("a naive datetime names no instant")
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"

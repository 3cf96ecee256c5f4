"""Times that come in: aware UTC from here on."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends, Query
from pydantic import AfterValidator, AwareDatetime, BeforeValidator

from ohmstead.core.errors import Invalid

BEGINS_WITH_A_DATE = re.compile(r"\d{4}-\d\d-\d\d")


def as_text(value: Any) -> Any:
    """Refuse what is no RFC 3339 time: a bare number, such as a year, would be read as seconds since 1970."""
    if isinstance(value, datetime) or (isinstance(value, str) and BEGINS_WITH_A_DATE.match(value)):
        return value
    raise ValueError("must be a time such as 2026-05-04T12:00:00Z")


def in_utc(moment: datetime) -> datetime:
    """Move a time to UTC, which one without a zone is in; refuse what leaves the calendar by it."""
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("lies outside of the years 1 to 9999") from None


MomentIn = Annotated[AwareDatetime, BeforeValidator(as_text), AfterValidator(in_utc)]
"""A time in a body, with its offset; without one nobody knows what it means."""

TimeFilter = Annotated[datetime, BeforeValidator(as_text), AfterValidator(in_utc)]
"""A time in a query string; one without a zone is taken as UTC."""


@dataclass(frozen=True, slots=True)
class TimeRange:
    """From `since` on and before `until`; None does not bound."""

    since: datetime | None
    until: datetime | None


def time_range(
    since: Annotated[TimeFilter | None, Query(alias="from", description="Included.")] = None,
    until: Annotated[TimeFilter | None, Query(alias="to", description="Not included.")] = None,
) -> TimeRange:
    """Read `from` and `to` of a query string. Raises `Invalid` when they are the wrong way round."""
    if since is not None and until is not None and since > until:
        raise Invalid("`from` lies after `to`. Swap them.", fields={"from": "lies after `to`"})
    return TimeRange(since, until)


Within = Annotated[TimeRange, Depends(time_range)]

"""Times that come in: aware UTC from here on."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Query
from pydantic import AfterValidator, AwareDatetime

from ohmstead.core.errors import Invalid


def in_utc(moment: datetime) -> datetime:
    """Move a time to UTC, which one without a zone is in; refuse what leaves the calendar by it."""
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("lies outside of the years 1 to 9999") from None


MomentIn = Annotated[AwareDatetime, AfterValidator(in_utc)]
"""A time in a body, with its offset; without one nobody knows what it means."""

TimeFilter = Annotated[datetime, AfterValidator(in_utc)]
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

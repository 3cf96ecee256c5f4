"""Which session values belong to that name none: the one that their connector had at their time.

A charger that was away sends what it has kept, perhaps when its next session is running already.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.charging.clocks import believable, shift
from ohmstead.charging.energy import DAY, GRACE
from ohmstead.charging.metering import Metered
from ohmstead.charging.models import ClosedBy, Session, SessionStatus
from ohmstead.charging.starting import one_at_a_time

AT_MOST = 500
"""Sessions of one connector that are looked at: more than it has in any day."""


class Span(NamedTuple):
    """The time of a session; `stopped_at` only if its charger told it, since what we guess is no end."""

    transaction_id: int | None
    started_at: datetime
    stopped_at: datetime | None
    is_open: bool


async def by_session(
    session: AsyncSession, charger_id: str, connector_id: int, values: Sequence[Metered], now: datetime
) -> dict[int | None, list[Metered]]:
    """Sort the values of a connector by the transaction that each is of, and put its id into the rows."""
    await one_at_a_time(session, charger_id)
    times = [value.sampled_at for value in values]
    spans = await _spans(session, charger_id, connector_id, min(times), max(times))
    result: dict[int | None, list[Metered]] = {}
    for value in values:
        number = transaction_at(spans, value.sampled_at, now)
        value.row["transaction_id"] = number
        result.setdefault(number, []).append(value)
    return result


def transaction_at(spans: Sequence[Span], at: datetime, now: datetime) -> int | None:
    """Return the transaction that a value of this time belongs to; `spans` from the newest start on.

    It is that of the session which had begun last, unless its stop came more than five minutes before: then
    an older one that is still open, if there is such. A value of just before an open session is one of it:
    its charger may have set its clock since. To a time from years ago, that of a charger without a clock, no
    session belongs that has ended.
    """
    begun = [span for span in spans if span.started_at <= at]
    for span in begun:
        ended_later = span.stopped_at is None or at <= shift(span.stopped_at, GRACE)
        if span.is_open or (span is begun[0] and ended_later and believable(at, now)):
            return span.transaction_id
    later = [span for span in spans if span.is_open and at < span.started_at <= shift(at, DAY)]
    return later[-1].transaction_id if later else None


async def _spans(
    session: AsyncSession, charger_id: str, connector_id: int, first: datetime, last: datetime
) -> list[Span]:
    """Return the sessions of a connector that values from `first` to `last` may belong to, newest first."""
    query = (
        select(Session)
        .where(
            Session.charger_id == charger_id,
            Session.connector_id == connector_id,
            Session.unmatched.is_(False),
        )
        .order_by(Session.occurred_at.desc(), Session.id.desc())
    )
    during = query.where(Session.occurred_at > first, Session.occurred_at <= shift(last, DAY))
    before = query.where(Session.occurred_at <= first)
    rows = [
        *(await session.scalars(during.limit(AT_MOST))),
        *(await session.scalars(before.where(Session.status == SessionStatus.ACTIVE).limit(AT_MOST))),
        *(await session.scalars(before.limit(1))),
    ]
    spans = {
        row.id: Span(
            row.ocpp_transaction_id,
            row.started_at or row.occurred_at,
            row.stopped_at if row.closed_by == ClosedBy.CHARGER else None,
            row.status == SessionStatus.ACTIVE,
        )
        for row in rows
    }
    return sorted(spans.values(), key=lambda span: span.started_at, reverse=True)

"""What a start is held against: the equal one, the open ones, and how many may run at once."""

import secrets
from datetime import datetime

from sqlalchemy import func, or_, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.authorization import TokenDecision
from ohmstead.accounts.models import TokenStatus
from ohmstead.charging.models import ClosedBy, Session, SessionStatus
from ohmstead.core.errors import Conflict

MAX_TRANSACTION_ID = 2**31 - 1


async def one_at_a_time(session: AsyncSession, charger_id: str) -> None:
    """Let one charger's starts and stops wait for each other, on whichever socket they come."""
    await session.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended('charging:' || :charger, 0))"),
        {"charger": charger_id},
    )


async def same_start(
    session: AsyncSession,
    charger_id: str,
    *,
    connector_id: int,
    id_tag: str,
    meter_start: int,
    started_at: datetime,
) -> Session | None:
    """Return the session of an equal start whose stop has not come: an open one before one that we closed."""
    rows = await session.scalars(
        select(Session)
        .where(
            Session.charger_id == charger_id,
            Session.occurred_at == started_at,
            Session.started_at == started_at,
            Session.connector_id == connector_id,
            Session.meter_start == meter_start,
            Session.unmatched.is_(False),
            Session.closed_by.is_distinct_from(ClosedBy.CHARGER),
        )
        .order_by((Session.status == SessionStatus.ACTIVE).desc(), Session.received_at.desc())
    )
    return next((row for row in rows if (row.id_tag or "").lower() == id_tag.lower()), None)


async def open_sessions(session: AsyncSession, charger_id: str, connector_id: int) -> list[Session]:
    """Return the open sessions of a connector, the oldest first."""
    rows = await session.scalars(
        select(Session)
        .where(
            Session.charger_id == charger_id,
            Session.connector_id == connector_id,
            Session.status == SessionStatus.ACTIVE,
            Session.unmatched.is_(False),
        )
        .order_by(Session.started_at)
    )
    return list(rows.all())


async def too_many(session: AsyncSession, decision: TokenDecision) -> bool:
    """Tell whether a tag has as many sessions open as it may have.

    Two chargers that ask at once wait for each other: the second one counts the session of the first.
    Whoever comes here holds his charger already (`one_at_a_time`), and nobody asks for a charger while he
    holds a tag.
    """
    if decision.max_concurrent_sessions is None or decision.token_id is None:
        return False
    await session.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended('charging tag:' || :tag, 0))"),
        {"tag": str(decision.token_id)},
    )
    running = await session.scalar(
        select(func.count()).where(
            Session.token_id == decision.token_id,
            Session.status == SessionStatus.ACTIVE,
            or_(Session.id_tag_status == TokenStatus.ACCEPTED, Session.id_tag_status.is_(None)),
        )
    )
    return (running or 0) >= decision.max_concurrent_sessions


async def insert_with_new_id(session: AsyncSession, row: Session) -> None:
    """Insert with a random transaction id: unguessable (SteVe's were not), unique, a positive int32."""
    while True:
        row.ocpp_transaction_id = secrets.randbelow(MAX_TRANSACTION_ID) + 1
        taken = await session.scalar(
            select(Session.id).where(
                Session.ocpp_transaction_id == row.ocpp_transaction_id, Session.unmatched.is_(False)
            )
        )
        if taken is None:
            break
    session.add(row)
    try:
        await session.flush()
    except IntegrityError as error:
        # Another process drew the same number in this very moment, or took the same start: the charger
        # sends again and finds it.
        raise Conflict("The transaction was started at the same moment elsewhere. Send it again.") from error

"""Chargers that nobody registered: kept as Pending for a day, to be adopted (`OHMSTEAD_OCPP_ACCEPT_UNKNOWN`).

Such a charger belongs to nobody, so only a SystemAdmin sees it. Its BootNotification is answered Pending
(OCPP 1.6 4.2), it authorises nobody, and raises no alerts. How many one address may bring is bounded, and who
is not adopted within a day is forgotten.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import delete, exists, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.audit import record
from ohmstead.core.acting import charger_acting
from ohmstead.core.errors import DomainError, Kind
from ohmstead.stations import history
from ohmstead.stations.models import Charger, Registration

EXPIRES = timedelta(hours=24)

PIECE = 500
"""So many are forgotten in one unit of work at most."""


class TooManyUnknown(DomainError):
    """One address brings more chargers that nobody registered than it may."""

    kind = Kind.TOO_MANY
    code = "TooManyUnknown"


async def admit(
    session: AsyncSession,
    charger_id: str,
    *,
    address: str | None,
    password_hash: str | None,
    now: datetime,
    at_most: int,
) -> None:
    """Keep a charger that nobody registered; one that somebody else made meanwhile stays as it is.

    `password_hash` is of the password that it sent, if any: whoever adopts it may keep that. Raises
    `TooManyUnknown`.
    """
    # One address at a time, so that many at once are counted one after the other.
    key = func.hashtextextended(f"unknown:{address}", 0)
    await session.execute(select(func.pg_advisory_xact_lock(key)))
    count = await session.scalar(
        select(func.count()).where(
            Charger.unregistered_since.is_not(None), Charger.unregistered_from.is_not_distinct_from(address)
        )
    )
    if (count or 0) >= at_most:
        raise TooManyUnknown(
            f"{count} chargers that nobody registered came from this address. Adopt or delete them first."
        )
    made = await session.execute(
        insert(Charger)
        .values(
            id=charger_id,
            registration=Registration.PENDING,
            password_hash=password_hash,
            unregistered_since=now,
            unregistered_from=address,
            owned_since=now,
            created_at=now,
            updated_at=now,
        )
        .on_conflict_do_nothing()
        .returning(Charger.id)
    )
    if made.scalar_one_or_none() is not None:
        by = charger_acting(charger_id)
        await record(session, "charger.came_unregistered", entity="charger", entity_id=charger_id, by=by)


async def forget_unadopted(session: AsyncSession, now: datetime) -> Sequence[str]:
    """Delete those that nobody adopted within a day, and what was logged of them; returns their ids.

    A piece of them: to be called until it returns none. One that has sessions stays: energy may have flowed.
    """
    used = exists().where(history.SESSIONS.c.charger_id == Charger.id)
    found = await session.scalars(
        select(Charger.id)
        .where(Charger.unregistered_since < now - EXPIRES, ~used)
        .order_by(Charger.id)
        .with_for_update(skip_locked=True)
        .limit(PIECE)
    )
    # Asked again of the rows that are locked: a session may have begun before the lock was there.
    gone = [one for one in found if not await history.sessions_of_charger(session, one)]
    for charger_id in gone:
        await record(session, "charger.forgotten", entity="charger", entity_id=charger_id)
    if gone:
        await session.execute(delete(Charger).where(Charger.id.in_(gone)))
        await history.forget_traces(session, gone)
    return gone

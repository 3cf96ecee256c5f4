"""Making businesses, and finding the one that is meant when none is named."""

from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.audit import record
from ohmstead.accounts.constraints import refusing
from ohmstead.accounts.models import Backoffice, BackofficeStatus
from ohmstead.core.errors import Conflict

FIRST = "My charging business"
"""The name of the business that is made when the first station needs one; it can be changed."""


async def make_business(session: AsyncSession, name: str, time_zone: str, now: datetime) -> Backoffice:
    """Make an active business. Raises `Conflict` when one has the name, in any case."""
    row = Backoffice(
        id=uuid4(), name=name, time_zone=time_zone, status=BackofficeStatus.ACTIVE, created_at=now
    )
    async with refusing(session, {"uq_accounts_backoffice_name": name_taken(name, "name")}):
        session.add(row)
    await record(
        session,
        "backoffice.created",
        entity="backoffice",
        entity_id=row.id,
        after={"name": row.name, "time_zone": row.time_zone},
        backoffice_id=row.id,
    )
    return row


def name_taken(name: str, field: str) -> Conflict:
    """Return the refusal of a name that another business has; `field` is the input that held it."""
    return Conflict(
        f"There is a business called {name} already. Choose another name.",
        code="BackofficeExists",
        fields={field: "is taken"},
    )


async def find_business(session: AsyncSession, name: str) -> UUID | None:
    """Return the id of the business at work that has this name, in any case."""
    query = select(Backoffice.id).where(
        func.lower(Backoffice.name) == name.strip().lower(), Backoffice.status == BackofficeStatus.ACTIVE
    )
    return await session.scalar(query)


async def first_business(session: AsyncSession, now: datetime) -> UUID:
    """Return the oldest business at work: what belongs to none that was named belongs to it.

    A new installation has none yet; then one is made, and two that need it at once make one.
    """
    query = (
        select(Backoffice.id)
        .where(Backoffice.status == BackofficeStatus.ACTIVE)
        .order_by(Backoffice.created_at, Backoffice.id)
        .limit(1)
    )
    found = await session.scalar(query)
    if found is not None:
        return found
    await session.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended('accounts:first business', 0))")
    )
    found = await session.scalar(query)
    if found is not None:
        return found
    return (await make_business(session, FIRST, "UTC", now)).id

"""Making and changing businesses, and finding the one that is meant when none is named."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.audit import differing, record
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


async def change(
    session: AsyncSession,
    row: Backoffice,
    *,
    name: str | None,
    time_zone: str | None,
    contact: Mapping[str, str],
    billing: Mapping[str, str | None],
) -> None:
    """Change a business that is held. None stays, as does what `contact` and `billing` do not name.

    A member of `billing` that is None is taken out. Raises `Conflict` when another one at work has the name.
    """
    before, private = _told(row), _private(row)
    async with refusing(session, {"uq_accounts_backoffice_name": name_taken(name or "", "businessName")}):
        row.name = name or row.name
        row.time_zone = time_zone or row.time_zone
        for member, value in contact.items():
            setattr(row, f"contact_{member}", value)
        merged = {**row.billing, **billing}
        row.billing = {member: value for member, value in merged.items() if value is not None}
    after, private_now = _told(row), _private(row)
    if (before, private) == (after, private_now):
        return
    was, is_now = differing(private, private_now)
    await record(
        session,
        "backoffice.updated",
        entity="backoffice",
        entity_id=row.id,
        before=before,
        after=after,
        person_id=row.id,  # its contact is no user: the key of what tells of it is the business's
        personal={"before": was, "after": is_now} if was or is_now else None,
        backoffice_id=row.id,
    )


def _told(row: Backoffice) -> dict[str, Any]:
    return {"name": row.name, "time_zone": row.time_zone}


def _private(row: Backoffice) -> dict[str, Any]:
    contact = {name: getattr(row, name) for name in ("contact_name", "contact_email", "contact_phone")}
    return {**contact, "billing": row.billing}


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

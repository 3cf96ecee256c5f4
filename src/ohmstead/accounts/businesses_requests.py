"""Businesses that ask for an account, and what a SystemAdmin decides.

PendingApproval -> Active or Rejected, and that is the end of it: who was rejected asks again.
"""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.audit import record
from ohmstead.accounts.businesses import find_business, name_taken
from ohmstead.accounts.constraints import refusing
from ohmstead.accounts.invites import invite
from ohmstead.accounts.models import Backoffice, BackofficeStatus, Role, User, UserStatus
from ohmstead.accounts.new_users import add_user
from ohmstead.accounts.principal import Principal
from ohmstead.core.config import Settings
from ohmstead.core.errors import Conflict, NotFound
from ohmstead.mail.service import send_mail


async def request_business(
    session: AsyncSession,
    settings: Settings,
    *,
    name: str,
    contact_name: str,
    contact_email: str,
    contact_phone: str,
    billing: dict[str, Any],
    time_zone: str,
    now: datetime,
) -> Backoffice:
    """Keep the request of a business and mail its contact that it has arrived.

    Asked twice by the same contact it is one request. Raises `Conflict` when a business at work has the name,
    and when the first request says something else: whoever asks here has not shown that it is the contact.
    """
    await session.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended('accounts:request:' || :who, 0))"),
        {"who": f"{contact_email}/{name.lower()}"},
    )
    if await find_business(session, name) is not None:
        raise name_taken(name, "businessName")
    waiting = await session.scalar(
        select(Backoffice).where(
            func.lower(Backoffice.name) == name.lower(),
            Backoffice.contact_email == contact_email,
            Backoffice.status == BackofficeStatus.PENDING_APPROVAL,
        )
    )
    told = {
        "contact_name": contact_name,
        "contact_phone": contact_phone,
        "billing": billing,
        "time_zone": time_zone,
    }
    if waiting is not None:
        if any(getattr(waiting, member) != value for member, value in told.items()):
            raise Conflict(
                "A request of this contact for this business waits for an answer already, with other data,"
                " and stays as it is. Wait for the answer by mail; what is wrong can be put right then.",
                code="RequestWaiting",
            )
        return waiting
    row = Backoffice(
        id=uuid4(),
        name=name,
        status=BackofficeStatus.PENDING_APPROVAL,
        created_at=now,
        contact_email=contact_email,
        **told,
    )
    session.add(row)
    await session.flush()
    await tell_contact(session, settings, row)
    await _record(session, "backoffice.requested", row, None)
    return row


async def approve_business(
    session: AsyncSession,
    settings: Settings,
    backoffice_id: UUID,
    *,
    admin_email: str,
    admin_name: str | None,
    password_hash: str | None,
    now: datetime,
) -> Backoffice:
    """Open the account of a business with its first user, who has a temporary password or is invited.

    Raises `NotFound`, `Conflict` when the business does not wait, its name has been taken meanwhile, or the
    address has an account.
    """
    row = await _waiting(session, backoffice_id)
    before = row.status
    async with refusing(session, {"uq_accounts_backoffice_name": name_taken(row.name, "businessName")}):
        row.status = BackofficeStatus.ACTIVE
        row.decided_at = now
    if admin_name is None and admin_email == row.contact_email:
        admin_name = row.contact_name
    user = User(
        id=uuid4(),
        email=admin_email,
        name=admin_name,
        password_hash=password_hash,
        must_change_password=password_hash is not None,
        role=Role.BACKOFFICE,
        backoffice_id=row.id,
        operator_station_ids=[],
        created_at=now,
    )
    await add_user(session, user, field="adminEmail")
    await _record(session, "backoffice.approved", row, before)
    await record(
        session,
        "user.created",
        entity="user",
        entity_id=user.id,
        after={"role": user.role, "temporary_password": password_hash is not None},
        person_id=user.id,
        personal={"email": user.email, "name": user.name},
        backoffice_id=row.id,
    )
    if password_hash is None:
        await invite(session, settings, user, now)
    else:
        await send_mail(
            session,
            settings,
            to=user.email,
            template="business_approved",
            name=user.name or "",
            business=row.name,
            email=user.email,
            url=f"{settings.public_url}/sign-in",
        )
    return row


async def reject_business(
    session: AsyncSession, settings: Settings, backoffice_id: UUID, *, reason: str, now: datetime
) -> Backoffice:
    """Refuse the account of a business and mail its contact why. Raises `NotFound`, `Conflict`."""
    row = await _waiting(session, backoffice_id)
    before = row.status
    row.status = BackofficeStatus.REJECTED
    row.decided_at = now
    row.rejection_reason = reason
    await session.flush()
    await _record(session, "backoffice.rejected", row, before, reason=reason)
    await tell_contact(session, settings, row)
    return row


async def undecided_or_rejected(session: AsyncSession, address: str) -> UUID | None:
    """Return the last business that somebody at an e-mail address asked for and that is not at work."""
    query = (
        select(Backoffice.id)
        .where(
            Backoffice.contact_email == address,
            Backoffice.status.in_((BackofficeStatus.PENDING_APPROVAL, BackofficeStatus.REJECTED)),
        )
        .order_by(Backoffice.created_at.desc())
        .limit(1)
    )
    return await session.scalar(query)


async def tell_contact(session: AsyncSession, settings: Settings, row: Backoffice) -> None:
    """Mail the contact of a business that has no account yet how things stand: it waits, or why not."""
    if row.contact_email is None or row.status == BackofficeStatus.ACTIVE:
        return
    rejected = row.status == BackofficeStatus.REJECTED
    await send_mail(
        session,
        settings,
        to=row.contact_email,
        template="business_rejected" if rejected else "business_requested",
        name=row.contact_name or "",
        business=row.name,
        reason=row.rejection_reason or "",
    )


async def invite_again(
    session: AsyncSession, settings: Settings, backoffice_id: UUID, now: datetime
) -> Backoffice:
    """Mail those who run a business and have not chosen a password yet a new link.

    Raises `NotFound`, and `Conflict` for a business not at work, and when there is nobody of that kind.
    """
    row = await find(session, backoffice_id)
    if row.status != BackofficeStatus.ACTIVE:
        raise Conflict(
            f"Nobody runs this business yet: it is {row.status}. People are invited when it is approved.",
            code="BackofficeNotActive",
        )
    query = (
        select(User)
        .where(
            User.backoffice_id == row.id,
            User.role == Role.BACKOFFICE,
            User.password_hash.is_(None),
            User.status == UserStatus.ACTIVE,
        )
        .order_by(User.created_at)
    )
    waiting = (await session.execute(query)).scalars().all()
    if not waiting:
        raise Conflict("Everybody who runs this business has a password.", code="AlreadyAccepted")
    for user in waiting:
        await invite(session, settings, user, now)
    return row


async def find(session: AsyncSession, backoffice_id: UUID, *, locked: bool = False) -> Backoffice:
    """Return a business; `locked` holds it until the commit. Raises `NotFound`."""
    row = await session.get(Backoffice, backoffice_id, with_for_update=locked)
    if row is None:
        raise _not_found()
    return row


async def find_own(
    session: AsyncSession, principal: Principal, backoffice_id: UUID, *, locked: bool = False
) -> Backoffice:
    """Return a business that is the caller's, to a SystemAdmin each. Raises `NotFound`."""
    if principal.role is not Role.SYSTEM_ADMIN and principal.backoffice_id != backoffice_id:
        raise _not_found()
    return await find(session, backoffice_id, locked=locked)


def _not_found() -> NotFound:
    return NotFound("There is no business with this id.", code="BackofficeNotFound")


async def _waiting(session: AsyncSession, backoffice_id: UUID) -> Backoffice:
    row = await find(session, backoffice_id, locked=True)
    if row.status != BackofficeStatus.PENDING_APPROVAL:
        raise Conflict(
            f"This business does not wait for approval: it is {row.status}.", code="BackofficeNotPending"
        )
    return row


async def _record(
    session: AsyncSession, action: str, row: Backoffice, before: str | None, reason: str | None = None
) -> None:
    await record(
        session,
        action,
        entity="backoffice",
        entity_id=row.id,
        before=None if before is None else {"status": before},
        after={"status": row.status} if before else {"status": row.status, "name": row.name},
        reason=reason,
        backoffice_id=row.id,
    )

"""Drivers: registration, profile, verified addresses, and being deactivated.

A deactivated driver signs in and sees its history, and can neither book, change, cancel nor start.
"""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts import mailed_tokens
from ohmstead.accounts.audit import record
from ohmstead.accounts.constraints import refusing
from ohmstead.accounts.drivers_models import Driver
from ohmstead.accounts.drivers_queries import LONGEST_NIC, find_driver, normal_nic
from ohmstead.accounts.emails import normalise_email
from ohmstead.accounts.mailed_tokens import Purpose
from ohmstead.accounts.mailed_tokens_models import MailedToken
from ohmstead.accounts.models import Role, User, UserStatus
from ohmstead.accounts.new_users import add_user
from ohmstead.accounts.personal_data_standing import is_over, require_not_erased
from ohmstead.accounts.principal import Principal
from ohmstead.accounts.vehicles import add_vehicle
from ohmstead.core.config import Settings
from ohmstead.core.errors import Conflict, Invalid
from ohmstead.core.http import utc_z
from ohmstead.mail.service import send_mail

BETWEEN_MAILS = timedelta(minutes=1)
"""So often, and no more, somebody is mailed a link to verify its address."""


def checked_nic(settings: Settings, nic: str) -> str:
    """Return the one spelling of a NIC. Raises `Invalid` when it has not the form that is set."""
    text = normal_nic(nic)
    if len(text) > LONGEST_NIC or not re.fullmatch(settings.nic_pattern, text):
        fault = "is not the number of a national identity card, such as 200212345679 or 881234567V"
        raise Invalid(f"The NIC {fault}.", fields={"nic": fault})
    return text


async def register_driver(
    session: AsyncSession,
    settings: Settings,
    *,
    nic: str,
    name: str,
    email: str,
    phone: str,
    password_hash: str,
    plate: str | None,
    now: datetime,
) -> User:
    """Make a driver, active at once, and mail it a link to verify its address.

    `nic` is as `checked_nic` returns it. Raises `Conflict` when the NIC or the address has an account.
    """
    user = User(
        id=uuid4(),
        email=email,
        name=name,
        phone=phone,
        password_hash=password_hash,
        role=Role.EV_OWNER,
        status=UserStatus.ACTIVE,
        operator_station_ids=[],
        created_at=now,
    )
    await add_user(session, user)
    await _give_nic(session, user, nic)
    if plate is not None:
        await add_vehicle(session, user, {"plate": plate}, now)
    await record(
        session,
        "driver.registered",
        entity="user",
        entity_id=user.id,
        after={"status": user.status},
        person_id=user.id,
        personal={"nic": nic, "email": email, "name": name, "phone": phone},
    )
    await send_verification(session, settings, user, now)
    return user


async def change_driver(
    session: AsyncSession, settings: Settings, principal: Principal, name: str, changes: Mapping[str, Any]
) -> tuple[User, str | None]:
    """Change `name` and `phone`, and give a `nic` to a driver who has none yet; return it and its NIC.

    `email` may stand there as it is. Raises `NotFound`, `Invalid`, also for another address, and `Conflict`
    for a NIC that somebody has, or when the driver has another.
    """
    user, nic = await find_driver(session, principal, name, locked=True)
    await require_not_erased(session, user)
    before = {"nic": nic, "name": user.name, "phone": user.phone}
    changes = dict(changes)
    if "email" in changes and normalise_email(changes.pop("email")) != user.email:
        raise Invalid(
            "The address is not changed here: ask for another one by POST /api/auth/email, and a link is"
            " mailed there.",
            fields={"email": "is changed by POST /api/auth/email"},
        )
    if "nic" in changes:
        wanted = checked_nic(settings, changes.pop("nic"))
        if nic is None:
            await _give_nic(session, user, wanted)
            nic = wanted
        elif wanted != nic:
            fault = "is given once and stays"
            raise Conflict(f"The NIC {fault}. Leave it out.", code="NicStays", fields={"nic": fault})
    for field, value in changes.items():
        setattr(user, field, value)
    await session.flush()
    after = {"nic": nic, "name": user.name, "phone": user.phone}
    if after != before:
        await record(
            session,
            "driver.updated",
            entity="user",
            entity_id=user.id,
            person_id=user.id,
            personal={"before": before, "after": after},
            backoffice_id=principal.backoffice_id,
        )
    return user, nic


async def set_driver_status(
    session: AsyncSession, principal: Principal, name: str, status: UserStatus, *, reason: str | None = None
) -> tuple[User, str | None, bool]:
    """Deactivate or reactivate a driver; return it, its NIC, and whether that is different now.

    Which roles may do which is said by the table of permissions. Raises `NotFound`.
    """
    user, nic = await find_driver(session, principal, name, locked=True)
    before = user.status
    if before == status:
        return user, nic, False
    await require_not_erased(session, user)
    user.status = status
    await session.flush()
    await record(
        session,
        "driver.reactivated" if status is UserStatus.ACTIVE else "driver.deactivated",
        entity="user",
        entity_id=user.id,
        before={"status": before},
        after={"status": status},
        reason=reason,
        person_id=user.id,
        backoffice_id=principal.backoffice_id,
    )
    return user, nic, True


async def verify_email(session: AsyncSession, settings: Settings, token: str, now: datetime) -> User:
    """Take an address for verified by the link that was mailed there. Raises `NotFound`, `LinkOver`."""
    user = await mailed_tokens.use(session, settings, Purpose.VERIFY_EMAIL, token, now)
    user.email_verified_at = now
    await session.flush()
    await record(
        session,
        "user.email_verified",
        entity="user",
        entity_id=user.id,
        after={"email_verified_at": now},
        person_id=user.id,
    )
    return user


async def send_verification_again(
    session: AsyncSession, settings: Settings, email: str, now: datetime
) -> None:
    """Mail a new link to an address whose account has not verified it; else do nothing, and say nothing.

    Not more often than once a minute.
    """
    query = select(User).where(
        func.lower(User.email) == email,
        or_(User.status == UserStatus.ACTIVE, User.role == Role.EV_OWNER),
        User.email_verified_at.is_(None),
        User.password_hash.is_not(None),
    )
    user = (await session.execute(query.with_for_update())).scalar_one_or_none()
    if user is None or await is_over(session, user):
        return
    last = await session.scalar(
        select(func.max(MailedToken.created_at)).where(
            MailedToken.user_id == user.id, MailedToken.purpose == Purpose.VERIFY_EMAIL
        )
    )
    if last is None or now - last >= BETWEEN_MAILS:
        await send_verification(session, settings, user, now)


async def send_verification(session: AsyncSession, settings: Settings, user: User, now: datetime) -> None:
    """Mail a user a link to verify its address; one that was sent before is void."""
    made = await mailed_tokens.make(session, settings, user, Purpose.VERIFY_EMAIL, now)
    await send_mail(
        session,
        settings,
        to=user.email,
        template="verify_email",
        name=user.name or "",
        email=user.email,
        url=f"{settings.public_url}/verify-email/{made.token}",
        expires=utc_z(made.expires_at),
    )


async def _give_nic(session: AsyncSession, user: User, nic: str) -> None:
    taken = Conflict(
        "There is an account with this NIC already. Sign in with it, or choose a new password.",
        code="NicTaken",
        fields={"nic": "has an account already"},
    )
    async with refusing(session, {"uq_accounts_driver_nic": taken}):
        session.add(Driver(user_id=user.id, nic=nic))

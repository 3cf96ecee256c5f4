"""Invites: an account without a password, and a mailed link to choose one."""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts import mailed_tokens
from ohmstead.accounts.audit import record
from ohmstead.accounts.mailed_tokens import LinkOver, Purpose
from ohmstead.accounts.models import Backoffice, User
from ohmstead.accounts.password_rule import hash_new_password, told_of
from ohmstead.core.config import Settings
from ohmstead.core.db import Database
from ohmstead.core.errors import Conflict
from ohmstead.core.http import utc_z
from ohmstead.mail.service import send_mail


async def invite(
    session: AsyncSession, settings: Settings, user: User, now: datetime, *, invited_by: str | None = None
) -> None:
    """Mail a user, who has no password yet, a link to choose one; an earlier link is void.

    `invited_by` names who did it in the mail. Raises `Conflict` when the user has a password, or may not sign
    in: the link would open nothing.
    """
    if user.shut_out:
        raise Conflict(
            "This account is deactivated, and an invitation to it would open nothing. Activate it first.",
            code="AccountDeactivated",
        )
    if user.password_hash is not None:
        raise Conflict("This user has a password already, and can ask for a new one.", code="AlreadyAccepted")
    business = await session.get(Backoffice, user.backoffice_id) if user.backoffice_id else None
    made = await mailed_tokens.make(session, settings, user, Purpose.INVITE, now)
    await send_mail(
        session,
        settings,
        to=user.email,
        template="invite",
        name=user.name or "",
        role=user.role,
        business=business.name if business else "",
        invited_by=invited_by or "",
        url=f"{settings.public_url}/invite/{made.token}",
        expires=utc_z(made.expires_at),
    )
    await record(
        session,
        "user.invited",
        entity="user",
        entity_id=user.id,
        after={"expires_at": made.expires_at},
        backoffice_id=user.backoffice_id,
    )


async def show_invite(session: AsyncSession, settings: Settings, token: str, now: datetime) -> User:
    """Return who is invited. Raises `NotFound` and `LinkOver`."""
    _, user = await mailed_tokens.look(session, settings, Purpose.INVITE, token, now)
    _check_open(user)
    return user


async def accept_invite(
    database: Database, settings: Settings, token: str, password: str, now: datetime
) -> None:
    """Give the invited user its password; the address is verified by that, since the link went there.

    Raises `NotFound`, `LinkOver`, and `Invalid` for a password that breaks the rule, which uses nothing up.
    No connection is held while the password waits to be hashed.
    """
    async with database.session() as session:
        user = await show_invite(session, settings, token, now)
        known = await told_of(session, user)
    hashed = await hash_new_password(password, *known)
    async with database.session() as session:
        user = await mailed_tokens.use(session, settings, Purpose.INVITE, token, now)
        _check_open(user)
        user.password_hash = hashed
        user.must_change_password = False
        user.email_verified_at = now
        await record(
            session,
            "user.invite_accepted",
            entity="user",
            entity_id=user.id,
            person_id=user.id,
            backoffice_id=user.backoffice_id,
        )


def _check_open(user: User) -> None:
    """A password that came by another way makes the link void: it would be a way around it."""
    if user.password_hash is not None:
        raise LinkOver("You have a password already. Sign in.")

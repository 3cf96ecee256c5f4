"""Another e-mail address: asked for with the password, and true when the link that went there is used.

Nobody learns by it who has an account: of an address that has one, its owner is told and nobody else, after
the same work. The old address is told at once, while a new password still makes the link void, and again when
the address has changed.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts import mailed_tokens
from ohmstead.accounts.audit import record
from ohmstead.accounts.constraints import refusing
from ohmstead.accounts.mailed_tokens import Purpose
from ohmstead.accounts.models import User
from ohmstead.accounts.new_users import email_taken
from ohmstead.accounts.password_change import WrongPassword
from ohmstead.accounts.refresh_tokens import end_sessions
from ohmstead.accounts.sign_in import load
from ohmstead.core.config import Settings
from ohmstead.core.errors import Invalid
from ohmstead.core.http import utc_z
from ohmstead.mail.service import send_mail


async def ask_for_change(
    session: AsyncSession,
    settings: Settings,
    proved: User,
    email: str,
    *,
    session_id: UUID | None,
    now: datetime,
) -> None:
    """Mail a link to the address that a user wants, who has proved itself; an earlier link is void.

    `session_id` is the session that asks: it stays when the link is used. Raises `Invalid` for the address
    that the user has, `WrongPassword` when the password was changed meanwhile.
    """
    user, _, _ = await load(session, proved.id)
    if user.password_hash != proved.password_hash:
        raise WrongPassword
    if user.email == email:
        raise Invalid("This is your address already.", fields={"email": "is your address already"})
    taken = await session.scalar(select(User.id).where(func.lower(User.email) == email))
    # Made in either case, so that the answer takes as long: of an address with an account nobody gets it.
    made = await mailed_tokens.make(
        session, settings, user, Purpose.CHANGE_EMAIL, now, email=email, session_id=session_id
    )
    if taken is None:
        await send_mail(
            session,
            settings,
            to=email,
            template="email_change",
            name=user.name or "",
            url=f"{settings.public_url}/change-email/{made.token}",
            expires=utc_z(made.expires_at),
        )
    else:
        await send_mail(
            session, settings, to=email, template="email_change_taken", url=f"{settings.public_url}/sign-in"
        )
    await send_mail(
        session,
        settings,
        to=user.email,
        template="email_change_asked",
        name=user.name or "",
        email=user.email,
        new=email,
        url=f"{settings.public_url}/reset-password",
    )
    await record(
        session, "user.email_change_asked", entity="user", entity_id=user.id, person_id=user.id,
        personal={"after": {"email": email}}, backoffice_id=user.backoffice_id,
    )  # fmt: skip


async def confirm_change(session: AsyncSession, settings: Settings, token: str, now: datetime) -> User:
    """Give the user of a mailed link the address that the link went to, which is verified by that.

    Raises `NotFound` and `LinkOver` for a link that is not good, and `Conflict` when somebody else has the
    address by now, which uses nothing up.
    """
    mailed, _ = await mailed_tokens.look(session, settings, Purpose.CHANGE_EMAIL, token, now)
    user = await mailed_tokens.use(session, settings, Purpose.CHANGE_EMAIL, token, now)
    old = user.email
    await set_email(session, settings, user, mailed.email, keep=mailed.session_id, now=now)
    user.email_verified_at = now
    await record(
        session, "user.email_changed", entity="user", entity_id=user.id, person_id=user.id,
        personal={"before": {"email": old}, "after": {"email": user.email}}, backoffice_id=user.backoffice_id,
    )  # fmt: skip
    return user


async def set_email(
    session: AsyncSession, settings: Settings, user: User, email: str, *, keep: UUID | None, now: datetime
) -> None:
    """Give a user another address, not verified; tell the old one, and end every session but `keep`.

    Links that went to the old address are void, and so is one that would change it again. Raises `Conflict`
    for an address that has an account.
    """
    old = user.email
    async with refusing(session, {"uq_accounts_user_email": email_taken(email)}):
        user.email = email
    user.email_verified_at = None
    await mailed_tokens.void(session, user.id, Purpose.CHANGE_EMAIL)
    await end_sessions(session, user.id, but=keep)
    await send_mail(
        session,
        settings,
        to=old,
        template="email_changed",
        name=user.name or "",
        email=old,
        new=email,
        at=utc_z(now),
    )

"""Choosing another password: with the present one, or by a mailed link when it is forgotten."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts import lockout, mailed_tokens, passwords
from ohmstead.accounts.audit import record
from ohmstead.accounts.businesses_requests import undecided_or_rejected
from ohmstead.accounts.emails import normalise_email
from ohmstead.accounts.mailed_tokens import Purpose
from ohmstead.accounts.models import User
from ohmstead.accounts.password_rule import hash_new_password, told_of
from ohmstead.accounts.personal_data_standing import is_over
from ohmstead.accounts.principal import Principal
from ohmstead.accounts.refresh_tokens import end_sessions
from ohmstead.accounts.sign_in import load
from ohmstead.core.config import Settings
from ohmstead.core.db import Database
from ohmstead.core.errors import Conflict, DomainError, Invalid, Unavailable
from ohmstead.core.http import utc_z
from ohmstead.core.jobs import defer
from ohmstead.mail.service import send_mail

SEND_LINK = "accounts:send_reset_link"


class WrongPassword(DomainError):
    """Who is signed in has not shown the present password. No 401: the access token is good."""

    code = "WrongPassword"

    def __init__(self, field: str = "password") -> None:
        super().__init__("The present password is wrong.", fields={field: "is wrong"})


async def check_password(
    database: Database,
    settings: Settings,
    principal: Principal,
    password: str | None,
    *,
    address: str,
    now: datetime,
    field: str = "password",
) -> User:
    """Check the present password of who is signed in, and return its user; without a password there is none.

    Guesses are counted with those of the sign-in by its e-mail address. No connection is held while the
    password waits. Raises `WrongPassword` (`field` is the input that held it), `TooManyAttempts`,
    `Unavailable`.
    """
    async with database.session() as session:
        user = (await session.execute(select(User).where(User.id == principal.user_id))).scalar_one()
        if user.password_hash is None:
            return user
        pair = lockout.pair_of(settings, user.email.lower(), address)
        await lockout.begin(session, pair, now)
    try:
        right = await passwords.verify(password or "", user.password_hash)
    except Unavailable:
        async with database.session() as session:
            await lockout.take_back(session, pair, now)
        raise
    if not right:
        raise WrongPassword(field)
    async with database.session() as session:
        await lockout.succeeded(session, pair)
    return user


async def change_password(
    database: Database, settings: Settings, user: User, new: str, *, keep: UUID | None, now: datetime
) -> None:
    """Give a user, who has proved itself, another password; every session but `keep` ends.

    Who has none proves itself by a mailed link instead (`Conflict`): else whoever has a token for some
    minutes could sign in for ever. Raises `Invalid` for one that is weak or the same, `WrongPassword` when it
    was changed meanwhile.
    """
    if user.password_hash is None:
        raise Conflict(
            "Your account has no password yet. Have a link to choose one mailed:"
            " POST /api/auth/password-reset.",
            code="NoPassword",
        )
    if await passwords.verify(new, user.password_hash):
        raise Invalid("The new password is the old one.", fields={"new": "is the old one"})
    async with database.session() as session:
        known = await told_of(session, user)
    hashed = await hash_new_password(new, *known, field="new")
    async with database.session() as session:
        fresh, _, _ = await load(session, user.id)
        if fresh.password_hash != user.password_hash:
            raise WrongPassword("current")
        await _set(session, settings, fresh, hashed, keep=keep, now=now)


async def ask_for_link(session: AsyncSession, email: str) -> None:
    """Have a link to a new password mailed, if there is such an account: the same work is done if not.

    Where there is none yet because its business waits for approval or was rejected, that is mailed instead.
    """
    try:
        address = normalise_email(email)
    except Invalid:
        address = ""
    user_id = await session.scalar(select(User.id).where(func.lower(User.email) == address))
    business_id = await undecided_or_rejected(session, address)
    await defer(
        session,
        SEND_LINK,
        user_id=str(user_id) if user_id else None,
        backoffice_id=str(business_id) if business_id and not user_id else None,
    )


async def send_link(session: AsyncSession, settings: Settings, user_id: UUID, now: datetime) -> None:
    """Mail a user a link to choose a new password; one that was sent before is void.

    Who may not sign in gets none, nor does who is being erased.
    """
    user = await session.get(User, user_id, with_for_update=True)
    if user is None or user.shut_out or await is_over(session, user):
        return
    made = await mailed_tokens.make(session, settings, user, Purpose.PASSWORD_RESET, now)
    await send_mail(
        session,
        settings,
        to=user.email,
        template="password_reset",
        name=user.name or "",
        email=user.email,
        url=f"{settings.public_url}/reset-password/{made.token}",
        expires=utc_z(made.expires_at),
    )
    await record(
        session, "user.password_reset_asked", entity="user", entity_id=user.id, person_id=user.id,
        backoffice_id=user.backoffice_id,
    )  # fmt: skip


async def reset_password(
    database: Database, settings: Settings, token: str, password: str, now: datetime
) -> UUID:
    """Give the user of a mailed link a new password and end all its sessions; returns its id.

    The address is verified by that: the link went there. Raises `NotFound` and `LinkOver` for a link that is
    not good, and `Invalid` for a weak password, which uses nothing up.
    """
    async with database.session() as session:
        _, user = await mailed_tokens.look(session, settings, Purpose.PASSWORD_RESET, token, now)
        known = await told_of(session, user)
    hashed = await hash_new_password(password, *known)
    async with database.session() as session:
        user = await mailed_tokens.use(session, settings, Purpose.PASSWORD_RESET, token, now)
        user.email_verified_at = user.email_verified_at or now
        await _set(session, settings, user, hashed, keep=None, now=now)
    return user.id


async def _set(
    session: AsyncSession, settings: Settings, user: User, hashed: str, *, keep: UUID | None, now: datetime
) -> None:
    user.password_hash = hashed
    user.must_change_password = False
    await (
        session.flush()
    )  # first: a sign-in with the old password that is just at work ends before, or sees it
    await end_sessions(session, user.id, but=keep)
    # Whoever knew the old password may have asked for another address.
    await mailed_tokens.void(session, user.id, Purpose.CHANGE_EMAIL)
    await send_mail(
        session,
        settings,
        to=user.email,
        template="password_changed",
        name=user.name or "",
        email=user.email,
        at=utc_z(now),
        url=f"{settings.public_url}/reset-password",
    )
    await record(
        session, "user.password_changed", entity="user", entity_id=user.id, person_id=user.id,
        backoffice_id=user.backoffice_id,
    )  # fmt: skip

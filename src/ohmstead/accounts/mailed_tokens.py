"""Links that are mailed: 32 random bytes, kept as a keyed hash, for one purpose, once, and not for ever.

Whoever has the link is taken for the owner of the address it was sent to.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.mailed_tokens_models import MailedToken
from ohmstead.accounts.models import User
from ohmstead.accounts.passwords import secret_hash
from ohmstead.accounts.personal_data_standing import is_over
from ohmstead.core.config import Settings
from ohmstead.core.errors import DomainError, Kind, NotFound


class Purpose(StrEnum):
    """What a link lets somebody do; one for another purpose is unknown."""

    INVITE = "invite"
    VERIFY_EMAIL = "verify-email"
    PASSWORD_RESET = "password-reset"  # noqa: S105 # the name of a purpose, no secret
    CHANGE_EMAIL = "change-email"


LIFETIME = {
    Purpose.INVITE: timedelta(days=7),
    Purpose.VERIFY_EMAIL: timedelta(days=3),
    Purpose.PASSWORD_RESET: timedelta(hours=1),
    Purpose.CHANGE_EMAIL: timedelta(hours=24),
}


class LinkOver(DomainError):
    """The link was used, has expired, or there is nothing left to do with it."""

    kind = Kind.GONE
    code = "LinkOver"


@dataclass(frozen=True, slots=True)
class Mailed:
    """A new token in clear, which is nowhere else, and until when it is good."""

    token: str
    expires_at: datetime


async def make(
    session: AsyncSession,
    settings: Settings,
    user: User,
    purpose: Purpose,
    now: datetime,
    *,
    email: str | None = None,
    session_id: UUID | None = None,
) -> Mailed:
    """Make a token for a user. Those that were sent before for the same purpose and not used are void.

    `email` is where it is sent, if that is not the user's address; `session_id` the session that asked.
    """
    await void(session, user.id, purpose)
    token = secrets.token_urlsafe(32)
    row = MailedToken(
        user_id=user.id,
        purpose=purpose,
        email=email or user.email,
        token_hash=_hash(settings.signing_key, purpose, token),
        expires_at=now + LIFETIME[purpose],
        created_at=now,
        session_id=session_id,
    )
    session.add(row)
    await session.flush()
    return Mailed(token, row.expires_at)


async def void(session: AsyncSession, user_id: UUID, purpose: Purpose) -> None:
    """Take back the tokens of a user for one purpose that have not been used.

    They end as they began, by which `look` tells them from those whose time was over.
    """
    await session.execute(
        update(MailedToken)
        .where(MailedToken.user_id == user_id, MailedToken.purpose == purpose, MailedToken.used_at.is_(None))
        .values(expires_at=MailedToken.created_at)
    )


async def look(
    session: AsyncSession, settings: Settings, purpose: Purpose, token: str, now: datetime
) -> tuple[MailedToken, User]:
    """Return a token that is good now, and its user.

    Raises `NotFound` for one that there is not, `LinkOver` for one that was used, taken back or has expired,
    and when the user may not sign in or has another address by now (a link that changes it goes to the new
    one).
    """
    query = (
        select(MailedToken, User)
        .join(User, User.id == MailedToken.user_id)
        .where(MailedToken.token_hash.in_([_hash(key, purpose, token) for key in settings.signing_keys]))
    )
    row = (await session.execute(query)).one_or_none()
    if row is None:
        raise _unknown()
    mailed, user = row
    await _check(session, mailed, user, now)
    return mailed, user


async def use(session: AsyncSession, settings: Settings, purpose: Purpose, token: str, now: datetime) -> User:
    """Use a token up and return its user; of two at once, one is refused. Raises as `look` does.

    The user is locked: what the token was good for has not changed meanwhile, nor does it until the commit.
    """
    mailed, user = await look(session, settings, purpose, token, now)
    # In this order: whoever changes a user locks that first, then what was mailed to it.
    for row in (user, mailed):
        if await session.get(type(row), row.id, with_for_update=True, populate_existing=True) is None:
            raise _unknown()
    await _check(session, mailed, user, now)
    mailed.used_at = now
    await session.flush()
    return user


async def _check(session: AsyncSession, mailed: MailedToken, user: User, now: datetime) -> None:
    """Raise `LinkOver` for a token that is not good for this user now."""
    if mailed.used_at is not None:
        raise LinkOver("This link was used already. Sign in, or ask for a new one.")
    if mailed.expires_at <= mailed.created_at:
        raise LinkOver("This link is void. Use that of the newest mail, or ask for a new one.")
    if mailed.expires_at <= now:
        raise LinkOver("This link has expired. Ask for a new one.")
    moved = user.email != mailed.email and mailed.purpose != Purpose.CHANGE_EMAIL
    if user.shut_out or moved or await is_over(session, user):
        raise LinkOver("This link is not valid any more. Ask for a new one.")


def _unknown() -> NotFound:
    return NotFound(
        "This link is not one of ours. Open it as it stands in the mail, or ask for a new one.",
        code="LinkUnknown",
    )


def _hash(key: str, purpose: Purpose, token: str) -> str:
    return secret_hash(f"{purpose}:{token}", key)

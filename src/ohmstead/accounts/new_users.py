"""Accounts that somebody makes for somebody else, or for itself: how the password comes."""

from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.constraints import refusing
from ohmstead.accounts.models import User
from ohmstead.accounts.passwords import hash_password
from ohmstead.core.errors import Conflict


async def hash_temporary(password: str | None) -> str | None:
    """Return the hash of a temporary password, which no rule of strength holds for; None stays None.

    Call it before the unit of work has begun to read: no connection shall wait for the hashing thread.
    """
    return None if password is None else await hash_password(password)


async def add_user(session: AsyncSession, user: User, *, field: str = "email") -> User:
    """Insert a user. Raises `Conflict` when its address has an account; `field` is the input that held it."""
    async with refusing(session, {"uq_accounts_user_email": email_taken(user.email, field)}):
        session.add(user)
    return user


def email_taken(email: str, field: str = "email") -> Conflict:
    """Return the refusal of an address that has an account; `field` is the input that held it."""
    return Conflict(
        f"There is an account with the e-mail address {email} already.",
        code="EmailTaken",
        fields={field: "has an account already"},
    )

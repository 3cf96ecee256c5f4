"""Signing in with e-mail address and password.

Whoever has not shown the right password learns nothing: an unknown address, a wrong password and
an account without a password are refused in the same words after the same work. Only the right
password is told that the account may not act.
"""

import math
from collections import OrderedDict, deque
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address, ip_network

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts import access_tokens, passwords
from ohmstead.accounts.access import check_standing
from ohmstead.accounts.emails import normalise_email
from ohmstead.accounts.models import Backoffice, User
from ohmstead.core.config import Settings
from ohmstead.core.db import Database
from ohmstead.core.errors import DomainError, Invalid, Kind, Unauthenticated, Unavailable

FAILURES_AT_MOST = 10
WITHIN = timedelta(minutes=5)
REMEMBERED_AT_MOST = 10_000


class TooManyAttempts(DomainError):
    """Somebody guesses: `retry_after` seconds from now another attempt is looked at."""

    kind = Kind.TOO_MANY
    code = "TooManyAttempts"

    def __init__(self, retry_after: int) -> None:
        message = f"Too many attempts to sign in. Try again in {retry_after} seconds."
        super().__init__(message, retry_after=retry_after)


class SignInAttempts:
    """The failed attempts of the last minutes, by account and address, in the memory of this process.

    The account alone is never locked: that would let anybody lock out anybody. Attempts count when
    they begin, so that a hundred at once are not a hundred guesses. The longest untouched pairs are
    forgotten first when there are very many.
    """

    def __init__(self) -> None:
        self._begun: OrderedDict[tuple[str, str], deque[datetime]] = OrderedDict()

    def begin(self, account: str, address: str, now: datetime) -> None:
        """Count an attempt; raise `TooManyAttempts` when there were too many before it."""
        pair = (account, _network(address))
        begun = self._begun.setdefault(pair, deque())
        while begun and now - begun[0] >= WITHIN:
            begun.popleft()
        if len(begun) >= FAILURES_AT_MOST:
            raise TooManyAttempts(math.ceil((begun[0] + WITHIN - now).total_seconds()))
        begun.append(now)
        self._begun.move_to_end(pair)
        while len(self._begun) > REMEMBERED_AT_MOST:
            self._begun.popitem(last=False)

    def succeeded(self, account: str, address: str) -> None:
        """Forget the failures of somebody who knew the password."""
        self._begun.pop((account, _network(address)), None)

    def take_back(self, account: str, address: str) -> None:
        """Uncount the last attempt: it could not be looked at."""
        begun = self._begun.get((account, _network(address)))
        if begun:
            begun.pop()


def _network(address: str) -> str:
    """Return the part of an address that one customer of a provider has: with IPv6 a /64."""
    try:
        known = ip_address(address)
    except ValueError:
        return address
    return str(ip_network((known, 64), strict=False)) if isinstance(known, IPv6Address) else str(known)


@dataclass(frozen=True, slots=True)
class SignedInUser:
    """Somebody who showed the right password, and the token for it."""

    user: User
    access_token: str
    expires_at: datetime


async def sign_in(
    database: Database,
    settings: Settings,
    attempts: SignInAttempts,
    *,
    username: str,
    password: str,
    address: str,
    now: datetime,
) -> SignedInUser:
    """Check a password and issue an access token.

    Raises `Unauthenticated` for wrong credentials, and with its reason for a right password whose
    owner may not act; `TooManyAttempts`; `Unavailable` when too many sign in at once. No connection
    of the database is held while the password waits for its thread.
    """
    try:
        account = normalise_email(username)
    except Invalid:
        account = username.strip().lower()  # nobody has it, and nobody shall see that by the clock
    attempts.begin(account, address, now)
    try:
        async with database.session() as session:
            known = None if "\x00" in account else await _find(session, account)
        user, business = known or (None, None)
        right = await passwords.verify(password, user.password_hash if user else None)
    except Unavailable:
        attempts.take_back(account, address)
        raise
    if user is None or not right:
        raise Unauthenticated("The e-mail address or the password is wrong.", code="WrongCredentials")
    attempts.succeeded(account, address)
    check_standing(user, business)
    async with database.session() as session:
        await session.execute(update(User).where(User.id == user.id).values(last_login_at=now))
    token = access_tokens.issue(settings, user, now)
    return SignedInUser(user, token, now + access_tokens.lifetime(settings))


async def _find(session: AsyncSession, email: str) -> tuple[User, str | None] | None:
    query = (
        select(User, Backoffice.status)
        .outerjoin(Backoffice, Backoffice.id == User.backoffice_id)
        .where(func.lower(User.email) == email)
    )
    return (await session.execute(query)).one_or_none()

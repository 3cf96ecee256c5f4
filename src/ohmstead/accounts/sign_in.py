"""Signing in with e-mail address or national identity card number (NIC), and password.

Whoever has not shown the right password learns nothing: an unknown account, a wrong password and an account
without a password are refused in the same words after the same work. Only the right password is told that
the account may not act, or that a second factor is asked for.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

import structlog
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts import lockout, passwords, second_factor
from ohmstead.accounts.access import check_standing, check_verified, debt_of
from ohmstead.accounts.audit import record
from ohmstead.accounts.drivers_models import Driver
from ohmstead.accounts.drivers_queries import LONGEST_NIC, normal_nic
from ohmstead.accounts.emails import normalise_email
from ohmstead.accounts.models import Backoffice, User
from ohmstead.accounts.personal_data_standing import require_no_end
from ohmstead.accounts.principal import Debt
from ohmstead.accounts.refresh_tokens import Client, Opened, RefreshBy, open_session
from ohmstead.accounts.second_factor import Challenge, WrongCode
from ohmstead.core.config import Settings
from ohmstead.core.db import Database
from ohmstead.core.errors import Invalid, Unauthenticated, Unavailable

NOBODY = UUID(int=0)
"""Whose key encrypts what is kept of attempts on accounts that there are not."""

logger = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SignedInUser:
    """Somebody who proved who it is: the tokens, the NIC, and what has to be done before anything else.

    `refresh_by` is how the refresh token is wanted, if there is one.
    """

    opened: Opened
    nic: str | None
    refresh_by: RefreshBy | None
    debt: Debt | None


async def sign_in(
    database: Database,
    settings: Settings,
    *,
    username: str,
    password: str,
    client: Client,
    now: datetime,
) -> SignedInUser:
    """Check a password and open a session.

    Raises `Unauthenticated` for wrong credentials, and with its reason for a right password whose
    owner may not act; `SecondFactorRequired`; `TooManyAttempts`; `Unavailable` when too many sign in at
    once. No connection of the database is held while the password waits for its thread.
    """
    account, condition = named(username)
    address = client.address or ""
    async with database.session() as session:
        user = None if condition is None else await _find(session, condition)
        pair = lockout.pair_of(settings, account, address)  # by what was typed: see there
        last = await lockout.begin(session, pair, now)
    try:
        right = await passwords.verify(password, user.password_hash if user else None)
    except Unavailable:
        async with database.session() as session:
            await lockout.take_back(session, pair, now)
        raise
    if user is None or not right:
        logger.info("sign_in.failed", user_id=str(user.id) if user else None)
        if last:
            async with database.session() as session:
                await _tell_locked(session, user, account, address)
        raise wrong_credentials()
    async with database.session() as session:
        await lockout.succeeded(session, pair)  # committed by itself: it holds even if the owner may not act
    async with database.session() as session:
        return await _enter(session, settings, user, client=client, now=now)


def named(username: str) -> tuple[str, ColumnElement[bool] | None]:
    """Return the one spelling of what somebody signs in with, and the condition that finds its user.

    With an `@` it is an e-mail address, else a NIC. None for what nobody can have.
    """
    account = username.strip()
    if "\x00" in account:
        return account.lower(), None
    if "@" in account:
        try:
            account = normalise_email(account)
        except Invalid:
            return account.lower(), None
        return account, func.lower(User.email) == account
    nic = normal_nic(account)
    return nic, Driver.nic == nic if len(nic) <= LONGEST_NIC else None


async def _find(session: AsyncSession, condition: ColumnElement[bool]) -> User | None:
    query = select(User).outerjoin(Driver, Driver.user_id == User.id).where(condition)
    return (await session.execute(query)).scalar_one_or_none()


async def _enter(
    session: AsyncSession,
    settings: Settings,
    proved: User,
    *,
    client: Client,
    now: datetime,
) -> SignedInUser:
    """Let in who has shown the right password, unless it was changed meanwhile, or a code is asked for."""
    user, business, nic = await load(session, proved.id)
    if user.password_hash != proved.password_hash:
        raise wrong_credentials()
    check_standing(user, business)
    check_verified(settings, user)
    factor = await second_factor.in_use(session, user.id)
    if factor is not None:
        raise second_factor.challenged(settings, user, client.refresh_by, now)
    opened = await open_session(session, settings, user, client=client, now=now)
    return SignedInUser(opened, nic, client.refresh_by, debt_of(settings, user, second_factor=False))


async def load(session: AsyncSession, user_id: UUID) -> tuple[User, str | None, str | None]:
    """Return a user that is there, locked, with the status of its business and its NIC.

    Raises `Unauthenticated` for one that has gone, or whose account is over.
    """
    query = (
        select(User, Backoffice.status, Driver.nic)
        .outerjoin(Backoffice, Backoffice.id == User.backoffice_id)
        .outerjoin(Driver, Driver.user_id == User.id)
        .where(User.id == user_id)
        .with_for_update(of=User)
    )
    row = (await session.execute(query)).one_or_none()
    if row is None:
        raise wrong_credentials()
    user, business, nic = row
    await require_no_end(session, user)
    return user, business, nic


async def _tell_locked(session: AsyncSession, user: User | None, account: str, address: str) -> None:
    """Write down that an account is locked at an address; for one that there is not with the same work.

    What was typed for that is not kept: it may be somebody's who was erased, or a password.
    """
    typed = {"account": account[:254].replace("\x00", "")} if user else {}
    await record(
        session,
        "user.locked_out",
        entity="user",
        entity_id=user.id if user else "unknown",
        person_id=user.id if user else NOBODY,
        personal={**typed, "address": address},
        backoffice_id=user.backoffice_id if user else None,
    )


def wrong_credentials() -> Unauthenticated:
    """Return the one refusal of whoever did not prove who it is."""
    return Unauthenticated(
        "The e-mail address or the password is wrong. A driver may sign in with its NIC too.",
        code="WrongCredentials",
    )


async def finish_sign_in(
    database: Database, settings: Settings, *, challenge: str, code: str, client: Client, now: datetime
) -> SignedInUser:
    """Check the code that a challenge asked for, and open a session.

    Raises `Unauthenticated` for a challenge that is over and a user who may not act any more, `WrongCode`,
    and `TooManyAttempts`.
    """
    told = second_factor.read_challenge(settings, challenge, now)
    async with database.session() as session:
        done = await _finish(session, settings, told, code=code, client=client, now=now)
    if isinstance(done, WrongCode):  # raised only now: that it was tried is committed
        raise Unauthenticated(done.message, code=done.code)
    return done


async def _finish(
    session: AsyncSession, settings: Settings, told: Challenge, *, code: str, client: Client, now: datetime
) -> SignedInUser | WrongCode:
    user, business, nic = await load(session, told.user_id)
    check_standing(user, business)
    factor = await second_factor.in_use(session, user.id)
    if factor is None or not second_factor.still_proved(settings, user, told.proof):
        raise second_factor.challenge_over()
    wrong = await second_factor.check(session, settings, user, factor, code=code, now=now)
    if wrong is not None:
        return wrong
    client = replace(client, refresh_by=told.refresh_by)
    opened = await open_session(session, settings, user, client=client, now=now)
    return SignedInUser(opened, nic, told.refresh_by, debt_of(settings, user, second_factor=True))

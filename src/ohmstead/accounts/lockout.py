"""Guessing is slowed down: who fails often waits, each time twice as long.

What counts is the pair of account and address. The account alone is never locked: that would let anybody lock
out anybody. It is counted in the database, so for all processes together, and no restart forgets it.

An attempt counts, committed, before its password is looked at, so a hundred at once are not a hundred
guesses. Whoever makes up accounts makes rows: each has cost the work of a password (`take_back` removes that
of one which was not looked at) and goes when it is over (`trim`). Both bound how many there are.
"""

import hashlib
import hmac
import math
from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address, ip_network

from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.lockout_models import SignInAttempts
from ohmstead.accounts.passwords import derive_key
from ohmstead.core.config import Settings
from ohmstead.core.errors import DomainError, Kind

FAILURES_AT_MOST = 10
WITHIN = timedelta(minutes=5)
"""So many failures in this time are let through; then one has to wait as long, and twice as long after each
further one."""
LONGEST = timedelta(hours=4)
FORGOTTEN = timedelta(hours=24)
"""After the last wait has ended."""


class TooManyAttempts(DomainError):
    """Somebody guesses: `retry_after` seconds from now another attempt is looked at."""

    kind = Kind.TOO_MANY
    code = "TooManyAttempts"

    def __init__(self, retry_after: int) -> None:
        message = f"Too many attempts to sign in. Try again in {retry_after} seconds."
        super().__init__(message, retry_after=retry_after)


def pair_of(settings: Settings, account: str, address: str) -> bytes:
    """Return the name under which attempts on an account from an address are counted.

    `account` is what somebody called itself, in its one spelling, whether there is such a user or not: were
    it the user, a NIC and an e-mail address that are locked together would be known to belong together. With
    another secret key all pairs have other names: what was counted before is forgotten.
    """
    key = derive_key(settings.signing_key, "sign-in-attempts")
    told = f"{network_of(address)}\0{account}".encode(errors="surrogatepass")
    return hmac.digest(key, told, hashlib.sha256)


async def begin(session: AsyncSession, pair: bytes, now: datetime) -> bool:
    """Count an attempt; raise `TooManyAttempts` when it comes too early. The caller commits it at once.

    True when this is the last one before a wait: if it fails, the pair is locked.
    """
    while True:
        known = await _locked(session, pair)
        if known is not None:
            return _count(known, now)
        first = insert(SignInAttempts).values(pair=pair, begun=[now], waits=0, over_at=now + WITHIN)
        made = await session.execute(first.on_conflict_do_nothing().returning(SignInAttempts.pair))
        if made.first() is not None:
            return False
        # Another one began at the same moment: its row is there now.


async def succeeded(session: AsyncSession, pair: bytes) -> None:
    """Forget the failures of somebody who knew the password."""
    await session.execute(delete(SignInAttempts).where(SignInAttempts.pair == pair))


async def take_back(session: AsyncSession, pair: bytes, now: datetime) -> None:
    """Uncount the attempt that was begun at `now`: it could not be looked at."""
    known = await _locked(session, pair)
    if known is None or now not in known.begun:
        return
    begun = list(known.begun)
    begun.remove(now)
    known.begun = begun
    if known.until is not None:
        known.waits -= 1
        known.until = now if known.waits else None
    if known.until is not None:
        known.over_at = now + FORGOTTEN
    elif begun:
        known.over_at = max(begun) + WITHIN
    else:
        await session.delete(known)


async def trim(session: AsyncSession, now: datetime) -> None:
    """Remove what tells nothing any more."""
    await session.execute(delete(SignInAttempts).where(SignInAttempts.over_at <= now))


async def _locked(session: AsyncSession, pair: bytes) -> SignInAttempts | None:
    """Return what is known of a pair, as it is now; nobody else changes it until the commit."""
    return await session.get(SignInAttempts, pair, with_for_update=True, populate_existing=True)


def _count(known: SignInAttempts, now: datetime) -> bool:
    if known.until is not None:
        if now < known.until:
            raise TooManyAttempts(math.ceil((known.until - now).total_seconds()))
        if now - known.until >= FORGOTTEN:
            known.waits, known.until = 0, None
    known.begun = [*(one for one in known.begun if now - one < WITHIN), now]
    if known.waits == 0 and len(known.begun) < FAILURES_AT_MOST:
        known.over_at = now + WITHIN
        return False
    known.until = now + min(WITHIN * 2**known.waits, LONGEST)
    known.waits = min(known.waits + 1, 32)
    known.over_at = known.until + FORGOTTEN
    return True


def network_of(address: str) -> str:
    """Return the part of an address that one customer of a provider has: with IPv6 a /64."""
    try:
        known = ip_address(address)
    except ValueError:
        return address
    return str(ip_network((known, 64), strict=False)) if isinstance(known, IPv6Address) else str(known)

"""Guessing is slowed down: who fails often waits, each time twice as long.

What counts is the pair of account and address. The account alone is never locked: that would let anybody lock
out anybody. Each process counts in its own memory, so several let through as many times more.
"""

import math
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address, ip_network

from ohmstead.core.errors import DomainError, Kind

FAILURES_AT_MOST = 10
WITHIN = timedelta(minutes=5)
"""So many failures in this time are let through; then one has to wait as long, and twice as long after each
further one."""
LONGEST = timedelta(hours=4)
FORGOTTEN = timedelta(hours=24)
"""After the last wait has ended."""
REMEMBERED_AT_MOST = 10_000


class TooManyAttempts(DomainError):
    """Somebody guesses: `retry_after` seconds from now another attempt is looked at."""

    kind = Kind.TOO_MANY
    code = "TooManyAttempts"

    def __init__(self, retry_after: int) -> None:
        message = f"Too many attempts to sign in. Try again in {retry_after} seconds."
        super().__init__(message, retry_after=retry_after)


@dataclass(slots=True)
class _Pair:
    """What is known of one account at one address: attempts of the last minutes, and waits."""

    begun: deque[datetime] = field(default_factory=deque)
    waits: int = 0
    until: datetime | None = None


class SignInAttempts:
    """The failed attempts of the last minutes, by account and address.

    Attempts count when they begin, so that a hundred at once are not a hundred guesses. The longest untouched
    pairs are forgotten first when there are very many.
    """

    def __init__(self) -> None:
        self._pairs: OrderedDict[tuple[str, str], _Pair] = OrderedDict()

    def begin(self, account: str, address: str, now: datetime) -> bool:
        """Count an attempt; raise `TooManyAttempts` when it comes too early.

        True when this is the last one before a wait: if it fails, the pair is locked.
        """
        key = (account, network_of(address))
        pair = self._pairs.setdefault(key, _Pair())
        self._pairs.move_to_end(key)
        while len(self._pairs) > REMEMBERED_AT_MOST:
            self._pairs.popitem(last=False)
        if pair.until is not None:
            if now < pair.until:
                raise TooManyAttempts(math.ceil((pair.until - now).total_seconds()))
            if now - pair.until >= FORGOTTEN:
                pair.waits, pair.until = 0, None
        while pair.begun and now - pair.begun[0] >= WITHIN:
            pair.begun.popleft()
        pair.begun.append(now)
        if pair.waits == 0 and len(pair.begun) < FAILURES_AT_MOST:
            return False
        pair.until = now + min(WITHIN * 2**pair.waits, LONGEST)
        pair.waits = min(pair.waits + 1, 32)
        return True

    def succeeded(self, account: str, address: str) -> None:
        """Forget the failures of somebody who knew the password."""
        self._pairs.pop((account, network_of(address)), None)

    def take_back(self, account: str, address: str, now: datetime) -> None:
        """Uncount the last attempt: it could not be looked at."""
        pair = self._pairs.get((account, network_of(address)))
        if pair is None or not pair.begun:
            return
        pair.begun.pop()
        if pair.until is not None:
            pair.waits -= 1
            pair.until = now if pair.waits else None


def network_of(address: str) -> str:
    """Return the part of an address that one customer of a provider has: with IPv6 a /64."""
    try:
        known = ip_address(address)
    except ValueError:
        return address
    return str(ip_network((known, 64), strict=False)) if isinstance(known, IPv6Address) else str(known)

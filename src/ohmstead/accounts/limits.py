"""Rate limits: how often one account, and one address, may do what costs us or others something.

A limit is `n` in a time, spread evenly: after `n` at once there is one more each n-th part of it (GCRA, one
moment kept for each name). Each process counts in its own memory, so several let through as many times more.
"""

import math
import time
from collections import OrderedDict
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from typing import Any

from fastapi import Depends, Request

from ohmstead.accounts.access import Caller
from ohmstead.accounts.lockout import network_of
from ohmstead.core.config import Settings
from ohmstead.core.errors import DomainError, Kind

REMEMBERED_AT_MOST = 50_000
MINUTE = 60.0
HOUR = 3600.0
ADDRESS_FACTOR = 10
"""So many people who are signed in may do something from one address at the same time."""


class Subject(StrEnum):
    """What is limited. Each subject is counted on its own."""

    SIGN_IN = "sign-in"
    REGISTRATION = "registration"
    BOOKING = "booking"
    COMMAND = "command"


class TooManyRequests(DomainError):
    """Somebody does this too often: `retry_after` seconds from now there is one more."""

    kind = Kind.TOO_MANY
    code = "TooManyRequests"

    def __init__(self, retry_after: int) -> None:
        super().__init__(
            f"This was asked for too often. Try again in {retry_after} seconds.", retry_after=retry_after
        )


class RateLimits:
    """When each name is free again. The longest untouched are forgotten first when there are very many."""

    def __init__(self) -> None:
        self._free_at: OrderedDict[tuple[str, str], float] = OrderedDict()

    def take(self, subject: str, name: str, at_most: int, seconds: float, now: float) -> None:
        """Count one; raise `TooManyRequests` when there were `at_most` in these `seconds`. 0 is no limit.

        What is refused does not count.
        """
        if at_most == 0:
            return
        key = (subject, name)
        each = seconds / at_most
        free_at = max(self._free_at.get(key, now), now)
        early = free_at - now - (seconds - each)
        if early > 1e-6:
            raise TooManyRequests(math.ceil(early))
        self._free_at[key] = free_at + each
        self._free_at.move_to_end(key)
        while len(self._free_at) > REMEMBERED_AT_MOST:
            self._free_at.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Limit:
    """So many of one account, and so many from one address, in so many seconds; 0 is no limit."""

    account: int
    address: int
    seconds: float


def limit_of(settings: Settings, subject: Subject) -> Limit:
    """Return the limit of a subject.

    Before somebody has signed in there is no account, and who is named as one must not be kept out by
    others: then only the address counts.
    """
    match subject:
        case Subject.SIGN_IN:
            return Limit(0, settings.rate_limit_sign_in, MINUTE)
        case Subject.REGISTRATION:
            return Limit(0, settings.rate_limit_registration, HOUR)
        case Subject.BOOKING:
            booking = settings.rate_limit_booking
            return Limit(booking, booking * ADDRESS_FACTOR, MINUTE)
        case Subject.COMMAND:
            command = settings.rate_limit_command
            return Limit(command, command * ADDRESS_FACTOR, MINUTE)


def is_exempt(settings: Settings, address: str) -> bool:
    """Tell whether an address is freed from the limits of addresses."""
    try:
        known = ip_address(address)
    except ValueError:
        return False
    return any(known in network for network in settings.rate_limit_exempt)


def take(request: Request, subject: Subject, account: str | None = None) -> None:
    """Count a request for its address, and for an account where one is known. Raises `TooManyRequests`."""
    state = request.app.state
    if not hasattr(state, "rate_limits"):
        state.rate_limits = RateLimits()
    limits: RateLimits = state.rate_limits
    limit = limit_of(state.settings, subject)
    now = time.monotonic()
    address = request.client.host if request.client else ""
    if not is_exempt(state.settings, address):
        limits.take(f"{subject} from", network_of(address), limit.address, limit.seconds, now)
    if account is not None:
        limits.take(f"{subject} by", account, limit.account, limit.seconds, now)


def limited(subject: Subject) -> Any:
    """Return the dependency of a route that is open to anybody: the address counts."""

    def count(request: Request) -> None:
        take(request, subject)

    return Depends(count)


def limited_caller(subject: Subject) -> Any:
    """Return the dependency of a route for those who are signed in: the account counts, and the address."""

    def count(request: Request, principal: Caller) -> None:
        take(request, subject, str(principal.user_id))

    return Depends(count)

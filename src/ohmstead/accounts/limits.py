"""Rate limits: how often one account, and one address, may do what costs us or others something.

A limit is `n` in a time, spread evenly: after `n` at once there is one more each n-th part of it (GCRA, one
moment kept for each name). What is refused does not count.

Where there is a Redis, all processes count there together, by its clock. While it is away, or late, each
counts in its own memory: nobody waits for Redis, and nobody is refused because of it.
"""

import asyncio
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
from ohmstead.core.redis import Redis

REMEMBERED_AT_MOST = 50_000
MINUTE = 60.0
HOUR = 3600.0
ADDRESS_FACTOR = 10
"""So many people who are signed in may do something from one address at the same time."""
FALSE = frozenset({"false", "f", "0", "no", "n", "off"})
"""What pydantic reads as false in a query."""
LATE_SECONDS = 0.25
"""A Redis that needs longer is not waited for, nor asked again until it has answered."""

TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local early, free_at = 0, {}
for i, key in ipairs(KEYS) do
  local each, slack = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
  local was = math.max(tonumber(redis.call('GET', key) or now), now)
  early = math.max(early, was - now - slack)
  free_at[i] = was + each
end
if early == 0 then
  for i, key in ipairs(KEYS) do
    redis.call('SET', key, string.format('%.0f', free_at[i]), 'PX', math.ceil((free_at[i] - now) / 1000))
  end
end
return early
"""
"""Count one for each key: for each `ARGV` says what one takes and how early it may come, in microseconds.

Returns how much too early it is for one of them: then none is counted. 0 if it is counted.
"""


class Subject(StrEnum):
    """What is limited. Each subject is counted on its own."""

    SIGN_IN = "sign-in"
    REGISTRATION = "registration"
    BOOKING = "booking"
    COMMAND = "command"
    INVITATION = "invitation"
    PERSONAL_DATA = "personal-data"


class TooManyRequests(DomainError):
    """Somebody does this too often: `retry_after` seconds from now there is one more."""

    kind = Kind.TOO_MANY
    code = "TooManyRequests"

    def __init__(self, retry_after: int) -> None:
        super().__init__(
            f"This was asked for too often. Try again in {retry_after} seconds.", retry_after=retry_after
        )


@dataclass(frozen=True, slots=True)
class Allowance:
    """What somebody may: `at_most` (1 or more) in so many seconds. `what` and `who` are its name."""

    what: str
    who: str
    at_most: int
    seconds: float

    @property
    def each(self) -> int:
        """How long one takes, in microseconds."""
        return int(self.seconds * 1_000_000 / self.at_most)

    @property
    def slack(self) -> int:
        """How much too early one may come, in microseconds: so many at once are let through."""
        return int(self.seconds * 1_000_000) - self.each


class OwnMemory:
    """When each name is free again, in microseconds.

    The longest untouched are forgotten first when there are very many.
    """

    def __init__(self) -> None:
        self._free_at: OrderedDict[tuple[str, str], int] = OrderedDict()

    def take(self, allowances: list[Allowance], now: int) -> int:
        """Count one for each; returns how much too early it is for one of them: then none is counted."""
        free_at = {}
        early = 0
        for one in allowances:
            was = max(self._free_at.get((one.what, one.who), now), now)
            early = max(early, was - now - one.slack)
            free_at[one.what, one.who] = was + one.each
        if early == 0:
            for key, moment in free_at.items():
                self._free_at[key] = moment
                self._free_at.move_to_end(key)
            while len(self._free_at) > REMEMBERED_AT_MOST:
                self._free_at.popitem(last=False)
        return early


class RateLimits:
    """Counts what is limited: in `redis`, if there is one that answers, else in this process."""

    def __init__(self, redis: Redis | None = None) -> None:
        self.redis = redis
        self._own = OwnMemory()
        self._late: asyncio.Future[Any] | None = None

    async def take(self, *allowances: Allowance) -> None:
        """Count one for each, or for none: raises `TooManyRequests` when there were too many of one."""
        limited = [one for one in allowances if one.at_most > 0]
        if not limited:
            return
        early = None if self.redis is None else await self._take_there(self.redis, limited)
        if early is None:
            early = self._own.take(limited, time.monotonic_ns() // 1000)
        if early > 0:
            raise TooManyRequests(math.ceil(early / 1_000_000))

    async def _take_there(self, redis: Redis, limited: list[Allowance]) -> int | None:
        """Count in Redis; None when it does not answer in time."""
        if self._late is not None and not self._late.done():
            return None
        keys = [redis.key("limit", one.what, one.who) for one in limited]
        words = [word for one in limited for word in (one.each, one.slack)]
        answer = redis.submit("EVAL", TAKE, len(keys), *keys, *words)
        await asyncio.wait({answer}, timeout=LATE_SECONDS)
        if not answer.done():
            self._late = answer
            return None
        return None if answer.exception() is not None else int(answer.result())


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
        case Subject.INVITATION:
            invitation = settings.rate_limit_invitation
            return Limit(invitation, invitation * ADDRESS_FACTOR, HOUR)
        case Subject.PERSONAL_DATA:
            personal_data = settings.rate_limit_personal_data
            return Limit(personal_data, personal_data * ADDRESS_FACTOR, HOUR)


def is_exempt(settings: Settings, address: str) -> bool:
    """Tell whether an address is freed from the limits of addresses."""
    try:
        known = ip_address(address)
    except ValueError:
        return False
    return any(known in network for network in settings.rate_limit_exempt)


async def take(request: Request, subject: Subject, account: str | None = None) -> None:
    """Count a request for its address, and for an account where one is known. Raises `TooManyRequests`."""
    state = request.app.state
    limits: RateLimits = state.rate_limits
    limit = limit_of(state.settings, subject)
    address = request.client.host if request.client else ""
    allowances = []
    if not is_exempt(state.settings, address):
        network = network_of(address)
        allowances.append(Allowance(f"{subject} from", network, limit.address, limit.seconds))
    if account is not None:
        allowances.append(Allowance(f"{subject} by", account, limit.account, limit.seconds))
    await limits.take(*allowances)


def limited(subject: Subject) -> Any:
    """Return the dependency of a route that is open to anybody: the address counts."""

    async def count(request: Request) -> None:
        await take(request, subject)

    return Depends(count)


@dataclass(frozen=True, slots=True)
class CallerCount:
    """Counts a request for who is signed in, and for the address.

    With `only_if` it counts only requests whose query has this flag, and not as false.
    """

    subject: Subject
    only_if: str | None = None

    async def __call__(self, request: Request, principal: Caller) -> None:
        """Count one. Raises `TooManyRequests`."""
        if self.only_if is None or request.query_params.get(self.only_if, "false").lower() not in FALSE:
            await take(request, self.subject, str(principal.user_id))


def limited_caller(subject: Subject, *, only_if: str | None = None) -> Any:
    """Return the dependency of a route for those who are signed in: the account counts, and the address."""
    return Depends(CallerCount(subject, only_if))

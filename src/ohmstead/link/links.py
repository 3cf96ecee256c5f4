"""Calls to chargers: who is connected, and one way to ask it something.

The gateway puts each socket in; everything above asks by the charger's id and does not know where
the socket is held.
"""

import asyncio
import time
from collections.abc import Callable, Collection
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from ohmstead.core.errors import Conflict, Kind

END_SECONDS = 5.0

caller_left: ContextVar[asyncio.Future[None] | None] = ContextVar("caller_left", default=None)
"""Done when whoever asks has gone: a call that still waits for its turn then is not sent any more."""


class ChargerOffline(Conflict):
    """The charger is not connected, or left before it answered."""

    code = "ChargerOffline"


class ChargerUnreachable(ChargerOffline):
    """Nothing was sent: the charger may be connected to another process, and that one cannot be asked.

    That is a fault of ours, which passes; asking again is safe, and nobody may count it against the charger.
    """


class ChargerBusy(ChargerOffline):
    """The call was not sent: others have kept the charger busy for too long, or too many wait.

    Who can do without the answer of an absent charger can do without this one; trying again is safe.
    """

    kind = Kind.TOO_MANY
    code = "ChargerBusy"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for a CALL: the charger's `response`, or its CALLERROR, or nothing in time.

    Exactly one of `response` and `error_code` is set, or none of them: then it timed out. A CALLRESULT that
    does not say whether the charger accepts is an error as well, with the payload in `unusable`.
    """

    response: dict[str, Any] | None = None
    error_code: str | None = None
    error_description: str = ""
    unusable: dict[str, Any] | None = None

    @property
    def status(self) -> str:
        """Return the charger's own status word, `CallError` or `Timeout`.

        `Accepted` where the answers to the action have no status.
        """
        if self.response is not None:
            status = self.response.get("status", "Accepted")
            return status if isinstance(status, str) else "Accepted"
        return "CallError" if self.error_code is not None else "Timeout"


class ChargerLink(Protocol):
    """One connected charger; `last_seen` is when its last frame came."""

    last_seen: datetime

    def disconnect(self, reason: str) -> None:
        """Close the socket, telling the charger why."""

    async def call(self, action: str, payload_json: bytes, *, wait_seconds: float | None = None) -> Answer:
        """Send a CALL with this payload, byte for byte, and wait for its answer.

        Calls to one charger go out one at a time (OCPP-J 4.1.1), in the order asked. `wait_seconds` is
        how long to wait for the turn at most, and then, counted anew, for the answer. Raises
        `ChargerOffline` when the charger leaves first, and `ChargerBusy` when the turn does not come or
        whoever asks has gone (`caller_left`): then it was not sent.
        """


class Beyond(Protocol):
    """The way to the chargers that are connected to other processes."""

    async def call(
        self, charger_id: str, action: str, payload_json: bytes, *, wait_seconds: float | None = None
    ) -> Answer:
        """Put a CALL to a charger; see `ChargerLink.call`."""

    def disconnect(self, charger_id: str, reason: str) -> None:
        """Close every socket of the charger at other processes."""


class Links:
    """The chargers that are connected to this process, and the way to all others (`beyond`)."""

    def __init__(self) -> None:
        self._links: dict[str, ChargerLink] = {}
        self.beyond: Beyond | None = None
        self._close_waiting: Callable[[str, str], None] | None = None
        self._served: Callable[[Collection[str]], Callable[[], bool]] | None = None

    def __len__(self) -> int:
        return len(self._links)

    def attach(self, charger_id: str, link: ChargerLink) -> ChargerLink | None:
        """Make this socket the charger's; returns the one that held the place before."""
        before = self._links.get(charger_id)
        self._links[charger_id] = link
        return before

    def detach(self, charger_id: str, link: ChargerLink) -> bool:
        """Take this socket out; False when another one has taken over meanwhile."""
        if self._links.get(charger_id) is not link:
            return False
        del self._links[charger_id]
        return True

    def get(self, charger_id: str) -> ChargerLink | None:
        """Return the charger's socket, or None when this process does not have it."""
        return self._links.get(charger_id)

    def on_disconnect(self, close_waiting: Callable[[str, str], None]) -> None:
        """Have this called, with the charger's id and why, to close the sockets that are not attached."""
        self._close_waiting = close_waiting

    def on_end(self, served: Callable[[Collection[str]], Callable[[], bool]]) -> None:
        """Have this called, with the ids of chargers, to get what tells when all that they sent is served."""
        self._served = served

    async def end(self, charger_ids: Collection[str], reason: str) -> None:
        """Close every socket of chargers, and wait until what they had sent here is served.

        For `END_SECONDS` at most: the database may be away.
        """
        served = self._served(charger_ids) if self._served is not None else None
        for charger_id in charger_ids:
            self.disconnect(charger_id, reason)
        deadline = time.monotonic() + END_SECONDS
        while served is not None and not served() and time.monotonic() < deadline:  # noqa: ASYNC110 # rare
            await asyncio.sleep(0.02)

    def disconnect(self, charger_id: str, reason: str) -> None:
        """Close every socket of a charger: its own, those that wait beside it, those on their way in.

        Also those at other processes.
        """
        self.disconnect_here(charger_id, reason)
        if self.beyond is not None:
            self.beyond.disconnect(charger_id, reason)

    def disconnect_waiting(self, charger_id: str, reason: str) -> None:
        """Close the sockets of a charger at this process that are not its own yet."""
        if self._close_waiting is not None:
            self._close_waiting(charger_id, reason)

    def disconnect_here(self, charger_id: str, reason: str) -> None:
        """Close every socket of a charger at this process."""
        self.disconnect_waiting(charger_id, reason)
        link = self._links.get(charger_id)
        if link is not None:
            link.disconnect(reason)

    async def call(
        self, charger_id: str, action: str, payload_json: bytes, *, wait_seconds: float | None = None
    ) -> Answer:
        """Send a CALL to a charger, whichever process holds it, and wait for its answer.

        See `ChargerLink.call`.
        """
        link = self._links.get(charger_id)
        if link is not None:
            return await link.call(action, payload_json, wait_seconds=wait_seconds)
        if self.beyond is None:
            raise not_connected(charger_id)
        return await self.beyond.call(charger_id, action, payload_json, wait_seconds=wait_seconds)


def not_connected(charger_id: str) -> ChargerOffline:
    """Return the error of a command to a charger that is away."""
    return ChargerOffline(
        f"Charger {charger_id} is not connected.",
        detail="Commands reach a charger only while its socket is open. Try again when it is online.",
    )

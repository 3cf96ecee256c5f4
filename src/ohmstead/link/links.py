"""Calls to chargers: who is connected, and one way to ask it something.

The gateway puts each socket in; everything above asks by the charger's id and does not know where
the socket is held.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from ohmstead.core.errors import Conflict


class ChargerOffline(Conflict):
    """The charger is not connected, or left before it answered."""

    code = "ChargerOffline"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for a CALL: the charger's `response`, or its CALLERROR, or nothing in time.

    Exactly one of `response` and `error_code` is set, or none of them: then it timed out.
    """

    response: dict[str, Any] | None = None
    error_code: str | None = None
    error_description: str = ""

    @property
    def status(self) -> str:
        """Return the charger's own status word (`Accepted` where it has none), `CallError` or `Timeout`."""
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

        Calls to one charger go out one at a time (OCPP-J 4.1.1), in the order asked; `wait_seconds`
        counts from when it is sent. Raises `ChargerOffline` when the charger leaves first.
        """


class Links:
    """The chargers that are connected to this process."""

    def __init__(self) -> None:
        self._links: dict[str, ChargerLink] = {}

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
        """Return the charger's socket, or None when it is away."""
        return self._links.get(charger_id)

    async def call(
        self, charger_id: str, action: str, payload_json: bytes, *, wait_seconds: float | None = None
    ) -> Answer:
        """Send a CALL to a charger and wait for its real answer. Raises `ChargerOffline`."""
        link = self._links.get(charger_id)
        if link is None:
            raise ChargerOffline(
                f"Charger {charger_id} is not connected.",
                detail="Commands reach a charger only while its socket is open. Try again when it is online.",
            )
        return await link.call(action, payload_json, wait_seconds=wait_seconds)

"""Sockets that wait beside the one that serves a charger: let in, open, and silent so far.

Chargers that lose their connection come back before anybody here has noticed. The new socket takes over
with its first frame, or when the one before it ends.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ohmstead.gateway.connection import ChargerConnection


AT_MOST = 4
"""Sockets that wait for one charger; whoever knows an identity without a password could open thousands."""


class Waiting:
    """The waiting sockets of this process, and how often the sockets of each charger have been closed."""

    def __init__(self) -> None:
        self._sockets: dict[str, list[ChargerConnection]] = {}
        self._generations: dict[str, int] = {}

    def generation(self, charger_id: str) -> int:
        """Return a number that `close` raises.

        Whoever lets a charger in by what it has read compares the number of before with that of now: if
        they differ, what was read is no longer true.
        """
        return self._generations.get(charger_id, 0)

    def add(self, connection: "ChargerConnection") -> None:
        """Let a socket wait; the newest one is the last. More than some do not wait for one charger."""
        waiting = self._sockets.setdefault(connection.charger.id, [])
        waiting.append(connection)
        for oldest in waiting[:-AT_MOST]:
            waiting.remove(oldest)
            oldest.disconnect("the charger has connected again")

    def remove(self, connection: "ChargerConnection") -> None:
        """Forget a socket, if it waits: it has ended, or has become the charger's own."""
        waiting = self._sockets.get(connection.charger.id, [])
        if connection in waiting:
            waiting.remove(connection)
            if not waiting:
                del self._sockets[connection.charger.id]

    def newest(self, charger_id: str) -> "ChargerConnection | None":
        """Return the newest socket that is still open."""
        open_ones = (one for one in reversed(self._sockets.get(charger_id, ())) if one.protocol.is_open)
        return next(open_ones, None)

    def now_elsewhere(self, charger_id: str) -> None:
        """Note that the charger is at another process now: what was read here is not the newest any more."""
        for connection in self._sockets.get(charger_id, ()):
            connection.elsewhere = True

    def close(self, charger_id: str, reason: str) -> None:
        """Close the waiting sockets of a charger: what they were let in by is no longer true."""
        self._generations[charger_id] = self.generation(charger_id) + 1
        for connection in self._sockets.pop(charger_id, ()):
            connection.disconnect(reason)

"""Closing the sockets of chargers after a change that their connection must not outlive."""

from collections.abc import Iterable

from ohmstead.link.links import Links


async def disconnect(links: Links, charger_ids: Iterable[str], reason: str) -> None:
    """Close all sockets of these chargers, those too that have not said a word yet.

    They come back as what they are now. Runs as a background task, which begins after the unit of work
    has committed: a charger that is back at once meets the new state. Async, so that it runs on the loop
    that owns the sockets.
    """
    for charger_id in charger_ids:
        links.disconnect(charger_id, reason)

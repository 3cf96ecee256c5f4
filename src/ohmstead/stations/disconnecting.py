"""Closing the sockets of chargers after a change that their connection must not outlive."""

from collections.abc import Collection, Iterable

from ohmstead.core.db import Database
from ohmstead.link.links import Links
from ohmstead.stations import history


async def disconnect(links: Links, charger_ids: Iterable[str], reason: str) -> None:
    """Close all sockets of these chargers, those too that have not said a word yet.

    They come back as what they are now. Runs as a background task, which begins after the unit of work
    has committed: a charger that is back at once meets the new state. Async, so that it runs on the loop
    that owns the sockets.
    """
    for charger_id in charger_ids:
        links.disconnect(charger_id, reason)


async def let_go(links: Links, database: Database, charger_ids: Collection[str], reason: str) -> None:
    """Close all sockets of chargers that were deleted, and forget also what they said until then.

    What they had sent already is served to its end, in vain, and may be logged: it is forgotten after that.
    Call it when the delete is committed.
    """
    if not charger_ids:
        return
    await links.end(charger_ids, reason)
    async with database.session() as session:
        await history.forget_traces(session, charger_ids)

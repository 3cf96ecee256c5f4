"""Businesses with stations, chargers and id tags, for files to be about; each has a short name for cells."""

from dataclasses import dataclass

from tests.world import SignedIn, World

from ohmstead.accounts.models import BackofficeStatus, Role
from ohmstead.stations.models import Charger, Registration

NOBODY = "00000000-0000-4000-8000-000000000001"
"""The id of nothing."""


@dataclass
class Town:
    """Who may bring files, and what stands for what in a cell: `{harbour}` is the id of that station."""

    admin: SignedIn
    manager: SignedIn
    ids: dict[str, str]

    def line(self, text: str) -> str:
        """Return a line with ids for names."""
        for name, value in self.ids.items():
            text = text.replace(f"{{{name}}}", value)
        return text


async def build(world: World) -> Town:
    """Build the same town each time, but for its ids.

    The manager's business has the stations Harbour (with a point), Bare (without) and two called Twin, and
    the chargers HAVE (connector 2 was used), LOOSE (at no station) and RETIRED. Another one has Theirs and
    TAKEN. WAITING came by itself. TAG is an id tag of both, and one that works everywhere.
    """
    own, other = await world.backoffice("Own"), await world.backoffice("Other")
    gone = await world.backoffice("Gone", status=BackofficeStatus.REJECTED)
    harbour = await world.station(own, name="Harbour", latitude=1.0, longitude=2.0)
    bare = await world.station(own, name="Bare")
    twin, _ = [await world.station(own, name="Twin") for _ in range(2)]
    theirs = await world.station(other, name="Theirs")
    have = await world.charger(harbour, "HAVE")
    await world.session(have, connector_id=2)
    await world.charger(harbour, "RETIRED", retired_at=world.clock.now())
    await world.charger(theirs, "TAKEN")
    came = {"registration": Registration.PENDING, "unregistered_since": world.clock.now()}
    await world.add(Charger(id="LOOSE", backoffice_id=own.id), Charger(id="WAITING", **came))
    for backoffice_id in (own.id, other.id, None):
        await world.token(backoffice_id, "TAG")
    businesses = {"own": own, "other": other, "gone": gone}
    stations = {"harbour": harbour, "bare": bare, "twin": twin, "theirs": theirs}
    ids = {name: str(row.id) for name, row in businesses.items()}
    ids |= {name: str(row.id) for name, row in stations.items()}
    return Town(await world.admin(), await world.user(Role.BACKOFFICE, own), ids)

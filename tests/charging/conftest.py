"""A charger, and its voice at the service."""

import pytest
from tests.charging.teller import Teller
from tests.conftest import FrozenClock
from tests.world import World

from ohmstead.core.db import Database
from ohmstead.stations.models import Charger


@pytest.fixture
async def charger(world: World) -> Charger:
    return await world.charger()


@pytest.fixture
def tell(db: Database, clock: FrozenClock, charger: Charger) -> Teller:
    clock.advance(3600)  # what is told of NOW was an hour ago
    return Teller(db, clock, charger)

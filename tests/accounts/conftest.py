"""What the tests of accounts share."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncSession
from tests.accounts.issuers import Issuer, issuing
from tests.accounts.rounds import Rounds, make_provider
from tests.conftest import FrozenClock
from tests.world import SignedIn, World

from ohmstead.core.config import Settings
from ohmstead.core.db import Database


class OpenSessions:
    """Counts the units of work of the application that are open at this moment."""

    def __init__(self) -> None:
        self.now = 0
        self.ever = 0


@pytest.fixture
def open_sessions(db: Database, monkeypatch: pytest.MonkeyPatch) -> OpenSessions:
    counter = OpenSessions()
    real = db.session

    @asynccontextmanager
    async def counted() -> AsyncIterator[AsyncSession]:
        counter.now += 1
        counter.ever += 1
        try:
            async with real() as session:
                yield session
        finally:
            counter.now -= 1

    monkeypatch.setattr(db, "session", counted)
    return counter


@pytest.fixture(scope="session")
def settings(settings: Settings) -> Settings:
    """Issuers of tokens run on this machine."""
    return settings.model_copy(update={"outbound_allow": (ip_network("127.0.0.0/8"),)})


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with issuing() as running:
        yield running


@pytest.fixture
async def admin(world: World) -> SignedIn:
    return await world.admin()


@pytest.fixture
async def rounds(client: httpx.AsyncClient, issuer: Issuer, admin: SignedIn, clock: FrozenClock) -> Rounds:
    """A browser, and a provider that it can sign in at."""
    provider = await make_provider(client, admin, issuer)
    return Rounds(client, issuer, clock, provider["id"])

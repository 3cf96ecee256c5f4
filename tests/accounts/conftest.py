"""What the tests of accounts share."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

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

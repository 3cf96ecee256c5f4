"""What every test stands on: a real PostgreSQL, one database a worker, rolled back after each test."""

import gc
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import psycopg
import pytest
import uvloop
from fastapi import FastAPI
from hypothesis import HealthCheck
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.routing import BaseRoute

from ohmstead.app import create_app
from ohmstead.core import migrations
from ohmstead.core.config import Settings
from ohmstead.core.db import Database
from ohmstead.core.postgres import EmbeddedPostgres
from tests.deadlines import pytest_collection_modifyitems
from tests.leftovers import ending_with_us
from tests.proving import pytest_generate_tests, times_its_examples
from tests.running import RunningServer, free_port, start_server
from tests.world import World

__all__ = ["pytest_collection_modifyitems", "pytest_generate_tests", "times_its_examples"]

COLLECT_AFTER = (100_000, 20, 50)
"""As in a server at work (`ohmstead.server`)."""


def pytest_collection() -> None:
    """Spare the cyclic collector what is loaded and collected: nothing of it goes."""
    gc.disable()


def pytest_collection_finish() -> None:
    """From here on it looks at what tests make."""
    gc.enable()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


SECRET = "a secret of the tests that is long enough"
NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


class FrozenClock:
    """A clock that stands still until it is told."""

    def __init__(self, moment: datetime = NOW) -> None:
        self.moment = moment

    def now(self) -> datetime:
        return self.moment

    def advance(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, Any]:
    """Run every test on the event loop that the server uses."""
    return {"uvloop": uvloop.new_event_loop}


settings_of_hypothesis = hypothesis.settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis.settings.register_profile("ohmstead", settings_of_hypothesis)
hypothesis.settings.load_profile("ohmstead")


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """One server for all workers of a run: it stops when the last worker leaves it, or is killed."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    folder = Path(tempfile.gettempdir()) / f"ohmstead-tests-{run[:12]}"
    server = EmbeddedPostgres(folder, durable=False)
    with ending_with_us(folder, shared=True):
        server.start()
        yield server
        server.stop()
        if server.pid is None:  # the last worker has left
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def database_factory(postgres: EmbeddedPostgres, worker_id: str) -> Iterator[Any]:
    """Make databases with the schema of today, cloned from one template."""
    template = f"template_{worker_id}"
    admin = postgres.url("postgres")
    made: list[str] = []

    def execute(statement: str) -> None:
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(statement.encode())

    execute(f"CREATE DATABASE {template}")
    migrations.upgrade(postgres.url(template))

    def make(name: str) -> str:
        full = f"{name}_{worker_id}_{len(made)}"
        execute(f"CREATE DATABASE {full} TEMPLATE {template}")
        made.append(full)
        return postgres.url(full)

    yield make
    for name in [*made, template]:
        execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def worker_id(request: pytest.FixtureRequest) -> str:
    """The name of this xdist worker, or `master`."""
    return str(getattr(request.config, "workerinput", {}).get("workerid", "master"))


@pytest.fixture(scope="session")
def database_url(database_factory: Any) -> str:
    """The database of the tests that are rolled back."""
    return str(database_factory("rolled_back"))


@pytest.fixture(scope="session")
def settings(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings.load(
        environment="test",
        database_url=database_url,
        secret_key=SECRET,
        data_dir=tmp_path_factory.mktemp("data"),
        ocpp_refusals_per_minute=0,
    )


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real redis-server of this run; `make system` installs it, and in CI it must be there."""
    program = shutil.which("redis-server")
    if program is None:
        reason = "redis-server is not installed: run `make system`"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    port = free_port()
    folder = tmp_path_factory.mktemp("redis")
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log) as process:
        try:
            _await_port(port)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()


def _await_port(port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture(scope="session")
def routes(settings: Settings) -> list[BaseRoute]:
    """The routes of an application: what is worked out of them at its first request is the same for all.

    That takes a tenth of a second, which each test would spend again.
    """
    return create_app(settings).router.routes


@pytest.fixture
async def app(settings: Settings, clock: FrozenClock, routes: list[BaseRoute]) -> AsyncIterator[FastAPI]:
    """The real application, on a connection whose transaction is rolled back."""
    app = create_app(settings, clock=clock)
    app.router.routes = list(routes)
    database: Database = app.state.database
    async with database.engine.connect() as connection:
        transaction = await connection.begin()
        database.bind = connection
        yield app
        await transaction.rollback()
    await database.close()


@pytest.fixture
def db(app: FastAPI) -> Database:
    """Units of work of this test; each commits into the test's own transaction."""
    database: Database = app.state.database
    return database


@pytest.fixture
async def session(db: Database) -> AsyncIterator[AsyncSession]:
    async with db.session() as session:
        yield session


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


@pytest.fixture
def world(db: Database, settings: Settings, clock: FrozenClock) -> World:
    return World(db, settings, clock)


@pytest.fixture(scope="session")
async def server(
    database_factory: Any, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RunningServer]:
    """A real server on a real port, one for all tests of a worker: give your rows names of their own."""
    settings = Settings.load(
        environment="test",
        database_url=database_factory("server"),
        secret_key=SECRET,
        data_dir=tmp_path_factory.mktemp("server"),
        ocpp_refusals_per_minute=0,
        ocpp_call_timeout=5.0,
        metrics_token="metrics-token",
        log_level="WARNING",
    )
    async with start_server(settings) as running:
        yield running


@pytest.fixture
def server_world(server: RunningServer) -> World:
    """Make rows in the database of the real server."""
    return World(server.database, server.settings, server.app.state.clock)


@pytest.fixture
def make_server(database_factory: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Start further servers with settings of their own: `async with make_server(jwt_minutes=1) as server`."""

    @asynccontextmanager
    async def make(**overrides: Any) -> AsyncIterator[RunningServer]:
        settings = Settings.load(
            **{
                "environment": "test",
                "database_url": overrides.pop("database_url", None) or database_factory("own"),
                "secret_key": SECRET,
                "data_dir": tmp_path_factory.mktemp("own"),
                "ocpp_refusals_per_minute": 0,
                "ocpp_call_timeout": 5.0,
                "log_level": "WARNING",
                **overrides,
            }
        )
        async with start_server(settings) as running:
            yield running

    return make

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from tests.cli.running import reachable_folder

from ohmstead.core.errors import StartupError
from ohmstead.core.postgres import EmbeddedPostgres
from ohmstead.core.postgres_watch import PostgresWatch


@pytest.fixture
def server() -> Iterator[EmbeddedPostgres]:
    with reachable_folder() as folder:
        server = EmbeddedPostgres(folder, durable=False)
        server.start()
        yield server
        server.stop()


def kill(server: EmbeddedPostgres) -> int:
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    return pid


def await_another(server: EmbeddedPostgres, before: int) -> None:
    deadline = time.monotonic() + 120
    while server.pid in {None, before}:
        assert time.monotonic() < deadline, "nobody has started it again"
        time.sleep(0.05)


def answers(server: EmbeddedPostgres) -> bool:
    with psycopg.connect(server.url(), connect_timeout=30) as connection:
        return connection.execute("SELECT 1").fetchone() == (1,)


def test_a_server_that_is_killed_is_started_again_as_often_as_that_happens(server: EmbeddedPostgres) -> None:
    with PostgresWatch(server, every=0.1):
        for _ in range(2):
            await_another(server, kill(server))
    assert answers(server)


def test_a_start_that_fails_is_tried_again(server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    tries, start_again = [], server.start_again

    def failing() -> None:
        tries.append(time.monotonic())
        faults = [StartupError("no room"), OSError("no folder"), ValueError("a fault of ours")]
        if len(tries) <= len(faults):
            raise faults[len(tries) - 1]
        start_again()

    monkeypatch.setattr(server, "start_again", failing)
    with PostgresWatch(server, every=0.05):
        await_another(server, kill(server))
    assert len(tries) == 4
    assert tries[2] - tries[1] > tries[1] - tries[0] - 0.05


def test_one_that_is_stopped_in_order_stays_stopped(tmp_path: Path) -> None:
    with reachable_folder() as folder:
        server = EmbeddedPostgres(folder, durable=False)
        server.start()
        with PostgresWatch(server, every=0.02):
            pass
        server.stop()
        server.start_again()
        assert server.pid is None

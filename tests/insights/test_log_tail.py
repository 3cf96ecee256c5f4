"""The application's log as a live topic."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx
import pytest
import structlog
from tests.insights.conftest import Listener
from tests.running import RunningServer
from tests.world import World
from websockets.asyncio.client import connect

from ohmstead.accounts.models import Role
from ohmstead.core.live import LiveBus, Scope, Subscription, Topic
from ohmstead.insights.log_tail import LogTail


@pytest.fixture
def bus() -> LiveBus:
    return LiveBus()


@pytest.fixture
async def tail(bus: LiveBus) -> LogTail:
    tail = LogTail()
    tail.attach(bus, asyncio.get_running_loop())
    return tail


@pytest.fixture
def watcher(bus: LiveBus) -> Subscription:
    return bus.subscribe(uuid4(), [Topic.LOG], Scope(everything=True))


async def told(watcher: Subscription) -> dict[str, Any]:
    async with asyncio.timeout(60):
        numbered = await watcher.queue.get()
    assert numbered is not None
    assert (numbered.event.topic, numbered.event.kind) == (Topic.LOG, "log.record")
    return numbered.event.data


async def settled() -> None:
    """Let everything run that was handed to the loop so far."""
    done = asyncio.Event()
    asyncio.get_running_loop().call_soon(done.set)
    await done.wait()


async def test_a_record_is_told_and_given_on_unchanged(tail: LogTail, watcher: Subscription) -> None:
    record = {
        "level": "info",
        "logger": "ohmstead.gateway",
        "event": "charger connected",
        "timestamp": "2026-05-04T12:00:00Z",
        "charger_id": "CP-1",
        "took": 1.5,
        "_record": object(),
    }
    assert tail(None, "info", dict(record)) == record
    assert await told(watcher) == {
        "at": "2026-05-04T12:00:00Z",
        "level": "info",
        "logger": "ohmstead.gateway",
        "event": "charger connected",
        "charger_id": "CP-1",
        "took": 1.5,
    }


async def test_what_is_below_info_is_not_told(tail: LogTail, watcher: Subscription) -> None:
    tail(None, "debug", {"event": "detail"})
    tail(None, "debug", {"event": "detail", "level": "debug"})
    tail(None, "warning", {"event": "look"})
    assert (await told(watcher))["event"] == "look"


async def test_nothing_is_built_when_nobody_watches(tail: LogTail, bus: LiveBus) -> None:
    class Costly:
        def __str__(self) -> str:
            raise AssertionError("built for nobody")

    tail(None, "info", {"event": Costly()})
    await settled()
    assert bus.version == 0


async def test_secrets_are_masked_wherever_they_stand(tail: LogTail, watcher: Subscription) -> None:
    tail(
        None,
        "info",
        {
            "event": "fetched ftp://user:hunter2@files.example.com/log",
            "password": "hunter2",
            "headers": {"Authorization": "Bearer hunter2", "host": "a"},
            "frame": '[2,"1","ChangeConfiguration",{"key":"AuthorizationKey","value":"hunter2"}]',
            "urls": ["https://files.example.com/a?token=hunter2"],
        },
    )
    data = await told(watcher)
    assert "hunter2" not in str(data)
    assert data["headers"]["host"] == "a"
    assert data["password"] == "***"


async def test_a_record_cannot_hide_its_own_name(tail: LogTail, watcher: Subscription) -> None:
    tail(None, "error", {"event": "real", "at": "never", "level": "error"})
    data = await told(watcher)
    assert data["at"] != "never"


async def test_long_texts_are_cut(tail: LogTail, watcher: Subscription) -> None:
    tail(None, "info", {"event": "x" * 100_000})
    assert len((await told(watcher))["event"]) < 5000


async def test_an_exception_is_told_by_name(tail: LogTail, watcher: Subscription) -> None:
    tail(None, "error", {"event": "failed", "exc_info": ValueError("no such thing")})
    assert (await told(watcher))["exception"] == "ValueError: no such thing"


async def test_other_threads_may_log(tail: LogTail, watcher: Subscription) -> None:
    await asyncio.to_thread(tail, None, "info", {"event": "from a thread"})
    assert (await told(watcher))["event"] == "from a thread"


async def test_what_publishing_itself_logs_is_not_told(
    tail: LogTail, bus: LiveBus, watcher: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = bus.publish

    def chatty(event: Any) -> None:
        tail(None, "info", {"event": "published one"})
        publish(event)

    monkeypatch.setattr(bus, "publish", chatty)
    tail(None, "info", {"event": "first"})
    tail(None, "info", {"event": "from the socket", "logger": "ohmstead.insights.live"})
    tail(None, "info", {"event": "second"})
    assert [(await told(watcher))["event"] for _ in range(2)] == ["first", "second"]
    await settled()
    assert watcher.queue.empty()


async def test_without_a_bus_records_pass_by(tail: LogTail, bus: LiveBus, watcher: Subscription) -> None:
    tail.detach()
    assert tail(None, "info", {"event": "later"}) == {"event": "later"}
    await settled()
    assert bus.version == 0


def test_a_loop_that_has_ended_is_no_trouble() -> None:
    bus, tail = LiveBus(), LogTail()
    bus.subscribe(uuid4(), [Topic.LOG], Scope(everything=True))
    loop = asyncio.new_event_loop()
    tail.attach(bus, loop)
    loop.close()
    assert tail(None, "info", {"event": "at the very end"}) == {"event": "at the very end"}


async def test_works_as_a_processor_of_the_standard_log(tail: LogTail, watcher: Subscription) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_log_level, structlog.stdlib.add_logger_name, tail],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logger = logging.getLogger("somebody.else")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)  # the root's is that of whichever server was started last
    try:
        logger.warning("plain %s", "record")
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
    data = await told(watcher)
    assert (data["event"], data["level"], data["logger"]) == ("plain record", "warning", "somebody.else")


class TestOfARealServer:
    @asynccontextmanager
    async def watching(self, running: RunningServer) -> AsyncIterator[Listener]:
        async with connect(f"{running.ws}/api/live", proxy=None, close_timeout=1) as socket:
            yield Listener(socket)

    async def test_a_record_reaches_administrators_masked_and_nobody_else(self, make_server: Any) -> None:
        # A server of its own: the last one that was started in a process is the one that logs.
        async with make_server(log_level="INFO") as running:
            world = World(running.database, running.settings, running.app.state.clock)
            admin, office = await world.admin(), await world.user(Role.BACKOFFICE)
            operator = await world.user(Role.OPERATOR)
            for user in (office, operator):
                async with self.watching(running) as other:
                    await other.say(token=user.token, topics=["log"])
                    assert (await other.closed())[0] == 4403
            async with self.watching(running) as listener:
                await listener.hello(admin, "log")
                log = structlog.stdlib.get_logger("ohmstead.gateway.trial")
                log.warning("trial.fetched", url="ftp://user:hunter2@host/x", charger_id="CP-1", password="a")
                while (told := await listener.hear_type("event"))["data"]["event"] != "trial.fetched":
                    pass
            assert (told["topic"], told["kind"]) == ("log", "log.record")
            data = told["data"]
            assert (data["level"], data["logger"], data["charger_id"]) == (
                "warning",
                "ohmstead.gateway.trial",
                "CP-1",
            )
            assert (data["url"], data["password"]) == ("ftp://user:***@host/x", "***")
            assert data["at"].endswith("Z")

    async def test_what_a_request_logs_is_told_with_its_id_and_its_route(self, make_server: Any) -> None:
        async with make_server(log_level="INFO") as running:
            world = World(running.database, running.settings, running.app.state.clock)
            admin = await world.admin()
            async with (
                self.watching(running) as listener,
                httpx.AsyncClient(base_url=running.http, trust_env=False) as client,
            ):
                await listener.hello(admin, "log")
                answer = await client.get("/api/admin/chargers/CP-nobody", headers=admin.headers)
                assert answer.status_code == 404
                while "route" not in (told := await listener.hear_type("event"))["data"]:
                    pass
            assert told["data"]["route"] == "/api/admin/chargers/{charger_id}"
            assert told["data"]["request_id"] == answer.headers["X-Request-ID"]

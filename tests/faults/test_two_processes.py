"""Two server processes and a real Redis: `kill -9` of each, Redis lost, a command whose process dies."""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from tests.chargers import RawCharger, charger, until
from tests.cli.running import ohmstead
from tests.faults.duo import PING, Duo, Node, one_address
from tests.faults.fleet import RECONNECT_SECONDS, load
from tests.faults.hasty import BEGUN, CLAIMED, LINGER
from tests.faults.proof import prove, rows
from tests.faults.redis_server import RedisServer
from tests.running import free_port
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from ohmstead.core.tasks import end

CHARGERS = 8
KILLED = "the server ended without closing it"


@pytest.fixture(scope="module")
async def running(database_factory: Any, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Duo]:
    redis = RedisServer(tmp_path_factory.mktemp("redis"))
    with Duo(database_factory("duo"), redis).running() as duo:
        redis.start()
        yield duo
        await duo.database.close()


@pytest.fixture
async def duo(running: Duo) -> Duo:
    """Both servers, whatever the test before has done to them."""
    await running.start()
    return running


async def run_jobs(
    url: str, count: int, task: str = "core:remove_old_jobs", args: str = '{"timestamp": 0}'
) -> list[int]:
    """Queue jobs; returns their ids."""
    query = (
        b"INSERT INTO procrastinate_jobs (queue_name, task_name, args)"
        b" SELECT 'default', %s, %s FROM generate_series(1, %s) RETURNING id"
    )
    async with await psycopg.AsyncConnection.connect(url) as connection:
        return [row[0] for row in await (await connection.execute(query, [task, args, count])).fetchall()]


async def have_run_once(url: str, ids: list[int]) -> None:
    """Wait until jobs have ended well; each was begun once."""

    async def ended() -> bool:
        query = "SELECT count(*) FROM procrastinate_jobs WHERE id = ANY(%s) AND status = 'succeeded'"
        return await rows(url, query, ids) == [(len(ids),)]

    await until(ended)
    begun = await rows(
        url,
        "SELECT job_id, count(*) FROM procrastinate_events WHERE job_id = ANY(%s) AND type = 'started'"
        " GROUP BY job_id",
        ids,
    )
    assert {row[1] for row in begun} == {1}
    assert len(begun) == len(ids)


async def answer_one(raw: RawCharger) -> None:
    await raw.answer(await raw.next_call(), {"status": "Accepted"})


async def test_redis_may_be_lost_under_load(duo: Duo) -> None:
    identities = [(await duo.world.charger(id=f"REDIS-{number}")).id for number in range(CHARGERS)]
    await duo.world.token(id_tag="LOAD")
    idle = (await duo.world.charger(connectors=0)).id
    async with (
        one_address(duo.a.ocpp_port, duo.b.ocpp_port) as address,
        load(address, identities, patience_seconds=5, ledger=duo.ledger) as fleet,
        duo.api(duo.a) as api_a,
        duo.api(duo.b) as api_b,
        charger(duo.a.ocpp, idle) as raw,
        duo.listener(duo.b, "chargers") as listener,
    ):
        await raw.boot()
        await listener.hear_type("snapshot")

        await asyncio.to_thread(duo.redis.kill)
        for node in duo.nodes:
            await duo.is_ready(node, "degraded")
        await fleet.progress(each=5)
        answers = await asyncio.gather(api_a.command(idle, "ClearCache"), answer_one(raw))
        assert answers[0].json()["status"] == "Accepted", "its own chargers hear it"
        refused = await api_b.command(idle, "ClearCache")
        assert (refused.status_code, refused.json()["error"]) == (409, "ChargerOffline")
        assert "Redis is away" in refused.json()["message"]
        await _send_away(api_b, idle)
        await raw.result("Heartbeat")
        async with charger(duo.b.ocpp, (await duo.world.charger(connectors=0)).id) as new:
            assert (await new.boot())["status"] == "Accepted"

        await asyncio.to_thread(duo.redis.start)
        for node in duo.nodes:
            await duo.is_ready(node, "ready")
        assert await raw.closed() == (1000, "the charger's settings changed"), "what was owed was done"
        await listener.hear_type("resync")
        await listener.hear_type("snapshot")
        async with charger(duo.a.ocpp, idle) as again:
            await again.boot()
            answers = await asyncio.gather(api_b.command(idle, "ClearCache"), answer_one(again))
            assert answers[0].json()["status"] == "Accepted"

        duo.redis.hang()
        began = time.monotonic()
        await fleet.progress(each=5)
        async with charger(duo.a.ocpp, idle) as again:
            await again.boot()
        assert time.monotonic() - began < 5, "nobody waits for a Redis that hangs"
        for node in duo.nodes:
            await duo.is_ready(node, "degraded")
        duo.redis.go_on()
        for node in duo.nodes:
            await duo.is_ready(node, "ready")
        async with charger(duo.a.ocpp, idle) as old:
            await old.boot()  # by its answer the others know where the charger is
            async with charger(duo.b.ws, idle) as new:
                await new.boot()
                assert await old.closed() == (4000, "the charger has connected again")
        await fleet.progress(each=3)
        await fleet.finish()
        assert not fleet.troubles.errors
        assert not fleet.troubles.closes
        assert not fleet.troubles.unanswered
        await prove(duo.url, duo.ledger)


async def test_a_server_that_stood_still_finds_what_it_still_has_and_what_it_has_lost(duo: Duo) -> None:
    """Longer than the others wait: they have taken it for dead, and one of its chargers has come to them."""
    stays, moves = [(await duo.world.charger(connectors=0)).id for _ in range(2)]

    async def online(*expected: str) -> None:
        async def said() -> bool:
            return await duo.online(stays, moves) == set(expected)

        await until(said)

    async with (
        charger(duo.a.ocpp, stays) as staying,
        charger(duo.a.ocpp, moves) as moving,
        duo.api(duo.b) as api,
    ):
        for raw in (staying, moving):
            await raw.boot()
        await online(stays, moves)
        os.kill(duo.a.pid, signal.SIGSTOP)
        try:
            await online()
            new = await RawCharger.connect(duo.b.ocpp, moves)
            await new.boot()
            await online(moves)
            refused = await api.command(stays, "ClearCache")
            assert (refused.status_code, refused.json()["error"]) == (409, "ChargerOffline")
            assert "not known" not in refused.json().get("detail", ""), "it was surely not sent"
        finally:
            os.kill(duo.a.pid, signal.SIGCONT)
        assert (await moving.closed())[0] == 4000
        await online(stays, moves)
        await duo.is_ready(duo.a, "ready")
        for identity, raw in ((stays, staying), (moves, new)):
            assert raw.calls.empty()
            await raw.result("Heartbeat")

            async def accepted(identity: str = identity, raw: RawCharger = raw) -> bool:
                asked = asyncio.create_task(api.command(identity, "ClearCache"))
                calling = asyncio.create_task(raw.next_call())
                await asyncio.wait({asked, calling}, return_when=asyncio.FIRST_COMPLETED)
                if calling.done():
                    await raw.answer(calling.result(), {"status": "Accepted"})
                await end(calling)
                return (await asked).status_code == 200

            await until(accepted)
        await new.vanish()
        await online(stays)
    await online()


async def test_a_server_without_redis_is_refused_and_changes_nothing(duo: Duo) -> None:
    known = (await duo.world.charger(connectors=0)).id
    settings = {
        "DATABASE_URL": duo.url,
        "OHMSTEAD_ADMIN_EMAIL": "late@example.com",
        "OHMSTEAD_ADMIN_PASSWORD": "a-long-enough-password",
    }
    async with charger(duo.a.ws, known) as raw:
        await raw.boot()
        arguments = ("serve", "--host", "127.0.0.1", "--port", str(free_port()))
        refused = await asyncio.to_thread(ohmstead, *arguments, **settings)
        assert refused.returncode == 1
        assert "Another Ohmstead server serves this database: process " in refused.stderr
        assert "Start this one with the same REDIS_URL" in refused.stderr
        await raw.result("Heartbeat")
        assert await duo.online(known) == {known}
    assert await rows(duo.url, "SELECT 1 FROM accounts_user WHERE email = 'late@example.com'") == []


async def timers_have_run_once(url: str) -> None:
    """What comes by the clock was queued once for each of its times, whoever was alive."""
    queued = await rows(
        url,
        "SELECT task_name, args ->> 'timestamp', count(*) FROM procrastinate_jobs"
        " WHERE args ? 'timestamp' AND args ->> 'timestamp' <> '0' GROUP BY 1, 2",
    )
    assert len(queued) > 3
    assert {row[2] for row in queued} == {1}


async def kill_and_see(duo: Duo, dies: Node, lives: Node) -> None:
    """Kill a server that holds two idle chargers: they are offline in time, once, by the other's doing.

    A command from the other one, which waits for one of them, ends soon after.
    """
    idle = [(await duo.world.charger(connectors=0)).id for _ in range(2)]
    stays = (await duo.world.charger(connectors=0)).id
    sockets = [await RawCharger.connect(dies.ocpp, identity) for identity in idle]
    for raw in sockets:
        await raw.boot()
    async with charger(lives.ocpp, stays) as other:
        await other.boot()

        async def online() -> bool:
            return await duo.online(*idle, stays) == {*idle, stays}

        await until(online)
        died = await duo.process_of(dies)
        async with duo.api(lives) as api:
            asked = asyncio.create_task(api.command(idle[0], "ClearCache", seconds=60))
            await sockets[0].next_call()
            said = await asyncio.to_thread(dies.kill)
            at = time.monotonic()
            told = await asked
            assert time.monotonic() - at < 5
        assert (told.status_code, told.json()["error"]) == (409, "ChargerOffline")
        assert "not known" in told.json()["detail"]
        assert "Traceback" not in said, said

        async def offline() -> bool:
            return await duo.online(*idle) == set()

        await until(offline, 2 * PING)
        print(f"\noffline {time.monotonic() - at:.1f} s after the kill")  # noqa: T201 # 2 * PING is the bound
        assert await duo.online(stays) == {stays}, "the chargers of the living stay"
        published = await rows(
            duo.url,
            "SELECT one ->> 'charger_id', count(DISTINCT one ->> 'at')"
            "  FROM procrastinate_jobs, jsonb_array_elements(args -> 'gone') AS one"
            " WHERE task_name = 'notifications:chargers_went_offline'"
            "   AND one ->> 'charger_id' = ANY(%s) GROUP BY 1 ORDER BY 1",
            [*idle, stays],
        )
        assert published == [(identity, 1) for identity in sorted(idle)], "it is published once"
        ended = await rows(
            duo.url,
            "SELECT DISTINCT close_reason FROM gateway_connection WHERE process_id::text = %s",
            died,
        )
        assert KILLED in {row[0] for row in ended}
        assert await rows(duo.url, "SELECT 1 FROM core_process WHERE id::text = %s", died) == []
        for raw in sockets:
            await raw.close()


async def obey(address: str, identity: str, may_answer: asyncio.Event, asked: list[str]) -> None:
    """Be a charger that accepts what it is asked, once it may, and comes back when its socket is gone."""
    while True:
        with suppress(OSError, TimeoutError, EOFError, InvalidHandshake, ConnectionClosed):
            async with connect(
                f"{address}/ocpp/{identity}",
                subprotocols=[Subprotocol("ocpp1.6")],
                ping_interval=None,
                close_timeout=1,
            ) as socket:
                boot = {"chargePointVendor": "Test", "chargePointModel": "Obedient"}
                await socket.send(json.dumps([2, "boot", "BootNotification", boot]))
                async for text in socket:
                    frame = json.loads(text)
                    if frame[0] == 2:
                        asked.append(identity)
                        await may_answer.wait()
                        await socket.send(json.dumps([3, frame[1], {"status": "Accepted"}]))
        await asyncio.sleep(RECONNECT_SECONDS)


async def run_often(url: str, task: str) -> None:
    """Let a clock go faster: what comes once a minute comes twice a second."""
    while True:
        await run_jobs(url, 1, task)
        await asyncio.sleep(0.5)


async def test_a_campaign_comes_to_its_end_when_the_process_that_works_on_it_is_killed(duo: Duo) -> None:
    """Some chargers are at the process that dies, some at the other; none has answered when it does."""
    identities = [(await duo.world.charger(connectors=0)).id for _ in range(CHARGERS)]
    asked: list[str] = []
    may_answer = asyncio.Event()
    async with one_address(duo.a.ocpp_port, duo.b.ocpp_port) as address, duo.api(duo.a) as api:
        chargers = [asyncio.create_task(obey(address, one, may_answer, asked)) for one in identities]
        try:

            async def online() -> bool:
                return await duo.online(*identities) == set(identities)

            await until(online)
            body = {
                "kind": "Configuration",
                "parameters": {"keys": {"HeartbeatInterval": "60"}},
                "chargers": {"charger_ids": identities},
                "at_once": CHARGERS - 2,
                "tries": 10,
                "retry_seconds": 0,
                "stop_at_error_percent": None,
            }
            made = await api.client.post("/api/admin/campaigns", json=body)
            assert made.status_code == 201, made.text

            async def all_asked() -> bool:
                return len(asked) == CHARGERS - 2

            await until(all_asked)
            dies, lives = sorted(duo.nodes, key=lambda node: len(claimed(node)), reverse=True)
            begun = claimed(dies) & set(identities)
            assert begun
            await asyncio.to_thread(dies.kill)
            chargers.append(asyncio.create_task(run_often(duo.url, "campaigns:mend")))
            may_answer.set()
            async with duo.api(lives) as other:
                path = f"/campaigns/{made.json()['id']}"

                async def finished() -> bool:
                    return bool((await other.get(path))["state"] == "Finished")

                await until(finished)
                items = {one["charger_id"]: one for one in (await other.get(f"{path}/items"))["items"]}
        finally:
            for task in chargers:
                task.cancel()
            await asyncio.gather(*chargers, return_exceptions=True)
    assert {one["state"] for one in items.values()} == {"Done"}, items
    assert items.keys() == set(identities)
    assert all(one["evidence"] == {"keys": {"HeartbeatInterval": "Accepted"}} for one in items.values())
    assert all(items[one]["tries"] >= 2 for one in begun), "what the dead one had begun was begun anew"


def claimed(node: Node) -> set[str]:
    """The chargers that a server has begun to work on for campaigns."""
    return told(node, CLAIMED)


def told(node: Node, what: str) -> set[str]:
    """What a server has said after some words, at the beginning of a line."""
    assert node.running is not None
    number = node.running.said.fileno()
    # Read beside the server, which writes on by the same file position.
    said = os.pread(number, os.fstat(number).st_size, 0).decode().splitlines()
    return {line.removeprefix(what).strip() for line in said if line.startswith(what)}


async def test_a_job_that_a_killed_process_was_doing_is_done_by_the_other(duo: Duo) -> None:
    [job] = await run_jobs(duo.url, 1, LINGER, "{}")

    async def begun() -> list[Node]:
        return [node for node in duo.nodes if str(job) in told(node, BEGUN)]

    [dies] = await until(begun)
    lives = duo.b if dies is duo.a else duo.a
    await asyncio.to_thread(dies.kill)
    looking = asyncio.create_task(run_often(duo.url, "core:retry_stalled_jobs"))
    try:

        async def ended() -> bool:
            query = "SELECT status::text FROM procrastinate_jobs WHERE id = %s"
            return await rows(duo.url, query, job) == [("succeeded",)]

        await until(ended)
    finally:
        await end(looking)
    assert str(job) in told(lives, BEGUN)
    begun_and_ended = await rows(
        duo.url,
        "SELECT type::text, count(*) FROM procrastinate_events"
        " WHERE job_id = %s AND type IN ('started', 'succeeded') GROUP BY 1 ORDER BY 1",
        job,
    )
    assert begun_and_ended == [("started", 2), ("succeeded", 1)]


async def test_each_may_be_killed_under_load_and_nothing_is_lost(duo: Duo) -> None:
    identities = [(await duo.world.charger(id=f"KILL-{number}")).id for number in range(CHARGERS)]
    async with (
        one_address(duo.a.port, duo.b.port) as address,
        load(address, identities, ledger=duo.ledger) as fleet,
    ):
        await fleet.progress(each=5)
        await have_run_once(duo.url, await run_jobs(duo.url, 60))
        for dies, lives in ((duo.a, duo.b), (duo.b, duo.a)):
            await _both_hold(duo, lives, identities)
            await kill_and_see(duo, dies, lives)
            await fleet.progress(each=3)
            assert await duo.online(*identities) == set(identities), "they have come back elsewhere"
            await have_run_once(duo.url, await run_jobs(duo.url, 10))
            if dies is duo.a:
                dies.start()
                await dies.ready()
        await fleet.finish()
        await prove(duo.url, duo.ledger)
        assert not fleet.troubles.errors
        await timers_have_run_once(duo.url)

        async def all_have_left() -> bool:
            left = "SELECT count(*) FROM gateway_connection WHERE closed_at IS NULL"
            return await rows(duo.url, left) == [(0,)] and await duo.online(*identities) == set()

        await until(all_have_left)
        last = duo.a.running
        assert last is not None
        assert await asyncio.to_thread(last.stop, signal.SIGTERM) == 0, last.text()
        assert "Traceback" not in last.text(), last.text()
    print(f"\n{fleet.acknowledged} acknowledged, {fleet.troubles}")  # noqa: T201 # how hard the proof was


async def _both_hold(duo: Duo, node: Node, identities: list[str]) -> None:
    """Let chargers come back by the one address, one after the other, until both servers hold some."""
    query = "SELECT count(DISTINCT process_id) FROM gateway_connection WHERE closed_at IS NULL"
    async with duo.api(node) as api:
        for identity in identities * 3:
            if await rows(duo.url, query) == [(2,)]:
                return
            await _send_away(api, identity)

            async def back(identity: str = identity) -> bool:
                return await duo.online(identity) == {identity}

            await until(back)
    assert await rows(duo.url, query) == [(2,)], "both hold chargers"


async def _send_away(api: Any, identity: str) -> None:
    """Close a charger's socket: it comes back by the one address."""
    row = await api.charger(identity)
    changed = await api.client.put(f"/api/admin/chargers/{identity}", json={"tolerant": not row["tolerant"]})
    assert changed.status_code == 200, changed.text

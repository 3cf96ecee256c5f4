"""Who is online when several processes write it: in whatever order it arrives, and whoever dies."""

import asyncio
from datetime import datetime, timedelta
from itertools import permutations
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession
from tests.chargers import RawCharger, charger, until
from tests.conftest import NOW
from tests.link.conftest import two_servers
from tests.running import RunningServer
from tests.world import World

from ohmstead.core.db import Database, raw_connection
from ohmstead.core.facts import write_facts
from ohmstead.core.processes import CoreProcess
from ohmstead.gateway import presence
from ohmstead.gateway.models import Connection
from ohmstead.stations.models import Charger


def second(number: int) -> datetime:
    return NOW + timedelta(seconds=number)


def seen(row: Charger, online: bool, *, since: int, at: int) -> dict[str, Any]:
    """What a socket that serves a charger since then says at a time."""
    return {
        "charger_id": row.id,
        "online": online,
        "last_seen": second(at),
        "since": second(since),
        "at": second(at),
    }


class TestSeen:
    @pytest.mark.parametrize(
        ("story", "online"),
        [
            ([(True, 1, 1), (False, 1, 2), (True, 3, 3)], True),
            ([(True, 1, 1), (True, 3, 3), (False, 1, 9)], True),  # the old socket ends last
            ([(True, 1, 1), (True, 3, 3), (True, 1, 5), (False, 3, 6)], False),
            ([(True, 3, 3), (False, 3, 4), (True, 1, 9)], False),  # one that has lost it is still heard
        ],
    )
    async def test_what_the_latest_socket_says_holds_in_whatever_order_it_arrives(
        self, session: AsyncSession, world: World, story: list[tuple[bool, int, int]], online: bool
    ) -> None:
        for order in permutations(story):
            row = await world.charger(connectors=0)
            connection = await raw_connection(session)
            for said, since, at in order:
                await write_facts(connection, presence.CHARGER_SEEN, [seen(row, said, since=since, at=at)])
            found = await session.scalar(select(Charger.online).where(Charger.id == row.id))
            assert found is online, order


async def connect(
    database: Database, row: Charger, process_id: UUID, *, closed_at: datetime | None = None
) -> Connection:
    connection = Connection(
        id=uuid4(), charger_id=row.id, opened_at=NOW, process_id=process_id, closed_at=closed_at
    )
    async with database.session() as session:
        session.add(connection)
    return connection


async def forget(database: Database, *dead: UUID) -> list[str]:
    async with database.session() as session:
        return await presence.forget_the_dead(session, second(60), list(dead))


async def online(database: Database, *rows: Charger) -> list[bool]:
    async with database.session() as session:
        found = await session.execute(select(Charger.id, Charger.online))
        known: dict[str, bool] = {row.id: row.online for row in found}
    return [known[row.id] for row in rows]


class TestTheDead:
    async def test_their_chargers_are_offline_and_nobody_elses(self, db: Database, world: World) -> None:
        dead, living = uuid4(), uuid4()
        lost, moved, stays, sent_away = [
            await world.charger(connectors=0, online=True, presence_at=NOW) for _ in range(4)
        ]
        ended = [await connect(db, lost, dead), await connect(db, moved, dead)]
        kept = [await connect(db, moved, living), await connect(db, stays, living)]
        assert await forget(db, dead) == sorted([lost.id, moved.id])
        # One that was sent away by a stop, and has no connection anywhere, is found as well.
        assert await online(db, lost, moved, stays, sent_away) == [False, True, True, False]
        async with db.session() as session:
            for connection in ended:
                row = await session.get(Connection, connection.id)
                assert row is not None
                assert (row.close_code, row.close_reason) == (1006, presence.KILLED)
            for connection in kept:
                row = await session.get(Connection, connection.id)
                assert row is not None
                assert row.closed_at is None
            jobs = await session.execute(
                text(
                    "SELECT one ->> 'charger_id'"
                    "  FROM procrastinate_jobs, jsonb_array_elements(args -> 'gone') AS one"
                    " WHERE task_name = 'notifications:chargers_went_offline' ORDER BY 1"
                )
            )
            told = [row[0] for row in jobs]
        assert told == sorted([lost.id, sent_away.id])
        assert await forget(db, dead) == []

    async def test_one_that_comes_back_elsewhere_at_that_very_moment_stays_online(
        self, server: RunningServer, server_world: World
    ) -> None:
        database = server.database
        row = await server_world.charger(connectors=0, online=True, presence_at=NOW)
        dead, living = uuid4(), server.app.state.gateway.process_id
        await connect(database, row, dead)
        opened = {
            "id": str(uuid4()),
            "charger_id": row.id,
            "opened_at": second(50),
            "process_id": str(living),
            "security_profile": 0,
        }
        async with database.session() as session:
            connection = await raw_connection(session)
            await write_facts(connection, presence.CONNECTION, [opened])
            await write_facts(connection, presence.CHARGER_SEEN, [seen(row, True, since=50, at=50)])
            burying = asyncio.create_task(forget(database, dead))

            async def waits() -> bool:
                async with database.session() as other:
                    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                    return bool(await other.scalar(text(query)))

            await until(waits)
        assert await burying == [row.id]
        assert await online(database, row) == [True]

    async def test_how_a_connection_ended_holds_though_its_process_was_taken_for_dead(
        self, db: Database, world: World
    ) -> None:
        """In whatever order it arrives: that it is open after all, and how it ended then."""
        for order in permutations([(), (("closed_at", second(70)), ("close_reason", "lost"))]):
            row = await world.charger(connectors=0)
            dead = uuid4()
            known = await connect(db, row, dead)
            await forget(db, dead)
            async with db.session() as session:
                connection = await raw_connection(session)
                for ended in order:
                    told = {"id": str(known.id), "charger_id": row.id, "opened_at": NOW, **dict(ended)}
                    told |= {"security_profile": 0, "process_id": str(dead)}
                    await write_facts(connection, presence.CONNECTION, [told])
                stored = await session.get(Connection, known.id, populate_existing=True)
                assert stored is not None
                assert (stored.closed_at, stored.close_reason) == (second(70), "lost"), order


class TestTheLeft:
    async def test_chargers_without_a_connection_are_offline_unless_the_last_one_has_just_ended(
        self, db: Database, world: World
    ) -> None:
        living = uuid4()
        left, just_left, stays, unheard = [
            await world.charger(connectors=0, online=True, presence_at=NOW) for _ in range(4)
        ]
        for row, closed_at in ((left, second(10)), (just_left, second(40)), (stays, None)):
            await connect(db, row, living, closed_at=closed_at)
        await connect(db, unheard, uuid4())  # of a process that is not known any more
        async with db.session() as session:
            session.add(CoreProcess(id=living, host="here", pid=1, shares=True, lease_seconds=30))
        async with db.session() as session:
            told = await presence.forget_the_left(session, second(60), second(30))
        assert sorted(told) == sorted([left.id, unheard.id])
        assert await online(db, left, just_left, stays, unheard) == [False, True, True, False]
        async with db.session() as session:
            assert await presence.forget_the_left(session, second(61), second(31)) == []


class TestProcesses:
    async def test_who_does_not_come_back_after_a_stop_is_offline_a_while_later(
        self, database_factory: Any, redis_url: str, tmp_path: Path
    ) -> None:
        shared = database_factory("stopping"), redis_url, tmp_path
        async with two_servers(*shared, ocpp_ping_interval=1.5) as pair:
            leaves, returns, elsewhere = [await pair.world.charger(connectors=0) for _ in range(3)]
            async with charger(pair.two.ws, elsewhere.id) as other:
                await other.boot()
                sockets = [await RawCharger.connect(pair.one.ws, row.id) for row in (leaves, returns)]
                for raw in sockets:
                    await raw.boot()

                async def all_online() -> bool:
                    return all(await online(pair.two.database, leaves, returns, elsewhere))

                await until(all_online)
                pair.one.server.stop()
                for raw in sockets:
                    assert (await raw.closed())[0] == 1001
                    await raw.close()
                async with charger(pair.two.ws, returns.id) as back:
                    await back.boot()

                    async def found() -> bool:
                        return await online(pair.two.database, leaves, returns, elsewhere) == [
                            False,
                            True,
                            True,
                        ]

                    await until(found)
                    answer = asyncio.create_task(pair.api_two.command(returns.id, "ClearCache"))
                    await back.answer(await back.next_call(), {"status": "Accepted"})
                    assert (await answer).json()["status"] == "Accepted"

    async def test_one_that_was_taken_for_dead_says_that_its_sockets_are_open(
        self, make_server: Any, redis_url: str
    ) -> None:
        async with make_server(redis_url=redis_url, ocpp_ping_interval=1.5) as server:
            world = World(server.database, server.settings, server.app.state.clock)
            row = await world.charger(connectors=0)
            process_id = server.app.state.gateway.process_id
            async with charger(server.ws, row.id) as raw:
                await raw.boot()

                async def is_online() -> bool:
                    return await online(server.database, row) == [True]

                await until(is_online)
                async with server.database.session() as session:
                    await session.execute(text("DELETE FROM core_process"))
                    buried = await presence.forget_the_dead(
                        session, server.app.state.clock.now(), [process_id]
                    )
                assert buried == [row.id]

                async def is_open() -> bool:
                    async with server.database.session() as session:
                        closed = await session.scalars(select(Connection.closed_at))
                        return closed.all() == [None] and await is_online()

                await until(is_open)
                assert "currentTime" in await raw.result("Heartbeat")

            async def is_offline() -> bool:
                return await online(server.database, row) == [False]

            await until(is_offline)

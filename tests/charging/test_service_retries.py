"""The same facts told again and again, in any order, give the same rows."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from tests.charging.teller import Teller, minutes
from tests.conftest import NOW, FrozenClock
from tests.world import World

from ohmstead.core.db import Database


@st.composite
def retried(draw: st.DrawFn) -> list[int]:
    """An order in which facts 0 to 7 come: each at least once, the first time in their order."""
    order = list(range(8))
    for _ in range(draw(st.integers(0, 8))):
        fact = draw(st.integers(0, 7))
        place = draw(st.integers(order.index(fact) + 1, len(order)))
        order.insert(place, fact)
    return order


async def everything(tell: Teller, names: dict[int, int]) -> list[Any]:
    """What is stored of a charger, without the ids and arrival times that are random by design."""
    async with tell.db.session() as session:
        sessions = await session.execute(
            text(
                "SELECT connector_id, started_at, stopped_at, meter_start, meter_stop, energy_wh, status,"
                " closed_by, stop_reason, unmatched, register_wh, last_sample_at, anomalies::text,"
                " ocpp_transaction_id FROM charging_session WHERE charger_id = :id"
            ),
            {"id": tell.charger.id},
        )
        values = await session.execute(
            text(
                "SELECT connector_id, sampled_at, register_wh, transaction_id FROM charging_meter_value"
                " WHERE charger_id = :id"
            ),
            {"id": tell.charger.id},
        )
        named = [(*row[:-1], names.get(row[-1], row[-1])) for row in (*sessions, *values)]
    return sorted(named, key=repr)


@pytest.mark.also_long(10)
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(order=retried())
async def test_retries_in_any_order_give_the_same_rows(
    db: Database, clock: FrozenClock, world: World, order: list[int]
) -> None:
    async def play(sequence: list[int]) -> list[Any]:
        clock.moment = NOW + timedelta(hours=3)
        tell = Teller(db, clock, await world.charger())
        ids: dict[int, int] = {}

        async def begin(fact: int, **start: Any) -> None:
            number = (await tell.start(**start)).session.ocpp_transaction_id
            assert number is not None
            # Every retry gets the same answer.
            assert ids.setdefault(fact, number) == number

        async def once(fact: int) -> None:
            match fact:
                case 0:
                    await begin(0, connector=1, meter=1000)
                case 1:
                    await tell.values(ids[0], (NOW + minutes(10), 2000), (NOW + minutes(20), 3000))
                case 2:
                    await begin(2, connector=2, meter=0)
                case 3:
                    await tell.values(ids[2], (NOW + minutes(15), 700), connector=2)
                case 4:
                    # The first session was never stopped: this one replaces it.
                    await begin(4, connector=1, meter=4000, at=NOW + minutes(40))
                case 5:
                    await tell.values(ids[4], (NOW + minutes(50), 4600))
                case 6:
                    await tell.stop(7, meter=1)
                case 7:
                    await tell.values(ids[0], (NOW + minutes(30), 3500))

        for fact in sequence:
            await once(fact)
            clock.advance(1)
        for number in (ids[2], ids[4], ids[2], ids[4]):
            await tell.stop(number, meter=5000)
        return await everything(tell, {number: fact for fact, number in ids.items()})

    assert await play(order) == await play(list(range(8)))

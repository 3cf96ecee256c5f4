"""The page behind the code of a sticker, as a driver sees it who stands before the charger."""

from typing import Any

import httpx
import pytest
from tests.world import World

from ohmstead.fleet.onboarding.stickers import connector_url
from ohmstead.stations.models import Connector


async def connector(world: World, told: str | None = None, **fields: Any) -> str:
    """Make a connector at a station with a telephone; returns the path of its sticker."""
    station = await world.station(
        name="Harbour <east>", address="Quay 1", city="Lisbon", support_phone="+351 21 000", **fields
    )
    charger = await world.charger(
        station, "DE*ABC/1", connectors=0, name="Quay & co", online=True, free_vend=told == "Faulted"
    )
    await world.add(
        Connector(charger_id=charger.id, connector_id=2, type="CCS", max_power_kw=150, status=told)
    )
    return connector_url("", charger.id, 2)


async def test_it_says_where_one_stands_how_it_is_how_to_begin_and_whom_to_call(
    client: httpx.AsyncClient, world: World
) -> None:
    answer = await client.get(await connector(world, "Available"))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    for text in (
        "Quay &amp; co, connector 2",
        "Harbour &lt;east&gt;",
        "It is free.",
        "CCS · 150 kW",
        "Hold your charging card",
        'href="tel:+35121000"',
        "DE*ABC/1",
    ):
        assert text in answer.text
    assert "<script" not in answer.text


@pytest.mark.parametrize(
    ("status", "says", "begins"),
    [
        ("Charging", "A car is charging here.", False),
        ("Faulted", "It is out of order.", False),
        ("Reserved", "It is reserved for somebody.", False),
        ("Finishing", "A car has finished here", True),
        (None, "It is free.", True),
    ],
)
async def test_it_says_whether_one_can_charge_now(
    client: httpx.AsyncClient, world: World, status: str | None, says: str, begins: bool
) -> None:
    text = (await client.get(await connector(world, status))).text
    assert says in text
    assert ("Plug the cable into your car." in text) is begins


async def test_a_charger_that_is_away_and_a_station_that_is_closed_are_told(
    client: httpx.AsyncClient, world: World
) -> None:
    closed = await connector(world, "Available", status="Maintenance")
    assert "This station is closed." in (await client.get(closed)).text
    away = await world.charger(online=False, free_vend=True)
    text = (await client.get(connector_url("", away.id, 1))).text
    assert "no connection to this charger" in text
    assert "no card is needed here" in text


@pytest.mark.parametrize(
    "path",
    ["DE*ABC%2F1/1", "DE*ABC%2F1/0", "DE*ABC%2F1/x", "%00/2", "DE*ABC%2F1/99999", "é/²"],
)
async def test_what_is_no_sticker_of_ours_is_not_found_in_words(
    client: httpx.AsyncClient, world: World, path: str
) -> None:
    await connector(world)
    answer = await client.get(f"/c/{path}")
    assert (answer.status_code, "No charging point in service" in answer.text) == (404, True)


async def test_a_retired_one_and_one_that_nobody_adopted_are_none(
    client: httpx.AsyncClient, world: World
) -> None:
    now = world.clock.now()
    states: list[dict[str, Any]] = [{"retired_at": now}, {"unregistered_since": now}]
    for state in states:
        charger = await world.charger(**state)
        assert (await client.get(connector_url("", charger.id, 1))).status_code == 404

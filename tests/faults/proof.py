"""The proof of every fault test: the database holds what was acknowledged, each fact exactly once."""

from collections import Counter
from typing import Any

import psycopg
from tests.faults.fleet import Ledger


async def rows(url: str, query: str, *parameters: object) -> list[tuple[Any, ...]]:
    """Ask over a connection of its own: what it sees is committed."""
    async with await psycopg.AsyncConnection.connect(url, options="-c timezone=UTC") as connection:
        return await (await connection.execute(query.encode(), parameters or None)).fetchall()


async def prove(url: str, ledger: Ledger) -> None:
    """Compare the database with the ledger of a fleet that has finished, fact by fact."""
    assert ledger.sessions
    assert ledger.values

    found = await rows(
        url,
        "SELECT charger_id, connector_id, started_at, ocpp_transaction_id, meter_start, meter_stop,"
        " stopped_at, energy_wh, status, closed_by, stop_reason, unmatched, anomalies FROM charging_session",
    )
    expected = {
        (
            *key,
            account.transaction,
            account.meter_start,
            account.meter_stop,
            account.stopped_at,
            None if account.meter_stop is None else account.meter_stop - account.meter_start,
        )
        for key, account in ledger.sessions.items()
    }
    same("sessions", [row[:8] for row in found], expected)
    assert {row[8:12] for row in found} == {("Completed", "charger", "EVDisconnected", False)}
    assert all(row[12] == [] for row in found), [row for row in found if row[12]]

    values = await rows(
        url,
        "SELECT charger_id, connector_id, transaction_id, sampled_at, register_wh FROM charging_meter_value",
    )
    same("meter values", values, ledger.values)
    statuses = await rows(url, "SELECT charger_id, connector_id, at, status FROM stations_status_event")
    same("statuses", statuses, ledger.statuses)
    connectors = await rows(url, "SELECT status FROM stations_connector WHERE connector_id > 0")
    assert {status for (status,) in connectors} == {"Available"}


def same(what: str, found: list[tuple[Any, ...]], expected: set[tuple[Any, ...]]) -> None:
    """Each expected fact once, and no other."""
    counted = Counter(found)
    assert [row for row, count in counted.items() if count > 1] == [], f"{what} that are there twice"
    lost, foreign = expected - counted.keys(), counted.keys() - expected
    assert not lost, f"{len(lost)} of {len(expected)} acknowledged {what} are lost: {sorted(lost)[:3]}"
    assert not foreign, f"{len(foreign)} {what} that nobody was told of: {sorted(foreign)[:3]}"

"""Who is connected, as the database knows it: one row per connection, and `online` of each charger."""

from datetime import datetime
from typing import Any

import orjson
import psycopg
from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.core.http import utc_z
from ohmstead.core.jobs import emit
from ohmstead.gateway.models import Connection
from ohmstead.stations.models import Charger

CHARGER_WENT_OFFLINE = "ChargerWentOffline"
CHARGER_CAME_ONLINE = "ChargerCameOnline"

OPENED = """
INSERT INTO gateway_connection (id, charger_id, opened_at, address, subprotocol, security_profile)
SELECT id, charger_id, opened_at, address, subprotocol, security_profile
  FROM json_to_recordset(%s::json) AS row(id uuid, charger_id text, opened_at timestamptz, address text,
       subprotocol text, security_profile int)
    ON CONFLICT DO NOTHING
"""

CLOSED = """
UPDATE gateway_connection AS connection
   SET closed_at = row.closed_at, close_code = row.close_code, close_reason = row.close_reason
  FROM json_to_recordset(%s::json) AS row(id uuid, closed_at timestamptz, close_code int, close_reason text)
 WHERE connection.id = row.id AND connection.closed_at IS NULL
"""

SEEN = """
UPDATE stations_charger AS charger
   SET online = row.online, last_seen = greatest(charger.last_seen, row.last_seen)
  FROM json_to_recordset(%s::json) AS row(charger_id text, online boolean, last_seen timestamptz)
 WHERE charger.id = row.charger_id
"""


async def write_opened(connection: psycopg.AsyncConnection[Any], rows: list[dict[str, Any]]) -> None:
    """Insert a row for each new connection."""
    await connection.execute(OPENED, [orjson.dumps(rows).decode()])


async def write_closed(connection: psycopg.AsyncConnection[Any], rows: list[dict[str, Any]]) -> None:
    """Say of each connection when and why it ended."""
    await connection.execute(CLOSED, [orjson.dumps(rows).decode()])


async def write_seen(connection: psycopg.AsyncConnection[Any], rows: list[dict[str, Any]]) -> None:
    """Write whether chargers are online and when they were last heard; the last row of each counts."""
    last = {row["charger_id"]: row for row in rows}
    ordered = [last[key] for key in sorted(last)]
    await connection.execute(SEEN, [orjson.dumps(ordered).decode()])


async def went_offline(session: AsyncSession, charger_id: str, connection_id: str, at: datetime) -> None:
    """Publish the fact that a charger has left."""
    await emit(
        session, CHARGER_WENT_OFFLINE, charger_id=charger_id, connection_id=connection_id, at=utc_z(at)
    )


async def forget_the_dead(session: AsyncSession, now: datetime) -> int:
    """At the start: end the connections of a server that was killed, and take its chargers as offline.

    Those that were online are published as gone; they have until the alert to come back.
    """
    await session.execute(
        update(Connection)
        .where(Connection.closed_at.is_(None))
        .values(closed_at=now, close_code=1006, close_reason="the server ended without closing it")
    )
    gone = (
        await session.scalars(select(Charger.id).where(Charger.online.is_(True)).order_by(Charger.id))
    ).all()
    await session.execute(update(Charger).where(Charger.online.is_(True)).values(online=False))
    for charger_id in gone:
        await went_offline(session, charger_id, "", now)
    return len(gone)


async def trim_refusals(session: AsyncSession, keep: int) -> None:
    """Keep the newest refusals only."""
    await session.execute(
        text(
            "DELETE FROM gateway_refusal WHERE id <= (SELECT max(id) FROM gateway_refusal) - :keep"
            " OR id < (SELECT coalesce(min(id), 0) FROM"
            " (SELECT id FROM gateway_refusal ORDER BY id DESC LIMIT :keep) AS newest)"
        ),
        {"keep": keep},
    )

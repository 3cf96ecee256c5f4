"""Who is connected, as the database knows it: one row per connection, and `online` of each charger."""

from datetime import datetime

from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.core.facts import FactKind
from ohmstead.core.http import utc_z
from ohmstead.core.jobs import emit
from ohmstead.gateway.models import Connection
from ohmstead.stations.models import Charger

CHARGER_WENT_OFFLINE = "ChargerWentOffline"
CHARGER_CAME_ONLINE = "ChargerCameOnline"

CONNECTIONS = """
INSERT INTO gateway_connection AS known
       (id, charger_id, opened_at, address, subprotocol, security_profile, closed_at, close_code,
        close_reason)
SELECT id, charger_id, opened_at, address, subprotocol, security_profile, closed_at, close_code,
       close_reason
  FROM json_to_recordset(%s::json) AS row(id uuid, charger_id text, opened_at timestamptz, address text,
       subprotocol text, security_profile int, closed_at timestamptz, close_code int, close_reason text)
    ON CONFLICT (id) DO UPDATE
   SET closed_at = excluded.closed_at, close_code = excluded.close_code,
       close_reason = excluded.close_reason
 WHERE known.closed_at IS NULL AND excluded.closed_at IS NOT NULL
"""

SEEN = """
UPDATE stations_charger AS charger
   SET online = row.online, last_seen = greatest(charger.last_seen, row.last_seen), presence_at = row.at
  FROM json_to_recordset(%s::json) AS row(charger_id text, online boolean, last_seen timestamptz,
       at timestamptz)
 WHERE charger.id = row.charger_id AND (charger.presence_at IS NULL OR charger.presence_at <= row.at)
"""

CONNECTION = FactKind("connection", (CONNECTIONS,), identity=lambda row: row["id"], latest=(True,))
"""A connection: from where and when, and once it has ended, when and why."""

CHARGER_SEEN = FactKind("charger seen", (SEEN,), identity=lambda row: row["charger_id"], latest=(True,))
"""Whether a charger is online, and when it was last heard; `at` is when that was so."""


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

"""Who is connected, as the database knows it: one row per connection, and `online` of each charger."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, String, any_, literal, select, text, true, update
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.core.db import publish
from ohmstead.core.facts import FactKind
from ohmstead.core.http import utc_z
from ohmstead.core.jobs import emit
from ohmstead.core.live import Event, Topic
from ohmstead.core.processes import CoreProcess
from ohmstead.gateway.models import Connection
from ohmstead.stations.models import Charger

T = TypeVar("T")

CHARGERS_WENT_OFFLINE = "ChargersWentOffline"
CHARGERS_CAME_ONLINE = "ChargersCameOnline"
AT_ONCE = 500
"""How many chargers one fact names at most: a cut of the network sends thousands away at the same moment."""
KILLED = "the server ended without closing it"

CONNECTIONS = f"""
INSERT INTO gateway_connection AS known
       (id, charger_id, opened_at, address, subprotocol, security_profile, process_id, closed_at,
        close_code, close_reason)
SELECT id, charger_id, opened_at, address, subprotocol, security_profile, process_id, closed_at, close_code,
       close_reason
  FROM json_to_recordset(%s::json) AS row(id uuid, charger_id text, opened_at timestamptz, address text,
       subprotocol text, security_profile int, process_id uuid, closed_at timestamptz, close_code int,
       close_reason text)
    ON CONFLICT (id) DO UPDATE
   SET closed_at = excluded.closed_at, close_code = excluded.close_code,
       close_reason = excluded.close_reason
 WHERE (known.closed_at IS NULL AND excluded.closed_at IS NOT NULL) OR known.close_reason = '{KILLED}'
"""  # noqa: S608 # the reason is ours

SEEN = """
UPDATE stations_charger AS charger
   SET online = row.online, last_seen = greatest(charger.last_seen, row.last_seen), presence_at = row.at,
       presence_since = row.since
  FROM json_to_recordset(%s::json) AS row(charger_id text, online boolean, last_seen timestamptz,
       since timestamptz, at timestamptz)
 WHERE charger.id = row.charger_id
   AND (charger.presence_at IS NULL
        OR (coalesce(charger.presence_since, '-infinity'), charger.presence_at) <= (row.since, row.at))
"""

CONNECTION = FactKind("connection", (CONNECTIONS,), identity=lambda row: row["id"], latest=(True,))
"""A connection: from where and when, and once it has ended, when and why.

What its own process says of it holds, if the others took that for dead: that it is open, or how it ended.
"""

CHARGER_SEEN = FactKind("charger seen", (SEEN,), identity=lambda row: row["charger_id"], latest=(True,))
"""Whether a charger is online, and when it was last heard; `at` is when that was so.

`since` is when the socket that says so became the charger's own. What an older socket says, late, about
itself is not believed, in whatever order and from whatever process it arrives.
"""

OFFLINE, ONLINE = "charger.offline", "charger.online"
"""The live events of a charger that has gone, or come."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A charger as far as its coming and going is told to who watches."""

    id: str
    backoffice_id: UUID | None
    station_id: UUID | None
    last_seen: datetime | None


@dataclass(slots=True)
class News:
    """Chargers that have left (which, by the end of which connection, when) and come since the last time."""

    gone: list[tuple[str, str, datetime]] = field(default_factory=list)
    back: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.gone or self.back)

    async def publish(self, session: AsyncSession) -> None:
        """Publish the facts: who has subscribed to them has one job for all, not one for each."""
        for some in _parts(self.gone):
            gone = [
                {"charger_id": charger_id, "connection_id": connection_id, "at": utc_z(at)}
                for charger_id, connection_id, at in some
            ]
            await emit(session, CHARGERS_WENT_OFFLINE, gone=gone)
        for charger_ids in _parts(self.back):
            await emit(session, CHARGERS_CAME_ONLINE, charger_ids=charger_ids)


def _parts(whole: list[T]) -> Iterator[list[T]]:
    return (whole[first : first + AT_ONCE] for first in range(0, len(whole), AT_ONCE))


async def forget_the_dead(
    session: AsyncSession, now: datetime, dead: Sequence[UUID] | None = None
) -> list[str]:
    """End the connections of processes that are dead (None: of all), and take their chargers as offline.

    Those that were online, and have no connection to another process by now, are published as gone; they
    have until the alert to come back. So are those that a process sent away when it was stopped, if they
    did not come back elsewhere. Returns the chargers whose connections were ended.
    """
    theirs: ColumnElement[bool] = true() if dead is None else Connection.process_id.in_(dead)
    ended = await session.scalars(
        update(Connection)
        .where(Connection.closed_at.is_(None), theirs)
        .values(closed_at=now, close_code=1006, close_reason=KILLED)
        .returning(Connection.charger_id)
    )
    held = sorted(set(ended))
    await _take_offline(session, now)
    return held


async def forget_the_left(session: AsyncSession, now: datetime, before: datetime) -> list[str]:
    """Take chargers as offline whose last connection ended before `before`, and nobody has said so.

    As after a process was killed before it could, or when an older socket was the last to end. Connections
    of processes that are no more, and of which nobody was told, are ended too.
    """
    await session.execute(
        update(Connection)
        .where(
            Connection.closed_at.is_(None),
            Connection.opened_at < before,
            Connection.process_id.is_not(None),
            Connection.process_id.not_in(select(CoreProcess.id)),
        )
        .values(closed_at=now, close_code=1006, close_reason=KILLED)
    )
    return await _take_offline(session, now, before)


async def offline(session: AsyncSession, charger_ids: Sequence[str]) -> dict[str, datetime | None]:
    """Return those of some chargers that are taken as offline: each with `presence_since`."""
    rows = await session.execute(
        select(Charger.id, Charger.presence_since).where(
            Charger.id == any_(literal(list(charger_ids), ARRAY(String))), Charger.online.is_(False)
        )
    )
    return {row.id: row.presence_since for row in rows}


async def _take_offline(session: AsyncSession, now: datetime, before: datetime | None = None) -> list[str]:
    """Take chargers as offline that have no connection, and had none since `before`; tell and return them."""
    theirs = Connection.charger_id == Charger.id
    away = ~select(Connection.id).where(theirs, Connection.closed_at.is_(None)).exists()
    lost = (await session.scalars(select(Charger.id).where(Charger.online.is_(True), away))).all()
    if not lost:
        return []
    if before is not None:
        # But those that ended with their process were away long before that was noticed.
        later = (Connection.closed_at >= before) & Connection.close_reason.is_distinct_from(KILLED)
        away &= ~select(Connection.id).where(theirs, later).exists()
    away &= Charger.id == any_(literal(lost, ARRAY(String)))
    # Held first and looked at again: one of them may just have been written as connected elsewhere.
    held = select(Charger.id).where(Charger.online.is_(True), away).order_by(Charger.id)
    lost = (await session.scalars(held.with_for_update(key_share=True))).all()
    left = await session.execute(
        update(Charger)
        .where(Charger.id == any_(literal(lost, ARRAY(String))), away)
        .values(online=False, presence_at=now)
        .returning(Charger.id, Charger.backoffice_id, Charger.station_id, Charger.last_seen)
    )
    gone = [Shown(*row) for row in left]
    await News(gone=[(one.id, "", now) for one in gone]).publish(session)
    for one in gone:
        publish(session, presence_event(one, online=False))
    return [one.id for one in gone]


def presence_event(charger: Shown, *, online: bool) -> Event:
    """Return the live event of a charger that has come or gone."""
    data = {
        "id": charger.id,
        "station_id": str(charger.station_id) if charger.station_id else None,
        "online": online,
        "last_seen": None if charger.last_seen is None else utc_z(charger.last_seen),
    }
    kind = ONLINE if online else OFFLINE
    return Event(Topic.CHARGERS, kind, data, charger.backoffice_id, charger.station_id)


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

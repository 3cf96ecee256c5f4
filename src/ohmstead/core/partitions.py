"""Tables that are partitioned by day: partitions made ahead, and dropped when their time is over.

A DEFAULT partition takes what has an absurd clock, and anything for which no day was made in time;
such rows are moved when their day is made, so that nothing is lost or refused.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

DAYS_AHEAD = 3
DAYS_BEHIND = 1


@dataclass(frozen=True, slots=True)
class Partitioned:
    """A table, the column of its day, the column that tells its age, and how long it is kept."""

    table: str
    column: str
    received: str
    keep_days: int

    def partition(self, day: date) -> str:
        """Return the name of a day's partition."""
        return f"{self.table}_p_{day:%Y%m%d}"


async def maintain(session: AsyncSession, table: Partitioned, today: date) -> None:
    """Make the days around today, and drop those older than `keep_days`.

    Rows of the DEFAULT partition go by the day on which they arrived: a charger that believes in
    1970 keeps its values as long as every other.
    Two servers that do it at once wait for each other.
    """
    await session.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended('partitions:' || :table, 0))"),
        {"table": table.table},
    )
    existing = await _days(session, table)
    for offset in range(-DAYS_BEHIND, DAYS_AHEAD + 1):
        day = today + timedelta(days=offset)
        if day not in existing:
            await _make(session, table, day)
    oldest = today - timedelta(days=table.keep_days)
    for day in sorted(existing):
        if day < oldest:
            await session.execute(text(f"DROP TABLE {table.partition(day)}"))
    limit = datetime(oldest.year, oldest.month, oldest.day, tzinfo=UTC)
    await session.execute(
        text(f"DELETE FROM {table.table}_p_default WHERE {table.received} < :limit"),  # noqa: S608 # names are ours
        {"limit": limit},
    )


async def _days(session: AsyncSession, table: Partitioned) -> set[date]:
    rows = await session.execute(
        text(
            "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
            " WHERE i.inhparent = CAST(:parent AS regclass)"
        ),
        {"parent": table.table},
    )
    suffixes = (str(name).rsplit("_p_", 1)[-1] for (name,) in rows)
    return {
        datetime.strptime(suffix, "%Y%m%d").replace(tzinfo=UTC).date()
        for suffix in suffixes
        if suffix.isdigit()
    }


async def _make(session: AsyncSession, table: Partitioned, day: date) -> None:
    """Make one day, taking over what the DEFAULT partition holds of it.

    The table is made on its own and attached, which locks out nobody for long; the rows are moved in
    the same transaction, so a reader sees each of them exactly once.
    """
    name = table.partition(day)
    bounds = {"first": f"{day}T00:00:00Z", "next": f"{day + timedelta(days=1)}T00:00:00Z"}
    within = f"{table.column} >= CAST(:first AS timestamptz) AND {table.column} < CAST(:next AS timestamptz)"
    await session.execute(
        text(f"CREATE TABLE IF NOT EXISTS {name} (LIKE {table.table} INCLUDING DEFAULTS INCLUDING GENERATED)")
    )
    await session.execute(text(f"LOCK TABLE {table.table}_p_default IN ACCESS EXCLUSIVE MODE"))
    await session.execute(
        text(
            f"WITH moved AS (DELETE FROM {table.table}_p_default WHERE {within} RETURNING *)"  # noqa: S608 # names are ours
            f" INSERT INTO {name} SELECT * FROM moved"
        ),
        bounds,
    )
    await session.execute(
        text(
            f"ALTER TABLE {table.table} ATTACH PARTITION {name}"
            f" FOR VALUES FROM ('{bounds['first']}') TO ('{bounds['next']}')"
        )
    )

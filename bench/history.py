"""`python -m bench --history`: two years of sessions and meter values, and how long reading them takes.

The rows are made by PostgreSQL itself, in the tables and partitions of a real server; what is measured is the
admin API over HTTP, on one connection, each question with other chargers and sessions.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median

import psycopg
from psycopg import sql

from bench.charger import identity
from bench.ohmstead_server import OhmsteadServer

TARGET_MS = 200.0
ASKED = 200
"""How often each question is asked."""

Say = Callable[[str], None]

PARTITION = """
CREATE TABLE {name} (LIKE charging_meter_value INCLUDING DEFAULTS INCLUDING GENERATED);
ALTER TABLE charging_meter_value ATTACH PARTITION {name} FOR VALUES FROM ({first}) TO ({next})"""

SESSIONS = """
INSERT INTO charging_session (id, ocpp_transaction_id, charger_id, station_id, backoffice_id, connector_id,
       id_tag, status, occurred_at, received_at, started_at, stopped_at, closed_at, closed_by, meter_start,
       meter_stop, energy_wh, stop_reason, last_sample_at, register_wh)
SELECT gen_random_uuid(), %(day)s::int * %(chargers)s::int + row_number() OVER (ORDER BY charger.id),
       charger.id, charger.station_id, charger.backoffice_id, 1, 'TAG' || (hashtext(charger.id) %% 500),
       'Completed', begin, begin, begin, begin + interval '40 min', begin + interval '40 min', 'Charger', 0,
       14667, 14667, 'Local', begin + interval '38 min', 14667
  FROM stations_charger charger,
       LATERAL (SELECT %(first)s::timestamptz
                       + (abs(hashtext(charger.id || %(day)s)) %% 80000) * interval '1 s' AS begin) AS at
 WHERE (abs(hashtext(charger.id))::bigint + %(day)s) %% %(every)s = 0"""

VALUES = """
INSERT INTO charging_meter_value (charger_id, connector_id, transaction_id, sampled_at, digest, received_at,
       register_wh, power_w, soc_percent, sampled_values)
SELECT session.charger_id, 1, session.ocpp_transaction_id, session.started_at + number * interval '2 min',
       number, session.started_at + number * interval '2 min', number * 733, 22000, 20 + number,
       '[{{"value": "733.0", "unit": "Wh"}}, {{"value": "22000", "unit": "W",
           "measurand": "Power.Active.Import"}}]'::jsonb
  FROM charging_session session, generate_series(0, {samples} - 1) AS number
 WHERE session.occurred_at >= %(first)s AND session.occurred_at < %(next)s"""


@dataclass(frozen=True, slots=True)
class HistoryPlan:
    """How much history: `every` says on which days a charger has its session (2: every other one)."""

    chargers: int = 2000
    days: int = 730
    every: int = 2
    samples: int = 20


@dataclass(frozen=True, slots=True)
class Asked:
    """One question with its times in ms."""

    question: str
    p50: float
    p99: float
    worst: float


class HistoryServer(OhmsteadServer):
    """A server whose database has a past."""

    def __init__(self, plan: HistoryPlan, say: Say) -> None:
        super().__init__(n=plan.chargers)
        self.plan = plan
        self._say = say
        self.rows = 0
        self.size = ""

    def _prepare(self) -> None:
        super()._prepare()
        began = time.monotonic()
        today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute("SET synchronous_commit = off")
            for day in range(self.plan.days, 0, -1):
                self._past(connection, day, today - timedelta(days=day))
                if day % 73 == 0:
                    self._say(f"history: {100 - 100 * day // self.plan.days} % made")
            connection.execute("ANALYZE")
            found = connection.execute("SELECT count(*) FROM charging_meter_value").fetchone()
            size = connection.execute(
                "SELECT pg_size_pretty(pg_database_size(current_database()))"
            ).fetchone()
        self.rows, self.size = int(found[0]) if found else 0, str(size[0]) if size else ""
        self._say(f"history: {self.rows} meter values, {self.size}, in {time.monotonic() - began:.0f} s")

    def _past(self, connection: psycopg.Connection[tuple[object, ...]], day: int, first: datetime) -> None:
        bounds = {"first": first, "next": first + timedelta(days=1)}
        names = {
            "name": sql.Identifier(f"charging_meter_value_p_{first:%Y%m%d}"),
            "first": sql.Literal(bounds["first"]),
            "next": sql.Literal(bounds["next"]),
        }
        known = connection.execute(
            "SELECT to_regclass(%s)", [f"charging_meter_value_p_{first:%Y%m%d}"]
        ).fetchone()
        if known is None or known[0] is None:
            connection.execute(sql.SQL(PARTITION).format(**names))
        plan = self.plan
        connection.execute(SESSIONS, {**bounds, "day": day, "chargers": plan.chargers, "every": plan.every})
        connection.execute(sql.SQL(VALUES).format(samples=sql.Literal(plan.samples)), bounds)


async def history(plan: HistoryPlan, say: Say) -> tuple[list[Asked], str]:
    """Make the history and ask the questions; returns their times, and what they were asked of."""
    async with HistoryServer(plan, say) as server:
        chooser = random.Random(7)  # which rows are asked for, no secret
        page = await server.api.get("/api/admin/transactions?limit=500")
        recent = [row["id"] for row in page["items"]]
        old = datetime.now(UTC) - timedelta(days=plan.days - 5)
        page = await server.api.get(f"/api/admin/transactions?limit=500&to={old:%Y-%m-%dT%H:%M:%SZ}")
        ancient = [row["id"] for row in page["items"]]
        stations = [one["id"] for one in (await server.api.get("/api/admin/stations?limit=500"))["items"]]

        def charger() -> str:
            return identity(chooser.randrange(plan.chargers))

        def month() -> str:
            begin = datetime.now(UTC) - timedelta(days=chooser.randrange(40, plan.days - 5))
            end = begin + timedelta(days=30)
            return f"from={begin:%Y-%m-%dT%H:%M:%SZ}&to={end:%Y-%m-%dT%H:%M:%SZ}"

        questions: dict[str, Callable[[], str]] = {
            "the newest sessions": lambda: "/transactions",
            "sessions of a charger": lambda: f"/transactions?charger={charger()}",
            "sessions of a station in a month": lambda: (
                f"/transactions?station={chooser.choice(stations)}&{month()}"
            ),
            "sessions of a month": lambda: f"/transactions?{month()}",
            "one session": lambda: f"/transactions/{chooser.choice(recent)}",
            "meter values of a session of today": lambda: (
                f"/transactions/{chooser.choice(recent)}/meter-values"
            ),
            "meter values of a session two years ago": lambda: (
                f"/transactions/{chooser.choice(ancient)}/meter-values"
            ),
            "plot of a session of today": lambda: (
                f"/transactions/{chooser.choice(recent)}/meter-values?points=200"
            ),
            "plot of a session two years ago": lambda: (
                f"/transactions/{chooser.choice(ancient)}/meter-values?points=200"
            ),
        }
        asked = []
        for question, path in questions.items():
            times = []
            for _ in range(ASKED):
                began = time.perf_counter()
                await server.api.get(f"/api/admin{path()}")
                times.append((time.perf_counter() - began) * 1000)
            times.sort()
            asked.append(Asked(question, median(times), times[-1 - ASKED // 100], times[-1]))
            say(f"{question}: p50 {asked[-1].p50:.1f} ms, p99 {asked[-1].p99:.1f} ms")
        about = f"{plan.chargers:,} chargers, {server.rows:,} meter values of {plan.days} days, {server.size}"
        return asked, about


def history_table(asked: list[Asked], about: str) -> str:
    """Write the table of the docs."""
    width = max(len(one.question) for one in asked)
    lines = [
        f"Asked of: {about}.",
        "",
        f"| {'question':{width}} | p50, ms | p99, ms | worst, ms | target      | met |",
        f"| {'-' * width} | ------: | ------: | --------: | ----------- | --- |",
    ]
    for one in asked:
        met = "yes" if one.p99 < TARGET_MS else "no"
        figures = f"{one.p50:7.1f} | {one.p99:7.1f} | {one.worst:9.1f}"
        lines.append(f"| {one.question:{width}} | {figures} | p99 < 200   | {met:3} |")
    return "\n".join(lines)

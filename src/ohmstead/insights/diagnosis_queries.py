"""The evidence of the diagnosis: one statement for each kind, for one charger or for all of them.

In SQL, since the log of messages, connections and refusals belongs to the gateway, which stands above. Each
is bounded: by the window, by an index of it, and by the number of rows that are looked at.
"""

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.insights.diagnosis import Evidence, Example, FindingKind, drift_of

KEPT = 5
SETTLING = timedelta(minutes=15)
"""A charger may be silent for so long after its boot."""
BEGINNING = datetime.min.replace(tzinfo=UTC)
QUIET = timedelta(hours=1)
"""A session may be silent for so long."""

GATHER = """
WITH seen AS (SELECT * FROM ({cases}) AS cases ORDER BY at DESC LIMIT 100000),
counted AS (
    SELECT *, row_number() OVER (PARTITION BY charger_id ORDER BY at DESC, id DESC) AS place,
           count(*) OVER (PARTITION BY charger_id, date_bin('1 hour', at, CAST(:since AS timestamptz)))
               AS in_hour
      FROM seen
)
SELECT charger_id, count(*) AS count, min(at) AS first_at, max(at) AS last_at, max(in_hour) AS in_hour,
       (array_agg(DISTINCT label))[1:20] AS labels,
       json_agg(json_build_object('of', of, 'id', id, 'at', at, 'detail', detail) ORDER BY place)
           FILTER (WHERE place <= 5) AS examples
  FROM counted
 GROUP BY charger_id
"""

REFUSALS = """
SELECT charger.id AS charger_id, refusal.at, 'refusal' AS of, refusal.id::text AS id,
       concat(refusal.reason, ' from ', refusal.address) AS detail, refusal.reason AS label
  FROM gateway_refusal refusal
  JOIN stations_charger charger ON charger.id = refusal.charger_id
   AND refusal.backoffice_id IS NOT DISTINCT FROM charger.backoffice_id
 WHERE refusal.at >= :since AND {wanted}
"""

FAULTS = """
SELECT charger.id AS charger_id, message.received_at AS at, 'message' AS of, message.id::text AS id,
       concat_ws(' ', message.action, message.error_code, message.note,
                 left(message.response, 300)) AS detail,
       concat_ws(' ', message.action, message.error_code) AS label
  FROM gateway_message message JOIN stations_charger charger ON charger.id = message.charger_id
 WHERE message.received_at >= :since AND message.error_code IS NOT NULL AND message.direction = 'in'
   AND message.error_code IN ('FormationViolation', 'FormatViolation', 'PropertyConstraintViolation',
       'OccurenceConstraintViolation', 'OccurrenceConstraintViolation', 'TypeConstraintViolation',
       'ProtocolError', 'NotImplemented', 'NotSupported', '1002', '1003', '1007', '1009')
"""

RULED = """
SELECT charger.id AS charger_id, session.closed_at AS at, 'session' AS of, session.id::text AS id,
       concat('transaction ', session.ocpp_transaction_id, ' closed as ', session.stop_reason) AS detail,
       session.stop_reason AS label
  FROM charging_session session JOIN stations_charger charger ON charger.id = session.charger_id
   AND session.backoffice_id IS NOT DISTINCT FROM charger.backoffice_id
 WHERE session.closed_by = 'rule' AND session.closed_at >= :since
"""

JUMPS = """
SELECT charger.id AS charger_id, session.received_at AS at, 'session' AS of, session.id::text AS id,
       concat('transaction ', session.ocpp_transaction_id, ': ', notes.kinds) AS detail,
       notes.kinds AS label
  FROM charging_session session JOIN stations_charger charger ON charger.id = session.charger_id
   AND session.backoffice_id IS NOT DISTINCT FROM charger.backoffice_id
 CROSS JOIN LATERAL (
       SELECT string_agg(DISTINCT note ->> 'kind', ' and ') AS kinds
         FROM jsonb_array_elements(session.anomalies) note
        WHERE note ->> 'kind' IN ('register_reset', 'register_jump', 'register_backwards',
              'register_unreadable', 'unit_mix', 'start_above_samples', 'stop_below_samples')) AS notes
 WHERE session.received_at >= :since AND session.anomalies <> '[]' AND notes.kinds IS NOT NULL
"""

OURS = """
    'the server stops', 'the database is away: come back later', 'the server ended without closing it',
    'the charger''s settings changed', 'the charger was adopted: boot again', 'the charger is retired',
    'the charger was deleted', 'nobody has adopted this charger',
    'its station belongs to another business now'
"""
"""How we end connections ourselves: nobody's flapping."""

ENDED = """
SELECT charger.id AS charger_id, ended.closed_at AS at, 'connection' AS of, ended.id::text AS id,
       concat_ws(' ', ended.close_code, ended.close_reason, 'after',
                 round(extract(epoch FROM ended.closed_at - ended.opened_at)), 's') AS detail,
       coalesce(ended.close_code::text, 'no code') AS label
  FROM stations_charger charger
 CROSS JOIN LATERAL (
       SELECT * FROM gateway_connection connection
        WHERE connection.charger_id = charger.id AND connection.opened_at >= :since
          AND connection.closed_at IS NOT NULL
          AND coalesce(connection.close_reason, '') NOT IN ({ours})
          AND NOT starts_with(coalesce(connection.close_reason, ''), 'subprotocol not supported')
        ORDER BY connection.opened_at DESC LIMIT 2000) AS ended
 WHERE true
""".replace("{ours}", OURS)

UNNAMED = """
SELECT charger.id AS charger_id, connection.opened_at AS at, 'connection' AS of,
       connection.id::text AS id, 'no subprotocol offered' AS detail, '' AS label
  FROM stations_charger charger JOIN gateway_connection connection ON connection.charger_id = charger.id
 WHERE connection.opened_at >= :since AND connection.subprotocol IS NULL
   AND NOT starts_with(coalesce(connection.close_reason, ''), 'subprotocol not supported')
   AND NOT EXISTS (SELECT 1 FROM stations_observation observation
                    CROSS JOIN LATERAL jsonb_array_elements(observation.examples) example
                    WHERE observation.charger_id = charger.id AND observation.kind = 'WrongSubprotocol'
                      AND example ->> 'id' = connection.id::text)
"""

REUSED = """
SELECT charger.id AS charger_id, repeated.received_at AS at, 'message' AS of, repeated.id::text AS id,
       concat_ws(' ', repeated.action, 'with the id', repeated.message_id) AS detail, '' AS label
  FROM stations_charger charger
 CROSS JOIN LATERAL (
       SELECT *, row_number() OVER (PARTITION BY connection_id, message_id ORDER BY received_at, id) AS turn
         FROM (SELECT * FROM gateway_message message
                WHERE message.charger_id = charger.id AND message.received_at >= :since
                  AND message.direction = 'in' AND message.message_id IS NOT NULL
                ORDER BY message.received_at DESC, message.id DESC LIMIT 2000) AS newest) AS repeated
 WHERE repeated.turn > 1
"""
"""The newest 2,000 messages only: for one charger, never for all of them."""

SILENT = """
SELECT charger.id AS charger_id,
       coalesce(connector.status_received_at, charger.last_boot_at, charger.presence_since, :settled) AS at,
       'connector' AS of, connector.connector_id::text AS id,
       concat('connector ', connector.connector_id, ' has told no status since the boot') AS detail,
       'status' AS label
  FROM stations_connector connector JOIN stations_charger charger ON charger.id = connector.charger_id
 WHERE charger.online AND connector.connector_id > 0 AND charger.registration = 'Accepted'
   AND ((charger.last_boot_at < :settled
         AND coalesce(connector.status_received_at, '-infinity') < charger.last_boot_at
         AND NOT EXISTS (SELECT 1 FROM stations_status_event event
                          WHERE event.charger_id = connector.charger_id
                            AND event.connector_id = connector.connector_id
                            AND event.received_at >= charger.last_boot_at))
        OR (charger.last_boot_at IS NULL AND connector.status IS NULL
            AND charger.presence_since < :settled))
   {one}
UNION ALL
SELECT charger.id, session.received_at, 'session', session.id::text,
       concat('transaction ', session.ocpp_transaction_id, ' on connector ', session.connector_id,
              ' has told nothing for an hour or more'),
       'session'
  FROM charging_session session JOIN stations_charger charger ON charger.id = session.charger_id
   AND session.backoffice_id IS NOT DISTINCT FROM charger.backoffice_id
 WHERE charger.online AND session.status = 'Active' AND NOT session.unmatched
   AND charger.presence_since < :quiet
   AND session.received_at + (coalesce(session.last_sample_at, session.started_at) - session.started_at)
       < :quiet
   {one}
"""

OBSERVED = """
SELECT charger.id AS charger_id, sum(observation.count)::bigint AS count,
       min(observation.first_at) AS first_at, max(observation.last_at) AS last_at,
       jsonb_agg(observation.examples ORDER BY observation.day DESC) AS examples
  FROM stations_observation observation JOIN stations_charger charger ON charger.id = observation.charger_id
 WHERE observation.kind = :kind AND observation.last_at >= :since AND observation.first_at >= :owned {one}
 GROUP BY charger.id
"""

CLOCKS = """
WITH told AS (
    SELECT event.charger_id, event.at, event.received_at, 'status event' AS of, event.id::text AS id
      FROM stations_status_event event JOIN stations_charger charger ON charger.id = event.charger_id
     WHERE event.received_at >= :since AND event.at <> event.received_at {one}
     UNION ALL
    SELECT session.charger_id, session.started_at, session.received_at, 'session', session.id::text
      FROM charging_session session JOIN stations_charger charger ON charger.id = session.charger_id
       AND session.backoffice_id IS NOT DISTINCT FROM charger.backoffice_id
     WHERE session.received_at >= :since AND session.started_at IS NOT NULL {one}
), placed AS (
    SELECT *, row_number() OVER (PARTITION BY charger_id ORDER BY received_at DESC, id DESC) AS place
      FROM told
)
SELECT charger_id, at, received_at, of, id
  FROM placed
 WHERE place <= 20
   AND charger_id IN (SELECT charger_id FROM placed
                       WHERE place = 1 AND abs(extract(epoch FROM received_at - at)) > 120)
 ORDER BY charger_id, place
"""

CASES = {
    FindingKind.NO_SUBPROTOCOL: UNNAMED,
    FindingKind.BAD_AUTH: REFUSALS.replace(
        "{wanted}", "(refusal.status = 401 OR refusal.reason = 'TooManyRefusals')"
    ),
    FindingKind.BAD_HANDSHAKE: REFUSALS.replace(
        "{wanted}", "refusal.reason IN ('WrongPath', 'NoUpgrade', 'BadHandshake')"
    ),
    FindingKind.MISSING_STOPS: RULED,
    FindingKind.REGISTER_JUMPS: JUMPS,
    FindingKind.SCHEMA_FAULTS: FAULTS,
    FindingKind.FLAPPING: ENDED,
}
OBSERVATIONS = {FindingKind.WRONG_SUBPROTOCOL: "connection", FindingKind.REPEATED_IDS: "message id"}

ONE = "AND charger.id = :charger"
ALL = "AND charger.retired_at IS NULL AND charger.unregistered_since IS NULL"

Found = dict[str, Evidence]


async def evidence(
    session: AsyncSession,
    kind: FindingKind,
    since: datetime,
    now: datetime,
    charger_id: str | None = None,
    *,
    owned_since: datetime | None = None,
) -> Found:
    """Read the evidence of a kind since a moment, by charger: of one, or of all that somebody has.

    Nothing from before `owned_since`: what is counted by the day not from that day either.
    """
    since = max(since, owned_since or since)
    which, values = (ALL, {}) if charger_id is None else (ONE, {"charger": charger_id})
    if kind is FindingKind.CLOCK_DRIFT:
        return await _clocks(session, which, {**values, "since": since})
    if kind is FindingKind.SILENT_CONNECTORS:
        silent = GATHER.format(cases=SILENT.format(one=which))
        bounds = {"settled": now - SETTLING, "quiet": now - QUIET, "since": since}
        return await _gathered(session, silent, {**values, **bounds})
    if kind in OBSERVATIONS:
        owned = owned_since or BEGINNING
        found = await _observed(session, kind, which, {**values, "since": since, "owned": owned})
        if found or kind is FindingKind.WRONG_SUBPROTOCOL or charger_id is None:
            return found
        cases = f"{REUSED} {which}"
    else:
        cases = f"{CASES[kind]} {which}"
    return await _gathered(session, GATHER.format(cases=cases), {**values, "since": since})


async def _gathered(session: AsyncSession, statement: str, values: dict[str, Any]) -> Found:
    rows = (await session.execute(text(statement), values)).mappings()
    return {
        row["charger_id"]: Evidence(
            count=row["count"],
            first_at=row["first_at"],
            last_at=row["last_at"],
            examples=tuple(
                Example(one["of"], one["id"], datetime.fromisoformat(one["at"]), one["detail"])
                for one in row["examples"]
            ),
            labels=tuple(label for label in row["labels"] if label),
            most_in_an_hour=row["in_hour"],
        )
        for row in rows
    }


async def _observed(session: AsyncSession, kind: FindingKind, which: str, values: dict[str, Any]) -> Found:
    statement = text(OBSERVED.format(one=which))
    rows = (await session.execute(statement, {**values, "kind": kind.value})).mappings()
    found = {}
    for row in rows:
        newest = [one for day in row["examples"] for one in day][:KEPT]
        found[row["charger_id"]] = Evidence(
            count=row["count"],
            first_at=row["first_at"],
            last_at=row["last_at"],
            examples=tuple(
                Example(OBSERVATIONS[kind], one["id"], datetime.fromisoformat(one["at"]), one["detail"])
                for one in newest
            ),
            labels=tuple(dict.fromkeys(one["detail"] for one in newest)),
        )
    return found


async def _clocks(session: AsyncSession, which: str, values: dict[str, Any]) -> Found:
    rows = (await session.execute(text(CLOCKS.format(one=which)), values)).mappings()
    by_charger: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        by_charger[row["charger_id"]].append(row)
    found = {}
    for charger_id, told in by_charger.items():
        drift = drift_of([(row["at"], row["received_at"]) for row in told])
        if drift is None:
            continue
        off = [row for row in told if abs(row["received_at"] - row["at"] + drift) <= timedelta(minutes=1)]
        found[charger_id] = Evidence(
            count=len(off),
            first_at=off[-1]["received_at"],
            last_at=off[0]["received_at"],
            examples=tuple(
                Example(row["of"], row["id"], row["received_at"], f"it said {row['at'].isoformat()}")
                for row in off[:KEPT]
            ),
            drift=drift,
        )
    return found

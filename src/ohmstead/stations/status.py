"""The status of connectors as chargers tell it (OCPP 1.6 6.47), written in groups.

Every notification is kept as an event. The connector itself takes it unless a later one, by the
charger's own clock, has been taken before: notifications that were queued while the charger was
offline come late. A time that cannot be compared (none, years off, or after one that lay more than five
minutes in the future) is taken as it arrives. So is one that seems to be earlier than what is known, if
that lies in the future by now and came before: the clock was ahead and has been set, as it is by the
answer to a boot.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from ohmstead.core.facts import FactKind

CONNECTOR_FAULTED = "ConnectorFaulted"
CONNECTOR_RECOVERED = "ConnectorRecovered"
"""A fault has ended: the connector told another status, or is no more."""

COLUMNS = (
    "charger_id text, connector_id int, status text, error_code text, info text, vendor_id text,"
    " vendor_error_code text, at timestamptz, received_at timestamptz"
)

EVENTS = f"""
INSERT INTO stations_status_event
       (charger_id, connector_id, at, received_at, status, error_code, info, vendor_id, vendor_error_code)
SELECT charger_id, connector_id, coalesce(at, received_at), received_at, status, error_code, info,
       vendor_id, vendor_error_code
  FROM json_to_recordset(%s::json) AS row({COLUMNS})
 ORDER BY charger_id, connector_id
    ON CONFLICT DO NOTHING
"""  # noqa: S608 # the columns are ours

CONNECTORS = f"""
INSERT INTO stations_connector AS known
       (charger_id, connector_id, status, error_code, info, vendor_id, vendor_error_code,
        status_since, status_at, status_received_at)
SELECT charger_id, connector_id, status, error_code, info, vendor_id, vendor_error_code,
       CASE WHEN at BETWEEN received_at - interval '7 days' AND received_at + interval '5 minutes'
            THEN at ELSE received_at END,
       at, received_at
  FROM json_to_recordset(%s::json) AS row({COLUMNS})
 ORDER BY charger_id, connector_id
    ON CONFLICT (charger_id, connector_id) DO UPDATE
   SET status_since = CASE WHEN known.status = excluded.status THEN known.status_since
                           ELSE excluded.status_since END,
       status = excluded.status, error_code = excluded.error_code, info = excluded.info,
       vendor_id = excluded.vendor_id, vendor_error_code = excluded.vendor_error_code,
       status_at = excluded.status_at, status_received_at = excluded.status_received_at
 WHERE excluded.status_at IS NULL
    OR known.status_at IS NULL
    OR excluded.status_at >= known.status_at
    OR known.status_at > excluded.status_received_at + interval '5 minutes'
    OR (known.status_at > excluded.status_received_at
        AND excluded.status_at >= known.status_received_at - interval '10 seconds')
    OR excluded.status_at < excluded.status_received_at - interval '1825 days'
"""  # noqa: S608 # the columns are ours


@dataclass(frozen=True, slots=True)
class Told:
    """What a connector last told: `at` by the charger's own clock if it has one, `received_at` by ours."""

    status: str | None
    error_code: str | None
    at: datetime | None
    received_at: datetime | None


def is_late(known: Told, told: Told, now: datetime) -> bool:
    """Tell whether a notification that comes now is older than what is known: the rule of `CONNECTORS`."""
    if known.at is None or told.at is None or told.at >= known.at:
        return False
    if known.at > now + timedelta(minutes=5) or told.at < now - timedelta(days=5 * 365):
        return False
    if known.at <= now or known.received_at is None:
        return True
    return told.at < known.received_at - timedelta(seconds=10)


STATUS = FactKind(
    "status",
    (EVENTS, CONNECTORS),
    identity=lambda row: (row["charger_id"], row["connector_id"]),
    latest=(False, True),
)
"""A StatusNotification: rows have the members of `COLUMNS`; `at` is the charger's time or None."""

TOLD_ONLY = FactKind("status event", (EVENTS,))
"""The same of a number that is kept in the history alone: no charger has so many connectors."""

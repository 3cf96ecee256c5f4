"""What chargers are seen to do that nothing else keeps: counted in memory, written now and then.

The message path only notes; some seconds later one row for each charger, kind and day is added to the
table. A process that is killed loses the counts of those seconds, and a group that is written again after a
broken connection may count them twice: these are hints for people, no accounts.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ohmstead.core.facts import FactKind, Row
from ohmstead.core.http import utc_z

WRONG_SUBPROTOCOL = "WrongSubprotocol"
REPEATED_ID = "RepeatedIds"
KEPT_EXAMPLES = 5
AT_ONCE = 20_000
"""So many rows wait to be written at most; what is over is not counted."""

OBSERVATIONS = """
INSERT INTO stations_observation AS known (charger_id, kind, day, count, first_at, last_at, examples)
SELECT row.charger_id, row.kind, row.day, sum(row.count), min(row.first_at), max(row.last_at),
       (array_agg(row.examples ORDER BY row.last_at DESC))[1]
  FROM json_to_recordset(%s::json) AS row(charger_id text, kind text, day date, count bigint,
       first_at timestamptz, last_at timestamptz, examples jsonb)
  JOIN stations_charger charger ON charger.id = row.charger_id
 GROUP BY row.charger_id, row.kind, row.day
 ORDER BY row.charger_id, row.kind, row.day
    ON CONFLICT (charger_id, kind, day) DO UPDATE
   SET count = known.count + excluded.count,
       first_at = least(known.first_at, excluded.first_at),
       last_at = greatest(known.last_at, excluded.last_at),
       examples = jsonb_path_query_array(
           CASE WHEN excluded.last_at >= known.last_at THEN excluded.examples || known.examples
                ELSE known.examples || excluded.examples END, '$[0 to 4]')
"""

OBSERVATION = FactKind("observation", (OBSERVATIONS,))
"""How often a charger was seen to do something on a day; counts are added to what is known."""


@dataclass(slots=True)
class _Seen:
    first_at: datetime
    last_at: datetime
    count: int = 0
    examples: list[dict[str, Any]] = field(default_factory=list)


class Observed:
    """What was seen since it was last written; bounded by the number of chargers that are known."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str, str], _Seen] = {}

    def note(self, charger_id: str, kind: str, at: datetime, example: str, detail: str) -> None:
        """Count one; `example` is the id of the message or connection that shows it."""
        key = (charger_id, kind, at.date().isoformat())
        seen = self._seen.get(key)
        if seen is None:
            if len(self._seen) >= AT_ONCE:
                return
            seen = self._seen[key] = _Seen(at, at)
        seen.count += 1
        seen.last_at = max(seen.last_at, at)
        shown = {"id": _storable(example)[:36], "at": utc_z(at), "detail": _storable(detail)[:200]}
        seen.examples = [shown, *seen.examples[: KEPT_EXAMPLES - 1]]

    def take(self) -> list[Row]:
        """Return the rows that are to be written, and begin anew."""
        seen, self._seen = self._seen, {}
        return [
            {
                "charger_id": charger_id,
                "kind": kind,
                "day": day,
                "count": one.count,
                "first_at": one.first_at,
                "last_at": one.last_at,
                "examples": one.examples,
            }
            for (charger_id, kind, day), one in seen.items()
        ]


def _storable(text: str) -> str:
    return text.encode("utf-8", "replace").decode().replace("\0", "")

"""How the list of a charger stands to what it should be: a pure function of what is known."""

from datetime import datetime
from enum import StrEnum

from ohmstead.fleet.local_lists.keeping import contradicted
from ohmstead.fleet.local_lists.models import Ending, LocalList


class ListState(StrEnum):
    """How a charger's list stands to its rule.

    - `NoRule`: no rule says what it should hold; nothing is sent.
    - `NeverSent`: nothing is known of it.
    - `InSync`: what it acknowledged last is what it should hold.
    - `Outdated`: it holds something else; sending is due.
    - `Failed`: this very list was sent and not taken; it is not sent again by itself.
    - `NotSupported`: the charger has no local list, or it is switched off.
    - `Unknown`: nobody knows what it holds: no answer came, or it reports a version that was not ours.
    """

    NO_RULE = "NoRule"
    NEVER_SENT = "NeverSent"
    IN_SYNC = "InSync"
    OUTDATED = "Outdated"
    FAILED = "Failed"
    NOT_SUPPORTED = "NotSupported"
    UNKNOWN = "Unknown"


REFUSED = frozenset({Ending.FAILED, Ending.VERSION_MISMATCH, Ending.CALL_ERROR, Ending.TOO_LONG})


def state_of(row: LocalList | None, wanted: str | None) -> ListState:
    """Return the state; `wanted` is the digest of the list that it should hold, None without a rule."""
    if wanted is None:
        return ListState.NO_RULE
    if row is None:
        return ListState.NEVER_SENT
    if _not_supported(row):
        return ListState.NOT_SUPPORTED
    if row.tried == wanted and row.ending in REFUSED and row.digest != wanted:
        return ListState.FAILED
    if row.open_version is not None or contradicted(row):
        return ListState.UNKNOWN
    if row.version is None:
        return ListState.NEVER_SENT
    if row.digest is None:
        return ListState.UNKNOWN
    return ListState.IN_SYNC if row.digest == wanted else ListState.OUTDATED


def _not_supported(row: LocalList) -> bool:
    if row.reported_version == -1 and not _later(row.acknowledged_at, row.reported_at):
        return True
    has_one = row.reported_version is not None and row.reported_version >= 0
    return row.ending == Ending.NOT_SUPPORTED and not (has_one and _later(row.reported_at, row.ended_at))


def _later(one: datetime | None, other: datetime | None) -> bool:
    return one is not None and (other is None or one > other)

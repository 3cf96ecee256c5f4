"""The life of a campaign and of its items: two tables, and the rules that read them.

A campaign is `Running` until nothing of it is open any more (`Finished`). A person pauses and resumes it;
the rule of the error rate stops it, and a person may resume that too. `Cancelled` and `Finished` are ends.

An item waits in `Queued` for its turn, or in `Away` for its charger. At work it is `Running` while the
charger is asked and `Waiting` while the charger does what it accepted. Both count for how many are at work
at once. What was begun is never cancelled: its real end is written.
"""

from datetime import timedelta
from enum import StrEnum

from ohmstead.core.errors import Conflict


class CampaignState(StrEnum):
    """Where a campaign stands."""

    RUNNING = "Running"
    PAUSED = "Paused"
    STOPPED = "Stopped"
    CANCELLED = "Cancelled"
    FINISHED = "Finished"


class ItemState(StrEnum):
    """Where the work on one charger stands."""

    QUEUED = "Queued"
    AWAY = "Away"
    RUNNING = "Running"
    WAITING = "Waiting"
    DONE = "Done"
    FAILED = "Failed"
    SKIPPED = "Skipped"
    CANCELLED = "Cancelled"


class Event(StrEnum):
    """What happens to a campaign as a whole: the first three come from people, the others from rules."""

    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    STOP = "stop"
    FINISH = "finish"


BY_PEOPLE = (Event.PAUSE, Event.RESUME, Event.CANCEL)

CAMPAIGN: dict[CampaignState, dict[Event, CampaignState]] = {
    CampaignState.RUNNING: {
        Event.RESUME: CampaignState.RUNNING,
        Event.PAUSE: CampaignState.PAUSED,
        Event.STOP: CampaignState.STOPPED,
        Event.CANCEL: CampaignState.CANCELLED,
        Event.FINISH: CampaignState.FINISHED,
    },
    CampaignState.PAUSED: {
        Event.PAUSE: CampaignState.PAUSED,
        Event.RESUME: CampaignState.RUNNING,
        Event.CANCEL: CampaignState.CANCELLED,
        Event.FINISH: CampaignState.FINISHED,
    },
    CampaignState.STOPPED: {
        Event.RESUME: CampaignState.RUNNING,
        Event.CANCEL: CampaignState.CANCELLED,
        Event.FINISH: CampaignState.FINISHED,
    },
    CampaignState.CANCELLED: {Event.CANCEL: CampaignState.CANCELLED},
    CampaignState.FINISHED: {},
}
"""What is not in here is refused; an event that changes nothing may be told twice."""

ITEM: dict[ItemState, frozenset[ItemState]] = {
    ItemState.QUEUED: frozenset(
        {ItemState.RUNNING, ItemState.AWAY, ItemState.SKIPPED, ItemState.CANCELLED},
    ),
    ItemState.AWAY: frozenset({ItemState.QUEUED, ItemState.SKIPPED, ItemState.CANCELLED}),
    ItemState.RUNNING: frozenset(
        {
            ItemState.DONE,
            ItemState.FAILED,
            ItemState.WAITING,
            ItemState.AWAY,
            ItemState.QUEUED,
            ItemState.CANCELLED,
        }
    ),
    ItemState.WAITING: frozenset({ItemState.DONE, ItemState.FAILED}),
    ItemState.DONE: frozenset(),
    ItemState.FAILED: frozenset(),
    ItemState.SKIPPED: frozenset(),
    ItemState.CANCELLED: frozenset(),
}

AT_WORK = frozenset({ItemState.RUNNING, ItemState.WAITING})
"""These count for how many chargers a campaign works on at once."""
UNBEGUN = frozenset({ItemState.QUEUED, ItemState.AWAY})
OPEN = frozenset(state for state, after in ITEM.items() if after)
"""A campaign that has one of these is not over."""

ENDED = frozenset({CampaignState.CANCELLED, CampaignState.FINISHED})

LONGEST_RETRY = timedelta(hours=1)


def after_event(state: CampaignState, event: Event) -> CampaignState:
    """Return what a campaign becomes. Raises `Conflict` for what its state does not allow."""
    becomes = CAMPAIGN[state].get(event)
    if becomes is None:
        possible = " or ".join(one for one in BY_PEOPLE if CAMPAIGN[state].get(one, state) != state)
        raise Conflict(
            f"A campaign that is {state} cannot be told to {event}."
            f" {f'It can be told to {possible}.' if possible else 'It is over: make a new one.'}",
            code="CampaignState",
        )
    return becomes


def require_move(before: ItemState, after: ItemState) -> None:
    """Raise `ValueError` for a move of an item that is not in the table: a fault of ours."""
    if after not in ITEM[before]:
        raise ValueError(f"an item cannot go from {before} to {after}")


def is_over_the_rate(ended: int, failed: int, *, percent: int | None, at_least: int) -> bool:
    """Tell whether so many of the ended items failed that the rest should not be begun.

    `percent` of those that ended (None: never), once `at_least` of them have.
    """
    return percent is not None and ended >= max(at_least, 1) and failed * 100 >= percent * ended


def retry_delay(tries: int, seconds: int) -> timedelta:
    """Return how long to wait after the `tries`th failure: doubled each time, an hour at most."""
    return min(timedelta(seconds=seconds * 2 ** min(max(tries - 1, 0), 20)), LONGEST_RETRY)

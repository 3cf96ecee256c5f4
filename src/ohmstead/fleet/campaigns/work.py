"""What a campaign does at one charger: the kinds of work, what they are given, and what comes of it.

A subject (configuration, firmware, ...) has an `apply.py` with its `KIND`, and `fleet/kinds.py` lists them
all. Campaigns know no subject: they decide when and where, a kind decides what.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.principal import Principal
from ohmstead.core.clock import Clock
from ohmstead.core.config import Settings
from ohmstead.core.db import Database
from ohmstead.core.files import Files
from ohmstead.core.http import Schema
from ohmstead.link.links import Answer, Links
from ohmstead.stations.outcomes import Commands

LASTING_ERRORS = frozenset(
    {
        "NotImplemented",
        "NotSupported",
        "ProtocolError",
        "SecurityError",
        "FormationViolation",
        "PropertyConstraintViolation",
        "OccurenceConstraintViolation",
        "OccurrenceConstraintViolation",
        "TypeConstraintViolation",
    }
)
"""CALLERRORs (OCPP-J 1.6 4.2.3) that the same CALL would get again; after the others it is worth a try."""


class OutcomeState(StrEnum):
    """How the work on one charger came out."""

    DONE = "Done"
    FAILED = "Failed"
    WAITING = "Waiting"
    AWAY = "Away"
    UNREACHED = "Unreached"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of the work on one charger.

    - `Done`: it is as it should be.
    - `Failed`: it is not. `again` says that the same may succeed a little later (no answer in time).
    - `Waiting`: the charger has accepted and will tell the end by a message of its own; whoever takes that
      message calls `campaigns.service.item_ended`.
    - `Away`: the charger is not connected; the work is begun anew when it is back. So only where doing it
      twice does no harm, or nothing was sent.
    - `Unreached`: nothing was sent, by a fault of ours (`ChargerUnreachable`). The work is begun anew a
      little later, as often as it takes; this does not count as a try.

    `detail` is one sentence for people, `evidence` the charger's own answers (a JSON object).
    """

    state: OutcomeState
    detail: str = ""
    evidence: dict[str, Any] = field(default_factory=dict)
    again: bool = False


def done(detail: str = "", **evidence: Any) -> Outcome:
    """Return that the charger is as it should be."""
    return Outcome(OutcomeState.DONE, detail, evidence)


def failed(detail: str, *, again: bool = False, **evidence: Any) -> Outcome:
    """Return that it did not succeed; `again`: the same may succeed a little later."""
    return Outcome(OutcomeState.FAILED, detail, evidence, again)


def waiting(detail: str = "", **evidence: Any) -> Outcome:
    """Return that the charger will tell the end by a message of its own."""
    return Outcome(OutcomeState.WAITING, detail, evidence)


def away(detail: str = "", **evidence: Any) -> Outcome:
    """Return that the charger is not connected, for a `ChargerOffline`: it is done when it returns."""
    return Outcome(OutcomeState.AWAY, detail, evidence)


def unreached(detail: str = "") -> Outcome:
    """Return that nothing was sent, for a `ChargerUnreachable`: it is begun anew, and does not count."""
    return Outcome(OutcomeState.UNREACHED, detail)


def unanswered(action: str, answer: Answer, **evidence: Any) -> Outcome:
    """Return the failure of a command that timed out or got a CALLERROR; tried again where that may help."""
    if answer.error_code is None:
        return failed(f"The charger did not answer {action} in time.", again=True, **evidence)
    error = {"code": answer.error_code, "description": answer.error_description}
    return failed(
        f"The charger answered {action} with the error {answer.error_code or '(none)'}"
        f"{f': {answer.error_description}' if answer.error_description else '.'}",
        again=answer.error_code not in LASTING_ERRORS,
        error=error,
        **evidence,
    )


@dataclass(frozen=True, slots=True)
class Means:
    """What work is done with. `commands` is the way to ask the charger something."""

    database: Database
    commands: Commands
    settings: Settings
    clock: Clock
    files: Files

    @property
    def links(self) -> Links:
        """Who is connected; to ask a charger something use `commands`."""
        return self.commands.links


Parameters = Mapping[str, Any]
Apply = Callable[[Means, str, Parameters], Awaitable[Outcome]]
Check = Callable[[AsyncSession, Principal, Any], Awaitable[None]]
Show = Callable[[Parameters], Parameters]


def as_given(parameters: Parameters) -> Parameters:
    """Return the parameters as they are: they hold no secret."""
    return parameters


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of work on a charger.

    - `parameters`: the schema of what a campaign of this kind is given; `apply` gets it as JSON values.
    - `apply(means, charger_id, parameters)`: does it at one charger. It raises nothing for what a charger
      does (but a `ChargerUnreachable` may pass, where nothing was sent), and holds no transaction while it
      waits for one. It may be cancelled.
    - `repeatable`: whether it may be begun anew after a process has died in the midst of it, so that nobody
      knows what went out. Where not, the item fails and says so.
    - `check(session, principal, parameters)`: refuses by a `DomainError` what the caller may not use
      (a file of another business), when the campaign is made.
    - `shown(parameters)`: the parameters without their secrets, for the API.
    - `work_limit`: after this time `apply` is cut off; `wait_limit`: how long a charger may take to tell the
      end of what it accepted.
    """

    name: str
    parameters: type[Schema]
    apply: Apply
    repeatable: bool = False
    check: Check | None = None
    shown: Show = as_given
    work_limit: timedelta = timedelta(minutes=10)
    wait_limit: timedelta = timedelta(hours=2)

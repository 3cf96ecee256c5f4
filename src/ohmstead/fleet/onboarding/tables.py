"""Tables of stations, chargers and id tags: what their lines come to, and bringing them in.

Every line is looked at first, against what is there before the file, and all that is wrong with it is told;
then those with which nothing is wrong are written. So it does not matter in which order lines stand, nor what
is wrong with others.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.models import Backoffice, BackofficeStatus, Role
from ohmstead.accounts.principal import Principal
from ohmstead.core.errors import DomainError
from ohmstead.fleet.onboarding.cells import Column
from ohmstead.fleet.onboarding.faults import Faults
from ohmstead.fleet.onboarding.sheets import Fault, Line


@dataclass(slots=True)
class Means:
    """Who brings lines in, when, and what writing them needs.

    `reconnect` and `adopted` are the chargers that must connect anew, and boot again, once it is written.
    """

    session: AsyncSession
    principal: Principal
    now: datetime
    signing_key: str
    reconnect: list[str] = field(default_factory=list)
    adopted: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Outcome:
    """What a file came to."""

    lines: int = 0
    created: int = 0
    changed: int = 0
    passwords: dict[str, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)


Thing = tuple[str, ...]
"""What a line is about: lines with equal ones are about the same."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a line comes to.

    It is about the thing that the column `by` tells; `about` is None where that is not known. `names` is the
    thing that a line without an id would mean by the name which this one gives. `write` is None where
    something is wrong.
    """

    faults: Faults
    by: str
    about: Thing | None
    write: Callable[[Outcome], Awaitable[None]] | None
    names: Thing | None = None


Rows = Callable[[AsyncSession, Principal, str | None], Awaitable[Sequence[Mapping[str, Any]]]]


@dataclass(frozen=True, slots=True)
class Table:
    """One kind of thing as a table.

    `key` is the column that a heading must have, `plan` looks at a line, and writes nothing. `rows` gives a
    piece of the table, from after a row's id on, in the order of ids.
    """

    name: str
    key: str
    columns: Mapping[str, Column]
    plan: Callable[[Means, Line], Awaitable[Plan]]
    rows: Rows


async def bring_lines(table: Table, means: Means, lines: Sequence[Line], outcome: Outcome) -> None:
    """Write lines one after the other, and note what is wrong with each that cannot be written.

    The caller undoes all of it when there is a fault, or when it is only a rehearsal.
    """
    plans = [await table.plan(means, line) for line in lines]
    _tell_twice(plans)
    for plan in plans:
        outcome.lines += 1
        if plan.write is not None and not plan.faults.found:
            try:
                async with means.session.begin_nested():
                    await plan.write(outcome)
                    await means.session.flush()
            except DomainError as error:  # somebody else has changed it since it was looked at
                plan.faults.tell_of(error)
        outcome.faults += plan.faults.found
    places = {name: place for place, name in enumerate(table.columns)}
    outcome.faults.sort(key=lambda one: (one.line, places.get(one.column or "", -1)))


def _tell_twice(plans: Sequence[Plan]) -> None:
    """Tell lines that are about what another one is about already."""
    first: dict[Thing, int] = {}
    named = {plan.names: plan.faults.line for plan in plans if plan.names is not None}
    for plan in plans:
        if plan.about is None:
            continue
        line = first.setdefault(plan.about, plan.faults.line)
        if line != plan.faults.line:
            plan.faults.tell(plan.by, f"is in line {line} too: leave one of them out")
        elif plan.about in named:
            what = f"is what line {named[plan.about]} calls another one"
            plan.faults.tell(plan.by, f"{what}: tell them apart by another name")


@dataclass(frozen=True, slots=True)
class Business:
    """The business that a line is about: `id` None is none, or any; not `known` where a fault hides it."""

    id: UUID | None
    known: bool = True
    at_work: bool = True


async def business_of(means: Means, line: Line, faults: Faults) -> Business:
    """Return the business of a line: the caller's own, or the one that a SystemAdmin names.

    Tells one that is not there, or not the caller's.
    """
    told = line.cells.get("backoffice_id")
    own = means.principal.backoffice_id
    if means.principal.role is not Role.SYSTEM_ADMIN:
        if told is not None and UUID(told) != own:
            faults.tell("backoffice_id", "is not your business: leave it out")
        return Business(own)
    if told is None:
        return Business(None, known=not faults.of("backoffice_id"))
    row = await means.session.get(Backoffice, UUID(told))
    if row is None:
        faults.tell("backoffice_id", f"there is no business {told}: leave it out, or name one that there is")
        return Business(None, known=False)
    return Business(row.id, at_work=row.status == BackofficeStatus.ACTIVE)


def tell_not_at_work(business: Business, faults: Faults) -> None:
    """Tell a business that may be given nothing, since it is not active."""
    if not business.at_work:
        faults.tell("backoffice_id", f"the business {business.id} is not active: name one that is")


def plain(value: Any) -> Any:
    """Return a value of a row as it stands in a cell; it comes in again as it was."""
    if isinstance(value, datetime):  # to the microsecond
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return str(value) if isinstance(value, UUID) else value

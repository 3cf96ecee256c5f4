"""Who is at work at this moment: what the audit trail writes beside every change.

Set at the edge (a request that has been authenticated, a charger's message, a job), read where something
changes. Carried by a context variable, so that no function in between has to hand it on.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Acting:
    """Somebody or something that changes things.

    `kind` is user, api_key, charger or system; `id` is the id of that user, key or charger, or the name of
    the job. `email` and `address` are personal: they are kept encrypted with the key of `person_id`.
    """

    kind: str = "system"
    id: str | None = None
    role: str | None = None
    person_id: UUID | None = None
    email: str | None = None
    backoffice_id: UUID | None = None
    station_ids: frozenset[UUID] = frozenset()
    request_id: str | None = None
    address: str | None = None


_acting: ContextVar[Acting | None] = ContextVar("ohmstead_acting", default=None)
NOBODY = Acting()


def acting() -> Acting:
    """Return who is at work; `system` when nobody said."""
    return _acting.get() or NOBODY


def begin_request(request_id: str, address: str | None) -> None:
    """A request has come: nobody has signed in yet, but where from is known."""
    _acting.set(Acting(kind="anonymous", request_id=request_id, address=address))


def signed_in(who: Acting) -> None:
    """The request is that of `who`; its id and address stay."""
    here = acting()
    _acting.set(replace(who, request_id=here.request_id, address=here.address))


@contextmanager
def acting_as(who: Acting) -> Iterator[None]:
    """Act as somebody until the block ends: a job, a charger's message, a test."""
    token = _acting.set(who)
    try:
        yield
    finally:
        _acting.reset(token)


def charger_acting(charger_id: str) -> Acting:
    """Return who does something on the word of a charger: the charger, unless somebody else is at work."""
    who = acting()
    return Acting(kind="charger", id=charger_id) if who == NOBODY else who

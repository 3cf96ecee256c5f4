"""Reads of the message log, of refused handshakes and of connections."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, TypeVar

from sqlalchemy import Select, or_, select

from ohmstead.accounts.models import Role
from ohmstead.accounts.principal import Principal
from ohmstead.core.paging import Order, containing, number_key, time_key, uuid_key
from ohmstead.gateway.models import Connection, Message, Refusal
from ohmstead.stations.chargers_queries import told_to
from ohmstead.stations.models import Charger

WINDOW = timedelta(hours=24)
"""How far a search of the whole message log looks back when nothing narrows it."""

Row = TypeVar("Row")

MESSAGES = Order(
    keys={"received_at": time_key(Message.received_at)}, tie=number_key(Message.id), default="-received_at"
)
REFUSALS = Order(keys={"at": time_key(Refusal.at)}, tie=number_key(Refusal.id), default="-at")
CONNECTIONS = Order(
    keys={"opened_at": time_key(Connection.opened_at)}, tie=uuid_key(Connection.id), default="-opened_at"
)


@dataclass(frozen=True, slots=True)
class MessageFilter:
    """What the message log is narrowed to; None does not narrow. `since` included, `until` not."""

    charger: str | None = None
    action: str | None = None
    direction: Literal["in", "out"] | None = None
    since: datetime | None = None
    until: datetime | None = None
    errors: bool = False
    q: str | None = None


def messages(principal: Principal, wanted: MessageFilter, now: datetime) -> Select[Message]:
    """Select the messages of the caller's chargers that fit.

    A message has no business of its own: it is its charger's, and of the business that had it then. Those of
    unknown chargers, and those from before a charger was its business's, are for a SystemAdmin alone. Without
    a charger and a `since` the 24 hours before `until` (or now) are searched: a log of tens of millions of
    rows is only ever read through its indexes of time.
    """
    query = select(Message)
    if principal.role is not Role.SYSTEM_ADMIN:
        query = query.join(Charger, Charger.id == Message.charger_id)
        query = principal.within(query, Charger.backoffice_id, Charger.station_id)
        query = query.where(told_to(principal, Message.received_at))
    since = wanted.since
    if since is None and wanted.charger is None:
        since = _before(wanted.until or now)
    if since is not None:
        query = query.where(Message.received_at >= since)
    if wanted.until is not None:
        query = query.where(Message.received_at < wanted.until)
    if wanted.charger is not None:
        query = query.where(Message.charger_id == wanted.charger)
    if wanted.action is not None:
        query = query.where(Message.action == wanted.action)
    if wanted.direction is not None:
        query = query.where(Message.direction == wanted.direction)
    if wanted.errors:
        query = query.where(Message.error_code.is_not(None))
    if wanted.q is not None:
        query = query.where(
            or_(
                containing(wanted.q, Message.request, Message.response, Message.error_code, Message.note),
                Message.message_id == wanted.q[:36],
            )
        )
    return query


def refusals(
    principal: Principal,
    *,
    charger: str | None,
    since: datetime | None,
    until: datetime | None,
    q: str | None,
) -> Select[Refusal]:
    """Select refused handshakes; `q` searches charger, address, reason and detail."""
    query = principal.within(select(Refusal), Refusal.backoffice_id, Refusal.station_id)
    query = query.where(containing(q, Refusal.charger_id, Refusal.address, Refusal.reason, Refusal.detail))
    return _bounded(query, of=Refusal.charger_id, at=Refusal.at, charger=charger, since=since, until=until)


def connections(
    principal: Principal,
    *,
    charger: str | None,
    since: datetime | None,
    until: datetime | None,
    q: str | None,
) -> Select[Connection]:
    """Select the sockets of the caller's chargers; `q` searches charger, address and why they closed."""
    query = select(Connection).join(Charger, Charger.id == Connection.charger_id)
    query = principal.within(query, Charger.backoffice_id, Charger.station_id)
    query = query.where(told_to(principal, Connection.opened_at))
    query = query.where(containing(q, Connection.charger_id, Connection.address, Connection.close_reason))
    opened = Connection.opened_at
    return _bounded(query, of=Connection.charger_id, at=opened, charger=charger, since=since, until=until)


def _bounded(
    query: Select[Row],
    *,
    of: Any,
    at: Any,
    charger: str | None,
    since: datetime | None,
    until: datetime | None,
) -> Select[Row]:
    if charger is not None:
        query = query.where(of == charger)
    if since is not None:
        query = query.where(at >= since)
    if until is not None:
        query = query.where(at < until)
    return query


def _before(moment: datetime) -> datetime:
    try:
        return moment - WINDOW
    except OverflowError:  # somebody asks for the year 1
        return moment

"""`/api/admin/ocpp`: what went over the wire, and who was let in or not."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Depends, Query

from ohmstead.accounts.access import Caller
from ohmstead.core.http import Now, UnitOfWork
from ohmstead.core.paging import Page, Paging
from ohmstead.core.text import Text
from ohmstead.core.times import Within
from ohmstead.gateway import queries
from ohmstead.gateway.models import Connection, Message
from ohmstead.gateway.schemas import ConnectionOut, MessageOut, RefusalOut

router = APIRouter(prefix="/api/admin/ocpp", tags=["OCPP"])


@dataclass(frozen=True, slots=True)
class Wanted:
    """The query parameters that every list of this family has."""

    charger: str | None
    since: datetime | None
    until: datetime | None


def wanted(
    within: Within,
    charger: Annotated[Text | None, Query(max_length=64, description="Id of a charger.")] = None,
) -> Wanted:
    """Read the charger and the bounds of time from the query string."""
    return Wanted(charger, within.since, within.until)


WantedRows = Annotated[Wanted, Depends(wanted)]


@router.get("/messages")
async def list_messages(
    *,
    session: UnitOfWork,
    principal: Caller,
    now: Now,
    paging: Annotated[Paging, Depends()],
    wanted: WantedRows,
    action: Annotated[Text | None, Query(max_length=64, description="Such as `StatusNotification`.")] = None,
    direction: Annotated[
        Literal["in", "out"] | None, Query(description="`in`: CALLs of chargers; `out`: ours.")
    ] = None,
    errors: Annotated[bool, Query(description="Only those that ended in an error.")] = False,
) -> Page[MessageOut]:
    """List OCPP messages, newest first; `q` searches in the texts of both frames.

    Without `charger` and `from`, the 24 hours before `to` (or now) are searched.
    """
    query = queries.messages(
        principal,
        queries.MessageFilter(
            charger=wanted.charger,
            action=action,
            direction=direction,
            since=wanted.since,
            until=wanted.until,
            errors=errors,
            q=paging.q,
        ),
        now,
    )
    found = await queries.MESSAGES.slice(session, query, paging)
    return found.page(_message_out(row) for row in found.rows)


@router.get("/refusals")
async def list_refusals(
    session: UnitOfWork, principal: Caller, paging: Annotated[Paging, Depends()], wanted: WantedRows
) -> Page[RefusalOut]:
    """List refused handshakes, newest first. Those of unknown chargers are for a SystemAdmin alone."""
    query = queries.refusals(
        principal, charger=wanted.charger, since=wanted.since, until=wanted.until, q=paging.q
    )
    found = await queries.REFUSALS.slice(session, query, paging)
    return found.page(RefusalOut.model_validate(row) for row in found.rows)


@router.get("/connections")
async def list_connections(
    session: UnitOfWork, principal: Caller, now: Now, paging: Annotated[Paging, Depends()], wanted: WantedRows
) -> Page[ConnectionOut]:
    """List the sockets of chargers, newest first: from, to, and why each ended."""
    query = queries.connections(
        principal, charger=wanted.charger, since=wanted.since, until=wanted.until, q=paging.q
    )
    found = await queries.CONNECTIONS.slice(session, query, paging)
    return found.page(_connection_out(row, now) for row in found.rows)


def _message_out(row: Message) -> MessageOut:
    return MessageOut(
        id=row.id,
        received_at=row.received_at,
        charger_id=row.charger_id,
        direction="in" if row.direction == "in" else "out",
        message_id=row.message_id,
        action=row.action,
        request=_parsed(row.request),
        response=_parsed(row.response),
        error_code=row.error_code,
        note=row.note,
        duration_ms=row.duration_ms,
    )


def _parsed(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return orjson.loads(text)
    except ValueError:
        return text


def _connection_out(row: Connection, now: datetime) -> ConnectionOut:
    ended = row.closed_at if row.closed_at is not None else now
    return ConnectionOut(
        id=row.id,
        charger_id=row.charger_id,
        opened_at=row.opened_at,
        closed_at=row.closed_at,
        address=row.address,
        close_code=row.close_code,
        close_reason=row.close_reason,
        subprotocol=row.subprotocol,
        security_profile=row.security_profile,
        duration_seconds=max((ended - row.opened_at).total_seconds(), 0.0),
    )

"""`/api/admin/audit`: who changed what, when, from what to what, and why."""

import csv
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import orjson
import structlog
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.access import Caller
from ohmstead.accounts.audit import REASON
from ohmstead.accounts.audit_models import AuditEntry
from ohmstead.accounts.models import Role
from ohmstead.accounts.person_keys import PersonKeys, decrypt
from ohmstead.accounts.principal import Principal
from ohmstead.core.db import Database
from ohmstead.core.http import Schema, UnitOfWork, UtcTime
from ohmstead.core.paging import Order, Page, Paging, containing, number_key, time_key
from ohmstead.core.spreadsheets import safe_cell
from ohmstead.core.text import Text
from ohmstead.core.times import Within

router = APIRouter(prefix="/api/admin/audit", tags=["Audit"])

ORDER = Order(keys={"at": time_key(AuditEntry.at)}, tie=number_key(AuditEntry.id), default="-at")
CHUNK = 1000

logger = structlog.stdlib.get_logger(__name__)
EXPORTED = {
    "text/csv": {"schema": {"type": "string"}},
    "application/x-ndjson": {"schema": {"type": "string"}},
}


class AuditEntryOut(Schema):
    """One change. `personal`, the actor's e-mail and address, and the reason of what was done to a person are
    null when that person was erased. Businesses see of a SystemAdmin the role alone.
    """

    id: int
    at: UtcTime
    action: str
    entity: str
    entity_id: str
    actor_kind: str
    actor_id: str | None
    actor_role: str | None
    actor_email: str | None
    actor_address: str | None
    operator_station_ids: list[UUID]
    backoffice_id: UUID | None
    station_id: UUID | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    reason: str | None
    person_id: UUID | None
    personal: dict[str, Any] | None
    request_id: str | None
    sealed: bool


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """What the trail is narrowed to; None does not narrow."""

    entity: str | None = None
    entity_id: str | None = None
    actor: str | None = None
    action: str | None = None
    station: UUID | None = None
    person: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None
    q: str | None = None


def wanted_entries(
    *,
    within: Within,
    entity: Annotated[Text | None, Query(max_length=40, description="Kind of thing: station, user.")] = None,
    entity_id: Annotated[Text | None, Query(max_length=64, description="Id of that thing.")] = None,
    actor: Annotated[Text | None, Query(max_length=64, description="Id of who did it.")] = None,
    action: Annotated[
        Text | None, Query(max_length=60, description="What was done, or how that begins: `station.`")
    ] = None,
    station: Annotated[UUID | None, Query(description="Id of a station.")] = None,
    person: Annotated[UUID | None, Query(description="Id of the person that it tells of.")] = None,
    q: Annotated[
        Text | None,
        Query(max_length=200, description="Free text: action, ids, and reasons that tell of no person."),
    ] = None,
) -> AuditFilter:
    """Read the filters from the query string."""
    return AuditFilter(entity, entity_id, actor, action, station, person, within.since, within.until, q)


Wanted = Annotated[AuditFilter, Depends(wanted_entries)]


def entries(principal: Principal, wanted: AuditFilter) -> Select[AuditEntry]:
    """Select the entries of the caller's scope that fit; `since` is included, `until` is not."""
    query = principal.within(select(AuditEntry), AuditEntry.backoffice_id, AuditEntry.station_id)
    for column, value in (
        (AuditEntry.entity, wanted.entity),
        (AuditEntry.entity_id, wanted.entity_id),
        (AuditEntry.actor_id, wanted.actor),
        (AuditEntry.station_id, wanted.station),
        (AuditEntry.person_id, wanted.person),
    ):
        if value is not None:
            query = query.where(column == value)
    if wanted.action is not None:
        query = query.where(AuditEntry.action.startswith(wanted.action, autoescape=True))
    if wanted.since is not None:
        query = query.where(AuditEntry.at >= wanted.since)
    if wanted.until is not None:
        query = query.where(AuditEntry.at < wanted.until)
    return query.where(
        containing(wanted.q, AuditEntry.action, AuditEntry.entity_id, AuditEntry.actor_id, AuditEntry.reason)
    )


async def readable(
    session: AsyncSession, rows: list[AuditEntry], principal: Principal | None = None
) -> list[AuditEntryOut]:
    """Return entries with what tells of persons decrypted, where their keys still exist.

    `principal` is who reads them, if somebody does: a business is not told which SystemAdmin did something.
    """
    above = principal is None or principal.role is Role.SYSTEM_ADMIN
    keys: PersonKeys = session.info["person_keys"]
    persons = {one for row in rows for one in (row.person_id, row.actor_person_id) if one is not None}
    known = await keys.known(session, persons)

    def of(row: AuditEntry, person_id: UUID | None, sealed: bytes | None) -> dict[str, Any] | None:
        if person_id is None or sealed is None:
            return None
        try:
            return decrypt(known.get(person_id), person_id, sealed)
        except ValueError:  # somebody touched it behind us: `verify` finds that, and the others are read
            logger.error("audit.unreadable", entry=row.id)
            return None

    out = []
    for row in rows:
        seen = above or row.actor_role != Role.SYSTEM_ADMIN
        actor = (of(row, row.actor_person_id, row.actor_personal) if seen else None) or {}
        personal = of(row, row.person_id, row.personal) or {}
        reason = personal.pop(REASON, row.reason)
        out.append(
            AuditEntryOut(
                **{name: getattr(row, name) for name in AuditEntryOut.model_fields if hasattr(row, name)}
                | {
                    "actor_email": actor.get("email"),
                    "actor_address": actor.get("address"),
                    "personal": personal or None,
                    "reason": reason,
                    "sealed": row.seal_id is not None,
                }
            )
        )
    return out


@router.get("")
async def list_audit(
    session: UnitOfWork, principal: Caller, paging: Annotated[Paging, Depends()], wanted: Wanted
) -> Page[AuditEntryOut]:
    """List changes, newest first. A Backoffice sees those of its business."""
    found = await ORDER.slice(session, entries(principal, wanted), paging)
    return found.page(await readable(session, list(found.rows), principal))


class _Csv:
    """Rows of a table for spreadsheets, one after the other."""

    def __init__(self) -> None:
        self._buffer = io.StringIO()
        self._writer = csv.writer(self._buffer)

    def row(self, cells: list[Any]) -> bytes:
        self._writer.writerow([safe_cell(cell) for cell in cells])
        written = self._buffer.getvalue()
        self._buffer.seek(0)
        self._buffer.truncate()
        return written.encode()


@router.get(
    "/export",
    response_class=StreamingResponse,
    responses={200: {"description": "A table, or lines of JSON.", "content": EXPORTED}},
)
async def export_audit(
    request: Request,
    principal: Caller,
    wanted: Wanted,
    form: Annotated[
        Literal["csv", "ndjson"],
        Query(alias="format", description="For a spreadsheet, or a line of JSON each."),
    ] = "csv",
) -> StreamingResponse:
    """Export every entry that fits, oldest first, as it is read: a table, or one line of JSON each."""
    database: Database = request.app.state.database
    media = "text/csv; charset=utf-8" if form == "csv" else "application/x-ndjson"
    name = f"audit.{form}"
    return StreamingResponse(
        _exported(database, principal, wanted, form),
        media_type=media,
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


async def _exported(
    database: Database, principal: Principal, wanted: AuditFilter, form: str
) -> AsyncIterator[bytes]:
    table, last = _Csv(), 0
    if form == "csv":
        yield table.row(list(AuditEntryOut.model_fields))
    while True:
        async with database.session() as session:
            query = (
                entries(principal, wanted).where(AuditEntry.id > last).order_by(AuditEntry.id).limit(CHUNK)
            )
            rows = list((await session.scalars(query)).all())
            shown = await readable(session, rows, principal)
        if not rows:
            return
        last = rows[-1].id
        for one in shown:
            line = _jsonable(one)
            if form == "csv":
                yield table.row([_cell(value) for value in line.values()])
            else:
                yield orjson.dumps(line) + b"\n"


def _jsonable(model: BaseModel) -> dict[str, Any]:
    return model.model_dump(mode="json")


def _cell(value: Any) -> Any:
    if isinstance(value, dict | list):
        return orjson.dumps(value).decode() if value else ""
    return "" if value is None else value

"""`/api/admin/{stations|chargers|id-tags}.csv`: many at once, from and for spreadsheets."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, BackgroundTasks, Depends, Query, Request
from fastapi.responses import StreamingResponse

from ohmstead.accounts.access import Caller
from ohmstead.accounts.limits import Subject, limited_caller
from ohmstead.accounts.principal import Principal
from ohmstead.core.db import Database
from ohmstead.core.errors import Invalid
from ohmstead.core.http import Now, Schema
from ohmstead.fleet.onboarding.chargers_table import CHARGERS
from ohmstead.fleet.onboarding.id_tags_table import ID_TAGS
from ohmstead.fleet.onboarding.sheets import Fault, read_sheet, write_sheet
from ohmstead.fleet.onboarding.stations_table import STATIONS
from ohmstead.fleet.onboarding.tables import Means, Outcome, Table, bring_lines
from ohmstead.stations.adoption import boot_again
from ohmstead.stations.disconnecting import disconnect
from ohmstead.stations.outcomes import Commands
from ohmstead.stations.service import counted

AT_ONCE = 20
"""So many chargers are asked to boot at the same time."""

router = APIRouter(prefix="/api/admin", tags=["Import and export"])

CSV = {"text/csv": {"schema": {"type": "string"}}}
TAKES: dict[str, Any] = {
    "requestBody": {"description": "A table with a heading.", "content": CSV, "required": True}
}
GIVES: dict[int | str, dict[str, Any]] = {200: {"description": "A table with a heading.", "content": CSV}}


class FaultOut(Schema):
    """What is wrong with a line of the file; the heading is line 1."""

    line: int
    column: str | None
    message: str


class Imported(Schema):
    """What a file came to. With `faults` nothing was written; in a rehearsal nothing ever is.

    `passwords` are those that were made for chargers, told once.
    """

    dry_run: bool
    lines: int
    created: int
    changed: int
    faults: list[FaultOut]
    passwords: dict[str, str]


class _Undone(Exception):
    """Ends a unit of work whose changes nobody wants."""


DryRun = Annotated[bool, Query(description="Change nothing: only tell what would happen, and every fault.")]


async def table_body(request: Request) -> bytes:
    """Return the file as it was sent."""
    body = await request.body()
    if not body.strip():
        raise Invalid(
            "The body is empty. Send the file itself: curl --data-binary @chargers.csv"
            " -H 'Content-Type: text/csv'.",
            fields={"body": "is empty"},
        )
    return body


@dataclass(frozen=True, slots=True)
class Bringer:
    """Who brings a file, when, and what must follow when it is written."""

    request: Request
    tasks: BackgroundTasks
    principal: Caller
    now: Now
    body: Annotated[bytes, Depends(table_body)]
    dry_run: DryRun = False


Brought = Annotated[Bringer, Depends()]


async def _import(by: Bringer, table: Table) -> Imported:
    request, principal, dry_run = by.request, by.principal, by.dry_run
    state = request.app.state
    database: Database = state.database
    sheet = await asyncio.to_thread(read_sheet, by.body, table.columns, table.key)
    outcome = Outcome(faults=sheet.faults)
    reconnect: list[str] = []
    adopted: list[str] = []
    try:
        async with database.session() as session:
            means = Means(session, principal, by.now, state.settings.signing_key)
            await bring_lines(table, means, sheet.lines, outcome)
            if dry_run or outcome.faults:
                raise _Undone
        reconnect, adopted = means.reconnect, means.adopted
    except _Undone:
        pass
    faults = outcome.faults
    if faults and not dry_run:
        raise Invalid(
            f"Nothing was written: the file has {counted(len(faults), 'fault')}.",
            code="TableInvalid",
            detail="Mend the lines that `fields` names, or try with ?dry_run=true first.",
            fields=_told(faults),
        )
    by.tasks.add_task(disconnect, state.links, reconnect, "the charger's settings changed")
    by.tasks.add_task(_boot_again, state.commands, adopted)
    return Imported(
        dry_run=dry_run,
        lines=outcome.lines,
        created=outcome.created,
        changed=outcome.changed,
        faults=[FaultOut(line=one.line, column=one.column, message=one.message) for one in faults],
        passwords={} if dry_run else outcome.passwords,
    )


def _told(faults: Sequence[Fault]) -> dict[str, str]:
    told: dict[str, str] = {}
    for one in faults:
        place = f"line {one.line}" + (f", {one.column}" if one.column else "")
        told[place] = f"{told[place]}; {one.message}" if place in told else one.message
    return told


async def _boot_again(commands: Commands, charger_ids: Sequence[str]) -> None:
    """Ask chargers for their BootNotification, some at a time: each may take its time to answer."""
    few = asyncio.Semaphore(AT_ONCE)

    async def ask(charger_id: str) -> None:
        async with few:
            await boot_again(commands, charger_id)

    await asyncio.gather(*map(ask, charger_ids))


async def _pieces(database: Database, principal: Principal, table: Table) -> AsyncIterator[bytes]:
    after: str | None = None
    first = True
    while True:
        async with database.session() as session:
            rows = await table.rows(session, principal, after)
        for piece in write_sheet(table.columns, rows):
            yield piece if first else piece.partition(b"\r\n")[2]
            first = False
        if not rows:
            return
        after = str(rows[-1]["id"])


def _export(request: Request, principal: Principal, table: Table) -> StreamingResponse:
    name = f'attachment; filename="{table.name}.csv"'
    return StreamingResponse(
        _pieces(request.app.state.database, principal, table),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": name},
    )


@router.get("/stations.csv", response_class=StreamingResponse, responses=GIVES)
async def export_stations(request: Request, principal: Caller) -> StreamingResponse:
    """Export the caller's stations as a table that can be imported again."""
    return _export(request, principal, STATIONS)


@router.post("/stations.csv", openapi_extra=TAKES)
async def import_stations(by: Brought) -> Imported:
    """Make and change stations by a table: all of it or, with any fault, nothing.

    A station is known by its `id`; without one by its `name`, within `backoffice_id` where that is given.
    """
    return await _import(by, STATIONS)


@router.get("/chargers.csv", response_class=StreamingResponse, responses=GIVES)
async def export_chargers(request: Request, principal: Caller) -> StreamingResponse:
    """Export the caller's chargers, without passwords, as a table that can be imported again."""
    return _export(request, principal, CHARGERS)


@router.post("/chargers.csv", openapi_extra=TAKES, dependencies=[limited_caller(Subject.COMMAND)])
async def import_chargers(by: Brought) -> Imported:
    """Make and change chargers by a table: all of it or, with any fault, nothing.

    `station` is a name or an id; `connectors` a number, or `1:Type 2:AC:3:22 | 2:CCS:DC::150`. One that came
    by itself is adopted as by a PUT, and asked to boot.
    """
    return await _import(by, CHARGERS)


@router.get("/id-tags.csv", response_class=StreamingResponse, responses=GIVES)
async def export_id_tags(request: Request, principal: Caller) -> StreamingResponse:
    """Export the caller's id tags as a table that can be imported again."""
    return _export(request, principal, ID_TAGS)


@router.post("/id-tags.csv", openapi_extra=TAKES)
async def import_id_tags(by: Brought) -> Imported:
    """Make and change id tags by a table: all of it or, with any fault, nothing.

    An id tag is known by its text, in any case, within its business.
    """
    return await _import(by, ID_TAGS)

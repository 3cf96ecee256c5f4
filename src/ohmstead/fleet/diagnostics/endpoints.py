"""`/api/admin/chargers/{id}/diagnostics`, `/api/admin/chargers/{id}/logs` and `/api/admin/diagnostics`."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response

from ohmstead.accounts.access import Caller
from ohmstead.accounts.limits import Subject, limited_caller
from ohmstead.accounts.principal import Principal
from ohmstead.core.db import Database
from ohmstead.core.downloads import SHOWN, file_response
from ohmstead.core.errors import NotFound
from ohmstead.core.files import StoredFile
from ohmstead.core.http import Now, UnitOfWork
from ohmstead.core.openapi import refuses
from ohmstead.core.paging import Page, Paging
from ohmstead.core.text import Text
from ohmstead.core.uploads import file_name
from ohmstead.fleet.diagnostics import queries, service
from ohmstead.fleet.diagnostics.models import DiagnosticsKind, DiagnosticsState
from ohmstead.fleet.diagnostics.schemas import DiagnosticsEventOut, DiagnosticsIn, DiagnosticsOut, LogIn
from ohmstead.stations.attending import attended
from ohmstead.stations.chargers_queries import get_charger
from ohmstead.stations.parameters import ChargerId

router = APIRouter(prefix="/api/admin", tags=["Diagnostics"])

JobId = Annotated[UUID, Path(description="The id of diagnostics.")]
OFFLINE = refuses(409, "The charger is not connected, or left.")


@router.post(
    "/chargers/{charger_id}/diagnostics",
    status_code=201,
    responses=OFFLINE,
    dependencies=[limited_caller(Subject.COMMAND)],
)
async def get_charger_diagnostics(
    request: Request, principal: Caller, now: Now, charger_id: ChargerId, body: DiagnosticsIn
) -> DiagnosticsOut:
    """Have a charger upload its diagnostics (GetDiagnostics): to us, or to an address outside.

    Answers with the job as it stands when the charger has answered. How it goes on: see the history.
    """
    return await _ask(request, principal, now, charger_id, body)


@router.post(
    "/chargers/{charger_id}/logs",
    status_code=201,
    responses=OFFLINE,
    dependencies=[limited_caller(Subject.COMMAND)],
)
async def get_charger_log(
    request: Request, principal: Caller, now: Now, charger_id: ChargerId, body: LogIn
) -> DiagnosticsOut:
    """Have a charger upload a log (GetLog of the security whitepaper): to us, or to an address outside."""
    return await _ask(request, principal, now, charger_id, body, kind=DiagnosticsKind(body.log_type))


async def _ask(
    request: Request,
    principal: Principal,
    now: datetime,
    charger_id: str,
    body: DiagnosticsIn,
    *,
    kind: DiagnosticsKind = DiagnosticsKind.DIAGNOSTICS,
) -> DiagnosticsOut:
    state = request.app.state
    database: Database = state.database
    async with database.session() as session:
        charger = await get_charger(session, principal, charger_id, lock=True)
        begun = await service.begin(session, state.settings, charger, body, now, kind=kind)
    async with attended(request):
        row, _ = await service.ask(database, state.commands, state.clock, begun)
    return DiagnosticsOut.model_validate(row)


@router.get("/diagnostics")
async def list_diagnostics(
    *,
    session: UnitOfWork,
    principal: Caller,
    paging: Annotated[Paging, Depends()],
    charger: Annotated[Text | None, Query(max_length=48, description="Only of this charger.")] = None,
    kind: Annotated[DiagnosticsKind | None, Query(description="Only this kind of file.")] = None,
    state: Annotated[DiagnosticsState | None, Query(description="Only those in this state.")] = None,
    sort: Annotated[str | None, Query(description="`created_at`; `-` before it: falling.")] = None,
) -> Page[DiagnosticsOut]:
    """List the diagnostics and logs that were asked for, the newest first; `q` searches charger and file."""
    return await queries.list_jobs(
        session, principal, paging, charger_id=charger, kind=kind, state=state, sort=sort
    )


@router.get("/diagnostics/{diagnostics_id}")
async def show_diagnostics(session: UnitOfWork, principal: Caller, diagnostics_id: JobId) -> DiagnosticsOut:
    """Show what became of diagnostics or of a log that a charger was asked for."""
    return DiagnosticsOut.model_validate(await queries.get_job(session, principal, diagnostics_id))


@router.get("/diagnostics/{diagnostics_id}/history")
async def list_diagnostics_history(
    session: UnitOfWork, principal: Caller, paging: Annotated[Paging, Depends()], diagnostics_id: JobId
) -> Page[DiagnosticsEventOut]:
    """List what happened, the last first: the charger's words and ours."""
    await queries.get_job(session, principal, diagnostics_id)
    return await queries.history(session, diagnostics_id, paging)


@router.get("/diagnostics/{diagnostics_id}/file", response_class=Response, responses={200: SHOWN})
async def get_diagnostics_file(request: Request, principal: Caller, diagnostics_id: JobId) -> Response:
    """Get the file that the charger brought; `Range` is understood."""
    database: Database = request.app.state.database
    async with database.session() as session:
        row = await queries.get_job(session, principal, diagnostics_id)
        file = await session.get(StoredFile, row.file_id) if row.file_id is not None else None
    if file is None:
        gone = row.received_at is not None
        raise NotFound(
            "The file was removed: such files are kept for OHMSTEAD_CHARGER_FILE_DAYS days."
            if gone
            else f"The charger has not brought the file: the job is {row.state}. {row.detail}".strip(),
            code="FileGone" if gone else "FileNotReceived",
        )
    return await file_response(request, file, f"{file_name(row.charger_id) or 'charger'}-{file.name}")

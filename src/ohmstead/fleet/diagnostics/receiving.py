"""Files that chargers bring by the link that they were given: one for each link.

A link takes a file as long as none has come and it has not expired, also when the job has been given up
meanwhile. An upload that breaks, is empty or too large leaves nothing, and may be tried again.
"""

from typing import Final
from uuid import UUID

from fastapi import Request
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.exceptions import HTTPException

from ohmstead.accounts.audit import record_row
from ohmstead.core.acting import Acting
from ohmstead.core.blobs import TooLarge
from ohmstead.core.clock import Clock
from ohmstead.core.config import Settings
from ohmstead.core.db import Database
from ohmstead.core.errors import Invalid
from ohmstead.core.file_links import LinkEnded
from ohmstead.core.files import Files, StoredFile, keep
from ohmstead.core.uploads import IncomingFile, UploadStalled, file_name
from ohmstead.fleet.diagnostics.errors import LinkUsed
from ohmstead.fleet.diagnostics.models import KIND, DiagnosticsJob, DiagnosticsState
from ohmstead.fleet.diagnostics.rows import end, locked, note
from ohmstead.stations.models import Charger

ATTEMPTS: Final = 20
"""So many uploads may be begun by one link: who has it cannot fill the disk."""


async def receive(request: Request, job_id: UUID, called: str) -> StoredFile:
    """Take the file of a job from the body of a request, which calls it so. Returns it, kept.

    Raises `LinkUsed` when it has come already (also meanwhile), `LinkEnded` when the job was removed,
    `TooLarge`, and `Invalid` for an empty body or a form that cannot be read.
    """
    state = request.app.state
    database: Database = state.database
    clock: Clock = state.clock
    files: Files = state.files
    settings: Settings = state.settings
    async with database.session() as session:
        row = await _waiting(session, job_id)
        if row.attempts >= ATTEMPTS:
            raise LinkUsed("This link was tried too often without success. Ask for the file anew.")
        row.attempts += 1
        row.updated_at = clock.now()
        await note(session, job_id, "Receiving", clock.now())
    incoming = IncomingFile(request)
    try:
        file = await files.put(incoming, limit=settings.upload_max_bytes)
        if file.size == 0:
            await files.discard(file.id)
            raise Invalid("The file is empty. Send its content as the body.", fields={"body": "is empty"})
    except (TooLarge, Invalid, UploadStalled, HTTPException) as error:
        why = error.detail if isinstance(error, HTTPException) else error.message
        async with database.session() as session:
            await note(session, job_id, "NotReceived", clock.now(), why)
        raise
    try:
        async with database.session() as session:
            row = await _waiting(session, job_id)
            now = clock.now()
            name = file_name(called) or incoming.name or file_name(row.file_name or "") or "diagnostics"
            await keep(session, file.id, KIND, name, now)
            row.file_id, row.size, row.sha256, row.received_at = file.id, file.size, file.sha256, now
            row.file_name = row.file_name or name
            await note(session, job_id, "Received", now, f"{file.size} bytes")
            await end(session, row, DiagnosticsState.DONE, "", now)
            charger = await session.get(Charger, row.charger_id)
            by = Acting(kind="charger", id=row.charger_id)
            await record_row(session, "diagnostics.received", row, at=charger, by=by)
    except BaseException:
        await files.discard(file.id)
        raise
    return file


async def _waiting(session: AsyncSession, job_id: UUID) -> DiagnosticsJob:
    row = await locked(session, job_id)
    if row is None:
        raise LinkEnded("What this link was made for has been deleted.", code="LinkExpired")
    if row.received_at is not None:
        raise LinkUsed("A file has come by this link already; it takes only one. Ask for another file.")
    return row

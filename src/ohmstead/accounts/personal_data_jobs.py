"""Exports and erasures at work: part by part, each written down when it is done.

A job that was killed goes on: an erasure with the part that it was at, an export from its beginning. So does
one that fails, soon and some times; the request says at which part.
"""

from contextlib import suppress
from uuid import UUID

import structlog
from procrastinate import Blueprint, JobContext, RetryStrategy
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.audit import record
from ohmstead.accounts.models import User
from ohmstead.accounts.personal_data import Contribution, PersonalData, find_person
from ohmstead.accounts.personal_data_archive import Archive
from ohmstead.accounts.personal_data_models import PersonalDataRequest, RequestKind, RequestState
from ohmstead.accounts.personal_data_requests import KEPT, drop_archives, find_request, obstacle
from ohmstead.accounts.personal_data_standing import require_not_erased
from ohmstead.core.clock import Clock
from ohmstead.core.config import Settings
from ohmstead.core.db import Database
from ohmstead.core.errors import Conflict, DomainError, Unavailable
from ohmstead.core.file_links import link_to
from ohmstead.core.files import Files, keep

logger = structlog.stdlib.get_logger(__name__)

NAMESPACE = "personal_data"
KIND = "PersonalData"
NAME = "personal-data.zip"
LARGEST = 20 * 2**30
AGAIN = RetryStrategy(max_attempts=10, wait=5, linear_wait=60)
"""For less than an hour: whoever asked waits, and can ask again when it has failed for good."""
FOR_GOOD = "It has failed for good by a fault of ours, which is in our log. What is done stays so; ask again."

blueprint = Blueprint()


@blueprint.periodic(cron="13 * * * *")
@blueprint.task(name="expire", pass_context=True, queueing_lock="personal_data_expire")
async def expire(context: JobContext, timestamp: int) -> None:
    """Let the archives go whose time is over."""
    means = context.additional_context
    async with means["database"].session() as session:
        await drop_archives(session, means["clock"].now())


@blueprint.task(name="work", pass_context=True, retry=AGAIN)
async def work(context: JobContext, request_id: str) -> None:
    """Do what was asked for. What fails by a rule has failed; what fails otherwise is tried again."""
    means = context.additional_context
    worker = RequestWork(
        means["database"], means["personal_data"], means["files"], means["settings"], means["clock"]
    )
    try:
        await worker.run(UUID(request_id))
    except Exception as error:
        if isinstance(error, DomainError) and not isinstance(error, Unavailable):
            await worker.failed(UUID(request_id), error.message)
            return
        if context.job is not None and context.job.attempts + 1 >= (AGAIN.max_attempts or 1):
            await worker.failed(UUID(request_id), FOR_GOOD)
        raise


class RequestWork:
    """Works on one request at a time."""

    def __init__(
        self, database: Database, parts: PersonalData, files: Files, settings: Settings, clock: Clock
    ) -> None:
        self._database = database
        self._parts = parts.contributions
        self._files = files
        self._settings = settings
        self._clock = clock

    async def run(self, request_id: UUID) -> None:
        """Do a request that has not ended; one that has is left as it is.

        Raises `Conflict` for an erasure that something stands in the way of, and an export of who is erased.
        """
        async with self._database.session() as session:
            row = await find_request(session, request_id, locked=True)
            if row.ended_at is not None:
                return
            row.state = RequestState.RUNNING
            if row.kind == RequestKind.EXPORT:
                row.parts = []
                await require_not_erased(session, await session.get_one(User, row.user_id))
        if row.kind == RequestKind.EXPORT:
            await self._export(row)
        else:
            await self._erase(row)

    async def failed(self, request_id: UUID, why: str) -> None:
        """Write that a request has come to nothing."""
        async with self._database.session() as session:
            row = await find_request(session, request_id, locked=True)
            if row.ended_at is None:
                row.state, row.detail, row.ended_at = RequestState.FAILED, why[:300], self._clock.now()
        logger.warning("personal_data.failed", request=str(request_id))

    async def _tripped(self, request_id: UUID, part: Contribution, error: Exception) -> None:
        """Write that a part failed, without what the error says: that may tell of the person."""
        fault = type(error).__name__
        if isinstance(error, DBAPIError) and (state := getattr(error.orig, "sqlstate", None)):
            fault = f"{fault} {state}"
        logger.warning("personal_data.part_failed", request=str(request_id), part=part.name, error=fault)
        with suppress(Unavailable):
            async with self._database.session() as session:
                row = await find_request(session, request_id, locked=True)
                row.detail = f"The part {part.name} has failed ({fault}). It is tried again."

    async def _done(self, request_id: UUID, part: Contribution) -> None:
        async with self._database.session() as session:
            row = await find_request(session, request_id, locked=True)
            row.parts, row.detail = list(dict.fromkeys([*row.parts, part.name])), None

    async def _export(self, row: PersonalDataRequest) -> None:
        async with self._database.session() as session:
            person = await find_person(session, row.user_id)
        archive = Archive()
        try:
            for part in self._parts:
                try:
                    if part.export is not None:
                        async for sheet in part.export(self._database, person, self._clock):
                            await archive.add(sheet)
                except Exception as error:
                    await self._tripped(row.id, part, error)
                    raise
                await self._done(row.id, part)
            file = await self._files.put(archive.read(), limit=LARGEST)
        finally:
            archive.close()
        try:
            async with self._database.session() as session:
                await self._give_out(session, row, file.id)
        except Conflict:
            await self._files.discard(file.id)
            raise

    async def _give_out(self, session: AsyncSession, row: PersonalDataRequest, file_id: UUID) -> None:
        """Keep an archive and make its link, unless the person is being erased by now."""
        user = await session.get_one(User, row.user_id, with_for_update=True)  # as who asks for an erasure
        await require_not_erased(session, user)
        now = self._clock.now()
        row = await find_request(session, row.id, locked=True)
        if row.ended_at is not None:
            raise Conflict("This export has ended already.")
        await keep(session, file_id, KIND, NAME, now)
        row.file_id, row.expires_at = file_id, now + KEPT
        row.link_id = await link_to(session, file_id, row.expires_at)
        row.state, row.ended_at = RequestState.DONE, now
        await self._told(session, row)

    async def _erase(self, row: PersonalDataRequest) -> None:
        async with self._database.session() as session:
            if not row.parts:
                _require_none(await obstacle(session, self._parts, row.user_id))
            await drop_archives(session, self._clock.now(), user_id=row.user_id)
        for part in self._parts:
            if part.name in row.parts:
                continue
            if part.erase is not None:
                async with self._database.session() as session:
                    person = await find_person(session, row.user_id)
                    # Again: what was not in the way at the beginning may be by now.
                    _require_none(await obstacle(session, [part], row.user_id))
                try:
                    await part.erase(self._database, person, self._clock)
                except Exception as error:
                    await self._tripped(row.id, part, error)
                    raise
            await self._done(row.id, part)
        async with self._database.session() as session:
            row = await find_request(session, row.id, locked=True)
            if row.ended_at is None:  # another one was at it too, which had been taken for dead
                row.state, row.ended_at = RequestState.DONE, self._clock.now()
                await self._told(session, row)

    async def _told(self, session: AsyncSession, row: PersonalDataRequest) -> None:
        await record(
            session,
            "personal_data.exported" if row.kind == RequestKind.EXPORT else "personal_data.erased",
            entity="user",
            entity_id=row.user_id,
            after={"request_id": row.id},
        )


def _require_none(obstacle: str | None) -> None:
    if obstacle is not None:
        raise Conflict(obstacle, code="ErasureBlocked")

"""Files: each is a row here, and its bytes lie in a folder or a bucket (see `core.blobs`).

The row is written before the first byte and after the last one, so that no byte is without a row. A file
counts when the unit of work that needs it has called `keep`; one that nobody kept within a day is removed,
and so is one that was dropped: first its bytes, then its row.
"""

from collections.abc import AsyncIterable, AsyncIterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4

import structlog
from procrastinate import Blueprint, JobContext
from sqlalchemy import BigInteger, Index, String, delete, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from ohmstead.core.blobs import Blobs
from ohmstead.core.clock import Clock
from ohmstead.core.config import Settings
from ohmstead.core.db import Base, Database
from ohmstead.core.errors import Conflict, Unavailable
from ohmstead.core.file_links import FileLink

logger = structlog.stdlib.get_logger(__name__)

NAMESPACE = "files"
FOLDER: Final = "files"
"""Below the data folder, where no other place is set."""
UNKEPT = timedelta(days=1)
BATCH: Final = 200


class StoredFile(Base):
    """A file. Without `sha256` it is being written, without `kept_at` nobody needs it yet.

    `kind` says what keeps it (`Firmware`, `Diagnostics`); `dropped_at` is set when it may go.
    """

    __tablename__ = "core_file"
    __table_args__ = (
        Index(
            "ix_core_file_sweep",
            "created_at",
            postgresql_where=text("kept_at IS NULL OR dropped_at IS NOT NULL"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    kind: Mapped[str | None] = mapped_column(String(20))
    name: Mapped[str] = mapped_column(String(200), default="", server_default="")
    size: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    sha256: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime]
    kept_at: Mapped[datetime | None]
    dropped_at: Mapped[datetime | None]

    @property
    def key(self) -> str:
        """Where its bytes lie; folders stay small."""
        return f"{self.id.hex[:2]}/{self.id.hex}"


class Files:
    """The one store of files of an installation."""

    def __init__(self, settings: Settings, database: Database, clock: Clock) -> None:
        place: Path | str = settings.files_url or settings.data_dir / FOLDER
        self.blobs = Blobs(place)
        self._database = database
        self._clock = clock

    async def put(self, chunks: AsyncIterable[bytes], *, limit: int) -> StoredFile:
        """Store a stream of at most `limit` bytes. It goes again within a day unless it is kept.

        Raises `TooLarge`, what the stream raises, and `Unavailable`; then nothing is stored. Hold no
        transaction meanwhile.
        """
        file = StoredFile(id=uuid4(), created_at=self._clock.now())
        async with self._database.session() as session:
            session.add(file)
        try:
            written = await self.blobs.put(file.key, chunks, limit=limit)
        except BaseException:
            await self.discard(file.id)
            raise
        async with self._database.session() as session:
            ready = (
                update(StoredFile)
                .where(StoredFile.id == file.id)
                .values(size=written.size, sha256=written.sha256)
                .returning(StoredFile)
            )
            found = (await session.execute(ready)).scalar_one_or_none()
        if found is None:
            raise Conflict("The upload took longer than a day. Send it again.", code="UploadTooSlow")
        return found

    def read(self, file: StoredFile, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        """Give the bytes of a file from `start` up to and without `stop`, block by block.

        Raises `NotFound` when they are missing, and `Unavailable`.
        """
        return self.blobs.read(file.key, start, file.size if stop is None else stop)

    async def discard(self, file_id: UUID) -> None:
        """Let a file go that was put and is not needed after all, in a unit of work of its own."""
        with suppress(Unavailable):  # nobody keeps it: it goes within a day in any case
            async with self._database.session() as session:
                await drop(session, file_id, self._clock.now())

    async def sweep(self) -> None:
        """Remove what was dropped, what nobody kept within a day, and links whose time is over.

        Raises `Unavailable`.
        """
        while True:
            now = self._clock.now()
            query = (
                select(StoredFile)
                .where(or_(StoredFile.dropped_at.is_not(None), StoredFile.kept_at.is_(None)))
                .where(or_(StoredFile.dropped_at.is_not(None), StoredFile.created_at < now - UNKEPT))
                .order_by(StoredFile.created_at)
                .limit(BATCH)
            )
            async with self._database.session() as session:
                going = list((await session.scalars(query)).all())
            for file in going:
                await self.blobs.delete(file.key)
                async with self._database.session() as session:
                    await session.execute(delete(StoredFile).where(StoredFile.id == file.id))
            if going:
                logger.info("files.removed", count=len(going))
            if len(going) < BATCH:
                break
        async with self._database.session() as session:
            await session.execute(delete(FileLink).where(FileLink.until < self._clock.now()))
        await self.blobs.clear_leftovers()


async def keep(session: AsyncSession, file_id: UUID, kind: str, name: str, now: datetime) -> None:
    """Keep a file from now on, under a name. Raises `Conflict` when it has gone meanwhile."""
    kept = (
        update(StoredFile)
        .where(StoredFile.id == file_id, StoredFile.sha256.is_not(None), StoredFile.dropped_at.is_(None))
        .values(kind=kind, name=name, kept_at=now)
        .returning(StoredFile.id)
    )
    if (await session.execute(kept)).scalar_one_or_none() is None:
        raise Conflict("The file has been removed meanwhile. Send it again.", code="FileGone")


async def drop(session: AsyncSession, file_id: UUID, now: datetime) -> None:
    """Let a file go when the caller's unit of work has committed; its bytes are removed soon after."""
    await session.execute(
        update(StoredFile)
        .where(StoredFile.id == file_id, StoredFile.dropped_at.is_(None))
        .values(dropped_at=now)
    )


blueprint = Blueprint()


@blueprint.periodic(cron="*/10 * * * *")
@blueprint.task(name="sweep", pass_context=True, queueing_lock="files_sweep")
async def sweep(context: JobContext, timestamp: int) -> None:
    """Remove the files that nobody needs, and the links that have expired."""
    files: Files = context.additional_context["files"]
    await files.sweep()

"""Where the bytes of files lie: a folder, or a bucket of S3. Nothing half written is ever seen.

Bytes go in as a stream and come out in blocks, so that a file is never in memory as a whole; the library
works in threads of its own, so that the event loop never waits for a disk.
"""

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import obstore
import structlog
from obstore.exceptions import BaseError
from obstore.store import LocalStore, S3Store

from ohmstead.core.errors import DomainError, Kind, NotFound, Unavailable

logger = structlog.stdlib.get_logger(__name__)

BLOCK: Final = 1_048_576
"""Bytes that are read at once."""
PART: Final = 5 * 1_048_576
"""Bytes of one part of an upload; S3 takes no smaller ones."""
PARTS_AT_ONCE: Final = 2
RETRIES = 3
"""How often a request to S3 is tried again."""
LEFTOVER_SECONDS: Final = 86_400
"""After that long a part of an upload in the folder is what a killed process left behind."""
AWAY: Final = (BaseError, OSError)


class TooLarge(DomainError):
    """A file has more bytes than it may have."""

    kind = Kind.TOO_LARGE
    code = "PayloadTooLarge"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"The file is larger than {limit} bytes, the most that is taken. Send a smaller one,"
            " or raise OHMSTEAD_UPLOAD_MAX_BYTES."
        )


@dataclass(frozen=True, slots=True)
class Written:
    """What was written: how many bytes, and their SHA-256 in hexadecimal digits."""

    size: int
    sha256: str


class Blobs:
    """Bytes by their keys, below `place`: a folder, or `s3://bucket/prefix`.

    For S3 the usual `AWS_*` variables of the environment say who asks and where
    (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT_URL`).
    """

    def __init__(self, place: Path | str) -> None:
        self.place = place
        self._store: LocalStore | S3Store | None = None

    def _open(self) -> LocalStore | S3Store:
        """Open the store; the folder is made when it is not there."""
        if isinstance(self.place, Path):
            return LocalStore(self.place, mkdir=True)
        return S3Store.from_url(
            self.place,
            client_options={"allow_http": True, "connect_timeout": "5s", "timeout": "60s"},
            retry_config={"max_retries": RETRIES, "retry_timeout": timedelta(seconds=20)},
        )

    async def _opened(self) -> LocalStore | S3Store:
        if self._store is None:
            self._store = await asyncio.to_thread(self._open)
        return self._store

    async def put(self, key: str, chunks: AsyncIterable[bytes], *, limit: int) -> Written:
        """Write a stream under a key, whole or not at all.

        Raises `TooLarge` as soon as there are more than `limit` bytes, whatever the stream raises, and
        `Unavailable` when the store does not take it.
        """
        digest = hashlib.sha256()
        size = 0

        async def counted() -> AsyncIterator[bytes]:
            nonlocal size
            async for chunk in chunks:
                if not chunk:
                    continue
                size += len(chunk)
                if size > limit:
                    raise TooLarge(limit)
                digest.update(chunk)
                yield chunk

        fed = _Fed(counted())
        try:
            store = await self._opened()
            await obstore.put_async(store, key, fed, chunk_size=PART, max_concurrency=PARTS_AT_ONCE)
            if isinstance(self.place, Path):
                await asyncio.to_thread(_sync, self.place / key)
        except AWAY as error:
            if error is fed.fault:
                raise
            raise _away(error) from error
        return Written(size, digest.hexdigest())

    async def read(self, key: str, start: int, stop: int) -> AsyncIterator[bytes]:
        """Give the bytes of a key from `start` up to and without `stop`, block by block.

        Raises `NotFound` when there is nothing under the key, and `Unavailable`.
        """
        for at in range(start, stop, BLOCK):
            try:
                store = await self._opened()
                block = await obstore.get_range_async(store, key, start=at, end=min(at + BLOCK, stop))
            except FileNotFoundError as error:
                logger.warning("files.missing", key=key)
                raise NotFound("The content of this file is gone.", code="FileGone") from error
            except AWAY as error:
                raise _away(error) from error
            yield block.to_bytes()

    async def delete(self, key: str) -> None:
        """Delete a key; one that is not there is as good. Raises `Unavailable`."""
        try:
            await obstore.delete_async(await self._opened(), key)
        except FileNotFoundError:
            return
        except AWAY as error:
            raise _away(error) from error

    async def clear_leftovers(self) -> None:
        """Remove from the folder what uploads left that a killed process never ended.

        In S3 such parts are invisible; a rule of the bucket's life cycle removes them.
        """
        if isinstance(self.place, Path):
            await asyncio.to_thread(_clear, self.place, time.time() - LEFTOVER_SECONDS)


class _Fed:
    """A stream that remembers what it raised: that is no fault of the store."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self.fault: BaseException | None = None

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await anext(self._chunks)
        except StopAsyncIteration:
            raise
        except BaseException as error:
            self.fault = error
            raise


def _away(error: Exception) -> Unavailable:
    """Return the error that tells a caller that the store is away, with the cause in the log only."""
    logger.warning("files.away", reason=str(error).splitlines()[0] if str(error) else type(error).__name__)
    return Unavailable("The store of files does not answer at the moment. Try again in a few seconds.")


def _sync(path: Path) -> None:
    """Bring a file and its name to the disk."""
    for one in (path, path.parent):
        handle = os.open(one, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _clear(folder: Path, before: float) -> None:
    for path in folder.glob("*/*#*"):
        if path.stat().st_mtime < before:
            path.unlink(missing_ok=True)

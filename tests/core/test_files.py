"""The store of files: a folder on disk and a real server of S3 behave alike."""

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from moto.server import ThreadedMotoServer
from sqlalchemy import func, select
from tests.conftest import FrozenClock

from ohmstead.core.blobs import BLOCK, PART, PARTS_AT_ONCE, TooLarge
from ohmstead.core.config import Settings
from ohmstead.core.db import Database
from ohmstead.core.errors import Conflict, NotFound, Unavailable
from ohmstead.core.files import Files, StoredFile, drop, keep

LIMIT = 100 * 1024 * 1024


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of a server that speaks S3, with one bucket."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    assert httpx.put(f"{url}/ohmstead-files").status_code == 200
    yield url
    server.stop()


@pytest.fixture(params=["folder", "s3"])
def files(
    request: pytest.FixtureRequest,
    *,
    settings: Settings,
    db: Database,
    clock: FrozenClock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Files:
    """The store, once in a folder and once in a bucket."""
    if request.param == "folder":
        return Files(settings.model_copy(update={"data_dir": tmp_path}), db, clock)
    for name, value in {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": request.getfixturevalue("s3"),
    }.items():
        monkeypatch.setenv(name, value)
    place = f"s3://ohmstead-files/{uuid4().hex}"
    return Files(settings.model_copy(update={"files_url": place}), db, clock)


@pytest.fixture
def folder(settings: Settings, db: Database, clock: FrozenClock, tmp_path: Path) -> Files:
    return Files(settings.model_copy(update={"data_dir": tmp_path}), db, clock)


async def stream(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        await asyncio.sleep(0)
        yield chunk


async def content(files: Files, file: StoredFile, *part: int) -> bytes:
    return b"".join([block async for block in files.read(file, *part)])


async def rows(db: Database) -> int:
    async with db.session() as session:
        return int((await session.execute(select(func.count()).select_from(StoredFile))).scalar_one())


async def row(db: Database, file: StoredFile) -> StoredFile | None:
    async with db.session() as session:
        return (
            await session.execute(
                select(StoredFile).where(StoredFile.id == file.id).execution_options(populate_existing=True)
            )
        ).scalar_one_or_none()


async def objects(files: Files) -> list[str]:
    store = await files.blobs._opened()
    return [one["path"] for one in await store.list().collect_async()]


async def kept(files: Files, db: Database, clock: FrozenClock, *chunks: bytes) -> StoredFile:
    file = await files.put(stream(*chunks), limit=LIMIT)
    async with db.session() as session:
        await keep(session, file.id, "Firmware", "a.bin", clock.now())
    return file


@asynccontextmanager
async def stuck_s3() -> AsyncIterator[tuple[str, asyncio.Event]]:
    """A server that begins uploads and then takes no parts; the event tells that one was offered."""
    offered, over = asyncio.Event(), asyncio.Event()
    serving: list[asyncio.Task[None] | None] = []
    begun = (
        b'<?xml version="1.0"?><InitiateMultipartUploadResult><Bucket>bucket</Bucket><Key>k</Key>'
        b"<UploadId>1</UploadId></InitiateMultipartUploadResult>"
    )

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"PUT"):
                    offered.set()
                    await over.wait()
                    return
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(begun) + begun)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", offered
    finally:
        over.set()
        server.close()
        await asyncio.gather(*(task for task in serving if task is not None))


class TestPut:
    async def test_what_was_put_can_be_had_whole_and_in_parts(self, files: Files) -> None:
        body = os.urandom(2 * PART + 17)
        file = await files.put(stream(body[:100], b"", body[100:-5], body[-5:]), limit=len(body))
        assert (file.size, file.sha256) == (len(body), hashlib.sha256(body).hexdigest())
        assert await content(files, file) == body
        assert await content(files, file, 0, 1) == body[:1]
        assert await content(files, file, BLOCK - 1, BLOCK + 2) == body[BLOCK - 1 : BLOCK + 2]
        assert await content(files, file, len(body) - 3) == body[-3:]

    async def test_an_empty_one_is_a_file_too(self, files: Files) -> None:
        file = await files.put(stream(), limit=LIMIT)
        assert (file.size, file.sha256) == (0, hashlib.sha256(b"").hexdigest())
        assert await content(files, file) == b""

    async def test_one_byte_too_many_leaves_nothing(self, files: Files, db: Database) -> None:
        with pytest.raises(TooLarge, match="OHMSTEAD_UPLOAD_MAX_BYTES") as refused:
            await files.put(stream(b"x" * PART, b"x" * PART, b"x"), limit=2 * PART)
        assert refused.value.kind == "too_large"
        assert await objects(files) == []
        await files.sweep()
        assert await rows(db) == 0

    @pytest.mark.parametrize("fault", [ConnectionResetError, ValueError, TimeoutError])
    async def test_a_stream_that_breaks_leaves_nothing_and_its_own_error(
        self, files: Files, db: Database, fault: type[Exception]
    ) -> None:
        async def broken() -> AsyncIterator[bytes]:
            yield b"x" * (PART + 1)
            raise fault("gone")

        with pytest.raises(fault, match="gone"):
            await files.put(broken(), limit=LIMIT)
        assert await objects(files) == []
        await files.sweep()
        assert await rows(db) == 0

    async def test_nothing_is_seen_before_the_last_byte_has_come(self, files: Files) -> None:
        rest, begun = asyncio.Event(), asyncio.Event()

        async def slow() -> AsyncIterator[bytes]:
            yield b"x" * (PART + 1)
            begun.set()
            await rest.wait()
            yield b"y"

        putting = asyncio.create_task(files.put(slow(), limit=LIMIT))
        await begun.wait()
        assert await objects(files) == []
        rest.set()
        file = await putting
        assert await objects(files) == [file.key]

    async def test_one_whose_caller_goes_is_not_stored(self, files: Files, db: Database) -> None:
        begun = asyncio.Event()

        async def endless() -> AsyncIterator[bytes]:
            yield b"x" * (PART + 1)
            begun.set()
            await asyncio.Event().wait()

        putting = asyncio.create_task(files.put(endless(), limit=LIMIT))
        await begun.wait()
        putting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await putting
        assert await objects(files) == []
        await files.sweep()
        assert await rows(db) == 0

    async def test_many_at_once_do_not_meet(
        self, settings: Settings, database_factory: Any, clock: FrozenClock, tmp_path: Path
    ) -> None:
        database = Database(database_factory("files"))
        files = Files(settings.model_copy(update={"data_dir": tmp_path}), database, clock)
        bodies = [bytes([number]) * 1000 for number in range(8)]
        stored = await asyncio.gather(*(files.put(stream(body), limit=LIMIT) for body in bodies))
        assert [await content(files, file) for file in stored] == bodies
        await database.close()

    async def test_of_a_large_one_only_some_parts_are_in_memory_while_the_store_is_slow(
        self, settings: Settings, db: Database, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = 0

        async def many() -> AsyncIterator[bytes]:
            nonlocal made
            while True:
                made += 1
                yield bytes(1_048_576)

        async with stuck_s3() as (url, stuck):
            for name, value in {"ACCESS_KEY_ID": "x", "SECRET_ACCESS_KEY": "x", "ENDPOINT_URL": url}.items():
                monkeypatch.setenv(f"AWS_{name}", value)
            files = Files(settings.model_copy(update={"files_url": "s3://bucket"}), db, clock)
            putting = asyncio.create_task(files.put(many(), limit=10**12))
            await stuck.wait()
            before = -1
            while made != before:  # until no more is taken
                before = made
                await asyncio.sleep(0.2)
            putting.cancel()
            await asyncio.gather(putting, return_exceptions=True)
        assert 0 < made <= (PARTS_AT_ONCE + 2) * PART // 1_048_576

    async def test_the_event_loop_goes_on_while_a_large_one_is_written(self, folder: Files) -> None:
        made = waiting = 0

        async def many() -> AsyncIterator[bytes]:
            nonlocal made
            for _ in range(64):
                made += 1
                yield bytes(1_048_576)

        async def beat() -> None:
            nonlocal waiting
            while True:
                before = time.perf_counter()
                await asyncio.sleep(0.005)
                waiting = max(waiting, int((time.perf_counter() - before) * 1000))

        beating = asyncio.create_task(beat())
        file = await folder.put(many(), limit=LIMIT)
        beating.cancel()
        assert (file.size, made) == (64 * 1_048_576, 64)
        assert waiting < 500, "milliseconds in which nothing else could run"


class TestKeep:
    async def test_what_nobody_keeps_goes_after_a_day_and_what_is_kept_stays(
        self, files: Files, db: Database, clock: FrozenClock
    ) -> None:
        file = await kept(files, db, clock, b"kept")
        left = await files.put(stream(b"left"), limit=LIMIT)
        clock.advance(timedelta(hours=23).total_seconds())
        await files.sweep()
        assert await row(db, left)
        clock.advance(timedelta(hours=2).total_seconds())
        await files.sweep()
        assert await row(db, left) is None
        assert await content(files, file) == b"kept"
        assert await objects(files) == [file.key]

    async def test_what_was_dropped_goes_with_its_bytes_and_twice_is_as_good(
        self, files: Files, db: Database, clock: FrozenClock
    ) -> None:
        file = await kept(files, db, clock, b"bytes")
        for _ in range(2):
            async with db.session() as session:
                await drop(session, file.id, clock.now())
            await files.sweep()
        assert await rows(db) == 0
        assert await objects(files) == []
        await files.blobs.delete(file.key)

    async def test_a_file_that_has_gone_cannot_be_kept(
        self, folder: Files, db: Database, clock: FrozenClock
    ) -> None:
        file = await folder.put(stream(b"x"), limit=LIMIT)
        await folder.discard(file.id)
        with pytest.raises(Conflict):
            async with db.session() as session:
                await keep(session, file.id, "Firmware", "a.bin", clock.now())

    async def test_the_bytes_of_a_row_may_be_missing_and_that_is_said(self, files: Files) -> None:
        file = await files.put(stream(b"x"), limit=LIMIT)
        await files.blobs.delete(file.key)
        with pytest.raises(NotFound, match="gone"):
            await content(files, file)


class TestAway:
    async def test_a_folder_that_cannot_be_written_is_unavailable(
        self, settings: Settings, db: Database, clock: FrozenClock, tmp_path: Path
    ) -> None:
        (tmp_path / "files").write_text("in the way")
        files = Files(settings.model_copy(update={"data_dir": tmp_path}), db, clock)
        with pytest.raises(Unavailable, match="store of files"):
            await files.put(stream(b"x"), limit=LIMIT)

    async def test_a_server_that_does_not_listen_is_unavailable(
        self, settings: Settings, db: Database, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("ohmstead.core.blobs.RETRIES", 0)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "x")
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        files = Files(settings.model_copy(update={"files_url": "s3://bucket"}), db, clock)
        with pytest.raises(Unavailable, match="store of files"):
            await files.put(stream(b"x"), limit=LIMIT)

    async def test_what_a_killed_process_left_in_the_folder_is_cleared_after_a_day(
        self, folder: Files, db: Database, clock: FrozenClock
    ) -> None:
        file = await kept(folder, db, clock, b"kept")
        assert isinstance(folder.blobs.place, Path)
        place = folder.blobs.place / file.key
        old, new = place.with_name("dead#1"), place.with_name("alive#1")
        for path in (old, new):
            path.write_bytes(b"half")
        long_ago = time.time() - 90_000
        os.utime(old, (long_ago, long_ago))
        await folder.sweep()
        assert sorted(path.name for path in place.parent.iterdir()) == sorted([new.name, place.name])


@pytest.mark.parametrize(
    "url", ["http://bucket/x", "s3://", "s3://UPPER/x", "s3://bucket/x?y=1", "s3://bucket/a b", "/folder"]
)
def test_a_place_that_is_no_bucket_is_refused_at_the_start(url: str) -> None:
    with pytest.raises(Exception, match="OHMSTEAD_FILES_URL"):
        Settings.load(environment="test", files_url=url)


async def test_the_sweep_is_a_job_with_the_means_of_the_server(app: Any) -> None:
    assert "files:sweep" in app.state.jobs.app.tasks

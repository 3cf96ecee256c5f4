"""Files that go out by a link: whole, in parts, by HEAD; and what a link is not good for."""

from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import select
from tests.conftest import FrozenClock

from ohmstead.core.blobs import BLOCK
from ohmstead.core.config import Settings
from ohmstead.core.db import Database
from ohmstead.core.downloads import part_of
from ohmstead.core.file_links import FileLink, Purpose, end_link, link_to, sign, subject_of
from ohmstead.core.files import StoredFile, drop, keep

BODY = bytes(range(256)) * 8192 + b"the end"
assert len(BODY) > 2 * BLOCK


@pytest.fixture
async def file(app: FastAPI, db: Database, clock: FrozenClock) -> StoredFile:
    async def chunks() -> AsyncIterator[bytes]:
        yield BODY

    stored: StoredFile = await app.state.files.put(chunks(), limit=len(BODY))
    async with db.session() as session:
        await keep(session, stored.id, "Firmware", "fw-1.bin", clock.now())
    return stored


@pytest.fixture
async def link(settings: Settings, db: Database, file: StoredFile, clock: FrozenClock) -> str:
    return await make_link(settings, db, file, clock)


async def make_link(settings: Settings, db: Database, file: StoredFile, clock: FrozenClock) -> str:
    """A link for an hour."""
    until = clock.now() + timedelta(hours=1)
    async with db.session() as session:
        link_id = await link_to(session, file.id, until)
    return f"/files/{sign(settings, Purpose.DOWNLOAD, link_id, until)}/fw.bin"


class TestWhole:
    async def test_it_comes_as_something_to_be_saved_and_never_shown(
        self, client: httpx.AsyncClient, link: str, file: StoredFile
    ) -> None:
        answer = await client.get(link)
        assert (answer.status_code, answer.content) == (200, BODY)
        assert answer.headers["content-length"] == str(len(BODY))
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["content-disposition"] == 'attachment; filename="fw-1.bin"'
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["etag"] == f'"{file.sha256}"'

    async def test_head_tells_the_same_without_the_bytes(self, client: httpx.AsyncClient, link: str) -> None:
        answer = await client.head(link)
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["content-length"] == str(len(BODY))
        assert answer.headers["accept-ranges"] == "bytes"

    async def test_it_may_be_had_as_often_as_needed_and_under_any_name(
        self, client: httpx.AsyncClient, link: str
    ) -> None:
        for _ in range(3):
            assert (await client.get(link)).status_code == 200
        assert (await client.get(link.replace("fw.bin", "other"))).status_code == 200
        assert (await client.get(f"{link}?X-Amz=1&retry=2")).status_code == 200


class TestParts:
    @pytest.mark.parametrize(
        ("asked", "start", "stop"),
        [
            ("bytes=0-0", 0, 1),
            ("bytes=0-", 0, len(BODY)),
            ("bytes=1048570-1048580", 1048570, 1048581),
            (f"bytes={len(BODY) - 7}-", len(BODY) - 7, len(BODY)),
            ("bytes=-7", len(BODY) - 7, len(BODY)),
            ("bytes=-99999999999", 0, len(BODY)),
            ("bytes=10-99999999999", 10, len(BODY)),
        ],
    )
    async def test_the_part_that_is_asked_for_comes(
        self, client: httpx.AsyncClient, link: str, asked: str, start: int, stop: int
    ) -> None:
        answer = await client.get(link, headers={"Range": asked})
        assert (answer.status_code, answer.content) == (206, BODY[start:stop])
        assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(BODY)}"
        head = await client.head(link, headers={"Range": asked})
        assert (head.status_code, head.headers["content-length"]) == (206, str(stop - start))

    @pytest.mark.parametrize(
        "asked", ["bytes=0-1,5-6", "lines=1-2", "bytes=5-1", "bytes=-", "bytes", "bytes=a-b"]
    )
    async def test_what_is_not_understood_is_the_whole(
        self, client: httpx.AsyncClient, link: str, asked: str
    ) -> None:
        answer = await client.get(link, headers={"Range": asked})
        assert (answer.status_code, answer.content) == (200, BODY)

    @pytest.mark.parametrize("asked", [f"bytes={len(BODY)}-", "bytes=-0", "bytes=99999999999999-"])
    async def test_a_part_outside_of_the_file_is_416(
        self, client: httpx.AsyncClient, link: str, asked: str
    ) -> None:
        answer = await client.get(link, headers={"Range": asked})
        assert (answer.status_code, answer.json()["error"]) == (416, "RangeNotSatisfiable")
        assert answer.headers["content-range"] == f"bytes */{len(BODY)}"

    async def test_a_part_of_another_version_is_not_given(self, client: httpx.AsyncClient, link: str) -> None:
        asked = {"Range": "bytes=5-", "If-Range": '"another"'}
        assert (await client.get(link, headers=asked)).status_code == 200

    def test_nothing_is_a_part_of_an_empty_file(self) -> None:
        assert part_of("bytes=0-", 0) == (0, 0)


class TestRefused:
    async def test_an_expired_link_is_gone(
        self, client: httpx.AsyncClient, link: str, clock: FrozenClock
    ) -> None:
        clock.advance(3600)
        answer = await client.get(link)
        assert (answer.status_code, answer.json()["error"]) == (410, "LinkExpired")

    async def test_one_that_has_served_its_use_is_over_and_another_one_to_the_same_file_is_not(
        self,
        *,
        client: httpx.AsyncClient,
        link: str,
        settings: Settings,
        db: Database,
        file: StoredFile,
        clock: FrozenClock,
    ) -> None:
        other = await make_link(settings, db, file, clock)
        used = subject_of(settings, Purpose.DOWNLOAD, link.split("/")[2], clock.now())
        async with db.session() as session:
            await end_link(session, used, clock.now())
        for ask in (client.get, client.head):
            answer = await ask(link)
            assert answer.status_code == 410
        assert (await client.get(link)).json()["error"] == "LinkUsed"
        assert (await client.get(other)).status_code == 200

    async def test_the_rows_of_those_that_have_expired_go(
        self, *, app: FastAPI, client: httpx.AsyncClient, link: str, db: Database, clock: FrozenClock
    ) -> None:
        await app.state.files.sweep()
        assert (await client.get(link)).status_code == 200
        clock.advance(3601)
        await app.state.files.sweep()
        async with db.session() as session:
            assert (await session.scalars(select(FileLink))).all() == []
        assert (await client.get(link)).json()["error"] == "LinkExpired"

    async def test_one_to_a_deleted_file_is_gone(
        self, client: httpx.AsyncClient, link: str, file: StoredFile, db: Database, clock: FrozenClock
    ) -> None:
        async with db.session() as session:
            await drop(session, file.id, clock.now())
        answer = await client.get(link)
        assert (answer.status_code, answer.json()["error"]) == (410, "FileGone")

    async def test_wrong_ones_are_404_in_the_one_shape_and_tell_nothing(
        self, client: httpx.AsyncClient, link: str, settings: Settings, clock: FrozenClock
    ) -> None:
        token = link.split("/")[2]
        until = clock.now() + timedelta(hours=1)
        wrong = [
            "x",
            "A" * 48,
            token[:-1] + ("A" if token[-1] != "A" else "B"),
            token + "A",
            sign(settings, Purpose.UPLOAD, uuid4(), until),
        ]
        told = set()
        for one in wrong:
            answer = await client.get(f"/files/{one}/fw.bin")
            assert answer.status_code == 404, one
            told.add(answer.text)
        assert len(told) == 1
        assert set(answer.json()) == {"error", "message", "detail"}
        unknown = sign(settings, Purpose.DOWNLOAD, uuid4(), until)
        assert (await client.get(f"/files/{unknown}/fw.bin")).status_code == 410

    async def test_only_get_and_head(self, client: httpx.AsyncClient, link: str) -> None:
        for method in ("POST", "PUT", "DELETE"):
            assert (await client.request(method, link)).status_code == 405

    async def test_bytes_that_are_missing_are_an_error_and_no_broken_answer(
        self, client: httpx.AsyncClient, link: str, file: StoredFile, app: FastAPI
    ) -> None:
        await app.state.files.blobs.delete(file.key)
        answer = await client.get(link)
        assert (answer.status_code, answer.json()["error"]) == (404, "FileGone")

    async def test_one_that_nobody_keeps_yet_is_not_given(
        self,
        *,
        app: FastAPI,
        client: httpx.AsyncClient,
        settings: Settings,
        db: Database,
        clock: FrozenClock,
    ) -> None:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"x"

        stored = await app.state.files.put(chunks(), limit=10)
        assert (await client.get(await make_link(settings, db, stored, clock))).status_code == 410

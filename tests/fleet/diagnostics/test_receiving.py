"""Links for one upload: what charger's HTTP clients do with them, and what nobody may."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import func, select
from tests.chargers import until
from tests.conftest import FrozenClock
from tests.fleet.clockwork import by_the_clock
from tests.fleet.diagnostics.conftest import Ask
from tests.running import RunningServer
from tests.world import SignedIn, World

from ohmstead.accounts.access_tokens import issue
from ohmstead.accounts.models import User
from ohmstead.core.config import Settings
from ohmstead.core.db import Database
from ohmstead.core.file_links import Purpose, sign, upload_url
from ohmstead.core.files import StoredFile
from ohmstead.fleet.diagnostics import jobs
from ohmstead.fleet.diagnostics.models import DiagnosticsJob
from ohmstead.fleet.diagnostics.receiving import ATTEMPTS
from ohmstead.link.links import Answer
from ohmstead.stations.models import Charger

ALL = "/api/admin/diagnostics"
CONTENT = gzip.compress(b"a line of a log\n" * 1000)


async def job_of(client: httpx.AsyncClient, admin: SignedIn, job: dict[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = (await client.get(f"{ALL}/{job['id']}", headers=admin.headers)).json()
    return body


async def history(client: httpx.AsyncClient, admin: SignedIn, job: dict[str, Any]) -> list[tuple[str, str]]:
    items = (await client.get(f"{ALL}/{job['id']}/history", headers=admin.headers)).json()["items"]
    return [(item["status"], item["detail"]) for item in reversed(items)]


async def files(db: Database) -> int:
    async with db.session() as session:
        kept = StoredFile.kept_at.is_not(None) & StoredFile.dropped_at.is_(None)
        return int((await session.execute(select(func.count()).where(kept))).scalar_one())


async def a_job(server: RunningServer, world: World) -> tuple[DiagnosticsJob, str]:
    """Make a job that waits for its file; returns it and the path that its charger was given."""
    charger = await world.charger()
    now = server.app.state.clock.now()
    later = now + timedelta(hours=1)
    job = DiagnosticsJob(
        charger_id=charger.id,
        kind="Diagnostics",
        patience_seconds=3600,
        by_campaign=False,
        state="Accepted",
        created_at=now,
        updated_at=now,
        deadline_at=later,
    )
    await world.add(job)
    return job, upload_url(server.settings, job.id, later).removeprefix(server.settings.public_url)


class TestTaken:
    @pytest.mark.parametrize("method", ["PUT", "POST"])
    @pytest.mark.parametrize("behind", ["", "diag 1.zip", "/diag%201.zip", "logs/diag_1.zip"])
    async def test_a_file_comes_however_the_charger_makes_its_address(
        self, *, ask: Ask, client: httpx.AsyncClient, admin: SignedIn, method: str, behind: str
    ) -> None:
        job, path = await ask()
        answer = await client.request(method, path + behind, content=CONTENT)
        assert answer.status_code == 201, answer.text
        shown = await job_of(client, admin, job)
        assert (shown["state"], shown["received"], shown["size"]) == ("Done", True, len(CONTENT))
        fetched = await client.get(f"{ALL}/{job['id']}/file", headers=admin.headers)
        assert fetched.content == CONTENT
        assert fetched.headers["content-type"] == "application/octet-stream"
        assert fetched.headers["x-content-type-options"] == "nosniff"
        name = "diag_1.zip" if behind else "diag.zip"
        assert fetched.headers["content-disposition"].startswith("attachment; filename=")
        assert fetched.headers["content-disposition"].endswith(f'-{name}"')
        part = await client.get(f"{ALL}/{job['id']}/file", headers={**admin.headers, "Range": "bytes=-4"})
        assert (part.status_code, part.content) == (206, CONTENT[-4:])
        assert await history(client, admin, job) == [
            ("Requested", ""),
            ("Accepted", ""),
            ("Receiving", ""),
            ("Received", f"{len(CONTENT)} bytes"),
        ]

    async def test_a_form_is_taken_too(self, ask: Ask, client: httpx.AsyncClient, admin: SignedIn) -> None:
        job, path = await ask()
        answer = await client.post(
            path, data={"comment": "x"}, files={"file": ("from form.log", CONTENT, "text/html")}
        )
        assert answer.json()["size"] == len(CONTENT)
        fetched = await client.get(f"{ALL}/{job['id']}/file", headers=admin.headers)
        assert fetched.content == CONTENT
        assert fetched.headers["content-disposition"].endswith('-from_form.log"')
        assert fetched.headers["content-type"] == "application/octet-stream"

    async def test_a_log_comes_before_the_charger_has_said_a_word(
        self, ask: Ask, client: httpx.AsyncClient, admin: SignedIn
    ) -> None:
        job, path = await ask(Answer(), log_type="SecurityLog")
        assert job["state"] == "Failed"
        assert (await client.put(path, content=CONTENT)).status_code == 201
        assert (await job_of(client, admin, job))["state"] == "Done"

    async def test_more_than_an_ordinary_body_may_have_comes_in_pieces(
        self, ask: Ask, client: httpx.AsyncClient, admin: SignedIn
    ) -> None:
        job, path = await ask()

        async def many() -> AsyncIterator[bytes]:
            for _ in range(20):
                yield bytes(100_000)

        assert (await client.put(path, content=many())).status_code == 201
        assert (await job_of(client, admin, job))["size"] == 2_000_000


class TestOnce:
    async def test_a_second_upload_is_refused_and_the_first_stays(
        self, ask: Ask, client: httpx.AsyncClient, admin: SignedIn, db: Database
    ) -> None:
        job, path = await ask()
        await client.put(path, content=CONTENT)
        for again in (path, path + "other.zip"):
            answer = await client.put(again, content=b"something else")
            assert (answer.status_code, answer.json()["error"]) == (410, "LinkUsed")
        fetched = await client.get(f"{ALL}/{job['id']}/file", headers=admin.headers)
        assert fetched.content == CONTENT
        assert await files(db) == 1

    async def test_of_two_at_once_one_is_kept(self, server: RunningServer, server_world: World) -> None:
        job, path = await a_job(server, server_world)
        before = await files(server.database)
        both_begun, begun = asyncio.Event(), 0

        async def body(content: bytes) -> AsyncIterator[bytes]:
            nonlocal begun
            yield content
            begun += 1
            if begun == 2:
                both_begun.set()
            await both_begun.wait()
            yield content

        admin = await server_world.admin()
        async with httpx.AsyncClient(base_url=server.http, headers=admin.headers) as http:
            answers = await asyncio.gather(
                http.put(path, content=body(b"one")), http.put(path, content=body(b"two"))
            )
            fetched = await http.get(f"{ALL}/{job.id}/file")
        assert sorted(answer.status_code for answer in answers) == [201, 410]
        won = b"oneone" if answers[0].status_code == 201 else b"twotwo"
        assert fetched.content == won
        assert await files(server.database) == before + 1


class TestRefused:
    async def test_wrong_links_are_404_and_tell_nothing(
        self, ask: Ask, client: httpx.AsyncClient, settings: Settings, clock: FrozenClock, db: Database
    ) -> None:
        job, path = await ask()
        token = path.split("/")[2]
        until = clock.now() + timedelta(hours=1)
        told = set()
        for wrong in (
            "x",
            "A" * 48,
            token[:-1] + ("A" if token[-1] != "A" else "B"),
            sign(settings, Purpose.DOWNLOAD, UUID(job["id"]), until),
        ):
            answer = await client.put(f"/uploads/{wrong}/a.zip", content=CONTENT)
            assert answer.status_code == 404
            told.add(answer.text)
        assert len(told) == 1
        assert (await client.get(path)).status_code == 405
        assert await files(db) == 0

    async def test_an_expired_link_and_one_of_a_job_that_is_gone_are_410(
        self, ask: Ask, client: httpx.AsyncClient, settings: Settings, clock: FrozenClock
    ) -> None:
        _, path = await ask()
        gone = upload_url(settings, uuid4(), clock.now() + timedelta(hours=1))
        answer = await client.put(gone.removeprefix(settings.public_url), content=CONTENT)
        assert (answer.status_code, answer.json()["error"]) == (410, "LinkExpired")
        clock.advance(settings.file_link_hours * 3600)
        answer = await client.put(path, content=CONTENT)
        assert (answer.status_code, answer.json()["error"]) == (410, "LinkExpired")

    async def test_an_empty_one_leaves_nothing_and_the_link_stays(
        self, ask: Ask, client: httpx.AsyncClient, admin: SignedIn, db: Database
    ) -> None:
        job, path = await ask()
        answer = await client.put(path, content=b"")
        assert answer.status_code == 422
        assert (await job_of(client, admin, job))["received"] is False
        assert await files(db) == 0
        assert (await client.put(path, content=CONTENT)).status_code == 201

    async def test_one_that_is_too_large_leaves_nothing_and_the_link_stays(
        self, *, app: FastAPI, ask: Ask, client: httpx.AsyncClient, admin: SignedIn, db: Database
    ) -> None:
        app.state.settings = app.state.settings.model_copy(update={"upload_max_bytes": len(CONTENT)})
        job, path = await ask()

        async def unannounced() -> AsyncIterator[bytes]:
            yield CONTENT
            yield b"x"

        for body in (CONTENT + b"x", unannounced()):
            answer = await client.put(path, content=body)
            assert (answer.status_code, answer.json()["error"]) == (413, "PayloadTooLarge")
        assert await files(db) == 0
        assert "NotReceived" in dict(await history(client, admin, job))
        assert (await client.put(path, content=CONTENT)).status_code == 201

    async def test_more_than_the_middleware_lets_through_never_reaches_the_disk(
        self, ask: Ask, client: httpx.AsyncClient, settings: Settings
    ) -> None:
        _, path = await ask()
        told = {"Content-Length": str(settings.upload_max_bytes + 10**6)}
        answer = await client.put(path, content=b"x", headers=told)
        assert (answer.status_code, answer.json()["error"]) == (413, "PayloadTooLarge")

    async def test_a_form_without_a_file_is_refused(self, ask: Ask, client: httpx.AsyncClient) -> None:
        _, path = await ask()
        for body in (b"garbage", b"--x--\r\n"):
            headers = {"Content-Type": "multipart/form-data; boundary=x"}
            assert (await client.post(path, content=body, headers=headers)).status_code == 422

    async def test_who_has_a_link_cannot_try_for_ever(self, ask: Ask, client: httpx.AsyncClient) -> None:
        _, path = await ask()
        for _ in range(ATTEMPTS):
            assert (await client.put(path, content=b"")).status_code == 422
        answer = await client.put(path, content=CONTENT)
        assert (answer.status_code, answer.json()["error"]) == (410, "LinkUsed")

    async def test_before_a_file_has_come_there_is_none_to_fetch(
        self, ask: Ask, client: httpx.AsyncClient, admin: SignedIn
    ) -> None:
        job, _ = await ask()
        answer = await client.get(f"{ALL}/{job['id']}/file", headers=admin.headers)
        assert (answer.status_code, answer.json()["error"]) == (404, "FileNotReceived")


class TestBroken:
    async def test_an_upload_that_breaks_off_leaves_nothing_and_may_be_sent_again(
        self, server: RunningServer, server_world: World
    ) -> None:
        job, path = await a_job(server, server_world)
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        head = f"PUT {path}half.zip HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
        writer.write(head.encode() + bytes(200_000))
        await writer.drain()
        writer.transport.abort()
        admin = await server_world.admin()
        async with httpx.AsyncClient(base_url=server.http, headers=admin.headers) as http:

            async def noticed() -> bool:
                items = (await http.get(f"{ALL}/{job.id}/history")).json()["items"]
                return [item["status"] for item in items] == ["NotReceived", "Receiving"]

            await until(noticed)
            assert (await http.put(path, content=CONTENT)).status_code == 201
            assert (await http.get(f"{ALL}/{job.id}/file")).content == CONTENT


class TestRetention:
    async def test_old_files_go_and_the_job_says_so(
        self,
        *,
        app: FastAPI,
        ask: Ask,
        client: httpx.AsyncClient,
        admin: SignedIn,
        db: Database,
        clock: FrozenClock,
    ) -> None:
        job, path = await ask()
        await client.put(path, content=CONTENT)
        means = {"database": db, "clock": clock, "settings": app.state.settings}
        clock.advance(timedelta(days=90).total_seconds())
        await by_the_clock(jobs.trim_diagnostics, **means)
        assert await files(db) == 1
        clock.advance(1)
        await by_the_clock(jobs.trim_diagnostics, **means)
        await app.state.files.sweep()
        assert await files(db) == 0
        admin = await _again(admin, app, clock, db)
        answer = await client.get(f"{ALL}/{job['id']}/file", headers=admin.headers)
        assert (answer.status_code, answer.json()["error"]) == (404, "FileGone")
        shown = await job_of(client, admin, job)
        assert (shown["received"], shown["size"], shown["state"]) == (False, len(CONTENT), "Done")
        clock.advance(timedelta(days=366).total_seconds())
        await by_the_clock(jobs.trim_diagnostics, **means)
        async with db.session() as session:
            assert (await session.execute(select(func.count()).select_from(DiagnosticsJob))).scalar_one() == 0

    async def test_the_file_of_a_deleted_charger_goes_too(
        self,
        *,
        app: FastAPI,
        ask: Ask,
        client: httpx.AsyncClient,
        db: Database,
        clock: FrozenClock,
        charger: Charger,
    ) -> None:
        _, path = await ask()
        await client.put(path, content=CONTENT)
        async with db.session() as session:
            await session.delete(await session.get(Charger, charger.id))
        means = {"database": db, "clock": clock, "settings": app.state.settings}
        await by_the_clock(jobs.trim_diagnostics, **means)
        assert await files(db) == 0


async def _again(admin: SignedIn, app: FastAPI, clock: FrozenClock, db: Database) -> SignedIn:
    """Sign in again, after a long time."""

    async with db.session() as session:
        user = await session.get(User, admin.id)
    assert user is not None
    admin.token = issue(app.state.settings, user, clock.now())
    return admin

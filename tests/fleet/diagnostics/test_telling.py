"""What a charger tells of files it was asked for, over the wire and in odd orders; and its silence."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from tests.chargers import RawCharger, charger
from tests.conftest import FrozenClock
from tests.fleet.clockwork import by_the_clock
from tests.running import RunningServer
from tests.world import World

from ohmstead.core.db import Database
from ohmstead.fleet.diagnostics import jobs, telling
from ohmstead.fleet.diagnostics.models import DiagnosticsJob

ALL = "/api/admin/diagnostics"
CONTENT = b"a line of a log\n" * 100


@dataclass
class Scene:
    """A connected charger, its operator, and the path of the last link that it was given."""

    raw: RawCharger
    http: httpx.AsyncClient
    charger_id: str
    path: str = ""

    async def ask(self, *before: str, **body: Any) -> dict[str, Any]:
        """Ask for diagnostics or a log; the charger says these words before it answers. Returns the job."""
        what = "logs" if "log_type" in body else "diagnostics"
        asking = asyncio.create_task(
            self.http.post(f"/api/admin/chargers/{self.charger_id}/{what}", json=body)
        )
        frame = await self.raw.next_call()
        await self.tell(*before)
        location = frame[3].get("location") or frame[3]["log"]["remoteLocation"]
        self.path = location.partition("8000")[2]
        answer = {"status": "Accepted", "filename": "a"} if what == "logs" else {"fileName": "a"}
        await self.raw.answer(frame, answer)
        made = await asking
        assert made.status_code == 201, made.text
        job: dict[str, Any] = made.json()
        return job

    async def tell(self, *words: str) -> None:
        for word in words:
            await self.raw.result("DiagnosticsStatusNotification", {"status": word})

    async def tell_log(self, request_id: int | None, *words: str) -> None:
        for word in words:
            told = {"status": word} | ({} if request_id is None else {"requestId": request_id})
            await self.raw.result("LogStatusNotification", told)

    async def upload(self) -> int:
        return (await self.http.put(self.path, content=CONTENT)).status_code

    async def now(self, job: dict[str, Any]) -> dict[str, Any]:
        body: dict[str, Any] = (await self.http.get(f"{ALL}/{job['id']}")).json()
        return body

    async def words(self, job: dict[str, Any]) -> list[str]:
        items = (await self.http.get(f"{ALL}/{job['id']}/history")).json()["items"]
        return [item["status"] for item in reversed(items)]


@pytest.fixture
async def scene(server: RunningServer, server_world: World) -> AsyncIterator[Scene]:
    row = await server_world.charger()
    admin = await server_world.admin()
    async with (
        httpx.AsyncClient(base_url=server.http, headers=admin.headers) as http,
        charger(server.ws, row.id) as raw,
    ):
        await raw.boot()
        yield Scene(raw, http, row.id)


class TestDiagnostics:
    async def test_a_job_is_followed_from_the_first_word_to_the_file(self, scene: Scene) -> None:
        job = await scene.ask()
        await scene.tell("Uploading")
        assert (await scene.now(job))["state"] == "Uploading"
        assert await scene.upload() == 201
        await scene.tell("Uploaded")
        shown = await scene.now(job)
        assert (shown["state"], shown["received"]) == ("Done", True)
        assert await scene.words(job) == [
            "Requested",
            "Accepted",
            "Uploading",
            "Receiving",
            "Received",
            "Uploaded",
        ]
        fetched = await scene.http.get(f"{ALL}/{job['id']}/file")
        assert fetched.content == CONTENT

    async def test_words_may_come_before_the_answer_to_the_command(self, scene: Scene) -> None:
        job = await scene.ask("Uploading")
        assert (job["state"], job["status"], job["file_name"]) == ("Uploading", "Uploading", "a")

    async def test_one_that_says_uploaded_and_brings_nothing_is_awaited_for_a_moment_then_failed(
        self, scene: Scene, server: RunningServer
    ) -> None:
        job = await scene.ask()
        await scene.tell("Uploading", "Uploaded")
        shown = await scene.now(job)
        assert (shown["state"], shown["received"]) == ("Uploading", False)
        assert "nothing came" in shown["detail"]
        async with server.database.session() as session:
            row = await session.get(DiagnosticsJob, UUID(job["id"]))
            assert row is not None
            row.deadline_at -= telling.COMING
        await by_the_clock(jobs.expire_diagnostics, database=server.database, clock=server.app.state.clock)
        assert (await scene.now(job))["state"] == "Failed"
        assert await scene.upload() == 201, "better late than never"
        assert (await scene.now(job))["state"] == "Done"

    async def test_a_file_that_has_come_is_the_end_whatever_is_said(self, scene: Scene) -> None:
        job = await scene.ask()
        await scene.upload()
        await scene.tell("UploadFailed", "Uploading", "Uploaded", "Idle")
        assert (await scene.now(job))["state"] == "Done"

    async def test_a_failed_upload_ends_it_unless_it_may_be_tried_again(self, scene: Scene) -> None:
        job = await scene.ask()
        await scene.tell("Uploading", "UploadFailed")
        shown = await scene.now(job)
        assert (shown["state"], shown["detail"]) == ("Failed", "The charger could not upload the file.")
        job = await scene.ask(retries=1)
        await scene.tell("UploadFailed")
        assert (await scene.now(job))["state"] == "Uploading"
        await scene.tell("UploadFailed")
        assert (await scene.now(job))["state"] == "Failed"
        await scene.tell("Uploading")
        assert (await scene.now(job))["state"] == "Uploading", "it tries once more all the same"

    async def test_at_an_address_outside_its_word_is_all_there_is(self, scene: Scene) -> None:
        job = await scene.ask(location="ftp://files.example.com/")
        await scene.tell("Uploading", "Uploaded")
        shown = await scene.now(job)
        assert (shown["state"], shown["received"]) == ("Done", False)
        answer = await scene.http.get(f"{ALL}/{job['id']}/file")
        assert answer.status_code == 404


class TestLogs:
    async def test_words_find_their_log_by_its_request_id(self, scene: Scene) -> None:
        first = await scene.ask(log_type="SecurityLog")
        second = await scene.ask(log_type="DiagnosticsLog")
        await scene.tell_log(first["request_id"], "Uploading")
        await scene.tell_log(second["request_id"], "PermissionDenied")
        assert (await scene.now(first))["state"] == "Uploading"
        shown = await scene.now(second)
        assert (shown["state"], shown["status"]) == ("Failed", "PermissionDenied")

    @pytest.mark.parametrize("word", ["BadMessage", "NotSupportedOperation", "UploadFailure"])
    async def test_every_failure_has_its_sentence(self, scene: Scene, word: str) -> None:
        job = await scene.ask(log_type="SecurityLog")
        await scene.tell_log(job["request_id"], word)
        shown = await scene.now(job)
        assert shown["state"] == "Failed"
        assert shown["detail"].startswith("The charger")

    async def test_one_without_a_request_id_means_the_open_log_and_never_the_diagnostics(
        self, scene: Scene
    ) -> None:
        diagnostics = await scene.ask()
        await scene.tell_log(None, "Uploading")
        assert (await scene.now(diagnostics))["state"] == "Accepted"
        log = await scene.ask(log_type="SecurityLog")
        await scene.tell_log(None, "Uploading")
        await scene.tell("UploadFailed")
        assert (await scene.now(log))["state"] == "Uploading"
        assert (await scene.now(diagnostics))["state"] == "Failed"


class TestReports:
    async def test_a_word_without_a_job_of_ours_is_a_report_as_ever(self, scene: Scene) -> None:
        await scene.tell("Uploading")
        await scene.tell_log(5, "Uploaded")
        await scene.tell_log(0, "Idle")
        reports = (await scene.http.get(f"/api/admin/chargers/{scene.charger_id}/reports")).json()
        assert [item["action"] for item in reports["items"]] == [
            "LogStatusNotification",
            "LogStatusNotification",
            "DiagnosticsStatusNotification",
        ]
        shown = (await scene.http.get(f"/api/admin/chargers/{scene.charger_id}")).json()
        assert shown["diagnostics_status"] == "Idle"
        listed = await scene.http.get(ALL, params={"charger": scene.charger_id})
        assert listed.json()["total"] == 0


class TestSilence:
    async def job(self, world: World, clock: FrozenClock, **fields: Any) -> DiagnosticsJob:
        row = await world.charger()
        now = clock.now()
        values = {
            "charger_id": row.id,
            "kind": "Diagnostics",
            "patience_seconds": 7200,
            "by_campaign": False,
            "state": "Accepted",
            "created_at": now,
            "updated_at": now,
            "deadline_at": now + timedelta(hours=2),
            **fields,
        }
        made = DiagnosticsJob(**values)
        await world.add(made)
        return made

    async def test_one_that_never_uploads_expires_when_its_time_is_over(
        self, db: Database, world: World, clock: FrozenClock
    ) -> None:
        rows = [
            await self.job(world, clock, status="Accepted", file_name="named.zip"),
            await self.job(world, clock, state="Requested"),
            await self.job(world, clock, state="Uploading", status="UploadFailed"),
            await self.job(world, clock, deadline_at=clock.now() + timedelta(hours=3)),
            await self.job(world, clock, state="Done", ended_at=clock.now()),
        ]
        clock.advance(7200)
        await by_the_clock(jobs.expire_diagnostics, database=db, clock=clock)
        states = []
        for row in rows:
            async with db.session() as session:
                found = await session.get(DiagnosticsJob, row.id)
            assert found is not None
            states.append(found.state)
        assert states == ["Expired", "Failed", "Failed", "Accepted", "Done"]

    async def test_a_word_gives_it_time_again_and_one_long_after_the_end_does_not(
        self, db: Database, world: World, clock: FrozenClock
    ) -> None:
        row = await self.job(world, clock)
        over = await self.job(world, clock, state="Failed", ended_at=clock.now())
        clock.advance(telling.LATE.total_seconds() + 1)
        async with db.session() as session:
            for one in (row, over):
                await telling.told(session, one.charger_id, "Uploading", None, clock.now(), log=False)
        async with db.session() as session:
            found = [await session.get(DiagnosticsJob, one.id) for one in (row, over)]
        assert [one.state for one in found if one] == ["Uploading", "Failed"]
        assert found[0] is not None
        assert found[0].deadline_at == clock.now() + timedelta(hours=2)

"""Diagnostics as the work of a campaign: on the real server, with a charger that answers and uploads."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from sqlalchemy import select
from tests.chargers import RawCharger, charger, until
from tests.conftest import FrozenClock
from tests.running import RunningServer
from tests.stations.links import FakeLink
from tests.world import World

from ohmstead.accounts.models import Role
from ohmstead.fleet.campaigns.dispatcher import Dispatcher
from ohmstead.fleet.campaigns.work import Means, OutcomeState
from ohmstead.fleet.diagnostics.apply import KIND
from ohmstead.fleet.diagnostics.models import DiagnosticsJob
from ohmstead.link.links import Answer, ChargerOffline, ChargerUnreachable

CAMPAIGNS = "/api/admin/campaigns"


@dataclass
class Scene:
    """A connected charger, its operator, and the dispatcher, which tests wake themselves."""

    raw: RawCharger
    http: httpx.AsyncClient
    charger_id: str
    dispatcher: Dispatcher

    async def campaign(self, **parameters: Any) -> str:
        body = {
            "kind": "Diagnostics",
            "parameters": parameters,
            "chargers": {"charger_ids": [self.charger_id]},
            "stop_at_error_percent": None,
        }
        made = await self.http.post(CAMPAIGNS, json=body)
        assert made.status_code == 201, made.text
        self.dispatcher.wake()
        return str(made.json()["id"])

    async def reach(self, campaign: str, state: str) -> dict[str, Any]:
        async def item() -> dict[str, Any] | None:
            self.dispatcher.wake()
            (found,) = (await self.http.get(f"{CAMPAIGNS}/{campaign}/items")).json()["items"]
            return found if found["state"] == state else None

        found: dict[str, Any] = await until(item)
        return found


@pytest.fixture
async def scene(server: RunningServer, server_world: World) -> AsyncIterator[Scene]:
    backoffice = await server_world.backoffice()
    row = await server_world.charger(await server_world.station(backoffice))
    manager = await server_world.user(Role.BACKOFFICE, backoffice)
    async with (
        httpx.AsyncClient(base_url=server.http, headers=manager.headers) as http,
        charger(server.ws, row.id) as raw,
    ):
        await raw.boot()

        async def online() -> bool:
            return bool((await http.get(f"/api/admin/chargers/{row.id}")).json()["online"])

        await until(online)
        yield Scene(raw, http, row.id, server.app.state.campaigns)


async def test_it_is_done_when_the_file_has_come(scene: Scene) -> None:
    campaign = await scene.campaign(kind="SecurityLog")
    frame = await scene.raw.next_call()
    assert (frame[2], frame[3]["logType"]) == ("GetLog", "SecurityLog")
    await scene.raw.answer(frame, {"status": "Accepted", "filename": "security.log"})
    await scene.reach(campaign, "Waiting")
    path = frame[3]["log"]["remoteLocation"].partition("8000")[2]
    assert (await scene.http.put(f"{path}security.log", content=b"a log")).status_code == 201
    item = await scene.reach(campaign, "Done")
    assert item["evidence"]["size"] == 5
    job = await scene.http.get(f"/api/admin/diagnostics/{item['evidence']['diagnostics_id']}")
    assert (job.json()["by_campaign"], job.json()["state"]) == (True, "Done")


async def test_it_has_failed_when_the_charger_says_so(scene: Scene) -> None:
    campaign = await scene.campaign()
    frame = await scene.raw.next_call()
    assert frame[2] == "GetDiagnostics"
    await scene.raw.answer(frame, {"fileName": "diag.zip"})
    await scene.reach(campaign, "Waiting")
    await scene.raw.result("DiagnosticsStatusNotification", {"status": "UploadFailed"})
    item = await scene.reach(campaign, "Failed")
    assert item["detail"] == "The charger could not upload the file."


async def test_a_charger_that_has_nothing_fails_at_once(scene: Scene) -> None:
    campaign = await scene.campaign(until="2020-01-01T00:00:00Z")
    await scene.raw.answer(await scene.raw.next_call(), {})
    item = await scene.reach(campaign, "Failed")
    assert "nothing from this time" in item["detail"]


class TestApply:
    @pytest.fixture
    def means(self, app: Any, clock: FrozenClock) -> Means:
        state = app.state
        return Means(state.database, state.commands, state.settings, clock, state.files)

    @pytest.mark.parametrize(
        ("answer", "state", "again"),
        [
            (ChargerOffline("It left."), OutcomeState.AWAY, False),
            (Answer(), OutcomeState.FAILED, True),
            (Answer(error_code="NotSupported"), OutcomeState.FAILED, False),
            (Answer(response={"fileName": "a"}), OutcomeState.WAITING, False),
        ],
    )
    async def test_what_comes_of_each_answer(
        self, *, app: Any, means: Means, world: World, answer: Any, state: OutcomeState, again: bool
    ) -> None:
        row = await world.charger(online=True)
        app.state.links.attach(row.id, FakeLink(answer))
        outcome = await KIND.apply(means, row.id, {})
        assert (outcome.state, outcome.again) == (state, again)

    async def test_of_one_that_another_process_holds_which_cannot_be_asked_no_job_is_kept(
        self, app: Any, means: Means, world: World
    ) -> None:
        row = await world.charger(online=True)
        app.state.links.attach(row.id, FakeLink(*[ChargerUnreachable("Redis is away.")] * 3))
        for _ in range(3):
            outcome = await KIND.apply(means, row.id, {})
            assert (outcome.state, outcome.detail) == (OutcomeState.UNREACHED, "Redis is away.")
        async with means.database.session() as session:
            query = select(DiagnosticsJob).where(DiagnosticsJob.charger_id == row.id)
            assert (await session.scalars(query)).all() == []

    async def test_one_that_is_away_or_gone_is_not_asked(self, means: Means, world: World) -> None:
        row = await world.charger(online=False)
        assert (await KIND.apply(means, row.id, {})).state is OutcomeState.AWAY
        assert (await KIND.apply(means, "NOBODY", {})).state is OutcomeState.FAILED

    def test_it_may_be_begun_anew_and_shows_no_password(self) -> None:
        assert KIND.repeatable
        shown = KIND.shown({"location": "ftp://a:geheim@b/", "kind": "Diagnostics"})
        assert shown == {"location": "ftp://a:***@b/", "kind": "Diagnostics"}

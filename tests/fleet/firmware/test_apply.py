"""Firmware as the work of a campaign: on the real server, with chargers that answer and tell."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from sqlalchemy import select
from tests.chargers import RawCharger, charger, until
from tests.conftest import FrozenClock
from tests.fleet.firmware.conftest import CONTENT
from tests.fleet.firmware.signers import signer
from tests.running import RunningServer
from tests.stations.links import FakeLink
from tests.world import World

from ohmstead.accounts.models import Role
from ohmstead.fleet.campaigns.dispatcher import Dispatcher
from ohmstead.fleet.campaigns.work import Means, OutcomeState
from ohmstead.fleet.firmware.apply import KIND
from ohmstead.fleet.firmware.models import FirmwareUpdate
from ohmstead.link.links import Answer, ChargerBusy, ChargerOffline, ChargerUnreachable
from ohmstead.stations.models import Charger

CAMPAIGNS = "/api/admin/campaigns"
OUTSIDE = "ftp://fleet:geheim@files.example.com/2.0.0.bin"


@dataclass
class Scene:
    """Connected chargers of one business, who runs them, and the dispatcher, which tests wake themselves."""

    http: httpx.AsyncClient
    chargers: list[RawCharger]
    ids: list[str]
    image: dict[str, Any]
    dispatcher: Dispatcher

    async def campaign(self, **fields: Any) -> str:
        body = {
            "kind": "Firmware",
            "parameters": {"firmware_id": self.image["id"]},
            "chargers": {"charger_ids": self.ids},
            "retry_seconds": 0,
            "stop_at_error_percent": None,
            **fields,
        }
        made = await self.http.post(CAMPAIGNS, json=body)
        assert made.status_code == 201, made.text
        self.dispatcher.wake()
        return str(made.json()["id"])

    async def items(self, campaign: str) -> dict[str, dict[str, Any]]:
        items = (await self.http.get(f"{CAMPAIGNS}/{campaign}/items")).json()["items"]
        return {item["charger_id"]: item for item in items}

    async def reach(self, campaign: str, *states: str) -> list[dict[str, Any]]:
        """Wait until the items, in the order of the chargers, are in these states."""

        async def are() -> bool:
            self.dispatcher.wake()
            items = await self.items(campaign)
            return [items[one]["state"] for one in self.ids] == list(states)

        await until(are)
        items = await self.items(campaign)
        return [items[one] for one in self.ids]


@pytest.fixture
async def scene(server: RunningServer, server_world: World) -> AsyncIterator[Scene]:
    backoffice = await server_world.backoffice()
    station = await server_world.station(backoffice)
    ids = sorted([(await server_world.charger(station)).id for _ in range(2)])
    manager = await server_world.user(Role.BACKOFFICE, backoffice)
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(
            httpx.AsyncClient(base_url=server.http, headers=manager.headers)
        )
        chargers = [await stack.enter_async_context(charger(server.ws, one)) for one in ids]
        for one in chargers:
            await one.boot(chargePointVendor="Acme", firmwareVersion="1.0.0")
        image = await http.post(
            "/api/admin/firmware", params={"vendor": "Acme", "version": "2.0.0"}, content=CONTENT
        )

        async def online() -> bool:
            listed = await http.get("/api/admin/chargers", params={"online": True})
            return bool(listed.json()["total"] == len(ids))

        await until(online)
        yield Scene(http, chargers, ids, image.json(), server.app.state.campaigns)


async def tell(raw: RawCharger, *words: str) -> None:
    for word in words:
        await raw.result("FirmwareStatusNotification", {"status": word})


class TestCampaign:
    async def test_chargers_are_waited_for_until_they_tell_the_end(self, scene: Scene) -> None:
        campaign = await scene.campaign()
        first, second = scene.chargers
        for raw in scene.chargers:
            frame = await raw.next_call()
            assert frame[2] == "UpdateFirmware"
            await raw.answer(frame, {})
        await scene.reach(campaign, "Waiting", "Waiting")
        await tell(first, "Downloading", "Downloaded", "Installing", "Installed")
        await tell(second, "Downloading", "DownloadFailed")
        done, failed = await scene.reach(campaign, "Done", "Failed")
        assert done["detail"] == "Installed 2.0.0."
        assert failed["detail"] == "The charger could not download the firmware."
        assert failed["evidence"]["status"] == "DownloadFailed"
        shown = (await scene.http.get(f"{CAMPAIGNS}/{campaign}")).json()
        assert shown["state"] == "Finished"
        updates = await scene.http.get("/api/admin/firmware-updates", params={"charger": scene.ids[0]})
        (update,) = updates.json()["items"]
        assert (update["by_campaign"], update["state"]) == (True, "Installed")

    async def test_a_charger_that_tells_the_end_before_its_answer_and_one_that_runs_it_already_are_done(
        self, scene: Scene
    ) -> None:
        first, second = scene.chargers
        await second.boot(chargePointVendor="Acme", firmwareVersion="2.0.0")
        campaign = await scene.campaign()
        frame = await first.next_call()
        await tell(first, "Downloading", "Installing", "Installed")
        await first.answer(frame, {})
        _, already = await scene.reach(campaign, "Done", "Done")
        assert already["detail"] == "The charger runs 2.0.0 already."
        assert second.calls.empty()

    async def test_a_boot_with_the_new_version_is_an_end_too(self, scene: Scene) -> None:
        scene.ids, scene.chargers = scene.ids[:1], scene.chargers[:1]
        campaign = await scene.campaign()
        (raw,) = scene.chargers
        await raw.answer(await raw.next_call(), {})
        await scene.reach(campaign, "Waiting")
        await tell(raw, "Downloading", "Downloaded", "Installing")
        await raw.boot(chargePointVendor="Acme", firmwareVersion="2.0.0")
        await scene.reach(campaign, "Done")

    async def test_an_update_by_hand_ends_that_of_the_campaign_and_not_more(self, scene: Scene) -> None:
        scene.ids, scene.chargers = scene.ids[:1], scene.chargers[:1]
        campaign = await scene.campaign()
        (raw,) = scene.chargers
        await raw.answer(await raw.next_call(), {})
        await scene.reach(campaign, "Waiting")
        path = f"/api/admin/chargers/{scene.ids[0]}/firmware-updates"
        body = {"firmware_id": scene.image["id"], "replace": True}
        by_hand = asyncio.create_task(scene.http.post(path, json=body))
        await raw.answer(await raw.next_call(), {})
        assert (await by_hand).status_code == 201
        (item,) = await scene.reach(campaign, "Failed")
        assert item["detail"] == "Another update was asked for."

    @pytest.mark.parametrize(
        ("answer", "detail"),
        [
            ([3, {"status": "Rejected"}], "The charger answered Rejected."),
            ([3, {"status": "InvalidCertificate"}], "signing certificate"),
            ([4, "NotImplemented", "no", {}], "NotImplemented"),
        ],
    )
    async def test_a_refusal_fails_with_the_chargers_own_words(
        self, scene: Scene, answer: list[Any], detail: str
    ) -> None:
        scene.ids, scene.chargers = scene.ids[:1], scene.chargers[:1]
        maker = signer()
        signing = {"certificate": maker.certificate, "signature": maker.sign(CONTENT)}
        campaign = await scene.campaign(parameters={"firmware_id": scene.image["id"], "signing": signing})
        (raw,) = scene.chargers
        frame = await raw.next_call()
        assert frame[2] == "SignedUpdateFirmware"
        kind, *rest = answer
        await raw.send(httpx.Response(200, json=[kind, frame[1], *rest]).text)
        (item,) = await scene.reach(campaign, "Failed")
        assert detail in item["detail"]

    @pytest.mark.parametrize(
        "parameters",
        [
            {},
            {"location": "nowhere"},
            {"firmware_id": "00000000-0000-0000-0000-000000000000"},
            {"location": OUTSIDE, "replace": True},
            {"location": OUTSIDE, "signing": {"certificate": "x", "signature": "y"}},
        ],
    )
    async def test_what_cannot_be_done_is_refused_when_the_campaign_is_made(
        self, scene: Scene, parameters: dict[str, Any]
    ) -> None:
        body = {"kind": "Firmware", "parameters": parameters, "chargers": {"charger_ids": scene.ids}}
        assert (await scene.http.post(CAMPAIGNS, json=body)).status_code in {404, 422}

    async def test_the_password_of_an_address_is_not_shown(self, scene: Scene) -> None:
        campaign = await scene.campaign(parameters={"location": OUTSIDE})
        shown = await scene.http.get(f"{CAMPAIGNS}/{campaign}")
        assert shown.json()["parameters"]["location"] == "ftp://fleet:***@files.example.com/2.0.0.bin"
        frame = await scene.chargers[0].next_call()
        assert frame[3]["location"] == OUTSIDE


class TestApply:
    @pytest.fixture
    def means(self, app: Any, clock: FrozenClock) -> Means:
        state = app.state
        return Means(state.database, state.commands, state.settings, clock, state.files)

    async def test_one_that_is_away_is_not_asked_and_no_update_is_written(
        self, means: Means, world: World
    ) -> None:
        row = await world.charger(online=False)
        outcome = await KIND.apply(means, row.id, {"location": OUTSIDE})
        assert outcome.state is OutcomeState.AWAY
        assert (await KIND.apply(means, "NOBODY", {"location": OUTSIDE})).state is OutcomeState.FAILED

    @pytest.mark.parametrize(
        ("answer", "again"),
        [
            (ChargerOffline("It left."), True),
            (ChargerBusy("Busy."), True),
            (Answer(), True),
            (Answer(error_code="InternalError"), True),
            (Answer(error_code="NotSupported"), False),
        ],
    )
    async def test_what_may_succeed_later_is_tried_again(
        self, *, app: Any, means: Means, charger: Charger, answer: Any, again: bool
    ) -> None:
        app.state.links.attach(charger.id, FakeLink(answer))
        outcome = await KIND.apply(means, charger.id, {"location": OUTSIDE})
        assert (outcome.state, outcome.again) == (OutcomeState.FAILED, again)
        assert outcome.detail

    async def test_of_one_that_another_process_holds_which_cannot_be_asked_no_update_is_kept(
        self, app: Any, means: Means, charger: Charger
    ) -> None:
        app.state.links.attach(charger.id, FakeLink(*[ChargerUnreachable("Redis is away.")] * 3))
        for _ in range(3):
            outcome = await KIND.apply(means, charger.id, {"location": OUTSIDE})
            assert (outcome.state, outcome.detail) == (OutcomeState.UNREACHED, "Redis is away.")
        async with means.database.session() as session:
            query = select(FirmwareUpdate).where(FirmwareUpdate.charger_id == charger.id)
            assert (await session.scalars(query)).all() == []

    async def test_one_that_is_at_it_already_is_waited_for_and_another_update_is_not_disturbed(
        self, app: Any, means: Means, charger: Charger
    ) -> None:
        link = FakeLink(Answer(response={}))
        app.state.links.attach(charger.id, link)
        for _ in range(2):
            outcome = await KIND.apply(means, charger.id, {"location": OUTSIDE})
            assert outcome.state is OutcomeState.WAITING
        other = await KIND.apply(means, charger.id, {"location": "https://example.com/other.bin"})
        assert (other.state, other.again) == (OutcomeState.FAILED, True)
        assert len(link.calls) == 1

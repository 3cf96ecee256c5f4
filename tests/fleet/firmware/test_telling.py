"""What a charger tells of an update, over the wire and in odd orders; and what it does not tell."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import httpx
import pytest
from tests.chargers import RawCharger, charger
from tests.conftest import FrozenClock
from tests.fleet.clockwork import by_the_clock
from tests.fleet.firmware.conftest import CONTENT
from tests.fleet.firmware.signers import Signer, signer
from tests.running import RunningServer
from tests.world import World

from ohmstead.accounts.models import Role
from ohmstead.core.db import Database
from ohmstead.fleet.firmware import jobs, telling
from ohmstead.fleet.firmware.models import FirmwareUpdate, UpdateState
from ohmstead.stations.models import Charger

UPDATES = "/api/admin/firmware-updates"
MAKER: Signer = signer()


@dataclass
class Scene:
    """A connected charger, and its operator."""

    raw: RawCharger
    http: httpx.AsyncClient
    charger_id: str
    image: dict[str, Any]
    link: str = ""
    """The path of the last link that the charger was given."""

    async def begin(self, answer: dict[str, Any] | None = None, **body: Any) -> dict[str, Any]:
        """Ask for an update; the charger answers so. Returns the update."""
        wanted = {"firmware_id": self.image["id"], **body}
        path = f"/api/admin/chargers/{self.charger_id}/firmware-updates"
        asking = asyncio.create_task(self.http.post(path, json=wanted))
        frame = await self.raw.next_call()
        location = frame[3].get("firmware", frame[3])["location"]
        self.link = "/files/" + location.partition("/files/")[2]
        await self.raw.answer(frame, answer if answer is not None else {})
        made = await asking
        assert made.status_code == 201, made.text
        update: dict[str, Any] = made.json()
        return update

    async def signed(self) -> dict[str, Any]:
        signing = {"certificate": MAKER.certificate, "signature": MAKER.sign(CONTENT)}
        return await self.begin({"status": "Accepted"}, signing=signing)

    async def tell(self, *words: str) -> None:
        for word in words:
            await self.raw.result("FirmwareStatusNotification", {"status": word})

    async def tell_signed(self, request_id: int | None, *words: str) -> None:
        for word in words:
            told = {"status": word} | ({} if request_id is None else {"requestId": request_id})
            await self.raw.result("SignedFirmwareStatusNotification", told)

    async def now(self, update: dict[str, Any]) -> dict[str, Any]:
        body: dict[str, Any] = (await self.http.get(f"{UPDATES}/{update['id']}")).json()
        return body

    async def history(self, update: dict[str, Any]) -> list[tuple[str, int]]:
        """What happened, the first first, with how often."""
        items = (await self.http.get(f"{UPDATES}/{update['id']}/history")).json()["items"]
        return [(item["status"], item["times"]) for item in reversed(items)]


@pytest.fixture
async def scene(server: RunningServer, server_world: World) -> AsyncIterator[Scene]:
    """A charger of Acme that runs 1.0.0 has booted, and there is firmware 2.0.0 for it."""
    async with make_scene(server, server_world) as made:
        yield made


@asynccontextmanager
async def make_scene(server: RunningServer, world: World) -> AsyncIterator[Scene]:
    backoffice = await world.backoffice()
    row = await world.charger(await world.station(backoffice))
    manager = await world.user(Role.BACKOFFICE, backoffice)
    async with (
        httpx.AsyncClient(base_url=server.http, headers=manager.headers) as http,
        charger(server.ws, row.id) as raw,
    ):
        await raw.boot(chargePointVendor="Acme", firmwareVersion="1.0.0")
        answer = await http.post(
            "/api/admin/firmware", params={"vendor": "Acme", "version": "2.0.0"}, content=CONTENT
        )
        yield Scene(raw, http, row.id, answer.json())


class TestItsLink:
    """One use of a link is one update, however many requests that takes."""

    async def has(self, scene: Scene, link: str) -> tuple[int, str]:
        answer = await scene.http.get(link)
        return answer.status_code, "" if answer.status_code == 200 else answer.json()["error"]

    @pytest.mark.parametrize("signed", [False, True])
    async def test_it_serves_until_the_firmware_is_installed(self, scene: Scene, signed: bool) -> None:
        update = await (scene.signed() if signed else scene.begin())
        tell = partial(scene.tell_signed, update["request_id"]) if signed else scene.tell
        for word in ("Downloading", "DownloadFailed", "Downloading", "Downloaded", "Installing"):
            await tell(word)
            assert await self.has(scene, scene.link) == (200, ""), word
        await tell("Installed")
        assert await self.has(scene, scene.link) == (410, "LinkUsed")

    async def test_the_one_of_an_update_that_another_one_replaces_is_over_and_that_ones_is_not(
        self, scene: Scene
    ) -> None:
        await scene.begin()
        old = scene.link
        await scene.begin(replace=True)
        assert await self.has(scene, old) == (410, "LinkUsed")
        assert await self.has(scene, scene.link) == (200, "")


class TestWords:
    async def test_an_update_is_followed_from_the_first_word_to_the_boot_that_confirms_it(
        self, scene: Scene
    ) -> None:
        update = await scene.begin()
        await scene.tell("Downloading", "Downloaded", "Installing")
        shown = await scene.now(update)
        assert (shown["state"], shown["status"]) == ("Running", "Installing")
        await scene.tell("Installed")
        shown = await scene.now(update)
        assert (shown["state"], shown["confirmed"]) == ("Installed", None)
        await scene.raw.boot(chargePointVendor="Acme", firmwareVersion="2.0.0")
        shown = await scene.now(update)
        assert (shown["confirmed"], shown["version_after"]) == (True, "2.0.0")
        assert [word for word, _ in await scene.history(update)] == [
            "Requested",
            "Accepted",
            "Downloading",
            "Downloaded",
            "Installing",
            "Installed",
            "Confirmed",
        ]

    async def test_one_that_boots_first_and_says_installed_then_is_confirmed_too(self, scene: Scene) -> None:
        update = await scene.begin()
        await scene.tell("Downloading", "Downloaded", "Installing")
        await scene.raw.boot(chargePointVendor="Acme", firmwareVersion="2.0.0")
        shown = await scene.now(update)
        assert (shown["state"], shown["confirmed"]) == ("Installed", True)
        await scene.tell("Installed")
        assert (await scene.now(update))["state"] == "Installed"

    async def test_installed_and_then_a_boot_with_the_old_version_is_told(self, scene: Scene) -> None:
        update = await scene.begin()
        await scene.tell("Installed")
        await scene.raw.boot(chargePointVendor="Acme", firmwareVersion="1.0.0")
        shown = await scene.now(update)
        assert (shown["state"], shown["confirmed"], shown["version_after"]) == ("Installed", False, "1.0.0")
        assert "booted with 1.0.0" in shown["detail"]
        await scene.raw.boot(chargePointVendor="Acme", firmwareVersion="2.0.0")
        assert (await scene.now(update))["confirmed"] is True

    async def test_words_that_come_again_and_late_are_counted_and_change_nothing(self, scene: Scene) -> None:
        update = await scene.begin()
        await scene.tell("Downloading", "Downloading", "Downloading", "Downloaded", "Installing", "Installed")
        await scene.tell("Downloaded", "Installed")
        assert (await scene.now(update))["state"] == "Installed"
        history = await scene.history(update)
        assert ("Downloading", 3) in history
        assert history[-2:] == [("Downloaded", 1), ("Installed", 1)]

    async def test_a_failed_download_that_is_tried_again_goes_on(self, scene: Scene) -> None:
        update = await scene.begin(retries=1)
        await scene.tell("Downloading", "DownloadFailed")
        shown = await scene.now(update)
        assert (shown["state"], shown["status"]) == ("Running", "DownloadFailed")
        await scene.tell("Downloading", "DownloadFailed")
        shown = await scene.now(update)
        assert (shown["state"], shown["detail"]) == (
            "Failed",
            "The charger could not download the firmware.",
        )
        await scene.tell("Downloading")
        assert (await scene.now(update))["state"] == "Running", "it tries once more all the same"

    async def test_idle_says_nothing_of_an_update(self, scene: Scene) -> None:
        update = await scene.begin()
        await scene.tell("Idle")
        shown = await scene.now(update)
        assert (shown["state"], shown["status"]) == ("Accepted", "Accepted")

    async def test_a_word_may_come_before_the_answer_to_the_command(self, scene: Scene) -> None:
        path = f"/api/admin/chargers/{scene.charger_id}/firmware-updates"
        asking = asyncio.create_task(scene.http.post(path, json={"firmware_id": scene.image["id"]}))
        frame = await scene.raw.next_call()
        await scene.tell("Downloading")
        await scene.raw.answer(frame, {})
        update = (await asking).json()
        assert (update["state"], update["status"]) == ("Running", "Downloading")

    async def test_one_that_timed_out_and_was_taken_all_the_same_comes_alive(self, scene: Scene) -> None:
        path = f"/api/admin/chargers/{scene.charger_id}/firmware-updates"
        asking = asyncio.create_task(scene.http.post(path, json={"firmware_id": scene.image["id"]}))
        frame = await scene.raw.next_call()
        await scene.raw.send(f'[4,"{frame[1]}","InternalError","",{{}}]')
        update = (await asking).json()
        assert update["state"] == "Failed"
        await scene.tell("Downloading")
        assert (await scene.now(update))["state"] == "Running"


class TestReports:
    async def test_a_word_without_an_update_of_ours_is_a_report_as_ever(self, scene: Scene) -> None:
        await scene.tell("Downloading")
        await scene.tell_signed(77, "Installing")
        await scene.tell_signed(None, "Idle")
        reports = (await scene.http.get(f"/api/admin/chargers/{scene.charger_id}/reports")).json()
        assert [(item["action"], item["payload"]) for item in reports["items"]] == [
            ("SignedFirmwareStatusNotification", {"status": "Idle"}),
            ("SignedFirmwareStatusNotification", {"status": "Installing", "requestId": 77}),
            ("FirmwareStatusNotification", {"status": "Downloading"}),
        ]
        shown = (await scene.http.get(f"/api/admin/chargers/{scene.charger_id}")).json()
        assert shown["firmware_status"] == "Idle"
        assert (await scene.http.get(UPDATES)).json()["total"] == 0

    async def test_a_word_about_an_update_is_a_report_too(self, scene: Scene) -> None:
        await scene.begin()
        await scene.tell("Downloading")
        reports = (await scene.http.get(f"/api/admin/chargers/{scene.charger_id}/reports")).json()
        assert [item["payload"]["status"] for item in reports["items"]] == ["Downloading"]


class TestSigned:
    async def test_words_find_their_update_by_its_request_id(self, scene: Scene) -> None:
        update = await scene.signed()
        number = update["request_id"]
        await scene.tell_signed(number + 1, "InvalidSignature")
        await scene.tell_signed(
            number, "DownloadScheduled", "Downloading", "Downloaded", "SignatureVerified", "InstallRebooting"
        )
        assert (await scene.now(update))["status"] == "InstallRebooting"
        await scene.raw.boot(chargePointVendor="Acme", firmwareVersion="2.0.0")
        await scene.tell_signed(number, "Installed")
        shown = await scene.now(update)
        assert (shown["state"], shown["confirmed"]) == ("Installed", True)

    @pytest.mark.parametrize(
        "word", ["InvalidSignature", "InstallVerificationFailed", "InstallationFailed", "DownloadFailed"]
    )
    async def test_every_failure_has_its_sentence(self, scene: Scene, word: str) -> None:
        update = await scene.signed()
        await scene.tell_signed(update["request_id"], "Downloading", word)
        shown = await scene.now(update)
        assert (shown["state"], shown["status"]) == ("Failed", word)
        assert shown["detail"].startswith("The charger")

    async def test_a_late_word_of_a_replaced_one_does_not_touch_its_successor(self, scene: Scene) -> None:
        first = await scene.signed()
        signing = {"certificate": MAKER.certificate, "signature": MAKER.sign(CONTENT)}
        second = await scene.begin({"status": "AcceptedCanceled"}, signing=signing, replace=True)
        await scene.tell_signed(first["request_id"], "InstallationFailed", "Downloading")
        assert (await scene.now(first))["state"] == "Replaced"
        assert (await scene.now(second))["state"] == "Accepted"
        await scene.tell_signed(second["request_id"], "Downloading")
        assert (await scene.now(second))["state"] == "Running"

    async def test_the_request_id_of_another_charger_is_nobodys(
        self, scene: Scene, server: RunningServer, server_world: World
    ) -> None:
        update = await scene.signed()
        async with make_scene(server, server_world) as other:
            await other.tell_signed(update["request_id"], "InvalidSignature")
        assert (await scene.now(update))["state"] == "Accepted"

    async def test_one_that_speaks_of_a_signed_update_in_the_old_way_is_understood(
        self, scene: Scene
    ) -> None:
        update = await scene.signed()
        await scene.tell("Downloading")
        await scene.tell_signed(None, "Downloaded")
        assert (await scene.now(update))["status"] == "Downloaded"


class TestTwoAtOnce:
    async def test_of_two_updates_asked_at_once_one_is_sent(self, scene: Scene) -> None:
        path = f"/api/admin/chargers/{scene.charger_id}/firmware-updates"
        body = {"firmware_id": scene.image["id"]}
        both = [asyncio.create_task(scene.http.post(path, json=body)) for _ in range(2)]
        await scene.raw.answer(await scene.raw.next_call(), {})
        statuses = sorted([(await one).status_code for one in both])
        assert statuses == [201, 409]
        assert scene.raw.calls.empty()


class TestSilence:
    async def expire(self, db: Database, clock: FrozenClock) -> None:
        await by_the_clock(jobs.expire_updates, database=db, clock=clock)

    async def update(self, world: World, clock: FrozenClock, **fields: Any) -> FirmwareUpdate:
        row = await world.charger()
        now = clock.now()
        values = {
            "charger_id": row.id,
            "request_id": 1,
            "signed": False,
            "retrieve_at": now,
            "patience_seconds": 7200,
            "by_campaign": False,
            "state": UpdateState.ACCEPTED,
            "created_at": now,
            "updated_at": now,
            "deadline_at": now + timedelta(hours=2),
            **fields,
        }
        made = FirmwareUpdate(**values)
        await world.add(made)
        return made

    async def shown(self, db: Database, row: FirmwareUpdate) -> FirmwareUpdate:
        async with db.session() as session:
            found = await session.get(FirmwareUpdate, row.id)
        assert found is not None
        return found

    async def test_one_of_which_nothing_is_heard_expires_when_its_time_is_over(
        self, db: Database, world: World, clock: FrozenClock
    ) -> None:
        rows = [
            await self.update(world, clock),
            await self.update(world, clock, state="Requested", status=None),
            await self.update(world, clock, state="Running", status="DownloadFailed"),
            await self.update(world, clock, deadline_at=clock.now() + timedelta(hours=3)),
            await self.update(world, clock, state="Installed", ended_at=clock.now()),
        ]
        clock.advance(7199)
        await self.expire(db, clock)
        assert [(await self.shown(db, row)).state for row in rows] == [row.state for row in rows]
        clock.advance(1)
        await self.expire(db, clock)
        shown = [await self.shown(db, row) for row in rows]
        assert [row.state for row in shown] == ["Expired", "Failed", "Failed", "Accepted", "Installed"]
        assert "2 hours" in shown[0].detail
        assert "not known" in shown[1].detail

    async def test_a_word_gives_it_time_again(self, db: Database, world: World, clock: FrozenClock) -> None:
        row = await self.update(world, clock)
        clock.advance(7000)
        async with db.session() as session:
            await telling.told(session, row.charger_id, "Downloading", None, clock.now(), signed=False)
        clock.advance(7000)
        await self.expire(db, clock)
        assert (await self.shown(db, row)).state == "Running"

    async def test_a_word_long_after_the_end_is_not_taken_for_it(
        self, db: Database, world: World, clock: FrozenClock
    ) -> None:
        row = await self.update(world, clock, state="Failed", ended_at=clock.now())
        clock.advance(telling.LATE.total_seconds() + 1)
        async with db.session() as session:
            await telling.told(session, row.charger_id, "Downloading", None, clock.now(), signed=False)
        assert (await self.shown(db, row)).state == "Failed"

    async def test_a_boot_without_an_update_looks_once_and_does_nothing(
        self, db: Database, world: World, clock: FrozenClock
    ) -> None:
        row: Charger = await world.charger(firmware_version="1")
        async with db.session() as session:
            await telling.booted(session, row.id, clock.now())

    async def test_ended_ones_are_forgotten_by_age(
        self, app: Any, db: Database, world: World, clock: FrozenClock
    ) -> None:
        old = await self.update(world, clock, state="Failed", ended_at=clock.now())
        clock.advance(timedelta(days=366).total_seconds())
        new = await self.update(world, clock, state="Failed", ended_at=clock.now())
        still_open = await self.update(world, clock)

        await by_the_clock(jobs.trim_updates, database=db, clock=clock, settings=app.state.settings)
        async with db.session() as session:
            left = {one for one in (old, new, still_open) if await session.get(FirmwareUpdate, one.id)}
        assert left == {new, still_open}

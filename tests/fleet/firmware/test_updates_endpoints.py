"""Updates of chargers as operators see them: what is sent, what is kept, who may."""

import json
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from tests.conftest import NOW, FrozenClock
from tests.fleet.firmware.conftest import CONTENT, AddImage, Connect, business_of
from tests.fleet.firmware.signers import signer
from tests.world import SignedIn, World

from ohmstead.accounts.models import Role
from ohmstead.link.links import Answer, ChargerBusy, ChargerOffline
from ohmstead.stations.models import Charger

ALL = "/api/admin/firmware-updates"
OUTSIDE = "ftp://fleet:geheim@files.example.com/fw/2.0.0.bin"


@pytest.fixture
def path(charger: Charger) -> str:
    return f"/api/admin/chargers/{charger.id}/firmware-updates"


@pytest.fixture
async def image(add_image: AddImage) -> dict[str, Any]:
    return await add_image()


class TestUnsigned:
    async def test_the_charger_is_sent_our_link_and_the_update_is_what_it_answered(
        self,
        *,
        client: httpx.AsyncClient,
        manager: SignedIn,
        connect: Connect,
        path: str,
        image: dict[str, Any],
    ) -> None:
        link = connect()
        body = {"firmware_id": image["id"], "retries": 3, "retry_interval": 60}
        answer = await client.post(path, json=body, headers=manager.headers)
        assert answer.status_code == 201, answer.text
        update = answer.json()
        assert (update["state"], update["status"], update["version"]) == ("Accepted", "Accepted", "2.0.0")
        assert (update["signed"], update["version_before"], update["confirmed"]) == (False, "1.0.0", None)
        ((action, payload_json, _),) = link.calls
        payload = json.loads(payload_json)
        location = payload.pop("location")
        assert action == "UpdateFirmware"
        assert payload == {"retrieveDate": "2026-05-04T12:00:00Z", "retries": 3, "retryInterval": 60}
        assert location.startswith("http://localhost:8000/files/")
        fetched = await client.get(location.removeprefix("http://localhost:8000"))
        assert fetched.content == CONTENT
        assert location not in answer.text, "the link is for the charger alone"

    async def test_the_link_lasts_from_the_date_on_which_it_is_needed(
        self,
        *,
        client: httpx.AsyncClient,
        manager: SignedIn,
        connect: Connect,
        path: str,
        image: dict[str, Any],
        clock: FrozenClock,
    ) -> None:
        link = connect()
        later = (NOW + timedelta(days=30)).isoformat()
        body = {"firmware_id": image["id"], "retrieve_at": later}
        update = (await client.post(path, json=body, headers=manager.headers)).json()
        location = json.loads(link.calls[0][1])["location"].removeprefix("http://localhost:8000")
        clock.advance(timedelta(days=32, hours=23).total_seconds())
        assert (await client.get(location)).status_code == 200
        clock.advance(timedelta(hours=2).total_seconds())
        assert (await client.get(location)).status_code == 410
        assert update["deadline_at"] == "2026-06-06T12:00:00Z"

    async def test_an_address_outside_goes_out_as_it_is_and_is_shown_without_its_password(
        self, client: httpx.AsyncClient, manager: SignedIn, connect: Connect, path: str
    ) -> None:
        link = connect()
        body = {"location": OUTSIDE, "version": "2.0.0"}
        answer = await client.post(path, json=body, headers=manager.headers)
        assert json.loads(link.calls[0][1])["location"] == OUTSIDE
        assert answer.json()["location"] == "ftp://fleet:***@files.example.com/fw/2.0.0.bin"
        listed = await client.get(path, headers=manager.headers)
        assert "geheim" not in answer.text + listed.text

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({}, "body"),
            ({"firmware_id": str(uuid4()), "location": OUTSIDE}, "body"),
            ({"location": "file:///etc/passwd"}, "location"),
            ({"location": "javascript:alert(1)"}, "location"),
            ({"location": "http://"}, "location"),
            ({"location": "ftp://host/a b"}, "location"),
            ({"location": "ftp://host/ü"}, "location"),
            ({"location": "https://host/" + "x" * 512}, "location"),
            ({"location": OUTSIDE, "retries": -1}, "retries"),
            ({"location": OUTSIDE, "retries": 2**31}, "retries"),
            ({"location": OUTSIDE, "retries": True}, "retries"),
            ({"location": OUTSIDE, "retry_interval": 10**9}, "retry_interval"),
            ({"location": OUTSIDE, "retrieve_at": "tomorrow"}, "retrieve_at"),
            ({"location": OUTSIDE, "retrieve_at": "2026-05-04T12:00:00"}, "retrieve_at"),
            ({"location": OUTSIDE, "install_at": "2026-05-04T12:00:00Z"}, "body"),
            ({"location": OUTSIDE, "sha256": "abc"}, "sha256"),
            ({"location": OUTSIDE, "version": "x" * 51}, "version"),
            ({"location": OUTSIDE, "when": "now"}, "when"),
            ({"firmware_id": str(uuid4()), "version": "2"}, "body"),
        ],
    )
    async def test_what_no_charger_could_do_is_refused_and_nothing_is_sent(
        self,
        *,
        client: httpx.AsyncClient,
        manager: SignedIn,
        connect: Connect,
        path: str,
        body: dict[str, Any],
        field: str,
    ) -> None:
        link = connect()
        answer = await client.post(path, json=body, headers=manager.headers)
        assert answer.status_code == 422, answer.text
        assert field in answer.json()["fields"]
        assert link.calls == []
        assert (await client.get(path, headers=manager.headers)).json()["total"] == 0

    async def test_firmware_of_another_model_needs_force(
        self,
        *,
        client: httpx.AsyncClient,
        manager: SignedIn,
        connect: Connect,
        path: str,
        add_image: AddImage,
    ) -> None:
        link = connect()
        wrong = await add_image(model="Slow 11", version="9")
        body = {"firmware_id": wrong["id"]}
        answer = await client.post(path, json=body, headers=manager.headers)
        assert (answer.status_code, answer.json()["error"]) == (400, "FirmwareForOthers")
        assert "its model is Fast 50, the firmware is for Slow 11" in answer.json()["message"]
        assert link.calls == []
        forced = await client.post(path, json={**body, "force": True}, headers=manager.headers)
        assert forced.status_code == 201


class TestSigned:
    async def test_certificate_and_signature_go_to_the_charger(
        self,
        *,
        client: httpx.AsyncClient,
        manager: SignedIn,
        connect: Connect,
        path: str,
        image: dict[str, Any],
    ) -> None:
        link = connect(Answer(response={"status": "Accepted"}))
        maker = signer("rsa")
        body = {
            "firmware_id": image["id"],
            "signing": {"certificate": maker.certificate, "signature": maker.sign(CONTENT)},
            "install_at": "2026-05-05T02:00:00+02:00",
            "retries": 0,
        }
        answer = await client.post(path, json=body, headers=manager.headers)
        assert answer.status_code == 201, answer.text
        ((action, payload_json, _),) = link.calls
        payload = json.loads(payload_json)
        assert action == "SignedUpdateFirmware"
        assert payload["requestId"] == answer.json()["request_id"] > 0
        assert payload["retries"] == 0
        firmware = payload["firmware"]
        assert firmware["signingCertificate"] == maker.certificate
        assert firmware["signature"] == body["signing"]["signature"]
        assert firmware["installDateTime"] == "2026-05-05T00:00:00Z"
        assert len(firmware["location"]) <= 512

    async def test_a_signature_of_another_file_is_refused_before_the_charger_is_asked(
        self,
        *,
        client: httpx.AsyncClient,
        manager: SignedIn,
        connect: Connect,
        path: str,
        image: dict[str, Any],
    ) -> None:
        link = connect()
        maker = signer()
        signing = {"certificate": maker.certificate, "signature": maker.sign(b"another")}
        for body in (
            {"firmware_id": image["id"], "signing": signing},
            {"location": OUTSIDE, "sha256": image["sha256"].upper(), "signing": signing},
        ):
            answer = await client.post(path, json=body, headers=manager.headers)
            assert (answer.status_code, answer.json()["error"]) == (422, "SigningInvalid")
        assert link.calls == []
        unknown = {"location": OUTSIDE, "signing": signing}
        assert (await client.post(path, json=unknown, headers=manager.headers)).status_code == 201

    @pytest.mark.parametrize("status", ["Rejected", "InvalidCertificate", "RevokedCertificate"])
    async def test_one_that_the_charger_refuses_has_failed(
        self,
        *,
        client: httpx.AsyncClient,
        manager: SignedIn,
        connect: Connect,
        path: str,
        image: dict[str, Any],
        status: str,
    ) -> None:
        connect(Answer(response={"status": status}))
        maker = signer()
        signing = {"certificate": maker.certificate, "signature": maker.sign(CONTENT)}
        body = {"firmware_id": image["id"], "signing": signing}
        update = (await client.post(path, json=body, headers=manager.headers)).json()
        assert (update["state"], update["status"]) == ("Failed", status)
        assert update["ended_at"]
        assert update["detail"]


class TestAnswers:
    @pytest.mark.parametrize(
        ("answer", "status"),
        [
            (Answer(error_code="NotSupported", error_description="no firmware here"), "CallError"),
            (Answer(), "Timeout"),
        ],
    )
    async def test_no_acceptance_is_a_failure_with_its_reason(
        self,
        *,
        client: httpx.AsyncClient,
        manager: SignedIn,
        connect: Connect,
        path: str,
        image: dict[str, Any],
        answer: Answer,
        status: str,
    ) -> None:
        connect(answer)
        update = (await client.post(path, json={"firmware_id": image["id"]}, headers=manager.headers)).json()
        assert (update["state"], update["status"]) == ("Failed", status)
        history = await client.get(f"{ALL}/{update['id']}/history", headers=manager.headers)
        assert [event["status"] for event in history.json()["items"]] == [status, "Requested"]

    @pytest.mark.parametrize(
        ("fault", "status"), [(ChargerOffline("It is not connected."), 409), (ChargerBusy("Busy."), 429)]
    )
    async def test_one_that_is_away_is_an_error_and_a_failed_update_that_says_why(
        self,
        *,
        client: httpx.AsyncClient,
        manager: SignedIn,
        connect: Connect,
        path: str,
        image: dict[str, Any],
        fault: Exception,
        status: int,
    ) -> None:
        connect(fault)
        answer = await client.post(path, json={"firmware_id": image["id"]}, headers=manager.headers)
        assert answer.status_code == status
        (update,) = (await client.get(path, headers=manager.headers)).json()["items"]
        assert (update["state"], update["detail"]) == ("Failed", str(fault))
        connect()
        again = await client.post(path, json={"firmware_id": image["id"]}, headers=manager.headers)
        assert again.status_code == 201


class TestOneAtATime:
    async def test_a_second_one_waits_or_replaces_the_first(
        self,
        *,
        client: httpx.AsyncClient,
        manager: SignedIn,
        connect: Connect,
        path: str,
        image: dict[str, Any],
    ) -> None:
        link = connect(Answer(response={}), Answer(response={}))
        body = {"firmware_id": image["id"]}
        first = (await client.post(path, json=body, headers=manager.headers)).json()
        answer = await client.post(path, json=body, headers=manager.headers)
        assert (answer.status_code, answer.json()["error"]) == (409, "UpdateRunning")
        assert len(link.calls) == 1
        second = await client.post(path, json={**body, "replace": True}, headers=manager.headers)
        assert second.status_code == 201
        shown = (await client.get(f"{ALL}/{first['id']}", headers=manager.headers)).json()
        assert shown["state"] == "Replaced"
        still_open = await client.get(path, params={"open": True}, headers=manager.headers)
        assert [one["id"] for one in still_open.json()["items"]] == [second.json()["id"]]


class TestScope:
    async def test_a_charger_or_an_update_of_another_business_does_not_exist(
        self,
        *,
        client: httpx.AsyncClient,
        world: World,
        manager: SignedIn,
        connect: Connect,
        path: str,
        image: dict[str, Any],
    ) -> None:
        link = connect()
        update = (await client.post(path, json={"firmware_id": image["id"]}, headers=manager.headers)).json()
        for role in (Role.BACKOFFICE, Role.OPERATOR):
            other = await world.user(role)
            for method, where in (
                ("POST", path),
                ("GET", path),
                ("GET", f"{ALL}/{update['id']}"),
                ("GET", f"{ALL}/{update['id']}/history"),
            ):
                body = {"location": OUTSIDE} if method == "POST" else {}
                answer = await client.request(method, where, json=body, headers=other.headers)
                assert answer.status_code == 404, (method, where)
            listed = await client.get(ALL, headers=other.headers)
            assert listed.json()["items"] == []
        assert len(link.calls) == 1

    async def test_an_operator_may_for_the_chargers_of_its_stations(
        self,
        *,
        client: httpx.AsyncClient,
        world: World,
        charger: Charger,
        connect: Connect,
        path: str,
        image: dict[str, Any],
    ) -> None:
        connect()
        stranger = await world.user(Role.OPERATOR, await business_of(world, charger))
        body = {"firmware_id": image["id"]}
        assert (await client.post(path, json=body, headers=stranger.headers)).status_code == 404

    async def test_an_image_of_another_business_cannot_be_used_even_by_a_system_admin(
        self,
        *,
        client: httpx.AsyncClient,
        world: World,
        manager: SignedIn,
        connect: Connect,
        path: str,
        add_image: AddImage,
    ) -> None:
        link = connect()
        other = await world.user(Role.BACKOFFICE)
        foreign = await add_image(by=other)
        for who in (manager, await world.admin()):
            answer = await client.post(path, json={"firmware_id": foreign["id"]}, headers=who.headers)
            assert (answer.status_code, answer.json()["error"]) == (404, "FirmwareNotFound")
        assert link.calls == []

    async def test_lists_are_filtered_and_in_pages(
        self,
        *,
        app: FastAPI,
        client: httpx.AsyncClient,
        world: World,
        manager: SignedIn,
        connect: Connect,
        path: str,
        charger: Charger,
        image: dict[str, Any],
    ) -> None:
        connect(*[Answer() for _ in range(3)])
        for _ in range(3):
            await client.post(path, json={"firmware_id": image["id"]}, headers=manager.headers)

        async def total(where: str = ALL, **asked: Any) -> int:
            answer = await client.get(where, params=asked, headers=manager.headers)
            assert answer.status_code == 200, answer.text
            return int(answer.json()["total"])

        assert await total() == await total(path) == 3
        assert await total(charger=charger.id, state="Failed", firmware_id=image["id"]) == 3
        assert await total(state="Installed") == await total(charger="NOBODY") == await total(open=True) == 0
        assert await total(q="2.0") == 3
        first = (await client.get(ALL, params={"limit": 2}, headers=manager.headers)).json()
        rest = await client.get(ALL, params={"cursor": first["next_cursor"]}, headers=manager.headers)
        assert len(first["items"]) + len(rest.json()["items"]) == 3
        wrong = await client.get(ALL, params={"state": "Nonsense"}, headers=manager.headers)
        assert wrong.status_code == 422

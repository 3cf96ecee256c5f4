"""Diagnostics and logs as operators see them: what is sent, what is kept, who may."""

from typing import Any
from uuid import uuid4

import httpx
import orjson
import pytest
from sqlalchemy import select
from tests.fleet.diagnostics.conftest import NAMED, PUBLIC, Ask, Connect
from tests.world import SignedIn, World

from ohmstead.accounts.models import Backoffice, Role
from ohmstead.link.links import Answer, ChargerBusy, ChargerOffline
from ohmstead.stations.models import Charger

ALL = "/api/admin/diagnostics"
OUTSIDE = "ftp://fleet:geheim@files.example.com/logs/"


@pytest.fixture
def path(charger: Charger) -> str:
    return f"/api/admin/chargers/{charger.id}"


class TestAsk:
    async def test_get_diagnostics_with_our_link(
        self, client: httpx.AsyncClient, admin: SignedIn, connect: Connect, path: str
    ) -> None:
        link = connect()
        body = {
            "since": "2026-05-01T02:00:00+02:00",
            "until": "2026-05-03T00:00:00Z",
            "retries": 2,
            "retry_interval": 60,
        }
        answer = await client.post(f"{path}/diagnostics", json=body, headers=admin.headers)
        assert answer.status_code == 201, answer.text
        job = answer.json()
        assert (job["kind"], job["state"], job["file_name"]) == ("Diagnostics", "Accepted", "diag.zip")
        assert (job["received"], job["request_id"]) == (False, None)
        ((action, payload_json, _),) = link.calls
        payload = orjson.loads(payload_json)
        location = payload.pop("location")
        assert action == "GetDiagnostics"
        assert payload == {
            "startTime": "2026-05-01T00:00:00Z",
            "stopTime": "2026-05-03T00:00:00Z",
            "retries": 2,
            "retryInterval": 60,
        }
        assert location.startswith(f"{PUBLIC}/uploads/")
        assert location not in answer.text, "the link is for the charger alone"

    @pytest.mark.parametrize("log_type", ["DiagnosticsLog", "SecurityLog"])
    async def test_get_log_with_our_link(
        self, client: httpx.AsyncClient, admin: SignedIn, connect: Connect, path: str, log_type: str
    ) -> None:
        link = connect(Answer(response={"status": "Accepted", "filename": "log.txt"}))
        body = {"log_type": log_type, "since": "2026-05-01T00:00:00Z"}
        job = (await client.post(f"{path}/logs", json=body, headers=admin.headers)).json()
        assert (job["kind"], job["state"], job["file_name"]) == (log_type, "Accepted", "log.txt")
        ((action, payload_json, _),) = link.calls
        payload = orjson.loads(payload_json)
        assert (action, payload["logType"]) == ("GetLog", log_type)
        assert payload["requestId"] == job["request_id"] > 0
        assert payload["log"].pop("remoteLocation").startswith(f"{PUBLIC}/uploads/")
        assert payload["log"] == {"oldestTimestamp": "2026-05-01T00:00:00Z"}

    async def test_an_address_outside_goes_out_as_it_is_and_is_shown_without_its_password(
        self, ask: Ask, client: httpx.AsyncClient, admin: SignedIn
    ) -> None:
        job, location = await ask(location=OUTSIDE)
        assert location == OUTSIDE
        assert job["location"] == "ftp://fleet:***@files.example.com/logs/"
        assert "geheim" not in (await client.get(ALL, headers=admin.headers)).text

    @pytest.mark.parametrize(
        ("what", "body", "field"),
        [
            ("diagnostics", {"location": "file:///etc"}, "location"),
            ("diagnostics", {"location": ""}, "location"),
            ("diagnostics", {"since": "2026-05-02T00:00:00Z", "until": "2026-05-01T00:00:00Z"}, "body"),
            ("diagnostics", {"since": "yesterday"}, "since"),
            ("diagnostics", {"retries": -1}, "retries"),
            ("diagnostics", {"give_up_hours": 0}, "give_up_hours"),
            ("diagnostics", {"log_type": "SecurityLog"}, "log_type"),
            ("logs", {}, "log_type"),
            ("logs", {"log_type": "Diagnostics"}, "log_type"),
        ],
    )
    async def test_what_no_charger_could_do_is_refused_and_nothing_is_sent(
        self,
        *,
        client: httpx.AsyncClient,
        admin: SignedIn,
        connect: Connect,
        path: str,
        what: str,
        body: dict[str, Any],
        field: str,
    ) -> None:
        link = connect()
        answer = await client.post(f"{path}/{what}", json=body, headers=admin.headers)
        assert answer.status_code == 422, answer.text
        assert field in answer.json()["fields"]
        assert link.calls == []


class TestAnswers:
    @pytest.mark.parametrize(
        ("answer", "status", "told"),
        [
            (Answer(response={}), "Accepted", "nothing from this time"),
            (Answer(response={"fileName": " "}), "Accepted", "nothing from this time"),
            (Answer(error_code="NotImplemented"), "CallError", "NotImplemented"),
            (Answer(), "Timeout", "in time"),
        ],
    )
    async def test_no_file_is_a_failure_with_its_reason(
        self, ask: Ask, answer: Answer, status: str, told: str
    ) -> None:
        job, _ = await ask(answer)
        assert (job["state"], job["status"]) == ("Failed", status)
        assert told in job["detail"]
        assert job["ended_at"]

    async def test_a_log_that_is_refused_has_failed_and_one_without_a_name_has_not(self, ask: Ask) -> None:
        job, _ = await ask(Answer(response={"status": "Rejected"}), log_type="SecurityLog")
        assert (job["state"], job["detail"]) == ("Failed", "The charger answered Rejected.")
        job, _ = await ask(Answer(response={"status": "Accepted"}), log_type="SecurityLog")
        assert job["state"] == "Accepted"

    @pytest.mark.parametrize(
        ("fault", "status"), [(ChargerOffline("Away."), 409), (ChargerBusy("Busy."), 429)]
    )
    async def test_one_that_is_away_is_an_error_and_a_failed_job_that_says_why(
        self,
        *,
        client: httpx.AsyncClient,
        admin: SignedIn,
        connect: Connect,
        path: str,
        fault: Exception,
        status: int,
    ) -> None:
        connect(fault)
        answer = await client.post(f"{path}/diagnostics", json={}, headers=admin.headers)
        assert answer.status_code == status
        (job,) = (await client.get(ALL, headers=admin.headers)).json()["items"]
        assert (job["state"], job["detail"]) == ("Failed", str(fault))

    async def test_a_newer_request_cancels_the_older_of_its_kind_alone(
        self, ask: Ask, client: httpx.AsyncClient, admin: SignedIn
    ) -> None:
        accepted = Answer(response={"status": "Accepted", "filename": "a"})
        log, _ = await ask(accepted, log_type="SecurityLog")
        first, _ = await ask()
        await ask()
        other_log, _ = await ask(accepted, log_type="DiagnosticsLog")
        items = (await client.get(ALL, headers=admin.headers)).json()["items"]
        states = {item["id"]: item["state"] for item in items}
        assert states[first["id"]] == "Cancelled"
        assert states[log["id"]] == states[other_log["id"]] == "Accepted", "GetLog: both go on"
        replaced = Answer(response={"status": "AcceptedCanceled", "filename": "a"})
        newest, _ = await ask(replaced, log_type="SecurityLog")
        items = (await client.get(ALL, headers=admin.headers)).json()["items"]
        states = {item["id"]: item["state"] for item in items}
        assert states[log["id"]] == states[other_log["id"]] == "Cancelled"
        assert states[newest["id"]] == "Accepted"


class TestScope:
    async def test_a_charger_or_a_job_of_another_business_does_not_exist(
        self, *, ask: Ask, client: httpx.AsyncClient, world: World, connect: Connect, path: str
    ) -> None:
        job, _ = await ask()
        link = connect()
        for role in (Role.BACKOFFICE, Role.OPERATOR):
            other = await world.user(role)
            for method, where, body in (
                ("POST", f"{path}/diagnostics", {}),
                ("POST", f"{path}/logs", {"log_type": "SecurityLog"}),
                ("GET", f"{ALL}/{job['id']}", None),
                ("GET", f"{ALL}/{job['id']}/history", None),
                ("GET", f"{ALL}/{job['id']}/file", None),
            ):
                answer = await client.request(method, where, json=body, headers=other.headers)
                assert answer.status_code == 404, (method, where)
            assert (await client.get(ALL, headers=other.headers)).json()["items"] == []
        assert link.calls == []

    async def test_an_operator_may_for_the_chargers_of_its_stations_alone(
        self, *, client: httpx.AsyncClient, world: World, charger: Charger, connect: Connect, path: str
    ) -> None:
        async with world.database.session() as session:
            owner = (
                await session.execute(select(Backoffice).where(Backoffice.id == charger.backoffice_id))
            ).scalar_one()
        connect()
        stranger = await world.user(Role.OPERATOR, owner)
        answer = await client.post(f"{path}/diagnostics", json={}, headers=stranger.headers)
        assert answer.status_code == 404
        assert charger.station_id is not None
        station = type("Named", (), {"id": charger.station_id})()
        own = await world.user(Role.OPERATOR, owner, (station,))
        answer = await client.post(f"{path}/diagnostics", json={}, headers=own.headers)
        assert answer.status_code == 201

    async def test_one_that_is_not_there_is_404(self, client: httpx.AsyncClient, admin: SignedIn) -> None:
        for part in ("", "/history", "/file"):
            answer = await client.get(f"{ALL}/{uuid4()}{part}", headers=admin.headers)
            assert (answer.status_code, answer.json()["error"]) == (404, "DiagnosticsNotFound")

    async def test_lists_are_filtered_and_in_pages(
        self, ask: Ask, client: httpx.AsyncClient, admin: SignedIn, charger: Charger
    ) -> None:
        for _ in range(3):
            await ask(NAMED)
        await ask(Answer(response={"status": "Rejected"}), log_type="SecurityLog")

        async def total(**asked: Any) -> int:
            answer = await client.get(ALL, params=asked, headers=admin.headers)
            assert answer.status_code == 200, answer.text
            return int(answer.json()["total"])

        assert await total() == await total(charger=charger.id) == 4
        assert await total(kind="SecurityLog") == await total(state="Failed") == 1
        assert (await total(state="Accepted"), await total(state="Cancelled")) == (1, 2)
        assert await total(q="diag.") == 3
        assert await total(charger="NOBODY") == 0
        first = (await client.get(ALL, params={"limit": 3}, headers=admin.headers)).json()
        rest = await client.get(ALL, params={"cursor": first["next_cursor"]}, headers=admin.headers)
        assert len(rest.json()["items"]) == 1
        assert (await client.get(ALL, params={"kind": "X"}, headers=admin.headers)).status_code == 422

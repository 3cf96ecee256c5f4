"""A whole story: a business asks for an account, is approved, and its people come by invitation."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx
from tests.chargers import until
from tests.inbox import Inbox, inbox, text_of
from tests.running import RunningServer
from tests.world import World

__all__ = ["inbox"]

PASSWORD = "seven horses over the 9 bridges"


@asynccontextmanager
async def person(server: RunningServer, headers: dict[str, str] | None = None) -> AsyncIterator[Any]:
    async with httpx.AsyncClient(
        base_url=server.http, headers=headers, trust_env=False, timeout=20
    ) as client:
        yield client


async def sign_in(client: httpx.AsyncClient, email: str) -> dict[str, Any]:
    answer = await client.post("/api/Auth/login", json={"username": email, "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    signed: dict[str, Any] = answer.json()
    client.headers["Authorization"] = f"Bearer {signed['accessToken']}"
    return signed


async def choose_password(client: httpx.AsyncClient, token: str, **shown: Any) -> None:
    invited = await client.get(f"/api/auth/invite/{token}")
    assert (invited.status_code, invited.json()) == (200, shown)
    chosen = await client.post(f"/api/auth/invite/{token}", json={"password": PASSWORD})
    assert chosen.status_code == 204, chosen.text


async def test_a_business_comes_and_lets_an_operator_work_at_one_of_its_stations(
    make_server: Any, inbox: tuple[Inbox, str]
) -> None:
    mails, smtp_url = inbox
    name = f"VoltCo {uuid4().hex[:8]}"
    async with (
        make_server(smtp_url=smtp_url, public_url="https://charge.example") as server,
        person(server) as asha,
        person(server) as maya,
    ):
        world = World(server.database, server.settings, server.app.state.clock)
        # Asha asks for an account for her business.
        contact = {
            "name": "Asha",
            "email": "ops@volt.example",
            "phone": "+65 6123 4567",
            "timeZone": "Asia/Singapore",
        }
        asked = await asha.post("/api/Backoffice/request", json={"businessName": name, "contact": contact})
        assert asked.status_code == 202, asked.text
        business = asked.json()["id"]
        assert asked.json() == {"id": business, "status": "PendingApproval"}

        # An administrator finds the request and approves it.
        async with person(server, (await world.admin()).headers) as admin:
            waiting = (await admin.get("/api/backoffice", params={"status": "PendingApproval"})).json()
            assert [one["id"] for one in waiting] == [business]
            assert waiting[0]["timeZone"] == "Asia/Singapore"
            approved = await admin.put(
                f"/api/Backoffice/{business}/approve", json={"adminEmail": "asha@volt.example"}
            )
            assert approved.json() == {"id": business, "status": "Active"}

        # Asha opens the mail, chooses a password and signs in.
        token = await mails.link("asha@volt.example", "/invite/")
        await choose_password(asha, token, email="asha@volt.example", name=None, role="Backoffice")
        signed = await sign_in(asha, "asha@volt.example")
        assert (signed["role"], signed["backofficeId"]) == ("Backoffice", business)

        # She sets up two stations, and an operator for one of them.
        stations = []
        for place in ("Deck 1", "Deck 2"):
            made = await asha.post("/api/admin/stations", json={"name": place})
            assert made.status_code == 201, made.text
            stations.append(made.json()["id"])
        made = await asha.post(
            "/api/Operator", json={"email": "maya@volt.example", "name": "Maya", "stationIds": stations[:1]}
        )
        assert (made.status_code, made.json()["invited"]) == (201, True), made.text

        # The operator comes by invitation too, and sees one station and nothing to manage.
        token = await mails.link("maya@volt.example", "/invite/")
        await choose_password(maya, token, email="maya@volt.example", name="Maya", role="Operator")
        signed = await sign_in(maya, "maya@volt.example")
        assert (signed["role"], signed["operatorStationIds"]) == ("Operator", stations[:1])
        body = signed["accessToken"].split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        assert (claims["operatorStationIds"], claims["backofficeId"]) == (stations[:1], business)
        seen = (await maya.get("/api/admin/stations")).json()["items"]
        assert [one["id"] for one in seen] == stations[:1]
        assert (await maya.get(f"/api/admin/stations/{stations[1]}")).status_code == 404
        assert (await maya.post("/api/admin/stations", json={"name": "Deck 3"})).status_code == 403
        assert (await maya.get("/api/operator")).status_code == 403

        # Moved to the other station, the same token opens that one and not the first any more.
        moved = await asha.put(f"/api/operator/{made.json()['id']}", json={"stationIds": stations[1:]})
        assert moved.status_code == 200, moved.text
        seen = (await maya.get("/api/admin/stations")).json()["items"]
        assert [one["id"] for one in seen] == stations[1:]

        # Disabled, it opens nothing at all.
        assert (await asha.put(f"/api/operator/{made.json()['id']}/disable")).status_code == 200
        assert (await maya.get("/api/admin/stations")).status_code == 401
        refused = await maya.post(
            "/api/auth/login", json={"username": "maya@volt.example", "password": PASSWORD}
        )
        assert (refused.status_code, refused.json()["error"]) == (401, "AccountDeactivated")


async def test_a_business_that_is_rejected_is_told_why_and_may_ask_again(
    make_server: Any, inbox: tuple[Inbox, str]
) -> None:
    mails, smtp_url = inbox
    async with make_server(smtp_url=smtp_url) as server, person(server) as somebody:
        world = World(server.database, server.settings, server.app.state.clock)
        wish = {"businessName": "Grey Power", "contact": {"name": "Gus", "email": "gus@grey.example"}}
        first = (await somebody.post("/api/backoffice/request", json=wish)).json()["id"]
        async with person(server, (await world.admin()).headers) as admin:
            answer = await admin.put(
                f"/api/backoffice/{first}/reject", json={"reason": "Insufficient documents"}
            )
            assert answer.json() == {"id": first, "status": "Rejected"}

        async def told() -> str | None:
            texts = [text_of(mail) for mail in mails.mails]
            return next((text for text in texts if "Insufficient documents" in text), None)

        await until(told)
        again = (await somebody.post("/api/backoffice/request", json=wish)).json()
        assert again["status"] == "PendingApproval"
        assert again["id"] != first

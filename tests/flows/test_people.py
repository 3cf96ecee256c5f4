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
FORM = "application/x-www-form-urlencoded"


@asynccontextmanager
async def person(server: RunningServer, headers: dict[str, str] | None = None) -> AsyncIterator[Any]:
    async with httpx.AsyncClient(
        base_url=server.http, headers=headers, trust_env=False, timeout=20
    ) as client:
        yield client


async def sign_in(client: httpx.AsyncClient, email: str, password: str = PASSWORD) -> dict[str, Any]:
    answer = await client.post("/api/Auth/login", json={"username": email, "password": password})
    assert answer.status_code == 200, answer.text
    signed: dict[str, Any] = answer.json()
    client.headers["Authorization"] = f"Bearer {signed['accessToken']}"
    return signed


async def choose_password(client: httpx.AsyncClient, token: str, **shown: Any) -> None:
    invited = await client.get(f"/api/auth/invite/{token}")
    assert (invited.status_code, invited.json()) == (200, shown)
    chosen = await client.post(f"/api/auth/invite/{token}", json={"password": PASSWORD})
    assert chosen.status_code == 204, chosen.text


async def fill_in(client: httpx.AsyncClient, path: str, **fields: str) -> str:
    """Open the page of a link, fill in its form as a browser would and send it; return what is said then."""
    page = await client.get(path)
    assert (page.status_code, '<form method="post">' in page.text) == (200, True), page.text
    assert all(f'name="{name}"' in page.text for name in fields)
    # A form of a button alone sends an empty body.
    sent = await client.post(path, data=fields, headers=None if fields else {"Content-Type": FORM})
    assert (sent.status_code, "<form" in sent.text) == (200, False), sent.text
    return sent.text


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

        # The operator comes by invitation too, on the page of the link; she sees one station and nothing to
        # manage.
        token = await mails.link("maya@volt.example", "/invite/")
        assert "/sign-in" in await fill_in(maya, f"/invite/{token}", password=PASSWORD, again=PASSWORD)
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
        contact = {
            "name": "Gus",
            "email": "gus@grey.example",
            "phone": "+49 30 1234",
            "timeZone": "Europe/Berlin",
        }
        wish = {"businessName": "Grey Power", "contact": contact}
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


async def test_a_driver_gets_by_with_the_pages_that_its_mails_lead_to(
    make_server: Any, inbox: tuple[Inbox, str]
) -> None:
    mails, smtp_url = inbox
    old, new, other = "ravi@ev.example", "ravi@home.example", "copper lantern 77"
    settings = {"smtp_url": smtp_url, "require_verified_email": True}
    async with make_server(**settings) as server, person(server) as ravi:
        # Ravi registers, and may not sign in before the address is confirmed: by the button, not by looking.
        wish = {"nic": "200212345679", "name": "Ravi", "email": old, "phone": "+94 77 123 4567"}
        made = await ravi.post("/api/evowner", json={**wish, "password": PASSWORD, "plate": "WP CAB-1234"})
        assert made.status_code == 201, made.text
        path = "/verify-email/" + await mails.link(old, "/verify-email/")
        await ravi.get(path)
        early = await ravi.post("/api/auth/login", json={"username": old, "password": PASSWORD})
        assert (early.status_code, early.json()["error"]) == (401, "EmailNotVerified")
        await fill_in(ravi, path)
        await sign_in(ravi, old)

        # He moves to another address, by the link that goes there.
        asked = await ravi.post("/api/auth/email", json={"email": new, "password": PASSWORD})
        assert asked.status_code == 202, asked.text
        await fill_in(ravi, "/change-email/" + await mails.link(new, "/change-email/"))

        # He forgets the password, asks for a link on a page and chooses another on the page behind it.
        assert new in await fill_in(ravi, "/reset-password", email=new)
        path = "/reset-password/" + await mails.link(new, "/reset-password/")
        await fill_in(ravi, path, password=other, again=other)
        assert (await ravi.get(path)).status_code == 410
        assert (await sign_in(ravi, new, other))["email"] == new

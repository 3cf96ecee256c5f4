"""A browser that goes round by way of a provider."""

import base64
import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit

import httpx
from sqlalchemy import select
from tests.accounts.issuers import Issuer, seconds
from tests.world import SignedIn

from ohmstead.accounts.audit_models import AuditEntry
from ohmstead.accounts.models import User
from ohmstead.core.db import Database

ADMIN = "/api/admin/identity-providers"
CLIENT_ID = "ohmstead here"
CLIENT_SECRET = "a+secret/with&signs"
HOME = "http://localhost:8000"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")


class HasNow(Protocol):
    def now(self) -> datetime: ...


async def make_provider(
    client: httpx.AsyncClient, admin: SignedIn, issuer: Issuer, **members: Any
) -> dict[str, Any]:
    body = {
        "name": "Acme",
        "issuer": issuer.address,
        "client_id": "ohmstead",
        "client_secret": CLIENT_SECRET,
        **members,
    }
    answer = await client.post(ADMIN, json=body, headers=admin.headers)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def query_of(answer: httpx.Response) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(answer.headers["location"]).query))


@dataclass
class Rounds:
    """Begins rounds at one provider and comes back from them."""

    client: httpx.AsyncClient
    issuer: Issuer
    clock: HasNow
    provider_id: str

    @property
    def path(self) -> str:
        return f"/api/auth/oidc/{self.provider_id}"

    async def start(self, **query: Any) -> dict[str, str]:
        """Begin; returns what the provider is asked for. Its right answer lies ready."""
        answer = await self.client.get(f"{self.path}/start", params=query)
        assert answer.status_code == 303, answer.text
        asked = query_of(answer)
        now = seconds(self.clock.now())
        self.issuer.claims = {
            "iss": self.issuer.address,
            "aud": asked["client_id"],
            "sub": "maya-1",
            "iat": now,
            "exp": now + 300,
            "nonce": asked["nonce"],
            "email": "maya@people.example",
            "email_verified": True,
        }
        return asked

    async def back(self, asked: dict[str, str], **query: Any) -> httpx.Response:
        """Come back from the provider."""
        params = {"code": "a code", "state": asked["state"], **query}
        return await self.client.get(
            f"{self.path}/callback",
            params={name: value for name, value in params.items() if value is not None},
        )

    async def go(self, query: dict[str, Any] | None = None, **claims: Any) -> httpx.Response:
        """Go round once; `claims` replace those that would be right, None takes one away."""
        asked = await self.start(**(query or {}))
        told = {**self.issuer.claims, **claims}
        self.issuer.claims = {name: value for name, value in told.items() if value is not None}
        return await self.back(asked)

    async def code(self, *, link: bool = False, **claims: Any) -> str:
        """Go round as an app does; returns the code that it gets."""
        answer = await self.go({"challenge": CHALLENGE, "link": link}, **claims)
        return query_of(answer)["code"]

    async def access_token(self) -> str:
        """Return an access token by the refresh token that the browser has got."""
        answer = await self.client.post("/api/auth/refresh")
        assert answer.status_code == 200, answer.text
        return str(answer.json()["accessToken"])

    async def me(self) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {await self.access_token()}"}
        return dict((await self.client.get("/api/auth/me", headers=headers)).json())


def error_of(answer: httpx.Response) -> str | None:
    """Return what went wrong, as the page is told where the browser ends."""
    assert answer.status_code == 303, answer.text
    assert answer.headers["location"].startswith(HOME)
    assert "ohmstead_refresh" not in answer.headers.get("set-cookie", "")
    return query_of(answer).get("error")


def error_of_none(answer: httpx.Response) -> bool:
    assert answer.headers["location"] == f"{HOME}/"
    return True


async def user_of(db: Database, email: str) -> User | None:
    async with db.session() as session:
        return await session.scalar(select(User).where(User.email == email))


async def actions(db: Database) -> list[str]:
    async with db.session() as session:
        return list(await session.scalars(select(AuditEntry.action).order_by(AuditEntry.id)))

"""A charger with a local list, its business, and who may ask."""

from collections.abc import Callable
from typing import Any

import httpx
import orjson
import pytest
from fastapi import FastAPI
from tests.conftest import NOW, FrozenClock
from tests.world import SignedIn, World

from ohmstead.link.links import Answer
from ohmstead.stations.models import Charger

LIMITS = {"LocalAuthListMaxLength": "100", "SendLocalListMaxLength": "50"}


class ListLink:
    """Answers as a charger with a local list does.

    `answers` come first, by action: a status, an answer, or an error to raise. `calls` is all it was asked.
    """

    def __init__(self, limits: dict[str, str] | None = None) -> None:
        self.limits = LIMITS if limits is None else limits
        self.version = 0
        self.list: dict[str, dict[str, Any]] = {}
        self.answers: dict[str, list[Any]] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.last_seen = NOW

    def disconnect(self, reason: str) -> None:
        """Part of a `ChargerLink`; nobody closes this one."""

    @property
    def sent(self) -> list[tuple[str, int, list[str]]]:
        """Type, version and tags of each SendLocalList; a removed tag has a minus before it."""
        return [
            (
                payload["updateType"],
                payload["listVersion"],
                [
                    one["idTag"] if "idTagInfo" in one else f"-{one['idTag']}"
                    for one in payload["localAuthorizationList"]
                ],
            )
            for action, payload in self.calls
            if action == "SendLocalList"
        ]

    async def call(self, action: str, payload_json: bytes, *, wait_seconds: float | None = None) -> Answer:
        payload = orjson.loads(payload_json)
        self.calls.append((action, payload))
        if self.answers.get(action):
            answer = self.answers[action].pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer if isinstance(answer, Answer) else Answer(response={"status": answer})
        if action == "GetConfiguration":
            known = [
                {"key": key, "readonly": True, "value": self.limits[key]}
                for key in payload["key"]
                if key in self.limits
            ]
            unknown = [key for key in payload["key"] if key not in self.limits]
            return Answer(response={"configurationKey": known, "unknownKey": unknown})
        if action == "GetLocalListVersion":
            return Answer(response={"listVersion": self.version})
        return Answer(response={"status": self.take(payload)})

    def take(self, payload: dict[str, Any]) -> str:
        """Do what a SendLocalList says (OCPP 1.6 5.15)."""
        if payload["updateType"] == "Full":
            self.list = {}
        elif payload["listVersion"] <= self.version:
            return "VersionMismatch"
        for one in payload["localAuthorizationList"]:
            if "idTagInfo" in one:
                self.list[one["idTag"]] = one["idTagInfo"]
            else:
                self.list.pop(one["idTag"], None)
        self.version = payload["listVersion"]
        return "Accepted"


class Keeper:
    """The admin API as one user, on the lists of one charger."""

    def __init__(
        self, app: FastAPI, client: httpx.AsyncClient, user: SignedIn, charger: Charger, clock: FrozenClock
    ) -> None:
        self.app, self.client, self.user, self.charger, self.clock = app, client, user, charger, clock

    async def send(self, method: str, path: str, body: Any = None, **params: Any) -> httpx.Response:
        return await self.client.request(
            method, f"/api/admin{path}", json=body, params=params, headers=self.user.headers
        )

    async def ok(self, method: str, path: str, body: Any = None, **params: Any) -> Any:
        answer = await self.send(method, path, body, **params)
        assert answer.is_success, answer.text
        self.clock.advance(1)
        return answer.json() if answer.content else None

    def connect(self, **behaviour: Any) -> ListLink:
        link = ListLink(**behaviour)
        self.app.state.links.attach(self.charger.id, link)
        return link

    async def rule(self, **fields: Any) -> dict[str, Any]:
        """Make a rule for the charger: all tags of its business, if nothing else is said."""
        body = {"tags": {"all": True}, "charger_id": self.charger.id, **fields}
        made: dict[str, Any] = await self.ok("POST", "/local-list-rules", body)
        return made

    async def shown(self, **params: Any) -> dict[str, Any]:
        path = f"/chargers/{self.charger.id}/local-list"
        shown: dict[str, Any] = await self.ok("GET", path, **params)
        return shown

    async def push(self, body: Any = None) -> dict[str, Any]:
        """Send what is due; returns what came of it."""
        pushed: dict[str, Any] = await self.ok("POST", f"/chargers/{self.charger.id}/local-list", body)
        return pushed

    async def command(self, action: str, body: Any = None) -> Any:
        return await self.ok("POST", f"/chargers/{self.charger.id}/commands/{action}", body or {})


@pytest.fixture
async def charger(world: World) -> Charger:
    return await world.charger(online=True)


@pytest.fixture
async def keeper(
    app: FastAPI, client: httpx.AsyncClient, world: World, charger: Charger, clock: FrozenClock
) -> Keeper:
    return Keeper(app, client, await world.admin(), charger, clock)


@pytest.fixture
def tag(world: World, charger: Charger) -> Callable[..., Any]:
    """Make an id tag of the charger's business: `await tag("A", parent_id_tag="P")`."""

    async def make(text: str, **fields: Any) -> Any:
        return await world.token(fields.pop("backoffice_id", charger.backoffice_id), text, **fields)

    return make

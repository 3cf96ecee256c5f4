"""The application as a whole: its pages, its contract, and whom it answers."""

import re
from html.parser import HTMLParser

import httpx
from fastapi import FastAPI

from ohmstead.accounts.models import Role
from ohmstead.app import create_app
from ohmstead.core.config import Settings
from tests.world import World


class Links(HTMLParser):
    """Collects what a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.inline = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in {"script", "img"} and given.get("src"):
            self.loaded.append(str(given["src"]))
        elif tag == "link":
            self.loaded.append(str(given["href"]))
        elif tag in {"script", "style"}:
            self.inline += 1
        self.inline += sum(name.startswith("on") or name == "style" for name in given)


class TestDocs:
    async def test_the_page_loads_only_files_of_this_server_which_its_policy_allows(
        self, client: httpx.AsyncClient
    ) -> None:
        page = await client.get("/docs")
        assert page.status_code == 200
        policy = dict(
            part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";")
        )
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == "'self'"
        assert "http" not in page.headers["content-security-policy"]
        links = Links()
        links.feed(page.text)
        assert links.inline == 0, "the policy forbids scripts within the page"
        assert {re.sub(r".*\.", "", path) for path in links.loaded} == {"svg", "css", "js"}
        for path in links.loaded:
            assert path.startswith("/docs/")
            file = await client.get(path)
            assert (file.status_code, file.headers["x-content-type-options"]) == (200, "nosniff")
            kind = {"svg": "image/svg+xml", "css": "text/css", "js": "text/javascript"}[
                path.rpartition(".")[2]
            ]
            assert file.headers["content-type"].startswith(kind)
        assert "/openapi.json" in (await client.get("/docs/start.js")).text

    async def test_swagger_leads_there(self, client: httpx.AsyncClient) -> None:
        answer = await client.get("/swagger")
        assert (answer.status_code, answer.headers["location"]) == (307, "/docs")

    async def test_the_contract_names_every_endpoint_with_a_word_on_what_it_does(
        self, client: httpx.AsyncClient
    ) -> None:
        contract = (await client.get("/openapi.json")).json()
        assert contract["info"]["title"] == "Ohmstead"
        for path, methods in contract["paths"].items():
            for method, operation in methods.items():
                assert operation.get("description") or operation.get("summary"), f"{method} {path}"
        assert "/api/admin/transactions" in contract["paths"]
        assert not any(path.startswith(("/docs", "/ocpp")) for path in contract["paths"])


class TestAuthorization:
    def admin_routes(self, app: FastAPI) -> list[tuple[str, str]]:
        contract = app.openapi()
        return [
            (method.upper(), re.sub(r"\{[^}]*\}", "00000000-0000-0000-0000-000000000000", path))
            for path, methods in contract["paths"].items()
            for method in methods
            if path.startswith("/api/admin")
        ]

    async def test_no_admin_endpoint_answers_somebody_unknown(
        self, app: FastAPI, client: httpx.AsyncClient
    ) -> None:
        routes = self.admin_routes(app)
        assert len(routes) > 20
        for method, path in routes:
            answer = await client.request(method, path, json={})
            assert (answer.status_code, answer.json()["error"]) == (401, "Unauthorized"), f"{method} {path}"

    async def test_none_answers_a_driver(self, app: FastAPI, client: httpx.AsyncClient, world: World) -> None:
        headers = (await world.user(Role.EV_OWNER)).headers
        for method, path in self.admin_routes(app):
            answer = await client.request(method, path, json={}, headers=headers)
            assert answer.status_code in {403, 422}, f"{method} {path}: {answer.text}"


class TestCreation:
    def test_two_applications_in_one_process_do_not_share_anything(self, settings: Settings) -> None:
        one, two = create_app(settings), create_app(settings)
        for name in ("live", "links", "database", "jobs"):
            assert getattr(one.state, name) is not getattr(two.state, name)

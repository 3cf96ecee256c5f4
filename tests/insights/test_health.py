"""How the server is: for people, for load balancers, for Prometheus."""

from typing import Any

import httpx
import psycopg
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from tests.chargers import charger, until
from tests.running import RunningServer
from tests.world import World

from ohmstead.app import create_app
from ohmstead.core.config import Settings

TOKEN = {"Authorization": "Bearer metrics-token"}


async def get(server: RunningServer, path: str, **options: Any) -> httpx.Response:
    async with httpx.AsyncClient(base_url=server.http, timeout=30) as http:
        return await http.get(path, **options)


class TestHealth:
    async def test_it_is_what_the_driver_document_shows(self, client: httpx.AsyncClient) -> None:
        answer = await client.get("/health")
        assert (answer.status_code, answer.json()) == (
            200,
            {"status": "healthy", "service": "driver-dashboard"},
        )

    @pytest.mark.parametrize("path", ["/health", "/health/ready"])
    async def test_a_monitor_may_ask_for_the_head_alone(self, server: RunningServer, path: str) -> None:
        async with httpx.AsyncClient(base_url=server.http, timeout=30) as http:
            whole, head = await http.get(path), await http.head(path)
        assert (head.status_code, head.content) == (whole.status_code, b"")
        assert head.headers["content-type"] == whole.headers["content-type"]

    async def test_it_asks_nobody(self, settings: Settings) -> None:
        """A database that is away is no reason to kill the process: that is what readiness is for."""
        app = create_app(settings.model_copy(update={"database_url": "postgresql://me@127.0.0.1:1/x"}))
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app), base_url="http://test"
        ) as client:
            assert (await client.get("/health")).status_code == 200
        await app.state.database.close()


class TestReady:
    async def test_a_server_at_work_is_ready_in_all_its_parts(self, server: RunningServer) -> None:
        body: dict[str, Any] = {}

        async def ready() -> bool:
            answer = await get(server, "/health/ready")
            body.update(answer.json())
            return answer.status_code == 200

        try:
            await until(ready)
        except TimeoutError:
            pytest.fail(f"not ready after 20 s: {body}")
        assert body["status"] == "ready"
        assert set(body["checks"]) == {"database", "schema", "jobs", "gateway"}
        assert all(check["ok"] and check["detail"] for check in body["checks"].values())

    async def test_the_database_away_makes_it_503_and_says_what_is_unknown_now(
        self, settings: Settings
    ) -> None:
        app = create_app(settings.model_copy(update={"database_url": "postgresql://me:hidden@127.0.0.1:1/x"}))
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app), base_url="http://test"
        ) as client:
            answer = await client.get("/health/ready")
        checks = answer.json()["checks"]
        assert (answer.status_code, answer.json()["status"]) == (503, "not ready")
        assert not any(checks[name]["ok"] for name in ("database", "schema", "jobs", "gateway"))
        assert "hidden" not in answer.text
        assert "127.0.0.1" not in answer.text
        await app.state.database.close()

    async def test_a_schema_that_is_behind_is_told_with_the_remedy(
        self, settings: Settings, database_factory: Any
    ) -> None:
        url = database_factory("behind")
        with psycopg.connect(url) as connection:
            connection.execute("DELETE FROM alembic_version")
        app = create_app(settings.model_copy(update={"database_url": url}))
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app), base_url="http://test"
        ) as client:
            checks = (await client.get("/health/ready")).json()["checks"]
        assert checks["database"]["ok"]
        assert not checks["schema"]["ok"]
        assert "0001" in checks["schema"]["detail"]
        assert "ohmstead migrate" in checks["schema"]["detail"]
        await app.state.database.close()

    async def test_a_worker_that_does_not_run_is_told(self, app: FastAPI, client: httpx.AsyncClient) -> None:
        checks = (await client.get("/health/ready")).json()["checks"]
        assert checks["jobs"] == {"ok": False, "detail": "the worker does not run"}


class TestMetrics:
    async def test_without_a_token_of_the_settings_they_are_off(self, client: httpx.AsyncClient) -> None:
        answer = await client.get("/metrics", headers=TOKEN)
        assert (answer.status_code, answer.json()["error"]) == (403, "Forbidden")
        assert "OHMSTEAD_METRICS_TOKEN" in answer.json()["message"]

    @pytest.mark.parametrize(
        "header", [None, "", "Bearer", "Bearer wrong", "metrics-tokex", "Bearer metrics-token2", "Bearer ü"]
    )
    async def test_a_wrong_token_is_refused(self, server: RunningServer, header: str | None) -> None:
        headers = {} if header is None else {"Authorization": header.encode()}
        answer = await get(server, "/metrics", headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (401, "Unauthorized")

    async def test_with_it_they_are_figures_that_prometheus_reads(
        self, server: RunningServer, server_world: World
    ) -> None:
        known = await server_world.charger()
        async with charger(server.ws, known.id) as raw:
            await raw.boot()
            assert (await raw.call("Heartbeat"))[0] == 3
            answer = await get(server, "/metrics", headers=TOKEN)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain")
        samples = {
            (sample.name, *sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
        }
        assert samples["ohmstead_ocpp_connections",] >= 1
        beats = (
            "ohmstead_ocpp_messages_total",
            ("action", "Heartbeat"),
            ("direction", "in"),
            ("result", "ok"),
        )
        assert samples[beats] >= 1
        assert samples["ohmstead_commit_seconds_count",] >= 1
        assert samples["ohmstead_writer_queue",] >= 0
        for state in ("todo", "doing", "failed"):
            assert ("ohmstead_jobs", ("state", state)) in samples
        assert known.id not in answer.text, "an identity is no label: there are too many of them"

    async def test_what_a_charger_makes_up_is_no_label(
        self, server: RunningServer, server_world: World
    ) -> None:
        known = await server_world.charger()
        async with charger(server.ws, known.id) as raw:
            assert await raw.error("MadeUpAction") in {"NotImplemented", "NotSupported"}
            assert "MadeUpAction" not in (await get(server, "/metrics", headers=TOKEN)).text

    async def test_while_the_database_is_away_they_are_given_all_the_same(self, settings: Settings) -> None:
        changed = {
            "database_url": "postgresql://me@127.0.0.1:1/x",
            "metrics_token": SecretStr("metrics-token"),
        }
        app = create_app(settings.model_copy(update=changed))
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            answer = await client.get("/metrics", headers=TOKEN)
        assert answer.status_code == 200
        assert "ohmstead_ocpp_connections" in answer.text
        await app.state.database.close()

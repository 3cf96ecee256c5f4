"""How the server is: for people, for load balancers, for Prometheus."""

import asyncio
import hmac
from typing import Any, Literal, Protocol

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, Field
from sqlalchemy import text

from ohmstead.core import metrics, migrations
from ohmstead.core.db import Database
from ohmstead.core.errors import DomainError, Forbidden, StartupError, Unauthenticated
from ohmstead.core.http import json_response
from ohmstead.core.openapi import refuses

router = APIRouter(tags=["Operations"])

JOB_STATES = ("todo", "doing", "failed")


class Neighbours(Protocol):
    """What connects several processes."""

    def fault(self) -> str | None:
        """Tell what is wrong with it; None when all is well."""


class Health(BaseModel):
    """The process answers."""

    status: Literal["healthy"] = "healthy"
    service: Literal["driver-dashboard"] = "driver-dashboard"


class Check(BaseModel):
    """The state of one part; only that of the gateway counts `connections`."""

    ok: bool
    detail: str
    connections: int = Field(default=0, description="How many chargers are connected.")


class Readiness(BaseModel):
    """The state of the server and of each of its parts; `redis` is one of several processes.

    Without Redis a process works on with its own chargers: then it is `degraded`, and that is no fault for
    which a load balancer should take it out.
    """

    status: Literal["ready", "degraded", "not ready"]
    checks: dict[Literal["database", "schema", "jobs", "gateway", "redis"], Check]


@router.get("/health")
@router.head("/health", include_in_schema=False)
async def get_health() -> Health:
    """Tell that the process answers."""
    return Health()


@router.head("/health/ready", include_in_schema=False)
@router.get(
    "/health/ready",
    response_model=Readiness,
    responses={503: {"model": Readiness, "description": "A part cannot do its work."}},
)
async def get_readiness(request: Request) -> Response:
    """Tell whether the server can do its work: 200, or 503 with the state of each part.

    `degraded` is 200 as well: Redis is away, and chargers of other processes cannot be reached from here.
    """
    checks = {
        "database": await _database(request),
        "schema": await _schema(request),
        "jobs": _jobs(request),
        "gateway": _gateway(request),
    }
    good = all(check["ok"] for check in checks.values())
    status = "ready" if good else "not ready"
    neighbours: Neighbours | None = getattr(request.app.state, "neighbours", None)
    if neighbours is not None:
        fault = neighbours.fault()
        checks["redis"] = {"ok": fault is None, "detail": fault or "answers"}
        if good and fault is not None:
            status = "degraded"
    return json_response({"status": status, "checks": checks}, 200 if good else 503)


@router.get(
    "/metrics",
    response_model=None,
    response_class=PlainTextResponse,
    responses={**refuses(401, "The token is wrong."), **refuses(403, "Metrics are off.")},
)
async def get_metrics(request: Request) -> Response:
    """Give the figures to Prometheus; the token is `OHMSTEAD_METRICS_TOKEN`."""
    token = request.app.state.settings.metrics_token
    if token is None:
        raise Forbidden("Metrics are off. Set OHMSTEAD_METRICS_TOKEN and send it as a Bearer token.")
    given = request.headers.get("authorization", "").removeprefix("Bearer ")
    if not hmac.compare_digest(given.encode(), token.get_secret_value().encode()):
        raise Unauthenticated("Send OHMSTEAD_METRICS_TOKEN as a Bearer token.")
    await _count_jobs(request)
    metrics.LIVE_LISTENERS.set(request.app.state.live.listeners)
    return PlainTextResponse(generate_latest(metrics.REGISTRY), media_type=CONTENT_TYPE_LATEST)


async def _database(request: Request) -> dict[str, Any]:
    database: Database = request.app.state.database
    try:
        async with asyncio.timeout(5), database.session() as session:
            await session.execute(text("SELECT 1"))
    except (DomainError, TimeoutError):
        return {"ok": False, "detail": "does not answer"}
    return {"ok": True, "detail": "answers"}


async def _schema(request: Request) -> dict[str, Any]:
    try:
        async with asyncio.timeout(10):
            pending = await asyncio.to_thread(migrations.pending, request.app.state.database.url)
    except (StartupError, TimeoutError):
        return {"ok": False, "detail": "unknown: the database does not answer"}
    if pending:
        return {"ok": False, "detail": f"pending: {', '.join(pending)}; run `ohmstead migrate`"}
    return {"ok": True, "detail": "up to date"}


def _jobs(request: Request) -> dict[str, Any]:
    worker = getattr(request.app.state, "worker", None)
    running = worker is not None and worker.running
    return {"ok": running, "detail": "running" if running else "the worker does not run"}


def _gateway(request: Request) -> dict[str, Any]:
    gateway = getattr(request.app.state, "gateway", None)
    if gateway is None:
        return {"ok": False, "detail": "not started"}
    if gateway.writer.away_since is not None:
        return {"ok": False, "detail": "cannot write", "connections": len(gateway)}
    return {"ok": True, "detail": "writing", "connections": len(gateway)}


async def _count_jobs(request: Request) -> None:
    """Count the jobs; while the database is away, what was counted last stays."""
    database: Database = request.app.state.database
    try:
        async with asyncio.timeout(5), database.session() as session:
            rows = await session.execute(
                text("SELECT CAST(status AS text), count(*) FROM procrastinate_jobs GROUP BY status")
            )
            found = {str(row[0]): int(row[1]) for row in rows}
    except (DomainError, TimeoutError):
        return
    for state in JOB_STATES:
        metrics.JOBS.labels(state).set(found.get(state, 0))

"""Chargers that answer whatever they like: every route that asks one survives it, and nothing stays open."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from sqlalchemy import select
from tests.chargers import RawCharger
from tests.energy.test_endpoints import wire
from tests.gateway.admin import admin_client
from tests.running import RunningServer
from tests.world import World

from ohmstead.accounts.permissions import PERMISSION_OF
from ohmstead.bookings.reservations_models import Reservation, ReservationStatus
from ohmstead.fleet.diagnostics.models import DiagnosticsJob, DiagnosticsState
from ohmstead.fleet.firmware.models import FirmwareUpdate, UpdateState
from ohmstead.fleet.local_lists.models import LocalList
from ohmstead.stations.credentials import Sent
from ohmstead.stations.models import Charger, NextPassword

LONG = "x" * 300
CHARGER = "/api/admin/chargers/{charger_id}"


def period(**fields: Any) -> dict[str, Any]:
    """An accepted composite schedule of one period."""
    schedule = {"chargingRateUnit": fields.pop("unit", "W"), "chargingSchedulePeriod": [fields]}
    return {"status": "Accepted", "scheduleStart": "2026-05-04T12:00:00Z", "chargingSchedule": schedule}


def keys(*told: Any, **more: Any) -> dict[str, Any]:
    """An answer to GetConfiguration."""
    return {"configurationKey": list(told), **more}


ANSWERS: list[Any] = [
    {},
    {"status": 5},
    {"status": None},
    {"status": {"a": 1}},
    {"status": LONG},
    {"status": "Acc\0epted"},
    {"status": "\0"},
    {"listVersion": "x"},
    {"listVersion": 2**63},
    {"listVersion": -5},
    {"listVersion": 1.5},
    {"listVersion": True},
    {"fileName": 5},
    {"fileName": "x" * 5000},
    {"fileName": "a\0b", "status": "Accepted", "filename": 7},
    {"configurationKey": "x", "unknownKey": 5},
    {"configurationKey": {"a": 1}, "unknownKey": "zzz"},
    keys(5, None, unknownKey=[5, None, {}]),
    keys({"key": 5, "readonly": "x", "value": 7}, {"readonly": False}),
    keys({"key": "k" * 600, "readonly": False, "value": "v" * 9000}),
    keys({"key": "a\0", "readonly": False, "value": "\0"}, {"key": "b", "value": {"x": 1}}),
    keys({"key": "SendLocalListMaxLength", "readonly": True, "value": "9" * 20}),
    keys({"key": "LocalAuthListMaxLength", "readonly": True, "value": "-1"}),
    keys({"key": "GetConfigurationMaxKeys", "readonly": True, "value": "0"}),
    {"status": "Accepted", "chargingSchedule": "x"},
    {"status": "Accepted", "chargingSchedule": {"chargingRateUnit": "W"}},
    {"status": "Accepted", "chargingSchedule": {"chargingRateUnit": "W", "chargingSchedulePeriod": "x"}},
    {"status": "Accepted", "chargingSchedule": {"chargingRateUnit": "W", "chargingSchedulePeriod": [None]}},
    {"status": "Accepted", "chargingSchedule": {"chargingSchedulePeriod": [{"startPeriod": 0, "limit": 1}]}},
    period(startPeriod="x", limit="y"),
    period(startPeriod=0),
    period(limit=5),
    period(startPeriod=0, limit=None),
    period(startPeriod=0.5, limit=5),
    period(startPeriod=2**60, limit=1e308),
    period(startPeriod=0, limit=1e308, unit="A"),
    period(startPeriod=0, limit=5, unit=7),
    period(startPeriod=0, limit=5, unit=["W"]),
    period(startPeriod=0, limit=5, numberPhases="x", unit="A"),
    period(startPeriod=0, limit=5, numberPhases={}, unit="A"),
    period(startPeriod=0, limit=5) | {"scheduleStart": "9999-12-31T23:59:59-23:59"},
    period(startPeriod=0, limit=5) | {"scheduleStart": 5},
]  # fmt: skip
ERRORS = [("InternalError", "a\0b"), ("Own\0Code", LONG), ("", "")]

ROUTES: dict[str, Any] = {
    f"GET {CHARGER}/configuration?refresh=true": None,
    f"PUT {CHARGER}/configuration": {"keys": {"HeartbeatInterval": "60", "AuthorizationKey": "00ff" * 10}},
    f"POST {CHARGER}/rotate-password": None,
    f"GET {CHARGER}/local-list?refresh=true": None,
    f"POST {CHARGER}/local-list": {"update": "Full"},
    f"POST {CHARGER}/reserve": {"connector_id": 1, "id_tag": "TAG", "expires_at": "2036-05-04T12:00:00Z"},
    f"POST {CHARGER}/diagnostics": {},
    f"POST {CHARGER}/logs": {"log_type": "SecurityLog"},
    f"POST {CHARGER}/firmware-updates": {"location": "https://example.com/y.bin", "replace": True},
    f"POST {CHARGER}/charging-profiles": {"profile_id": "{profile_id}", "connector_id": 1},
    f"DELETE {CHARGER}/charging-profiles": None,
    f"GET {CHARGER}/composite-schedule?connector_id=1&unit=W": None,
    f"GET {CHARGER}/composite-schedule?connector_id=1&unit=A": None,
    f"POST {CHARGER}/remote-start": {"id_tag": "TAG", "connector_id": 1},
    f"POST {CHARGER}/remote-stop": {"transaction_id": 7},
    f"POST {CHARGER}/availability": {"type": "Operative", "connector_id": 0},
    f"POST {CHARGER}/reset": {"type": "Soft"},
    f"POST {CHARGER}/unlock": {"connector_id": 1},
    f"POST {CHARGER}/commands/CancelReservation": {"reservationId": 7},
    f"POST {CHARGER}/commands/ChangeConfiguration": {"key": "AuthorizationKey", "value": "00ff" * 10},
    f"POST {CHARGER}/commands/ClearCache": {},
    f"POST {CHARGER}/commands/ClearChargingProfile": {},
    f"POST {CHARGER}/commands/DataTransfer": {"vendorId": "v"},
    f"POST {CHARGER}/commands/GetCompositeSchedule": {"connectorId": 1, "duration": 60},
    f"POST {CHARGER}/commands/GetConfiguration": {},
    f"POST {CHARGER}/commands/GetLocalListVersion": {},
    f"POST {CHARGER}/commands/ReserveNow": {
        "connectorId": 1, "expiryDate": "2036-05-04T12:00:00Z", "idTag": "TAG", "reservationId": 7},
    f"POST {CHARGER}/commands/SendLocalList": {"listVersion": 1, "updateType": "Full"},
    f"POST {CHARGER}/commands/TriggerMessage": {"requestedMessage": "Heartbeat"},
    f"POST {CHARGER}/commands/UnlockConnector": {"connectorId": 1},
}  # fmt: skip


@asynccontextmanager
async def answering(server: RunningServer, row: Charger, answer: str) -> AsyncIterator[RawCharger]:
    """A charger that answers whatever it is asked with the same frame; `@` stands for the message id."""
    async with await RawCharger.connect(server.ws, row.id) as raw:

        async def answers() -> None:
            while True:
                frame = await raw.calls.get()
                await raw.send(answer.replace("@", frame[1]))

        task = asyncio.create_task(answers())
        try:
            yield raw
        finally:
            task.cancel()


async def undecided(server: RunningServer, row: Charger) -> list[str]:
    """What says that a charger is being asked, though nobody asks any more."""
    open_rows: dict[Any, Any] = {
        FirmwareUpdate: FirmwareUpdate.state == UpdateState.REQUESTED,
        DiagnosticsJob: DiagnosticsJob.state == DiagnosticsState.REQUESTED,
        Reservation: Reservation.status == ReservationStatus.PENDING,
        NextPassword: NextPassword.state == Sent.OUT,
        LocalList: LocalList.claimed_until.is_not(None),
    }
    async with server.database.session() as session:
        return [
            table.__name__
            for table, is_open in open_rows.items()
            if (await session.scalars(select(table).where(table.charger_id == row.id, is_open))).all()
        ]


async def asked(client: httpx.AsyncClient, route: str, body: Any, **names: str) -> httpx.Response:
    method, _, path = route.partition(" ")
    text = json.dumps(body)
    for name, value in names.items():
        path, text = path.replace(f"{{{name}}}", value), text.replace(f"{{{name}}}", value)
    content = None if body is None else text
    headers = {"Content-Type": "application/json"}
    return await client.request(method, path, content=content, headers=headers)


FRAMES = {
    "answers": [json.dumps([3, "@", answer]) for answer in ANSWERS],
    "errors": [json.dumps([4, "@", code, text, {}]) for code, text in ERRORS],
    "no answers": [json.dumps([3, "@", []]), '[3,"@",{"status":"\\ud800"}]', "x"],
}


@pytest.mark.parametrize(
    ("kind", "one_in"),
    [
        pytest.param("answers", 3, id="answers, short"),
        pytest.param("answers", 1, id="answers, long", marks=pytest.mark.prove),
        ("errors", 1),
        ("no answers", 1),
    ],
)
async def test_no_answer_is_a_fault_of_ours_and_none_leaves_anything_open(
    make_server: Any, kind: str, one_in: int
) -> None:
    """The short form gives each route every third answer, the next one others: each meets ten routes."""
    settings = {"ocpp_call_timeout": 0.5, "rate_limit_command": 0, "rate_limit_booking": 0}
    async with make_server(**settings) as server:
        world = World(server.database, server.settings, server.app.state.clock)
        station = await world.station()
        await world.token(id_tag="TAG", backoffice_id=station.backoffice_id)
        async with admin_client(server.http, (await world.admin()).headers) as client:
            wanted = {"name": "Slow", "profile": wire(), "backoffice_id": str(station.backoffice_id)}
            profile = (await client.post("/api/admin/charging-profiles", json=wanted)).json()["id"]

            async def all_of(number: int, route: str) -> None:
                row = await world.charger(station)
                for frame in FRAMES[kind][number % one_in :: one_in]:
                    async with answering(server, row, frame):
                        names = {"charger_id": row.id, "profile_id": profile}
                        answer = await asked(client, route, ROUTES[route], **names)
                    assert answer.status_code in {200, 201, 409}, (route, frame, answer.text)
                    assert await undecided(server, row) == [], (route, frame)

            async with asyncio.TaskGroup() as together:
                for number, route in enumerate(ROUTES):
                    together.create_task(all_of(number, route))


def test_every_route_that_asks_a_charger_is_tried() -> None:
    tried = {route.partition("?")[0] for route in ROUTES}
    tried = {f"POST {CHARGER}/commands/{{action}}" if "/commands/" in one else one for one in tried}
    below = {one for one in PERMISSION_OF if f"{CHARGER}/" in one}
    reads = {"status-history", "reports", "diagnosis", "configuration/history"}
    lists = {f"GET {CHARGER}/{name}" for name in ("firmware-updates", "charging-profiles", *reads)}
    assert below - lists == tried

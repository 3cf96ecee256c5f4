"""`/api/admin/chargers/{id}/commands/{Action}`, and the most used commands by names of their own.

No unit of work is open while a charger is awaited: who asks, and whether the charger is theirs, is read
in a short one that has ended before the command goes out.
"""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Path, Query, Request

from ohmstead.accounts.access import Caller, require_permission
from ohmstead.accounts.limits import Subject, limited_caller
from ohmstead.accounts.principal import Principal
from ohmstead.core.db import Database
from ohmstead.core.errors import Invalid
from ohmstead.core.openapi import refuses
from ohmstead.ocpp.v16.actions import FROM_CENTRAL
from ohmstead.stations import commands, credentials
from ohmstead.stations.attending import attended
from ohmstead.stations.chargers_queries import get_charger
from ohmstead.stations.commands_schemas import (
    Availability,
    CommandAnswer,
    RemoteStart,
    RemoteStop,
    Reset,
    Unlock,
)
from ohmstead.stations.outcomes import Commands
from ohmstead.stations.parameters import ChargerId

router = APIRouter(
    prefix="/api/admin/chargers/{charger_id}",
    tags=["Commands"],
    dependencies=[limited_caller(Subject.COMMAND)],
    responses={
        **refuses(409, "The charger is not connected, or left."),
        **refuses(429, "The charger is busy with earlier commands: this one was not sent."),
    },
)


async def commanded_charger(request: Request, principal: Caller, charger_id: ChargerId) -> str:
    """Return the id of a charger that the caller may command; the transaction ends before this returns."""
    database: Database = request.app.state.database
    async with database.session() as session:
        await get_charger(session, principal, charger_id)
    return charger_id


Commanded = Annotated[str, Depends(commanded_charger)]
Timeout = Annotated[
    float | None,
    Query(
        ge=1,
        le=120,
        alias="timeout",
        allow_inf_nan=False,
        description="Seconds to wait for the charger's answer, and before that for the turn of the command;"
        " else as the server is set.",
    ),
]


async def _command(
    request: Request, charger_id: str, action: str, body: bytes | dict[str, Any], wait_seconds: float | None
) -> CommandAnswer:
    sender: Commands = request.app.state.commands
    async with attended(request):
        answer = await sender.send(charger_id, action, body, wait_seconds=wait_seconds)
    return CommandAnswer.of(answer)


def _permit(principal: Principal, action: str, body: bytes) -> None:
    """Refuse a ChangeConfiguration that sets the charger's password to who may not change that."""
    if action != "ChangeConfiguration":
        return
    payload = orjson.loads(commands.checked(action, body))
    if credentials.is_authorization_key(payload["key"]):
        require_permission(principal, credentials.PERMISSION)


async def raw_body(request: Request) -> bytes:
    """Return the body as it was sent; one that is larger than a frame may be is refused while it is read."""
    limit: int = request.app.state.settings.ocpp_max_frame_bytes
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise Invalid(
                f"The payload is larger than a frame to a charger may be ({limit} bytes).",
                fields={"body": "is too large"},
            )
    return bytes(body)


@router.post(
    "/commands/{action}",
    response_model_exclude_unset=True,
    openapi_extra={
        "requestBody": {
            "description": "The OCPP payload, passed on as given; nothing is `{}`.",
            "content": {"application/json": {"schema": {"type": "object"}}},
        }
    },
)
async def send_command(
    *,
    request: Request,
    principal: Caller,
    charger_id: Commanded,
    action: Annotated[str, Path(description=f"One of: {', '.join(sorted(FROM_CENTRAL))}.")],
    body: Annotated[bytes, Depends(raw_body)],
    wait_seconds: Timeout = None,
) -> CommandAnswer:
    """Send any message that the central system may send, and answer with what the charger says.

    The payload is checked against the schema (422) and passed on unchanged and compact. A ChangeConfiguration
    of `AuthorizationKey` asks for the permission to change the charger's password.
    """
    _permit(principal, action, body)
    return await _command(request, charger_id, action, body, wait_seconds)


@router.post("/remote-start", response_model_exclude_unset=True)
async def remote_start(
    request: Request, charger_id: Commanded, body: RemoteStart, wait_seconds: Timeout = None
) -> CommandAnswer:
    """Ask the charger to start a session for an id tag (RemoteStartTransaction)."""
    return await _command(request, charger_id, "RemoteStartTransaction", body.payload(), wait_seconds)


@router.post("/remote-stop", response_model_exclude_unset=True)
async def remote_stop(
    request: Request, charger_id: Commanded, body: RemoteStop, wait_seconds: Timeout = None
) -> CommandAnswer:
    """Ask the charger to stop a session (RemoteStopTransaction)."""
    return await _command(request, charger_id, "RemoteStopTransaction", body.payload(), wait_seconds)


@router.post("/availability", response_model_exclude_unset=True)
async def change_availability(
    request: Request, charger_id: Commanded, body: Availability, wait_seconds: Timeout = None
) -> CommandAnswer:
    """Take a connector, or the whole charger, in or out of service (ChangeAvailability)."""
    return await _command(request, charger_id, "ChangeAvailability", body.payload(), wait_seconds)


@router.post("/reset", response_model_exclude_unset=True)
async def reset_charger(
    request: Request, charger_id: Commanded, body: Reset, wait_seconds: Timeout = None
) -> CommandAnswer:
    """Restart the charger, `Soft` after its sessions have ended well, or `Hard` (Reset)."""
    return await _command(request, charger_id, "Reset", body.payload(), wait_seconds)


@router.post("/unlock", response_model_exclude_unset=True)
async def unlock_connector(
    request: Request, charger_id: Commanded, body: Unlock, wait_seconds: Timeout = None
) -> CommandAnswer:
    """Unlock the cable of a connector (UnlockConnector)."""
    return await _command(request, charger_id, "UnlockConnector", body.payload(), wait_seconds)

"""Charging profiles at a charger: what it was told, and what its limits come to.

No unit of work is open while a charger is awaited.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request

from ohmstead.accounts.access import Caller
from ohmstead.accounts.limits import Subject, limited_caller
from ohmstead.core.db import Database
from ohmstead.core.errors import Conflict, Invalid
from ohmstead.core.http import UnitOfWork
from ohmstead.core.openapi import refuses
from ohmstead.core.paging import Page, Paging
from ohmstead.energy import queries
from ohmstead.energy.comparing import differences, told_limits
from ohmstead.energy.composite import Purpose, composite_schedule
from ohmstead.energy.queries import Situation
from ohmstead.energy.schemas import (
    Assignment,
    Cleared,
    CompositeOut,
    DifferenceOut,
    InstalledOut,
    LimitOut,
)
from ohmstead.link.links import Answer, ChargerOffline
from ohmstead.stations.attending import attended
from ohmstead.stations.chargers_queries import get_charger
from ohmstead.stations.commands_endpoints import Commanded, Timeout
from ohmstead.stations.commands_schemas import CallErrorOut, CommandAnswer
from ohmstead.stations.outcomes import Commands
from ohmstead.stations.parameters import ChargerId

router = APIRouter(prefix="/api/admin/chargers/{charger_id}", tags=["Smart charging"])

ASKS = {
    **refuses(409, "The charger is not connected, or left, or no session runs there."),
    **refuses(429, "The charger is busy with earlier commands: this one was not sent."),
}
DAY = 86_400


@router.get("/charging-profiles")
async def list_installed_profiles(
    session: UnitOfWork, principal: Caller, charger_id: ChargerId, paging: Annotated[Paging, Depends()]
) -> Page[InstalledOut]:
    """List the profiles that the charger was told and has accepted, by their ids there."""
    await get_charger(session, principal, charger_id)
    return await queries.list_installed(session, principal, charger_id, paging)


@router.post(
    "/charging-profiles",
    responses=ASKS,
    response_model_exclude_unset=True,
    dependencies=[limited_caller(Subject.COMMAND)],
)
async def assign_charging_profile(
    *,
    request: Request,
    principal: Caller,
    charger_id: ChargerId,
    body: Assignment,
    wait_seconds: Timeout = None,
) -> CommandAnswer:
    """Give a kept profile to a connector by SetChargingProfile. It counts when the charger accepts it."""
    database: Database = request.app.state.database
    commands: Commands = request.app.state.commands
    async with database.session() as session:
        charger = await get_charger(session, principal, charger_id)
        kept = await queries.get_profile(session, principal, body.profile_id)
        if kept.backoffice_id != charger.backoffice_id:
            raise Invalid(
                "The charging profile is of another business than the charger.",
                fields={"profile_id": "is of another business"},
            )
        profile: dict[str, Any] = {"chargingProfileId": kept.number, **kept.profile}
        purpose = Purpose(profile["chargingProfilePurpose"])
        if purpose is Purpose.CHARGE_POINT_MAX and body.connector_id != 0:
            raise Invalid(
                "A ChargePointMaxProfile is for the whole charger: give it to connector 0.",
                fields={"connector_id": "must be 0"},
            )
        if purpose is Purpose.TX:
            profile["transactionId"] = await _transaction(session, charger_id, body)
    payload = {"connectorId": body.connector_id, "csChargingProfiles": profile}
    async with attended(request):
        answer = await commands.send(charger_id, "SetChargingProfile", payload, wait_seconds=wait_seconds)
    return CommandAnswer.of(answer)


async def _transaction(session: UnitOfWork, charger_id: str, body: Assignment) -> int:
    if body.connector_id == 0:
        raise Invalid(
            "A TxProfile is for a session: name its connector.", fields={"connector_id": "must not be 0"}
        )
    running = await queries.running_session(session, charger_id, body.connector_id)
    if running is None or running.ocpp_transaction_id is None:
        raise Conflict(
            f"No session runs at connector {body.connector_id}: a TxProfile needs one.", code="NoSession"
        )
    if body.transaction_id not in {None, running.ocpp_transaction_id}:
        raise Conflict(
            f"Transaction {body.transaction_id} does not run at connector {body.connector_id}.",
            code="NoSession",
        )
    return running.ocpp_transaction_id


@router.delete(
    "/charging-profiles",
    responses=ASKS,
    response_model_exclude_unset=True,
    dependencies=[limited_caller(Subject.COMMAND)],
)
async def clear_charging_profiles(
    *,
    request: Request,
    charger_id: Commanded,
    number: Annotated[
        int | None,
        Query(alias="id", ge=0, le=2**31 - 1, description="The `charging_profile_id`; stands alone."),
    ] = None,
    connector_id: Annotated[
        int | None, Query(ge=0, le=2**31 - 1, description="Only of this connector; 0 is the whole charger.")
    ] = None,
    purpose: Annotated[Purpose | None, Query(description="Only of this purpose.")] = None,
    stack_level: Annotated[
        int | None, Query(ge=0, le=2**31 - 1, description="Only of this stack level.")
    ] = None,
    wait_seconds: Timeout = None,
) -> Cleared:
    """Clear profiles at the charger by ClearChargingProfile; without any filter all of them.

    What the charger has cleared, and what it says that it does not have, is no longer listed.
    """
    criteria = {
        "id": number,
        "connectorId": connector_id,
        "chargingProfilePurpose": purpose,
        "stackLevel": stack_level,
    }
    payload = {name: value for name, value in criteria.items() if value is not None}
    database: Database = request.app.state.database
    commands: Commands = request.app.state.commands
    before = await _known(database, charger_id)
    async with attended(request):
        answer = await commands.send(charger_id, "ClearChargingProfile", payload, wait_seconds=wait_seconds)
    gone = sorted(before - await _known(database, charger_id))
    told = CommandAnswer.of(answer)
    return Cleared(**{name: getattr(told, name) for name in told.model_fields_set}, forgotten=gone)


async def _known(database: Database, charger_id: str) -> set[int]:
    async with database.session() as session:
        return await queries.installed_numbers(session, charger_id)


@router.get(
    "/composite-schedule",
    responses=refuses(429, "The charger is busy with earlier commands."),
    dependencies=[limited_caller(Subject.COMMAND)],
)
async def get_composite_schedule(
    *,
    request: Request,
    charger_id: Commanded,
    connector_id: Annotated[int, Query(ge=0, le=2**31 - 1, description="0 is the whole charger.")] = 0,
    duration: Annotated[int, Query(ge=1, le=14 * DAY, description="Seconds from now on.")] = DAY,
    unit: Annotated[Literal["A", "W"], Query(description="Of all limits.")] = "W",
    wait_seconds: Timeout = None,
) -> CompositeOut:
    """Ask the charger for its composite schedule, and show beside it what its profiles come to.

    A charger that is away or refuses leaves only what we expect.
    """
    database: Database = request.app.state.database
    commands: Commands = request.app.state.commands
    asked_at = commands.clock.now()
    payload = {"connectorId": connector_id, "duration": duration, "chargingRateUnit": unit}
    answer: Answer | None = None
    try:
        async with attended(request):
            answer = await commands.send(
                charger_id, "GetCompositeSchedule", payload, wait_seconds=wait_seconds
            )
    except ChargerOffline as away:
        if away.code != ChargerOffline.code:
            raise
    async with database.session() as session:
        here = await queries.situation(session, charger_id, connector_id)
    return _composite(
        answer, here, connector_id=connector_id, asked_at=asked_at, duration=duration, unit=unit
    )


def _composite(
    answer: Answer | None,
    here: Situation,
    *,
    connector_id: int,
    asked_at: datetime,
    duration: int,
    unit: Literal["A", "W"],
) -> CompositeOut:
    expected = composite_schedule(
        here.profiles,
        connector_id=connector_id,
        start=asked_at,
        duration=duration,
        unit=unit,
        charging_since=here.charging_since,
        transaction_id=here.transaction_id,
        phases=here.phases,
    )
    response = answer.response if answer is not None else None
    told = told_limits(response, asked_at, unit, here.phases) if response is not None else None
    apart = None
    if told is not None:
        apart = differences(told, expected, most=here.most(unit), duration=duration)
    error = None
    if answer is not None and answer.error_code is not None:
        error = CallErrorOut(code=answer.error_code, description=answer.error_description)
    return CompositeOut(
        connector_id=connector_id,
        at=asked_at,
        duration=duration,
        unit=unit,
        status="Offline" if answer is None else answer.status,
        charger=None if told is None else [LimitOut.model_validate(one) for one in told],
        expected=[LimitOut.model_validate(one) for one in expected],
        differences=None if apart is None else [DifferenceOut.model_validate(one) for one in apart],
        response=response,
        error=error,
    )

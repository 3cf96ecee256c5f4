"""`/api/admin/transactions`: sessions as the admin API sees them."""

from datetime import datetime, timedelta
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request

from ohmstead.accounts.access import Caller
from ohmstead.accounts.limits import Subject, limited_caller
from ohmstead.charging import queries, service
from ohmstead.charging.figures import figures_written
from ohmstead.charging.models import ClosedBy, MeterValue, Session, SessionStatus
from ohmstead.charging.schemas import (
    ForceStop,
    ForceStopped,
    MeterValueOut,
    Plot,
    PlotPoint,
    SampledValueOut,
    TransactionDetail,
    TransactionOut,
)
from ohmstead.core.clock import Clock
from ohmstead.core.db import Database
from ohmstead.core.errors import Conflict
from ohmstead.core.http import Now, UnitOfWork
from ohmstead.core.openapi import refuses
from ohmstead.core.paging import Page, Paging
from ohmstead.core.text import Text
from ohmstead.core.times import Within
from ohmstead.link.links import ChargerBusy, ChargerOffline
from ohmstead.ocpp.v16.measurands import normalise
from ohmstead.stations.outcomes import Commands

router = APIRouter(prefix="/api/admin/transactions", tags=["Transactions"])

TransactionId = Annotated[str, Path(description="The id of a transaction, or its `ocpp_transaction_id`.")]

KEEPS_ITS_WORD = timedelta(seconds=30)
"""A charger that has accepted to stop has so long to send its stop, before another request overrules it."""
STOP_SECONDS = 10.0
"""For how long a charger may take its turn, and then its answer, before its session is closed without it."""


def wanted_transactions(
    *,
    paging: Annotated[Paging, Depends()],
    within: Within,
    charger: Annotated[Text | None, Query(max_length=48, description="Id of a charger.")] = None,
    station: Annotated[UUID | None, Query(description="Id of a station.")] = None,
    connector: Annotated[int | None, Query(ge=0, lt=2**31, description="Number of a connector.")] = None,
    id_tag: Annotated[Text | None, Query(max_length=20, description="Without regard to case.")] = None,
    status: Annotated[SessionStatus | None, Query(description="Only those with this status.")] = None,
    unmatched: Annotated[bool | None, Query(description="Stops that belong to no session.")] = None,
    simulated: Annotated[bool | None, Query(description="Only simulated ones, or only real ones.")] = None,
) -> queries.TransactionFilter:
    """Read the filters of the list from the query string."""
    return queries.TransactionFilter(
        charger=charger,
        station=station,
        connector=connector,
        id_tag=id_tag,
        status=status,
        unmatched=unmatched,
        simulated=simulated,
        since=within.since,
        until=within.until,
        q=paging.q,
    )


@router.get("")
async def list_transactions(
    session: UnitOfWork,
    principal: Caller,
    paging: Annotated[Paging, Depends()],
    wanted: Annotated[queries.TransactionFilter, Depends(wanted_transactions)],
) -> Page[TransactionOut]:
    """List sessions, newest first. `q` searches id tags, charger ids and transaction ids."""
    await figures_written(session)
    found = await queries.SESSIONS.slice(session, queries.transactions(principal, wanted), paging)
    return found.page(TransactionOut.model_validate(row) for row in found.rows)


@router.get("/{transaction_id}")
async def get_transaction(
    session: UnitOfWork, principal: Caller, transaction_id: TransactionId
) -> TransactionDetail:
    """Return one session, by its id or by its `ocpp_transaction_id`."""
    return TransactionDetail.model_validate(await queries.transaction(session, principal, transaction_id))


@router.get("/{transaction_id}/meter-values")
async def list_meter_values(
    *,
    session: UnitOfWork,
    principal: Caller,
    now: Now,
    paging: Annotated[Paging, Depends()],
    transaction_id: TransactionId,
    points: Annotated[
        int | None, Query(ge=2, le=2000, description="Thin out to at most this many points, for a plot.")
    ] = None,
) -> Page[MeterValueOut] | Plot:
    """Return the meter values of a session, oldest first.

    Without `points`: every one in pages, in `sampled_values` as it was sent and in `values` with what the
    standard leaves out filled in, in Wh, W, A, V and percent. With `points`: the whole session at once,
    `{"points": [{at, register_wh, energy_wh, power_w, soc_percent}], "bucket_seconds", "samples"}`; each
    point has the last values of its bucket, buckets without samples are left out.
    """
    row = await queries.transaction(session, principal, transaction_id)
    query = queries.meter_values(row, now)
    if points is not None:
        if query is None:
            return Plot(points=[], bucket_seconds=0, samples=0)
        thinned = await queries.plot(session, row, query, points)
        return Plot(
            points=[PlotPoint.model_validate(one, from_attributes=True) for one in thinned.points],
            bucket_seconds=thinned.bucket.total_seconds(),
            samples=thinned.samples,
        )
    if query is None:
        return Page(items=[], next_cursor=None, total=0)
    found = await queries.SAMPLES.slice(session, query, paging)
    return found.page(_meter_value_out(value) for value in found.rows)


@router.post(
    "/{transaction_id}/force-stop",
    responses=refuses(409, "The transaction has ended already."),
    dependencies=[limited_caller(Subject.COMMAND)],
)
async def force_stop_transaction(
    request: Request,
    session: UnitOfWork,
    principal: Caller,
    transaction_id: TransactionId,
    body: ForceStop | None = None,
) -> ForceStopped:
    """End a session whatever its charger does.

    The charger is asked by RemoteStopTransaction. When it accepts, it will send its stop, and that ends
    the session. When it refuses, errs, does not answer within ten seconds, is busy or away, the session is
    closed here, with the energy that its meter values prove; and so it is when it has accepted a force-stop
    thirty seconds ago or longer and sent no stop since. 409 when the session has ended already.
    """
    database: Database = request.app.state.database
    commands: Commands = request.app.state.commands
    clock: Clock = request.app.state.clock
    row = await queries.transaction(session, principal, transaction_id)
    if row.status != SessionStatus.ACTIVE or row.ocpp_transaction_id is None:
        raise Conflict("This transaction has ended already.", code="TransactionEnded")
    # Gives the connection back: nothing may be held while a charger thinks.
    await session.commit()
    wait_seconds = min(STOP_SECONDS, request.app.state.settings.ocpp_call_timeout)
    answer = await _ask_to_stop(commands, row.charger_id, row.ocpp_transaction_id, wait_seconds)
    async with database.session() as after:
        row = await queries.transaction(after, principal, str(row.id))
        status: Literal["Accepted", "ClosedLocally", "Completed"] = "Accepted"
        now = clock.now()
        if answer == "Accepted" and not _word_broken(row, now):
            await service.stop_accepted(after, row.id, now)
        else:
            status = "ClosedLocally"
            try:
                row = await service.close_session(
                    after,
                    row.id,
                    reason=(body or ForceStop()).reason,
                    closed_by=ClosedBy.OPERATOR,
                    now=now,
                )
            except Conflict:  # its stop came after all, a moment ago
                row = await queries.transaction(after, principal, str(row.id))
                status = "Completed"
        transaction = TransactionDetail.model_validate(row)
    return ForceStopped(status=status, answer=answer, transaction=transaction)


def _word_broken(row: Session, now: datetime) -> bool:
    """Tell whether the charger accepted to stop this session so long ago that its stop will not come."""
    return row.stop_accepted_at is not None and now - row.stop_accepted_at >= KEEPS_ITS_WORD


async def _ask_to_stop(
    commands: Commands, charger_id: str, ocpp_transaction_id: int, wait_seconds: float
) -> str:
    """Return the charger's word, `Offline`, or `Busy` when others kept it so busy that it was not asked."""
    payload = {"transactionId": ocpp_transaction_id}
    try:
        answer = await commands.send(charger_id, "RemoteStopTransaction", payload, wait_seconds=wait_seconds)
    except ChargerBusy:
        return "Busy"
    except ChargerOffline:
        return "Offline"
    return answer.status


def _meter_value_out(value: MeterValue) -> MeterValueOut:
    return MeterValueOut(
        sampled_at=value.sampled_at,
        received_at=value.received_at,
        connector_id=value.connector_id,
        register_wh=value.register_wh,
        power_w=value.power_w,
        soc_percent=value.soc_percent,
        sampled_values=value.sampled_values,
        values=[SampledValueOut.model_validate(sampled) for sampled in normalise(value.sampled_values)],
    )

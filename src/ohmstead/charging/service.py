"""Sessions: started and stopped by chargers, closed by operators and by rule.

The rules, with the clauses they follow:
- A start that comes again before the stop of the equal session is that session (OCPP 1.6 4.8: a
  charger sends until it gets an answer). Equal: charger, connector, time, register, tag. A charger
  without a clock begins at 1970 again: there only a session that is still open can be meant.
- A session belongs to one connector of one charger; a charger stops only its own.
- A StopTransaction that fits no session is answered and kept as unmatched: energy may have flowed.
- A stop that comes after we closed the session ourselves is the truth and corrects it.
- Times are the charger's own. One charger's starts and stops are written one after the other.
"""

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import orjson
from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.authorization import TokenDecision, authorize_token
from ohmstead.accounts.models import TokenStatus
from ohmstead.bookings import reservations
from ohmstead.charging import events
from ohmstead.charging.anomalies import Note
from ohmstead.charging.clocks import believable, replaces
from ohmstead.charging.ending import close, end
from ohmstead.charging.measuring import connector_power_w
from ohmstead.charging.metering import METER_VALUE, Metered, read_meter_values
from ohmstead.charging.models import ClosedBy, Session, SessionStatus
from ohmstead.charging.starting import insert_with_new_id, one_at_a_time, open_sessions, same_start, too_many
from ohmstead.core.db import publish, raw_connection
from ohmstead.core.errors import Conflict, NotFound
from ohmstead.core.facts import write_facts
from ohmstead.core.jobs import emit
from ohmstead.stations.models import Charger, Connector, ConnectorStatus, Registration

CONCURRENT = "ConcurrentTx"
WHOLE_CHARGER: Note = {
    "kind": "started_on_connector_0",
    "at": None,
    "detail": "connector 0 is the charger as a whole, no car can charge there (OCPP 1.6 6.45): taken as sent",
}


@dataclass(frozen=True, slots=True)
class ChargerRef:
    """What a message needs to know of its charger: whose it is, and whether it was accepted."""

    id: str
    backoffice_id: UUID | None
    station_id: UUID | None
    registration: str = Registration.ACCEPTED
    simulated: bool = False


@dataclass(frozen=True, slots=True)
class Started:
    """The outcome of a start; `status` is an AuthorizationStatus of OCPP 1.6 7.2.

    `replaced` are the transaction ids of the open sessions that it ended.
    """

    session: Session
    status: str
    decision: TokenDecision
    max_power_w: int
    replaced: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Stop:
    """A StopTransaction as it was sent. Registers in Wh, `raw` is the payload."""

    transaction_id: int | None
    meter_stop: int | None
    stopped_at: datetime | None
    id_tag: str | None
    reason: str
    transaction_data: list[dict[str, Any]]
    raw: dict[str, Any]


async def authorize(session: AsyncSession, charger: ChargerRef, id_tag: str, now: datetime) -> TokenDecision:
    """Decide on a tag at a charger; a charger that was not accepted authorises nobody (OCPP 1.6 4.2)."""
    if charger.registration != Registration.ACCEPTED:
        return TokenDecision(TokenStatus.INVALID)
    decision = await authorize_token(session, id_tag=id_tag, backoffice_id=charger.backoffice_id, now=now)
    if decision.token_id is None and decision.status is TokenStatus.INVALID:
        # Unknown here: where charging is free nobody needs a tag. One that is known and blocked stays so.
        free = await session.scalar(select(Charger.free_vend).where(Charger.id == charger.id))
        if free:
            return TokenDecision(TokenStatus.ACCEPTED)
    return decision


async def start(
    session: AsyncSession,
    charger: ChargerRef,
    *,
    connector_id: int,
    id_tag: str,
    meter_start: int,
    started_at: datetime,
    reservation_id: int | None,
    now: datetime,
) -> Started:
    """Take a StartTransaction (OCPP 1.6 6.45): the equal open session again, or a new one.

    A tag that may not charge still gets a session and an id: the charger may deliver energy all the
    same, and decides by the status whether to stop (StopTransactionOnInvalidId). So does a start on
    connector 0, which is the charger as a whole and should not be: a car charges all the same. It is noted.
    """
    await one_at_a_time(session, charger.id)
    decision = await authorize(session, charger, id_tag, now)
    power = await connector_power_w(session, charger.id, connector_id)
    open_here = await open_sessions(session, charger.id, connector_id)
    same = await same_start(
        session,
        charger.id,
        connector_id=connector_id,
        id_tag=id_tag,
        meter_start=meter_start,
        started_at=started_at,
    )
    if same is not None and (same.status == SessionStatus.ACTIVE or believable(started_at, now)):
        return Started(same, same.id_tag_status or decision.status, decision, power)
    replaced = []
    for known in open_here:
        if replaces(started_at, known, now):
            await close(session, known, reason="ReplacedByNewStart", by=ClosedBy.RULE, at=None, now=now)
            replaced.append(known.ocpp_transaction_id or 0)
    status: str = decision.status
    if decision.status is TokenStatus.ACCEPTED and await too_many(session, decision):
        status = CONCURRENT
    row = Session(
        id=uuid4(),
        charger_id=charger.id,
        station_id=charger.station_id,
        backoffice_id=charger.backoffice_id,
        connector_id=connector_id,
        id_tag=id_tag,
        id_tag_status=status,
        token_id=decision.token_id,
        reservation_id=reservation_id,
        status=SessionStatus.ACTIVE,
        unmatched=False,
        simulated=charger.simulated,
        occurred_at=started_at,
        received_at=now,
        started_at=started_at,
        meter_start=meter_start,
        energy_wh=Decimal(0),
        register_wh=Decimal(meter_start),
        last_sample_at=started_at,
        anomalies=[WHOLE_CHARGER] if connector_id == 0 else [],
    )
    row.anomalies = row.anomalies + await reservations.started(
        session,
        charger.id,
        connector_id=connector_id,
        id_tag=id_tag,
        parent_id_tag=decision.parent_id_tag,
        reservation_id=reservation_id,
        session_id=row.id,
        started_at=started_at,
        now=now,
    )
    await insert_with_new_id(session, row)
    publish(session, events.session_event("session.started", row))
    await emit(session, events.SESSION_STARTED, session_id=str(row.id))
    return Started(row, status, decision, power, tuple(replaced))


async def stop(session: AsyncSession, charger: ChargerRef, told: Stop, now: datetime) -> Session:
    """Take a StopTransaction (OCPP 1.6 6.49); returns the session that it ended, or the unmatched record."""
    await one_at_a_time(session, charger.id)
    row = None
    if told.transaction_id is not None and told.stopped_at is not None:
        row = await session.scalar(
            select(Session).where(
                Session.ocpp_transaction_id == told.transaction_id,
                Session.charger_id == charger.id,
                Session.unmatched.is_(False),
            )
        )
    if row is None:
        return await keep_unmatched(session, charger, told, now)
    if row.closed_by == ClosedBy.CHARGER:
        if row.meter_stop == told.meter_stop and row.stopped_at == told.stopped_at:
            return row
        return await keep_unmatched(session, charger, told, now)
    corrects = row.status == SessionStatus.COMPLETED
    values: list[Metered] = []
    if told.transaction_data:
        values = read_meter_values(
            told.transaction_data,
            charger_id=charger.id,
            connector_id=row.connector_id or 0,
            transaction_id=row.ocpp_transaction_id,
            received_at=now,
        )
        await write_facts(await raw_connection(session), METER_VALUE, [value.row for value in values])
    row.meter_stop = told.meter_stop
    row.stopped_at = told.stopped_at
    row.stop_id_tag = told.id_tag
    row.raw = told.raw
    notes: list[Note] = []
    if corrects:
        closed = f"closed by us as {row.stop_reason}, corrected by the charger's own stop"
        notes = [{"kind": "closed_before_stop", "at": None, "detail": closed}]
    row.stop_reason = told.reason
    times = [value.sampled_at for value in values]
    await end(session, row, by=ClosedBy.CHARGER, now=now, notes=notes, told=times)
    await emit(
        session, events.SESSION_CORRECTED if corrects else events.SESSION_ENDED, session_id=str(row.id)
    )
    return row


async def keep_unmatched(session: AsyncSession, charger: ChargerRef, told: Stop, now: datetime) -> Session:
    """Keep a stop that fits no session of its charger, once however often it is sent."""
    fingerprint = hashlib.sha256(orjson.dumps(told.raw, option=orjson.OPT_SORT_KEYS)).hexdigest()
    values: dict[str, Any] = {
        "id": uuid4(),
        "ocpp_transaction_id": told.transaction_id,
        "charger_id": charger.id,
        "station_id": charger.station_id,
        "backoffice_id": charger.backoffice_id,
        "id_tag": told.id_tag,
        "stop_id_tag": told.id_tag,
        "status": SessionStatus.COMPLETED,
        "unmatched": True,
        "simulated": charger.simulated,
        "occurred_at": told.stopped_at or now,
        "received_at": now,
        "stopped_at": told.stopped_at,
        "closed_at": now,
        "closed_by": ClosedBy.CHARGER,
        "meter_stop": told.meter_stop,
        "stop_reason": told.reason,
        "fingerprint": fingerprint,
        "raw": told.raw,
    }
    inserted = await session.scalar(
        insert(Session).values(values).on_conflict_do_nothing().returning(Session.id)
    )
    row = await session.scalar(
        select(Session).where(
            Session.charger_id == charger.id,
            Session.fingerprint == fingerprint,
            Session.unmatched.is_(True),
        )
    )
    if row is None:
        raise NotFound("The record of this stop vanished while it was written. Send it again.")
    if inserted is not None:
        publish(session, events.session_event("session.ended", row))
        await emit(session, events.STOP_UNMATCHED, session_id=str(row.id))
    return row


async def close_session(
    session: AsyncSession,
    session_id: UUID,
    *,
    reason: str,
    closed_by: ClosedBy,
    now: datetime,
    at: datetime | None = None,
) -> Session:
    """Close an open session on our side; its energy is what was metered so far.

    `at` is when it ended, by default the time of its last value. Raises `NotFound`, or `Conflict`
    when it has ended already.
    """
    row = await session.get(Session, session_id)
    if row is None:
        raise NotFound("There is no such transaction.")
    await one_at_a_time(session, row.charger_id)
    await session.refresh(row, with_for_update=True)
    if row.status != SessionStatus.ACTIVE:
        raise Conflict("The transaction has ended already.", code="TransactionEnded")
    await close(session, row, reason=reason, by=closed_by, at=at, now=now)
    return row


async def stop_accepted(session: AsyncSession, session_id: UUID, now: datetime) -> None:
    """Remember when the charger first accepted to stop an open session."""
    first = update(Session).where(Session.id == session_id, Session.stop_accepted_at.is_(None))
    open_still = first.where(Session.status == SessionStatus.ACTIVE)
    await session.execute(
        open_still.values(stop_accepted_at=now).execution_options(synchronize_session=False)
    )


async def close_stale(session: AsyncSession, now: datetime, after: timedelta) -> list[Session]:
    """Close the sessions whose connector has been Available for longer than `after`, and the charger online.

    The car has left and the stop was lost, or it would have come: a charger that is away may still
    bring it, so its sessions wait.
    """
    found = await session.scalars(
        select(Session.id)
        .join(
            Connector,
            (Connector.charger_id == Session.charger_id) & (Connector.connector_id == Session.connector_id),
        )
        .join(Charger, Charger.id == Session.charger_id)
        .where(
            Session.status == SessionStatus.ACTIVE,
            Session.unmatched.is_(False),
            Connector.status == ConnectorStatus.AVAILABLE,
            Connector.status_received_at > Session.received_at,
            Connector.status_received_at <= now - after,
            Charger.online.is_(True),
        )
        .order_by(Session.charger_id, Session.connector_id)
        .limit(500)
    )
    closed = []
    for session_id in found.all():
        with suppress(Conflict):  # its stop came at this very moment
            closed.append(
                await close_session(
                    session, session_id, reason="ConnectorAvailable", closed_by=ClosedBy.RULE, now=now
                )
            )
    return closed

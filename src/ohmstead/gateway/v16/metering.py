"""MeterValues (OCPP 1.6 4.7)."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import structlog

from ohmstead.charging import counting
from ohmstead.charging.belonging import by_session
from ohmstead.charging.events import session_figures_event
from ohmstead.charging.metering import (
    FIGURES,
    METER_VALUE,
    Metered,
    OpenSession,
    read_meter_values,
)
from ohmstead.gateway.route import Context, Fact, Hot, Payload
from ohmstead.ocpp.errors import ErrorCode, OcppError

if TYPE_CHECKING:
    from ohmstead.gateway.connection import ChargerConnection

logger = structlog.stdlib.get_logger(__name__)

ONE_SECOND = timedelta(seconds=1)
QUEUED = timedelta(minutes=5)
"""A value that is older than this when it comes may be one of a session that has ended since."""


def hot_meter_values(connection: "ChargerConnection", payload: Payload, now: datetime) -> Hot | None:
    """MeterValues.req with the next group, when it is clear to which session it adds what.

    None for values of a transaction that is not open here, for the first that are late or odd, and for
    those without a transaction that are not of the newest session on their connector.
    """
    connector_id: int = payload["connectorId"]
    if connector_id < 0:
        what = f"connectorId is {connector_id}, it must be 0 or more"
        raise OcppError(ErrorCode.PROPERTY_CONSTRAINT_VIOLATION, what)
    transaction_id = payload.get("transactionId")
    if transaction_id is not None:
        session = connection.sessions.get(transaction_id)
        if session is None:
            return None
        if session.connector_id != connector_id:
            # Kept with the transaction that it names, but it adds nothing to it.
            session = None
    else:
        session = connection.session_on(connector_id)
        transaction_id = None if session is None else session.transaction_id
    values = read_meter_values(
        payload["meterValue"],
        charger_id=connection.charger.id,
        connector_id=connector_id,
        transaction_id=transaction_id,
        received_at=now,
    )
    if payload.get("transactionId") is None:
        earliest = min(value.sampled_at for value in values)
        if earliest < (now - QUEUED if session is None else session.started_at):
            return None
    facts: list[Fact] = [(METER_VALUE, value.row) for value in values]
    return Hot(facts, {}) if session is None else _counted(connection, session, values, facts, now)


def _counted(
    connection: "ChargerConnection",
    session: OpenSession,
    values: list[Metered],
    facts: list[Fact],
    now: datetime,
) -> Hot | None:
    """Count the values of an open session; None when all that is stored must be read for that first."""
    figures = connection.gateway.figures
    if session.figures_at is None and figures.owes([session.id]):
        # Read from a row that was about to change: the socket before this one had told more.
        session.trusted = False
    if not session.count(values, now):
        session.trusted = False
        return None
    now_written = session.figures() if figures.due(session, now) else None
    if now_written is not None:
        facts.append((FIGURES, now_written.row()))

    def tell() -> None:
        if connection.sessions.get(session.transaction_id) is session:
            figures.told(session)
            session.told_at = now
            connection.gateway.live.publish(session_figures_event(session, connection.charger))

    def after() -> None:
        if now_written is not None:
            figures.written(now_written)
        else:
            figures.later(session)
        # Watchers need no more than one update a second of each session.
        if session.told_at is None or now - session.told_at >= ONE_SECOND:
            tell()
        else:
            figures.tell_later(session, tell)
        known = connection.sessions.get(session.transaction_id)
        if known is None:
            # It was closed meanwhile, and was perhaps measured without these values.
            connection.gateway.spawn(measure_again(connection, session))
        elif known is not session:
            # Another socket of this charger has read it anew, and perhaps did not see these values.
            known.trusted = False

    def failed() -> None:
        session.trusted = False

    return Hot(facts, {}, after, failed)


async def meter_values(context: Context, payload: Payload) -> Payload:
    """MeterValues.req in a transaction of its own: what is odd is measured with all values stored.

    Values without a transaction go, each by its own time, to the session that its connector had then.
    """
    connection = context.connection
    connector_id: int = payload["connectorId"]
    transaction_id = payload.get("transactionId")
    values = read_meter_values(
        payload["meterValue"],
        charger_id=connection.charger.id,
        connector_id=connector_id,
        transaction_id=transaction_id,
        received_at=context.now,
    )
    of: dict[int | None, list[Metered]] = {transaction_id: values}
    if transaction_id is None:
        of = await by_session(context.session, connection.charger.id, connector_id, values, context.now)
    for number, theirs in of.items():
        added = await counting.add_meter_values(
            context.session, connection.charger.id, theirs, number, context.now
        )
        if added is not None and added.opened is not None:
            context.after.append(_taking(connection, added.opened))
    return {}


def _taking(connection: "ChargerConnection", opened: OpenSession) -> Callable[[], None]:
    def after() -> None:
        connection.sessions[opened.transaction_id] = opened
        connection.gateway.figures.forget(opened)

    return after


async def measure_again(connection: "ChargerConnection", session: OpenSession) -> None:
    """Measure a session once more that was closed while its charger was telling of it.

    What was committed between the measuring and the end of the session would count for nothing.
    """

    async def again(context: Context, _: Payload) -> Payload:
        await counting.measure_again(
            context.session, connection.charger.id, session.transaction_id, session.last_sample_at
        )
        return {}

    gateway = connection.gateway
    try:
        await gateway.transactions.serve(connection, again, {}, gateway.clock.now())
    except OcppError as error:
        logger.warning("gateway.not_measured_again", charger_id=connection.charger.id, why=str(error))

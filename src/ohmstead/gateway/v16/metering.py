"""MeterValues (OCPP 1.6 4.7)."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from ohmstead.charging import service
from ohmstead.charging.events import session_figures_event
from ohmstead.charging.metering import (
    FIGURES,
    METER_VALUE,
    Metered,
    OpenSession,
    read_meter_values,
)
from ohmstead.charging.models import SessionStatus
from ohmstead.gateway.route import Context, Fact, Hot, Payload

if TYPE_CHECKING:
    from ohmstead.gateway.connection import ChargerConnection

ONE_SECOND = timedelta(seconds=1)


def hot_meter_values(connection: "ChargerConnection", payload: Payload, now: datetime) -> Hot | None:
    """MeterValues.req with the next group, when each value simply goes on from the last one.

    None for values that are late or odd, and for a transaction that is not open here.
    """
    found = _session_of(connection, payload)
    if found is None and payload.get("transactionId") is not None:
        return None
    session = found if found is not None and found.connector_id == payload["connectorId"] else None
    values = _read(connection, payload, found, now)
    facts: list[Fact] = [(METER_VALUE, value.row) for value in values]
    if session is None:
        return Hot(facts, {})
    if len(values) > 1:
        values.sort(key=_when)
    for value in values:
        if not session.follows(value.sampled_at, value.reading):
            session.trusted = False
            return None
    figures = connection.gateway.figures
    due = figures.due(session, now)
    if due:
        facts.append((FIGURES, session.figures().row()))

    def after() -> None:
        if due:
            figures.written(session)
        else:
            figures.later(session)
        # Watchers need no more than one update a second of each session.
        if session.told_at is None or now - session.told_at >= ONE_SECOND:
            session.told_at = now
            connection.gateway.live.publish(session_figures_event(session, connection.charger))

    def failed() -> None:
        session.trusted = False

    return Hot(facts, {}, after, failed)


async def meter_values(context: Context, payload: Payload) -> Payload:
    """MeterValues.req in a transaction of its own: the energy is worked out from all values stored."""
    connection = context.connection
    found = _session_of(connection, payload)
    values = _read(connection, payload, found, context.now)
    transaction_id = found.transaction_id if found is not None else payload.get("transactionId")
    row = await service.add_meter_values(
        context.session, connection.charger, values, transaction_id, context.now
    )
    if row is not None and row.status == SessionStatus.ACTIVE:
        opened = await service.open_session_of(context.session, row)

        def after() -> None:
            connection.sessions[opened.transaction_id] = opened

        context.after.append(after)
    return {}


def _session_of(connection: "ChargerConnection", payload: Payload) -> OpenSession | None:
    """Return the open session that values belong to: the one named, else the one on the connector."""
    transaction_id = payload.get("transactionId")
    if transaction_id is not None:
        return connection.sessions.get(transaction_id)
    return connection.session_on(payload["connectorId"])


def _read(
    connection: "ChargerConnection", payload: Payload, session: OpenSession | None, now: datetime
) -> list[Metered]:
    transaction_id = payload.get("transactionId")
    if transaction_id is None and session is not None:
        transaction_id = session.transaction_id
    return read_meter_values(
        payload["meterValue"],
        charger_id=connection.charger.id,
        connector_id=payload["connectorId"],
        transaction_id=transaction_id,
        received_at=now,
    )


def _when(value: Metered) -> datetime:
    return value.sampled_at

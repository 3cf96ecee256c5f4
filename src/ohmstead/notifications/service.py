"""Alerts: raised once for each trouble, open until cleared."""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4, uuid5

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.audit import record_row, state
from ohmstead.accounts.principal import Principal
from ohmstead.core.db import publish
from ohmstead.core.errors import NotFound
from ohmstead.core.live import Event, Topic
from ohmstead.notifications.models import Alert, AlertKind, Severity
from ohmstead.notifications.schemas import AlertOut

ALERTS = UUID("5f3c1d0a-8a43-4c0e-9d0e-7f2f3b0c6a11")
"""The name space of alerts that are raised for one fact."""


async def raise_alert(
    session: AsyncSession,
    *,
    kind: AlertKind,
    subject: str,
    severity: Severity,
    title: str,
    message: str,
    backoffice_id: UUID | None,
    station_id: UUID | None,
    charger_id: str | None,
    now: datetime,
    data: dict[str, Any] | None = None,
    fact: str | None = None,
) -> Alert | None:
    """Raise an alert, and tell it live; returns None when there was nothing to raise.

    There is nothing to raise while an alert of the same kind and subject is open, and when `fact` (the
    name of what happened, if it has one) has raised one before, even if that was cleared since: a job
    that runs twice raises once. Texts are cut to their columns.
    """
    values = {
        "id": uuid4() if fact is None else uuid5(ALERTS, f"{kind}|{subject}|{fact}"),
        "kind": kind,
        "subject": subject[:120],
        "severity": severity,
        "title": title[:200],
        "message": message[:1000],
        "backoffice_id": backoffice_id,
        "station_id": station_id,
        "charger_id": charger_id,
        "raised_at": now,
        "data": data or {},
    }
    statement = insert(Alert).values(values).on_conflict_do_nothing().returning(Alert)
    alert = (await session.scalars(statement)).one_or_none()
    if alert is not None:
        _tell(session, "alert.raised", alert)
    return alert


async def clear_alert(session: AsyncSession, kind: AlertKind, subject: str, now: datetime) -> Alert | None:
    """Clear the open alert of this kind and subject, and tell it live; None when there is none."""
    statement = (
        update(Alert)
        .where(Alert.kind == kind, Alert.subject == subject[:120], Alert.cleared_at.is_(None))
        .values(cleared_at=now)
        .returning(Alert)
        .execution_options(synchronize_session=False, populate_existing=True)
    )
    alert = (await session.scalars(statement)).one_or_none()
    if alert is not None:
        _tell(session, "alert.cleared", alert)
    return alert


async def clear_by_hand(session: AsyncSession, principal: Principal, alert_id: UUID, now: datetime) -> Alert:
    """Clear an alert of the caller's scope; one that is cleared already stays as it is.

    Raises `NotFound` for what is not there or not the caller's.
    """
    query = principal.within(select(Alert), Alert.backoffice_id, Alert.station_id)
    query = query.where(Alert.id == alert_id).with_for_update()
    alert = (await session.scalars(query.execution_options(populate_existing=True))).one_or_none()
    if alert is None:
        raise NotFound(f"There is no alert {alert_id}.")
    if alert.cleared_at is None:
        before = state(alert)
        alert.cleared_at = now
        await session.flush()
        await record_row(session, "alert.cleared", alert, before)
        _tell(session, "alert.cleared", alert)
    return alert


def _tell(session: AsyncSession, kind: str, alert: Alert) -> None:
    data = AlertOut.model_validate(alert).model_dump(mode="json")
    publish(session, Event(Topic.ALERTS, kind, data, alert.backoffice_id, alert.station_id))

"""Reads of alerts."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.principal import Principal
from ohmstead.core.paging import Order, containing, time_key, uuid_key
from ohmstead.notifications.models import Alert, AlertKind, Severity
from ohmstead.notifications.schemas import AlertOut

ORDER = Order(keys={"raised_at": time_key(Alert.raised_at)}, tie=uuid_key(Alert.id), default="-raised_at")


@dataclass(frozen=True, slots=True)
class AlertFilter:
    """What a list of alerts is narrowed to; None does not narrow."""

    open: bool | None = None
    charger: str | None = None
    kind: AlertKind | None = None
    severity: Severity | None = None
    q: str | None = None


def alerts(principal: Principal, wanted: AlertFilter) -> Select[Alert]:
    """Select the alerts of the caller's scope that fit; `q` searches title, message and subject."""
    query = principal.within(select(Alert), Alert.backoffice_id, Alert.station_id)
    if wanted.open is not None:
        query = query.where(Alert.cleared_at.is_(None) if wanted.open else Alert.cleared_at.is_not(None))
    if wanted.charger is not None:
        query = query.where(Alert.charger_id == wanted.charger)
    if wanted.kind is not None:
        query = query.where(Alert.kind == wanted.kind)
    if wanted.severity is not None:
        query = query.where(Alert.severity == wanted.severity)
    return query.where(containing(wanted.q, Alert.title, Alert.message, Alert.subject))


async def open_alerts(
    session: AsyncSession, principal: Principal, charger_id: str | None, limit: int
) -> list[dict[str, Any]]:
    """Read the open alerts, newest first: the live snapshot of the topic `alerts`."""
    query = alerts(principal, AlertFilter(open=True, charger=charger_id))
    rows = await session.scalars(query.order_by(Alert.raised_at.desc(), Alert.id.desc()).limit(limit))
    return [AlertOut.model_validate(row).model_dump(mode="json") for row in rows]

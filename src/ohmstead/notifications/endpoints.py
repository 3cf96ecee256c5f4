"""`/api/admin/alerts`: what an operator should look at."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query

from ohmstead.accounts.access import Caller
from ohmstead.core.http import Now, UnitOfWork
from ohmstead.core.paging import Page, Paging
from ohmstead.core.text import Text
from ohmstead.notifications import queries, service
from ohmstead.notifications.models import AlertKind, Severity
from ohmstead.notifications.schemas import AlertOut

router = APIRouter(prefix="/api/admin/alerts", tags=["Alerts"])

AlertId = Annotated[UUID, Path(description="The id of an alert.")]


@router.get("")
async def list_alerts(
    *,
    session: UnitOfWork,
    principal: Caller,
    paging: Annotated[Paging, Depends()],
    is_open: Annotated[
        bool | None, Query(alias="open", description="Only open, or only cleared ones.")
    ] = None,
    charger: Annotated[Text | None, Query(max_length=48, description="Id of a charger.")] = None,
    kind: Annotated[AlertKind | None, Query(description="Only of this kind.")] = None,
    severity: Annotated[Severity | None, Query(description="Only of this severity.")] = None,
) -> Page[AlertOut]:
    """List alerts, newest first. `q` searches title, message and subject."""
    wanted = queries.AlertFilter(open=is_open, charger=charger, kind=kind, severity=severity, q=paging.q)
    found = await queries.ORDER.slice(session, queries.alerts(principal, wanted), paging)
    return found.page(AlertOut.model_validate(row) for row in found.rows)


@router.post("/{alert_id}/clear")
async def clear_alert(session: UnitOfWork, principal: Caller, now: Now, alert_id: AlertId) -> AlertOut:
    """Clear an alert; one that is cleared already stays as it is. It is raised anew when it happens again."""
    return AlertOut.model_validate(await service.clear_by_hand(session, principal, alert_id, now))

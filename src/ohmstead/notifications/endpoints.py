"""`/api/admin/alerts`: what an operator should look at."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query

from ohmstead.accounts.access import require
from ohmstead.accounts.models import Role
from ohmstead.accounts.principal import Principal
from ohmstead.charging.queries import keyset_page, refuse_nul
from ohmstead.core.http import Now, Page, Paging, UnitOfWork
from ohmstead.notifications import queries, service
from ohmstead.notifications.models import AlertKind, Severity
from ohmstead.notifications.schemas import AlertOut
from ohmstead.stations.texts import Text

router = APIRouter(prefix="/api/admin/alerts", tags=["alerts"])

Staff = Annotated[Principal, Depends(require(Role.SYSTEM_ADMIN, Role.BACKOFFICE, Role.OPERATOR))]


@router.get("")
async def list_alerts(
    *,
    session: UnitOfWork,
    principal: Staff,
    paging: Annotated[Paging, Depends()],
    is_open: Annotated[
        bool | None, Query(alias="open", description="Only open, or only cleared ones.")
    ] = None,
    charger: Annotated[Text | None, Query(max_length=48, description="Id of a charger.")] = None,
    kind: Annotated[AlertKind | None, Query()] = None,
    severity: Annotated[Severity | None, Query()] = None,
) -> Page[AlertOut]:
    """List alerts, newest first. `q` searches title, message and subject."""
    wanted = queries.AlertFilter(
        open=is_open, charger=charger, kind=kind, severity=severity, q=refuse_nul(paging.q)
    )
    query = queries.alerts(principal, wanted)
    return await keyset_page(session, query, paging, queries.NEWEST_ALERT, AlertOut.model_validate)


@router.post("/{alert_id}/clear")
async def clear_alert(session: UnitOfWork, principal: Staff, now: Now, alert_id: UUID) -> AlertOut:
    """Clear an alert; one that is cleared already stays as it is. It is raised anew when it happens again."""
    return AlertOut.model_validate(await service.clear_by_hand(session, principal, alert_id, now))

"""`/api/admin/chargers/{id}/diagnosis`: what is wrong with a charger, by what it did."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query

from ohmstead.accounts.access import Caller
from ohmstead.core.http import Now, UnitOfWork
from ohmstead.insights.diagnosis import FindingKind, calls_somebody, findings
from ohmstead.insights.diagnosis_queries import evidence
from ohmstead.insights.diagnosis_schemas import DiagnosisOut, FindingOut
from ohmstead.stations.chargers_queries import get_charger, seen_since
from ohmstead.stations.parameters import ChargerId

router = APIRouter(prefix="/api/admin/chargers", tags=["Chargers"])


@router.get("/{charger_id}/diagnosis")
async def get_diagnosis(
    session: UnitOfWork,
    principal: Caller,
    now: Now,
    charger_id: ChargerId,
    days: Annotated[int, Query(ge=1, le=30, description="How far to look back.")] = 7,
) -> DiagnosisOut:
    """Tell what is wrong with a charger by what it did in the last days, with evidence and what to do."""
    charger = await get_charger(session, principal, charger_id)
    since = now - timedelta(days=days)
    owned_since = seen_since(principal, charger)
    seen = []
    for kind in FindingKind:
        found = await evidence(session, kind, since, now, charger.id, owned_since=owned_since)
        if charger.id in found:
            seen.append((kind, found[charger.id]))
    found_all = findings(seen)
    return DiagnosisOut(
        charger_id=charger.id,
        since=since,
        until=now,
        healthy=not any(calls_somebody(one) for one in found_all),
        findings=[FindingOut.model_validate(one) for one in found_all],
    )

"""Operators are told by the quarter of an hour what is wrong with chargers, and when it is over.

One statement for each kind, over all chargers. What must be told and what is over by now is the difference
to the alerts that are open, so a turn that is left out or runs twice does no harm.
"""

from datetime import datetime, timedelta

from procrastinate import Blueprint, JobContext
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.core.clock import Clock
from ohmstead.core.db import Database
from ohmstead.core.http import utc_z
from ohmstead.insights.diagnosis import Finding, FindingKind, calls_somebody, find
from ohmstead.insights.diagnosis_queries import evidence
from ohmstead.notifications.models import Alert, AlertKind
from ohmstead.notifications.service import clear_alert, raise_alert
from ohmstead.stations.models import Charger

NAMESPACE = "diagnosis"
IN_ONE_TRANSACTION = 100
HOUR, DAY = timedelta(hours=1), timedelta(days=1)

LOOKS_BACK = {
    FindingKind.WRONG_SUBPROTOCOL: HOUR,
    FindingKind.BAD_AUTH: HOUR,
    FindingKind.BAD_HANDSHAKE: HOUR,
    FindingKind.REPEATED_IDS: HOUR,
    FindingKind.SCHEMA_FAULTS: HOUR,
    FindingKind.FLAPPING: HOUR,
    FindingKind.CLOCK_DRIFT: DAY,
    FindingKind.MISSING_STOPS: DAY,
    FindingKind.REGISTER_JUMPS: DAY,
    FindingKind.SILENT_CONNECTORS: DAY,
}
"""How long something must not have happened for it to be over. Kinds that call nobody are not in it."""

blueprint = Blueprint()

Subject = tuple[AlertKind, str]


@blueprint.periodic(cron="8,23,38,53 * * * *")
@blueprint.task(name="tell_operators", pass_context=True, queueing_lock="tell_operators")
async def tell_operators(context: JobContext, timestamp: int) -> None:
    """Raise an alert for each finding that has none, and clear those whose finding is gone."""
    clock: Clock = context.additional_context["clock"]
    database: Database = context.additional_context["database"]
    now = clock.now()
    wrong: dict[Subject, Finding] = {}
    for kind, back in LOOKS_BACK.items():
        async with database.session() as session:
            for charger_id, seen in (await evidence(session, kind, now - back, now)).items():
                finding = find(kind, seen)
                if finding is not None and calls_somebody(finding):
                    wrong[AlertKind(kind), charger_id] = finding
    async with database.session() as session:
        kinds = [AlertKind(kind) for kind in LOOKS_BACK]
        query = select(Alert.kind, Alert.subject).where(Alert.kind.in_(kinds), Alert.cleared_at.is_(None))
        told = {(AlertKind(kind), subject) for kind, subject in await session.execute(query)}
    changes = sorted(wrong.keys() ^ told)
    for first in range(0, len(changes), IN_ONE_TRANSACTION):
        async with database.session() as session:
            for subject in changes[first : first + IN_ONE_TRANSACTION]:
                if subject in wrong:
                    await _raise(session, subject, wrong[subject], now)
                else:
                    await clear_alert(session, *subject, now)


async def _raise(session: AsyncSession, subject: Subject, finding: Finding, now: datetime) -> None:
    kind, charger_id = subject
    charger = await session.get(Charger, charger_id)
    if charger is None or charger.retired_at is not None:
        return
    seen = finding.evidence
    await raise_alert(
        session,
        kind=kind,
        subject=charger_id,
        severity=finding.severity,
        title=f"Charger {charger_id}: {finding.summary}",
        message=f"{finding.summary} {finding.mend}",
        backoffice_id=charger.backoffice_id,
        station_id=charger.station_id,
        charger_id=charger_id,
        now=now,
        data={
            "count": seen.count,
            "first_at": utc_z(seen.first_at),
            "last_at": utc_z(seen.last_at),
            "examples": [{"of": one.of, "id": one.id, "detail": one.detail} for one in seen.examples],
        },
        fact=utc_z(seen.last_at),
    )

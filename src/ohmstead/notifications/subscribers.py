"""Which facts become alerts, and which facts end them.

The jobs run after the commit of their fact, at least once, and perhaps late or in another order. So
none believes its fact alone: each looks at how things stand now, under a lock that a change of it
must wait for (whose own fact then comes later), and a fact raises one alert at most.
"""

from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from procrastinate import Blueprint, JobContext
from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.charging import events
from ohmstead.charging.models import Session
from ohmstead.core.clock import Clock
from ohmstead.core.db import Database, raw_connection
from ohmstead.core.http import utc_z
from ohmstead.core.jobs import RETRY, Subscribers
from ohmstead.fleet.campaigns.models import Campaign
from ohmstead.fleet.campaigns.progress import CAMPAIGN_STOPPED
from ohmstead.fleet.campaigns.state import CampaignState
from ohmstead.notifications.models import Alert, AlertKind, Severity
from ohmstead.notifications.service import clear_alert, raise_alert
from ohmstead.stations.models import Charger, Connector, ConnectorStatus

NAMESPACE = "notifications"
Row = TypeVar("Row")
OFFLINE_PATIENCE = timedelta(seconds=60)
"""A charger that is back within this time is nobody's trouble."""
OVERLOOKED_FOR = timedelta(days=1)
"""A charger that has been away for longer without an alert is one whose alert was kept its time."""
SEEN_SLACK = timedelta(seconds=5)
"""By how much `last_seen` may lie behind the moment at which a charger went offline."""
LOOK_AGAIN = timedelta(seconds=5)
LOOKS = 2

SECURITY_SEVERITY = {
    "TamperDetectionActivated": Severity.CRITICAL,
    "SecurityLogWasCleared": Severity.CRITICAL,
    "MemoryExhaustion": Severity.CRITICAL,
    "AttemptedReplayAttacks": Severity.CRITICAL,
    "InvalidFirmwareSignature": Severity.CRITICAL,
    "InvalidFirmwareSigningCertificate": Severity.CRITICAL,
    "InvalidCentralSystemCertificate": Severity.WARN,
    "FailedToAuthenticateAtCentralSystem": Severity.WARN,
}
"""Events of the OCPP 1.6 security whitepaper that somebody must look at. Those that come with every
restart, update or change of the clock are kept as reports only, though the whitepaper calls them critical.
"""

blueprint = Blueprint()


@blueprint.task(name="chargers_went_offline", pass_context=True, retry=RETRY)
async def chargers_went_offline(context: JobContext, *, gone: list[dict[str, str]]) -> None:
    """Raise an alert for each charger that is still away 60 seconds after it went.

    Each of `gone` is told by `charger_id`, `connection_id` and `at` (ISO 8601). Comes back at that time when
    it runs earlier. A charger that was back meanwhile and went again is in a job of its own for that.
    """
    database, now = _means(context)
    patient_until = max(datetime.fromisoformat(one["at"]) for one in gone) + OFFLINE_PATIENCE
    if now < patient_until:
        async with database.session() as session:
            await _again(context, session, patient_until, gone=gone)
        return
    # Most are back by now. Who goes later than this look has a later fact, so it needs no lock.
    away = select(Charger.id, Charger.last_seen).where(
        Charger.id.in_([one["charger_id"] for one in gone]), Charger.online.is_(False)
    )
    async with database.session() as session:
        last_seen = {row.id: row.last_seen for row in await session.execute(away)}
    for one in gone:
        if one["charger_id"] in last_seen and not _was_back(last_seen[one["charger_id"]], one["at"]):
            async with database.session() as session:
                await _charger_is_away(session, now, **one)


def _was_back(last_seen: datetime | None, went: str) -> bool:
    """Whether a charger was heard after it went: then it went again, and a later fact says when."""
    return last_seen is not None and last_seen > datetime.fromisoformat(went) + SEEN_SLACK


@blueprint.periodic(cron="*/5 * * * *")
@blueprint.task(name="find_overlooked", pass_context=True, queueing_lock="find_overlooked")
async def find_overlooked(context: JobContext, timestamp: int) -> None:
    """Raise the alerts of chargers that went offline lately and were told to nobody.

    A process that is killed between writing that a charger is offline and publishing it tells it to no
    subscriber. Who was alerted since, even if that alert was cleared by hand, is not alerted again.
    """
    database, now = _means(context)
    alerted = select(Alert.id).where(
        Alert.kind == AlertKind.CHARGER_OFFLINE,
        Alert.subject == Charger.id,
        Alert.cleared_at.is_(None) | (Alert.raised_at >= Charger.presence_at),
    )
    overlooked = select(Charger.id, Charger.presence_at).where(
        Charger.online.is_(False),
        Charger.presence_at.between(now - OVERLOOKED_FOR, now - 2 * OFFLINE_PATIENCE),
        Charger.retired_at.is_(None),
        Charger.unregistered_since.is_(None),
        ~alerted.exists(),
    )
    async with database.session() as session:
        found = [(row.id, row.presence_at) for row in await session.execute(overlooked)]
    for charger_id, at in found:
        async with database.session() as session:
            await _charger_is_away(session, now, charger_id=charger_id, connection_id="", at=utc_z(at))


async def _charger_is_away(
    session: AsyncSession, now: datetime, *, charger_id: str, connection_id: str, at: str
) -> None:
    charger = await _charger(session, charger_id)
    if charger is None or charger.online or charger.retired_at is not None:
        return
    if charger.unregistered_since is not None:  # nobody's: nobody misses it
        return
    if _was_back(charger.last_seen, at):
        return
    await raise_alert(
        session,
        kind=AlertKind.CHARGER_OFFLINE,
        subject=charger_id,
        severity=Severity.WARN,
        title=f"Charger {charger_id} is offline",
        message=f"Its connection ended at {at} and it has not come back. Check power and network.",
        backoffice_id=charger.backoffice_id,
        station_id=charger.station_id,
        charger_id=charger_id,
        now=now,
        data={"since": at, "connection_id": connection_id},
        fact=f"{connection_id}|{at}",
    )


@blueprint.task(name="chargers_came_online", pass_context=True, retry=RETRY)
async def chargers_came_online(context: JobContext, *, charger_ids: list[str], looked: int = 0) -> None:
    """Clear the alerts of chargers, but of those that have left again meanwhile.

    Presence is written with the next group of messages, perhaps a moment after its fact: chargers
    that do not seem online are looked at again.
    """
    database, now = _means(context)
    unseen: list[str] = []
    for charger_id in charger_ids:
        async with database.session() as session:
            charger = await _charger(session, charger_id)
            if charger is not None and charger.online:
                await clear_alert(session, AlertKind.CHARGER_OFFLINE, charger_id, now)
            elif charger is not None:
                unseen.append(charger_id)
    if unseen and looked < LOOKS:
        async with database.session() as session:
            await _again(context, session, now + LOOK_AGAIN, charger_ids=unseen, looked=looked + 1)


@blueprint.task(name="connector_faulted", pass_context=True, retry=RETRY)
async def connector_faulted(
    context: JobContext, *, charger_id: str, connector_id: int, error_code: str, info: str | None, at: str
) -> None:
    """Raise an alert when the connector is still faulted."""
    database, now = _means(context)
    async with database.session() as session:
        connector = await _connector(session, charger_id, connector_id)
        charger = await session.get(Charger, charger_id)
        if connector is None or charger is None or connector.status != ConnectorStatus.FAULTED:
            return
        place = f"Connector {connector_id} of {charger_id}" if connector_id else f"Charger {charger_id}"
        told = f"{error_code} ({info})" if info else error_code
        await raise_alert(
            session,
            kind=AlertKind.CONNECTOR_FAULTED,
            subject=_connector_subject(charger_id, connector_id),
            severity=Severity.CRITICAL,
            title=f"{place} is faulted: {error_code}",
            message=f"{place} reported {told} at {at}. It takes no car until the fault is mended.",
            backoffice_id=charger.backoffice_id,
            station_id=charger.station_id,
            charger_id=charger_id,
            now=now,
            data={"connector_id": connector_id, "error_code": error_code, "info": info, "at": at},
            fact=at,
        )


@blueprint.task(name="connector_recovered", pass_context=True, retry=RETRY)
async def connector_recovered(context: JobContext, *, charger_id: str, connector_id: int, at: str) -> None:
    """Clear the alert of a connector that works again or is no more; it may have failed again meanwhile."""
    database, now = _means(context)
    async with database.session() as session:
        connector = await _connector(session, charger_id, connector_id)
        if connector is None or connector.status != ConnectorStatus.FAULTED:
            subject = _connector_subject(charger_id, connector_id)
            await clear_alert(session, AlertKind.CONNECTOR_FAULTED, subject, now)


@blueprint.task(name="stop_unmatched", pass_context=True, retry=RETRY)
async def stop_unmatched(context: JobContext, *, session_id: str) -> None:
    """Raise an alert for a stop that belongs to no session of its charger."""
    database, now = _means(context)
    async with database.session() as session:
        row = await session.get(Session, UUID(session_id))
        if row is None:
            return
        known = row.ocpp_transaction_id is not None
        named = f"transaction {row.ocpp_transaction_id}" if known else "no transaction that can be read"
        await raise_alert(
            session,
            kind=AlertKind.STOP_UNMATCHED,
            subject=session_id,
            severity=Severity.WARN,
            title=f"Charger {row.charger_id} stopped an unknown transaction",
            message=f"It named {named}, which is none of its open sessions. "
            "The stop is kept as an unmatched transaction.",
            backoffice_id=row.backoffice_id,
            station_id=row.station_id,
            charger_id=row.charger_id,
            now=now,
            data={"session_id": session_id, "ocpp_transaction_id": row.ocpp_transaction_id},
            fact=session_id,
        )


@blueprint.task(name="session_closed_by_rule", pass_context=True, retry=RETRY)
async def session_closed_by_rule(context: JobContext, *, session_id: str) -> None:
    """Raise an alert for a session that a rule of ours ended, since its charger did not."""
    database, now = _means(context)
    async with database.session() as session:
        row = await session.get(Session, UUID(session_id))
        if row is None:
            return
        await raise_alert(
            session,
            kind=AlertKind.SESSION_CLOSED_BY_RULE,
            subject=session_id,
            severity=Severity.INFO,
            title=f"A session of charger {row.charger_id} was closed without a stop",
            message=f"Transaction {row.ocpp_transaction_id} was closed as {row.stop_reason}: its charger "
            "sent no stop. Its energy is what the meter values prove.",
            backoffice_id=row.backoffice_id,
            station_id=row.station_id,
            charger_id=row.charger_id,
            now=now,
            data={"session_id": session_id, "stop_reason": row.stop_reason},
            fact=session_id,
        )


@blueprint.task(name="security_event", pass_context=True, retry=RETRY)
async def security_event(
    context: JobContext,
    *,
    charger_id: str,
    type: str,  # noqa: A002 - the name that the fact and OCPP give it
    at: str,
) -> None:
    """Raise an alert for a security event that somebody must look at; others are no alert."""
    severity = SECURITY_SEVERITY.get(type)
    if severity is None:
        return
    database, now = _means(context)
    async with database.session() as session:
        charger = await session.get(Charger, charger_id)
        if charger is None:
            return
        await raise_alert(
            session,
            kind=AlertKind.SECURITY_EVENT,
            subject=f"{charger_id}:{type}",
            severity=severity,
            title=f"Security event at charger {charger_id}: {type}",
            message=f"The charger reported {type} at {at}. Look at its reports, and at the charger itself.",
            backoffice_id=charger.backoffice_id,
            station_id=charger.station_id,
            charger_id=charger_id,
            now=now,
            data={"type": type, "at": at},
            fact=at,
        )


@blueprint.task(name="campaign_stopped", pass_context=True, retry=RETRY)
async def campaign_stopped(context: JobContext, *, campaign_id: str) -> None:
    """Raise an alert while a campaign stands still because too many chargers failed."""
    database, now = _means(context)
    async with database.session() as session:
        campaign = await _held(session, select(Campaign).where(Campaign.id == UUID(campaign_id)))
        if campaign is None or campaign.state != CampaignState.STOPPED:
            await clear_alert(session, AlertKind.CAMPAIGN_STOPPED, campaign_id, now)
            return
        await raise_alert(
            session,
            kind=AlertKind.CAMPAIGN_STOPPED,
            subject=campaign_id,
            severity=Severity.WARN,
            title=f"The campaign {campaign.name} has stopped",
            message=campaign.reason or "",
            backoffice_id=campaign.backoffice_id,
            station_id=None,
            charger_id=None,
            now=now,
            data={"campaign_id": campaign_id},
            fact=campaign.state_at.isoformat(),
        )


SUBSCRIBERS: Subscribers = {
    "ChargersWentOffline": [f"{NAMESPACE}:chargers_went_offline"],
    "ChargersCameOnline": [f"{NAMESPACE}:chargers_came_online"],
    "ConnectorFaulted": [f"{NAMESPACE}:connector_faulted"],
    "ConnectorRecovered": [f"{NAMESPACE}:connector_recovered"],
    events.STOP_UNMATCHED: [f"{NAMESPACE}:stop_unmatched"],
    events.SESSION_CLOSED_BY_RULE: [f"{NAMESPACE}:session_closed_by_rule"],
    "SecurityEvent": [f"{NAMESPACE}:security_event"],
    CAMPAIGN_STOPPED: [f"{NAMESPACE}:campaign_stopped"],
}


def _means(context: JobContext) -> tuple[Database, datetime]:
    """Return what the worker gives its tasks: the database, and the time by the application's clock."""
    clock: Clock = context.additional_context["clock"]
    database: Database = context.additional_context["database"]
    return database, clock.now()


async def _again(context: JobContext, session: AsyncSession, run_at: datetime, /, **arguments: Any) -> None:
    """Queue this very task once more, to run at that time."""
    job = context.task.configure(connection=await raw_connection(session), schedule_at=run_at)
    await job.defer_async(**arguments)


async def _charger(session: AsyncSession, charger_id: str) -> Charger | None:
    return await _held(session, select(Charger).where(Charger.id == charger_id))


async def _connector(session: AsyncSession, charger_id: str, connector_id: int) -> Connector | None:
    query = select(Connector).where(
        Connector.charger_id == charger_id, Connector.connector_id == connector_id
    )
    return await _held(session, query)


async def _held(session: AsyncSession, query: Select[Row]) -> Row | None:
    """Read a row that nobody can change until this unit of work ends."""
    return (await session.scalars(query.with_for_update(read=True))).one_or_none()


def _connector_subject(charger_id: str, connector_id: int) -> str:
    return f"{charger_id}/{connector_id}"

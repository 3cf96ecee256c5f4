"""Keeping what chargers acknowledge of local lists, whoever sent them."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.fleet.local_lists.entries import Entries, by_tag, digest, updated
from ohmstead.fleet.local_lists.models import Ending, LocalList
from ohmstead.link.links import Answer
from ohmstead.stations.models import Charger
from ohmstead.stations.outcomes import Asked, Outcomes, Told

SEND, ASK = "SendLocalList", "GetLocalListVersion"
WORDS = {word: Ending(word) for word in ("Accepted", "Failed", "NotSupported", "VersionMismatch")}
"""OCPP 1.6 7.46 UpdateStatus."""
UNKNOWN_TO_IT = frozenset({"NotSupported", "NotImplemented"})
NOT_SUPPORTED = "The charger has no local list, or it is switched off (LocalAuthListEnabled)."


def register(outcomes: Outcomes) -> None:
    """Put the hooks of local lists in."""
    outcomes.before[SEND].append(before_send)
    outcomes.after[SEND].append(after_send)
    outcomes.after[ASK].append(after_ask)


async def row_of(session: AsyncSession, charger_id: str, *, lock: bool = False) -> LocalList | None:
    """Return what is known of a charger's list."""
    query = select(LocalList).where(LocalList.charger_id == charger_id)
    if lock:
        query = query.with_for_update()
    found = await session.scalars(query.execution_options(populate_existing=True))
    return found.one_or_none()


async def locked(session: AsyncSession, charger_id: str) -> LocalList | None:
    """Return the row of a charger, made where there was none, locked. None: there is no such charger."""
    there = select(Charger.id).where(Charger.id == charger_id)
    await session.execute(insert(LocalList).from_select(["charger_id"], there).on_conflict_do_nothing())
    return await row_of(session, charger_id, lock=True)


async def before_send(session: AsyncSession, asked: Asked) -> None:
    """Note that a version is used, before it goes out: the next one must be above it."""
    version = asked.payload["listVersion"]
    row = await locked(session, asked.charger_id)
    if row is not None and 0 < version < 2**63:
        row.highest_version = max(row.highest_version, int(version))
        await session.flush()


async def after_send(session: AsyncSession, told: Told) -> None:
    """Keep what the charger made of a list."""
    row = await locked(session, told.charger_id)
    version = told.payload["listVersion"]
    if row is None or abs(version) >= 2**63:
        return
    row.ending, row.detail = ending_of(told.answer)
    row.ended_at = told.now
    if row.ending == Ending.ACCEPTED:
        _acknowledged(row, int(version), result_of(row, told.payload))
        row.acknowledged_at = told.now
        if told.payload["updateType"] == "Full":  # it has replaced whatever had a higher one
            row.highest_version = int(version)
    elif row.ending in {Ending.TIMEOUT, Ending.OFFLINE}:
        row.open_version, row.open_entries = int(version), _listed(result_of(row, told.payload))
    await session.flush()


async def after_ask(session: AsyncSession, told: Told) -> None:
    """Keep the version that the charger reports, and what follows from it.

    It has what was sent without an answer if it reports its version; 0 is an empty list.
    """
    version = version_in(told.answer)
    row = await locked(session, told.charger_id)
    if row is None or version is None:
        return
    row.reported_version, row.reported_at = version, told.now
    row.highest_version = max(row.highest_version, version)
    if version == row.open_version and row.open_entries is not None and version != row.version:
        _acknowledged(row, version, by_tag(row.open_entries))
        row.acknowledged_at = told.now
        row.ending, row.ended_at = Ending.ACCEPTED, told.now
        row.detail = "The answer was lost, but the charger reports this version."
    elif version == 0:
        _acknowledged(row, 0, {})
        row.acknowledged_at = told.now
    # Whatever it reports, it is not waited for any more: it has what was sent, or it has not.
    row.open_version = row.open_entries = None
    await session.flush()


def ending_of(answer: Answer | None) -> tuple[Ending, str]:
    """Return what came of a SendLocalList, and why."""
    if answer is None:
        return Ending.OFFLINE, "The charger was away or too busy to answer; it may have taken the list."
    if answer.response is not None:
        word = answer.response.get("status")
        if isinstance(word, str) and word in WORDS:
            return WORDS[word], NOT_SUPPORTED if word == "NotSupported" else ""
        return Ending.CALL_ERROR, "The charger's answer is none of OCPP 1.6."
    if answer.error_code is not None:
        if answer.error_code in UNKNOWN_TO_IT:
            return Ending.NOT_SUPPORTED, NOT_SUPPORTED
        why = f": {answer.error_description}" if answer.error_description else ""
        detail = f"The charger answered with the error {answer.error_code or '(none)'}{why}"
        return Ending.CALL_ERROR, detail.replace("\0", "?")[:500]
    return Ending.TIMEOUT, "The charger did not answer in time; it may have taken the list."


def version_in(answer: Answer | None) -> int | None:
    """Return the version that a charger reports; None where it says none."""
    version = answer.response.get("listVersion") if answer is not None and answer.response else None
    if not isinstance(version, int) or isinstance(version, bool) or abs(version) >= 2**63:
        return None
    return version


def result_of(row: LocalList, payload: dict[str, Any]) -> Entries | None:
    """Return what the list is once a SendLocalList was taken; None where nobody knows what it was before."""
    changes = payload.get("localAuthorizationList", [])
    if payload["updateType"] == "Full":
        return by_tag(changes)
    if row.entries is None or contradicted(row):
        return None
    return updated(by_tag(row.entries), changes)


def contradicted(row: LocalList) -> bool:
    """Tell whether the charger reports another version than the one that it acknowledged last."""
    if row.reported_at is None or row.reported_version == row.version:
        return False
    return row.acknowledged_at is None or row.reported_at > row.acknowledged_at


def _acknowledged(row: LocalList, version: int, entries: Entries | None) -> None:
    row.version, row.entries = version, _listed(entries)
    row.digest = None if entries is None else digest(entries)
    row.highest_version = max(row.highest_version, version)
    row.open_version = row.open_entries = None


def _listed(entries: Entries | None) -> list[Any] | None:
    return None if entries is None else list(entries.values())

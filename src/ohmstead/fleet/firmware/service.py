"""Updates of chargers: written, asked for, answered. What chargers tell later is in `telling`.

Whoever changes an update locks its row.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.audit import record_row
from ohmstead.core.clock import Clock
from ohmstead.core.config import Settings
from ohmstead.core.db import Database
from ohmstead.core.errors import DomainError
from ohmstead.core.file_links import download_url, link_to
from ohmstead.core.http import utc_z
from ohmstead.core.text import storable
from ohmstead.fleet.firmware.errors import FirmwareForOthers, UpdateRunning, no_image
from ohmstead.fleet.firmware.models import STATUS_MAX, FirmwareImage, FirmwareUpdate, UpdateState
from ohmstead.fleet.firmware.rows import end, locked, note, open_update
from ohmstead.fleet.firmware.schemas import FirmwareWork
from ohmstead.fleet.firmware.signing import Signing, check_signing
from ohmstead.fleet.locations import shown_location
from ohmstead.link.links import Answer, ChargerUnreachable
from ohmstead.stations.models import Charger
from ohmstead.stations.outcomes import Commands

UNANSWERED = timedelta(minutes=15)
"""So long after it was begun an update without an answer is one whose process has died."""
TAKEN = frozenset({"Accepted", "AcceptedCanceled"})


@dataclass(frozen=True, slots=True)
class Begun:
    """An update that was written, and the command that asks the charger for it."""

    update_id: UUID
    charger_id: str
    action: str
    payload: dict[str, Any]


async def begin(
    session: AsyncSession,
    settings: Settings,
    charger: Charger,
    wanted: FirmwareWork,
    now: datetime,
    *,
    replace: bool = False,
    by_campaign: bool = False,
) -> Begun:
    """Write an update before the charger is asked for it. The charger's row must be locked.

    Raises `NotFound` for an image that is not the charger's business's, `FirmwareForOthers`, `Invalid`
    for a signature that does not fit, and `UpdateRunning` unless `replace`.
    """
    image = None
    if wanted.firmware_id is not None:
        image = await _image_for(session, charger, wanted.firmware_id, force=wanted.force)
    signing = _signing_of(wanted, image, now)
    await _make_room(session, charger.id, now, replace=replace)
    retrieve_at = wanted.retrieve_at or now
    hours = wanted.give_up_hours or settings.file_link_hours
    row = FirmwareUpdate(
        id=uuid4(),
        charger_id=charger.id,
        request_id=secrets.randbelow(2**31 - 1) + 1,
        firmware_id=None if image is None else image.id,
        location=None if wanted.location is None else shown_location(wanted.location),
        version=wanted.version if image is None else image.version,
        signed=signing is not None,
        retrieve_at=retrieve_at,
        install_at=wanted.install_at,
        retries=wanted.retries,
        retry_interval=wanted.retry_interval,
        patience_seconds=hours * 3600,
        by_campaign=by_campaign,
        state=UpdateState.REQUESTED,
        version_before=charger.firmware_version,
        created_at=now,
        updated_at=now,
        deadline_at=now + UNANSWERED,
    )
    session.add(row)
    await session.flush()
    await note(session, row.id, "Requested", now)
    await record_row(session, "firmware_update.requested", row, at=charger)
    link_hours = max(hours, settings.file_link_hours)
    if image is None:
        location = wanted.location or ""
    else:
        until = max(now, retrieve_at, wanted.install_at or now) + timedelta(hours=link_hours)
        row.link_id = await link_to(session, image.file_id, until)
        location = download_url(settings, row.link_id, image.name, until)
    action, payload = _command(row, location, signing)
    return Begun(row.id, row.charger_id, action, payload)


async def _image_for(
    session: AsyncSession, charger: Charger, image_id: UUID, *, force: bool
) -> FirmwareImage:
    """Return an image for a charger, locked against its deletion."""
    query = (
        select(FirmwareImage).where(FirmwareImage.id == image_id).with_for_update(read=True, key_share=True)
    )
    image = (await session.execute(query)).scalar_one_or_none()
    if image is None or image.backoffice_id not in {None, charger.backoffice_id}:
        raise no_image(image_id)
    wrong = [
        f"its {name} is {theirs}, the firmware is for {ours}"
        for name, ours, theirs in (
            ("vendor", image.vendor, charger.vendor),
            ("model", image.model, charger.model),
        )
        if ours is not None and theirs is not None and ours.lower() != theirs.lower()
    ]
    if wrong and not force:
        raise FirmwareForOthers(
            f"This firmware is not for charger {charger.id}: {'; '.join(wrong)}."
            ' Send {"force": true} if it fits all the same.'
        )
    return image


def _signing_of(wanted: FirmwareWork, image: FirmwareImage | None, now: datetime) -> Signing | None:
    if wanted.signing is None:
        return None
    sha256 = wanted.sha256 if image is None else image.sha256
    return check_signing(wanted.signing.certificate, wanted.signing.signature, sha256, now)


async def _make_room(session: AsyncSession, charger_id: str, now: datetime, *, replace: bool) -> None:
    """End the open update of a charger, if it may be replaced."""
    row = await open_update(session, charger_id)
    if row is None:
        return
    if not replace:
        raise UpdateRunning(
            f"An update of charger {charger_id} is open since {utc_z(row.created_at)} ({row.state}"
            f"{f', {row.status}' if row.status else ''})."
            ' Wait until it is over, or send {"replace": true}.',
            detail=f"GET /api/admin/firmware-updates/{row.id}",
        )
    await end(session, row, UpdateState.REPLACED, "Another update was asked for.", now)
    await note(session, row.id, UpdateState.REPLACED, now)


def _command(row: FirmwareUpdate, location: str, signing: Signing | None) -> tuple[str, dict[str, Any]]:
    tries = {
        name: value
        for name, value in (("retries", row.retries), ("retryInterval", row.retry_interval))
        if value is not None
    }
    if signing is None:
        return "UpdateFirmware", {
            "location": location,
            "retrieveDate": utc_z(row.retrieve_at),
            **tries,
        }
    firmware = {
        "location": location,
        "retrieveDateTime": utc_z(row.retrieve_at),
        "signingCertificate": signing.certificate,
        "signature": signing.signature,
    }
    if row.install_at is not None:
        firmware["installDateTime"] = utc_z(row.install_at)
    return "SignedUpdateFirmware", {"requestId": row.request_id, "firmware": firmware, **tries}


async def answered(session: AsyncSession, begun: Begun, answer: Answer, now: datetime) -> FirmwareUpdate:
    """Write what the charger answered. It may have told how far it is before that: then this stays."""
    row = await locked(session, begun.update_id)
    said = storable(answer.status, STATUS_MAX)
    detail = answer.error_description if answer.error_code is not None else ""
    await note(session, row.id, said, now, detail)
    if row.state != UpdateState.REQUESTED:
        return row
    if answer.response is not None and said in TAKEN:
        row.state, row.status, row.updated_at = UpdateState.ACCEPTED, said, now
        row.deadline_at = max(now, row.retrieve_at) + timedelta(seconds=row.patience_seconds)
        await session.flush()
        return row
    why = {
        "Timeout": "The charger did not answer in time; it may have taken it all the same.",
        "CallError": f"The charger answered with the error {answer.error_code}. {detail}".strip(),
        "InvalidCertificate": "The charger does not accept the signing certificate.",
        "RevokedCertificate": "The charger says that the signing certificate is revoked.",
    }
    row.status = said
    why_not = why.get(said, f"The charger answered {said}.")
    await end(session, row, UpdateState.FAILED, why_not, now, tell=False)
    return row


async def not_asked(session: AsyncSession, update_id: UUID, error: DomainError, now: datetime) -> None:
    """Write that the charger could not be asked, or left before it answered.

    Where nothing was sent by a fault of ours, nothing is kept for a campaign: it begins anew, perhaps often.
    """
    row = await locked(session, update_id)
    if row.state != UpdateState.REQUESTED:
        return
    if row.by_campaign and isinstance(error, ChargerUnreachable):
        await session.delete(row)
        await session.flush()
        return
    await note(session, row.id, "Offline", now, error.message)
    await end(session, row, UpdateState.FAILED, error.message, now, tell=False)


async def ask(
    database: Database, commands: Commands, clock: Clock, begun: Begun
) -> tuple[FirmwareUpdate, Answer]:
    """Ask the charger for an update that was written; returns it as it stands then, and the answer.

    Raises what `Commands.send` raises, after it was written. Hold no transaction.
    """
    try:
        answer = await commands.send(begun.charger_id, begun.action, begun.payload, recorded=False)
    except DomainError as error:
        async with database.session() as session:
            await not_asked(session, begun.update_id, error, clock.now())
        raise
    async with database.session() as session:
        return await answered(session, begun, answer, clock.now()), answer

"""Firmware as the work of a campaign: each charger is asked once, and tells the end itself."""

from datetime import timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.principal import Principal
from ohmstead.core.errors import DomainError, Unavailable
from ohmstead.fleet.campaigns.work import (
    Kind,
    Means,
    Outcome,
    Parameters,
    away,
    done,
    failed,
    unanswered,
    unreached,
    waiting,
)
from ohmstead.fleet.firmware import service
from ohmstead.fleet.firmware.errors import UpdateRunning
from ohmstead.fleet.firmware.images import get_image
from ohmstead.fleet.firmware.models import KIND as NAME
from ohmstead.fleet.firmware.models import OPEN, FirmwareImage, FirmwareUpdate, UpdateState
from ohmstead.fleet.firmware.progress import same_version
from ohmstead.fleet.firmware.rows import open_update
from ohmstead.fleet.firmware.schemas import FirmwareWork
from ohmstead.fleet.firmware.signing import check_signing
from ohmstead.fleet.locations import shown_location
from ohmstead.link.links import ChargerOffline, ChargerUnreachable
from ohmstead.stations.models import Charger

LONGEST_WAIT = timedelta(days=3660)
"""An update ends by itself when nothing is heard of it (`give_up_hours`), and tells the campaign."""


async def check(session: AsyncSession, principal: Principal, parameters: FirmwareWork) -> None:
    """Refuse an image that the caller may not use, and a signature that is not that of the image."""
    sha256 = parameters.sha256
    if parameters.firmware_id is not None:
        sha256 = (await get_image(session, principal, parameters.firmware_id)).sha256
    if parameters.signing is not None:
        check_signing(parameters.signing.certificate, parameters.signing.signature, sha256, None)


def shown(parameters: Parameters) -> Parameters:
    """Return the parameters without the password of a location."""
    location = parameters.get("location")
    return parameters if location is None else {**parameters, "location": shown_location(location)}


async def apply(means: Means, charger_id: str, parameters: Parameters) -> Outcome:
    """Ask one charger to install the firmware.

    One that runs this version already is done. One that is at it, because it was asked before and has said
    so since, is waited for.
    """
    wanted = FirmwareWork.model_validate(parameters)
    try:
        async with means.database.session() as session:
            ready = await _prepare(session, means, charger_id, wanted)
    except UpdateRunning as error:
        return failed(error.message, again=True)
    except Unavailable:
        raise
    except DomainError as error:
        return failed(error.message)
    if isinstance(ready, Outcome):
        return ready
    try:
        row, answer = await service.ask(means.database, means.commands, means.clock, ready)
    except ChargerUnreachable as error:
        return unreached(error.message)
    except ChargerOffline as error:
        # It may have taken it before it left: it is not asked for ever, as one that is away would be.
        return failed(error.message, again=True)
    except Unavailable:
        raise
    except DomainError as error:
        return failed(error.message)
    evidence: dict[str, Any] = {"update_id": str(row.id), "answer": answer.response}
    if row.state in OPEN:
        return waiting(f"The charger answered {answer.status}.", **evidence)
    if row.state == UpdateState.INSTALLED:
        return done("Installed.", **evidence)
    if answer.response is None:
        return unanswered(ready.action, answer, update_id=str(row.id))
    return failed(row.detail, **evidence)


async def _prepare(
    session: AsyncSession, means: Means, charger_id: str, wanted: FirmwareWork
) -> service.Begun | Outcome:
    now = means.clock.now()
    query = (
        select(Charger)
        .where(Charger.id == charger_id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    charger = (await session.execute(query)).scalar_one_or_none()
    if charger is None:
        return failed("The charger was removed.")
    if not charger.online:
        return away("The charger is not connected.")
    running = await open_update(session, charger_id)
    if running is not None and await _is_this(session, running, wanted):
        return waiting("The charger is at it already.", update_id=str(running.id))
    version = wanted.version
    if wanted.firmware_id is not None:
        image = await session.get(FirmwareImage, wanted.firmware_id)
        version = None if image is None else image.version
    if same_version(charger.firmware_version, version) and not wanted.force:
        return done(f"The charger runs {charger.firmware_version} already.")
    return await service.begin(session, means.settings, charger, wanted, now, by_campaign=True)


async def _is_this(session: AsyncSession, row: FirmwareUpdate, wanted: FirmwareWork) -> bool:
    """Tell whether an open update is by a campaign and of the same firmware, and the charger speaks of it."""
    if not row.by_campaign or row.state == UpdateState.REQUESTED:
        return False
    if wanted.firmware_id is not None:
        return row.firmware_id == wanted.firmware_id
    return row.location == shown_location(wanted.location or "")


KIND = Kind(
    name=NAME,
    parameters=FirmwareWork,
    apply=apply,
    check=check,
    shown=shown,
    wait_limit=LONGEST_WAIT,
)

"""Writes and reads of firmware images."""

from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, exists, false, func, or_, select, true
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.audit import record_row
from ohmstead.accounts.constraints import refusing
from ohmstead.accounts.models import Role
from ohmstead.accounts.principal import Principal
from ohmstead.core.errors import Forbidden, Invalid
from ohmstead.core.files import StoredFile, drop, keep
from ohmstead.core.paging import Order, Page, Paging, containing, time_key, uuid_key
from ohmstead.core.uploads import file_name
from ohmstead.fleet.firmware.errors import FirmwareExists, FirmwareInUse, no_image
from ohmstead.fleet.firmware.models import KIND, FirmwareImage, FirmwareUpdate
from ohmstead.fleet.firmware.schemas import ImageIn, ImageOut
from ohmstead.stations.service import require_backoffice

ORDER = Order(
    keys={"created_at": time_key(FirmwareImage.created_at)},
    tie=uuid_key(FirmwareImage.id),
    default="-created_at",
)


def visible(principal: Principal) -> ColumnElement[bool]:
    """Return the condition of images that the caller may use: those of its business, and those for all."""
    if principal.role is Role.SYSTEM_ADMIN:
        return true()
    if principal.backoffice_id is None:
        return false()
    return or_(FirmwareImage.backoffice_id == principal.backoffice_id, FirmwareImage.backoffice_id.is_(None))


async def get_image(session: AsyncSession, principal: Principal, image_id: UUID) -> FirmwareImage:
    """Return an image of the caller's scope. Raises `NotFound`."""
    query = select(FirmwareImage).where(FirmwareImage.id == image_id, visible(principal))
    image = (await session.execute(query)).scalar_one_or_none()
    if image is None:
        raise no_image(image_id)
    return image


async def list_images(
    session: AsyncSession,
    principal: Principal,
    paging: Paging,
    *,
    vendor: str | None = None,
    model: str | None = None,
    sort: str | None = None,
) -> Page[ImageOut]:
    """Return a page of the caller's images; `model` also keeps those for every model of the vendor."""
    query = select(FirmwareImage).where(visible(principal))
    if vendor is not None:
        query = query.where(func.lower(FirmwareImage.vendor) == vendor.lower())
    if model is not None:
        fits = func.lower(FirmwareImage.model) == model.lower()
        query = query.where(or_(fits, FirmwareImage.model.is_(None)))
    searched = (
        FirmwareImage.vendor,
        FirmwareImage.model,
        FirmwareImage.version,
        FirmwareImage.name,
        FirmwareImage.sha256,
    )
    found = await ORDER.slice(session, query.where(containing(paging.q, *searched)), paging, sort)
    return found.page(ImageOut.model_validate(row) for row in found.rows)


async def require_owner(session: AsyncSession, principal: Principal, asked: UUID | None) -> UUID | None:
    """Return the business of a new image; None (of a SystemAdmin) is every business.

    Raises `Forbidden` for another business than one's own, and `NotFound`.
    """
    if principal.role is Role.SYSTEM_ADMIN:
        if asked is not None:
            await require_backoffice(session, asked)
        return asked
    if asked not in {None, principal.backoffice_id}:
        raise Forbidden("You may add firmware for your own business only.")
    return principal.backoffice_id


async def create_image(
    session: AsyncSession, principal: Principal, now: datetime, wanted: ImageIn, file: StoredFile
) -> FirmwareImage:
    """Make an image of a file that has been stored. Raises `Conflict` for one that is there already."""
    owner = await require_owner(session, principal, wanted.backoffice_id)
    if file.size == 0 or file.sha256 is None:
        raise Invalid("The file is empty. Send the firmware as the body.", fields={"body": "is empty"})
    name = file_name(wanted.name or "") or file_name(f"{wanted.model or wanted.vendor}-{wanted.version}.bin")
    image = FirmwareImage(
        id=uuid4(),
        backoffice_id=owner,
        name=name or "firmware.bin",
        file_id=file.id,
        size=file.size,
        sha256=file.sha256,
        created_at=now,
        **wanted.model_dump(include={"vendor", "model", "version"}),
    )
    what = f"{wanted.vendor} {wanted.model or '(every model)'} {wanted.version}"
    taken = FirmwareExists(
        f"There is firmware for {what} already. Delete that first, or name another version."
    )
    async with refusing(session, {"uq_fleet_firmware": taken}):
        session.add(image)
    await keep(session, file.id, KIND, image.name, now)
    await record_row(session, "firmware.created", image)
    return image


async def delete_image(session: AsyncSession, principal: Principal, image_id: UUID, now: datetime) -> None:
    """Delete an image and its file; updates that are over keep its version.

    Raises `NotFound`, `Forbidden` for one that is for every business, and `Conflict` while an update by it
    is open.
    """
    image = await get_image(session, principal, image_id)
    if principal.role is not Role.SYSTEM_ADMIN and image.backoffice_id is None:
        raise Forbidden("This firmware is for every business: only a SystemAdmin may delete it.")
    # Locked against new updates by it: these lock it too.
    gone = select(FirmwareImage.id).where(FirmwareImage.id == image_id).with_for_update()
    if (await session.execute(gone)).scalar_one_or_none() is None:
        raise no_image(image_id)
    used = exists().where(FirmwareUpdate.firmware_id == image_id, FirmwareUpdate.ended_at.is_(None))
    if (await session.execute(select(used))).scalar_one():
        raise FirmwareInUse(
            "An update by this firmware is open. Wait until it is over; see"
            f" GET /api/admin/firmware-updates?firmware_id={image_id}&open=true"
        )
    await record_row(session, "firmware.deleted", image, gone=True)
    await session.delete(image)
    await session.flush()
    await drop(session, image.file_id, now)

"""`/api/admin/firmware`: images. The updates by them are in `updates_endpoints`."""

from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response
from pydantic import ValidationError

from ohmstead.accounts.access import Caller
from ohmstead.core.db import Database
from ohmstead.core.downloads import SHOWN, file_response
from ohmstead.core.errors import Invalid
from ohmstead.core.files import Files, StoredFile
from ohmstead.core.http import Now, UnitOfWork
from ohmstead.core.openapi import refuses
from ohmstead.core.paging import Page, Paging
from ohmstead.core.text import Text
from ohmstead.core.uploads import IncomingFile
from ohmstead.fleet.firmware import images
from ohmstead.fleet.firmware.errors import no_image
from ohmstead.fleet.firmware.schemas import ImageIn, ImageOut

router = APIRouter(prefix="/api/admin/firmware", tags=["Firmware"])

ImageId = Annotated[UUID, Path(description="The id of a firmware image.")]
Said = Annotated[Text | None, Query(max_length=100, description="As in the form; for a bare body.")]

FIELDS: Final = {
    "vendor": {"type": "string", "maxLength": 50},
    "model": {"type": "string", "maxLength": 50},
    "version": {"type": "string", "maxLength": 50},
    "name": {"type": "string", "maxLength": 100},
    "backoffice_id": {"type": "string", "format": "uuid"},
    "file": {"type": "string", "format": "binary"},
}
BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "A form with the file and what it is, or the bare file with the rest in the query.",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": FIELDS,
                    "required": ["vendor", "version", "file"],
                }
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


@router.get("")
async def list_firmware(
    *,
    session: UnitOfWork,
    principal: Caller,
    paging: Annotated[Paging, Depends()],
    vendor: Annotated[Text | None, Query(max_length=50, description="Only of this vendor.")] = None,
    model: Annotated[
        Text | None, Query(max_length=50, description="Only for this model, or for every model.")
    ] = None,
    sort: Annotated[str | None, Query(description="`created_at`; `-` before it: falling.")] = None,
) -> Page[ImageOut]:
    """List the firmware that the caller may use, the newest first.

    `q` searches vendor, model, version, name and SHA-256.
    """
    return await images.list_images(session, principal, paging, vendor=vendor, model=model, sort=sort)


@router.post(
    "",
    status_code=201,
    openapi_extra=BODY,
    responses=refuses(409, "There is this version already.") | refuses(413, "The file is too large."),
)
async def add_firmware(
    *,
    request: Request,
    principal: Caller,
    now: Now,
    vendor: Said = None,
    model: Said = None,
    version: Said = None,
    name: Said = None,
    backoffice_id: Annotated[UUID | None, Query(description="As in the form; for a bare body.")] = None,
) -> ImageOut:
    """Add a firmware image: a form, or the bare file as the body and the rest in the query string.

    It belongs to the caller's business. One of a SystemAdmin without `backoffice_id` is for every business.
    """
    said = {
        "vendor": vendor,
        "model": model,
        "version": version,
        "name": name,
        "backoffice_id": backoffice_id,
    }
    given = {field: value for field, value in said.items() if value is not None}
    incoming = IncomingFile(request)
    database: Database = request.app.state.database
    files: Files = request.app.state.files
    if not incoming.is_form:
        async with database.session() as session:  # before a long body is taken for nothing
            await images.require_owner(session, principal, _image(given).backoffice_id)
    file = await files.put(incoming, limit=request.app.state.settings.upload_max_bytes)
    try:
        wanted = _image({**given, **incoming.fields})
        if wanted.name is None and incoming.name:
            wanted.name = incoming.name
        async with database.session() as session:
            image = await images.create_image(session, principal, now, wanted, file)
    except BaseException:
        await files.discard(file.id)
        raise
    return ImageOut.model_validate(image)


@router.get("/{firmware_id}")
async def get_firmware(session: UnitOfWork, principal: Caller, firmware_id: ImageId) -> ImageOut:
    """Show one firmware image."""
    return ImageOut.model_validate(await images.get_image(session, principal, firmware_id))


@router.get("/{firmware_id}/file", response_class=Response, responses={200: SHOWN})
async def get_firmware_file(request: Request, principal: Caller, firmware_id: ImageId) -> Response:
    """Get the file of a firmware image; `Range` is understood."""
    database: Database = request.app.state.database
    async with database.session() as session:
        image = await images.get_image(session, principal, firmware_id)
        file = await session.get(StoredFile, image.file_id)
    if file is None:
        raise no_image(firmware_id)
    return await file_response(request, file, image.name)


@router.delete("/{firmware_id}", status_code=204, responses=refuses(409, "An update by it is open."))
async def delete_firmware(session: UnitOfWork, principal: Caller, now: Now, firmware_id: ImageId) -> None:
    """Delete a firmware image with its file. Links to it end; updates that are over keep its version."""
    await images.delete_image(session, principal, firmware_id, now)


def _image(given: dict[str, Any]) -> ImageIn:
    try:
        return ImageIn.model_validate({name: value for name, value in given.items() if value != ""})
    except ValidationError as error:
        faults = {
            str(fault["loc"][0]) if fault["loc"] else "body": str(fault["msg"]) for fault in error.errors()
        }
        told = "; ".join(f"{name}: {fault}" for name, fault in faults.items())
        raise Invalid(
            f"The firmware is not described well. {told}"[:1000],
            detail="Send vendor, version and, where it is for one model only, model.",
            fields=faults,
        ) from error

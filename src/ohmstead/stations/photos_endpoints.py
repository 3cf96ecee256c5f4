"""`/api/admin/stations/{station_id}/photo` for who runs the station, `/photos/{photo}.jpg` for everybody."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Path, Request
from fastapi.responses import Response

from ohmstead.accounts.access import Caller
from ohmstead.core import pictures
from ohmstead.core.db import Database
from ohmstead.core.errors import DomainError, Kind, NotFound
from ohmstead.core.files import Files
from ohmstead.core.http import Now, UnitOfWork
from ohmstead.core.openapi import refuses
from ohmstead.core.uploads import IncomingFile
from ohmstead.stations import photos, queries
from ohmstead.stations.endpoints import StationId
from ohmstead.stations.schemas import StationOut

router = APIRouter(tags=["Stations"])

PHOTO_BYTES: Final = 15_000_000
"""What a telephone's camera makes, and some more."""
DRAWING: Final = ThreadPoolExecutor(1, "pictures")
"""Pictures are unpacked one after the other: each may need 150 MB for a moment."""
BINARY: Final = {"schema": {"type": "string", "format": "binary"}}
BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "The bare picture (JPEG, PNG or WebP), or a form with it.",
        "content": {
            "multipart/form-data": {
                "schema": {"type": "object", "properties": {"file": BINARY["schema"]}, "required": ["file"]}
            },
            **{f"image/{kind}": BINARY for kind in ("jpeg", "png", "webp")},
        },
    }
}


class PhotoTooLarge(DomainError):
    """The picture has more bytes than a photo needs."""

    kind = Kind.TOO_LARGE
    code = "PhotoTooLarge"


@router.put(
    "/api/admin/stations/{station_id}/photo",
    openapi_extra=BODY,
    responses=refuses(413, "The picture has more than 15 MB."),
)
async def set_station_photo(
    request: Request, principal: Caller, now: Now, station_id: StationId
) -> StationOut:
    """Give a station a photo, in place of the one it had.

    It is drawn anew, as a JPEG of at most 1600 pixels: what a camera noted in it is not kept.
    """
    database: Database = request.app.state.database
    files: Files = request.app.state.files
    async with database.session() as session:  # before a long body is taken for nothing
        await queries.get_station(session, principal, station_id)
    data = await _whole(IncomingFile(request))
    drawn = await asyncio.get_running_loop().run_in_executor(DRAWING, pictures.redrawn, data)
    file = await files.put(_once(drawn), limit=len(drawn))
    try:
        async with database.session() as session:
            station = await photos.set_photo(
                session,
                principal,
                request.app.state.settings,
                now,
                station_id=station_id,
                file_id=file.id,
            )
            return await queries.show_station(session, station)
    except BaseException:
        await files.discard(file.id)
        raise


@router.delete("/api/admin/stations/{station_id}/photo", status_code=204)
async def remove_station_photo(
    request: Request, session: UnitOfWork, principal: Caller, now: Now, station_id: StationId
) -> None:
    """Take the photo of a station away."""
    settings = request.app.state.settings
    await photos.set_photo(session, principal, settings, now, station_id=station_id, file_id=None)


@router.get(
    "/photos/{photo}.jpg",
    response_class=Response,
    responses={200: {"content": {pictures.MEDIA_TYPE: BINARY}, "description": "The photo."}},
)
async def get_photo(
    request: Request, photo: Annotated[UUID, Path(description="The id of a photo of a station.")]
) -> Response:
    """Get the photo of a station; no sign-in is needed."""
    database: Database = request.app.state.database
    async with database.session() as session:
        file = await photos.find_photo(session, photo)
    if file is None:
        raise NotFound(f"There is no photo {photo}.", code="PhotoNotFound")
    headers = {"Cache-Control": "public, max-age=31536000, immutable", "ETag": f'"{file.sha256}"'}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(None, 304, headers)
    files: Files = request.app.state.files
    data = b"".join([block async for block in files.read(file)])
    return Response(data, media_type=pictures.MEDIA_TYPE, headers=headers)


async def _whole(incoming: IncomingFile) -> bytes:
    data = bytearray()
    async for chunk in incoming:
        data += chunk
        if len(data) > PHOTO_BYTES:
            raise PhotoTooLarge(
                f"The picture has more than {PHOTO_BYTES // 1_000_000} MB. Send a smaller one."
            )
    return bytes(data)


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data

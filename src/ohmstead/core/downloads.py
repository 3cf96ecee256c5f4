"""Files that go out: whole or in parts, always as something to be saved and never to be shown.

`GET /files/{token}/{name}` needs no sign-in: its token is the right (see `core.file_links`). Until the use
that it was made for is over it may be asked as often as needed, since chargers resume and try again.
"""

import re
from collections.abc import AsyncIterator
from email.utils import format_datetime
from typing import Annotated, Final

from fastapi import APIRouter, Path, Request
from fastapi.responses import Response, StreamingResponse

from ohmstead.core.db import Database
from ohmstead.core.file_links import FileLink, LinkEnded, Purpose, subject_of
from ohmstead.core.files import Files, StoredFile
from ohmstead.core.http import Now, error_response
from ohmstead.core.openapi import refuses

RANGE: Final = re.compile(r"bytes=(\d{0,19})-(\d{0,19})")
OCTETS: Final = "application/octet-stream"

router = APIRouter(tags=["Files"])

SHOWN: Final = {
    "content": {OCTETS: {"schema": {"type": "string", "format": "binary"}}},
    "description": "The file; 206 and a part of it when `Range` asks for one.",
}
"""How a route that answers with a file describes it."""


@router.api_route(
    "/files/{token}/{name}",
    methods=["GET"],
    response_class=Response,
    responses={200: SHOWN, **refuses(410, "The link has expired or served its use, or the file is gone.")},
)
@router.api_route("/files/{token}/{name}", methods=["HEAD"], include_in_schema=False)
async def download_file(
    request: Request,
    now: Now,
    token: Annotated[str, Path(description="The signed part of the link.")],
    name: Annotated[str, Path(description="A name for the file; any will do.")],
) -> Response:
    """Get a file by a link that was given to a charger: `Range` and HEAD too, until its use is over."""
    link_id = subject_of(request.app.state.settings, Purpose.DOWNLOAD, token, now)
    database: Database = request.app.state.database
    async with database.session() as session:
        link = await session.get(FileLink, link_id)
        file = None if link is None else await session.get(StoredFile, link.file_id)
    if link is not None and link.ended_at is not None:
        raise LinkEnded("This link has served its use. Ask for a new one.", code="LinkUsed")
    if file is None or file.kept_at is None or file.dropped_at is not None:
        raise LinkEnded("The file of this link has been deleted.", code="FileGone")
    return await file_response(request, file)


async def file_response(request: Request, file: StoredFile, name: str | None = None) -> Response:
    """Answer with a file, or with the part of it that the request asks for.

    The first block is read before the answer begins, so that a file that cannot be read is an error
    and not a broken answer. Raises `NotFound` and `Unavailable`.
    """
    headers = {
        "Accept-Ranges": "bytes",
        "ETag": f'"{file.sha256}"',
        "Content-Disposition": f'attachment; filename="{name or file.name or "file"}"',
        "Last-Modified": format_datetime(file.kept_at or file.created_at, usegmt=True),
    }
    start, stop, status = 0, file.size, 200
    asked = request.headers.get("range", "")
    if request.headers.get("if-range", headers["ETag"]) == headers["ETag"]:
        part = part_of(asked, file.size)
        if part is not None and part[0] >= part[1]:
            message = f"The file has {file.size} bytes: `Range` asks for what is not in it."
            outside = {"Content-Range": f"bytes */{file.size}"}
            return error_response(416, "RangeNotSatisfiable", message, headers=outside)
        if part is not None:
            start, stop = part
            status = 206
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{file.size}"
    headers["Content-Length"] = str(stop - start)
    if request.method == "HEAD":
        return Response(None, status, headers, media_type=OCTETS)
    files: Files = request.app.state.files
    blocks = files.read(file, start, stop)
    first = await anext(blocks, b"")
    return StreamingResponse(_following(first, blocks), status, headers, media_type=OCTETS)


async def _following(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for block in rest:
        yield block


def part_of(asked: str, size: int) -> tuple[int, int] | None:
    """Read a `Range` header (RFC 9110 14.2): where the part begins, and where it has ended.

    None is the whole file: what is not understood, several parts among it, is left aside, as the standard
    allows. A part that lies outside of the file ends where it begins.
    """
    found = RANGE.fullmatch(asked.replace(" ", ""))
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if first == "":
        return max(0, size - int(last)), size
    if last and int(last) < int(first):
        return None
    begin = min(int(first), size)
    return begin, min(int(last) + 1, size) if last else size

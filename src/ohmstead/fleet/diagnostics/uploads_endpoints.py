"""`/uploads/{token}`: where chargers leave their files, by a link that carries its own right."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Request

from ohmstead.core.file_links import Purpose, subject_of
from ohmstead.core.http import Now
from ohmstead.core.openapi import refuses
from ohmstead.fleet.diagnostics.receiving import receive
from ohmstead.fleet.diagnostics.schemas import Taken

Token = Annotated[str, Path(description="The signed part of the link.")]

BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "The bare file, or a form with one.",
        "content": {
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"file": {"type": "string", "format": "binary"}},
                    "required": ["file"],
                }
            },
        },
    }
}

router = APIRouter(
    tags=["Files"],
    responses=refuses(410, "The link has expired, or has brought its file.")
    | refuses(413, "The file is too large."),
)


@router.put("/uploads/{token}", status_code=201, openapi_extra=BODY)
async def upload_file(request: Request, now: Now, token: Token) -> Taken:
    """Leave a file by a link that was given to a charger: once.

    A charger may put the name of its file behind the link. What breaks off, is empty or too large leaves
    nothing, and may be sent again.
    """
    return await _take(request, now, token, "")


@router.post("/uploads/{token}", status_code=201, openapi_extra=BODY)
async def post_file(request: Request, now: Now, token: Token) -> Taken:
    """Leave a file by a link, as PUT does: some chargers know no other method."""
    return await _take(request, now, token, "")


@router.put("/uploads/{token}/{filename:path}", status_code=201, include_in_schema=False)
@router.post("/uploads/{token}/{filename:path}", status_code=201, include_in_schema=False)
async def upload_named_file(request: Request, now: Now, token: Token, filename: str) -> Taken:
    """Leave a file whose name the charger has put behind the link."""
    return await _take(request, now, token, filename)


async def _take(request: Request, now: Now, token: str, called: str) -> Taken:
    job_id = subject_of(request.app.state.settings, Purpose.UPLOAD, token, now)
    file = await receive(request, job_id, called)
    return Taken(size=file.size, sha256=file.sha256 or "")

"""`/api/admin/stickers.pdf`: QR codes to stick onto chargers."""

import asyncio
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from ohmstead.accounts.access import Caller
from ohmstead.core.db import Database
from ohmstead.core.text import Text
from ohmstead.fleet.onboarding.stickers import Layout, stickers_of, typeset

router = APIRouter(prefix="/api/admin", tags=["Chargers"])

PDF = {"application/pdf": {"schema": {"type": "string", "format": "binary"}}}


@router.get(
    "/stickers.pdf",
    response_class=Response,
    responses={200: {"description": "Sheets of A4.", "content": PDF}},
)
async def get_stickers(
    *,
    request: Request,
    principal: Caller,
    station: Annotated[UUID | None, Query(description="Only of this station.")] = None,
    charger: Annotated[Text | None, Query(max_length=48, description="Only of this charger.")] = None,
    layout: Annotated[Layout, Query(description="Stickers across by stickers down.")] = Layout.TWO_BY_SEVEN,
    borders: Annotated[bool, Query(description="Draw the edges, for sheets that are cut by hand.")] = False,
) -> Response:
    """Make sheets of stickers: a QR code for each connector, with the names of charger and station."""
    database: Database = request.app.state.database
    async with database.session() as session:
        stickers = await stickers_of(
            session, principal, request.app.state.settings.public_url, station=station, charger=charger
        )
    pdf = await asyncio.to_thread(typeset, stickers, layout, borders=borders)
    headers = {"Content-Disposition": 'inline; filename="stickers.pdf"'}
    return Response(pdf, media_type="application/pdf", headers=headers)

"""Stickers for chargers: a sheet of QR codes that a driver scans at the connector.

A code holds `{public address}/c/{charger}/{connector}`, which is also printed, for who cannot scan. Typst
sets the sheet; what people typed goes in as data, never as markup.
"""

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote

import orjson
import segno
import typst
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.principal import Principal
from ohmstead.core.errors import Invalid, NotFound
from ohmstead.stations.models import Charger, Connector, Station

TEMPLATE = Path(__file__).with_suffix(".typ").read_bytes()
AT_ONCE = 2_000
"""Stickers in one file."""


class Layout(StrEnum):
    """Sheets that can be bought: stickers across by stickers down on A4, in millimetres."""

    THREE_BY_EIGHT = "3x8"
    TWO_BY_SEVEN = "2x7"
    TWO_BY_FOUR = "2x4"


SIZES = {
    Layout.THREE_BY_EIGHT: {"columns": 3, "height": 37.0, "margin_x": 0.0, "margin_y": 0.5, "gap": 0.0},
    Layout.TWO_BY_SEVEN: {"columns": 2, "height": 38.1, "margin_x": 4.7, "margin_y": 15.1, "gap": 2.5},
    Layout.TWO_BY_FOUR: {"columns": 2, "height": 67.7, "margin_x": 4.7, "margin_y": 13.0, "gap": 2.5},
}


@dataclass(frozen=True, slots=True)
class Sticker:
    """What is on one sticker. `address` is what the code holds, without the scheme."""

    station: str
    title: str
    plug: str
    address: str
    phone: str
    qr: str


def connector_url(public_url: str, charger_id: str, connector_id: int) -> str:
    """Return the address that the code of a connector holds."""
    return f"{public_url}/c/{quote(charger_id, safe='')}/{connector_id}"


async def stickers_of(
    session: AsyncSession,
    principal: Principal,
    public_url: str,
    *,
    station: object | None = None,
    charger: str | None = None,
) -> list[Sticker]:
    """Read the stickers of the caller's chargers, by station and charger: one for each connector.

    Raises `NotFound` when there is none, and `Invalid` when there are too many for one file.
    """
    query = (
        select(Charger, Connector, Station)
        .join(Connector, (Connector.charger_id == Charger.id) & (Connector.connector_id > 0))
        .outerjoin(Station, Station.id == Charger.station_id)
        .where(Charger.retired_at.is_(None))
        .order_by(Station.name.nulls_last(), Charger.id, Connector.connector_id)
        .limit(AT_ONCE + 1)
    )
    if station is not None:
        query = query.where(Charger.station_id == station)
    if charger is not None:
        query = query.where(Charger.id == charger)
    query = principal.within(query, Charger.backoffice_id, Charger.station_id)
    rows = (await session.execute(query)).all()
    if not rows:
        raise NotFound("There is no charger with a connector to make stickers for.")
    if len(rows) > AT_ONCE:
        raise Invalid(
            f"These are more than {AT_ONCE} stickers. Ask for one station at a time: ?station=<id>.",
            fields={"station": "is needed with so many chargers"},
        )
    return [_sticker(public_url, *row) for row in rows]


def _sticker(public_url: str, charger: Charger, connector: Connector, station: Station | None) -> Sticker:
    url = connector_url(public_url, charger.id, connector.connector_id)
    power = f"{connector.max_power_kw:g} kW" if connector.max_power_kw else None
    told = [f"Connector {connector.connector_id}", connector.type, power]
    return Sticker(
        station=station.name if station is not None else "",
        title=charger.name or charger.id,
        plug=" · ".join(part for part in told if part),
        address=url.partition("://")[2],
        phone=(station.support_phone or "") if station is not None else "",
        qr=_svg(url),
    )


def _svg(url: str) -> str:
    buffer = io.BytesIO()
    segno.make(url, error="m", micro=False).save(buffer, kind="svg", xmldecl=False, border=2, dark="#12211c")
    return buffer.getvalue().decode()


def typeset(stickers: Sequence[Sticker], layout: Layout, *, borders: bool) -> bytes:
    """Return the sheets as PDF. Takes some milliseconds a sticker: call it in a thread."""
    sheet = {
        **SIZES[layout],
        "borders": borders,
        "help": "Help:",
        "stickers": [asdict(one) for one in stickers],
    }
    pdf: bytes = typst.compile(TEMPLATE, format="pdf", sys_inputs={"data": orjson.dumps(sheet).decode()})
    return pdf

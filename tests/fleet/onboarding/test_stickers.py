"""Stickers: what is on them, and that the code leads where the text says."""

import io
import re
from uuid import uuid4

import httpx
import pytest
import segno
from pypdf import PdfReader
from tests.world import World

from ohmstead.accounts.models import Role
from ohmstead.accounts.principal import Principal
from ohmstead.core.config import Settings
from ohmstead.core.db import Database
from ohmstead.fleet.onboarding.stickers import Layout, connector_url, stickers_of, typeset

PATH = "/api/admin/stickers.pdf"


def pages(content: bytes) -> list[str]:
    return [page.extract_text() for page in PdfReader(io.BytesIO(content)).pages]


class TestSheets:
    async def test_each_connector_has_a_sticker_with_names_address_and_telephone(
        self, client: httpx.AsyncClient, world: World, settings: Settings
    ) -> None:
        station = await world.station(name="Süd *bold* #evil", support_phone="+65 1234")
        charger = await world.charger(station, name="Left $x$ one", connectors=2)
        admin = await world.admin()
        answer = await client.get(f"{PATH}?charger={charger.id}", headers=admin.headers)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/pdf")
        [text] = pages(answer.content)
        host = settings.public_url.partition("://")[2]
        for number in (1, 2):
            assert f"Connector {number}" in text
            assert f"{host}/c/{charger.id}/{number}" in text.replace("\n", "")
        assert "SÜD *BOLD* #EVIL" in text
        assert "Left $x$ one" in text
        assert "+65 1234" in text

    async def test_the_code_is_that_of_the_address(
        self, db: Database, world: World, settings: Settings
    ) -> None:
        charger = await world.charger(id="DE*ABC/1", connectors=1)
        admin = Principal(uuid4(), "admin@volt.example", Role.SYSTEM_ADMIN)
        async with db.session() as session:
            [sticker] = await stickers_of(session, admin, settings.public_url, charger=charger.id)
        url = connector_url(settings.public_url, charger.id, 1)
        assert url == f"{settings.public_url}/c/DE%2AABC%2F1/1"
        assert sticker.address == url.partition("://")[2]
        expected = segno.make(url, error="m", micro=False)
        dark = sum(cell for row in expected.matrix for cell in row)
        drawn = sum(int(run) for run in re.findall(r"h(\d+)", sticker.qr))
        assert f'width="{expected.symbol_size(border=2)[0]}"' in sticker.qr
        assert drawn == dark

    @pytest.mark.parametrize(("layout", "on_a_page"), [("3x8", 24), ("2x7", 14), ("2x4", 8)])
    async def test_a_layout_fills_its_page_and_then_begins_another(
        self, client: httpx.AsyncClient, world: World, layout: str, on_a_page: int
    ) -> None:
        charger = await world.charger(connectors=on_a_page + 1)
        admin = await world.admin()
        answer = await client.get(f"{PATH}?charger={charger.id}&layout={layout}", headers=admin.headers)
        assert [text.count("Connector") for text in pages(answer.content)] == [on_a_page, 1]

    def test_an_empty_sheet_is_none(self) -> None:
        assert typeset([], Layout.TWO_BY_SEVEN, borders=True).startswith(b"%PDF")


class TestAccess:
    async def test_nobody_makes_stickers_for_anothers_chargers(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        charger = await world.charger()
        assert (await client.get(PATH)).status_code == 401
        driver = await world.user(Role.EV_OWNER)
        assert (await client.get(PATH, headers=driver.headers)).status_code == 403
        other = await world.user(Role.BACKOFFICE)
        for query in (f"?charger={charger.id}", f"?station={charger.station_id}", ""):
            assert (await client.get(PATH + query, headers=other.headers)).status_code == 404

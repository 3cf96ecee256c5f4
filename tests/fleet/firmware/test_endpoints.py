"""Firmware images: added bare or as a form, listed, fetched, deleted; each business has its own."""

import hashlib
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import func, select
from tests.fleet.firmware.conftest import CONTENT, AddImage, Connect, business_of
from tests.world import SignedIn, World

from ohmstead.accounts.models import Role
from ohmstead.app import MAX_BODY
from ohmstead.core.db import Database
from ohmstead.core.files import StoredFile
from ohmstead.stations.models import Charger

IMAGES = "/api/admin/firmware"
SAID = {"vendor": "Acme", "model": "Fast 50", "version": "2.0.0"}


async def kept_files(db: Database) -> int:
    async with db.session() as session:
        query = select(func.count()).where(StoredFile.kept_at.is_not(None), StoredFile.dropped_at.is_(None))
        return int((await session.execute(query)).scalar_one())


class TestAdd:
    async def test_a_form_with_the_file(self, client: httpx.AsyncClient, manager: SignedIn) -> None:
        answer = await client.post(
            IMAGES, data=SAID, files={"file": ("fast50-2.0.0.bin", CONTENT)}, headers=manager.headers
        )
        assert answer.status_code == 201, answer.text
        image = answer.json()
        assert image["name"] == "fast50-2.0.0.bin"
        assert (image["size"], image["sha256"]) == (len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
        assert {name: image[name] for name in SAID} == SAID
        assert image["created_at"].endswith("Z")
        shown = await client.get(f"{IMAGES}/{image['id']}", headers=manager.headers)
        assert shown.json() == image

    async def test_a_bare_body_with_the_rest_in_the_query(
        self, client: httpx.AsyncClient, manager: SignedIn
    ) -> None:
        answer = await client.post(IMAGES, params=SAID, content=CONTENT, headers=manager.headers)
        image = answer.json()
        assert (image["name"], image["size"]) == ("Fast_50-2.0.0.bin", len(CONTENT))

    async def test_more_than_an_ordinary_body_may_have(
        self, client: httpx.AsyncClient, manager: SignedIn
    ) -> None:
        async def many() -> AsyncIterator[bytes]:
            for _ in range(24):
                yield bytes(100_000)

        answer = await client.post(IMAGES, params=SAID, content=many(), headers=manager.headers)
        assert answer.status_code == 201
        assert answer.json()["size"] == 2_400_000 > MAX_BODY

    async def test_too_large_is_413_and_leaves_nothing(
        self, app: FastAPI, client: httpx.AsyncClient, manager: SignedIn, db: Database
    ) -> None:
        small = app.state.settings.model_copy(update={"upload_max_bytes": 1000})
        app.state.settings = small

        async def unannounced() -> AsyncIterator[bytes]:
            for _ in range(11):
                yield bytes(100)

        for body in (bytes(1001), unannounced()):
            answer = await client.post(IMAGES, params=SAID, content=body, headers=manager.headers)
            assert (answer.status_code, answer.json()["error"]) == (413, "PayloadTooLarge")
        assert await kept_files(db) == 0
        exactly = await client.post(IMAGES, params=SAID, content=bytes(1000), headers=manager.headers)
        assert exactly.status_code == 201

    @pytest.mark.parametrize(
        ("changed", "field"),
        [
            ({"vendor": None}, "vendor"),
            ({"version": None}, "version"),
            ({"version": ""}, "version"),
            ({"vendor": "x" * 51}, "vendor"),
            ({"model": "x" * 51}, "model"),
            ({"vendor": "nul\0"}, "vendor"),
            ({"colour": "green"}, "colour"),
            ({"backoffice_id": "nobody"}, "backoffice_id"),
        ],
    )
    async def test_what_is_described_badly_is_refused_by_its_name(
        self,
        *,
        client: httpx.AsyncClient,
        manager: SignedIn,
        db: Database,
        changed: dict[str, Any],
        field: str,
    ) -> None:
        said = {name: value for name, value in {**SAID, **changed}.items() if value is not None}
        answer = await client.post(IMAGES, data=said, files={"file": ("a", b"x")}, headers=manager.headers)
        assert answer.status_code == 422, answer.text
        assert set(answer.json()["fields"]) == {field}
        if "colour" not in said:
            bare = await client.post(IMAGES, params=said, content=b"x", headers=manager.headers)
            assert bare.status_code == 422, bare.text
        assert await kept_files(db) == 0

    @pytest.mark.parametrize(
        ("body", "content_type"),
        [
            (b"", "application/octet-stream"),
            (b"garbage", "multipart/form-data; boundary=x"),
            (b"--x--\r\n", "multipart/form-data; boundary=x"),
        ],
    )
    async def test_no_file_is_refused(
        self, client: httpx.AsyncClient, manager: SignedIn, body: bytes, content_type: str
    ) -> None:
        headers = {**manager.headers, "Content-Type": content_type}
        answer = await client.post(IMAGES, params=SAID, content=body, headers=headers)
        assert answer.status_code == 422
        assert answer.json()["error"] == "ValidationError"

    async def test_the_same_version_twice_is_refused_whatever_its_case(
        self, client: httpx.AsyncClient, manager: SignedIn, add_image: AddImage, db: Database
    ) -> None:
        await add_image(**SAID)
        again = {**SAID, "vendor": "ACME"}
        answer = await client.post(IMAGES, params=again, content=b"other", headers=manager.headers)
        assert (answer.status_code, answer.json()["error"]) == (409, "FirmwareExists")
        assert await kept_files(db) == 1
        await add_image(vendor="Acme", version="2.0.0")


class TestScope:
    async def test_that_of_a_system_admin_is_for_all_and_only_he_deletes_it(
        self, client: httpx.AsyncClient, world: World, manager: SignedIn, add_image: AddImage
    ) -> None:
        admin = await world.admin()
        image = await add_image(by=admin)
        assert image["backoffice_id"] is None
        path = f"{IMAGES}/{image['id']}"
        assert (await client.get(path, headers=manager.headers)).status_code == 200
        assert (await client.delete(path, headers=manager.headers)).status_code == 403
        assert (await client.delete(path, headers=admin.headers)).status_code == 204
        assert (await client.get(path, headers=admin.headers)).status_code == 404

    async def test_another_business_neither_sees_nor_deletes_it(
        self, client: httpx.AsyncClient, world: World, add_image: AddImage
    ) -> None:
        image = await add_image()
        other = await world.user(Role.BACKOFFICE)
        for method, path in (
            ("GET", f"{IMAGES}/{image['id']}"),
            ("GET", f"{IMAGES}/{image['id']}/file"),
            ("DELETE", f"{IMAGES}/{image['id']}"),
        ):
            answer = await client.request(method, path, headers=other.headers)
            assert (answer.status_code, answer.json()["error"]) == (404, "FirmwareNotFound")
        listed = await client.get(IMAGES, headers=other.headers)
        assert listed.json()["items"] == []

    async def test_nobody_adds_for_another_business_and_an_operator_not_at_all(
        self, client: httpx.AsyncClient, world: World, manager: SignedIn, charger: Charger
    ) -> None:
        other = await world.backoffice()
        foreign = {**SAID, "backoffice_id": str(other.id)}
        answer = await client.post(IMAGES, params=foreign, content=b"x", headers=manager.headers)
        assert answer.status_code == 403
        operator = await world.user(Role.OPERATOR)
        answer = await client.post(IMAGES, params=SAID, content=b"x", headers=operator.headers)
        assert answer.status_code == 403
        admin = await world.admin()
        answer = await client.post(IMAGES, params=foreign, content=b"x", headers=admin.headers)
        assert answer.json()["backoffice_id"] == str(other.id)
        nobody = {**SAID, "backoffice_id": str(uuid4())}
        answer = await client.post(IMAGES, params=nobody, content=b"x", headers=admin.headers)
        assert answer.status_code == 404

    async def test_an_operator_sees_what_its_business_has(
        self, client: httpx.AsyncClient, world: World, charger: Charger, add_image: AddImage
    ) -> None:
        image = await add_image()
        operator = await world.user(Role.OPERATOR, await business_of(world, charger))
        answer = await client.get(f"{IMAGES}/{image['id']}/file", headers=operator.headers)
        assert (answer.status_code, answer.content) == (200, CONTENT)
        assert answer.headers["content-disposition"].startswith("attachment")


class TestList:
    async def test_by_vendor_and_model_in_pages(
        self, client: httpx.AsyncClient, manager: SignedIn, add_image: AddImage
    ) -> None:
        for number in range(3):
            await add_image(version=f"2.{number}", model="Fast 50" if number else "Slow")
        await add_image(vendor="Other")
        await add_image(version="3.0")

        async def versions(**asked: Any) -> list[str]:
            answer = await client.get(IMAGES, params=asked, headers=manager.headers)
            assert answer.status_code == 200, answer.text
            return sorted(item["version"] for item in answer.json()["items"])

        assert await versions(vendor="acme") == ["2.0", "2.1", "2.2", "3.0"]
        assert await versions(vendor="acme", model="FAST 50") == ["2.1", "2.2", "3.0"]
        assert await versions(q="other") == ["2.0.0"]
        first = (await client.get(IMAGES, params={"limit": 2}, headers=manager.headers)).json()
        rest = (
            await client.get(
                IMAGES, params={"limit": 9, "cursor": first["next_cursor"]}, headers=manager.headers
            )
        ).json()
        ids = [item["id"] for item in first["items"] + rest["items"]]
        assert (len(ids), len(set(ids)), first["total"]) == (5, 5, 5)


class TestDelete:
    async def test_its_file_goes_with_it(
        self, client: httpx.AsyncClient, manager: SignedIn, add_image: AddImage, app: FastAPI, db: Database
    ) -> None:
        image = await add_image()
        answer = await client.delete(f"{IMAGES}/{image['id']}", headers=manager.headers)
        assert answer.status_code == 204
        await app.state.files.sweep()
        async with db.session() as session:
            assert (await session.execute(select(func.count()).select_from(StoredFile))).scalar_one() == 0

    async def test_not_while_a_charger_may_still_get_it(
        self,
        *,
        client: httpx.AsyncClient,
        manager: SignedIn,
        add_image: AddImage,
        connect: Connect,
        charger: Charger,
    ) -> None:
        image = await add_image()
        connect()
        updates = f"/api/admin/chargers/{charger.id}/firmware-updates"
        made = await client.post(updates, json={"firmware_id": image["id"]}, headers=manager.headers)
        assert made.status_code == 201, made.text
        answer = await client.delete(f"{IMAGES}/{image['id']}", headers=manager.headers)
        assert (answer.status_code, answer.json()["error"]) == (409, "FirmwareInUse")

    async def test_one_that_is_not_there_is_404(self, client: httpx.AsyncClient, manager: SignedIn) -> None:
        for method in ("GET", "DELETE"):
            answer = await client.request(method, f"{IMAGES}/{uuid4()}", headers=manager.headers)
            assert answer.status_code == 404

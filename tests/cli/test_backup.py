"""A backup is the whole installation, and what comes back answers the same."""

import asyncio
import io
import json
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from pydantic import SecretStr
from tests.chargers import RawCharger
from tests.cli.running import ohmstead_in, reachable_folder
from tests.conftest import SECRET
from tests.energy.test_endpoints import wire
from tests.gateway.admin import admin_client
from tests.running import RunningServer
from tests.world import World

from ohmstead import backup
from ohmstead.core import migrations
from ohmstead.core.config import Settings
from ohmstead.core.errors import StartupError
from ohmstead.core.postgres import EmbeddedPostgres
from ohmstead.stations.models import Charger

FIRMWARE = b"firmware " * 1000
LISTS = (
    "/stations",
    "/chargers",
    "/transactions",
    "/id-tags",
    "/users",
    "/backoffices",
    "/ocpp/messages",
    "/audit",
    "/reservations",
    "/campaigns",
    "/charging-profiles",
    "/configuration-templates",
    "/local-list-rules",
    "/firmware",
)


def silent(done: int, total: int) -> None:
    assert done > 0
    assert total > 0


@pytest.fixture
async def filled(make_server: Any) -> AsyncIterator[tuple[RunningServer, dict[str, str], str]]:
    """A server with a session in it: the server, a SystemAdmin's headers, the transaction."""
    async with make_server() as server:
        world = World(server.database, server.settings, server.app.state.clock)
        charger, tag = await world.charger(), (await world.token()).id_tag
        admin = await world.admin()
        async with (
            admin_client(server.http, admin.headers) as client,
            await RawCharger.connect(server.ws, charger.id) as raw,
        ):
            await raw.boot()
            await reserve(client, raw, charger, tag)
            await fill_fleet(client, charger, await world.charger())
            transaction = (await raw.start(tag))["transactionId"]
            await raw.meter("2026-05-04T12:10:00Z", "1500", transaction=transaction)
            await raw.stop(transaction, 2500)
            await raw.start(tag, connector=2)
        yield server, admin.headers, str(transaction)


async def reserve(client: httpx.AsyncClient, raw: RawCharger, charger: Charger, tag: str) -> None:
    body = {"connector_id": 1, "id_tag": tag, "expires_at": "2099-01-01T00:00:00Z"}
    asked = asyncio.create_task(client.post(f"/api/admin/chargers/{charger.id}/reserve", json=body))
    await raw.answer(await raw.next_call(), {"status": "Accepted"})
    assert (await asked).json()["status"] == "Accepted"


async def fill_fleet(client: httpx.AsyncClient, charger: Charger, away: Charger) -> None:
    """Make one of each thing that a fleet has; the campaign waits for a charger that never comes."""
    owner = {"backoffice_id": str(charger.backoffice_id)}
    keys = {"HeartbeatInterval": "300"}
    bodies: dict[str, dict[str, Any]] = {
        "/charging-profiles": {"name": "Less", "profile": wire(), **owner},
        "/configuration-templates": {"name": "Ours", "keys": keys, **owner},
        "/local-list-rules": {"tags": {"all": True}, "charger_id": charger.id},
        "/campaigns": {
            "kind": "Configuration",
            "parameters": {"keys": keys},
            "chargers": {"charger_ids": [away.id]},
        },
    }
    for path, body in bodies.items():
        made = await client.post(f"/api/admin{path}", json=body)
        assert made.status_code == 201, made.text
    paused = await client.post(f"/api/admin/campaigns/{made.json()['id']}/pause")
    assert paused.status_code == 200, paused.text
    said = {"vendor": "Acme", "version": "2.0.0", **owner}
    image = await client.post("/api/admin/firmware", params=said, content=FIRMWARE)
    assert image.status_code == 201, image.text


async def answers(server: RunningServer, headers: dict[str, str], transaction: str) -> dict[str, Any]:
    async with admin_client(server.http, headers) as client:
        found = {}
        for path in (*LISTS, f"/transactions/{transaction}", f"/transactions/{transaction}/meter-values"):
            answer = await client.get(f"/api/admin{path}")
            assert answer.status_code == 200, answer.text
            found[path] = answer.json()
            assert path == "/audit" or found[path].get("items", True), f"{path} has nothing to compare"
    return found


def fresh(filled: RunningServer, url: str, folder: Path) -> Settings:
    return filled.settings.model_copy(update={"database_url": url, "data_dir": folder})


def tampered(file: Path, to: Path, change: Any) -> Path:
    """Copy a backup, each part as `change(name, content)` says; None leaves it out."""
    with tarfile.open(file) as old, tarfile.open(to, "w") as new:
        for member in old.getmembers():
            source = old.extractfile(member)
            content = change(member.name, source.read() if source else b"")
            if content is not None:
                member.size = len(content)
                new.addfile(member, io.BytesIO(content))
    return to


class TestThereAndBack:
    async def test_a_restored_copy_answers_the_same(
        self, filled: Any, make_server: Any, empty_database: str, tmp_path: Path
    ) -> None:
        server, headers, transaction = filled
        before = await answers(server, headers, transaction)
        file = tmp_path / "monday.tar"
        kept = backup.back_up(server.settings, file, advance=silent)
        assert (kept.files, kept.rows > 20, file.stat().st_mode & 0o777) == (1, True, 0o600)
        settings = fresh(server, empty_database, tmp_path / "new")
        back = backup.restore(settings, file, advance=silent)
        assert (back.rows, back.files) == (kept.rows, 1)
        assert migrations.pending(empty_database) == []
        async with make_server(database_url=empty_database, data_dir=tmp_path / "new") as copy:
            after = await answers(copy, headers, transaction)
            for path, answer in before.items():
                assert after[path] == answer, path
        [stored] = [one for one in (tmp_path / "new" / "files").rglob("*") if one.is_file()]
        assert stored.read_bytes() == FIRMWARE

    async def test_a_file_that_is_deleted_meanwhile_is_left_out_and_so_is_half_an_upload(
        self, filled: Any, empty_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server, _, _ = filled
        folder = server.settings.data_dir / "files"
        (folder / "00").mkdir(exist_ok=True)
        (folder / "00" / "beef#1").write_bytes(b"half")
        listed = backup._stored_files

        def with_one_that_goes(folder: Path) -> list[Path]:
            return [folder / "00" / "gone", *listed(folder)]

        monkeypatch.setattr(backup, "_stored_files", with_one_that_goes)
        file = tmp_path / "swept.tar"
        assert backup.back_up(server.settings, file, advance=silent).files == 1
        settings = fresh(server, empty_database, tmp_path / "new")
        assert backup.restore(settings, file, advance=silent).files == 1
        stored = [one for one in (tmp_path / "new" / "files").rglob("*") if one.is_file()]
        assert [one.read_bytes() for one in stored] == [FIRMWARE]

    async def test_files_in_a_bucket_stay_there(
        self, filled: Any, empty_database: str, tmp_path: Path
    ) -> None:
        server, _, _ = filled
        file, bucket = tmp_path / "bucket.tar", {"files_url": "s3://bucket/ohmstead"}
        settings = server.settings.model_copy(update=bucket)
        assert backup.back_up(settings, file, advance=silent).files == 0
        settings = fresh(server, empty_database, tmp_path / "new").model_copy(update=bucket)
        assert backup.restore(settings, file, advance=silent).files == 0

    async def test_what_is_written_meanwhile_does_not_tear_it(
        self, filled: Any, empty_database: str, tmp_path: Path
    ) -> None:
        server, _, _ = filled
        world = World(server.database, server.settings, server.app.state.clock)
        seen: list[int] = []

        def write(done: int, total: int) -> None:
            with psycopg.connect(server.settings.postgres_url, autocommit=True) as connection:
                connection.execute("INSERT INTO accounts_token (id, id_tag, status) VALUES"
                                   " (gen_random_uuid(), %s, 'Accepted')", [f"BUSY-{done}"])  # fmt: skip
            seen.append(done)

        await world.token()
        file = tmp_path / "busy.tar"
        backup.back_up(server.settings, file, advance=write)
        assert seen
        restored = backup.restore(fresh(server, empty_database, tmp_path / "b"), file, advance=silent)
        assert restored.rows > 0
        with psycopg.connect(empty_database) as connection:
            found = connection.execute("SELECT count(*) FROM accounts_token WHERE id_tag LIKE 'BUSY-%'")
            assert found.fetchone() == (0,)

    async def test_the_secret_key_goes_along_where_the_data_folder_keeps_it(
        self, filled: Any, empty_database: str, tmp_path: Path
    ) -> None:
        server, _, _ = filled
        kept = tmp_path / "kept"
        kept.mkdir()
        (kept / "secret.key").write_text("the-secret-of-this-installation-1234567890\n")
        settings = Settings.load(database_url=server.settings.postgres_url, data_dir=kept)
        file = tmp_path / "with.tar"
        assert backup.back_up(settings, file, advance=silent).with_secret_key
        target = Settings.load(database_url=empty_database, data_dir=tmp_path / "new")
        assert backup.restore(target, file, advance=silent).with_secret_key
        restored = tmp_path / "new" / "secret.key"
        assert restored.read_text() == (kept / "secret.key").read_text()
        assert restored.stat().st_mode & 0o777 == 0o600

    async def test_a_secret_that_is_set_elsewhere_is_not_in_it(self, filled: Any, tmp_path: Path) -> None:
        server, _, _ = filled
        settings = server.settings.model_copy(update={"secret_key": SecretStr(SECRET)})
        file = tmp_path / "without.tar"
        assert not backup.back_up(settings, file, advance=silent).with_secret_key
        assert SECRET.encode() not in file.read_bytes()


class TestRefusals:
    async def test_nothing_that_is_there_is_overwritten(self, filled: Any, tmp_path: Path) -> None:
        server, _, _ = filled
        file = tmp_path / "monday.tar"
        file.write_text("precious")
        with pytest.raises(StartupError, match="is there already"):
            backup.back_up(server.settings, file, advance=silent)
        assert file.read_text() == "precious"
        other = tmp_path / "other.tar"
        backup.back_up(server.settings, other, advance=silent)
        with pytest.raises(StartupError, match="not empty"):
            backup.restore(server.settings, other, advance=silent)

    async def test_a_folder_that_is_not_there_is_told(self, filled: Any, tmp_path: Path) -> None:
        server, _, _ = filled
        with pytest.raises(StartupError, match="cannot be written"):
            backup.back_up(server.settings, tmp_path / "no" / "monday.tar", advance=silent)

    async def test_a_damaged_or_foreign_file_changes_nothing(
        self, filled: Any, empty_database: str, tmp_path: Path
    ) -> None:
        server, _, _ = filled
        good = tmp_path / "good.tar"
        backup.back_up(server.settings, good, advance=silent)

        def flip(name: str, content: bytes) -> bytes:
            return content[:-1] + bytes([content[-1] ^ 1]) if name == "database.dump" else content

        def manifest(**changes: Any) -> Any:
            def change(name: str, content: bytes) -> bytes:
                if name != "manifest.json":
                    return content
                return json.dumps({**json.loads(content), **changes}).encode()

            return change

        def without(part: str) -> Any:
            return lambda name, content: None if name == part else content

        cases = {
            "damaged": flip,
            "has no database.dump": without("database.dump"),
            "has no manifest.json": without("manifest.json"),
            "is no backup": manifest(format="something else"),
            "newer": manifest(schema="9999"),
            "is no backup of": manifest(parts={"database.dump": "x", "../../etc/passwd": "x"}),
        }
        settings = fresh(server, empty_database, tmp_path / "new")
        for number, (reason, change) in enumerate(cases.items()):
            bad = tampered(good, tmp_path / f"bad-{number}.tar", change)
            with pytest.raises(StartupError, match=reason):
                backup.restore(settings, bad, advance=silent)
        (tmp_path / "text.tar").write_text("hello")
        for name in ("text.tar", "missing.tar"):
            with pytest.raises(StartupError, match="cannot be read"):
                backup.restore(settings, tmp_path / name, advance=silent)
        with psycopg.connect(empty_database) as connection:
            tables = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
            assert tables.fetchone() == (0,)
        assert not (tmp_path / "new" / "files").exists()

    async def test_a_restore_that_does_not_come_to_its_end_leaves_the_database_empty(
        self, filled: Any, empty_database: str, tmp_path: Path
    ) -> None:
        server, _, _ = filled
        file = tmp_path / "monday.tar"
        backup.back_up(server.settings, file, advance=silent)

        class Interrupted(Exception):
            pass

        def stop(done: int, total: int) -> None:
            raise Interrupted

        with pytest.raises(Interrupted):
            backup.restore(fresh(server, empty_database, tmp_path / "new"), file, advance=stop)
        backup.restore(fresh(server, empty_database, tmp_path / "again"), file, advance=silent)

    async def test_one_that_fails_takes_its_files_and_its_key_away_and_can_be_tried_again(
        self, filled: Any, empty_database: str, tmp_path: Path
    ) -> None:
        server, _, _ = filled
        source, target = tmp_path / "old", tmp_path / "new"
        for folder in (source, target):
            folder.mkdir()
            (folder / "secret.key").write_text(f"the secret key of the {folder.name} installation")
        (source / "files" / "ab").mkdir(parents=True)
        (source / "files" / "ab" / "cdef").write_bytes(FIRMWARE)
        (target / "files").mkdir()
        file = tmp_path / "monday.tar"
        old = Settings.load(database_url=server.settings.postgres_url, data_dir=source)
        new = Settings.load(database_url=empty_database, data_dir=target)
        backup.back_up(old, file, advance=silent)

        class Interrupted(Exception):
            pass

        def stop(done: int, total: int) -> None:
            assert (target / "files" / "ab" / "cdef").exists()
            raise Interrupted

        with pytest.raises(Interrupted):
            backup.restore(new, file, advance=stop)
        assert sorted(one.name for one in target.iterdir()) == ["files", "secret.key"]
        assert list((target / "files").iterdir()) == []
        assert "of the new" in (target / "secret.key").read_text()

        assert backup.restore(new, file, advance=silent).files == 1
        assert (target / "files" / "ab" / "cdef").read_bytes() == FIRMWARE
        assert "of the old" in (target / "secret.key").read_text()
        assert "of the new" in (target / "secret.key.before-restore").read_text()

    async def test_files_of_a_folder_are_not_lost_beside_a_bucket(
        self, filled: Any, empty_database: str, tmp_path: Path
    ) -> None:
        server, _, _ = filled
        file = tmp_path / "monday.tar"
        backup.back_up(server.settings, file, advance=silent)
        settings = fresh(server, empty_database, tmp_path / "new")
        bucket = settings.model_copy(update={"files_url": "s3://bucket/ohmstead"})
        with pytest.raises(StartupError, match="1 files of a data folder, and OHMSTEAD_FILES_URL is set"):
            backup.restore(bucket, file, advance=silent)
        assert backup.restore(settings, file, advance=silent).files == 1

    async def test_a_data_folder_that_cannot_be_used_is_told(
        self, filled: Any, empty_database: str, tmp_path: Path
    ) -> None:
        server, _, _ = filled
        file = tmp_path / "monday.tar"
        backup.back_up(server.settings, file, advance=silent)
        with pytest.raises(StartupError, match="cannot be unpacked"):
            backup.restore(fresh(server, empty_database, file), file, advance=silent)


class TestCommands:
    def test_an_embedded_installation_goes_into_a_file_and_comes_back_in_another_folder(
        self, tmp_path: Path
    ) -> None:
        with reachable_folder() as old, reachable_folder() as new:
            user = ("--email", "ada@example.com", "--role", "SystemAdmin", "--password-stdin")
            made = ohmstead_in(
                tmp_path, "user", "create", *user, given="correct-horse-9\n", OHMSTEAD_DATA_DIR=str(old)
            )
            assert made.returncode == 0, made.stderr
            (old / "files" / "ab").mkdir(parents=True)
            (old / "files" / "ab" / "cdef").write_bytes(FIRMWARE)

            done = ohmstead_in(tmp_path, "backup", OHMSTEAD_DATA_DIR=str(old))
            assert done.returncode == 0, done.stderr
            [file] = tmp_path.glob("ohmstead-????????-??????.tar")
            assert f"{file}: " in done.stdout
            assert ", 1 files, " in done.stdout
            assert "OHMSTEAD_SECRET_KEY and is not in it" in done.stderr

            done = ohmstead_in(tmp_path, "restore", file.name, OHMSTEAD_DATA_DIR=str(new))
            assert done.returncode == 0, done.stderr
            assert "and 1 files are back" in done.stdout
            assert (new / "files" / "ab" / "cdef").read_bytes() == FIRMWARE
            with EmbeddedPostgres(new, durable=False) as url, psycopg.connect(url) as connection:
                found = connection.execute("SELECT email FROM accounts_user").fetchall()
            assert found == [("ada@example.com",)]

            again = ohmstead_in(tmp_path, "restore", file.name, OHMSTEAD_DATA_DIR=str(new))
            assert again.returncode == 1
            assert "The database is not empty." in again.stderr
            assert "OHMSTEAD_DATA_DIR" in again.stderr

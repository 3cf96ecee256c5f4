"""A backup is the whole installation, and what comes back answers the same."""

import io
import json
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr
from tests.chargers import RawCharger
from tests.conftest import SECRET
from tests.gateway.admin import admin_client
from tests.running import RunningServer
from tests.world import World

from ohmstead import backup
from ohmstead.core import migrations
from ohmstead.core.config import Settings
from ohmstead.core.errors import StartupError

LISTS = (
    "/stations",
    "/chargers",
    "/transactions",
    "/id-tags",
    "/users",
    "/backoffices",
    "/ocpp/messages",
    "/audit",
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
        async with await RawCharger.connect(server.ws, charger.id) as raw:
            await raw.boot()
            transaction = (await raw.start(tag))["transactionId"]
            await raw.meter("2026-05-04T12:10:00Z", "1500", transaction=transaction)
            await raw.stop(transaction, 2500)
            await raw.start(tag, connector=2)

        async def chunks() -> AsyncIterator[bytes]:
            yield b"firmware " * 1000

        file = await server.app.state.files.put(chunks(), limit=100_000)
        async with server.database.session() as session:
            row = await session.merge(file)
            row.kept_at = world.clock.now()
        yield server, (await world.admin()).headers, str(transaction)


async def answers(server: RunningServer, headers: dict[str, str], transaction: str) -> dict[str, Any]:
    async with admin_client(server.http, headers) as client:
        found = {}
        for path in (*LISTS, f"/transactions/{transaction}", f"/transactions/{transaction}/meter-values"):
            answer = await client.get(f"/api/admin{path}")
            assert answer.status_code == 200, answer.text
            found[path] = answer.json()
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
        assert stored.read_bytes() == b"firmware " * 1000

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

"""A backup of an installation in one file, and bringing it back.

The file is a tar archive: `database.dump` (PostgreSQL's own format, by pg_dump), the files of the data
folder, the secret key where it is kept there, without which passwords of chargers and what is encrypted could
not be used, and `manifest.json` (what it is, the rows of every table, a digest of each part). So whoever has
the file has the installation: it is readable by its owner alone.

All of the database is of one moment, and a server may go on meanwhile. A file that it deletes before its turn
comes is left out.
"""

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from ohmstead.core import migrations
from ohmstead.core.config import SECRET_KEY_FILE, Settings
from ohmstead.core.errors import StartupError
from ohmstead.core.files import FOLDER
from ohmstead.core.postgres_host import wheel_binaries

FORMAT = "ohmstead-backup-1"
MANIFEST, DUMP = "manifest.json", "database.dump"
BLOCK = 1 << 20
ENVIRONMENT = {
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "port": "PGPORT",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "dbname": "PGDATABASE",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "options": "PGOPTIONS",
}

Advance = Callable[[int, int], None]
"""Told how much is done, and of how much."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What a backup holds."""

    file: Path
    size: int
    rows: int
    files: int
    with_secret_key: bool


def back_up(settings: Settings, file: Path, *, advance: Advance) -> Kept:
    """Write a backup to `file`, which must not be there yet. Raises `StartupError`; then nothing is there."""
    if file.exists():
        raise StartupError(f"{file} is there already.", "Name a file that is not there, or move it away.")
    pending = migrations.pending(settings.postgres_url)
    if pending:
        raise StartupError("The schema is not up to date.", "Run: ohmstead migrate")
    try:
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=".ohmstead-backup-") as folder:
            return _back_up(settings, file, Path(folder), advance)
    except OSError as error:
        raise StartupError(
            f"The backup cannot be written to {file}: {error.strerror or error}.",
            "Choose a folder that exists, may be written to, and has room.",
        ) from error


def _back_up(settings: Settings, file: Path, folder: Path, advance: Advance) -> Kept:
    dump = folder / DUMP
    with psycopg.connect(settings.postgres_url) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        counts = _counts(connection)
        [revision] = connection.execute("SELECT version_num FROM alembic_version").fetchone() or [""]
        [snapshot] = connection.execute("SELECT pg_export_snapshot()").fetchone() or [""]
        _run(
            settings,
            "pg_dump",
            ["--format=custom", "--no-owner", "--no-privileges", f"--snapshot={snapshot}", f"--file={dump}"],
            tables=_dumped(connection),
            advance=advance,
        )
    stored = settings.data_dir / FOLDER
    places = {DUMP: dump}
    if settings.files_url is None:
        places |= {f"{FOLDER}/{one.relative_to(stored)}": one for one in _stored_files(stored)}
    secret = settings.data_dir / SECRET_KEY_FILE
    if secret.is_file() and "secret_key" not in settings.model_fields_set:
        places[SECRET_KEY_FILE] = secret
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "version": version("ohmstead"),
        "schema": revision,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "rows": counts,
    }
    whole = folder / "whole.tar"
    with os.fdopen(os.open(whole, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        with tarfile.open(fileobj=out, mode="w") as archive:
            parts = _add_all(archive, places)
            told = json.dumps({**manifest, "parts": parts}, indent=1).encode()
            _add(archive, MANIFEST, io.BytesIO(told), len(told))
        out.flush()
        os.fsync(out.fileno())
    os.link(whole, file)  # fails where somebody was quicker
    files = sum(name.startswith(f"{FOLDER}/") for name in parts)
    return Kept(file, file.stat().st_size, sum(counts.values()), files, SECRET_KEY_FILE in parts)


def _stored_files(folder: Path) -> list[Path]:
    """Return the files of the data folder; an upload under way has `#` in its name and is none yet."""
    return sorted(one for one in folder.rglob("*") if "#" not in one.name and one.is_file())


def _add_all(archive: tarfile.TarFile, places: dict[str, Path]) -> dict[str, str]:
    """Add the parts and return the digest of each. A stored file that has been deleted meanwhile is none."""
    parts = {}
    for name, place in places.items():
        try:
            source = place.open("rb")
        except FileNotFoundError:
            if name.startswith(f"{FOLDER}/"):
                continue
            raise
        with source:
            parts[name] = _hashed(source)
            source.seek(0)
            _add(archive, name, source, os.fstat(source.fileno()).st_size)
    return parts


def restore(settings: Settings, file: Path, *, advance: Advance) -> Kept:
    """Bring a backup back into an empty database, and its files into an empty folder.

    Everything is checked before anything is changed. The files come first, and go again when the database,
    which is written in one transaction, does not take its part: then it can be tried again. A backup of an
    older version is migrated afterwards. Raises `StartupError`.
    """
    try:
        return _restore(settings, file, advance)
    except OSError as error:
        raise StartupError(
            f"The backup cannot be unpacked into {settings.data_dir}: {error.strerror or error}.",
            "OHMSTEAD_DATA_DIR must be a folder that may be written to and has room for the backup twice.",
        ) from error


def _restore(settings: Settings, file: Path, advance: Advance) -> Kept:
    with _opened(file) as archive:
        manifest = _manifest(archive, file)
        _require_empty(settings, manifest)
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=settings.data_dir, prefix=".restore-") as place:
            folder = Path(place)
            _unpack(archive, manifest, folder, file)
            with _placed(settings, folder):
                _run(
                    settings,
                    "pg_restore",
                    ["--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction", "--dbname="],
                    file=folder / DUMP,
                    tables=len(manifest["rows"]),
                    advance=advance,
                )
                with psycopg.connect(settings.postgres_url) as connection:
                    counts = _counts(connection)
                _require_same(counts, manifest["rows"])
    files = sum(name.startswith(f"{FOLDER}/") for name in manifest["parts"])
    migrations.upgrade(settings.postgres_url)
    return Kept(file, file.stat().st_size, sum(counts.values()), files, SECRET_KEY_FILE in manifest["parts"])


def _require_same(counts: dict[str, int], expected: dict[str, int]) -> None:
    wrong = sorted(name for name in counts.keys() | expected.keys() if counts.get(name) != expected.get(name))
    if wrong:
        raise StartupError(
            f"After the restore the rows of {', '.join(wrong)} are not those of the backup.",
            "Drop the database and try again; keep the backup, and report this.",
        )


def _counts(connection: psycopg.Connection[Any]) -> dict[str, int]:
    """Return the rows of every table of ours; those of partitions count at their table."""
    query = """
        SELECT relname FROM pg_class
         WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
         ORDER BY relname"""
    counts = {}
    for [name] in connection.execute(query).fetchall():
        statement = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(name))
        [count] = connection.execute(statement).fetchone() or [0]
        counts[name] = count
    return counts


def _dumped(connection: psycopg.Connection[Any]) -> int:
    query = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
    [count] = connection.execute(query).fetchone() or [0]
    return int(count)


def _run(
    settings: Settings,
    program: str,
    arguments: list[str],
    *,
    tables: int,
    advance: Advance,
    file: Path | None = None,
) -> None:
    """Run a program of PostgreSQL, which tells of each table on standard error. A password is no argument."""
    told = conninfo_to_dict(settings.postgres_url)
    environment = {
        **os.environ,
        **{ENVIRONMENT[name]: str(value) for name, value in told.items() if name in ENVIRONMENT},
    }
    words = [f"--dbname={told.get('dbname', '')}" if word == "--dbname=" else word for word in arguments]
    command = [str(wheel_binaries() / program), "--verbose", *words, *([str(file)] if file else [])]
    done, last = 0, ""
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            for line in process.stderr or ():
                if "dumping contents of table" in line or "processing data for table" in line:
                    done += 1
                    advance(done, tables)
                if "error:" in line or "fatal" in line.lower():
                    last = last or line.strip()
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        raise StartupError(
            f"{program} failed: {last.partition('error:')[2].strip() or last or process.returncode}",
            "See docs/backup.md; a server newer than our pg_dump needs its own.",
        )


def _hashed(source: IO[bytes]) -> str:
    hashed = hashlib.sha256()
    while block := source.read(BLOCK):
        hashed.update(block)
    return hashed.hexdigest()


def _add(archive: tarfile.TarFile, name: str, source: IO[bytes], size: int) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    archive.addfile(info, source)


@contextmanager
def _opened(file: Path) -> Iterator[tarfile.TarFile]:
    try:
        archive = tarfile.open(file, "r:")  # noqa: SIM115 # closed below
    except (OSError, tarfile.TarError) as error:
        raise StartupError(
            f"{file} cannot be read as a backup: {error}", "Name a file of `ohmstead backup`."
        ) from error
    with archive:
        yield archive


def _read(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    try:
        found = archive.extractfile(name)
    except (KeyError, tarfile.TarError, OSError):
        found = None
    if found is None:
        raise StartupError(f"The backup has no {name}.", "It is not whole: use another one.")
    return found


def _manifest(archive: tarfile.TarFile, file: Path) -> dict[str, Any]:
    try:
        manifest = json.load(_read(archive, MANIFEST))
        known = manifest["format"] == FORMAT
        parts = dict(manifest["parts"])
        known = known and DUMP in parts and isinstance(manifest["rows"], dict)
        known = known and all(_harmless(name) for name in parts)
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise StartupError(f"{file} is no backup of Ohmstead.", "Name a file of `ohmstead backup`.")
    return dict(manifest)


def _harmless(name: str) -> bool:
    """Tell whether a part has its place inside the folder that it is unpacked into."""
    path = Path(name)
    if path.is_absolute() or ".." in path.parts:
        return False
    return name in {DUMP, SECRET_KEY_FILE} or path.parts[0] == FOLDER


def _require_empty(settings: Settings, manifest: dict[str, Any]) -> None:
    if manifest["schema"] not in migrations.known():
        raise StartupError(
            f"The backup was made by version {manifest['version']}, which is newer than this one.",
            "Install that version, or a later one.",
        )
    with psycopg.connect(settings.postgres_url) as connection:
        tables = _counts(connection)
    if tables:
        raise StartupError(
            "The database is not empty.",
            "Restore into a new one: an empty OHMSTEAD_DATA_DIR, or a DATABASE_URL of a fresh database.",
        )
    stored = settings.data_dir / FOLDER
    brings = sum(name.startswith(f"{FOLDER}/") for name in manifest["parts"])
    if brings and settings.files_url is not None:
        raise StartupError(
            f"The backup has {brings} files of a data folder, and OHMSTEAD_FILES_URL is set.",
            f"Restore without it; then copy what is below {stored} to {settings.files_url} under the same"
            " names, and set it.",
        )
    if brings and stored.is_dir() and any(stored.iterdir()):
        raise StartupError(f"{stored} is not empty.", "Move it away: the files of the backup go there.")


def _unpack(archive: tarfile.TarFile, manifest: dict[str, Any], folder: Path, file: Path) -> None:
    """Unpack what the manifest names, and check every byte of it."""
    for name, expected in manifest["parts"].items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        with _read(archive, name) as source, place.open("wb") as out:
            while block := source.read(BLOCK):
                out.write(block)
        with place.open("rb") as written:
            found = _hashed(written)
        if found != expected:
            raise StartupError(f"{name} in {file} is damaged.", "Use another backup.")


@contextmanager
def _placed(settings: Settings, folder: Path) -> Iterator[None]:
    """Put the files and the secret key where they belong, and take them away again if the block fails."""
    with ExitStack() as undo:
        if (folder / SECRET_KEY_FILE).is_file():
            _place_secret(folder / SECRET_KEY_FILE, settings.data_dir / SECRET_KEY_FILE, undo)
        unpacked, stored = folder / FOLDER, settings.data_dir / FOLDER
        if unpacked.is_dir() and not stored.is_dir():
            stored.mkdir()
            undo.callback(stored.rmdir)
        for one in sorted(unpacked.glob("*")):  # into an empty folder, which may be another disk
            undo.callback(_remove, stored / one.name)
            shutil.move(one, stored / one.name)
        yield
        undo.pop_all()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _place_secret(secret: Path, place: Path, undo: ExitStack) -> None:
    """Put the secret key in its place; another one that is there is kept beside it."""
    if place.is_file():
        if place.read_text().strip() == secret.read_text().strip():
            return
        before = place.with_suffix(".key.before-restore")
        place.rename(before)
        undo.callback(before.rename, place)
    secret.chmod(0o600)
    secret.rename(place)
    undo.callback(place.unlink)

"""The schema of the database: what is missing, and bringing it up to date.

Migrations only go forwards: a backup is the way back. Two processes that migrate at once wait for
each other on an advisory lock, and the second one finds nothing to do.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from ohmstead.core.db import sqlalchemy_url
from ohmstead.core.errors import StartupError

LOCK = 7_305_126
"""The advisory lock of migrations; any number that nothing else of ours uses."""


def migrations_folder() -> Path:
    """Return the folder of the migrations: beside `src` in a source tree, inside the package in a wheel."""
    packaged = Path(__file__).parents[1] / "_migrations"
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / "migrations"


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    return config


def _connect(url: str) -> Connection:
    engine = create_engine(sqlalchemy_url(url), poolclass=NullPool, connect_args={"connect_timeout": 5})
    try:
        return engine.connect()
    except OperationalError as error:
        cause = str(error.orig).strip().splitlines()[0]
        raise StartupError(
            f"The database cannot be reached: {cause}",
            "Check DATABASE_URL, and that PostgreSQL runs and takes connections from this machine.",
        ) from error


def pending(url: str) -> list[str]:
    """Return the migrations that the database lacks, oldest first, as `revision: message`.

    Blocking. Raises `StartupError` when the database is unreachable, or newer than this program.
    """
    scripts = ScriptDirectory.from_config(_config())
    with _connect(url) as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    known = {script.revision for script in scripts.walk_revisions()}
    if current is not None and current not in known:
        raise StartupError(
            f"The database has the schema {current}, which this version of Ohmstead does not know.",
            "It was made by a newer version: install that one, or restore a backup.",
        )
    missing = []
    for script in scripts.walk_revisions():
        if script.revision == current:
            break
        missing.append(f"{script.revision}: {script.doc}")
    return missing[::-1]


def upgrade(url: str) -> None:
    """Bring the schema up to date. Blocking; doing it twice, or twice at once, is harmless."""
    config = _config()
    with _connect(url) as connection:
        connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": LOCK})
        connection.commit()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": LOCK})
        connection.commit()

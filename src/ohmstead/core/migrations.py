"""The schema of the database: what is missing, and bringing it up to date.

Migrations only go forwards: a backup is the way back. Two processes that migrate at once wait for
each other on an advisory lock, and the second one finds nothing to do.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import DBAPIError
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


@contextmanager
def _connection(url: str) -> Iterator[Connection]:
    engine = create_engine(sqlalchemy_url(url), poolclass=NullPool, connect_args={"connect_timeout": 5})
    try:
        connection = engine.connect()
    except DBAPIError as error:
        raise StartupError(
            f"The database cannot be reached: {_words(error.orig)}",
            "Check DATABASE_URL, and that PostgreSQL runs and takes connections from this machine.",
        ) from error
    try:
        with connection:
            yield connection
    except DBAPIError as error:
        raise refused(error) or error from error


def refused(error: Exception) -> StartupError | None:
    """The words for what a database refuses whatever we do; None for what is a fault of ours.

    `error` is of psycopg, or one that SQLAlchemy made of it.
    """
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, psycopg.errors.InsufficientPrivilege):
        hint = "Make the user of DATABASE_URL the owner of the database: it makes and changes tables."
    elif isinstance(cause, psycopg.errors.ReadOnlySqlTransaction):
        hint = "Check that DATABASE_URL names the primary server: a standby only reads."
    elif isinstance(cause, psycopg.OperationalError):
        hint = "See PostgreSQL's own log, mend what it says, and run this again: nothing is left half done."
    else:
        return None
    return StartupError(f"The database refuses: {_words(cause)}", hint)


def _words(error: object) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def known() -> set[str]:
    """Return the revisions that this program knows."""
    return {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}


def pending(url: str) -> list[str]:
    """Return the migrations that the database lacks, oldest first, as `revision: message`.

    Blocking. Raises `StartupError` when the database is unreachable, or newer than this program.
    """
    scripts = ScriptDirectory.from_config(_config())
    with _connection(url) as connection:
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


def upgrade(url: str, *, on_step: Callable[[], None] | None = None) -> None:
    """Bring the schema up to date. Blocking; doing it twice, or twice at once, is harmless.

    `on_step` is called after each migration, just before its commit.
    """
    config = _config()
    if on_step is not None:
        config.attributes["on_version_apply"] = lambda **_: on_step()
    with _connection(url) as connection:
        connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": LOCK})
        connection.commit()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": LOCK})
        connection.commit()

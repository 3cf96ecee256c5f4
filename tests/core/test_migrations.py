"""The schema: made once, however often and by however many; and it is what the models say."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine

from ohmstead.accounts import models as accounts
from ohmstead.charging import models as charging
from ohmstead.core import migrations
from ohmstead.core.db import Base, sqlalchemy_url
from ohmstead.core.errors import StartupError
from ohmstead.core.postgres import EmbeddedPostgres
from ohmstead.gateway import models as gateway
from ohmstead.notifications import models as notifications
from ohmstead.stations import models as stations

MODELS = (accounts, charging, gateway, notifications, stations)


@pytest.fixture
def empty(postgres: EmbeddedPostgres) -> Iterator[str]:
    """A database without a schema."""
    name = f"migrations_{uuid4().hex[:8]}"
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}".encode())
    yield postgres.url(name)
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as admin:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def test_an_empty_database_lacks_all_and_then_nothing(empty: str) -> None:
    lacking = migrations.pending(empty)
    assert lacking
    assert lacking[0].startswith("0001: ")
    migrations.upgrade(empty)
    assert migrations.pending(empty) == []


def test_doing_it_twice_changes_nothing(empty: str) -> None:
    migrations.upgrade(empty)
    with psycopg.connect(empty) as connection:
        connection.execute(
            "INSERT INTO accounts_backoffice VALUES (gen_random_uuid(), 'Kept', 'UTC', 'Active')"
        )
    migrations.upgrade(empty)
    with psycopg.connect(empty) as connection:
        assert connection.execute("SELECT name FROM accounts_backoffice").fetchall() == [("Kept",)]


def test_several_at_once_wait_for_each_other(empty: str) -> None:
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(migrations.upgrade, [empty] * 3))
    assert migrations.pending(empty) == []
    with psycopg.connect(empty) as connection:
        assert connection.execute("SELECT count(*) FROM alembic_version").fetchall() == [(1,)]
        held = (
            "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database"
            " WHERE locktype = 'advisory' AND datname = current_database()"
        )
        assert connection.execute(held).fetchall() == [(0,)]


def test_a_schema_that_is_newer_than_the_program_is_refused_with_what_to_do(empty: str) -> None:
    migrations.upgrade(empty)
    with psycopg.connect(empty) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StartupError, match="9999") as refused:
        migrations.pending(empty)
    assert "newer version" in refused.value.hint


def test_a_database_that_cannot_be_reached_is_told_without_its_password() -> None:
    with pytest.raises(StartupError, match="cannot be reached") as told:
        migrations.pending("postgresql://me:hidden-word@127.0.0.1:1/x")
    assert "hidden-word" not in told.value.message + told.value.hint


def test_the_schema_is_what_the_models_say(database_url: str) -> None:
    """Left out: the queue's tables, partitions, and expression indexes, which Alembic cannot compare."""
    assert {model.__name__ for model in MODELS}
    engine = create_engine(sqlalchemy_url(database_url))
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": False, "include_object": _ours}
        )
        differences = compare_metadata(context, Base.metadata)
    engine.dispose()
    assert differences == []


def _ours(_: Any, name: str | None, kind: str, reflected: bool, compared_to: Any) -> bool:
    if kind == "table" and reflected and compared_to is None:
        return name is not None and not name.startswith("procrastinate_") and "_p_" not in name
    return True


def test_every_index_of_the_models_is_there_as_it_is_written(database_url: str) -> None:
    """By name, with uniqueness and condition: what the comparison above does not look into."""
    with psycopg.connect(database_url) as connection:
        found = {
            str(name): str(definition)
            for name, definition in connection.execute(
                "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
            )
        }
    for table in Base.metadata.tables.values():
        for index in table.indexes:
            assert index.name is not None
            definition = found[str(index.name)]
            assert ("UNIQUE" in definition) == bool(index.unique), definition
            conditional = index.dialect_options["postgresql"]["where"] is not None
            assert (" WHERE " in definition) == conditional, definition


def test_a_source_tree_and_a_wheel_find_their_migrations() -> None:
    assert (migrations.migrations_folder() / "versions" / "0001_core.py").is_file()

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.cli.running import SECRET, ohmstead
from tests.running import free_port
from typer.testing import CliRunner

from ohmstead import cli
from ohmstead.core import migrations
from ohmstead.core.postgres import EmbeddedPostgres

NOBODY = "postgresql://ohmstead@127.0.0.1:1/ohmstead"
COMMANDS = [
    ("serve",),
    ("demo",),
    ("migrate",),
    ("simulate",),
    ("user", "create"),
    ("doctor",),
    ("bench",),
]


@pytest.fixture
def empty_database(postgres: EmbeddedPostgres, request: pytest.FixtureRequest) -> Iterator[str]:
    """A database without a schema."""
    name = f"empty_{abs(hash(request.node.nodeid))}"
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}".encode())
    yield postgres.url(name)
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as admin:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


class TestHelp:
    @pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
    def test_every_command_explains_itself_with_examples(self, command: tuple[str, ...]) -> None:
        done = CliRunner().invoke(cli.app, [*command, "--help"])
        assert done.exit_code == 0
        assert "Examples" in done.output
        assert f"ohmstead {' '.join(command)}" in done.output

    def test_help_imports_nothing_heavy(self) -> None:
        program = (
            "import sys, ohmstead.cli; "
            "print({'fastapi', 'sqlalchemy', 'alembic', 'uvicorn', 'ocpp', 'redis'} & set(sys.modules))"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "set()"

    def test_the_version_is_shown(self) -> None:
        done = ohmstead("--version")
        assert done.returncode == 0
        assert done.stdout.startswith("ohmstead ")

    def test_an_unknown_option_is_wrong_usage(self) -> None:
        assert ohmstead("serve", "--prot", "1").returncode == 2


class TestFaults:
    @pytest.mark.parametrize("command", [("serve",), ("demo",), ("migrate",), ("doctor",)], ids=" ".join)
    def test_wrong_settings_are_told_by_name_with_exit_code_2(self, command: tuple[str, ...]) -> None:
        done = ohmstead(*command, OHMSTEAD_JWT_MINUTES="soon", OHMSTEAD_LOG_LEVEL="loud")
        assert done.returncode == 2
        assert "OHMSTEAD_JWT_MINUTES: must be a whole number" in done.stderr
        assert "OHMSTEAD_LOG_LEVEL: must be" in done.stderr

    @pytest.mark.parametrize("command", [("serve",), ("demo",), ("migrate",)], ids=" ".join)
    def test_an_unreachable_database_is_told_in_words(self, command: tuple[str, ...], tmp_path: Path) -> None:
        done = ohmstead(
            *command, DATABASE_URL=NOBODY, OHMSTEAD_DATA_DIR=str(tmp_path), OHMSTEAD_PORT=str(free_port())
        )
        assert done.returncode == 1
        assert "The database cannot be reached" in done.stderr
        assert "DATABASE_URL" in done.stderr

    @pytest.mark.parametrize("command", ["serve", "demo"])
    def test_a_taken_port_is_told_before_anything_is_started(
        self, command: str, taken_port: int, tmp_path: Path
    ) -> None:
        done = ohmstead(command, "--port", str(taken_port), OHMSTEAD_DATA_DIR=str(tmp_path / "data"))
        assert done.returncode == 1
        assert f"port {taken_port}: address already in use" in done.stderr
        assert not (tmp_path / "data").exists()

    def test_serve_refuses_a_schema_that_is_behind(self, empty_database: str, tmp_path: Path) -> None:
        done = ohmstead(
            "serve",
            DATABASE_URL=empty_database,
            OHMSTEAD_PORT=str(free_port()),
            OHMSTEAD_DATA_DIR=str(tmp_path),
        )
        assert done.returncode == 1
        assert "ohmstead migrate" in done.stderr

    def test_the_demo_refuses_production(self) -> None:
        done = ohmstead("demo", ENVIRONMENT="production", DATABASE_URL=NOBODY)
        assert done.returncode == 2
        assert "passwords that all know" in done.stderr


class TestMigrate:
    def test_an_empty_database_gets_its_schema_and_is_then_up_to_date(self, empty_database: str) -> None:
        assert ohmstead("migrate", "--check", DATABASE_URL=empty_database).returncode == 1
        assert migrations.pending(empty_database)
        assert ohmstead("migrate", DATABASE_URL=empty_database).returncode == 0
        assert migrations.pending(empty_database) == []
        again = ohmstead("migrate", "--check", DATABASE_URL=empty_database)
        assert (again.returncode, again.stdout) == (0, "The schema is up to date.\n")


class TestUserCreate:
    def create(self, database: str, *arguments: str, password: str) -> "subprocess.CompletedProcess[str]":
        return ohmstead(
            "user", "create", *arguments, "--password-stdin", given=f"{password}\n", DATABASE_URL=database
        )

    def test_a_user_is_made_once_and_its_password_is_not_kept(self, database_factory: Any) -> None:
        database = database_factory("cli_user")
        ada = ("--email", "Ada@Example.com", "--role", "systemadmin")
        done = self.create(database, *ada, password="a-long-enough-password")
        assert done.returncode == 0, done.stderr
        with psycopg.connect(database) as connection:
            rows = connection.execute("SELECT role, password_hash FROM accounts_user").fetchall()
        assert [role for role, _ in rows] == ["SystemAdmin"]
        assert "a-long-enough-password" not in rows[0][1]
        again = self.create(database, *ada, password="another-long-password")
        assert again.returncode == 1
        assert "already" in again.stderr

    def test_a_business_that_is_named_is_made_once(self, database_factory: Any) -> None:
        database = database_factory("cli_business")
        for email in ("office@voltco.com", "second@voltco.com"):
            office = ("--email", email, "--role", "Backoffice", "--business", "VoltCo")
            done = self.create(database, *office, password="a-long-enough-password")
            assert done.returncode == 0, done.stderr
        with psycopg.connect(database) as connection:
            rows = connection.execute(
                "SELECT b.name, count(*) FROM accounts_user u JOIN accounts_backoffice b"
                " ON b.id = u.backoffice_id GROUP BY b.name"
            ).fetchall()
        assert rows == [("VoltCo", 2)]

    def test_a_rule_that_is_broken_is_told(self, database_factory: Any) -> None:
        done = self.create(
            database_factory("cli_rule"),
            "--email",
            "op@example.com",
            "--role",
            "Operator",
            password="long-enough-pw",
        )
        assert done.returncode == 1
        assert "business" in done.stderr

    def test_an_unknown_role_is_wrong_usage_and_names_the_roles(self) -> None:
        done = self.create(NOBODY, "--email", "a@example.com", "--role", "King", password="x")
        assert done.returncode == 2
        assert "SystemAdmin, Backoffice, Operator, EvOwner" in done.stderr

    def test_without_a_schema_it_says_how_to_make_it(self, empty_database: str) -> None:
        done = self.create(empty_database, "--email", "a@example.com", "--role", "EvOwner", password="x" * 12)
        assert done.returncode == 1
        assert "ohmstead migrate" in done.stderr


class TestSimulate:
    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (("--url", "http://localhost:8000"), "is no address such as ws://"),
            (("--scenario", "nowhere/*.yaml"), "no file matches"),
            (("--chargers", "0"), "chargers"),
        ],
    )
    def test_wrong_usage_is_told(self, arguments: tuple[str, ...], says: str) -> None:
        done = ohmstead("simulate", *arguments)
        assert done.returncode == 2
        assert says in done.stderr

    def test_a_faulty_scenario_is_told_with_file_and_line(self, tmp_path: Path) -> None:
        (tmp_path / "bad.yaml").write_text("name: bad\ndescription: x\nsteps:\n  - fly: 1\n")
        done = ohmstead("simulate", "--scenario", str(tmp_path / "bad.yaml"))
        assert done.returncode == 2
        assert "bad.yaml:4" in done.stderr
        assert "fly" in done.stderr

    def test_a_pattern_may_be_spread_by_the_shell(self, tmp_path: Path) -> None:
        good = "name: good\ndescription: x\nsteps:\n  - wait: 1s\n"
        for name, text in (
            ("a", good),
            ("b", good),
            ("c", "name: bad\ndescription: x\nsteps:\n  - fly: 1\n"),
        ):
            (tmp_path / f"{name}.yaml").write_text(text)
        done = ohmstead("simulate", "--scenario", *(str(tmp_path / f"{name}.yaml") for name in "abc"))
        assert done.returncode == 2
        assert "c.yaml:4" in done.stderr

    def test_when_nobody_listens_it_ends_after_its_time_and_failed(self) -> None:
        done = ohmstead("simulate", "--url", f"ws://127.0.0.1:{free_port()}/ocpp", "--duration", "1.5")
        assert done.returncode == 1
        assert "0 of 1 connected" in done.stdout


class TestDoctor:
    def test_all_well_ends_with_0_and_json_says_each_check(self, database_url: str, tmp_path: Path) -> None:
        done = ohmstead(
            "doctor",
            "--json",
            DATABASE_URL=database_url,
            OHMSTEAD_PORT=str(free_port()),
            OHMSTEAD_DATA_DIR=str(tmp_path),
        )
        findings = {finding["check"]: finding for finding in json.loads(done.stdout)}
        assert done.returncode == 0, done.stdout
        assert {"database", "schema", "clock", "redis", "port", "secret key"} <= set(findings)
        assert SECRET not in done.stdout

    def test_what_fails_is_told_with_its_remedy_and_ends_with_1(self, tmp_path: Path) -> None:
        done = ohmstead(
            "doctor",
            DATABASE_URL=NOBODY,
            REDIS_URL="redis://127.0.0.1:1/0",
            OHMSTEAD_PORT=str(free_port()),
            OHMSTEAD_DATA_DIR=str(tmp_path),
        )
        assert done.returncode == 1
        assert "✗ database cannot be reached" in done.stdout
        assert "✗ redis does not answer" in done.stdout
        assert "Check REDIS_URL" in done.stdout


def test_the_benchmark_says_that_it_needs_the_source_tree(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(cli, "__file__", str(tmp_path / "lib" / "ohmstead" / "cli.py"))
    done = CliRunner().invoke(cli.app, ["bench"])
    assert done.exit_code == 2
    assert "source tree" in done.output

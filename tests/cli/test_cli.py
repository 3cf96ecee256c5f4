import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.cli.certificates import pair
from tests.cli.running import SECRET, ohmstead, ohmstead_in, told
from tests.running import free_port
from typer.testing import CliRunner

from ohmstead import cli
from ohmstead.core import migrations
from ohmstead.core.postgres import EmbeddedPostgres

NOWHERE = "00000000-0000-4000-8000-000000000000"
NOBODY = "postgresql://ohmstead@127.0.0.1:1/ohmstead"
COMMANDS = [
    ("serve",),
    ("demo",),
    ("migrate",),
    ("simulate",),
    ("user", "create"),
    ("audit", "verify"),
    ("doctor",),
    ("bench",),
]


@pytest.fixture
def reader(postgres: EmbeddedPostgres) -> Iterator[str]:
    """A database user with no rights but to sign in."""
    name = f"reader_{os.getpid()}"
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {name} LOGIN".encode())
        yield name
        admin.execute(f"DROP ROLE {name}".encode())


def as_user(url: str, user: str) -> str:
    """The URL of a database for another user."""
    return url.replace("ohmstead@", f"{user}@", 1)


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
        done = told(*command, OHMSTEAD_JWT_MINUTES="soon", OHMSTEAD_LOG_LEVEL="loud")
        assert done.returncode == 2
        assert "OHMSTEAD_JWT_MINUTES: must be a whole number" in done.stderr
        assert "OHMSTEAD_LOG_LEVEL: must be" in done.stderr

    @pytest.mark.parametrize("command", [("serve",), ("demo",), ("migrate",)], ids=" ".join)
    def test_an_unreachable_database_is_told_in_words(self, command: tuple[str, ...], tmp_path: Path) -> None:
        run = ohmstead if "serve" in command else told  # the server runs in a process of its own
        done = run(
            *command, DATABASE_URL=NOBODY, OHMSTEAD_DATA_DIR=str(tmp_path), OHMSTEAD_PORT=str(free_port())
        )
        assert done.returncode == 1
        assert "The database cannot be reached" in done.stderr
        assert "DATABASE_URL" in done.stderr

    @pytest.mark.parametrize("command", ["serve", "demo"])
    def test_a_taken_port_is_told_before_anything_is_started(
        self, command: str, taken_port: int, tmp_path: Path
    ) -> None:
        done = told(command, "--port", str(taken_port), OHMSTEAD_DATA_DIR=str(tmp_path / "data"))
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

    @pytest.mark.parametrize("command", [("serve",), ("demo",), ("migrate",)], ids=" ".join)
    def test_a_database_user_without_rights_is_told_in_words(
        self, command: tuple[str, ...], empty_database: str, reader: str, tmp_path: Path
    ) -> None:
        done = told(
            *command,
            DATABASE_URL=as_user(empty_database, reader),
            OHMSTEAD_PORT=str(free_port()),
            OHMSTEAD_DATA_DIR=str(tmp_path),
        )
        assert done.returncode == 1
        assert ("permission denied" in done.stderr) == (command != ("serve",)), done.stderr
        assert "DATABASE_URL" in done.stderr or "ohmstead migrate" in done.stderr

    @pytest.mark.parametrize(
        "command",
        [
            ("serve",),
            ("demo",),
            ("migrate",),
            ("user", "create", "--email", "a@example.com", "--role", "EvOwner", "--password-stdin"),
        ],
        ids=" ".join,
    )
    def test_tables_of_another_database_user_are_told_in_words(
        self, command: tuple[str, ...], database_url: str, reader: str, tmp_path: Path
    ) -> None:
        run = ohmstead if "serve" in command else told  # the server runs in a process of its own
        done = run(
            *command,
            given="a-long-enough-password\n",
            DATABASE_URL=as_user(database_url, reader),
            OHMSTEAD_PORT=str(free_port()),
            OHMSTEAD_DATA_DIR=str(tmp_path),
        )
        assert done.returncode == 1
        assert "permission denied" in done.stderr
        assert "the user of DATABASE_URL" in done.stderr

    @pytest.mark.parametrize("command", [("serve",), ("demo",)], ids=" ".join)
    def test_a_database_that_only_reads_is_told_in_words(
        self, command: tuple[str, ...], database_factory: Any, postgres: EmbeddedPostgres, tmp_path: Path
    ) -> None:
        database = database_factory("cli_standby")
        name = psycopg.conninfo.conninfo_to_dict(database)["dbname"]
        with psycopg.connect(postgres.url("postgres"), autocommit=True) as admin:
            admin.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on".encode())
        run = ohmstead if "serve" in command else told  # the server runs in a process of its own
        done = run(
            *command,
            DATABASE_URL=database,
            OHMSTEAD_PORT=str(free_port()),
            OHMSTEAD_DATA_DIR=str(tmp_path),
        )
        assert done.returncode == 1
        assert "read-only" in done.stderr

    @pytest.mark.parametrize(
        ("name", "value"),
        [("DATABASE_URL", "postgresql://u:p@h:notaport/x"), ("REDIS_URL", "redis://localhost:notaport")],
    )
    @pytest.mark.parametrize("command", ["migrate", "doctor"])
    def test_a_port_that_is_no_number_is_told_by_name(self, command: str, name: str, value: str) -> None:
        done = told(command, **{name: value})
        assert done.returncode == 2
        assert f"{name}: must be" in done.stderr

    @pytest.mark.parametrize("command", ["serve", "demo"])
    def test_a_certificate_that_cannot_be_used_is_told_before_anything_is_started(
        self, command: str, tmp_path: Path
    ) -> None:
        (tmp_path / "garbage").write_text("garbage")
        certificate, key = pair(tmp_path, "a")
        for cert, given in ((tmp_path / "nowhere", key), (certificate, tmp_path / "garbage")):
            done = told(
                command,
                OHMSTEAD_PORT=str(free_port()),
                OHMSTEAD_DATA_DIR=str(tmp_path / "data"),
                OHMSTEAD_TLS_CERT=str(cert),
                OHMSTEAD_TLS_KEY=str(given),
            )
            assert done.returncode == 1
            assert "OHMSTEAD_TLS_" in done.stderr
        assert not (tmp_path / "data").exists()

    @pytest.mark.parametrize("command", ["serve", "demo"])
    def test_a_taken_port_for_chargers_names_its_own_setting(
        self, command: str, taken_port: int, tmp_path: Path
    ) -> None:
        done = told(
            command,
            "--port",
            str(free_port()),
            OHMSTEAD_OCPP_PORT=str(taken_port),
            OHMSTEAD_DATA_DIR=str(tmp_path / "data"),
        )
        assert done.returncode == 1
        assert f"port {taken_port}: address already in use" in done.stderr
        assert "OHMSTEAD_OCPP_PORT" in done.stderr
        assert "--port" not in done.stderr
        assert not (tmp_path / "data").exists()

    def test_an_address_of_another_machine_names_the_host(self, tmp_path: Path) -> None:
        done = told("serve", "--host", "192.0.2.1", OHMSTEAD_DATA_DIR=str(tmp_path / "data"))
        assert done.returncode == 1
        assert "OHMSTEAD_HOST" in done.stderr

    @pytest.mark.parametrize("command", ["serve", "doctor"])
    def test_a_data_folder_that_is_a_file_or_may_not_be_written_is_told(
        self, command: str, tmp_path: Path
    ) -> None:
        (tmp_path / "file").touch()
        for folder in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/ohmstead")):
            done = told(command, OHMSTEAD_DATA_DIR=str(folder), OHMSTEAD_PORT=str(free_port()))
            assert done.returncode == 1
            assert str(folder) in done.stderr + done.stdout
            assert "OHMSTEAD_DATA_DIR" in done.stderr + done.stdout

    @pytest.mark.parametrize("command", ["serve", "doctor"])
    def test_a_dotenv_file_that_is_no_text_is_told(self, command: str, tmp_path: Path) -> None:
        (tmp_path / ".env").write_bytes(b"OHMSTEAD_MAIL_NAME=K\xe4the\n")
        done = ohmstead_in(tmp_path, command)
        assert done.returncode == 2
        assert ".env: is no UTF-8 text" in done.stderr

    def test_a_first_administrator_that_breaks_the_rules_is_told_by_name(
        self, database_url: str, tmp_path: Path
    ) -> None:
        done = ohmstead(
            "serve",
            DATABASE_URL=database_url,
            OHMSTEAD_PORT=str(free_port()),
            OHMSTEAD_DATA_DIR=str(tmp_path),
            OHMSTEAD_ADMIN_EMAIL="ada@example.com",
            OHMSTEAD_ADMIN_PASSWORD="x",
        )
        assert done.returncode == 2
        assert "OHMSTEAD_ADMIN_PASSWORD: needs at least" in done.stderr

    def test_the_demo_refuses_production(self) -> None:
        done = told("demo", ENVIRONMENT="production", DATABASE_URL=NOBODY)
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
        return told(
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

    @pytest.mark.parametrize(
        ("given", "says"),
        [(b"\n", "the password is empty"), (b"", "the password is empty"), (b"\xff\xfe\n", "no UTF-8 text")],
    )
    def test_a_password_that_cannot_be_one_is_wrong_usage(self, given: bytes, says: str) -> None:
        person = ("--email", "a@example.com", "--role", "EvOwner")
        done = told("user", "create", *person, "--password-stdin", given=given, DATABASE_URL=NOBODY)
        assert done.returncode == 2
        assert says in done.stderr

    def test_where_no_terminal_is_it_says_how_to_give_the_password(self) -> None:
        done = ohmstead(
            "user", "create", "--email", "a@example.com", "--role", "EvOwner", DATABASE_URL=NOBODY
        )
        assert done.returncode == 2
        assert "--password-stdin" in done.stderr

    @pytest.mark.parametrize("name", ["", "  ", "x" * 201])
    def test_a_name_that_no_business_can_have_is_wrong_usage(self, name: str) -> None:
        office = ("--email", "a@example.com", "--role", "Backoffice", "--business", name)
        done = self.create(NOBODY, *office, password="a-long-enough-password")
        assert done.returncode == 2
        assert "1 to 200 characters" in done.stderr

    @pytest.mark.parametrize(
        ("person", "says"),
        [
            (("--email", "nobody", "--role", "EvOwner"), "not an e-mail address"),
            (("--email", "a@example.com", "--role", "Operator", "--backoffice", NOWHERE), "no such business"),
        ],
    )
    def test_what_the_accounts_refuse_is_told_in_words(
        self, database_url: str, person: tuple[str, ...], says: str
    ) -> None:
        done = self.create(database_url, *person, password="a-long-enough-password")
        assert done.returncode == 1
        assert says in done.stderr

    def test_without_a_schema_it_says_how_to_make_it(self, empty_database: str) -> None:
        done = self.create(empty_database, "--email", "a@example.com", "--role", "EvOwner", password="x" * 12)
        assert done.returncode == 1
        assert "ohmstead migrate" in done.stderr


class TestSimulate:
    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (("--url", "http://localhost:8000"), "is no address such as ws://"),
            (("--url", "ws://localhost:notaport"), "is no address such as ws://"),
            (("--url", "ws://[::1"), "is no address such as ws://"),
            (("--chargers", "1000000000"), "chargers"),
            (("--speed", "nan"), "speed"),
            (("--speed", "1e300"), "speed"),
            (("--duration", "inf"), "duration"),
            (("--scenario", "/"), "no scenario file"),
            (("--scenario", "nowhere/*.yaml"), "no file matches"),
            (("--chargers", "0"), "chargers"),
        ],
    )
    def test_wrong_usage_is_told(self, arguments: tuple[str, ...], says: str) -> None:
        done = told("simulate", *arguments)
        assert done.returncode == 2
        assert says in done.stderr

    def test_a_faulty_scenario_is_told_with_file_and_line(self, tmp_path: Path) -> None:
        (tmp_path / "bad.yaml").write_text("name: bad\ndescription: x\nsteps:\n  - fly: 1\n")
        done = told("simulate", "--scenario", str(tmp_path / "bad.yaml"))
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
        done = told("simulate", "--scenario", *(str(tmp_path / f"{name}.yaml") for name in "abc"))
        assert done.returncode == 2
        assert "c.yaml:4" in done.stderr

    def test_when_nobody_listens_it_ends_after_its_time_and_failed(self) -> None:
        done = told("simulate", "--url", f"ws://127.0.0.1:{free_port()}/ocpp", "--duration", "1.5")
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

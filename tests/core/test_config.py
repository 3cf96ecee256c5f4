import builtins
import contextlib
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from ohmstead.core.config import (
    Settings,
    SettingsError,
    default_data_dir,
    env_name,
    kept_secret_key,
    known_env_names,
    unknown_env_names,
)

ABSURD = (
    "",
    " ",
    "-1",
    "0",
    "9" * 400,
    "1e400",
    "nan",
    "-inf",
    "true",
    "..",
    "[::1",
    "://",
    "~nobody/x",
    "x" * 9999,
    "\udcff",
    "ä",
)
LONG = "a-secret-key-of-more-than-thirty-two-characters"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable and no `.env` of the machine that runs the tests."""
    for name in known_env_names() | set(unknown_env_names()):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def faults_of(**overrides: object) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        Settings.load(**overrides)
    return caught.value.faults


class TestReading:
    def test_nothing_set_is_a_development_server_with_an_embedded_database(self) -> None:
        settings = Settings.load()
        assert settings.embedded
        assert settings.environment == "development"
        assert (settings.host, settings.port) == (None, 8000)
        assert settings.public_url == "http://localhost:8000"

    @pytest.mark.parametrize(
        "given",
        ["postgres", "postgresql", "postgresql+psycopg", "postgresql+asyncpg", "postgres+psycopg"],
    )
    def test_every_spelling_of_a_postgresql_address_becomes_the_same(
        self, monkeypatch: pytest.MonkeyPatch, given: str
    ) -> None:
        monkeypatch.setenv("DATABASE_URL", f"{given}://u:p%40@db:5433/x?sslmode=require")
        assert Settings.load().postgres_url == "postgresql://u:p%40@db:5433/x?sslmode=require"

    def test_port_is_taken_from_the_name_that_platforms_set(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PORT", "9100")
        settings = Settings.load()
        assert settings.port == 9100
        assert settings.public_url == "http://localhost:9100"

    def test_our_own_port_wins_over_the_platforms(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PORT", "9100")
        monkeypatch.setenv("OHMSTEAD_PORT", "9200")
        assert Settings.load().port == 9200

    def test_an_argument_wins_over_the_environment_and_none_means_not_given(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OHMSTEAD_PORT", "9200")
        assert Settings.load(port=9300).port == 9300
        assert Settings.load(port=None).port == 9200

    def test_an_empty_variable_counts_as_not_set(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("REDIS_URL", "")
        monkeypatch.setenv("OHMSTEAD_OCPP_PORT", "")
        settings = Settings.load()
        assert settings.redis_url is None
        assert settings.ocpp_port is None

    def test_a_dotenv_file_is_read_and_the_environment_wins_over_it(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (tmp_path / ".env").write_text(
            "OHMSTEAD_PORT=9400\nOHMSTEAD_LOG_LEVEL=debug\nDATABASE_URL=postgres://a/b\n"
        )
        monkeypatch.setenv("OHMSTEAD_LOG_LEVEL", "error")
        settings = Settings.load()
        assert (settings.port, settings.log_level) == (9400, "ERROR")
        assert settings.database_url == "postgresql://a/b"

    def test_trusted_proxies_are_addresses_and_networks_between_commas(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OHMSTEAD_TRUSTED_PROXIES", "127.0.0.1, 10.1.2.3/8,fd00::/8,")
        expected = (ip_network("127.0.0.1/32"), ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
        assert Settings.load().trusted_proxies == expected

    def test_a_public_address_has_no_slash_at_its_end(self) -> None:
        assert (
            Settings.load(public_url="https://charge.example.com/").public_url == "https://charge.example.com"
        )

    def test_with_a_certificate_the_public_address_is_https(self, tmp_path: Path) -> None:
        settings = Settings.load(tls_cert=tmp_path / "c.pem", tls_key=tmp_path / "k.pem", port=8443)
        assert settings.public_url == "https://localhost:8443"

    def test_settings_do_not_change(self) -> None:
        settings = Settings.load()
        with pytest.raises(ValueError, match="frozen"):
            settings.port = 1

    def test_every_setting_is_in_the_example_file_and_nothing_else_is(self) -> None:
        example = Path(__file__).parents[2] / ".env.example"
        lines = [line.lstrip("# ") for line in example.read_text().splitlines() if "=" in line]
        named = {line.partition("=")[0] for line in lines}
        assert named == {env_name(field) for field in Settings.model_fields}


class TestFaults:
    def test_each_fault_is_a_line_that_begins_with_the_name_to_change(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PORT", "eighty")
        monkeypatch.setenv("OHMSTEAD_JWT_MINUTES", "0")
        monkeypatch.setenv("OHMSTEAD_LOG_FORMAT", "xml")
        assert set(faults_of()) == {
            "OHMSTEAD_PORT: must be a whole number (is 'eighty')",
            "OHMSTEAD_JWT_MINUTES: must be at least 1 (is '0')",
            "OHMSTEAD_LOG_FORMAT: must be 'auto', 'json' or 'console' (is 'xml')",
        }

    @pytest.mark.parametrize(
        ("field", "value", "says"),
        [
            ("port", 70000, "at most 65535"),
            ("database_url", "mysql://root:hunter2@db/x", "must be a PostgreSQL address"),
            ("redis_url", "http://cache", "must be a Redis address"),
            ("admin_email", "nobody", "must be an e-mail address"),
            ("public_url", "charge.example.com", "must be an address such as https://"),
            ("public_url", "https://[::1", "must be an address such as https://"),
            ("public_url", "https://charge.example.com:notaport", "must be an address such as https://"),
            ("public_url", "https://charge example.com", "must be an address such as https://"),
            ("trusted_proxies", "10.0.0.0/8,proxy", "'proxy' is no IP address"),
            ("host", "..", "must be an address or a name of this machine"),
            ("host", "http://localhost", "must be an address or a name of this machine"),
            ("host", "x" * 64, "must be an address or a name of this machine"),
            ("data_dir", "~nobody-is-called-so/data", "must be a folder"),
            ("metrics_token", "with a blank", "must be letters, digits and signs without blanks"),
            ("metrics_token", "gehäim", "must be letters, digits and signs without blanks"),
            ("message_log_days", 36_501, "must be at most 36500"),
            ("ocpp_refusals_per_minute", -1, "must be at least 0"),
            ("refusal_log_rows", 10**12, "must be at most 10000000"),
            ("shutdown_grace_seconds", "nan", "must be a number"),
            ("ocpp_call_timeout", "inf", "must be a number"),
            ("ocpp_ping_interval", 0, "must be more than 0"),
            ("ocpp_call_timeout", "soon", "must be a number"),
            ("environment", "staging", "must be 'development', 'production' or 'test'"),
        ],
    )
    def test_a_wrong_value_is_told_in_words(self, field: str, value: object, says: str) -> None:
        (fault,) = faults_of(**{field: value})
        assert fault.startswith(f"{env_name(field)}: ")
        assert says in fault

    @pytest.mark.parametrize(
        ("url", "says"),
        [
            ("postgresql://u:hunter2@db:notaport/x", "port"),
            ("postgresql://u:hunter2@db:0/x", "port"),
            ("postgresql://u:hunter2@db:70000/x", "port"),
            ("postgresql://u:hunter2@[::1/x", "must be a PostgreSQL address"),
            ("postgresql://u:hunter2@one:5432,two:5432/x", "one host"),
            ("postgresql://u:hunter2@db/x?sslmood=require", "sslmood"),
            ("postgresql://u:hunter%zz@db/x", "must be a PostgreSQL address"),
        ],
    )
    def test_a_database_address_with_a_slip_is_told_without_its_password(self, url: str, says: str) -> None:
        (fault,) = faults_of(database_url=url)
        assert fault.startswith("DATABASE_URL: ")
        assert says in fault
        assert "hunter" not in fault

    @pytest.mark.parametrize(
        "url",
        [
            "postgresql://",
            "postgresql:///ohmstead?host=/run/postgresql",
            "postgresql://u@[::1]:5432/x",
            "postgresql://u:p%40ss@db/x?sslmode=verify-full&sslrootcert=/etc/ca.pem&connect_timeout=3",
        ],
    )
    def test_a_database_address_that_postgresql_takes_is_taken_as_it_is(self, url: str) -> None:
        assert Settings.load(database_url=url).database_url == url

    @pytest.mark.parametrize(
        "url",
        [
            "redis://:hunter2@cache:notaport",
            "redis://:hunter2@cache:0/1",
            "redis://:hunter2@[::1",
            "redis://cache:70000",
        ],
    )
    def test_a_redis_address_with_a_slip_is_told_without_its_password(self, url: str) -> None:
        (fault,) = faults_of(redis_url=url)
        assert fault.startswith("REDIS_URL: must be a Redis address")
        assert "hunter" not in fault

    @pytest.mark.parametrize(
        "url", ["redis://cache", "rediss://u:p@[::1]:6380/2", "unix:///run/redis.sock?db=1"]
    )
    def test_a_redis_address_that_redis_takes_is_taken_as_it_is(self, url: str) -> None:
        assert Settings.load(redis_url=url).redis_url == url

    def test_a_secret_is_not_shown_in_a_fault(self) -> None:
        assert "hunter2" not in str(faults_of(database_url="mysql://root:hunter2@db/x"))

    def test_a_long_value_is_not_shown_whole(self) -> None:
        (fault,) = faults_of(port="9" * 10_000)
        assert len(fault) < 200

    @pytest.mark.parametrize("field", sorted(Settings.model_fields))
    def test_whatever_is_typed_is_taken_or_told_by_name(
        self, monkeypatch: pytest.MonkeyPatch, field: str
    ) -> None:
        told: list[str] = []
        for text in ABSURD:
            monkeypatch.setenv(env_name(field), text)
            with contextlib.suppress(SettingsError):
                Settings.load()
                continue
            told += faults_of()
        assert {fault.partition(": ")[0] for fault in told} <= known_env_names()
        assert all(len(fault) < 300 for fault in told)

    def test_a_dotenv_file_that_is_no_utf_8_is_told(self, tmp_path: Path) -> None:
        (tmp_path / ".env").write_bytes("OHMSTEAD_MAIL_NAME=Käthe\n".encode("utf-16"))
        (fault,) = faults_of()
        assert fault.startswith(".env: ")
        assert "UTF-8" in fault

    def test_a_dotenv_file_that_may_not_be_read_is_told(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / ".env").touch()
        opened = open

        def refuse(path: Any, *arguments: Any, **options: Any) -> Any:
            if Path(path).name == ".env":
                raise PermissionError(13, "Permission denied", ".env")  # root may read everything
            return opened(path, *arguments, **options)

        monkeypatch.setattr(builtins, "open", refuse)
        assert faults_of() == (".env: cannot be read: permission denied",)

    def test_a_working_folder_that_is_gone_is_told(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "gone").mkdir()
        monkeypatch.chdir(tmp_path / "gone")
        (tmp_path / "gone").rmdir()
        (fault,) = faults_of()
        assert "working folder" in fault
        assert Settings.load(data_dir="/srv/ohmstead").data_dir == Path("/srv/ohmstead")

    def test_production_needs_a_database_and_a_long_secret(self) -> None:
        names = [fault.partition(":")[0] for fault in faults_of(environment="production")]
        assert names == ["DATABASE_URL", "OHMSTEAD_SECRET_KEY"]
        database = "postgresql://db/ohmstead"
        (fault,) = faults_of(environment="production", database_url=database, secret_key="short")
        assert "32 characters" in fault
        assert (
            Settings.load(environment="production", database_url=database, secret_key=LONG).signing_key
            == LONG
        )

    @pytest.mark.parametrize(
        ("given", "missing"),
        [
            ({"tls_cert": "c.pem"}, "OHMSTEAD_TLS_KEY"),
            ({"tls_key": "k.pem"}, "OHMSTEAD_TLS_CERT"),
            ({"admin_email": "a@b.example"}, "OHMSTEAD_ADMIN_PASSWORD"),
            ({"admin_password": "secret-enough"}, "OHMSTEAD_ADMIN_EMAIL"),
        ],
    )
    def test_half_of_a_pair_asks_for_the_other_half(self, given: dict[str, str], missing: str) -> None:
        (fault,) = faults_of(**given)
        assert fault.startswith(missing)

    def test_two_listeners_cannot_share_a_port(self) -> None:
        (fault,) = faults_of(port=9000, ocpp_port=9000)
        assert fault.startswith("OHMSTEAD_OCPP_PORT: must differ")

    def test_a_misspelt_name_is_found(self) -> None:
        environ = {"OHMSTEAD_PROT": "1", "OHMSTEAD_PORT": "1", "PATH": "/bin"}
        assert unknown_env_names(environ) == ["OHMSTEAD_PROT"]


class TestSecrets:
    def test_no_secret_shows_in_the_text_of_the_settings(self) -> None:
        settings = Settings.load(
            secret_key=LONG,
            database_url="postgresql://u:hunter2@db/x",
            redis_url="redis://:hunter3@cache",
            admin_email="a@b.example",
            admin_password="hunter4hunter4",
            metrics_token="hunter5",
        )
        for text in (repr(settings), str(settings)):
            assert "hunter" not in text
            assert LONG not in text

    def test_the_kept_key_is_made_once_and_only_its_owner_reads_it(self, tmp_path: Path) -> None:
        settings = Settings.load(data_dir=tmp_path / "data").with_secret_key()
        again = Settings.load(data_dir=tmp_path / "data").with_secret_key()
        assert settings.signing_key == again.signing_key
        assert len(settings.signing_key) >= 32
        assert stat.S_IMODE((tmp_path / "data" / "secret.key").stat().st_mode) == 0o600

    def test_a_given_key_wins_and_no_file_is_made(self, tmp_path: Path) -> None:
        settings = Settings.load(data_dir=tmp_path / "data", secret_key=LONG).with_secret_key()
        assert settings.signing_key == LONG
        assert not (tmp_path / "data").exists()

    def test_starts_at_once_agree_on_one_key_and_leave_no_other_file(self, tmp_path: Path) -> None:
        with ThreadPoolExecutor(16) as pool:
            keys = set(pool.map(kept_secret_key, [tmp_path / "data"] * 64))
        assert len(keys) == 1
        assert [path.name for path in (tmp_path / "data").iterdir()] == ["secret.key"]

    def test_a_key_file_that_is_no_text_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "secret.key").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(SettingsError, match=r"secret\.key"):
            kept_secret_key(tmp_path)

    def test_an_empty_key_file_is_told_and_not_used(self, tmp_path: Path) -> None:
        (tmp_path / "secret.key").touch()
        with pytest.raises(SettingsError, match="is empty"):
            kept_secret_key(tmp_path)

    def test_a_folder_that_cannot_be_made_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(SettingsError, match="OHMSTEAD_DATA_DIR: cannot keep the secret key"):
            kept_secret_key(tmp_path / "file")


class TestDataFolder:
    def test_it_is_in_the_working_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        assert default_data_dir() == tmp_path / ".ohmstead"

    def test_as_root_in_a_private_folder_each_checkout_has_its_own_elsewhere(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        private = tmp_path / "private"
        places = []
        for name in ("one", "two"):
            (private / name).mkdir(parents=True)
            monkeypatch.chdir(private / name)
            private.chmod(0o700)
            places.append(default_data_dir())
        assert all(place.parent == Path("/var/lib/ohmstead") for place in places)
        assert places[0] != places[1]

    def test_a_relative_folder_is_taken_from_the_working_folder(self, tmp_path: Path) -> None:
        assert Settings.load(data_dir="here").data_dir == tmp_path / "here"


def test_loading_the_settings_makes_no_file(tmp_path: Path) -> None:
    program = "from ohmstead.core.config import Settings; Settings.load()"
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    assert list(tmp_path.iterdir()) == []

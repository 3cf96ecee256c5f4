import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tests.cli.certificates import DAY, pair
from tests.cli.running import SECRET, reachable_folder
from tests.running import free_port

from ohmstead import doctor
from ohmstead.core.config import Settings, known_env_names
from ohmstead.core.postgres import EmbeddedPostgres
from ohmstead.core.processes import Processes
from ohmstead.doctor import Finding

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in known_env_names():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def states(*findings: Finding) -> dict[str, str]:
    return {finding.check: finding.state for finding in findings}


class TestSettings:
    def test_a_misspelt_name_is_a_warning_with_the_right_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OHMSTEAD_SECRETKEY", "x")
        (finding,) = doctor.check_settings()
        assert (finding.state, finding.remedy) == ("warn", "Did you mean OHMSTEAD_SECRET_KEY?")

    def test_one_in_the_env_file_too(self, tmp_path: Path) -> None:
        (tmp_path / ".env").write_text("OHMSTEAD_PROT=9\nDATABASE_URL=postgresql://db/x\n")
        (finding,) = doctor.check_settings()
        assert (finding.state, finding.remedy) == ("warn", "Did you mean OHMSTEAD_PORT?")


class TestDataFolder:
    def test_where_no_file_can_be_it_says_so(self) -> None:
        (finding,) = doctor.check_data_folder(Settings.load(data_dir="/proc/ohmstead"))
        assert (finding.state, "no place for files" in finding.message) == ("fail", True)


class TestDatabase:
    def test_the_running_one_is_well(self, database_url: str) -> None:
        assert states(*doctor.check_database(database_url)) == {
            "database": "ok",
            "clock": "ok",
            "schema": "ok",
        }

    def test_one_without_a_schema_says_how_to_make_it(self, postgres: EmbeddedPostgres) -> None:
        finding = doctor.check_schema(postgres.url("postgres"))
        assert (finding.state, finding.remedy) == ("fail", "Run: ohmstead migrate")

    def test_one_that_is_away_fails_and_is_not_asked_further(self) -> None:
        url = "postgresql://ohmstead:hunter2@127.0.0.1:1/ohmstead"
        (finding,) = doctor.check_database(url)
        assert finding.state == "fail"
        assert "hunter2" not in finding.message

    def test_the_embedded_one_is_not_made_by_looking(self, tmp_path: Path) -> None:
        settings = Settings.load(data_dir=tmp_path / "data", port=free_port())
        findings = list(doctor.examine(settings))
        assert states(*findings)["database"] == "ok"
        assert not (tmp_path / "data").exists()

    def test_the_embedded_one_is_stopped_again_after_looking(self) -> None:
        with reachable_folder() as folder:
            with EmbeddedPostgres(folder, durable=False):
                pass
            found = states(*doctor.examine(Settings.load(data_dir=folder, port=free_port())))
            assert (found["database"], found["schema"]) == ("ok", "fail")
            assert EmbeddedPostgres(folder).pid is None

    @pytest.mark.parametrize(("ahead", "state"), [(0.5, "ok"), (-5, "warn"), (30, "warn"), (-120, "fail")])
    def test_a_clock_that_differs_is_noticed_both_ways(self, ahead: float, state: str) -> None:
        finding = doctor.check_clock(ahead)
        assert finding.state == state
        assert state == "ok" or ("ahead" in finding.message) == (ahead > 0)


class TestPorts:
    def test_a_free_port_is_well(self) -> None:
        assert states(*doctor.check_ports(Settings.load(port=free_port()))) == {"port": "ok"}

    def test_a_port_that_another_program_has_fails(self) -> None:
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen(0)
            port = other.getsockname()[1]
            (finding,) = doctor.check_ports(Settings.load(port=port))
        assert finding.state == "fail"
        assert f":{port}" in finding.remedy

    def test_both_listeners_are_looked_at(self) -> None:
        settings = Settings.load(port=free_port(), ocpp_port=free_port())
        assert set(states(*doctor.check_ports(settings))) == {"port", "OCPP port"}


class TestSecrets:
    def check(self, **settings: object) -> dict[str, str]:
        return states(*doctor.check_secrets(Settings.load(**settings)))

    def test_good_ones_are_well(self) -> None:
        found = self.check(
            secret_key=SECRET, admin_email="a@example.com", admin_password="correct-horse-battery"
        )
        assert found == {"secret key": "ok", "admin password": "ok"}

    @pytest.mark.parametrize("key", ["short", "a" * 64])
    def test_a_weak_key_is_a_warning(self, key: str) -> None:
        assert self.check(secret_key=key) == {"secret key": "warn"}

    @pytest.mark.parametrize(
        ("content", "state"),
        [(b"", "fail"), (b"\n", "fail"), (b"\xff\xfe", "fail"), (b"abc", "warn"), (SECRET.encode(), "ok")],
    )
    def test_one_that_was_kept_is_read_as_the_server_reads_it(
        self, tmp_path: Path, content: bytes, state: str
    ) -> None:
        (tmp_path / "secret.key").write_bytes(content)
        (tmp_path / "secret.key").chmod(0o600)
        assert self.check(data_dir=tmp_path) == {"secret key": state}

    def test_in_production_weakness_fails(self) -> None:
        found = self.check(
            environment="production",
            database_url="postgresql://db/x",
            secret_key="ab" * 32,
            admin_email="admin@example.com",
            admin_password="changeme",
        )
        assert found == {"secret key": "fail", "admin password": "fail", "metrics token": "warn"}

    def test_files_with_secrets_that_others_can_read_are_named(self, tmp_path: Path) -> None:
        (tmp_path / ".env").write_text("OHMSTEAD_LOG_LEVEL=INFO\n")
        (tmp_path / ".env").chmod(0o644)
        (tmp_path / "secret.key").write_text(SECRET)
        (tmp_path / "secret.key").chmod(0o600)
        assert self.check(data_dir=tmp_path) == {"secret key": "ok", ".env": "warn"}


class TestTls:
    def check(self, cert: Path, key: Path) -> dict[str, str]:
        return states(*doctor.check_tls(Settings.load(tls_cert=cert, tls_key=key)))

    def test_a_pair_in_force_is_well(self, tmp_path: Path) -> None:
        assert self.check(*pair(tmp_path, "a")) == {"TLS": "ok", "TLS key": "ok"}

    def test_a_key_of_another_certificate_fails(self, tmp_path: Path) -> None:
        cert, _ = pair(tmp_path, "a")
        _, key = pair(tmp_path, "b")
        assert self.check(cert, key) == {"TLS": "fail"}

    def test_a_missing_file_fails(self, tmp_path: Path) -> None:
        cert, key = pair(tmp_path, "a")
        assert self.check(cert, tmp_path / "nowhere.key") == {"TLS": "fail"}
        assert self.check(tmp_path / "nowhere.pem", key) == {"TLS": "fail"}

    def test_garbage_and_a_key_with_a_password_fail(self, tmp_path: Path) -> None:
        (tmp_path / "garbage").write_bytes(b"\xff\x00")
        cert, key = pair(tmp_path, "a")
        assert self.check(tmp_path / "garbage", key) == {"TLS": "fail"}
        assert self.check(cert, tmp_path / "garbage") == {"TLS": "fail"}
        assert self.check(*pair(tmp_path, "b", password="hunter2")) == {"TLS": "fail"}

    def test_a_key_that_others_can_read_is_a_warning(self, tmp_path: Path) -> None:
        cert, key = pair(tmp_path, "a")
        key.chmod(0o644)
        assert self.check(cert, key) == {"TLS": "ok", "TLS key": "warn"}

    def test_an_expired_certificate_fails(self, tmp_path: Path) -> None:
        assert self.check(*pair(tmp_path, "a", valid=-DAY))["TLS"] == "fail"

    @pytest.mark.parametrize(
        ("begin", "end", "state"),
        [(-DAY, 60 * DAY, "ok"), (-DAY, 10 * DAY, "warn"), (-DAY, -DAY / 2, "fail"), (DAY, 9 * DAY, "fail")],
    )
    def test_its_time_is_looked_at(self, begin: timedelta, end: timedelta, state: str) -> None:
        assert doctor.check_expiry(NOW + begin, NOW + end, NOW).state == state


class TestRedis:
    def test_a_real_redis_answers(self, redis_url: str) -> None:
        assert doctor.check_redis(Settings.load(redis_url=redis_url)).state == "ok"

    def test_without_one_the_remedy_names_the_setting(self) -> None:
        finding = doctor.check_redis(Settings.load(redis_url=f"redis://127.0.0.1:{free_port()}/0"))
        assert finding.state == "fail"
        assert "REDIS_URL" in finding.remedy

    @pytest.mark.parametrize(
        "parameter", ["socket_timeout=soon", "no_such_parameter=1", "protocol=9", "ssl_cert_reqs=maybe"]
    )
    def test_a_wrong_parameter_of_its_address_is_a_finding(self, parameter: str) -> None:
        finding = doctor.check_redis(Settings.load(redis_url=f"rediss://127.0.0.1:1/0?{parameter}"))
        assert finding.state == "fail"
        assert "REDIS_URL" in finding.remedy

    def test_unset_it_is_not_needed(self) -> None:
        assert doctor.check_redis(Settings.load()).state == "ok"


class TestProcesses:
    async def test_who_serves_the_database_is_named_and_a_difference_in_redis_is_a_warning(
        self, database_factory: Any
    ) -> None:
        url = database_factory("doctor")
        assert "no server process" in next(doctor.check_processes(url, shares=False)).message
        serving = Processes(url, uuid4(), shares=False, lease_seconds=30)
        await serving.join()
        [alone] = doctor.check_processes(url, shares=False)
        assert (alone.state, f"{os.getpid()} on " in alone.message) == ("ok", True)
        [different] = doctor.check_processes(url, shares=True)
        assert (different.state, "REDIS_URL" in different.remedy) == ("warn", True)
        await serving.leave()

    def test_a_database_without_the_table_has_none(self) -> None:
        assert list(doctor.check_processes("postgresql://me@127.0.0.1:1/x", shares=True)) == []

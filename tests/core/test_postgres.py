import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import psycopg
import pytest
from tests.cli.running import reachable_folder

from ohmstead.core import postgres_host
from ohmstead.core.errors import StartupError
from ohmstead.core.postgres import EmbeddedPostgres

HOLDER = """
import sys
from pathlib import Path
from ohmstead.core.postgres import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]), durable=False)
print(server.start(), flush=True)
sys.stdin.read()
if sys.argv[2] == "stop":
    server.stop()
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    with reachable_folder() as path:
        yield path


def hold(folder: Path, *, at_end: str = "stop") -> "subprocess.Popen[str]":
    """Another process that uses the server until its standard input closes."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), at_end],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("postgresql://")
    return process


def let_go(process: "subprocess.Popen[str]") -> None:
    process.communicate("", timeout=60)
    assert process.returncode == 0


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


def await_end(pid: int) -> None:
    deadline = time.monotonic() + 30
    while alive(pid):
        assert time.monotonic() < deadline, f"process {pid} does not end"
        time.sleep(0.01)


def running(server: EmbeddedPostgres) -> int:
    assert server.pid is not None
    return server.pid


class TestFirstStart:
    def test_it_gives_a_working_database_in_a_short_time(self, folder: Path) -> None:
        begin = time.monotonic()
        with EmbeddedPostgres(folder) as url:
            took = time.monotonic() - begin
            with psycopg.connect(url) as connection:
                version = connection.info.server_version
                row = connection.execute(
                    "SELECT current_database(), current_setting('fsync'),"
                    " current_setting('synchronous_commit'), current_setting('max_connections'),"
                    " current_setting('timezone'), lower('ÄÖÉ')"
                ).fetchone()
        assert version >= 150000
        assert row == ("ohmstead", "on", "on", "200", "UTC", "äöé")
        assert took < 10, "2.5 s are the aim on a quiet machine; this bound only catches a broken wait"

    def test_it_listens_on_no_tcp_port_and_only_its_own_user_reaches_the_socket(self, folder: Path) -> None:
        with EmbeddedPostgres(folder, durable=False) as url, psycopg.connect(url) as connection:
            row = connection.execute("SELECT current_setting('listen_addresses')").fetchone()
            assert row == ("",)
            assert stat.S_IMODE((folder / "postgres").stat().st_mode) == 0o700
            assert (folder / "postgres").stat().st_uid != 0

    def test_its_log_names_no_values_of_a_row(self, folder: Path) -> None:
        server = EmbeddedPostgres(folder, durable=False)
        with server as url, psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE TABLE person (email text UNIQUE)")
            connection.execute("INSERT INTO person VALUES (%s)", ["asha@volt.example"])
            with pytest.raises(psycopg.errors.UniqueViolation):
                connection.execute("INSERT INTO person VALUES (%s)", ["asha@volt.example"])
        log = server.log.read_text()
        assert "person_email_key" in log
        assert "asha@volt.example" not in log

    def test_without_durability_nothing_is_synced(self, folder: Path) -> None:
        with EmbeddedPostgres(folder, durable=False) as url, psycopg.connect(url) as connection:
            assert connection.execute("SELECT current_setting('fsync')").fetchone() == ("off",)

    def test_a_long_path_still_works(self, folder: Path) -> None:
        deep = folder / ("a" * 60) / ("b" * 60)
        with EmbeddedPostgres(deep, durable=False) as url:
            socket_folder = Path(unquote(url.partition("?host=")[2]))
            assert socket_folder.is_dir()
            with psycopg.connect(url) as connection:
                assert connection.execute("SELECT 1").fetchone() == (1,)
        assert not socket_folder.exists()

    def test_a_path_with_blanks_and_marks_works(self, folder: Path) -> None:
        with (
            EmbeddedPostgres(folder / "it's 100% mine", durable=False) as url,
            psycopg.connect(url) as connection,
        ):
            assert connection.execute("SELECT 1").fetchone() == (1,)

    def test_a_start_that_was_killed_half_way_does_not_spoil_the_next(self, folder: Path) -> None:
        (folder / "postgres.new").mkdir()
        (folder / "postgres.new" / "PG_VERSION").write_text("18\n")
        with EmbeddedPostgres(folder, durable=False) as url, psycopg.connect(url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert not (folder / "postgres.new").exists()

    def test_programs_in_a_private_folder_are_copied_to_where_the_server_may_run_them(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(postgres_host, "SYSTEM_DATA_DIR", folder / "system")
        monkeypatch.setattr(postgres_host, "world_reachable", lambda path: "site-packages" not in str(path))
        binaries = postgres_host.reachable_binaries(postgres_host.wheel_binaries())
        assert binaries.is_relative_to(folder / "system")
        version = subprocess.run(
            [binaries / "postgres", "--version"], capture_output=True, text=True, check=True
        )
        assert "(PostgreSQL) 18" in version.stdout
        assert postgres_host.reachable_binaries(postgres_host.wheel_binaries()) == binaries
        assert len(list((folder / "system").iterdir())) == 1


class TestSharing:
    def test_the_server_outlives_the_first_of_two_users_and_ends_with_the_second(self, folder: Path) -> None:
        first = hold(folder)
        second = EmbeddedPostgres(folder, durable=False)
        url = second.start()
        pid = running(second)
        let_go(first)
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert running(second) == pid
        second.stop()
        assert not alive(pid)
        assert second.pid is None

    def test_two_first_starts_at_once_share_one_server(self, folder: Path) -> None:
        command = [sys.executable, "-c", HOLDER, str(folder), "stop"]
        pair = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        urls = {process.stdout.readline() for process in pair if process.stdout}
        pid = running(EmbeddedPostgres(folder))
        assert len(urls) == 1
        for process in pair:
            let_go(process)
        assert not alive(pid)

    def test_two_users_in_one_process_count_as_two(self, folder: Path) -> None:
        first, second = EmbeddedPostgres(folder, durable=False), EmbeddedPostgres(folder, durable=False)
        first.start()
        second.start()
        first.stop()
        assert second.pid is not None
        second.stop()
        assert second.pid is None

    def test_a_process_that_forgets_to_stop_stops_it_at_its_end(self, folder: Path) -> None:
        process = hold(folder, at_end="forget")
        pid = running(EmbeddedPostgres(folder))
        let_go(process)
        assert not alive(pid)

    def test_starting_and_stopping_twice_is_harmless(self, folder: Path) -> None:
        server = EmbeddedPostgres(folder, durable=False)
        assert server.start() == server.start()
        server.stop()
        server.stop()
        assert server.pid is None


class TestCrash:
    def test_what_a_killed_user_left_running_is_used_again_and_then_stopped(self, folder: Path) -> None:
        process = hold(folder)
        pid = running(EmbeddedPostgres(folder))
        process.kill()
        process.communicate()
        assert alive(pid)
        server = EmbeddedPostgres(folder, durable=False)
        server.start()
        assert running(server) == pid
        server.stop()
        assert not alive(pid)

    def test_committed_rows_survive_a_kill_of_the_database(self, folder: Path) -> None:
        server = EmbeddedPostgres(folder)
        with psycopg.connect(server.start()) as connection:
            connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS id")
        pid = running(server)
        os.kill(pid, signal.SIGKILL)
        await_end(pid)
        assert server.pid is None
        with EmbeddedPostgres(folder) as url, psycopg.connect(url) as connection:
            assert connection.execute("SELECT count(*) FROM kept").fetchone() == (1000,)
            assert "was not properly shut down" in (folder / "postgres.log").read_text()
        server.stop()

    def test_a_busy_session_of_a_killed_database_is_waited_for(self, folder: Path) -> None:
        with EmbeddedPostgres(folder) as url:
            psycopg.connect(url, autocommit=True).close()
            busy = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    f"import psycopg; psycopg.connect({url!r}).execute('SELECT pg_sleep(1.5)')",
                ],
                stderr=subprocess.DEVNULL,
            )
            with psycopg.connect(url, autocommit=True) as watch:
                query = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'"
                while (backend := watch.execute(query).fetchone()) is None:
                    time.sleep(0.01)
            # Stopped, the back end cannot notice that its server died, and keeps the shared memory.
            os.kill(backend[0], signal.SIGSTOP)
            os.kill(running(EmbeddedPostgres(folder)), signal.SIGKILL)
            waker = subprocess.Popen(["sh", "-c", f"sleep 1; kill -CONT {backend[0]}"])
            try:
                with EmbeddedPostgres(folder) as again, psycopg.connect(again) as connection:
                    assert connection.execute("SELECT 1").fetchone() == (1,)
                assert "shared memory block" in (folder / "postgres.log").read_text()
            finally:
                waker.wait()
                busy.wait()

    def test_a_server_that_dies_while_it_is_joined_is_started_again(self, folder: Path) -> None:
        """A killed server looks alive for a moment more: it is in the list of processes, and its port is."""
        first = EmbeddedPostgres(folder, durable=False)
        first.start()
        pid = running(first)
        os.kill(pid, signal.SIGSTOP)  # it still takes connections, and answers none
        killer = subprocess.Popen(["sh", "-c", f"sleep 1; kill -KILL {pid}"])
        try:
            with EmbeddedPostgres(folder, durable=False) as url, psycopg.connect(url) as connection:
                assert connection.execute("SELECT 1").fetchone() == (1,)
                assert running(first) != pid
        finally:
            killer.wait()
            first.stop()

    def test_a_stale_pid_whose_number_another_program_has_now_does_not_stop_the_start(
        self, folder: Path
    ) -> None:
        server = EmbeddedPostgres(folder)
        server.start()
        note = folder / "postgres" / "postmaster.pid"
        lines = note.read_text().splitlines()
        os.kill(running(server), signal.SIGKILL)
        await_end(int(lines[0]))
        server.stop()
        note.write_text("\n".join([str(os.getpid()), *lines[1:], ""]))
        assert server.pid is None
        with EmbeddedPostgres(folder) as url, psycopg.connect(url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)


class TestFaults:
    def test_a_start_that_fails_says_why_and_holds_nothing(self, folder: Path) -> None:
        with EmbeddedPostgres(folder, durable=False):
            pass
        configuration = folder / "postgres" / "postgresql.conf"
        sound = configuration.read_text()
        configuration.write_text(sound + "\nwork_mem = 'much'\n")
        server = EmbeddedPostgres(folder, durable=False)
        with pytest.raises(StartupError) as caught:
            server.start()
        assert "work_mem" in caught.value.hint
        assert str(folder / "postgres.log") in caught.value.hint
        configuration.write_text(sound)
        with server as url, psycopg.connect(url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)

    def test_a_cluster_of_another_version_is_refused_in_words(self, folder: Path) -> None:
        (folder / "postgres").mkdir()
        (folder / "postgres" / "PG_VERSION").write_text("17\n")
        with pytest.raises(StartupError, match="is of PostgreSQL 17; this is 18"):
            EmbeddedPostgres(folder).start()

    def test_a_folder_that_cannot_be_made_is_refused_in_words(self, folder: Path) -> None:
        (folder / "file").touch()
        with pytest.raises(StartupError, match="cannot be used") as caught:
            EmbeddedPostgres(folder / "file" / "data").start()
        assert "OHMSTEAD_DATA_DIR" in caught.value.hint

    def test_a_place_where_nobody_may_write_is_refused_in_words(self) -> None:
        with pytest.raises(StartupError, match="cannot be used: ") as refused:
            EmbeddedPostgres(Path("/proc/ohmstead")).start()
        assert "OHMSTEAD_DATA_DIR" in refused.value.hint

    def test_a_disk_without_room_is_told_in_words(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(path: Path, mode: int = 0o777) -> None:
            raise OSError(28, "No space left on device", str(path))

        server = EmbeddedPostgres(folder, durable=False)
        monkeypatch.setattr(Path, "touch", full)
        with pytest.raises(StartupError, match="No space left on device") as refused:
            server.start()
        assert "room" in refused.value.hint

    def test_a_folder_that_was_removed_meanwhile_is_told_in_words_at_the_end(self, folder: Path) -> None:
        server = EmbeddedPostgres(folder / "data", durable=False)
        server.start()
        pid = server.pid
        assert pid is not None
        shutil.rmtree(folder / "data")
        try:
            with pytest.raises(StartupError, match="was removed while it was in use"):
                server.stop()
            server.stop()
        finally:
            os.kill(pid, signal.SIGQUIT)  # it would notice by itself, within a minute

    def test_as_root_a_private_folder_is_refused_in_words(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        (folder / "home").mkdir(mode=0o700)
        with pytest.raises(StartupError, match="a folder above is private"):
            EmbeddedPostgres(folder / "home" / "data").start()

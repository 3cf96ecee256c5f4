"""The embedded PostgreSQL: a real server from a wheel, started when no `DATABASE_URL` is given.

Several processes may use one server (the demo, a second `ohmstead doctor`). Each holds a shared `flock` while
it does; the operating system drops it however the process ends, so the last one that leaves knows that it is
the last and stops the server. What a killed process left running is used again by the next start.

The server listens on no TCP port, only on a Unix socket in a folder that its OS user alone can enter.
"""

import atexit
import fcntl
import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO
from urllib.parse import quote

import psycopg
from psycopg import sql

from ohmstead.core.config import SYSTEM_DATA_DIR, world_reachable
from ohmstead.core.errors import StartupError
from ohmstead.core.postgres_host import (
    MAJOR_VERSION,
    arguments_of,
    ends_within,
    exists,
    reachable_binaries,
    server_user,
    wheel_binaries,
)

DATABASE = "ohmstead"
SUPERUSER = "ohmstead"
START_TIMEOUT = 900  # seconds: a crash recovery replays up to max_wal_size
STOP_TIMEOUT = 60
LOG_LIMIT = 10 * 1024 * 1024
SOCKET_PATH_LIMIT = 100  # sun_path has 104 bytes on macOS and 108 on Linux
DYING_SECONDS = 2.0  # that a killed server may still be seen
DYING_SERVERS = 5
HELD_MEMORY_WAIT = 60.0  # seconds that back ends of a killed server may take to notice and end

SERVER_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "random_page_cost": "1.1",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Without the DETAIL of an error: it holds the values of the row, which may be somebody's address.
    "log_error_verbosity": "terse",
}
UNSAFE_SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class EmbeddedPostgres:
    """One user's hold on the embedded server in `data_dir`; a context manager that gives the URL.

    `start` and `stop` block (up to minutes after a crash): call them before the event loop or in a thread.
    `durable=False` leaves out every fsync: for tests whose data may be lost with the machine.
    Errors a person can mend are `StartupError`.
    """

    def __init__(self, data_dir: Path, *, durable: bool = True) -> None:
        self.data_dir = data_dir.resolve()  # one name for one folder: it tells its server from others
        self.cluster = self.data_dir / "postgres"
        self.log = self.data_dir / "postgres.log"
        self._durable = durable
        self._hold: IO[bytes] | None = None
        self._uid, self._gid = os.geteuid(), os.getegid()
        self._binaries = Path()
        self._owner_pid = os.getpid()

    def __enter__(self) -> str:
        """Start and return the URL."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the server, which stops with its last user."""
        self.stop()

    def start(self) -> str:
        """Start the server, or join the one that runs, and return the URL of the database `ohmstead`."""
        if self._hold is not None:
            return self.url()
        try:
            self._prepare_folders()
            with self._exclusive():
                hold = (self.data_dir / "postgres.users").open("ab")
                fcntl.flock(hold, fcntl.LOCK_SH)
                self._hold = hold
                try:
                    self._ensure_cluster()
                    self._ensure_answering()
                except BaseException:
                    self._leave()
                    raise
        except OSError as error:
            raise StartupError(
                f"The data folder {self.data_dir} cannot be used: {error.strerror} ({error.filename}).",
                "Set OHMSTEAD_DATA_DIR to a folder that you may write to, on a disk with room.",
            ) from None
        except psycopg.Error as error:
            cause = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise StartupError(
                f"The embedded PostgreSQL runs, but does not answer: {cause}", f"Its log is {self.log}."
            ) from None
        atexit.register(self._stop_at_exit)
        return self.url()

    def start_again(self) -> None:
        """Start the server that is held when it has ended by itself; it goes through a crash recovery.

        Blocks as `start` does. Raises `StartupError`, and `OSError` when the data folder is gone.
        """
        with self._exclusive():
            if self._hold is not None:
                self._ensure_running()

    def stop(self) -> None:
        """Leave the server and stop it when nobody else uses it. Does nothing when not started."""
        if self._hold is None:
            return
        atexit.unregister(self._stop_at_exit)
        try:
            with self._exclusive():
                self._leave()
        except FileNotFoundError:
            self._hold.close()
            self._hold = None
            raise StartupError(
                f"The data folder {self.data_dir} was removed while it was in use.",
                "Its PostgreSQL notices within a minute and ends. Restore a backup, or start anew.",
            ) from None

    def url(self, database: str = DATABASE) -> str:
        """The libpq URL of a database of this server."""
        return (
            f"postgresql://{SUPERUSER}@/{quote(database)}?host={quote(str(self._socket_folder()), safe='')}"
        )

    @property
    def pid(self) -> int | None:
        """The process id of the running server, or None."""
        return self._running_pid()

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Only one process at a time makes, starts or stops the server."""
        with (self.data_dir / "postgres.lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _leave(self) -> None:
        """Give up the hold; the caller has the exclusive lock."""
        if self._hold is None:
            return
        try:
            fcntl.flock(self._hold, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # somebody else still uses the server
        else:
            self._shut_down()
        finally:
            self._hold.close()
            self._hold = None

    def _stop_at_exit(self) -> None:
        if os.getpid() == self._owner_pid:  # a forked child inherits the registration, not the server
            self.stop()

    # --- the OS user and its folders

    def _prepare_folders(self) -> None:
        """Make the data folder; under root choose the OS user that PostgreSQL runs as and let it in."""
        binaries = wheel_binaries()
        self.data_dir.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            if not world_reachable(self.data_dir):
                raise StartupError(
                    f"PostgreSQL cannot reach {self.data_dir}: as root it runs as another user, "
                    "and a folder above is private.",
                    f"Set OHMSTEAD_DATA_DIR to {SYSTEM_DATA_DIR} or the like, or do not run as root.",
                )
            self._uid, self._gid = server_user(self.cluster)
            self.data_dir.chmod(self.data_dir.stat().st_mode | 0o011)
            binaries = reachable_binaries(binaries)
        elif self.cluster.exists() and self.cluster.stat().st_uid != os.geteuid():
            raise StartupError(
                f"The database in {self.cluster} belongs to another user.",
                "Start as that user or as root, or set OHMSTEAD_DATA_DIR to another folder.",
            )
        self._binaries = binaries

    def _socket_folder(self) -> Path:
        """The cluster folder itself, or a short one where its path is too long for a socket."""
        if len(os.fsencode(self.cluster)) + len("/.s.PGSQL.5432.lock") <= SOCKET_PATH_LIMIT:
            return self.cluster
        digest = hashlib.sha256(os.fsencode(self.cluster)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"ohmstead-{digest}"

    def _run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a PostgreSQL program as the server's OS user and return it with its output."""
        as_root = os.geteuid() == 0
        return subprocess.run(
            [str(self._binaries / program), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            cwd="/",
            env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            start_new_session=True,  # Ctrl-C is for us alone: we stop the server in order
            user=self._uid if as_root else None,
            group=self._gid if as_root else None,
            extra_groups=[] if as_root else None,
        )

    # --- the life of the server; the caller has the exclusive lock

    def _ensure_cluster(self) -> None:
        """Make the cluster where there is none: beside its place, then renamed, so never a half one."""
        version = self.cluster / "PG_VERSION"
        if version.exists():
            if (found := version.read_text().strip()) != MAJOR_VERSION:
                raise StartupError(
                    f"The database in {self.cluster} is of PostgreSQL {found}; this is {MAJOR_VERSION}.",
                    "Dump it with the old version and load it here, or use another OHMSTEAD_DATA_DIR.",
                )
            return
        fresh = self.data_dir / "postgres.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        os.chown(fresh, self._uid, self._gid)
        arguments = ["--auth=trust", "--encoding=UTF8", f"--username={SUPERUSER}", f"--pgdata={fresh}"]
        # The built-in provider sorts by code point on every machine and needs no locale of the system.
        arguments += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        made = self._run("initdb", *arguments, *([] if self._durable else ["--no-sync"]))
        if made.returncode != 0:
            raise StartupError("PostgreSQL could not make its database.", made.stdout.strip())
        fresh.rename(self.cluster)

    def _ensure_answering(self) -> None:
        """Start or join the server, and make the database; one that dies meanwhile is started again.

        A server that was just killed looks alive for a moment more.
        """
        for _ in range(DYING_SERVERS):
            self._ensure_running()
            pid = self._noted_pid()
            try:
                return self._ensure_database()
            except psycopg.OperationalError:
                if not ends_within(pid, DYING_SECONDS):
                    raise
        raise StartupError("The embedded PostgreSQL dies again and again.", f"Its log is {self.log}.")

    def _ensure_running(self) -> None:
        """Start the server unless it runs; wait until it takes connections, through a crash recovery too."""
        self._forget_reused_pid()
        if self._running_pid() is not None and self._await_ready():
            return
        self._prepare_log()
        socket_folder = self._socket_folder()
        if socket_folder != self.cluster:
            self._prepare_socket_folder(socket_folder)
        settings = SERVER_SETTINGS | ({} if self._durable else UNSAFE_SETTINGS)
        settings["unix_socket_directories"] = str(socket_folder)
        options = " ".join(f"-c {shlex.quote(f'{name}={value}')}" for name, value in settings.items())
        command = f"start -w -s -t {START_TIMEOUT}".split()
        command += ["-D", str(self.cluster), "-l", str(self.log), "-o", options]
        deadline = time.monotonic() + HELD_MEMORY_WAIT
        while True:
            begin = self.log.stat().st_size
            started = self._run("pg_ctl", *command)
            if started.returncode == 0:
                return
            with self.log.open("rb") as log:
                log.seek(begin)
                said = log.read().decode(errors="replace")
            if "shared memory block" not in said or time.monotonic() > deadline:
                raise StartupError(
                    "The embedded PostgreSQL did not start.",
                    "\n".join([*said.splitlines()[-6:], f"Its whole log is {self.log}."]),
                )
            time.sleep(0.2)

    def _await_ready(self) -> bool:
        """Wait for a server that runs already: True when it is ready, False when it ended instead."""
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            if self._running_pid() is None:
                return False
            lines = self._pid_file()
            if len(lines) >= 8 and lines[7].strip() == "ready":
                return True
            time.sleep(0.05)
        raise StartupError(
            f"The embedded PostgreSQL is still not ready after {START_TIMEOUT} s.", f"Its log is {self.log}."
        )

    def _ensure_database(self) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True, connect_timeout=30) as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
            if known is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))

    def _shut_down(self) -> None:
        if self._running_pid() is None:
            return
        # "fast" ends the sessions and writes a checkpoint; "immediate" is safe too, but costs a recovery.
        for mode in ("fast", "immediate"):
            stop = ["stop", "-w", "-t", str(STOP_TIMEOUT), "-s", "-m", mode, "-D", str(self.cluster)]
            if self._run("pg_ctl", *stop).returncode == 0 or self._running_pid() is None:
                if (socket_folder := self._socket_folder()) != self.cluster:
                    shutil.rmtree(socket_folder, ignore_errors=True)
                return
        raise StartupError(f"The embedded PostgreSQL (process {self._running_pid()}) does not stop.")

    def _noted_pid(self) -> int | None:
        """The process id that the last server wrote down, whether it still runs or not."""
        lines = self._pid_file()
        return int(lines[0]) if lines and lines[0].strip().isdigit() else None

    def _pid_file(self) -> list[str]:
        try:
            return (self.cluster / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []

    def _running_pid(self) -> int | None:
        pid = self._noted_pid()
        if pid is None or not exists(pid):
            return None
        arguments = arguments_of(pid)
        return pid if arguments is None or str(self.cluster) in arguments else None

    def _forget_reused_pid(self) -> None:
        """Remove the locks of a killed server whose number is a zombie's or some other program's by now.

        PostgreSQL would take that for itself and refuse to start: usual in containers, where numbers are
        small and nobody buries zombies. It still finds its killed back ends by their shared memory.
        """
        pid = self._noted_pid()
        if pid is None or not exists(pid):
            return
        arguments = arguments_of(pid)
        if arguments is not None and not arguments[0].endswith("postgres"):
            (self._socket_folder() / ".s.PGSQL.5432.lock").unlink(missing_ok=True)
            (self.cluster / "postmaster.pid").unlink()

    def _prepare_log(self) -> None:
        if self.log.exists() and self.log.stat().st_size > LOG_LIMIT:
            self.log.replace(self.log.with_suffix(".log.1"))
        self.log.touch(mode=0o640)
        os.chown(self.log, self._uid, self._gid)

    def _prepare_socket_folder(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.is_symlink() or folder.stat().st_uid not in {0, os.geteuid(), self._uid}:
            raise StartupError(f"The folder {folder} for the socket of PostgreSQL belongs to another user.")
        os.chown(folder, self._uid, self._gid)

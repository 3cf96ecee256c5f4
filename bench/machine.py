"""The machine that a table belongs to: a figure without it says nothing."""

import os
import platform
import resource
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

_SYNCS = 200


def fdatasync_us() -> float:
    """Median microseconds to make one 8 KiB write durable, where the database of the bench lies."""
    with tempfile.TemporaryDirectory(prefix="ohmstead-bench-") as folder:
        file = os.open(Path(folder) / "probe", os.O_CREAT | os.O_WRONLY)
        taken = []
        for _ in range(_SYNCS):
            began = time.perf_counter()
            os.pwrite(file, b"\xa5" * 8192, 0)
            os.fdatasync(file)
            taken.append(time.perf_counter() - began)
        os.close(file)
    return median(taken) * 1e6


def filesystem() -> str:
    """The type of the file system of the temporary folder, such as ext4."""
    folder = Path(tempfile.gettempdir()).resolve()
    best, kind = "", "unknown"
    for line in Path("/proc/mounts").read_text().splitlines():
        _, point, this, *_ = line.split()
        if folder.is_relative_to(point) and len(point) >= len(best):
            best, kind = point, this
    return kind


def describe() -> dict[str, str]:
    """Date, processor, memory, kernel, Python and disk, in words."""
    cpu = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": f"{cpu}, {len(os.sched_getaffinity(0))} cores (shared by server, database and load)",
        "memory": f"{memory:.0f} GiB",
        "system": f"Linux {platform.release()}",
        "python": platform.python_version(),
        "load average at the beginning": f"{os.getloadavg()[0]:.2f} (other programs take from both servers)",
        "disk": f"{filesystem()}, a durable 8 KiB write takes {fdatasync_us():,.0f} us",
    }


def allow_open_files(needed: int) -> None:
    """Raise the limit of open files for this process and its children. Raises ValueError where it may not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))

"""How long somebody waits who starts Ohmstead for the first time, in a tree that is set up."""

import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from bench.servers import HOST, SOURCE, ServerError, free_port

_LIMIT_SECONDS = 60


def first_start() -> float:
    """Seconds from `ohmstead demo` with an empty data folder to an answer of `/health`."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="ohmstead-bench-") as folder:
        Path(folder).chmod(0o711)
        settings = {"OHMSTEAD_DATA_DIR": f"{folder}/data", "PYTHONPATH": str(SOURCE)}
        command = [sys.executable, "-c", "from ohmstead.cli import main; main()", "demo", "--port", str(port)]
        began = time.monotonic()
        with subprocess.Popen(
            command,
            env={name: value for name, value in os.environ.items() if name != "DATABASE_URL"} | settings,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as demo:
            try:
                while not _healthy(port):
                    if demo.poll() is not None or time.monotonic() - began > _LIMIT_SECONDS:
                        raise ServerError("the demo did not start")
                    time.sleep(0.01)
                took = time.monotonic() - began
            finally:
                demo.send_signal(signal.SIGTERM)
                demo.wait(_LIMIT_SECONDS)
    return took


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False

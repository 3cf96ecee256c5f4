"""A test run that is killed leaves no PostgreSQL behind, nor a server that uses one, nor their folders."""

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from ohmstead.core.postgres import EmbeddedPostgres
from tests.cli.running import processes, reachable_folder, until
from tests.leftovers import clear_shared

ROOT = Path(__file__).parents[1]
RUN = """
import time
from pathlib import Path
from tests.cli.running import Running, reachable_folder, until
from tests.running import free_port
from ohmstead.core.postgres import EmbeddedPostgres

def test_that_is_killed(postgres):
    settings = {{"OHMSTEAD_PORT": str(free_port())}}
    with reachable_folder() as folder, Running("serve", OHMSTEAD_DATA_DIR=str(folder), **settings):
        until(lambda: EmbeddedPostgres(folder).pid is not None, "the PostgreSQL of the server starts")
        told = Path({told!r})
        told.with_suffix(".new").write_text(f"{{postgres.data_dir}} {{folder}}")
        told.with_suffix(".new").rename(told)
        time.sleep(600)
"""
FORGET = """
import os, sys
from pathlib import Path
from tests.leftovers import ending_with_us

kept, left = map(Path, sys.argv[1:])
with ending_with_us(kept):
    pass
with ending_with_us(left):
    os._exit(1)
"""


def start(folder: Path, *options: str) -> tuple["subprocess.Popen[bytes]", list[Path]]:
    """A test run with the PostgreSQL of all its workers and a server with its own; and their data folders."""
    told = folder / "told"
    file = folder / "test_killed.py"
    file.write_text(RUN.format(told=str(told)))
    # What the environment tells a worker of this run is not for that one: it would share our PostgreSQL.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "tests.conftest"]
    command += [f"--rootdir={ROOT}", f"--config-file={ROOT / 'pyproject.toml'}", *options, str(file)]
    silent = subprocess.DEVNULL
    run = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=silent, stderr=silent, start_new_session=True
    )
    until(lambda: told.exists() or run.poll() is not None, "the run is under way")
    assert run.poll() is None, f"the run ended with {run.returncode}"
    return run, [Path(name) for name in told.read_text().split()]


def gone(folder: Path) -> bool:
    return not folder.exists()


@pytest.mark.parametrize("options", [(), ("-n", "1")], ids=["alone", "with a worker"])
def test_a_run_that_is_killed_takes_its_databases_along(tmp_path: Path, options: tuple[str, ...]) -> None:
    run, folders = start(tmp_path, *options)
    found = [processes(rf"postgres -D {folder}/postgres") for folder in folders]
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    assert all(found), "each of the two has its PostgreSQL"
    for folder in folders:
        until(partial(gone, folder), f"{folder} is removed")
        assert not processes(f"{folder}/")


def test_a_shared_one_stays_while_somebody_uses_it() -> None:
    with reachable_folder() as folder, EmbeddedPostgres(folder, durable=False):
        clear_shared(folder)
        assert EmbeddedPostgres(folder).pid is not None


def test_what_has_ended_well_is_not_touched_any_more(tmp_path: Path) -> None:
    kept, left = tmp_path / "kept", tmp_path / "left"
    kept.mkdir()
    left.mkdir()
    subprocess.run([sys.executable, "-c", FORGET, str(kept), str(left)], cwd=ROOT, check=False)
    until(lambda: not left.exists(), "what was left is removed")
    assert kept.exists()

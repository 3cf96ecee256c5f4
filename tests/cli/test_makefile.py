"""The Makefile with stand-ins for Python and uv: what it would do on a machine, without the network."""

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STAND_IN = r"""#!/bin/sh
# A Python that notes what it is asked for; `-m venv` and `-m pip` make what they would make.
echo "python $*" >> {log}
case "$*" in
    "-c import sys; sys.exit(sys.version_info < (3, 11))") exit {too_old} ;;
    *"-m venv"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
    *"-m pip"*" install "*)
        printf '#!/bin/sh\n[ "$1" = --version ] && echo "uv {uv}" && exit\n' > .venv/bin/uv
        echo 'echo "uv $*" >> {log}' >> .venv/bin/uv
        printf '#!/bin/sh\necho "ohmstead $*" >> {log}\n' > .venv/bin/ohmstead
        chmod +x .venv/bin/uv .venv/bin/ohmstead ;;
esac
"""
UV = re.search(r"^UV_VERSION := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What `make setup` reads of a fresh clone."""
    for name in ("Makefile", "pyproject.toml", "uv.lock"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def make(
    clone: Path, target: str, *, too_old: bool = False
) -> tuple["subprocess.CompletedProcess[str]", list[str]]:
    """Run a target; gives how it ended, and what it ran."""
    assert UV is not None
    log, python = clone / "log", clone / "python"
    text = STAND_IN.replace("{log}", str(log)).replace("{too_old}", str(int(too_old)))
    python.write_text(text.replace("{uv}", UV[1]))
    python.chmod(0o755)
    done = subprocess.run(
        ["make", target, f"PYTHON={python}"],
        cwd=clone,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.defpath},
    )
    return done, log.read_text().splitlines() if log.exists() else []


def test_run_makes_the_environment_gets_uv_installs_what_is_locked_and_starts_the_demo(clone: Path) -> None:
    assert UV is not None
    done, ran = make(clone, "run")
    assert done.returncode == 0, done.stderr
    (venv,) = [line for line in ran if "-m venv" in line]
    (uv,) = [line for line in ran if " install " in line]
    (sync,) = [line for line in ran if line.startswith("uv ")]
    assert venv.endswith(".venv")
    assert uv.endswith(f"uv=={UV[1]}"), "uv itself comes from PyPI, in one version"
    assert "sync --frozen" in sync, "the lock is followed, never changed"
    assert ran[-1] == "ohmstead demo"
    assert [ran.index(line) for line in (venv, uv, sync)] == sorted(
        ran.index(line) for line in (venv, uv, sync)
    )


def test_a_second_run_installs_nothing(clone: Path) -> None:
    make(clone, "run")
    _, before = make(clone, "help")
    _, ran = make(clone, "run")
    assert ran[len(before) :] == ["ohmstead demo"]


def test_a_changed_lock_is_installed_again_with_the_uv_that_is_there(clone: Path) -> None:
    _, before = make(clone, "setup")
    later_than_all = time.time() + 10  # files have the time of the last tick, so two may be of one moment
    os.utime(clone / "uv.lock", (later_than_all, later_than_all))
    _, ran = make(clone, "setup")
    later = ran[len(before) :]
    assert [line for line in later if line.startswith("uv sync")]
    assert not [line for line in later if " install " in line]


def test_an_old_python_is_told_and_nothing_is_made(clone: Path) -> None:
    done, _ = make(clone, "setup", too_old=True)
    assert done.returncode != 0
    assert "needs Python 3.11 or newer" in done.stderr
    assert not (clone / ".venv").exists()


def test_help_names_every_target_with_a_word_on_it(clone: Path) -> None:
    done, _ = make(clone, "help")
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony is not None
    shown = dict(re.findall(r"^  make (\w+) +(\S.*)$", done.stdout, re.MULTILINE))
    assert set(shown) == set(phony[1].split())
    wanted = {"setup", "run", "test", "lint", "types", "system", "bench", "prove", "clean", "help"}
    assert wanted <= set(shown)

"""The README's charging session, typed as it stands there."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.running import Running, environment, reachable_folder, until
from tests.running import free_port

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"(?:^    .*\n(?:\s*\n)?)+", re.MULTILINE)


def blocks(heading: str) -> list[str]:
    """The indented blocks below a heading of the README."""
    section = (ROOT / "README.md").read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return [re.sub(r"^    ", "", block, flags=re.MULTILINE) for block in BLOCK.findall(section)]


def test_the_session_is_made_of_three_blocks() -> None:
    sign_in, start, visit = blocks("One charging session")
    assert "/api/auth/login" in sign_in
    assert "/remote-start" in start
    assert "plug_first" in visit


@pytest.mark.prove
@pytest.mark.timeout(400)
def test_the_session_happens_and_its_energy_grows() -> None:
    port = free_port()
    sign_in, start, visit = blocks("One charging session")
    again = start.strip().splitlines()[-1]
    script = "\n".join((sign_in, start, "echo; sleep 6", again, "kill %1; wait", f"time {visit}"))
    script = script.replace("localhost:8000", f"127.0.0.1:{port}")
    program = f"{sys.executable} -m ohmstead.cli simulate --url ws://127.0.0.1:{port}/ocpp"
    script = script.replace(".venv/bin/ohmstead simulate", program)
    with (
        reachable_folder() as folder,
        Running("demo", "--port", str(port), OHMSTEAD_DATA_DIR=str(folder)) as demo,
    ):
        demo.await_health(port)
        until(lambda: "the data stays" in demo.text(), "the demo is up")
        done = subprocess.run(
            ["bash", "-m", "-c", script],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**environment(), "PATH": os.environ["PATH"]},
            timeout=300,
            check=False,
        )
    answers = [json.loads(line) for line in re.findall(r'\{"items".*?"total":\d+\}', done.stdout)]
    assert len(answers) == 2, done.stdout + done.stderr
    first, second = (answer["items"][0] for answer in answers)
    assert first["status"] == "Active"
    assert 0 < first["energy_wh"] < second["energy_wh"]
    assert "1 of 1 sessions done, 0 errors" in done.stdout, done.stdout + done.stderr
    minutes = re.search(r"real\s+(\d+)m", done.stderr)
    assert minutes is not None
    assert int(minutes[1]) <= 2, "a visit takes about two minutes"

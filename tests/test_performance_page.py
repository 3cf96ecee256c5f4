"""docs/performance.md says how its table was made, and which options there are: both must be so."""

import re
import shlex
from pathlib import Path

import pytest
from bench.__main__ import parse

PAGE = (Path(__file__).parents[1] / "docs" / "performance.md").read_text()


def test_every_option_that_the_page_names_exists(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"])
    known = set(re.findall(r"--[a-z][a-z-]*", capsys.readouterr().out))
    named = set(re.findall(r"--[a-z][a-z-]*", PAGE))
    assert named - known == set()
    assert {"--runs", "--seconds", "--warmup", "--chargers", "--full", "--soak"} <= named


def test_the_values_that_the_page_gives_for_options_are_their_defaults() -> None:
    arguments, plan = parse([])
    listed = PAGE.split("## Options")[1]
    told = {name: float(value) for name, value in re.findall(r"`--([a-z-]+) ([0-9.]+)`", listed)}
    assert told.pop("runs") == arguments.runs
    assert told
    assert told == {name: getattr(plan, name.replace("-", "_")) for name in told}


def test_the_command_above_the_table_is_the_one_that_made_it() -> None:
    [command] = re.findall(r"^    python -m bench (.*?) +#", PAGE, flags=re.MULTILINE)
    arguments, plan = parse(shlex.split(command))
    [(runs, seconds)] = re.findall(
        r"^- runs: (\d+) of each in turn, medians; (\d+) s measured", PAGE, re.MULTILINE
    )
    assert (arguments.runs, plan.seconds) == (int(runs), float(seconds))
    [(chargers, soak, rate)] = re.findall(
        r"^Soak: ([\d,]+) chargers for (\d+) s at ([\d,]+) messages/s", PAGE, re.MULTILINE
    )
    assert (plan.fleet, plan.soak, plan.soak_rate) == tuple(
        float(number.replace(",", "")) for number in (chargers, soak, rate)
    )

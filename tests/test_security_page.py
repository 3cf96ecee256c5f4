"""docs/security.md names the test of each promise: those tests must be there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "security.md").read_text()
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", PAGE)))


@pytest.mark.parametrize(("file", "name"), NAMED, ids=[f"{file}::{name}" for file, name in NAMED])
def test_a_test_that_the_page_names_is_there(file: str, name: str) -> None:
    assert re.search(rf"^\s*(async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE)


def test_every_promise_has_a_test() -> None:
    promises = [
        line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| Promise")
    ]
    assert len(promises) > 15
    assert [line for line in promises if "::test_" not in line] == []

"""The repository as a reader finds it: it stands alone, its links lead somewhere, its documents are right."""

import re
import subprocess
from pathlib import Path
from urllib.parse import unquote

import pytest
from pydantic_core import PydanticUndefined
from typer.main import get_command

from ohmstead.cli import app
from ohmstead.core import metrics
from ohmstead.core.config import Settings, env_name
from ohmstead_simulator.forms import FORMS, NESTING
from ohmstead_simulator.spec import QUIRKS

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
NAME = r"\bOHMSTEAD_[A-Z_]*[A-Z]\b"
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
ROW = re.compile(r"^\| (`[A-Z].*?) \| (.*?) \|", re.MULTILINE)


def files() -> list[Path]:
    """Every file of the repository, and those that are about to become one."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode != 0:  # an archive without a history
        wanted = [path for path in ROOT.iterdir() if not path.name.startswith((".venv", ".git", "."))]
        return [file for path in wanted for file in ([path] if path.is_file() else path.rglob("*.*"))]
    paths = (ROOT / name.decode() for name in listed.stdout.split(b"\0") if name)
    return [path for path in paths if path.is_file()]


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def anchors(page: Path) -> set[str]:
    """The names of a page's headings, as the usual viewers make them."""
    headings = re.findall(r"^#+ (.*)$", text_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


class TestStandsAlone:
    def test_no_file_mentions_what_lies_outside_of_it(self) -> None:
        # Written in pieces: this file must not hold what it looks for.
        needles = ["/" + "work/", "shared" + "/", "brief" + "_", "issues" + " show"]
        private = {str(ROOT), str(Path.home())} - {"/", "/" + "root"}
        if str(Path.home()) == "/" + "root":
            private.add("/" + "root/")
        found = [
            f"{path.relative_to(ROOT)}: {needle}"
            for path in files()
            for needle in [*needles, *private]
            if needle in text_of(path)
        ]
        assert not found

    def test_no_file_cites_an_issue_by_its_number(self) -> None:
        cited = re.compile(r"\b(issue|ticket) #?\d+\b", re.IGNORECASE)
        assert not [path.name for path in files() if path.name != "uv.lock" and cited.search(text_of(path))]

    def test_the_search_finds_what_it_looks_for(self) -> None:
        assert Path(__file__).resolve() in {path.resolve() for path in files()}
        assert len(files()) > 200


class TestLinks:
    @pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
    def test_every_link_to_a_file_or_a_heading_leads_there(self, page: Path) -> None:
        broken = []
        for link in LINK.findall(text_of(page)):
            if re.match(r"[a-z]+:", link):
                continue
            name, _, anchor = link.partition("#")
            target = (page.parent / unquote(name)).resolve() if name else page
            if not target.exists() or (anchor and anchor not in anchors(target)):
                broken.append(link)
        assert not broken

    def test_every_page_can_be_found_from_the_index(self) -> None:
        seen, ahead = set(), [ROOT / "README.md"]
        while ahead:
            page = ahead.pop()
            if page in seen or page.suffix != ".md" or not page.is_file():
                continue
            seen.add(page)
            ahead += [
                (page.parent / link.partition("#")[0]).resolve() for link in LINK.findall(text_of(page))
            ]
        assert not [str(page.relative_to(ROOT)) for page in PAGES if page not in seen]


class TestSettings:
    def default_of(self, field: str) -> object:
        """The default as it is written in a document, or None where it is no fixed text."""
        default = Settings.model_fields[field].default
        if default is PydanticUndefined or default is None or default == ():
            return None
        if isinstance(default, bool):
            return str(default).lower()
        return f"{default:g}" if isinstance(default, float) else str(default)

    def test_the_example_file_explains_each_and_shows_its_default(self) -> None:
        lines = (ROOT / ".env.example").read_text().splitlines()
        for field in Settings.model_fields:
            name = env_name(field)
            (number,) = [number for number, line in enumerate(lines) if line.startswith(f"# {name}=")]
            explained = lines[number - 1]
            assert explained.startswith("# ") and "=" not in explained.split()[1], f"{name} has its line"  # noqa: PT018
            default = self.default_of(field)
            if default is not None:
                assert lines[number] == f"# {name}={default}"

    def test_a_document_tells_of_each(self) -> None:
        written = "".join(text_of(page) for page in PAGES)
        assert not [env_name(field) for field in Settings.model_fields if env_name(field) not in written]

    def test_the_table_of_settings_shows_their_defaults(self) -> None:
        fields = {env_name(field): field for field in Settings.model_fields}
        shown = {
            name: default.strip("`")
            for names, default in ROW.findall(text_of(ROOT / "docs" / "operations.md"))
            for name in re.findall(r"`([A-Z_]+)`", names)
        }
        assert {"OHMSTEAD_PORT", "OHMSTEAD_MESSAGE_LOG_DAYS"} <= set(shown)
        for name, default in shown.items():
            if name in fields and (known := self.default_of(fields[name])) is not None:
                assert default == known, name

    def test_no_document_names_a_setting_that_there_is_not(self) -> None:
        known = {env_name(field) for field in Settings.model_fields}
        named = {
            name for page in PAGES if page.name != "CHANGELOG.md" for name in re.findall(NAME, text_of(page))
        }
        tests = {name for path in (ROOT / "tests").rglob("*.py") for name in re.findall(NAME, text_of(path))}
        assert named <= known | tests


def test_the_page_of_the_simulator_names_every_scenario_quirk_and_step() -> None:
    scenarios, _, rest = text_of(ROOT / "docs" / "simulator.md").partition("### The format")
    first_cell = re.compile(r"^\| `(\w+)` \|", re.MULTILINE)
    assert set(first_cell.findall(scenarios)) == {path.stem for path in (ROOT / "scenarios").glob("*.yaml")}
    assert set(first_cell.findall(rest.partition("| step |")[2])) == {*FORMS, *NESTING}
    quirks = rest.partition("\nQuirks: ")[2].partition("\n\n")[0]
    assert set(QUIRKS) <= set(re.findall(r"`(\w+)`", quirks))


def test_the_table_of_metrics_names_each_of_them() -> None:
    table = text_of(ROOT / "docs" / "operations.md").partition("## Metrics")[2].partition("\n## ")[0]
    shown = set(re.findall(r"^\| `(ohmstead_\w+)`", table, re.MULTILINE))
    families = {family.name: family.type for family in metrics.REGISTRY.collect()}
    assert shown == {f"{name}_total" if kind == "counter" else name for name, kind in families.items()}


def test_the_table_of_commands_names_every_command() -> None:
    table = text_of(ROOT / "docs" / "operations.md").partition("## Commands")[2].partition("## Settings")[0]
    group = get_command(app)
    for name, command in group.commands.items():  # type: ignore[attr-defined] # the app has several: it is a group
        for full in [f"{name} {inner}" for inner in getattr(command, "commands", {})] or [name]:
            assert f"`ohmstead {full}`" in table

"""Scenario files: what they may say, and readable errors for what they may not.

The format is described in docs/simulator.md. Every step keeps its line, so that an error, while
loading or while playing, names it.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import yaml

from ohmstead_simulator.errors import ScenarioError
from ohmstead_simulator.forms import (
    CONDITIONS,
    FORMS,
    NESTING,
    Check,
    Form,
    WrongValueError,
    count,
    duration,
    flag,
    moment,
    number,
    one_of,
    repeats,
    settings,
    several_of,
    text,
    texts,
)
from ohmstead_simulator.spec import QUIRKS, ChargerSpec, Current


@dataclass(frozen=True, slots=True)
class Step:
    """One step: its name, its checked values (durations in seconds), and where it stands."""

    name: str
    values: dict[str, Any]
    line: int


@dataclass(frozen=True, slots=True)
class Scenario:
    """A checked scenario. `repeat` is how often the steps are played, None = for ever."""

    name: str
    description: str
    path: str
    steps: tuple[Step, ...]
    repeat: int | None = 1
    start: str = "boot"
    """What happens before the first step: `boot` (connect and boot), `connect`, or `nothing`."""
    stagger: float = 0.0
    """Seconds over which the charge points of a fleet spread their beginning."""
    tags: tuple[str, ...] = ()
    charger: dict[str, Any] = field(default_factory=dict)

    def spec(self, charger_id: str, password: str | bytes | None = None) -> ChargerSpec:
        """A charge point as the scenario wants it."""
        return ChargerSpec(charger_id, password=password, **self.charger)


_CHARGER: dict[str, Check] = {
    "connectors": count,
    "max_kw": number,
    "current": one_of(*get_args(Current)),
    "phases": count,
    "vendor": text,
    "model": text,
    "firmware": text,
    "quirks": several_of(*QUIRKS),
    "configuration": settings,
    "clock_start": moment,
    "sync_clock": flag,
}
_CHARGERS: dict[str, Check] = {
    **_CHARGER,
    "start": one_of("boot", "connect", "nothing"),
    "stagger": duration,
    "tags": texts,
}
_TOP = ("name", "description", "chargers", "steps", "repeat")


def load_scenarios(paths: Iterable[str | Path]) -> list[Scenario]:
    """Read and check scenario files (a folder stands for the *.yaml in it); raises ScenarioError."""
    files: list[Path] = []
    for path in map(Path, paths):
        files.extend(sorted(path.glob("*.yaml")) if path.is_dir() else [path])
    if not files:
        raise ScenarioError("no scenario file was given")
    return [load_scenario(path) for path in files]


def load_scenario(path: Path) -> Scenario:
    """Read and check one scenario file; raises ScenarioError."""
    try:
        content = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ScenarioError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ScenarioError(f"{path}: is not UTF-8 text") from error
    return parse_scenario(content, str(path))


def parse_scenario(content: str, path: str = "scenario") -> Scenario:
    """Check the text of a scenario; `path` is what errors call it."""
    try:
        root = yaml.compose(content, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else 1
        raise ScenarioError(f"{path}:{line}: not YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise ScenarioError(f"{path}:1: not YAML: {error}") from error
    return _Reader(path).scenario(root)


class _Reader:
    """Turns YAML nodes, which know their lines, into a Scenario."""

    def __init__(self, path: str) -> None:
        self._path = path

    def wrong(self, node: yaml.Node | None, message: str) -> ScenarioError:
        line = node.start_mark.line + 1 if node is not None else 1
        return ScenarioError(f"{self._path}:{line}: {message}")

    def scenario(self, root: yaml.Node | None) -> Scenario:
        top = self.members(root, "a scenario", _TOP)
        if "steps" not in top:
            raise self.wrong(root, "a scenario needs 'steps', a list of steps")
        plain: dict[str, Any] = {
            "name": self.value(top["name"], "name", text) if "name" in top else Path(self._path).stem,
            "description": self.value(top["description"], "description", text)
            if "description" in top
            else "",
            "repeat": self.value(top["repeat"], "repeat", repeats) if "repeat" in top else 1,
        }
        chargers = self.checked(top["chargers"], "chargers", _CHARGERS) if "chargers" in top else {}
        more: dict[str, Any] = {
            name: chargers.pop(name) for name in ("start", "stagger", "tags") if name in chargers
        }
        scenario = Scenario(
            path=self._path, steps=self.steps(top["steps"], "steps"), charger=chargers, **plain, **more
        )
        try:
            scenario.spec("check")
        except ValueError as error:
            raise self.wrong(top.get("chargers"), f"chargers: {error}") from error
        return scenario

    def members(
        self, node: yaml.Node | None, what: str, allowed: Iterable[str] | None
    ) -> dict[str, yaml.Node]:
        if not isinstance(node, yaml.MappingNode):
            raise self.wrong(node, f"{what} must be a mapping (name: value)")
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = str(key.value)
            if allowed is not None and name not in allowed:
                raise self.wrong(key, f"{what} has no '{name}'{_nearest(name, allowed)}")
            if name in found:
                raise self.wrong(key, f"{what} has '{name}' twice")
            found[name] = value
        return found

    def plain(self, node: yaml.Node) -> Any:
        loader = yaml.SafeLoader("")
        try:
            return loader.construct_document(node)
        except (yaml.YAMLError, ValueError) as error:
            raise self.wrong(node, f"not a usable value: {error}") from error
        finally:
            loader.dispose()

    def value(self, node: yaml.Node, what: str, check: Check) -> Any:
        given = self.plain(node)
        try:
            return check(given)
        except WrongValueError as error:
            raise self.wrong(node, f"'{what}' must be {error}, not {given!r}") from error

    def checked(self, node: yaml.Node, what: str, checks: Mapping[str, Check]) -> dict[str, Any]:
        found = self.members(node, what, checks)
        return {name: self.value(one, f"{what}.{name}", checks[name]) for name, one in found.items()}

    def steps(self, node: yaml.Node, what: str) -> tuple[Step, ...]:
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            raise self.wrong(node, f"'{what}' must be a list of steps (- wait: 30s)")
        return tuple(self.step(one, position) for position, one in enumerate(node.value, start=1))

    def step(self, node: yaml.Node, position: int) -> Step:
        line = node.start_mark.line + 1
        if isinstance(node, yaml.ScalarNode):
            name, body = str(node.value), None
        else:
            found = self.members(node, f"step {position}", None)
            if len(found) != 1:
                raise self.wrong(
                    node, f"step {position} must have one name, not {', '.join(found) or 'none'}"
                )
            name, body = next(iter(found.items()))
        allowed = [*FORMS, *NESTING]
        if name not in allowed:
            raise self.wrong(node, f"step {position}: there is no step '{name}'{_nearest(name, allowed)}")
        if name in NESTING:
            return Step(name, self.nested(name, body, node), line)
        return Step(name, self.step_values(name, body, node), line)

    def step_values(self, name: str, body: yaml.Node | None, node: yaml.Node) -> dict[str, Any]:
        form = FORMS[name]
        empty = body is None or (isinstance(body, yaml.ScalarNode) and body.tag == "tag:yaml.org,2002:null")
        if body is None or empty:
            values: dict[str, Any] = {}
        elif isinstance(body, yaml.MappingNode):
            values = self.checked(body, name, form.members)
        elif form.short is None:
            raise self.wrong(body, f"'{name}' takes {_takes(form)}")
        else:
            values = {form.short: self.value(body, name, form.members[form.short])}
        missing = sorted(form.required - set(values))
        if missing:
            raise self.wrong(node, f"'{name}' needs '{missing[0]}'")
        if name == "wait" and not values:
            raise self.wrong(node, "'wait' needs a duration (- wait: 30s), or min and max")
        if name == "wait_for" and ("condition" in values) == ("status" in values):
            raise self.wrong(node, f"'wait_for' needs a status or one condition of {', '.join(CONDITIONS)}")
        return values

    def nested(self, name: str, body: yaml.Node | None, node: yaml.Node) -> dict[str, Any]:
        if name == "parallel":
            if not isinstance(body, yaml.SequenceNode) or not body.value:
                raise self.wrong(node, "'parallel' must be a list of lists of steps")
            return {"branches": [self.steps(branch, "parallel") for branch in body.value]}
        found = self.members(body, "repeat", ("times", "steps"))
        if "times" not in found or "steps" not in found:
            raise self.wrong(node, "'repeat' needs 'times' and 'steps'")
        return {
            "times": self.value(found["times"], "repeat.times", count),
            "steps": self.steps(found["steps"], "repeat.steps"),
        }


def _nearest(name: str, allowed: Iterable[str]) -> str:
    words = list(allowed)
    close = difflib.get_close_matches(name, words, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else "."
    return f"{hint} Allowed: {', '.join(words)}"


def _takes(form: Form) -> str:
    return f"only members: {', '.join(form.members)}" if form.members else "no value"

from pathlib import Path

import pytest

from ohmstead_simulator.errors import ScenarioError
from ohmstead_simulator.forms import FORMS, NESTING
from ohmstead_simulator.play import Player
from ohmstead_simulator.scenario import load_scenarios, parse_scenario
from ohmstead_simulator.station import SimulatedStation

SCENARIOS = Path(__file__).parents[2] / "scenarios"


def test_every_scenario_of_the_repository_is_right() -> None:
    names = {scenario.name for scenario in load_scenarios([SCENARIOS])}
    assert names >= {
        "plug_first",
        "tag_first",
        "ev_side_disconnect",
        "power_cut_offline_queue",
        "faults",
        "clock_drift",
        "boot_storm",
        "two_connectors_at_once",
        "remote_start",
        "vendor_quirks",
    }


def test_a_scenario_is_read_with_its_values_in_seconds() -> None:
    scenario = parse_scenario(
        """
        name: n
        repeat: forever
        chargers:
          {connectors: 2, max_kw: 50, current: DC, stagger: 1m, quirks: [pipelined],
           clock_start: 1970-01-01T00:00:00Z}
        steps:
          - connect
          - wait: 1.5m
          - drift: -30s
          - authorize: 12345
          - parallel:
              - - unplug: 1
              - - repeat: {times: 2, steps: [heartbeat]}
        """
    )
    assert scenario.repeat is None
    assert scenario.stagger == 60
    spec = scenario.spec("X")
    assert (spec.connectors, spec.max_kw, spec.current) == (2, 50, "DC")
    assert spec.quirks == frozenset({"pipelined"})
    assert spec.clock_start is not None
    assert spec.clock_start.year == 1970
    names = [step.name for step in scenario.steps]
    assert names == ["connect", "wait", "drift", "authorize", "parallel"]
    assert [step.values for step in scenario.steps[:4]] == [
        {},
        {"for": 90.0},
        {"by": -30.0},
        {"tag": "12345"},
    ]
    assert scenario.steps[1].line == 9


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "steps:\n  - plgu: {connector: 1}",
            r"s.yaml:2: step 1: there is no step 'plgu'; did you mean 'plug'\?",
        ),
        (
            "steps:\n  - wait: 1s\n  - plug: {conector: 1}",
            r"s.yaml:3: plug has no 'conector'; did you mean 'connector'",
        ),
        ("steps:\n  - wait: soon", r"s.yaml:2: 'wait' must be a duration such as .*, not 'soon'"),
        ("steps:\n  - wait: -3s", r"s.yaml:2: 'wait' must be a duration that is not negative"),
        ("steps:\n  - wait", r"s.yaml:2: 'wait' needs a duration"),
        (
            "steps:\n  - wait_for: {timeout: 3s}",
            r"s.yaml:2: 'wait_for' needs a status or one condition of transaction",
        ),
        ("steps:\n  - fault: {connector: 1}", r"s.yaml:2: 'fault' needs 'error_code'"),
        ("steps:\n  - fault: Fire", r"s.yaml:2: 'fault' must be one of ConnectorLockFailure"),
        ("steps:\n  - connect: now", r"s.yaml:2: 'connect' takes no value"),
        (
            "steps:\n  - start: {connector: 0}",
            r"s.yaml:2: 'start.connector' must be a whole number from 1, not 0",
        ),
        ("steps:\n  - {start: 1, stop: 1}", r"s.yaml:2: step 1 must have one name"),
        ("steps:\n  - repeat: {times: 2}", r"s.yaml:2: 'repeat' needs 'times' and 'steps'"),
        ("steps: []", r"s.yaml:1: 'steps' must be a list of steps"),
        ("name: x", r"s.yaml:1: a scenario needs 'steps'"),
        ("name: x\nstep: []", r"s.yaml:2: a scenario has no 'step'; did you mean 'steps'\?"),
        ("repeat: 0\nsteps: [connect]", r"s.yaml:1: 'repeat' must be a whole number from 1"),
        (
            "chargers:\n  quirks: [odd]\nsteps: [connect]",
            r"s.yaml:2: 'chargers.quirks' must be a list of float_noise",
        ),
        ("chargers:\n  max_kw: 0\nsteps: [connect]", r"s.yaml:2: chargers: max_kw must be greater than 0"),
        ("name: x\nname: y\nsteps: [connect]", r"s.yaml:2: a scenario has 'name' twice"),
        ("steps: [\n", r"s.yaml:2: not YAML"),
        ("", r"s.yaml:1: a scenario must be a mapping"),
    ],
)
def test_a_wrong_scenario_says_where_and_what_is_allowed(content: str, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        parse_scenario(content, "s.yaml")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"gone\.yaml: cannot be read"):
        load_scenarios([tmp_path / "gone.yaml"])
    with pytest.raises(ScenarioError, match="no scenario file"):
        load_scenarios([])


async def test_every_step_that_a_file_may_name_can_be_played() -> None:
    scenario = parse_scenario("steps: [connect]")
    player = Player(SimulatedStation("ws://127.0.0.1:1", "X"), scenario)
    assert set(player.step_names) == {*FORMS, *NESTING}

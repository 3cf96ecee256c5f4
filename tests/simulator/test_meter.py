import random

import pytest

from ohmstead_simulator.meter import Reading, register_text, sampled_values

ALL = ["Energy.Active.Import.Register", "Power.Active.Import", "Current.Import", "Voltage", "SoC"]


def values(
    reading: Reading, quirks: frozenset[str] = frozenset(), turn: int = 0
) -> dict[str, list[dict[str, str]]]:
    rng = random.Random(1)  # noqa: S311  # no cryptography here
    sampled = sampled_values(reading, ALL, context="Sample.Periodic", quirks=quirks, turn=turn, rng=rng)
    found: dict[str, list[dict[str, str]]] = {}
    for one in sampled:
        found.setdefault(one["measurand"], []).append(one)
    return found


def test_ac_values_are_per_phase_and_fit_together() -> None:
    found = values(Reading(1234.4, 11_000, 22_000, "AC", 3, None))
    assert found["Energy.Active.Import.Register"][0]["value"] == "1234"
    assert [one["phase"] for one in found["Current.Import"]] == ["L1", "L2", "L3"]
    power = float(found["Power.Active.Import"][0]["value"])
    current = sum(float(one["value"]) for one in found["Current.Import"])
    assert power == pytest.approx(11_000, rel=0.03)
    assert current * 230 == pytest.approx(power, rel=0.03)
    assert all(abs(float(one["value"]) - 230) < 8 for one in found["Voltage"])
    assert "SoC" not in found


def test_dc_values_tell_the_state_of_charge() -> None:
    found = values(Reading(1000, 50_000, 50_000, "DC", 3, 41.6))
    assert found["SoC"][0] | {"context": ""} == {
        "value": "42",
        "measurand": "SoC",
        "unit": "Percent",
        "location": "EV",
        "context": "",
    }
    assert len(found["Current.Import"]) == 1


def test_no_power_is_exactly_no_power() -> None:
    assert values(Reading(1000, 0, 22_000, "AC", 3, None))["Power.Active.Import"][0]["value"] == "0"


def test_float_noise_has_too_many_digits_and_the_right_value() -> None:
    text, unit = register_text(150.0, {"float_noise"}, 0)
    assert unit == "kWh"
    assert len(text) > 15
    assert float(text) == pytest.approx(0.15)


def test_mixed_units_alternate_and_say_so() -> None:
    assert register_text(1500, {"unit_mix"}, 0) == ("1500", "Wh")
    assert register_text(1500, {"unit_mix"}, 1) == ("1.500", "kWh")


def test_a_lying_unit_is_a_thousand_times_off() -> None:
    assert register_text(1500, {"unit_lie"}, 1) == ("1.500", "Wh")

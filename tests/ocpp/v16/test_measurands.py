"""Sampled values as chargers send them."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohmstead.ocpp.v16.measurands import (
    Reading,
    current_a,
    energy_register_wh,
    normalise,
    power_w,
    soc_percent,
    summarise,
    voltage_v,
)

REGISTER = "Energy.Active.Import.Register"


def sampled(value: str, measurand: str | None = None, **members: str) -> dict[str, Any]:
    return {"value": value, **({"measurand": measurand} if measurand else {}), **members}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (sampled("1500"), "1500"),
        (sampled("1500", REGISTER), "1500"),
        (sampled("1500", REGISTER, unit="Wh"), "1500"),
        (sampled("1.5", REGISTER, unit="kWh"), "1500"),
        (sampled("0.15003999999999998", unit="kWh"), "150.040"),
        (sampled("0.15003999999999998"), "0.150"),
        (sampled("12.3456"), "12.346"),
        (sampled(" 7 "), "7"),
        (sampled("1.5E3"), "1500"),
        (sampled("-1"), "-1"),
        (sampled("0"), "0"),
    ],
)
def test_the_register_is_read_in_watt_hours(value: dict[str, Any], expected: str) -> None:
    assert energy_register_wh([value]) == Decimal(expected)


@pytest.mark.parametrize(
    "value",
    [
        sampled("abc"),
        sampled(""),
        sampled("NaN"),
        sampled("sNaN"),
        sampled("Infinity"),
        sampled("-inf"),
        sampled("12,5"),
        sampled("1_000"),
        sampled("1e16"),
        sampled("1e999999999"),
        sampled("1e99999999999999999999"),
        sampled("9" * 100_000),
        sampled("1500", format="SignedData"),
        sampled("1500", unit="W"),
        sampled("1500", unit="varh"),
        sampled("1500", "Energy.Active.Export.Register"),
        sampled("1500", "Energy.Active.Import.Interval"),
        sampled("1500", phase="N"),
        sampled("1500", phase="L1-L2"),
        {"value": True},
        {"value": None},
        {"value": 10**5000},
        {},
    ],
)
def test_what_is_no_register_is_skipped(value: dict[str, Any]) -> None:
    assert energy_register_wh([value]) is None
    assert energy_register_wh([value, sampled("42")]) == 42
    assert energy_register_wh([sampled("42"), value]) == 42


def test_the_noise_of_floats_is_rounded_away_exactly() -> None:
    assert str(energy_register_wh([sampled("0.15003999999999998", unit="kWh")])) == "150.040"


def test_no_samples_are_no_reading() -> None:
    assert summarise([]) == Reading(None, None, None, None, None)


def test_the_value_without_phase_stands_for_the_whole() -> None:
    values = [sampled("10", phase="L1"), sampled("33"), sampled("11", phase="L2"), sampled("12", phase="L3")]
    assert energy_register_wh(values) == 33


def test_phases_alone_are_summed() -> None:
    assert energy_register_wh([sampled("1", phase=phase, unit="kWh") for phase in ("L1", "L2", "L3")]) == 3000
    assert energy_register_wh([sampled("1", phase=phase) for phase in ("L1-N", "L2-N")]) == 2
    assert energy_register_wh([sampled("5", phase="L1")]) == 5


def test_a_phase_given_twice_counts_once() -> None:
    assert energy_register_wh([sampled("5", phase="L1"), sampled("5", phase="L1-N")]) == 5


@pytest.mark.parametrize("preferred", [{}, {"location": "Outlet"}])
@pytest.mark.parametrize("other", ["Inlet", "Body", "EV", "Cable"])
def test_the_outlet_counts_before_other_places(preferred: dict[str, str], other: str) -> None:
    values = [sampled("7", location=other), sampled("3", **preferred)]
    assert energy_register_wh(values) == 3
    assert energy_register_wh(values[::-1]) == 3


def test_phases_at_the_outlet_count_before_a_total_at_the_inlet() -> None:
    outlet = [sampled("1", phase=phase, location="Outlet") for phase in ("L1", "L2", "L3")]
    assert energy_register_wh([sampled("9", location="Inlet"), *outlet]) == 3


def test_another_place_is_better_than_nothing() -> None:
    assert energy_register_wh([sampled("7", location="Inlet")]) == 7


def test_the_value_at_the_begin_of_a_transaction_gives_way_to_the_later_one() -> None:
    begin, end = sampled("1", context="Transaction.Begin"), sampled("2", context="Transaction.End")
    assert energy_register_wh([begin, end]) == 2
    assert energy_register_wh([end, begin]) == 2
    assert energy_register_wh([begin]) == 1


def test_one_pass_reads_all_five_quantities() -> None:
    values = [
        sampled("1.5", unit="kWh"),
        sampled("7.4", "Power.Active.Import", unit="kW"),
        sampled("55", "SoC", unit="Percent", location="EV"),
        *(
            sampled(v, "Current.Import", phase=p, unit="A")
            for v, p in (("10", "L1"), ("16.1", "L2"), ("0", "N"))
        ),
        *(
            sampled(v, "Voltage", phase=p, unit="V")
            for v, p in (("229", "L1-N"), ("231", "L2-N"), ("400", "L1-L2"))
        ),
        sampled("41", "Temperature"),
    ]
    assert summarise(values) == Reading(*map(Decimal, ("1500", "7400", "55", "16.1", "230")))
    assert power_w(values) == 7400
    assert soc_percent(values) == 55
    assert current_a(values) == Decimal("16.1")
    assert voltage_v(values) == 230


def test_power_of_phases_is_summed() -> None:
    assert (
        power_w([sampled("1.1", "Power.Active.Import", phase=p, unit="kW") for p in ("L1", "L2", "L3")])
        == 3300
    )


@pytest.mark.parametrize("value", ["-1", "100.5", "255", "NaN"])
def test_an_impossible_state_of_charge_is_dropped(value: str) -> None:
    assert soc_percent([sampled(value, "SoC")]) is None


def test_values_for_display_have_their_defaults_and_base_units() -> None:
    assert normalise(
        [
            sampled("1.5", unit="kWh"),
            sampled("20", "Temperature", unit="Celcius", location="Body"),
            sampled("16", "Current.Import", phase="L1", context="Trigger"),
            sampled("0.9", "Power.Factor"),
            sampled("8f00", REGISTER, format="SignedData"),
        ]
    ) == [
        row(REGISTER, Decimal("1500"), "Wh"),
        row("Temperature", Decimal("20"), "Celsius", location="Body"),
        row("Current.Import", Decimal("16"), "A", phase="L1", context="Trigger"),
        row("Power.Factor", Decimal("0.9"), None),
        row(REGISTER, None, "Wh"),
    ]


def row(measurand: str, value: Decimal | None, unit: str | None, **members: str) -> dict[str, Any]:
    defaults = {"phase": None, "location": "Outlet", "context": "Sample.Periodic"}
    return {"measurand": measurand, "value": value, "unit": unit, **defaults, **members}


@given(
    st.lists(
        st.fixed_dictionaries(
            {"value": st.text() | st.floats().map(str) | st.integers().map(str)},
            optional={
                "measurand": st.sampled_from(
                    [REGISTER, "SoC", "Voltage", "Current.Import", "Power.Active.Import"]
                ),
                "phase": st.sampled_from(["L1", "L2-N", "N"]),
                "unit": st.sampled_from(["Wh", "kWh", "V", "Percent", "kW", "A"]),
                "location": st.sampled_from(["Outlet", "Inlet"]),
            },
        )
    )
)
def test_no_text_of_a_charger_breaks_the_reading(values: list[dict[str, Any]]) -> None:
    for number in summarise(values):
        assert number is None or number.is_finite()
    assert len(normalise(values)) == len(values)

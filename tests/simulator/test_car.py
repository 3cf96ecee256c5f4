import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohmstead_simulator.car import AC_CURVE, DC_CURVE, Car, share_at
from ohmstead_simulator.spec import Current

CURRENTS: st.SearchStrategy[Current] = st.sampled_from(("AC", "DC"))


@given(
    soc=st.floats(0, 100),
    target=st.floats(0, 100),
    capacity=st.floats(5, 150),
    seconds=st.floats(0, 7200),
    limit_kw=st.floats(0, 400),
    current=CURRENTS,
)
def test_a_charge_keeps_to_the_limit_the_target_and_the_battery(
    *, soc: float, target: float, capacity: float, seconds: float, limit_kw: float, current: Current
) -> None:
    car = Car(capacity_kwh=capacity, soc=soc, target_soc=target)
    energy = car.charge(seconds, current, limit_kw * 1000)
    assert 0 <= energy <= limit_kw * 1000 * seconds / 3600 + 1e-6
    assert soc <= car.soc <= max(soc, target) + 1e-9
    stored = (car.soc - soc) / 100 * capacity * 1000
    assert stored == pytest.approx(energy * car.efficiency(current), abs=1e-3)


@given(cuts=st.lists(st.integers(1, 60), max_size=8), current=CURRENTS)
def test_charging_in_parts_gives_the_same_energy_as_at_once(cuts: list[int], current: Current) -> None:
    whole, parts = Car(soc=30), Car(soc=30)
    seconds = [10.0 * cut for cut in cuts]
    at_once = whole.charge(sum(seconds), current, 50_000)
    in_parts = sum(parts.charge(one, current, 50_000) for one in seconds)
    assert in_parts == pytest.approx(at_once)


@given(low=st.floats(55, 100), more=st.floats(0, 45))
def test_dc_power_only_falls_above_the_knee(low: float, more: float) -> None:
    high = min(100.0, low + more)
    assert share_at(DC_CURVE, high) <= share_at(DC_CURVE, low) + 1e-9


def test_dc_power_is_half_at_eighty_and_little_at_the_end() -> None:
    full = Car(soc=40, dc_max_kw=150).wanted_w("DC")
    assert full == pytest.approx(150_000)
    assert 0.4 * full < Car(soc=80, dc_max_kw=150).wanted_w("DC") < 0.6 * full
    assert Car(soc=99, dc_max_kw=150).wanted_w("DC") < 0.1 * full


def test_ac_power_is_flat_until_the_cells_balance() -> None:
    assert Car(soc=10).wanted_w("AC") == Car(soc=90).wanted_w("AC") == 11_000
    assert Car(soc=99).wanted_w("AC") < 6_000
    assert share_at(AC_CURVE, 100) > 0


def test_a_three_phase_car_at_one_phase_takes_a_third() -> None:
    assert Car(ac_max_kw=11).wanted_w("AC", phases=1) == pytest.approx(11_000 / 3)


def test_a_full_car_takes_nothing() -> None:
    car = Car(soc=80, target_soc=80)
    assert car.full
    assert car.wanted_w("DC") == 0
    assert car.charge(600, "DC", 50_000) == 0


@pytest.mark.parametrize("wrong", [{"soc": 101}, {"capacity_kwh": 0}, {"ac_phases": 4}, {"target_soc": -1}])
def test_an_impossible_battery_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"soc|capacity|phases"):
        Car(**wrong)  # type: ignore[arg-type]  # wrong on purpose

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohmstead.charging.energy import (
    KEPT_SAMPLES,
    AnomalyKind,
    Energy,
    EnergyMeter,
    Sample,
    session_energy,
)

T0 = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)
MAX_POWER_W = 150_000
Kind = AnomalyKind


def at(minute: float) -> datetime:
    return T0 + timedelta(minutes=minute)


def series(*registers: float | str, first: float = 1) -> list[Sample]:
    """Samples a minute apart, the first one a minute after the start."""
    return [Sample(at(first + i), Decimal(str(r))) for i, r in enumerate(registers)]


def energy(  # the session runs from T0; power as of a fast charger
    start: float | None, samples: Sequence[Sample], stop: float | None = None, stopped: float | None = None
) -> Energy:
    return session_energy(
        meter_start=None if start is None else Decimal(str(start)),
        started_at=T0,
        samples=samples,
        meter_stop=None if stop is None else Decimal(str(stop)),
        stopped_at=None if stopped is None else at(stopped),
        max_power_w=MAX_POWER_W,
    )


def kinds(result: Energy) -> set[AnomalyKind]:
    return {anomaly.kind for anomaly in result.anomalies}


def outcome(result: Energy) -> tuple[Decimal | int, set[AnomalyKind]]:
    return result.wh, kinds(result)


class TestOneSession:
    """Hand-made sessions with the numbers of the rule: register in Wh, one sample a minute."""

    @pytest.mark.parametrize(
        ("start", "registers", "stop", "expected", "noted"),
        [
            pytest.param(1000, [1100, 1200], 1300, "300", set(), id="stop minus start"),
            pytest.param(1000, [], 1300, "300", set(), id="no samples"),
            pytest.param(
                0, ["150.03999999999998"], "150.0401", "150.040", set(), id="float noise, fractions"
            ),
            pytest.param(
                1000, [1100, "1200.4"], 1200, "200", set(), id="a stop rounded down by less than 1 Wh"
            ),
            pytest.param(1000, [1100, 1250], None, "250", set(), id="no stop: the last sample"),
            pytest.param(1000, [], None, "0", set(), id="nothing at all"),
            pytest.param(None, [1100, 1250], 1300, "200", {Kind.START_MISSING}, id="no start"),
            pytest.param(None, [], 1300, "0", {Kind.START_MISSING}, id="only a stop"),
            pytest.param(
                9000, [8100, 8250], 8300, "200", {Kind.START_ABOVE_SAMPLES}, id="start above the samples"
            ),
            pytest.param(
                0, [5_000_000, 5_000_150], 5_000_300, "300", {Kind.REGISTER_JUMP}, id="start always sent as 0"
            ),
            pytest.param(50_000, [50_500, 40, 90], 200, "700", {Kind.REGISTER_RESET}, id="power cut"),
            pytest.param(
                50_000, [50_500, 40, 90], None, "590", {Kind.REGISTER_RESET}, id="power cut, no stop"
            ),
            pytest.param(
                50_000,
                [50_500, 50_900],
                200,
                "1100",
                {Kind.REGISTER_RESET, Kind.STOP_BELOW_SAMPLES},
                id="the stop alone shows the restart",
            ),
            pytest.param(50_000, [50_500, 7, 50_900], 51_000, "1000", {Kind.REGISTER_BACKWARDS}, id="glitch"),
            pytest.param(
                50_000, [50_500, 7], None, "500", {Kind.REGISTER_BACKWARDS}, id="a fall not yet believed"
            ),
            pytest.param(
                50_000,
                [50_400, 50_500, 50_300, 50_400],
                50_450,
                "650",
                {Kind.REGISTER_BACKWARDS},
                id="lost some counts",
            ),
            pytest.param(
                50_000, [50_500, 90_000, 50_900], 51_000, "1000", {Kind.REGISTER_JUMP}, id="jump that returns"
            ),
            pytest.param(
                50_000, [50_500, 90_000, 90_200], 90_300, "800", {Kind.REGISTER_JUMP}, id="jump that stays"
            ),
            pytest.param(50_000, [50_500], 90_000, "500", {Kind.REGISTER_JUMP}, id="jump in the stop"),
            pytest.param(
                50_000, [50_200, "50.4", 50_600, "50.8"], 51_000, "1000", {Kind.UNIT_MIX}, id="kWh among Wh"
            ),
            pytest.param(
                50_000,
                [50_200, 50_400_000, 50_600],
                51_000,
                "1000",
                {Kind.UNIT_MIX},
                id="1000 times too much",
            ),
            pytest.param(
                0, [1000, 2, 3000, 4], None, "4000", {Kind.UNIT_MIX}, id="kWh in a session register"
            ),
            pytest.param(
                50_000,
                ["50.2", "50.4", "50.6"],
                None,
                "600",
                {Kind.UNIT_MIX},
                id="all samples in kWh, no stop",
            ),
            pytest.param(
                0, [100, 400, 700], 100, "700", {Kind.STOP_IS_OLD}, id="stop equals an earlier register"
            ),
            pytest.param(
                50_000,
                [50_500, 50_900, 51_000],
                50_600,
                "1000",
                {Kind.REGISTER_BACKWARDS, Kind.STOP_BELOW_SAMPLES},
                id="stop below two samples",
            ),
        ],
    )
    def test_each_behaviour_gives_its_energy_and_its_note(
        self, start: float | None, registers: list[float], stop: float | None, expected: str, noted: set[Kind]
    ) -> None:
        end = None if stop is None else len(registers) + 1
        result = energy(start, series(*registers), stop, end)
        assert result.wh == Decimal(expected)
        assert kinds(result) == noted

    def test_the_last_trusted_register_is_reported(self) -> None:
        assert energy(1000, series(1100, "1.2", 7)).register_wh == Decimal(1200)
        assert energy(None, []).register_wh is None

    def test_a_stop_without_a_time_comes_last(self) -> None:
        assert energy(1000, series(1100, 1200), 9000).wh == 8000

    @pytest.mark.parametrize("extreme", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
    def test_the_first_and_the_last_time_there_is_are_times_too(self, extreme: datetime) -> None:
        for stopped_at in (None, extreme):
            result = session_energy(
                meter_start=Decimal(1000),
                started_at=extreme,
                samples=[Sample(extreme, Decimal(1100)), *series(1200)],
                meter_stop=Decimal(1300),
                stopped_at=stopped_at,
                max_power_w=None,
            )
            assert result.wh == 300

    def test_an_unreadable_register_is_left_out(self) -> None:
        odd = [Sample(at(3), Decimal(text)) for text in ("NaN", "-5", "Infinity", "1E+99999")]
        result = energy(1000, [*series(1100, 1200), *odd], 1300, 4)
        assert outcome(result) == (300, {Kind.REGISTER_UNREADABLE})
        assert energy(-1, series(1100, 1200), -1, 4).wh == 100


class TestTimes:
    def test_a_stop_older_than_the_samples_ends_the_session_at_its_time(self) -> None:
        result = energy(1000, series(1100, 1200, 1300, 1400), 1200, stopped=2)
        assert outcome(result) == (200, {Kind.STOP_IS_OLD})

    def test_without_a_stop_register_samples_count_until_five_minutes_after_the_stop(self) -> None:
        result = energy(1000, [*series(1100, 1200), Sample(at(6.9), Decimal(1250))], None, stopped=2)
        assert outcome(result) == (250, set())
        result = energy(1000, [*series(1100, 1200), Sample(at(7.1), Decimal(1250))], None, stopped=2)
        assert outcome(result) == (200, {Kind.SAMPLE_AFTER_STOP})

    @pytest.mark.parametrize("clock", [datetime(1970, 1, 1, tzinfo=UTC), datetime(2099, 1, 1, tzinfo=UTC)])
    def test_a_sample_of_a_wrong_clock_is_left_out(self, clock: datetime) -> None:
        result = energy(1000, [*series(1100, 1200), Sample(clock, Decimal(1150))], None, stopped=3)
        assert outcome(result) == (200, {Kind.CLOCK_OUT_OF_RANGE})

    def test_a_clock_set_during_the_session_does_not_matter_when_the_start_is_old(self) -> None:
        result = session_energy(
            meter_start=Decimal(1000),
            started_at=datetime(1970, 1, 1, tzinfo=UTC),
            samples=series(1100, 1200),
            meter_stop=Decimal(1300),
            stopped_at=at(3),
            max_power_w=None,
        )
        assert outcome(result) == (300, set())

    def test_a_stop_before_the_start_has_no_time(self) -> None:
        result = energy(1000, series(1100, 1200), 1300, stopped=-60)
        assert outcome(result) == (300, {Kind.CLOCK_OUT_OF_RANGE})

    def test_samples_of_before_the_start_do_not_count(self) -> None:
        result = energy(1000, [*series(800, 900, first=-5), *series(1100)], 1200, 2)
        assert outcome(result) == (200, {Kind.SAMPLE_BEFORE_START})


@st.composite
def honest(draw: st.DrawFn, least: int = 1_000_000) -> list[Sample]:
    """Start, at least five samples and stop of an honest charger: 2 to 100 kW, every 10 to 900 s."""
    steps = draw(
        st.lists(st.tuples(st.integers(10, 900), st.integers(2000, 100_000)), min_size=6, max_size=30)
    )
    now, mwh = T0, draw(st.integers(least, 10**9)) * 1000
    readings = [Sample(now, Decimal(mwh) / 1000)]
    for seconds, watts in steps:
        now, mwh = now + timedelta(seconds=seconds), mwh + watts * seconds * 1000 // 3600
        readings.append(Sample(now, Decimal(mwh) / 1000))
    return readings


def measured(readings: Sequence[Sample], rnd: Random, stop: Decimal | None = None) -> Decimal:
    """The energy of a session whose samples arrive in any order, some twice."""
    samples = list(readings[1:-1])
    samples += rnd.choices(samples, k=3)
    rnd.shuffle(samples)
    return session_energy(
        meter_start=readings[0].wh,
        started_at=readings[0].at,
        samples=samples,
        meter_stop=readings[-1].wh if stop is None else stop,
        stopped_at=readings[-1].at,
        max_power_w=MAX_POWER_W,
    ).wh


class TestOneFaultInAnHonestSession:
    """The energy is the honest one, but for what the fault makes unknowable (said in each test)."""

    @pytest.mark.also_long(20)
    @given(honest(least=0), st.randoms())
    def test_without_a_fault_it_is_exact(self, readings: list[Sample], rnd: Random) -> None:
        assert measured(readings, rnd) == readings[-1].wh - readings[0].wh

    @pytest.mark.also_long(20)
    @given(honest(least=0), st.randoms(), st.data(), st.decimals(0, 10**12, places=3))
    def test_one_stray_sample_changes_nothing_or_loses_the_interval_that_hides_a_jump(
        self, readings: list[Sample], rnd: Random, data: st.DataObject, stray: Decimal
    ) -> None:
        true = readings[-1].wh - readings[0].wh
        i = data.draw(st.integers(1, len(readings) - 2))
        before, after = readings[i - 1].wh, readings[i + 1].wh
        unknowable = after - before if before < stray <= after else Decimal(0)
        readings[i] = Sample(readings[i].at, stray)
        assert true - unknowable <= measured(readings, rnd) <= true

    @pytest.mark.also_long(20)
    @given(honest(), st.randoms(), st.data())
    def test_a_restart_loses_only_what_flowed_between_the_last_reading_and_the_cut(
        self, readings: list[Sample], rnd: Random, data: st.DataObject
    ) -> None:
        cut = data.draw(st.integers(0, len(readings) - 2))
        lost = data.draw(st.decimals(0, 1, places=3)) * (readings[cut + 1].wh - readings[cut].wh)
        gone = readings[cut].wh + lost
        after = [Sample(r.at, r.wh - gone) for r in readings[cut + 1 :]]
        true = readings[-1].wh - readings[0].wh
        assert measured([*readings[: cut + 1], *after], rnd) == pytest.approx(
            true - lost, abs=Decimal("0.01")
        )

    @pytest.mark.also_long(20)
    @given(honest(), st.randoms(), st.data(), st.integers(60_000, 10**8))
    def test_a_jump_that_stays_loses_only_the_interval_it_fell_into(
        self, readings: list[Sample], rnd: Random, data: st.DataObject, jump: int
    ) -> None:
        k = data.draw(st.integers(1, len(readings) - 1))
        true = readings[-1].wh - readings[0].wh
        unknowable = readings[k].wh - readings[k - 1].wh
        jumped = [*readings[:k], *(Sample(r.at, r.wh + jump) for r in readings[k:])]
        assert measured(jumped, rnd) == true - unknowable

    @pytest.mark.also_long(20)
    @given(honest(), st.randoms(), st.sampled_from([Decimal(1000), Decimal("0.001")]), st.data())
    def test_mixed_units_change_nothing(
        self, readings: list[Sample], rnd: Random, factor: Decimal, data: st.DataObject
    ) -> None:
        wrong = data.draw(st.sets(st.integers(1, len(readings) - 2)))
        mixed = [Sample(r.at, r.wh * factor) if i in wrong else r for i, r in enumerate(readings)]
        assert measured(mixed, rnd) == readings[-1].wh - readings[0].wh

    @pytest.mark.also_long(20)
    @given(honest(), st.randoms(), st.data())
    def test_an_old_stop_loses_only_what_flowed_after_the_last_sample(
        self, readings: list[Sample], rnd: Random, data: st.DataObject
    ) -> None:
        old = readings[data.draw(st.integers(0, len(readings) - 4))].wh
        assert measured(readings, rnd, stop=old) == readings[-2].wh - readings[0].wh


anything = st.lists(
    st.builds(
        Sample,
        st.integers(-2000, 5000).map(at),
        st.one_of(
            st.sampled_from([Decimal(v) for v in (0, 1, 1000, 1010, 10**6)]), st.decimals(0, 10**7, places=3)
        ),
    ),
    max_size=25,
)
maybe_register = st.none() | st.decimals(-10, 10**6, places=3)


class TestWhateverAChargerSends:
    @pytest.mark.also_long(20)
    @given(
        anything, maybe_register, maybe_register, st.none() | st.integers(-100, 3000).map(at), st.randoms()
    )
    def test_energy_is_never_negative_and_order_and_repeats_change_nothing(
        self,
        samples: list[Sample],
        start: Decimal | None,
        stop: Decimal | None,
        stopped_at: datetime | None,
        rnd: Random,
    ) -> None:
        def measure(given: list[Sample]) -> Energy:
            return session_energy(
                meter_start=start,
                started_at=T0,
                samples=given,
                meter_stop=stop,
                stopped_at=stopped_at,
                max_power_w=None,
            )

        result = measure(samples)
        again = samples + rnd.sample(samples, len(samples) // 2)
        rnd.shuffle(again)
        assert result.wh >= 0
        assert measure(again) == result

    @pytest.mark.also_long(20)
    @given(anything, maybe_register, st.randoms())
    def test_the_live_meter_equals_the_whole_session_after_every_sample(
        self, samples: list[Sample], start: Decimal | None, rnd: Random
    ) -> None:
        rnd.shuffle(samples)
        meter = EnergyMeter(MAX_POWER_W)
        meter.start(start, T0)
        for count, sample in enumerate(samples, 1):
            meter.add(sample)
            whole = session_energy(
                meter_start=start,
                started_at=T0,
                samples=samples[:count],
                meter_stop=None,
                stopped_at=None,
                max_power_w=MAX_POWER_W,
            )
            assert meter.energy == whole

    @pytest.mark.parametrize(
        "seed",
        [*range(3), *(pytest.param(n, marks=[pytest.mark.prove]) for n in range(3, 40))],
    )
    def test_a_long_odd_session_with_late_samples_is_counted_on_as_the_whole_rule_says(
        self, seed: int
    ) -> None:
        """More samples than are kept, many of them odd, each some places late."""
        rnd = Random(seed)  # noqa: S311 # no secret, and the same each time
        delay = rnd.choice([1, 5, 60])
        register, samples = 1000.0, []
        for minute in range(1, 3 * KEPT_SAMPLES):
            register += rnd.uniform(0, 900)
            sent = register * rnd.choice([1, 1, 1, 1, 1, 1, 0.001, 1000])
            told = Decimal(str(round(rnd.choice([sent] * 12 + [0.0, 5.0, register * 2]), 3)))
            samples.append(Sample(at(minute), told))
        arrival = sorted(range(len(samples)), key=lambda i: i + rnd.uniform(0, delay))
        meter = EnergyMeter(MAX_POWER_W)
        meter.start(Decimal(1000), T0)
        for place, i in enumerate(arrival, 1):
            meter.add(samples[i])
            if rnd.random() < 0.03 or place == len(arrival):
                assert meter.energy == energy(1000, [samples[j] for j in arrival[:place]])

    def test_what_a_meter_keeps_does_not_grow_with_the_session(self) -> None:
        meter = EnergyMeter(MAX_POWER_W)
        meter.start(Decimal(0), T0)
        for minute in range(1, 2000):
            meter.add(Sample(at(minute), Decimal(100 * minute)))
            assert len(meter._readings) < 2 * KEPT_SAMPLES
            assert len(meter._marks) < 40

    @pytest.mark.also_long(20)
    @given(honest(least=0), st.integers(3, 8), st.randoms())
    def test_a_meter_that_keeps_few_samples_is_right_for_samples_not_later_than_those(
        self, readings: list[Sample], kept: int, rnd: Random
    ) -> None:
        meter = EnergyMeter(MAX_POWER_W, kept=kept)
        meter.start(readings[0].wh, readings[0].at)
        arrival = sorted(range(1, len(readings)), key=lambda i: i + rnd.uniform(0, kept - 1))
        for i in arrival:
            meter.add(readings[i])
        assert meter.energy.wh == readings[-1].wh - readings[0].wh
        meter.add(Sample(T0 - timedelta(hours=1), readings[0].wh + 1))
        late = [a.kind for a in meter.energy.anomalies]
        assert late == ([Kind.SAMPLE_TOO_LATE] if len(readings) - 1 > kept else [])

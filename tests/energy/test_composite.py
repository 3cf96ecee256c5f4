"""The composite schedule: each rule of OCPP 1.6 3.13 by example, and all of them against a slow reference."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ohmstead.energy.composite import (
    Kind,
    Limit,
    Period,
    Profile,
    Purpose,
    composite_schedule,
    limit_of,
)

NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
HOUR = 3600


def at(hours: float) -> datetime:
    return NOON + timedelta(hours=hours)


def profile(*periods: tuple[int, float], **fields: Any) -> Profile:
    values: dict[str, Any] = {
        "connector_id": 1,
        "purpose": Purpose.TX_DEFAULT,
        "stack_level": 0,
        "kind": Kind.ABSOLUTE,
        "unit": "W",
        "start": NOON,
        **fields,
    }
    return Profile(periods=tuple(Period(*one) for one in periods or ((0, 11_000.0),)), **values)


def schedule(*profiles: Profile, hours: float = 4, **fields: Any) -> list[tuple[float, float | None]]:
    """The limits of connector 1 from noon on: (hours, W)."""
    values: dict[str, Any] = {"connector_id": 1, "start": NOON, "unit": "W", **fields}
    found = composite_schedule(profiles, duration=int(hours * HOUR), **values)
    return [(one.start / HOUR, one.limit) for one in found]


TX: dict[str, Any] = {"purpose": Purpose.TX}
MAX: dict[str, Any] = {"purpose": Purpose.CHARGE_POINT_MAX, "connector_id": 0}
RUNNING: dict[str, Any] = {"charging_since": NOON, "transaction_id": 7}


class TestOneProfile:
    def test_nothing_installed_says_nothing(self) -> None:
        assert schedule() == [(0, None)]

    def test_periods_follow_each_other_and_the_last_one_goes_on(self) -> None:
        assert schedule(profile((0, 7000.0), (HOUR, 11_000.0))) == [(0, 7000), (1, 11_000)]

    def test_after_its_duration_it_says_nothing(self) -> None:
        assert schedule(profile((0, 7000.0), duration=2 * HOUR)) == [(0, 7000), (2, None)]

    def test_before_it_begins_it_says_nothing(self) -> None:
        assert schedule(profile((0, 7000.0), start=at(1))) == [(0, None), (1, 7000)]

    def test_it_is_valid_from_the_first_moment_and_no_more_at_the_last(self) -> None:
        limited = profile((0, 7000.0), start=at(-5), valid_from=at(1), valid_to=at(3))
        assert schedule(limited) == [(0, None), (1, 7000), (3, None)]
        assert limit_of(limited, at(1), NOON) == 7000
        assert limit_of(limited, at(3), NOON) is None

    def test_a_relative_one_begins_with_charging(self) -> None:
        relative = profile((0, 7000.0), (2 * HOUR, 3000.0), kind=Kind.RELATIVE, start=None)
        assert schedule(relative, charging_since=at(-1)) == [(0, 7000), (1, 3000)]
        assert schedule(relative) == [(0, 7000), (2, 3000)]

    def test_an_absolute_one_without_a_start_begins_with_charging(self) -> None:
        open_ended = profile((0, 7000.0), (2 * HOUR, 3000.0), start=None)
        assert schedule(open_ended, charging_since=at(-1)) == [(0, 7000), (1, 3000)]

    def test_a_daily_one_begins_again_each_day(self) -> None:
        night = profile(
            (0, 22_000.0), kind=Kind.RECURRING, recurrency="Daily", start=at(-14 - 240), duration=8 * HOUR
        )
        assert schedule(night, hours=48) == [
            (0, None), (10, 22_000), (18, None), (34, 22_000), (42, None),
        ]  # fmt: skip

    def test_a_weekly_one_begins_again_each_week(self) -> None:
        weekly = profile(
            (0, 5000.0), kind=Kind.RECURRING, recurrency="Weekly", start=at(24 - 3 * 168), duration=24 * HOUR
        )
        assert schedule(weekly, hours=240) == [(0, None), (24, 5000), (48, None), (192, 5000), (216, None)]

    def test_a_recurring_one_that_begins_later_says_nothing_before(self) -> None:
        later = profile((0, 5000.0), kind=Kind.RECURRING, recurrency="Daily", start=at(2))
        assert schedule(later) == [(0, None), (2, 5000)]

    def test_amperes_are_watts_by_the_phases_that_are_used(self) -> None:
        assert schedule(profile((0, 16.0), unit="A")) == [(0, 16 * 230 * 3)]
        assert schedule(profile((0, 16.0), unit="A"), phases=1) == [(0, 16 * 230)]
        one_phase = Profile(1, Purpose.TX_DEFAULT, 0, Kind.ABSOLUTE, "A", (Period(0, 16.0, 1),), start=NOON)
        assert schedule(one_phase) == [(0, 16 * 230)]

    def test_the_answer_can_be_in_amperes(self) -> None:
        assert schedule(profile((0, 16.0), unit="A"), unit="A") == [(0, 16)]
        assert schedule(profile((0, 11_040.0)), unit="A") == [(0, 16)]


class TestSeveralProfiles:
    def test_the_highest_stack_level_that_says_something_counts(self) -> None:
        low = profile((0, 3000.0), stack_level=0)
        high = profile((0, 7000.0), stack_level=3, start=at(1), duration=HOUR)
        assert schedule(low, high) == [(0, 3000), (1, 7000), (2, 3000)]

    def test_a_profile_of_the_transaction_overrules_the_default_while_it_says_something(self) -> None:
        default = profile((0, 3000.0), stack_level=9)
        own = profile((0, 9000.0), duration=2 * HOUR, **TX)
        assert schedule(default, own, **RUNNING) == [(0, 9000), (2, 3000)]
        assert schedule(default, own) == [(0, 3000)]

    def test_a_profile_of_another_transaction_does_not_count(self) -> None:
        assert schedule(profile((0, 9000.0), transaction_id=8, **TX), **RUNNING) == [(0, None)]
        assert schedule(profile((0, 9000.0), transaction_id=7, **TX), **RUNNING) == [(0, 9000)]

    def test_the_default_of_the_connector_overrules_that_of_the_whole_charger(self) -> None:
        whole = profile((0, 3000.0), connector_id=0, stack_level=9)
        own = profile((0, 9000.0), duration=HOUR)
        other = profile((0, 1000.0), connector_id=2)
        assert schedule(whole, own, other) == [(0, 9000), (1, 3000)]

    def test_the_charge_point_caps_what_the_others_say(self) -> None:
        cap = profile((0, 5000.0), (2 * HOUR, 20_000.0), **MAX)
        assert schedule(cap, profile((0, 9000.0), **TX), **RUNNING) == [(0, 5000), (2, 9000)]
        assert schedule(cap) == [(0, 5000), (2, 20_000)]

    def test_for_the_charger_as_a_whole_only_its_own_cap_counts(self) -> None:
        cap = profile((0, 5000.0), **MAX)
        assert schedule(cap, profile((0, 900.0), connector_id=0), connector_id=0) == [(0, 5000)]

    def test_a_period_of_zero_is_a_limit_and_not_silence(self) -> None:
        assert schedule(profile((0, 0.0), stack_level=1), profile((0, 5000.0))) == [(0, 0)]

    def test_what_does_not_change_is_one_period(self) -> None:
        assert schedule(profile((0, 5000.0), (HOUR, 5000.0), (2 * HOUR, 6000.0))) == [(0, 5000), (2, 6000)]


# --- all rules at once, second by second


def reference(profiles: list[Profile], second: int, start: datetime, since: datetime | None) -> float | None:
    """The limit of connector 1 at one second, by the rules written out one after the other."""
    now = start + timedelta(seconds=second)

    def says(one: Profile) -> float | None:
        if one.valid_from and now < one.valid_from:
            return None
        if one.valid_to and now >= one.valid_to:
            return None
        begin = one.start
        if one.kind == Kind.RELATIVE or begin is None:
            begin = since or start
        elif one.kind == Kind.RECURRING:
            days = {"Daily": 1, "Weekly": 7}[one.recurrency or "Daily"]
            while begin + timedelta(days=days) <= now:
                begin += timedelta(days=days)
        passed = (now - begin).total_seconds()
        if passed < 0 or (one.duration is not None and passed >= one.duration):
            return None
        current = [period for period in one.periods if period.start <= passed]
        return current[-1].limit if current else None

    def highest(chosen: list[Profile]) -> float | None:
        speaking = [(one.stack_level, says(one)) for one in chosen if says(one) is not None]
        return max(speaking, key=lambda pair: pair[0])[1] if speaking else None

    tx = [one for one in profiles if one.purpose == Purpose.TX and one.connector_id == 1 and since]
    default = [one for one in profiles if one.purpose == Purpose.TX_DEFAULT]
    own = highest(tx)
    for number in (1, 0):
        if own is None:
            own = highest([one for one in default if one.connector_id == number])
    cap = highest([one for one in profiles if one.purpose == Purpose.CHARGE_POINT_MAX])
    said = [limit for limit in (own, cap) if limit is not None]
    return min(said) if said else None


moments = st.integers(-200, 200).map(lambda minutes: NOON + timedelta(minutes=minutes))
starts = st.lists(st.integers(1, 200), max_size=3, unique=True).map(lambda rest: [0, *sorted(rest)])


@st.composite
def installed(draw: st.DrawFn) -> list[Profile]:
    """Profiles as a charger may hold them: one for each connector, purpose and stack level."""
    keys = draw(
        st.lists(
            st.tuples(st.sampled_from(list(Purpose)), st.sampled_from([0, 1]), st.integers(0, 3)),
            max_size=6,
            unique=True,
        )
    )
    found: list[Profile] = []
    for purpose, connector, level in keys:
        kind = draw(st.sampled_from(list(Kind)))
        found.append(
            Profile(
                connector_id={Purpose.CHARGE_POINT_MAX: 0, Purpose.TX: 1}.get(purpose, connector),
                purpose=purpose,
                stack_level=level if purpose is Purpose.TX_DEFAULT else len(found) + 4,
                kind=kind,
                unit="W",
                periods=tuple(
                    Period(60 * one, float(draw(st.integers(0, 5))) * 1000) for one in draw(starts)
                ),
                start=None if kind is Kind.RELATIVE else draw(moments),
                duration=draw(st.one_of(st.none(), st.integers(1, 300).map(lambda one: 60 * one))),
                recurrency=draw(st.sampled_from(["Daily", "Weekly"])) if kind is Kind.RECURRING else None,
                valid_from=draw(st.one_of(st.none(), moments)),
                valid_to=draw(st.one_of(st.none(), moments)),
            )
        )
    return found


def check(profiles: list[Profile], hours: int, since: datetime | None) -> None:
    found = composite_schedule(
        profiles, connector_id=1, start=NOON, duration=hours * HOUR, unit="W", charging_since=since
    )
    assert found[0].start == 0
    assert all(one.limit != other.limit for one, other in pairwise(found))

    def limit(second: int) -> float | None:
        return [one for one in found if one.start <= second][-1].limit

    edges = {one.start for one in found} | {max(0, one.start - 1) for one in found}
    for second in sorted({*range(0, hours * HOUR, 60), *edges}):
        assert limit(second) == reference(profiles, second, NOON, since), second


@settings(max_examples=150, deadline=None)
@given(installed(), st.one_of(st.none(), moments))
def test_at_every_minute_it_is_what_the_rules_say(profiles: list[Profile], since: datetime | None) -> None:
    check(profiles, 6, since)


@pytest.mark.prove
@settings(max_examples=5000, deadline=None)
@given(installed(), st.one_of(st.none(), moments))
def test_over_days_it_is_what_the_rules_say(profiles: list[Profile], since: datetime | None) -> None:
    check(profiles, 30, since)


def test_a_limit_is_told_with_where_it_begins() -> None:
    assert composite_schedule([], connector_id=1, start=NOON, duration=0, unit="W") == [Limit(0, None)]

from datetime import UTC, datetime, timedelta

import pytest

from ohmstead.accounts import lockout
from ohmstead.accounts.lockout import SignInAttempts, TooManyAttempts
from ohmstead.core.errors import Kind

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


def fail(attempts: SignInAttempts, times: int, account: str = "a@b.de", address: str = "192.0.2.1") -> None:
    for _ in range(times):
        attempts.begin(account, address, NOW)


class TestSignInAttempts:
    def test_ten_are_let_through_and_the_eleventh_is_told_when_to_come_back(self) -> None:
        attempts = SignInAttempts()
        attempts.begin("a@b.de", "192.0.2.1", NOW - timedelta(seconds=100))
        fail(attempts, 9)
        with pytest.raises(TooManyAttempts) as refused:
            attempts.begin("a@b.de", "192.0.2.1", NOW)
        assert refused.value.retry_after == 300
        assert refused.value.kind is Kind.TOO_MANY

    def test_after_five_minutes_there_is_one_more(self) -> None:
        attempts = SignInAttempts()
        fail(attempts, 10)
        attempts.begin("a@b.de", "192.0.2.1", NOW + timedelta(minutes=5))

    def test_being_refused_does_not_make_the_wait_longer(self) -> None:
        attempts = SignInAttempts()
        fail(attempts, 10)
        for second in range(0, 300, 10):
            with pytest.raises(TooManyAttempts):
                attempts.begin("a@b.de", "192.0.2.1", NOW + timedelta(seconds=second))
        attempts.begin("a@b.de", "192.0.2.1", NOW + timedelta(seconds=300))

    def test_each_further_failure_waits_twice_as_long_up_to_four_hours(self) -> None:
        attempts = SignInAttempts()
        fail(attempts, 10)
        now, waits = NOW, []
        for _ in range(8):
            with pytest.raises(TooManyAttempts) as refused:
                attempts.begin("a@b.de", "192.0.2.1", now)
            seconds = refused.value.retry_after or 0
            waits.append(seconds // 60)
            now += timedelta(seconds=seconds)
            attempts.begin("a@b.de", "192.0.2.1", now)
        assert waits == [5, 10, 20, 40, 80, 160, 240, 240]

    def test_a_day_after_the_last_wait_all_is_forgotten(self) -> None:
        attempts = SignInAttempts()
        fail(attempts, 10)
        later = NOW + timedelta(hours=24, minutes=5)
        assert [attempts.begin("a@b.de", "192.0.2.1", later) for _ in range(10)] == [False] * 9 + [True]

    def test_an_attempt_after_a_wait_that_could_not_be_looked_at_may_be_made_again(self) -> None:
        attempts = SignInAttempts()
        fail(attempts, 10)
        later = NOW + timedelta(minutes=5)
        for _ in range(3):
            attempts.begin("a@b.de", "192.0.2.1", later)
            attempts.take_back("a@b.de", "192.0.2.1", later)

    def test_another_address_and_another_account_are_not_held_up(self) -> None:
        attempts = SignInAttempts()
        fail(attempts, 10)
        attempts.begin("a@b.de", "192.0.2.2", NOW)
        attempts.begin("other@b.de", "192.0.2.1", NOW)

    def test_success_forgets_the_failures(self) -> None:
        attempts = SignInAttempts()
        fail(attempts, 10)
        attempts.succeeded("a@b.de", "192.0.2.1")
        fail(attempts, 10)

    def test_an_attempt_that_could_not_be_looked_at_does_not_count(self) -> None:
        attempts = SignInAttempts()
        for _ in range(50):
            fail(attempts, 1)
            attempts.take_back("a@b.de", "192.0.2.1", NOW)
        fail(attempts, 10)

    def test_the_addresses_of_one_ipv6_network_are_one(self) -> None:
        attempts = SignInAttempts()
        for last in range(10):
            attempts.begin("a@b.de", f"2001:db8:0:1::{last:x}", NOW)
        with pytest.raises(TooManyAttempts):
            attempts.begin("a@b.de", "2001:db8:0:1:ffff::1", NOW)
        attempts.begin("a@b.de", "2001:db8:0:2::1", NOW)

    def test_an_address_that_is_none_is_a_name_like_another(self) -> None:
        attempts = SignInAttempts()
        fail(attempts, 10, address="")
        with pytest.raises(TooManyAttempts):
            fail(attempts, 1, address="")

    def test_memory_is_bounded_and_the_longest_untouched_are_forgotten(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(lockout, "REMEMBERED_AT_MOST", 3)
        attempts = SignInAttempts()
        fail(attempts, 10, account="first@b.de")
        fail(attempts, 10, account="second@b.de")
        for number in range(2):
            fail(attempts, 1, account=f"flood-{number}@b.de")
        with pytest.raises(TooManyAttempts):
            fail(attempts, 1, account="second@b.de")
        fail(attempts, 10, account="first@b.de")

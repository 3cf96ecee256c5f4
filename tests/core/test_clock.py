from datetime import UTC, datetime, timedelta

from ohmstead.core.clock import SystemClock


def test_the_machine_s_time_is_aware_and_utc() -> None:
    before = datetime.now(UTC)
    now = SystemClock().now()
    assert now.utcoffset() == timedelta(0)
    assert before <= now <= datetime.now(UTC)

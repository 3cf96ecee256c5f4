"""Which findings follow from which evidence, and what is said to do."""

from datetime import UTC, datetime, timedelta

import pytest

from ohmstead.insights.diagnosis import (
    RULES,
    Evidence,
    Example,
    FindingKind,
    calls_somebody,
    drift_of,
    find,
    findings,
)
from ohmstead.insights.diagnosis_jobs import LOOKS_BACK
from ohmstead.notifications.models import AlertKind, Severity

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def seen(count: int = 1, **fields: object) -> Evidence:
    return Evidence(**{"count": count, "first_at": NOW - MINUTE, "last_at": NOW, **fields})  # type: ignore[arg-type] # fields of any type


@pytest.mark.parametrize(
    ("kind", "evidence", "severity"),
    [
        (FindingKind.WRONG_SUBPROTOCOL, seen(1), Severity.CRITICAL),
        (FindingKind.NO_SUBPROTOCOL, seen(1000), Severity.INFO),
        (FindingKind.BAD_AUTH, seen(2), Severity.INFO),
        (FindingKind.BAD_AUTH, seen(3), Severity.WARN),
        (FindingKind.BAD_HANDSHAKE, seen(2), Severity.INFO),
        (FindingKind.BAD_HANDSHAKE, seen(3), Severity.WARN),
        (FindingKind.CLOCK_DRIFT, seen(1), None),
        (FindingKind.CLOCK_DRIFT, seen(1, drift=timedelta(hours=-2)), Severity.WARN),
        (FindingKind.CLOCK_DRIFT, seen(1, drift=timedelta(days=2)), Severity.CRITICAL),
        (FindingKind.REPEATED_IDS, seen(9), Severity.INFO),
        (FindingKind.REPEATED_IDS, seen(10), Severity.WARN),
        (FindingKind.MISSING_STOPS, seen(1), Severity.INFO),
        (FindingKind.MISSING_STOPS, seen(3), Severity.WARN),
        (FindingKind.REGISTER_JUMPS, seen(2), Severity.INFO),
        (FindingKind.REGISTER_JUMPS, seen(3), Severity.WARN),
        (FindingKind.SCHEMA_FAULTS, seen(1), Severity.INFO),
        (FindingKind.SCHEMA_FAULTS, seen(3), Severity.WARN),
        (FindingKind.SILENT_CONNECTORS, seen(1, labels=("status",)), Severity.WARN),
        (FindingKind.FLAPPING, seen(100, most_in_an_hour=5), None),
        (FindingKind.FLAPPING, seen(6, most_in_an_hour=6), Severity.WARN),
        (FindingKind.FLAPPING, seen(30, most_in_an_hour=30), Severity.CRITICAL),
    ],
)
def test_how_bad_it_is_follows_from_how_often_it_was_seen(
    kind: FindingKind, evidence: Evidence, severity: Severity | None
) -> None:
    found = find(kind, evidence)
    assert (found and found.severity) == severity
    if found is not None:
        assert found.evidence is evidence
        assert found.summary
        assert found.mend
        assert calls_somebody(found) is (severity is not Severity.INFO)


def test_there_is_a_rule_for_every_kind_and_an_alert_for_each_that_calls_somebody() -> None:
    assert set(RULES) == set(FindingKind)
    assert set(FindingKind) - set(LOOKS_BACK) == {FindingKind.NO_SUBPROTOCOL}
    assert {str(kind) for kind in LOOKS_BACK} <= {str(kind) for kind in AlertKind}


@pytest.mark.parametrize("kind", list(FindingKind))
def test_nothing_seen_is_no_finding(kind: FindingKind) -> None:
    assert find(kind, seen(0, drift=timedelta(days=9), most_in_an_hour=99)) is None


def test_the_worst_comes_first_and_then_the_newest() -> None:
    older = Evidence(count=5, first_at=NOW - MINUTE, last_at=NOW - MINUTE)
    found = findings(
        [
            (FindingKind.NO_SUBPROTOCOL, seen(1)),
            (FindingKind.SCHEMA_FAULTS, older),
            (FindingKind.BAD_AUTH, seen(5)),
            (FindingKind.WRONG_SUBPROTOCOL, older),
        ]
    )
    assert [one.kind for one in found] == ["WrongSubprotocol", "BadAuth", "SchemaFaults", "NoSubprotocol"]


@pytest.mark.parametrize(
    ("kind", "evidence", "told"),
    [
        (FindingKind.BAD_AUTH, seen(3, labels=("WrongPassword",)), "rotate-password"),
        (FindingKind.BAD_AUTH, seen(3, labels=("TlsRequired",)), "wss://"),
        (FindingKind.BAD_AUTH, seen(3, labels=("NoCredentials",)), "sends no Basic auth"),
        (FindingKind.BAD_AUTH, seen(3, labels=("WrongUser",)), "same id"),
        (FindingKind.BAD_AUTH, seen(3, labels=("TooManyRefusals",)), "somebody else"),
        (FindingKind.SILENT_CONNECTORS, seen(1, labels=("status",)), "TriggerMessage"),
        (FindingKind.SILENT_CONNECTORS, seen(1, labels=("session",)), "MeterValueSampleInterval"),
        (FindingKind.FLAPPING, seen(9, most_in_an_hour=9), "WebSocketPingInterval"),
        (FindingKind.WRONG_SUBPROTOCOL, seen(1, labels=("ocpp2.0.1",)), "ocpp1.6"),
    ],
)
def test_what_to_do_follows_from_why(kind: FindingKind, evidence: Evidence, told: str) -> None:
    found = find(kind, evidence)
    assert found is not None
    assert told in found.mend


def test_what_was_offered_and_which_connectors_are_silent_is_said() -> None:
    wrong = find(FindingKind.WRONG_SUBPROTOCOL, seen(2, labels=("ocpp2.0.1",)))
    assert wrong is not None
    assert "sent away 2 times; it offered ocpp2.0.1" in wrong.summary
    example = Example("connector", "2", NOW, "connector 2 has told no status since the boot")
    silent = find(FindingKind.SILENT_CONNECTORS, seen(1, examples=(example,)))
    assert silent is not None
    assert "connector 2" in silent.summary


def lagging(*minutes: float, apart: timedelta = 10 * MINUTE) -> list[tuple[datetime, datetime]]:
    """Times that came `apart`, the newest first, each so many minutes after what it says."""
    return [(NOW - apart * n - lag * MINUTE, NOW - apart * n) for n, lag in enumerate(minutes)]


@pytest.mark.parametrize(
    ("told", "drift"),
    [
        ([], None),
        (lagging(0, 0, 0), None),
        (lagging(1.9, 1.9, 1.9), None),
        (lagging(-3), 3 * MINUTE),
        (lagging(60, 60, 60), -60 * MINUTE),
        (lagging(60, 60.5, 59.5), -60 * MINUTE),
        (lagging(60, 60), None),
        (lagging(0, 60, 60, 60), None),
        (lagging(60, 40, 20), None),
        (lagging(60, 60, 60, apart=timedelta(seconds=1)), None),
        (lagging(60 * 24 * 365 * 20), -timedelta(days=365 * 20)),
    ],
    ids=[
        "nothing told",
        "right",
        "a slow network",
        "one that lies in the future proves it",
        "behind by as much for long",
        "behind by about as much",
        "two may have been queued",
        "it has been set since",
        "queued while offline: each waited for another time",
        "queued together: all came at once",
        "years are no queue",
    ],
)
def test_a_clock_is_told_from_a_queue(told: list[tuple[datetime, datetime]], drift: timedelta | None) -> None:
    assert drift_of(told) == drift


@pytest.mark.parametrize(
    ("drift", "words"),
    [
        (timedelta(minutes=3), "3 minutes ahead"),
        (timedelta(hours=-2), "2 hours behind"),
        (timedelta(days=9000), "9000 days ahead"),
        (timedelta(seconds=-121), "2 minutes behind"),
    ],
)
def test_how_far_a_clock_is_off_is_said_in_words(drift: timedelta, words: str) -> None:
    found = find(FindingKind.CLOCK_DRIFT, seen(drift=drift))
    assert found is not None
    assert words in found.summary

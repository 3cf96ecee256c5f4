"""What is wrong with a charger, from what it really did: which findings follow from which evidence.

Pure: no I/O. `diagnosis_queries` brings the evidence. There is one finding for each kind at most. A finding
of severity WARN or CRITICAL becomes an alert; INFO is shown to whoever asks.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from ohmstead.notifications.models import AlertKind, Severity

FEW = 3
"""What happens less often than this is told, but nobody is called."""
REPEATS = 10
"""A frame that is sent again now and then is a retry: more are a fault."""
FLAPPING_PER_HOUR, WILD_PER_HOUR = 6, 30
DRIFT = timedelta(minutes=2)
GREAT_DRIFT = timedelta(days=1)
AGREEING = timedelta(minutes=1)
APART = timedelta(minutes=5)
UNBELIEVABLE = timedelta(days=5 * 365)


class FindingKind(StrEnum):
    """What is looked for; those that can call somebody are kinds of alerts, too."""

    WRONG_SUBPROTOCOL = AlertKind.WRONG_SUBPROTOCOL
    NO_SUBPROTOCOL = "NoSubprotocol"
    BAD_AUTH = AlertKind.BAD_AUTH
    BAD_HANDSHAKE = AlertKind.BAD_HANDSHAKE
    CLOCK_DRIFT = AlertKind.CLOCK_DRIFT
    REPEATED_IDS = AlertKind.REPEATED_IDS
    MISSING_STOPS = AlertKind.MISSING_STOPS
    REGISTER_JUMPS = AlertKind.REGISTER_JUMPS
    SCHEMA_FAULTS = AlertKind.SCHEMA_FAULTS
    SILENT_CONNECTORS = AlertKind.SILENT_CONNECTORS
    FLAPPING = AlertKind.FLAPPING


@dataclass(frozen=True, slots=True)
class Example:
    """One case: what its `id` is the id of, and when it was.

    `of` is `message`, `message id` (the charger's own), `refusal`, `session`, `connection`, `connector` or
    `status event`.
    """

    of: str
    id: str
    at: datetime | None
    detail: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """How often, from when to when (our clock), the newest cases, their names, and the most in one hour."""

    count: int
    first_at: datetime
    last_at: datetime
    examples: tuple[Example, ...] = ()
    labels: tuple[str, ...] = ()
    most_in_an_hour: int = 0
    drift: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, and what to do about it."""

    kind: FindingKind
    severity: Severity
    summary: str
    evidence: Evidence
    mend: str


@dataclass(frozen=True, slots=True)
class _Rule:
    severity: Callable[[Evidence], Severity | None]
    summary: Callable[[Evidence], str]
    mend: Callable[[Evidence], str]


def find(kind: FindingKind, evidence: Evidence) -> Finding | None:
    """Return what follows from evidence of a kind; None when it is too little."""
    rule = RULES[kind]
    severity = rule.severity(evidence) if evidence.count > 0 else None
    if severity is None:
        return None
    return Finding(kind, severity, rule.summary(evidence), evidence, rule.mend(evidence))


def findings(evidence: Iterable[tuple[FindingKind, Evidence]]) -> list[Finding]:
    """Return all findings, the worst first, and among equals the newest."""
    found = [one for one in (find(kind, each) for kind, each in evidence) if one is not None]
    order = (Severity.CRITICAL, Severity.WARN, Severity.INFO)
    return sorted(found, key=lambda one: (order.index(one.severity), -one.evidence.last_at.timestamp()))


def calls_somebody(finding: Finding) -> bool:
    """Tell whether a finding is to be an alert."""
    return finding.severity is not Severity.INFO


def drift_of(told: list[tuple[datetime, datetime]]) -> timedelta | None:
    """Return how far a clock is ahead (behind: negative) by (its time, our time of arrival), newest first.

    None when it is right, or cannot be told. A time in the future proves it alone: nothing is sent before it
    happened. One in the past may have waited in the charger's queue, so at least three that came over five
    minutes or more must lie back equally far; years need no second witness.
    """
    if not told:
        return None
    at, received_at = told[0]
    lag = received_at - at
    if lag < -DRIFT or lag > UNBELIEVABLE:
        return -lag
    if lag <= DRIFT:
        return None
    agreeing = [arrived for stamp, arrived in told if abs((arrived - stamp) - lag) <= AGREEING]
    if len(agreeing) >= FEW and max(agreeing) - min(agreeing) >= APART:
        return -lag
    return None


def _always(severity: Severity) -> Callable[[Evidence], Severity | None]:
    return lambda _: severity


def _from(count: int) -> Callable[[Evidence], Severity | None]:
    return lambda evidence: Severity.WARN if evidence.count >= count else Severity.INFO


def _of_drift(evidence: Evidence) -> Severity | None:
    if evidence.drift is None:
        return None
    return Severity.CRITICAL if abs(evidence.drift) >= GREAT_DRIFT else Severity.WARN


def _of_flapping(evidence: Evidence) -> Severity | None:
    if evidence.most_in_an_hour < FLAPPING_PER_HOUR:
        return None
    return Severity.CRITICAL if evidence.most_in_an_hour >= WILD_PER_HOUR else Severity.WARN


def _times(evidence: Evidence) -> str:
    return "once" if evidence.count == 1 else f"{evidence.count} times"


def _named(evidence: Evidence) -> str:
    names = ", ".join(evidence.labels[:5])
    return f" ({names})" if names else ""


MENDS_OF_REFUSALS = {
    "WrongPassword": "Its password is not the one that is set here: set a new one here (rotate-password) and"
    " enter it at the charger as AuthorizationKey.",
    "NoCredentials": "It sends no Basic auth: set AuthorizationKey and security profile 1 or 2 there.",
    "WrongUser": "Its Basic auth names another identity than its address: enter the same id in both places.",
    "TlsRequired": "It has security profile 2 and comes without TLS: give it the wss:// address, or let the"
    " proxy tell X-Forwarded-Proto.",
    "ClientCertificate": "It has security profile 3, which is not offered: set profile 2 here and there.",
}


def _mend_auth(evidence: Evidence) -> str:
    told = [MENDS_OF_REFUSALS[reason] for reason in evidence.labels if reason in MENDS_OF_REFUSALS]
    stranger = "If the address is not the charger's, somebody else tries its identity."
    return " ".join([*told, stranger])


def _summary_of_drift(evidence: Evidence) -> str:
    drift = evidence.drift or timedelta()
    way = "ahead" if drift > timedelta() else "behind"
    return f"Its clock is {_spoken(abs(drift))} {way}."


def _spoken(span: timedelta) -> str:
    seconds = span.total_seconds()
    for name, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} seconds"


def _mend_silent(evidence: Evidence) -> str:
    told = []
    if "status" in evidence.labels:
        told.append(
            "Send TriggerMessage StatusNotification. If it stays silent, compare the connectors that are kept"
            " here with its NumberOfConnectors, and remove what it does not have; else update its firmware."
        )
    if "session" in evidence.labels:
        told.append(
            "Set MeterValueSampleInterval (60) and MeterValuesSampledData"
            " (Energy.Active.Import.Register): it charges and tells nothing."
        )
    return " ".join(told)


RULES: dict[FindingKind, _Rule] = {
    FindingKind.WRONG_SUBPROTOCOL: _Rule(
        _always(Severity.CRITICAL),
        lambda seen: (
            f"It does not offer ocpp1.6 and was sent away {_times(seen)}; it offered"
            f" {', '.join(seen.labels[:5]) or 'nothing that is known'}."
        ),
        lambda _: (
            "Set the charger to OCPP 1.6J (WebSocket subprotocol `ocpp1.6`): other versions are not served."
        ),
    ),
    FindingKind.NO_SUBPROTOCOL: _Rule(
        _always(Severity.INFO),
        lambda seen: f"It connected {_times(seen)} without naming a subprotocol; it is served as ocpp1.6.",
        lambda _: (
            "Nothing has to be done here. A proxy may leave out the header Sec-WebSocket-Protocol; other"
            " servers would refuse this charger."
        ),
    ),
    FindingKind.BAD_AUTH: _Rule(
        _from(FEW),
        lambda seen: f"Its sign-in was refused {_times(seen)}{_named(seen)}.",
        _mend_auth,
    ),
    FindingKind.BAD_HANDSHAKE: _Rule(
        _from(FEW),
        lambda seen: (
            f"Handshakes in its name were broken or at a wrong address, {_times(seen)}{_named(seen)}."
        ),
        lambda _: (
            "Compare its address with `/ocpp/` and its id, and see that proxies on the way pass WebSocket"
            " on (headers Upgrade and Connection)."
        ),
    ),
    FindingKind.CLOCK_DRIFT: _Rule(
        _of_drift,
        _summary_of_drift,
        lambda _: (
            "It should set its clock by our answers to BootNotification and Heartbeat: reset it, see that"
            " its HeartbeatInterval is not 0 and that no NTP server or time zone of its own is wrong. Until"
            " then its sessions have wrong times."
        ),
    ),
    FindingKind.REPEATED_IDS: _Rule(
        _from(REPEATS),
        lambda seen: f"It used a message id again on the same connection, {_times(seen)}.",
        lambda _: (
            "A few are retries of a slow network. If all its messages have one id, its firmware breaks"
            " OCPP-J 4.1.4, and answers may be taken for those of other messages: update it."
        ),
    ),
    FindingKind.MISSING_STOPS: _Rule(
        _from(FEW),
        lambda seen: f"Sessions were closed without its stop, {_times(seen)}{_named(seen)}.",
        lambda _: (
            "See whether it loses power or its queue while offline; set TransactionMessageAttempts to 3 or"
            " more and TransactionMessageRetryInterval to 60, StopTransactionOnEVSideDisconnect to true;"
            " update its firmware."
        ),
    ),
    FindingKind.REGISTER_JUMPS: _Rule(
        _from(FEW),
        lambda seen: f"The registers of sessions did not add up, {_times(seen)}{_named(seen)}.",
        lambda _: (
            "Look at the anomalies of these sessions. Resets and jumps: have the meter and its wiring"
            " looked at. Mixed units: let MeterValuesSampledData tell one unit. The energy was counted by"
            " what is certain."
        ),
    ),
    FindingKind.SCHEMA_FAULTS: _Rule(
        _from(FEW),
        lambda seen: f"Its messages were refused as wrong, {_times(seen)}{_named(seen)}.",
        lambda _: (
            "Look at the messages: the answers say what is wrong. Update its firmware; where it only sends"
            " members that nobody knows, set `tolerant` for this charger."
        ),
    ),
    FindingKind.SILENT_CONNECTORS: _Rule(
        _always(Severity.WARN),
        lambda seen: (
            f"It is online, and silent where it should tell: "
            f"{'; '.join(one.detail for one in seen.examples)}."
        ),
        _mend_silent,
    ),
    FindingKind.FLAPPING: _Rule(
        _of_flapping,
        lambda seen: (
            f"Its connection ended {_times(seen)}, up to {seen.most_in_an_hour} times in one hour"
            f"{_named(seen)}."
        ),
        lambda _: (
            "Look at its network: signal, SIM, a proxy or NAT that ends idle connections. Set"
            " WebSocketPingInterval to 60 or less, and see that no second device has the same id."
        ),
    ),
}
"""What follows from the evidence of each kind."""

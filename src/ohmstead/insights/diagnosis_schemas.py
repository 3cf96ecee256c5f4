"""The diagnosis of a charger as it goes out."""

from ohmstead.core.http import Schema, UtcTime
from ohmstead.insights.diagnosis import FindingKind
from ohmstead.notifications.models import Severity


class ExampleOut(Schema):
    """One case; `of` says what `id` is the id of.

    `message`, `message id` (the charger's own), `refusal`, `session`, `connection`, `connector` or
    `status event`.
    """

    of: str
    id: str
    at: UtcTime | None
    detail: str


class EvidenceOut(Schema):
    """How often it was seen, from when to when by our clock, and the newest cases, at most five."""

    count: int
    first_at: UtcTime
    last_at: UtcTime
    examples: list[ExampleOut]


class FindingOut(Schema):
    """What is wrong, what shows it, and what to do about it."""

    kind: FindingKind
    severity: Severity
    summary: str
    evidence: EvidenceOut
    mend: str


class DiagnosisOut(Schema):
    """What was found in what a charger did; `healthy` is true when that is nothing to worry about."""

    charger_id: str
    since: UtcTime
    until: UtcTime
    healthy: bool
    findings: list[FindingOut]

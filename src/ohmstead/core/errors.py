"""The errors of the domains.

A domain says what went wrong and how to mend it; it knows no HTTP status and no OCPP code. One
table at each edge (`core.http`, `gateway.server`) translates the kind.
"""

from collections.abc import Mapping
from enum import StrEnum


class Kind(StrEnum):
    """What sort of refusal an error is; every edge translates these and nothing else."""

    INVALID = "invalid"
    RULE = "rule"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    GONE = "gone"
    TOO_LARGE = "too_large"
    TOO_MANY = "too_many"
    UNAVAILABLE = "unavailable"


class DomainError(Exception):
    """A request that a rule refuses.

    `code` is a stable CamelCase name for programs, the message is a sentence for people that says
    what to do, `detail` adds facts, `fields` maps the name of each faulty input to its fault.
    `retry_after` is after how many seconds the same may succeed, where that is known.
    """

    kind: Kind = Kind.RULE
    code: str = "BusinessRuleViolation"

    def __init__(
        self,
        message: str,
        *,
        detail: str = "",
        code: str | None = None,
        kind: Kind | None = None,
        fields: Mapping[str, str] | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.fields = dict(fields or {})
        self.retry_after = retry_after
        if code is not None:
            self.code = code
        if kind is not None:
            self.kind = kind


class NotFound(DomainError):
    """The thing does not exist, or is not the caller's to see: the two look the same on purpose."""

    kind = Kind.NOT_FOUND
    code = "NotFound"


class Conflict(DomainError):
    """The thing exists already, or its state does not allow the change."""

    kind = Kind.CONFLICT
    code = "Conflict"


class Invalid(DomainError):
    """An input that no caller may send, whatever the state."""

    kind = Kind.INVALID
    code = "ValidationError"


class Forbidden(DomainError):
    """The caller is known and may not do this."""

    kind = Kind.FORBIDDEN
    code = "Forbidden"


class Unauthenticated(DomainError):
    """The caller did not show who it is."""

    kind = Kind.UNAUTHENTICATED
    code = "Unauthorized"


class Unavailable(DomainError):
    """Something that this needs is away for the moment; trying again later is right."""

    kind = Kind.UNAVAILABLE
    code = "Unavailable"


class StartupError(Exception):
    """The program cannot start or go on; `hint` says how to mend it. Shown without a traceback."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

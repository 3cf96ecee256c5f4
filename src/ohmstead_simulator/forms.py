"""What the steps of a scenario may say: the checks of single values, and the form of each step."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ocpp.v16.enums import ChargePointErrorCode, ChargePointStatus, ReadingContext, Reason

_DURATION = re.compile(r"([+-]?\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, None: 1.0}


class WrongValueError(ValueError):
    """A value is not what it should be; the message says what it should be."""


Check = Callable[[Any], Any]


def text(value: Any) -> str:
    """A text; numbers are taken as text (a tag may be 12345678)."""
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value)
    raise WrongValueError("a text")


def number(value: Any) -> float:
    """A number that is not negative."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return float(value)
    raise WrongValueError("a number, not negative")


def whole(value: Any) -> int:
    """A whole number from 0."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise WrongValueError("a whole number from 0")


def count(value: Any) -> int:
    """A whole number from 1."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    raise WrongValueError("a whole number from 1")


def flag(value: Any) -> bool:
    """True or false."""
    if isinstance(value, bool):
        return value
    raise WrongValueError("true or false")


def signed_duration(value: Any) -> float:
    """A duration in seconds, from a number or from texts such as 500ms, 30s, 2m, 1.5h, -1d."""
    found = _DURATION.fullmatch(str(value).strip()) if not isinstance(value, bool) else None
    if found is None:
        raise WrongValueError("a duration such as 500ms, 30s, 2m, 1h or a number of seconds")
    return float(found[1]) * _UNITS[found[2]]


def duration(value: Any) -> float:
    """A duration that is not negative, in seconds."""
    seconds = signed_duration(value)
    if seconds < 0:
        raise WrongValueError("a duration that is not negative")
    return seconds


def moment(value: Any) -> datetime:
    """A time such as 1970-01-01T00:00:00Z; without a zone it is UTC."""
    try:
        found = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        raise WrongValueError("a time such as 1970-01-01T00:00:00Z") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def one_of(*allowed: str) -> Check:
    """One of these words."""

    def check(value: Any) -> str:
        if value not in allowed:
            raise WrongValueError(f"one of {', '.join(allowed)}")
        return str(value)

    return check


def several_of(*allowed: str) -> Check:
    """A list of these words."""

    def check(value: Any) -> frozenset[str]:
        if not isinstance(value, list) or any(one not in allowed for one in value):
            raise WrongValueError(f"a list of {', '.join(allowed)}")
        return frozenset(value)

    return check


def texts(value: Any) -> tuple[str, ...]:
    """A list of texts."""
    if not isinstance(value, list) or not value:
        raise WrongValueError("a list of texts")
    return tuple(text(one) for one in value)


def settings(value: Any) -> dict[str, str]:
    """A mapping of configuration keys to values; true, false and numbers are written as OCPP writes them."""
    if not isinstance(value, dict):
        raise WrongValueError("a mapping of configuration keys to values")
    return {str(key): str(one).lower() if isinstance(one, bool) else str(one) for key, one in value.items()}


def repeats(value: Any) -> int | None:
    """A whole number from 1, or `forever` (None)."""
    return None if value == "forever" else count(value)


@dataclass(frozen=True, slots=True)
class Form:
    """What a step may say. A scalar after the name sets the member `short`."""

    members: Mapping[str, Check] = field(default_factory=dict)
    short: str | None = None
    required: frozenset[str] = frozenset()


NEWS = ("updated", "update_failed", "uploaded", "upload_failed")
"""Conditions that are told once: a step that waited for one has had it."""
CONDITIONS = (
    "transaction",
    "no_transaction",
    "car_wanted",
    "listed",
    "connected",
    "booted",
    "queue_empty",
    "full",
    "updating",
    *NEWS,
)
_STATUSES = one_of(*ChargePointStatus)
_AUTHORIZED = one_of("Accepted", "Blocked", "Expired", "Invalid", "ConcurrentTx")

FORMS: dict[str, Form] = {
    "connect": Form(),
    "close": Form({"abrupt": flag}),
    "boot": Form({"expect": one_of("Accepted", "Pending", "Rejected")}),
    "heartbeat": Form(),
    "status": Form(
        {"connector": whole, "status": _STATUSES, "error_code": one_of(*ChargePointErrorCode), "info": text},
        required=frozenset({"status"}),
    ),
    "authorize": Form({"tag": text, "connector": count, "expect": _AUTHORIZED}, short="tag"),
    "plug": Form(
        {
            "connector": count,
            "soc": number,
            "target_soc": number,
            "capacity_kwh": number,
            "ac_max_kw": number,
            "ac_phases": count,
            "dc_max_kw": number,
        },
        short="connector",
    ),
    "unplug": Form({"connector": count}, short="connector"),
    "start": Form({"connector": count, "tag": text}, short="connector"),
    "stop": Form({"connector": count, "reason": one_of(*Reason), "tag": text}, short="connector"),
    "meter": Form({"connector": count, "context": one_of(*ReadingContext)}, short="connector"),
    "wait": Form({"for": duration, "min": duration, "max": duration}, short="for"),
    "wait_for": Form(
        {"condition": one_of(*CONDITIONS), "status": _STATUSES, "connector": count, "timeout": duration},
        short="condition",
    ),
    "offline": Form({"for": duration, "abrupt": flag}, short="for", required=frozenset({"for"})),
    "power_cut": Form({"for": duration}, short="for", required=frozenset({"for"})),
    "reboot": Form({"reason": one_of(*Reason), "hard": flag}),
    "fault": Form(
        {"connector": count, "error_code": one_of(*ChargePointErrorCode), "for": duration},
        short="error_code",
        required=frozenset({"error_code"}),
    ),
    "clear_fault": Form({"connector": count}, short="connector"),
    "drift": Form({"by": signed_duration}, short="by", required=frozenset({"by"})),
    "clock": Form({"at": moment}, short="at", required=frozenset({"at"})),
    "security_event": Form({"type": text, "info": text}, short="type", required=frozenset({"type"})),
    "data_transfer": Form(
        {"vendor": text, "message": text, "data": text}, short="vendor", required=frozenset({"vendor"})
    ),
    "meet": Form(),
}

# Steps that hold steps; they are read by the loader itself.
NESTING = ("parallel", "repeat")

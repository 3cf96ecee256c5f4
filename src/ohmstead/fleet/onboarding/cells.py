"""Kinds of cells of a table: how the text of each is read, and how a value is written."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson


@dataclass(frozen=True, slots=True)
class Column:
    """How a cell is read (raises `ValueError` with what is wrong, or `Misread`) and written."""

    read: Callable[[str], Any]
    write: Callable[[Any], Any] = lambda value: value


class Misread(ValueError):
    """A cell of which some parts cannot be read. `faults` tells of each, `value` is the rest, or None.

    The rest is looked at as well, so that what is wrong with it is told at the same time.
    """

    def __init__(self, faults: list[str], value: Any) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults
        self.value = value


def text(value: str) -> str:
    """A text as it stands."""
    return value


def whole(value: str) -> int:
    """A whole number."""
    try:
        return int(value)
    except ValueError:
        raise ValueError(f"{value[:40]!r} is no whole number") from None


def number(value: str) -> float:
    """A number; a comma is taken for the point where there is no other."""
    try:
        return float(value.replace(",", ".") if value.count(",") == 1 and "." not in value else value)
    except ValueError:
        raise ValueError(f"{value[:40]!r} is no number") from None


def truth(value: str) -> bool:
    """Yes or no."""
    known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if value.lower() not in known:
        raise ValueError(f"{value[:40]!r} is neither true nor false")
    return known[value.lower()]


def identifier(value: str) -> str:
    """An id of ours, in the one form that it is compared in."""
    try:
        return str(UUID(value))
    except ValueError:
        raise ValueError(f"{value[:40]!r} is no id (a UUID)") from None


def several(value: str) -> list[str]:
    """Several texts with bars between them."""
    return [part.strip() for part in value.split("|") if part.strip()]


def json_object(value: str) -> Any:
    """An object of JSON."""
    try:
        return orjson.loads(value)
    except ValueError:
        raise ValueError('is no JSON, such as {"always": true}') from None


def connectors(value: str) -> Any:
    """A number of connectors, or what each is: `1:Type 2:AC:3:22 | 2:CCS:DC::150` (number, type, current,
    phases, kW), what is not known left empty.
    """
    if value.isdecimal():
        return whole(value)
    found: list[dict[str, Any]] = []
    faults: list[str] = []
    for part in several(value):
        pieces = [piece.strip() for piece in part.split(":")]
        if len(pieces) > 5 or not pieces[0].isdecimal():
            faults.append(f"{part[:40]!r} is not of the form number:type:current:phases:kW")
            continue
        pieces += [""] * (5 - len(pieces))
        one: dict[str, Any] = {}
        for name, piece, read in (
            ("connector_id", pieces[0], whole),
            ("type", pieces[1], text),
            ("current", pieces[2].upper(), text),
            ("phases", pieces[3], whole),
            ("max_power_kw", pieces[4], number),
        ):
            try:
                if piece:
                    one[name] = read(piece)
            except ValueError as error:
                faults.append(f"{part[:40]!r}: {error}")
        if "connector_id" in one:
            found.append(one)
    # The schema says so too, in these words, but only where nothing else is wrong with any of them.
    times = Counter(one["connector_id"] for one in found)
    faults += [f"connector {one} is named twice" for one, count in times.items() if count > 1]
    if faults:
        raise Misread(faults, found or None)
    return found


def written_connectors(rows: Iterable[Any]) -> str:
    """Write connectors in the form that `connectors` reads."""
    parts = []
    for row in rows:
        cells = [row.connector_id, row.type, row.current, row.phases, _short(row.max_power_kw)]
        parts.append(":".join("" if cell is None else str(cell) for cell in cells).rstrip(":"))
    return " | ".join(f"{part}:" if part.isdecimal() else part for part in parts)


def _short(value: float | None) -> str | None:
    return None if value is None else f"{value:.8g}"  # all that the database keeps: to the watt

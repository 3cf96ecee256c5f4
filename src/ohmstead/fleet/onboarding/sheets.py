"""Tables as people keep them in spreadsheets: reading CSV with every fault by its line, and writing it.

Lines are counted as an editor shows them: the heading is line 1. Taken is what spreadsheets write: UTF-8 with
or without a mark, commas or semicolons, quotes, line breaks within a cell. An empty cell says nothing.
"""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from ohmstead.core.errors import Invalid
from ohmstead.core.spreadsheets import cell_text, safe_cell

LINES = 5_000
"""In one file at most."""


@dataclass(frozen=True, slots=True)
class Column:
    """How a cell is read (raises `ValueError` with what is wrong) and written; `read` None: only written."""

    read: Callable[[str], Any] | None
    write: Callable[[Any], Any] = lambda value: value


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one line; `column` is None for the line as a whole."""

    line: int
    column: str | None
    message: str


@dataclass(slots=True)
class Line:
    """One line: its number in the file and the cells that say something."""

    number: int
    cells: dict[str, Any]


@dataclass(slots=True)
class Sheet:
    """What was read: lines, and what is wrong with others."""

    lines: list[Line] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


def read_sheet(content: bytes, columns: Mapping[str, Column], needed: str) -> Sheet:
    """Read a file. Raises `Invalid` when it is no such table at all: not UTF-8, no heading, too long."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _no_table(f"is not UTF-8 (byte {error.start}): save it as CSV UTF-8") from None
    if "\0" in text:
        raise _no_table("holds a NUL character: it is no text")
    heading = text.partition("\n")[0]
    delimiter = ";" if heading.count(";") > heading.count(",") else "\t" if "\t" in heading else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    sheet = Sheet()
    try:
        names = [name.strip().lower() for name in next(reader, [])]
        _check_heading(names, columns, needed)
        begin = reader.line_num + 1
        for cells in reader:
            if any(cell.strip() for cell in cells):
                if len(sheet.lines) >= LINES:
                    raise _no_table(f"has more than {LINES} lines: split it")
                _read_line(sheet, begin, names, cells, columns)
            begin = reader.line_num + 1
    except csv.Error as error:
        raise _no_table(f"cannot be read from line {reader.line_num} on: {error}") from None
    return sheet


def _check_heading(names: list[str], columns: Mapping[str, Column], needed: str) -> None:
    if needed not in names:
        raise _no_table(f"has no column {needed}: the first line names the columns")
    unknown = [name for name in names if name and name not in columns]
    if unknown:
        known = ", ".join(columns)
        raise _no_table(f"has a column {unknown[0][:60]!r} that is not known. Known are: {known}")
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise _no_table(f"has the column {twice[0]} twice")


def _read_line(
    sheet: Sheet, number: int, names: list[str], cells: list[str], columns: Mapping[str, Column]
) -> None:
    if len(cells) > len(names) and any(cell.strip() for cell in cells[len(names) :]):
        sheet.faults.append(Fault(number, None, f"has {len(cells)} cells, the heading {len(names)}"))
        return
    found: dict[str, Any] = {}
    for name, cell in zip(names, cells, strict=False):
        text = cell_text(cell.strip())
        read = columns[name].read if name else None
        if not text or read is None:
            continue
        try:
            found[name] = read(text)
        except ValueError as error:
            sheet.faults.append(Fault(number, name, str(error)))
    sheet.lines.append(Line(number, found))


def _no_table(what: str) -> Invalid:
    return Invalid(f"The file {what}.", code="TableInvalid", fields={"body": what})


def write_sheet(columns: Mapping[str, Column], rows: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """Write a table, piece by piece; what a spreadsheet would run as a formula is told to be text."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(columns)
    for number, row in enumerate(rows, 1):
        writer.writerow(
            [
                "" if row.get(name) is None else safe_cell(column.write(row[name]))
                for name, column in columns.items()
            ]
        )
        if number % 500 == 0:
            yield _taken(buffer)
    yield _taken(buffer)


def _taken(buffer: io.StringIO) -> bytes:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text.encode()


# --- kinds of cells


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


def several(value: str) -> list[str]:
    """Several texts with bars between them."""
    return [part.strip() for part in value.split("|") if part.strip()]


def json_object(value: str) -> Any:
    """An object of JSON."""
    try:
        return orjson.loads(value)
    except ValueError:
        raise ValueError("is no JSON") from None


def connectors(value: str) -> Any:
    """A number of connectors, or what each is: `1:Type 2:AC:3:22 | 2:CCS:DC::150` (number, type, current,
    phases, kW), what is not known left empty.
    """
    if value.isdecimal():
        return int(value)
    found = []
    for part in several(value):
        pieces = [piece.strip() for piece in part.split(":")]
        if len(pieces) > 5 or not pieces[0].isdecimal():
            raise ValueError(f"{part[:40]!r} is not of the form number:type:current:phases:kW")
        pieces += [""] * (5 - len(pieces))
        one: dict[str, Any] = {"connector_id": int(pieces[0])}
        for name, piece, read in (
            ("type", pieces[1], text),
            ("current", pieces[2].upper(), text),
            ("phases", pieces[3], whole),
            ("max_power_kw", pieces[4], number),
        ):
            if piece:
                one[name] = read(piece)
        found.append(one)
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
